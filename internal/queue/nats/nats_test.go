// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	natsjs "github.com/queuescaler/queuescaler/internal/queue/nats"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// connect returns a reader and a client of a real server.
func connect(t *testing.T) (queue.Reader, jetstream.JetStream) {
	t.Helper()
	server := servers.StartNATS(t, servers.NATSOptions{})
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Address())
	}
	host, port, _ := net.SplitHostPort(server.Address())
	reader, failure := natsjs.Open(ctx, queue.ConnectOptions{Endpoint: queue.Endpoint{Kind: queue.KindNATS, Host: host, Port: port}, Dial: dial, Now: time.Now})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	nc := must(nats.Connect(server.URL()))
	t.Cleanup(nc.Close)
	return reader, must(jetstream.New(nc))
}

// read returns the readings of consumers on stream JOBS.
func read(t *testing.T, reader queue.Reader, consumers ...string) []queue.Reading {
	t.Helper()
	queues := make([]*capacityv1alpha1.Queue, len(consumers))
	for i, c := range consumers {
		queues[i] = &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{Stream: "JOBS", Consumer: c}}}
	}
	readings := make([]queue.Reading, len(consumers))
	calls := make([]int, len(consumers))
	failure := reader.Read(ctx, queues, func(i int, r queue.Reading, f *queue.Failure) {
		if f != nil {
			t.Errorf("consumer %s: %v", consumers[i], f)
		}
		readings[i], calls[i] = r, calls[i]+1
	})
	if failure != nil {
		t.Fatal(failure)
	}
	for i, n := range calls {
		if n != 1 {
			t.Fatalf("%d results for consumer %s", n, consumers[i])
		}
	}
	return readings
}

// readDepth reads a consumer until it has a depth, because the server counts what is pending a moment after it has acknowledged
// a message to its sender. It returns the last reading when ten seconds are over.
func readDepth(t *testing.T, reader queue.Reader, consumer string, depth int64) queue.Reading {
	t.Helper()
	got := read(t, reader, consumer)[0]
	for deadline := time.Now().Add(10 * time.Second); got.Depth != depth && time.Now().Before(deadline); {
		got = read(t, reader, consumer)[0]
	}
	return got
}

// fetch takes so many messages at most, of those that wait.
func fetch(t *testing.T, c jetstream.Consumer, n int) (taken []jetstream.Msg) {
	t.Helper()
	batch := must(c.FetchNoWait(n))
	for m := range batch.Messages() {
		taken = append(taken, m)
	}
	if batch.Error() != nil {
		t.Fatal(batch.Error())
	}
	return taken
}

// The counters account for every message, at every reading of a run in which messages are sent, taken, completed and taken again.
func TestCountersAgreeToTheMessage(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	reader, js := connect(t)
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.*"}, Storage: jetstream.MemoryStorage}))
	all := must(js.CreateConsumer(ctx, "JOBS", jetstream.ConsumerConfig{Durable: "all", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1}))
	even := must(js.CreateConsumer(ctx, "JOBS", jetstream.ConsumerConfig{Durable: "even", FilterSubject: "jobs.0", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1}))
	sent, done, again := 0, 0, 0
	for round := 0; done < messages; round++ {
		var acks []jetstream.PubAckFuture
		for range min(137, messages-sent) {
			acks = append(acks, must(js.PublishAsync(fmt.Sprint("jobs.", sent%2), []byte("m"))))
			sent++
		}
		for _, a := range acks {
			select {
			case <-a.Ok():
			case err := <-a.Err():
				t.Fatal(err)
			}
		}
		taken := fetch(t, all, 101)
		if round%7 == 3 && len(taken) > 0 {
			// The first one is given back, and delivered again.
			if err := taken[0].Nak(); err != nil {
				t.Fatal(err)
			}
			repeated := must(all.Next(jetstream.FetchMaxWait(10 * time.Second)))
			for ; must(repeated.Metadata()).NumDelivered == 1; repeated = must(all.Next(jetstream.FetchMaxWait(10 * time.Second))) {
				taken = append(taken, repeated) // was sent before the server knew
			}
			taken[0] = repeated
			again++
		}
		got := readDepth(t, reader, "all", int64(sent-done-len(taken)))
		if got.Depth != int64(sent-done-len(taken)) || *got.InFlight != int64(len(taken)) || *got.ArrivedTotal != int64(sent) ||
			*got.CompletedTotal != int64(done) || *got.RedeliveredTotal != int64(again) {
			t.Fatalf("with %d sent, %d in flight, %d done, %d again: depth %d, in flight %d, arrived %d, completed %d, redelivered %d", sent, len(taken), done, again,
				got.Depth, *got.InFlight, *got.ArrivedTotal, *got.CompletedTotal, *got.RedeliveredTotal)
		}
		for _, m := range taken {
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
		}
		done += len(taken)
		for _, m := range fetch(t, even, 1000) {
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := read(t, reader, "all", "even")
	if r := got[0]; r.Depth != 0 || *r.InFlight != 0 || *r.ArrivedTotal != int64(messages) || *r.CompletedTotal != int64(messages) || *r.RedeliveredTotal != int64(again) || again == 0 {
		t.Errorf("all, at the end: %+v", r)
	}
	if r := got[1]; r.Depth != 0 || *r.InFlight != 0 || *r.ArrivedTotal != int64(messages/2) || *r.CompletedTotal != int64(messages/2) || r.RedeliveredTotal != nil {
		t.Errorf("even, at the end: %+v", r)
	}
}

// A consumer that begins in mid-stream, and messages that are deleted before they are delivered, make no negative counts of messages.
func TestConsumerBegunInMidStream(t *testing.T) {
	reader, js := connect(t)
	stream := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs"}, Storage: jetstream.MemoryStorage}))
	publish := func(n int) {
		for range n {
			must(js.Publish(ctx, "jobs", []byte("m")))
		}
	}
	publish(100)
	c := must(js.CreateConsumer(ctx, "JOBS", jetstream.ConsumerConfig{Durable: "new", DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy}))
	publish(10)
	before := readDepth(t, reader, "new", 10)
	if before.Depth != 10 || *before.InFlight != 0 || *before.ArrivedTotal-*before.CompletedTotal != 10 {
		t.Errorf("before: %+v", before)
	}
	if err := stream.DeleteMsg(ctx, 105); err != nil {
		t.Fatal(err)
	}
	taken := fetch(t, c, 5)
	after := readDepth(t, reader, "new", 4)
	if len(taken) != 5 || after.Depth != 4 || *after.InFlight != 5 {
		t.Errorf("after one was deleted and 5 were taken: %+v", after)
	}
	if arrived := *after.ArrivedTotal - *before.ArrivedTotal; arrived != 0 {
		t.Errorf("%d arrived, want none", arrived)
	}
}

// One operation reads 1,000 consumers on 10 streams, as a poll of 1,000 QueueScalers on one server does. The server is in this process.
func BenchmarkRead(b *testing.B) {
	const streams, consumers = 10, 100
	server := servers.StartNATS(b, servers.NATSOptions{})
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Address())
	}
	host, port, _ := net.SplitHostPort(server.Address())
	reader, failure := natsjs.Open(ctx, queue.ConnectOptions{Endpoint: queue.Endpoint{Kind: queue.KindNATS, Host: host, Port: port}, Dial: dial, Now: time.Now})
	if failure != nil {
		b.Fatal(failure)
	}
	b.Cleanup(reader.Close)
	nc := must(nats.Connect(server.URL()))
	b.Cleanup(nc.Close)
	js := must(jetstream.New(nc))
	var all []*capacityv1alpha1.Queue
	for s := range streams {
		stream := fmt.Sprint("S", s)
		must(js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{stream}, Storage: jetstream.MemoryStorage}))
		for c := range consumers {
			consumer := fmt.Sprint("C", c)
			must(js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy}))
			all = append(all, &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{Stream: stream, Consumer: consumer}}})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		read := 0
		failure := reader.Read(ctx, all, func(_ int, _ queue.Reading, f *queue.Failure) {
			if f == nil {
				read++
			}
		})
		if failure != nil || read != len(all) {
			b.Fatal(failure, read)
		}
	}
}
