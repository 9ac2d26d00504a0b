// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"sync"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// fakePusher is a fakeServer that can tell of work, once at a time.
type fakePusher struct {
	*timed
	mu sync.Mutex
	// wake is that of the watch that is on, nil where none is; asked is for whom a batch was read last.
	wake  func()
	asked []queue.Subscriber
	// slow holds each reading until something is sent.
	slow chan struct{}
}

type fakeWatcher struct {
	queue.Reader
	pusher *fakePusher
}

func newPusher(t *testing.T) *fakePusher {
	p := &fakePusher{}
	p.timed = newTimed(t, func(o *queue.Options) {
		open := o.Open[queue.KindRedis]
		o.Open[queue.KindRedis] = func(ctx context.Context, c queue.ConnectOptions) (queue.Reader, *queue.Failure) {
			reader, failure := open(ctx, c)
			return &fakeWatcher{reader, p}, failure
		}
	})
	return p
}

func (w *fakeWatcher) ReadFor(ctx context.Context, subscribers []queue.Subscriber, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	w.pusher.mu.Lock()
	w.pusher.asked = subscribers
	slow := w.pusher.slow
	w.pusher.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
		}
	}
	return w.Read(ctx, queues, deliver)
}

func (w *fakeWatcher) Watch(ctx context.Context, _ queue.Subscriber, _ *capacityv1alpha1.Queue, wake func()) {
	w.pusher.setWake(wake)
	<-ctx.Done()
	w.pusher.setWake(nil)
}

func (p *fakePusher) setWake(wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = wake
}

// watched awaits a watch, or its end.
func (p *fakePusher) watched(on bool) (wake func()) {
	p.t.Helper()
	p.await("the watch", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		wake = p.wake
		return (wake != nil) == on
	}, func() any { return on })
	return wake
}

func (p *fakePusher) polls() (n int) {
	p.server.set(func(s *fakeServer) { n = len(s.batches) })
	return n
}

func (p *fakePusher) awaitPolls(n int) {
	p.t.Helper()
	p.await("polls", func() bool { return p.polls() == n }, func() any { return p.polls() })
}

// start has a queue read once, that is due again in 5 min.
func (p *fakePusher) start() (wake func()) {
	p.t.Helper()
	p.Subscribe(scaler, one(seldom(listQueue("redis://redis.chat:6379/0", "jobs"))))
	p.awaitPolls(1)
	p.awaitDepth(scaler, 0)
	return p.watched(true)
}

func TestWakePollsAtOnceAndNotTooOften(t *testing.T) {
	p := newPusher(t)
	wake := p.start()
	if p.asked[0] != scaler {
		t.Errorf("read for %v, want %v", p.asked, scaler)
	}
	p.pass(time.Second, time.Second)
	for range 100 {
		wake()
	}
	p.awaitPolls(2)
	for range 100 {
		wake()
	}
	p.pass(240*time.Millisecond, 240*time.Millisecond)
	if n := p.polls(); n != 2 {
		t.Errorf("%d polls within 240 ms of the last, want none more", n)
	}
	p.pass(10*time.Millisecond, 10*time.Millisecond)
	p.awaitPolls(3)
	p.pass(10*time.Second, time.Second)
	if n := p.polls(); n != 3 {
		t.Errorf("%d polls without a wake-up, want 3", n)
	}
}

// What is read when the server tells of work may be from before: it is read again.
func TestWakeDuringAPoll(t *testing.T) {
	p := newPusher(t)
	slow := make(chan struct{})
	p.mu.Lock()
	p.slow = slow
	p.mu.Unlock()
	p.Subscribe(scaler, one(seldom(listQueue("redis://redis.chat:6379/0", "jobs"))))
	wake := p.watched(true)
	p.await("the poll", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.asked != nil
	}, func() any { return p.asked })
	p.clock.Step(time.Second)
	wake()
	slow <- struct{}{}
	p.awaitDepth(scaler, 0)
	p.server.set(func(s *fakeServer) { s.depth = 7 })
	slow <- struct{}{}
	p.awaitDepth(scaler, 7)
}

func TestWatchEndsWithItsQueueAndConnection(t *testing.T) {
	p := newPusher(t)
	old := p.start()
	p.server.set(func(s *fakeServer) {
		s.refuse = queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "", "refused")
	})
	p.pass(time.Second, time.Second)
	old()
	p.watched(false)
	p.server.set(func(s *fakeServer) { s.refuse = nil })
	p.passUntil("another watch", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.wake != nil
	}, func() any { return p.sample(scaler) })
	before := p.polls()
	old()
	p.clock.Step(time.Second)
	if n := p.polls(); n != before {
		t.Errorf("a watch that has ended made %d polls", n-before)
	}
	p.Unsubscribe(scaler)
	p.watched(false)
}
