// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// What waits to be taken is bounded, in order, has the first and the newest readings, and of each run of equal ones its first and newest.
func TestThin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var kept, all []Reading
		depths := rapid.SliceOfN(rapid.Int64Range(0, 2), 1, 400).Draw(t, "depths")
		repeat := rapid.IntRange(1, 20).Draw(t, "repeat")
		for i, d := range depths {
			for k := range repeat {
				r := Reading{Time: time.Unix(int64(i*repeat+k), 0), Depth: d}
				all = append(all, r)
				kept = thin(append(kept, r))
			}
		}
		if len(kept) > bufferSize {
			t.Fatalf("%d readings kept, want at most %d", len(kept), bufferSize)
		}
		if kept[0] != all[0] {
			t.Fatalf("the first is %v, want %v", kept[0], all[0])
		}
		newest := min(runSize-1, len(all))
		for i := 1; i <= newest; i++ {
			if kept[len(kept)-i] != all[len(all)-i] {
				t.Fatalf("the newest but %d is %v, want %v", i-1, kept[len(kept)-i], all[len(all)-i])
			}
		}
		for i := 1; i < len(kept); i++ {
			if !kept[i].Time.After(kept[i-1].Time) {
				t.Fatalf("out of order: %v", kept)
			}
		}
	})
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500 * time.Millisecond: "1 s", 59 * time.Second: "59 s", 192 * time.Second: "3 min 12 s", 125 * time.Minute: "2 h 5 min", 76 * time.Hour: "3 d 4 h",
	} {
		if got := spell(d); got != want {
			t.Errorf("spell(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestMessage(t *testing.T) {
	now := time.Date(2026, 11, 23, 3, 0, 22, 0, time.UTC)
	f := Fail(capacityv1alpha1.ReasonQueueUnavailable, "Do this", "refused")
	for _, c := range []struct {
		since, last time.Time
		want        string
	}{
		{now.Add(-192 * time.Second), now.Add(-192 * time.Second), "nats://q:4222 refused for 3 min 12 s; last reading 02:57:10Z. Do this"},
		{now, now.Add(-25 * time.Hour), "nats://q:4222 refused; last reading 2026-11-22 02:00:22Z. Do this"},
		{now, time.Time{}, "nats://q:4222 refused; no reading yet. Do this"},
		{now.Add(time.Hour), time.Time{}, "nats://q:4222 refused; no reading yet. Do this"}, // a clock that jumped back
	} {
		if got := f.message("nats://q:4222", c.since, c.last, now); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// A name that leads to a link-local address is refused when it is dialed, not only an address in the url.
func TestDialerRefusesLinkLocal(t *testing.T) {
	_, err := dialer(Endpoint{Host: "169.254.169.254", Port: "80"})(context.Background())
	if f := (*Failure)(nil); !errors.As(err, &f) || f.Reason != capacityv1alpha1.ReasonAddressRefused {
		t.Errorf("error %v, want AddressRefused", err)
	}
}

// What tls makes of a url has the port of that, and what is wrong with one is told by an example of its own kind.
// A part of a message waits: it is no empty queue.
func TestRoundUp(t *testing.T) {
	for v, want := range map[float64]int64{0: 0, 0.4: 1, 1: 1, 6.6: 7, 1e15: 1e15} {
		if got := RoundUp(&v); *got != want {
			t.Errorf("%v becomes %d, want %d", v, *got, want)
		}
	}
	if RoundUp(nil) != nil {
		t.Error("what is not told becomes a number")
	}
}

func TestEndpointsOfKinds(t *testing.T) {
	for _, c := range []struct {
		source capacityv1alpha1.QueueSource
		want   string
	}{
		{capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: "http://r", TLS: &capacityv1alpha1.TLS{}}}}, "https://r:15671"},
		{capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: "http://r"}, VHost: "chat"}}, "http://r:15672"},
		{capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: "amqp://r"}, VHost: "chat"}}, "amqp://r:5672/chat"},
		{capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: capacityv1alpha1.Server{URL: "amqp://r/", TLS: &capacityv1alpha1.TLS{}}, VHost: "/"}}, "amqps://r:5671"},
		{capacityv1alpha1.QueueSource{Prometheus: capacityv1alpha1.PrometheusSource{Server: capacityv1alpha1.Server{URL: "http://p/tenant", TLS: &capacityv1alpha1.TLS{}}}}, "https://p:443/tenant"},
		{capacityv1alpha1.QueueSource{Prometheus: capacityv1alpha1.PrometheusSource{Server: capacityv1alpha1.Server{URL: "http://p:9090"}}}, "http://p:9090"},
		{capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{Server: capacityv1alpha1.Server{URL: "nats://n", TLS: &capacityv1alpha1.TLS{}}}}, "tls://n:4222"},
		{capacityv1alpha1.QueueSource{Kafka: capacityv1alpha1.KafkaSource{Server: capacityv1alpha1.Server{URL: "kafka://k"}}}, "kafka://k:9092"},
	} {
		if e, failure := endpointOf(&Source{Queue: &capacityv1alpha1.Queue{Name: "q", QueueSource: c.source}}); failure != nil || e.URL() != c.want {
			t.Errorf("%s, %v; want %s", e.URL(), failure, c.want)
		}
	}
	for kind := range kinds {
		if examples[kind] == "" {
			t.Errorf("there is no example of kind %s", kind)
		}
	}
	wrong := capacityv1alpha1.QueueSource{Prometheus: capacityv1alpha1.PrometheusSource{Server: capacityv1alpha1.Server{URL: "ftp://x"}}}
	if _, failure := endpointOf(&Source{Queue: &capacityv1alpha1.Queue{Name: "q", QueueSource: wrong}}); !strings.Contains(failure.Remedy, examples[KindPrometheus]) {
		t.Errorf("%+v, want the example of Prometheus", failure)
	}
}

func FuzzEndpoint(f *testing.F) {
	for _, url := range []string{"redis://a", "rediss://A:1/3", "redis://[::1]:6379/0", "redis://a/-1", "redis://a:b", "redis://u:p@h", "redis://[fe80::1%25eth0]/", "redis://%41", "redis://a,b", "redis://%25"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		q := capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: url}}}}
		e, failure := endpointOf(&Source{Queue: &q})
		if (failure == nil) == (e == Endpoint{}) {
			t.Fatalf("%q: %+v and %v", url, e, failure)
		}
		if failure != nil {
			return
		}
		// What is shown is where it leads, and leads there again.
		q.Redis.URL = e.URL()
		if again, failure := endpointOf(&Source{Queue: &q}); failure != nil || again.Address() != e.Address() || again.Path != e.Path {
			t.Errorf("%q is shown as %q, which is %+v, %v", url, e.URL(), again, failure)
		}
	})
}

func TestPollOf(t *testing.T) {
	p := NewPool(Options{})
	redis := capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: "redis://r"}}}
	prometheus := capacityv1alpha1.QueueSource{Prometheus: capacityv1alpha1.PrometheusSource{Server: capacityv1alpha1.Server{URL: "http://p"}}}
	for _, c := range []struct {
		queue capacityv1alpha1.Queue
		want  time.Duration
	}{
		{capacityv1alpha1.Queue{QueueSource: redis}, time.Second},
		{capacityv1alpha1.Queue{QueueSource: prometheus}, 15 * time.Second},
		{capacityv1alpha1.Queue{QueueSource: prometheus, PollSeconds: 2}, 2 * time.Second},
	} {
		if got := p.pollOf(&c.queue); got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

// Queues that were silent are read a few at a time, so that they never hold all connections; the others are read whatever those do.
func TestSilentQueuesAreReadApart(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	newServer := func(kind string) *server {
		s := &server{p: NewPool(Options{Clock: clocktesting.NewFakeClock(now), Wake: func(Subscriber) {}}), id: serverID{endpoint: Endpoint{Kind: kind}}, phase: now, feeds: map[*feed]struct{}{}}
		s.reader = struct{ Reader }{}
		for i := range 20 {
			f := &feed{server: s, poll: time.Second, next: now.Add(-time.Duration(i) * time.Second)}
			if i >= 10 {
				f.timeouts = i
			}
			s.feeds[f] = struct{}{}
		}
		return s
	}
	s := newServer(KindHTTP)
	_, answering := s.claim()
	if len(answering) != 10 || slices.ContainsFunc(answering, func(f *feed) bool { return f.timeouts > 0 }) {
		t.Fatalf("%d queues, want the 10 that answer", len(answering))
	}
	claim, silent := s.claim()
	if len(silent) != 2 || silent[0].timeouts != 19 || silent[1].timeouts != 18 {
		t.Fatalf("%d queues, want the 2 silent ones that wait for longest", len(silent))
	}
	if _, more := s.claim(); len(more) != 0 {
		t.Errorf("%d more silent queues are read besides", len(more))
	}
	if due := s.nextDue(); !due.After(now) {
		t.Errorf("due at %v while nothing may be read", due)
	}
	s.silent = 0
	s.release(claim, silent, false)
	if _, next := s.claim(); len(next) != 2 || next[0].timeouts != 17 {
		t.Errorf("%d queues, want the next 2 silent ones", len(next))
	}
	// One that answers is no longer silent, be the answer a failure.
	f := silent[0]
	f.claim, s.silent = claim, 0
	s.deliver(claim, f, Reading{}, Fail(capacityv1alpha1.ReasonQueueMissing, "", "missing"))
	if s.silentLast(f) {
		t.Error("a queue that was answered with a failure counts as silent")
	}
	// Servers that answer for all queues at once are asked for all.
	if _, all := newServer(KindRedis).claim(); len(all) != 20 {
		t.Errorf("%d queues of Redis, want all 20", len(all))
	}
}
