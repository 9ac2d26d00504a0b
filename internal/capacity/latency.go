// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"slices"
	"time"
)

const (
	// latencies are the samples of depth/X, one every latencyEvery: a day. The first latencyFew come quickly: one alone may be of
	// the moment in which consumers start, and what had waited for them is no latency.
	latencies    = 288
	latencyEvery = 5 * time.Minute
	latencyFew   = 12
	latencySoon  = 5 * time.Second
	// latencyMost bounds what is taken for the source's own latency, in seconds.
	latencyMost = 15.0
)

// latency is the source's own: the backlog that shows with nothing waiting, as with a Kafka group that commits every 5 s.
type latency struct {
	samples []float32 // depth/X in seconds, a ring once it is full
	next    int
	at      time.Time
	// seconds is the 5th percentile of the samples, at most latencyMost.
	seconds float64
}

// observe takes a sample of depth/X if one is due.
func (l *latency) observe(now time.Time, depth, x float64) {
	every := latencyEvery
	if len(l.samples) < latencyFew {
		every = latencySoon
	}
	if x <= 0 || (now.Sub(l.at) < every && !now.Before(l.at)) {
		return
	}
	l.at = now
	if len(l.samples) < latencies {
		l.samples = append(l.samples, float32(depth/x))
	} else {
		l.samples[l.next] = float32(depth / x)
		l.next = (l.next + 1) % latencies
	}
	sorted := slices.Clone(l.samples)
	slices.Sort(sorted)
	l.seconds = min(latencyMost, float64(sorted[len(sorted)/20]))
}
