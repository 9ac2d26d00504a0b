// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/queuescaler/queuescaler/test/servers"
)

// manyQueues is the number of QueueScalers on one server.
const manyQueues = 1000

func redisClient(t testing.TB, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, Protocol: 2, DisableIdentity: true, ClientName: "test"})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func natsClient(t *testing.T, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// redisConnections counts the connections to a server that are not client's own.
func redisConnections(client *redis.Client) int {
	n := 0
	for line := range strings.Lines(must(client.ClientList(context.Background()).Result())) {
		if !strings.Contains(line, "name=test ") {
			n++
		}
	}
	return n
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestThousandRedisQueuesAreOneConnection(t *testing.T) {
	ctx := context.Background()
	r := servers.StartRedis(t, servers.RedisOptions{})
	client := redisClient(t, r.Address())
	pipe := client.Pipeline()
	for i := range manyQueues {
		for range i % 7 {
			pipe.RPush(ctx, fmt.Sprint("jobs:", i), "m")
		}
	}
	must(pipe.Exec(ctx))
	h := newHarness(t)
	for i := range manyQueues {
		h.Subscribe(subscriber(i), one(listQueue(r.URL(), fmt.Sprint("jobs:", i))))
	}
	for i := range manyQueues {
		h.awaitDepth(subscriber(i), int64(i%7))
	}
	if n := redisConnections(client); n < 1 || n > 4 {
		t.Errorf("%d connections, want 1 to 4", n)
	}
	stats := h.Servers()
	if len(stats) != 1 || stats[0].Connections < 1 || stats[0].Connections > 4 || stats[0].Subscribers != manyQueues || !stats[0].Up {
		t.Errorf("servers: %+v, want one with at most 4 connections", stats)
	}
	for i := range manyQueues {
		h.Unsubscribe(subscriber(i))
	}
	h.await("connection closed with its last subscriber", func() bool { return redisConnections(client) == 0 }, func() any { return h.Servers() })
}

func TestThousandConsumersAreOneConnection(t *testing.T) {
	ctx := context.Background()
	n := servers.StartNATS(t, servers.NATSOptions{})
	js := natsClient(t, n.URL())
	const streams = 10
	for s := range streams {
		name := fmt.Sprint("S", s)
		must(js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.MemoryStorage}))
		for range s {
			must(js.Publish(ctx, name, []byte("m")))
		}
		for c := range manyQueues / streams {
			must(js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{Durable: fmt.Sprint("C", c), AckPolicy: jetstream.AckExplicitPolicy}))
		}
	}
	before := must(n.Server.Connz(&server.ConnzOptions{})).NumConns
	h := newHarness(t)
	for i := range manyQueues {
		h.Subscribe(subscriber(i), one(consumerQueue(n.URL(), fmt.Sprint("S", i%streams), fmt.Sprint("C", i/streams))))
	}
	for i := range manyQueues {
		h.awaitDepth(subscriber(i), int64(i%streams))
	}
	if opened := must(n.Server.Connz(&server.ConnzOptions{})).NumConns - before; opened < 1 || opened > 4 {
		t.Errorf("%d connections, want 1 to 4", opened)
	}
	for i := range manyQueues {
		h.Unsubscribe(subscriber(i))
	}
	closed := func() bool { return must(n.Server.Connz(&server.ConnzOptions{})).NumConns == before }
	h.await("connection closed with its last subscriber", closed, func() any { return h.Servers() })
}

// One operation is a message that appears in one of 1,000 idle queues at a random moment, until its reading is announced. Polls are 1 s apart.
func BenchmarkBacklogToReading(b *testing.B) {
	ctx := context.Background()
	r := servers.StartRedis(b, servers.RedisOptions{})
	client := redisClient(b, r.Address())
	h := newHarness(b)
	for i := range manyQueues {
		h.Subscribe(subscriber(i), one(listQueue(r.URL(), fmt.Sprint("jobs:", i))))
	}
	h.awaitDepth(subscriber(manyQueues-1), 0)
	var took []time.Duration
	pause := time.NewTimer(0)
	for i := 0; b.Loop(); i++ {
		pause.Reset(rand.N(time.Second))
		<-pause.C
		s := subscriber(i % manyQueues)
		before := h.sample(s).Reading.Depth
		wakes := h.wakesOf(s)
		start := time.Now()
		client.RPush(ctx, fmt.Sprint("jobs:", i%manyQueues), "m")
		for h.wakesOf(s) == wakes {
			<-h.wakings
		}
		took = append(took, time.Since(start))
		if got := h.sample(s).Reading.Depth; got != before+1 {
			b.Fatalf("depth %d after %d", got, before)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
}
