// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external"
	httpq "github.com/queuescaler/queuescaler/internal/queue/http"
	kafkaq "github.com/queuescaler/queuescaler/internal/queue/kafka"
	natsjs "github.com/queuescaler/queuescaler/internal/queue/nats"
	postgresq "github.com/queuescaler/queuescaler/internal/queue/postgresql"
	prometheusq "github.com/queuescaler/queuescaler/internal/queue/prometheus"
	"github.com/queuescaler/queuescaler/internal/queue/rabbitmq"
	redisq "github.com/queuescaler/queuescaler/internal/queue/redis"
	sqsq "github.com/queuescaler/queuescaler/internal/queue/sqs"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests are those of this package; the server that some of them share ends with them.
type tests struct{ *testing.M }

// Run is testing.M's.
func (m tests) Run() int {
	defer closeRabbitMQ()
	return m.M.Run()
}

// patience is how long a condition is awaited.
const patience = 30 * time.Second

// harness is a running Pool with the Secrets and wake-ups of a test.
type harness struct {
	*queue.Pool
	t       testing.TB
	stop    func()
	wakings chan struct{}

	mu      sync.Mutex
	secrets map[string]map[string][]byte
	refusal map[string]error
	gets    map[string]int
	wakes   map[queue.Subscriber]int
	log     bytes.Buffer
}

func newHarness(t testing.TB, change ...func(*queue.Options)) *harness {
	t.Helper()
	h := &harness{
		t: t, wakings: make(chan struct{}, 1), secrets: map[string]map[string][]byte{}, refusal: map[string]error{},
		gets: map[string]int{}, wakes: map[queue.Subscriber]int{},
	}
	options := queue.Options{
		Secrets: h.getSecret,
		Wake:    h.wake,
		Open: map[string]queue.Open{
			queue.KindNATS:       natsjs.Open,
			queue.KindRedis:      redisq.Open,
			queue.KindRabbitMQ:   rabbitmq.Open,
			queue.KindKafka:      kafkaq.Open,
			queue.KindPostgreSQL: postgresq.Open,
			queue.KindPrometheus: prometheusq.Open,
			queue.KindExternal:   external.Open,
			queue.KindSQS:        sqsq.Open,
			queue.KindHTTP:       httpq.Open,
		},
		Log: h.logger(),
	}
	for _, c := range change {
		c(&options)
	}
	h.Pool = queue.NewPool(options)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Start(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Start: %v", err)
			}
		case <-time.After(patience):
			t.Error("the pool does not end")
		}
	})
	t.Cleanup(h.stop)
	return h
}

func (h *harness) logger() logr.Logger {
	return funcr.New(func(prefix, args string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprintln(&h.log, prefix, args)
	}, funcr.Options{})
}

func (h *harness) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

func (h *harness) wake(s queue.Subscriber) {
	h.mu.Lock()
	h.wakes[s]++
	h.mu.Unlock()
	select {
	case h.wakings <- struct{}{}:
	default:
	}
}

func (h *harness) getSecret(_ context.Context, namespace, name string) (map[string][]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := namespace + "/" + name
	h.gets[id]++
	if err := h.refusal[id]; err != nil {
		return nil, err
	}
	data, ok := h.secrets[id]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return maps.Clone(data), nil
}

func (h *harness) setSecret(id string, pairs ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = []byte(pairs[i+1])
	}
	h.secrets[id] = data
}

func (h *harness) secretGets(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gets[id]
}

func (h *harness) wakesOf(s queue.Subscriber) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wakes[s]
}

// await waits until holds, looking whenever readings changed and every 20 ms; it fails the test with what describe says.
func (h *harness) await(what string, holds func() bool, describe func() any) {
	h.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-h.wakings:
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("not within %v: %s; it is %+v", patience, what, describe())
		}
	}
}

// Subscribe is the Pool's, for queues with addresses of their own.
func (h *harness) Subscribe(sub queue.Subscriber, queues []capacityv1alpha1.Queue) {
	h.Pool.Subscribe(sub, ownAddresses(sub, queues))
}

func ownAddresses(sub queue.Subscriber, queues []capacityv1alpha1.Queue) []queue.Source {
	sources := make([]queue.Source, len(queues))
	for i := range queues {
		sources[i] = queue.Source{Queue: &queues[i], SecretNamespace: sub.Namespace}
	}
	return sources
}

// sample is the only sample of a subscriber with one queue.
func (h *harness) sample(s queue.Subscriber) queue.Sample {
	h.t.Helper()
	samples := h.Samples(s)
	if len(samples) != 1 {
		h.t.Fatalf("%d samples of %v, want 1", len(samples), s)
	}
	return samples[0]
}

// awaitReason waits until the only queue of s has this reason, and returns the sample.
func (h *harness) awaitReason(s queue.Subscriber, reason string) queue.Sample {
	h.t.Helper()
	h.await(reason+" of "+s.String(), func() bool { return h.sample(s).Reason == reason }, func() any { return h.sample(s) })
	return h.sample(s)
}

// awaitDepth waits until the only queue of s is fresh with this depth.
func (h *harness) awaitDepth(s queue.Subscriber, depth int64) queue.Sample {
	h.t.Helper()
	is := func() bool {
		got := h.sample(s)
		return got.Quality == queue.Fresh && got.Reading.Depth == depth
	}
	h.await(fmt.Sprintf("depth %d of %v", depth, s), is, func() any { return h.sample(s) })
	return h.sample(s)
}

// withstands has q read from a server that breaks its protocol: it fails for this reason, in words that repeat nothing of what was sent, its memory is
// bounded, and another queue is read all the same.
func (h *harness) withstands(good *servers.Redis, q capacityv1alpha1.Queue, reason string, sent ...string) {
	h.t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h.Subscribe(scaler, one(q))
	h.Subscribe(other, one(listQueue(good.URL(), "jobs")))
	got := h.awaitReason(scaler, reason)
	says(h.t, got, "for \\d|;")
	for _, reply := range append(sent, "garbage", "GARBAGE") {
		if strings.Contains(got.Message, reply) {
			h.t.Errorf("message %q repeats the reply", got.Message)
		}
	}
	h.awaitDepth(other, 0)
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 256<<20 {
		h.t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// readEverySecond waits for six readings of the only queue of s, polled each second, none of which comes late.
func (h *harness) readEverySecond(s queue.Subscriber) {
	h.t.Helper()
	var times []time.Time
	h.await("six readings", func() bool {
		for _, r := range h.Take(s)[0] {
			times = append(times, r.Time)
		}
		return len(times) >= 6
	}, func() any { return times })
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); gap > 2*time.Second {
			h.t.Errorf("%v between two readings at polls of 1 s", gap)
		}
	}
}

func subscriber(i int) queue.Subscriber {
	return queue.Subscriber{Namespace: "chat", Name: fmt.Sprintf("scaler-%d", i)}
}

func consumerQueue(url, stream, consumer string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{Server: capacityv1alpha1.Server{URL: url}, Stream: stream, Consumer: consumer}}}
}

func listQueue(url string, keys ...string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: url}, List: capacityv1alpha1.RedisKeys{Keys: keys}}}}
}

func streamQueue(url, key, group string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: url}, Stream: capacityv1alpha1.RedisStream{Key: key, Group: group}}}}
}

func groupQueue(url, topic, group string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{Kafka: capacityv1alpha1.KafkaSource{Server: capacityv1alpha1.Server{URL: url}, Topic: topic, Group: group}}}
}

func rabbitQueue(url, name string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: url, Auth: authBy("creds")}, Queue: name}}}
}

func authBy(secret string) capacityv1alpha1.Auth {
	return capacityv1alpha1.Auth{SecretRef: capacityv1alpha1.SecretReference{Name: secret}}
}

func one(q capacityv1alpha1.Queue) []capacityv1alpha1.Queue { return []capacityv1alpha1.Queue{q} }
