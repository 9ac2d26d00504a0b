// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	samplesEvery  = 250 * time.Millisecond
	progressEvery = 5 * time.Second // while there is a backlog; every 10 s while pods are awaited
)

// sample is how things stand at one instant.
type sample struct {
	at        time.Time
	backlog   int64
	serving   int // pods that take messages
	capacity  int // messages that they can complete per second
	rate      int64
	desired   int // published by the operator
	replicas  int // spec.replicas of the Deployment
	available int
	bad       int // of the available ones, those of the revision that does less
	lent      int
	warm      int
}

// drain is the time until the backlog is gone at the present capacity, in seconds; never is true if it is not.
func (x sample) drain() (seconds float64, never bool) {
	if x.backlog <= int64(x.serving) { // less than what is taken next
		return 0, false
	}
	gain := float64(x.capacity) - float64(x.rate)
	if gain <= 0 {
		return 0, true
	}
	return float64(x.backlog) / gain, false
}

// mark is an event of the story.
type mark struct {
	at   time.Time
	text string
	// alarm is what the operator says at that moment, in two words; empty: the mark is of something else.
	alarm string
}

// stretch is a part of the story's time with a name.
type stretch struct {
	from, to time.Time
	text     string
}

// recorder keeps what the page shows.
type recorder struct {
	mu      sync.Mutex
	began   time.Time
	samples []sample
	marks   []mark
	// rollouts are in the order in which they began.
	rollouts []stretch
}

// record takes samples until ctx ends, and has the narrator tell now and then how things stand.
func (r *recorder) record(ctx context.Context, s *stage) {
	ticker := time.NewTicker(samplesEvery)
	defer ticker.Stop()
	told, highest := time.Now(), int64(200)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			backlog, err := s.queue.backlog(ctx)
			if err != nil {
				continue // it is embedded: only when it is being stopped
			}
			x := sample{at: now, backlog: backlog, rate: s.sender.rate()}
			x.serving, x.capacity = s.consumers.active()
			s.world.look(func(v *view) {
				x.desired, x.replicas, x.available, x.lent, x.warm = v.desired(), v.replicas(), v.available(), v.lent(), v.warm()
				x.bad = min(v.bad(), x.available)
			})
			r.mu.Lock()
			r.samples = append(r.samples, x)
			r.mu.Unlock()
			highest = max(highest, backlog)
			since, busy := now.Sub(told), backlog > 20
			if busy && since >= progressEvery || !busy && since >= 2*progressEvery && (x.available != x.replicas || x.lent > 0) {
				told = now
				s.tell.progress(now, x, highest)
			}
		}
	}
}

func (r *recorder) mark(format string, args ...any) { r.markAt(time.Now(), format, args...) }

func (r *recorder) markAt(at time.Time, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, mark{at: at, text: fmt.Sprintf(format, args...)})
}

// alarm marks what the operator has found out.
func (r *recorder) alarm(says, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, mark{time.Now(), text, says})
}

// rolledOut keeps when a rollout was.
func (r *recorder) rolledOut(from, to time.Time, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rollouts = append(r.rollouts, stretch{from, to, text})
}
