// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// fakeServer stands in for a server where time is what is tested.
type fakeServer struct {
	mu        sync.Mutex
	depth     int64
	passwords []string // of each connection, in order
	batches   []int    // queues in each Read
	open      int
	// block holds every Read until its connection is closed, refuse fails every Read.
	block  bool
	refuse *queue.Failure
}

type fakeReader struct {
	server *fakeServer
	now    func() time.Time
	closed chan struct{}
	once   sync.Once
}

func (s *fakeServer) Open(_ context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	s.passwords = append(s.passwords, o.Password)
	return &fakeReader{server: s, now: o.Now, closed: make(chan struct{})}, nil
}

func (r *fakeReader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	r.server.mu.Lock()
	block, refuse, depth := r.server.block, r.server.refuse, r.server.depth
	r.server.batches = append(r.server.batches, len(queues))
	r.server.mu.Unlock()
	if block {
		select {
		case <-r.closed:
		case <-ctx.Done():
		}
		return queue.ConnectFailure(context.Canceled)
	}
	for i := range queues {
		deliver(i, queue.Reading{Time: r.now(), Depth: depth}, nil)
	}
	return refuse
}

func (r *fakeReader) Connections() int { return 1 }

func (r *fakeReader) Close() {
	r.once.Do(func() {
		close(r.closed)
		r.server.mu.Lock()
		r.server.open--
		r.server.mu.Unlock()
	})
}

func (s *fakeServer) set(change func(*fakeServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeServer) connections() (now, ever int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open, len(s.passwords)
}

// timed is a Pool on a fake server, with a clock that stands until it is stepped.
type timed struct {
	*harness
	server *fakeServer
	clock  *clocktesting.FakeClock
}

func newTimed(t *testing.T, change ...func(*queue.Options)) *timed {
	x := &timed{server: &fakeServer{}, clock: clocktesting.NewFakeClock(time.Date(2026, 11, 23, 2, 57, 10, 0, time.UTC))}
	fake := func(o *queue.Options) {
		o.Clock = x.clock
		o.Open = map[string]queue.Open{queue.KindRedis: x.server.Open}
	}
	x.harness = newHarness(t, append([]func(*queue.Options){fake}, change...)...)
	return x
}

// pass lets so much time pass in steps, each after the Pool has settled into waiting.
func (x *timed) pass(d, step time.Duration) {
	x.t.Helper()
	for ; d > 0; d -= step {
		x.await("the pool waits", func() bool { return x.clock.Waiters() >= 2 }, func() any { return x.clock.Waiters() })
		x.clock.Step(step)
	}
}

// passUntil lets seconds pass until holds.
func (x *timed) passUntil(what string, holds func() bool, describe func() any) {
	x.t.Helper()
	x.await(what, func() bool {
		if holds() {
			return true
		}
		x.clock.Step(time.Second)
		return false
	}, describe)
}

func withSecret(name string) capacityv1alpha1.Queue {
	q := listQueue("redis://redis.chat:6379/0", "jobs")
	q.Redis.Auth = authBy(name)
	return q
}

func TestReadingBecomesStaleByTimeAlone(t *testing.T) {
	x := newTimed(t)
	x.server.set(func(s *fakeServer) { s.depth = 3 })
	slow := listQueue("redis://redis.chat/0", "jobs")
	slow.PollSeconds = 30
	x.Subscribe(scaler, one(listQueue("redis://redis.chat/0", "jobs")))
	x.Subscribe(other, one(slow))
	x.awaitDepth(scaler, 3)
	x.awaitDepth(other, 3)
	x.server.set(func(s *fakeServer) { s.block = true })
	wakes := x.wakesOf(scaler)
	x.clock.Step(14 * time.Second)
	if got := x.sample(scaler); got.Quality != queue.Fresh {
		t.Errorf("after 14 s: %+v, want fresh", got)
	}
	x.clock.Step(2 * time.Second)
	x.await("a wake-up when the reading becomes stale", func() bool { return x.wakesOf(scaler) > wakes }, func() any { return x.sample(scaler) })
	got := x.sample(scaler)
	if got.Quality != queue.Stale || got.Reason != capacityv1alpha1.ReasonReadingsStale || got.Message != "redis://redis.chat:6379/0 late with readings for 16 s; last reading 02:57:10Z" {
		t.Errorf("after 16 s: %+v", got)
	}
	if got := x.sample(other); got.Quality != queue.Fresh {
		t.Errorf("polled every 30 s, after 16 s: %+v, want fresh until 90 s", got)
	}
	x.clock.Step(75 * time.Second)
	if got := x.sample(other); got.Quality != queue.Stale {
		t.Errorf("polled every 30 s, after 91 s: %+v, want stale", got)
	}
}

func TestRotatedSecretIsNoticedWithinFiveMinutes(t *testing.T) {
	x := newTimed(t)
	x.setSecret("chat/creds", "password", "old")
	x.setSecret("shop/creds", "password", "old")
	for i := range 500 {
		x.Subscribe(subscriber(i), one(withSecret("creds")))
	}
	x.Subscribe(other, one(withSecret("creds")))
	x.awaitDepth(subscriber(499), 0)
	x.awaitDepth(other, 0)
	if now, ever := x.server.connections(); now != 1 || ever != 1 {
		t.Errorf("%d connections, %d ever, want one for both namespaces", now, ever)
	}
	if gets := x.secretGets("chat/creds") + x.secretGets("shop/creds"); gets > 4 {
		t.Errorf("%d reads of two Secrets, want at most one each and one to connect", gets)
	}

	x.setSecret("chat/creds", "password", "new")
	x.setSecret("shop/creds", "password", "new")
	x.clock.Step(5 * time.Minute)
	x.await("a connection with the new password, and no other", func() bool {
		now, ever := x.server.connections()
		return now == 1 && ever == 2
	}, func() any { return fmt.Sprint(x.server.connections()) })
	if got := x.server.passwords; !cmp.Equal(got, []string{"old", "new"}) {
		t.Errorf("passwords %v", got)
	}
	x.awaitDepth(subscriber(0), 0)
	if gets := x.secretGets("chat/creds"); gets > 4 {
		t.Errorf("%d reads of one Secret that 500 QueueScalers name, in 5 min", gets)
	}
}

// Once its Secret is back, a queue is fresh by the reading it had, and its subscriber is told before another one says the same.
func TestCorrectedSecretWakes(t *testing.T) {
	x := newTimed(t)
	x.setSecret("chat/creds", "password", "same")
	q := withSecret("creds")
	q.PollSeconds = 600
	x.Subscribe(scaler, one(q))
	x.awaitDepth(scaler, 0)
	x.mu.Lock()
	delete(x.secrets, "chat/creds")
	x.mu.Unlock()
	x.clock.Step(5 * time.Minute)
	x.awaitReason(scaler, capacityv1alpha1.ReasonSecretMissing)
	x.server.set(func(s *fakeServer) { s.block = true })
	wakes := x.wakesOf(scaler)
	x.setSecret("chat/creds", "password", "same")
	x.passUntil("a wake-up", func() bool { return x.wakesOf(scaler) > wakes }, func() any { return x.sample(scaler) })
	if got := x.sample(scaler); got.Quality != queue.Fresh {
		t.Errorf("%+v, want fresh", got)
	}
}

func TestSecretOfOneSubscriberVanishes(t *testing.T) {
	x := newTimed(t)
	x.setSecret("chat/creds", "password", "same")
	x.setSecret("shop/creds", "password", "same")
	x.Subscribe(scaler, one(withSecret("creds")))
	x.Subscribe(other, one(withSecret("creds")))
	x.awaitDepth(scaler, 0)
	x.awaitDepth(other, 0)
	x.mu.Lock()
	x.refusal["shop/creds"] = apierrors.NewServiceUnavailable("restarting")
	delete(x.secrets, "chat/creds")
	x.mu.Unlock()
	x.clock.Step(5 * time.Minute)
	x.awaitReason(scaler, capacityv1alpha1.ReasonSecretMissing)
	x.await("the other Secret was asked for", func() bool { return x.secretGets("shop/creds") >= 2 }, func() any { return x.gets })
	x.server.set(func(s *fakeServer) { s.depth = 8 })
	x.passUntil("the other's new depth", func() bool { return x.sample(other).Reading.Depth == 8 }, func() any { return x.sample(other) })
	if got := x.sample(other); got.Quality != queue.Fresh {
		t.Errorf("the other: %+v, want fresh", got)
	}
	if now, ever := x.server.connections(); now != 1 || ever != 1 {
		t.Errorf("%d connections, %d ever, want the first one still", now, ever)
	}
}

// A server that answers and then ends the connection, every time, is left alone for longer and longer.
func TestFlappingServerIsNotHammered(t *testing.T) {
	x := newTimed(t)
	x.server.set(func(s *fakeServer) {
		s.refuse = queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "", "closing connections")
	})
	x.Subscribe(scaler, one(listQueue("redis://redis.chat/0", "jobs")))
	x.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
	x.pass(2*time.Minute, 100*time.Millisecond)
	if _, ever := x.server.connections(); ever < 8 || ever > 25 {
		t.Errorf("%d connections in 2 min, want about 14", ever)
	}
}

func TestChangedSpecTakesEffectAtOnce(t *testing.T) {
	x := newTimed(t)
	queues := []capacityv1alpha1.Queue{listQueue("redis://a/0", "jobs"), listQueue("redis://b/0", "jobs")}
	queues[0].Name, queues[1].Name = "a", "b"
	x.Subscribe(scaler, queues)
	fresh := func(n int) func() bool {
		return func() bool {
			samples := x.Samples(scaler)
			for _, s := range samples {
				if s.Quality != queue.Fresh {
					return false
				}
			}
			return len(samples) == n
		}
	}
	x.await("both fresh", fresh(2), func() any { return x.Samples(scaler) })
	if _, ever := x.server.connections(); ever != 2 {
		t.Fatalf("%d connections, want 2", ever)
	}
	x.Take(scaler)

	queues[0], queues[1] = queues[1], queues[0]
	queues[0].Weight, queues[0].PollSeconds = 5, 7
	x.Subscribe(scaler, queues)
	if got := x.Samples(scaler); got[0].Name != "b" || got[0].Quality != queue.Fresh || got[1].Name != "a" || got[1].Quality != queue.Fresh {
		t.Errorf("after another order, weight and poll: %+v, want the readings kept", got)
	}
	queues[1].Redis.URL = "redis://c/0"
	x.Subscribe(scaler, queues)
	if got := x.Samples(scaler)[1]; got.Reading != nil || got.Reason != capacityv1alpha1.ReasonWaitingForReadings {
		t.Errorf("after another url: %+v, want no reading", got)
	}
	x.await("fresh from the new server", fresh(2), func() any { return x.Samples(scaler) })
	x.Subscribe(scaler, queues[:1])
	x.await("one server left", func() bool { now, _ := x.server.connections(); return now == 1 && fresh(1)() }, func() any { return x.Servers() })
	x.Unsubscribe(scaler)
	if got := x.Samples(scaler); len(got) != 0 {
		t.Errorf("after Unsubscribe: %+v", got)
	}
	x.await("no server left", func() bool { now, _ := x.server.connections(); return now == 0 && len(x.Servers()) == 0 }, func() any { return x.Servers() })
}

func TestIdleQueueWakesNobody(t *testing.T) {
	x := newTimed(t)
	x.Subscribe(scaler, one(listQueue("redis://redis.chat/0", "jobs")))
	x.awaitDepth(scaler, 0)
	wakes := x.wakesOf(scaler)
	polls := func() bool { return x.Servers()[0].Polls >= 10 }
	x.passUntil("ten polls", polls, func() any { return x.Servers() })
	if got := x.wakesOf(scaler); got != wakes {
		t.Errorf("%d wake-ups by an idle queue", got-wakes)
	}
	x.server.set(func(s *fakeServer) { s.depth = 1 })
	x.passUntil("a wake-up by a message", func() bool { return x.wakesOf(scaler) == wakes+1 }, func() any { return x.sample(scaler) })
}

// All queues that are due are in one batch, and those polled seldom are not in every one.
func TestBatches(t *testing.T) {
	x := newTimed(t)
	for i := range 100 {
		q := listQueue("redis://redis.chat/0", "jobs")
		if i%2 == 1 {
			q.PollSeconds = 5
		}
		x.Subscribe(subscriber(i), one(q))
	}
	for i := range 100 {
		x.awaitDepth(subscriber(i), 0)
	}
	x.server.set(func(s *fakeServer) { s.batches = nil })
	batches := func() []int {
		x.server.mu.Lock()
		defer x.server.mu.Unlock()
		return slices.Clone(x.server.batches)
	}
	for n := 1; n <= 20; n++ {
		x.passUntil("a poll", func() bool { return len(batches()) >= n }, func() any { return batches() })
	}
	small, full := 0, 0
	for _, n := range batches() {
		switch n {
		case 50:
			small++
		case 100:
			full++
		default:
			t.Errorf("a batch of %d queues, want 50 or 100", n)
		}
	}
	if full < 3 || full > 8 || small < 12 {
		t.Errorf("%d batches of 50 and %d of 100 queues, want about 16 and 4", small, full)
	}
}
