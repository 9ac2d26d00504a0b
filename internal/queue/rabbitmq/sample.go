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

// sample is what was collected of a queue: its time, since when it is seen so, and when it was seen last.
type sample struct {
	counters          counters
	time, since, last time.Time
}

// timeOf is the time of counters that were read now: when they were first seen so, and refresh ago once they ought to have changed.
func (s *samples) timeOf(q id, c counters, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
	if c == (counters{}) {
		delete(s.of, q)
		return now // lengths alone are as of now
	}
	seen, known := s.of[q]
	switch {
	case !known:
		seen = sample{c, now.Add(-refresh / 2), now, now} // it is between 0 and refresh old
	case seen.counters != c, now.Before(seen.last): // or the clock went back
		seen = sample{c, now, now, now}
	case now.Sub(seen.since) > refresh+late:
		seen.time = now.Add(-refresh) // nothing happens in the queue
	}
	seen.last = now
	s.of[q] = seen
	return seen.time
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
