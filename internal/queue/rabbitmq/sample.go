// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"sync"
	"time"
)

const (
	// refresh is how often the server collects statistics, late how much later than that they may be seen to change: a poll and some delay.
	refresh, late = 5 * time.Second, 3 * time.Second
	// forgetAfter is more than the longest time between two polls.
	forgetAfter = 10 * time.Minute
)

// samples date the statistics of queues. The server does not tell when it collected them (its samples with timestamps are on a grid, up
// to 5 s after that), but all the counters of a queue change at that moment. Dated by when they are read, they would stand still for
// five polls and then jump, and so would rates.
type samples struct {
	mu     sync.Mutex
	of     map[id]sample
	pruned time.Time
}

// sample is what was collected of a queue, when it was seen first, and when it was seen last.
type sample struct {
	counters    counters
	first, last time.Time
}

// timeOf is the time of counters that were read now: when they were first seen so, and no more than refresh ago once they ought to have changed.
func (s *samples) timeOf(q id, c counters, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
	if c == (counters{}) {
		delete(s.of, q)
		return now // lengths alone are as of now
	}
	was, known := s.of[q]
	seen := sample{counters: c, first: was.first, last: now}
	switch {
	case !known:
		seen.first = now.Add(-refresh)
	case was.counters != c:
		seen.first = now
	}
	s.of[q] = seen
	if now.Sub(seen.first) > refresh+late {
		return now.Add(-refresh) // nothing happens in the queue
	}
	return seen.first
}

// prune forgets queues that nobody reads any more.
func (s *samples) prune(now time.Time) {
	if now.Sub(s.pruned) < forgetAfter {
		return
	}
	s.pruned = now
	for q, seen := range s.of {
		if now.Sub(seen.last) > forgetAfter {
			delete(s.of, q)
		}
	}
}
