// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// wakeGap is the least time from a poll to another one that a Watcher asks for.
const wakeGap = time.Second / 4

// Watcher is a Reader whose server is told which QueueScaler asks, and may tell by itself that a queue has work.
type Watcher interface {
	Reader
	// ReadFor is Read for queues of these QueueScalers, one for each queue.
	ReadFor(ctx context.Context, subscribers []Subscriber, queues []*capacityv1alpha1.Queue, deliver func(i int, r Reading, f *Failure)) *Failure
	// Watch calls wake each time that the server says that the queue has work. It returns when ctx ends, or once it is clear that the server
	// does not tell. Failures are not reported: polls go on besides, and have their own.
	Watch(ctx context.Context, subscriber Subscriber, q *capacityv1alpha1.Queue, wake func())
}

// watch has the reader tell of f, unless it does already or cannot. The mutex is held.
func (s *server) watch(f *feed) {
	watcher, ok := s.reader.(Watcher)
	if !ok || f.unwatch != nil {
		return
	}
	ctx, cancel := context.WithCancel(s.running)
	f.unwatch = cancel
	subscriber, q := f.subscriber, f.source.Queue
	s.watches.Go(func() {
		watcher.Watch(ctx, subscriber, q, func() { s.wake(ctx, f) })
	})
}

// subscribersOf are those of feeds, which do not change.
func subscribersOf(feeds []*feed) []Subscriber {
	subscribers := make([]Subscriber, len(feeds))
	for i, f := range feeds {
		subscribers[i] = f.subscriber
	}
	return subscribers
}

// endWatch ends the watch of f. The mutex is held.
func (f *feed) endWatch() {
	if f.unwatch != nil {
		f.unwatch()
		f.unwatch = nil
	}
}

// wake has f polled at once, but not sooner than wakeGap after its last poll began. ctx is that of the watch.
func (s *server) wake(ctx context.Context, f *feed) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if f.claim != 0 {
		f.woken = true // what it reads now may be from before
		return
	}
	s.hastenPoll(f)
}

// hastenPoll makes f due, if it is not waiting because the server was silent about it. The mutex is held.
func (s *server) hastenPoll(f *feed) {
	due := f.polled.Add(wakeGap)
	if now := s.p.options.Clock.Now(); due.Before(now) {
		due = now
	}
	if f.timeouts == 0 && due.Before(f.next) {
		f.next = due
		kick(s.kick)
	}
}
