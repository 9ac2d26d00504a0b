// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"time"
)

const (
	// flightMessages are completed, and flightSpans times S is the length, in a block that tells S; an unsaturated block goes
	// on until then, but for no longer than flightLongest.
	flightMessages = 100
	flightSpans    = 5
	flightLongest  = 10 * time.Minute
	// steady is the share by which the halves of a block may differ in what is in flight.
	steady = 0.1
)

// complete reports whether an unsaturated block may end: it could wait for what S needs.
func (e *Estimator) complete(length time.Duration, done int64) bool {
	if length < e.settings.Block || done < blockMessages {
		return false
	}
	if length >= flightLongest || !e.tellsFlight() {
		return true
	}
	l, x := e.flight(begin)
	return done >= flightMessages && length.Seconds() >= flightSpans*l/x
}

// tellsFlight reports whether every reading of the block tells what is in flight, and all of it is the same revision's.
func (e *Estimator) tellsFlight() bool {
	for i := range e.flows {
		from, last := &e.block.parts[i].from, e.flows[i].last()
		if !from.hasInFlight || last.silent != from.silent {
			return false
		}
	}
	return e.serving.Others == 0
}

// flight is L, the mean number of messages in flight since the start, weighted by time, and X in messages/s.
func (e *Estimator) flight(start func(*part) *point) (l, x float64) {
	for i := range e.flows {
		from, last := start(&e.block.parts[i]), e.flows[i].last()
		if seconds := last.at.Sub(from.at).Seconds(); seconds > 0 {
			l += (last.flight - from.flight) / seconds
			x += float64(last.completed-from.completed) / seconds
		}
	}
	return l, x
}

// halve notes readings so that, whenever the block ends, one of them is between a quarter and half of it.
func (e *Estimator) halve(length time.Duration) {
	m := &e.block
	if length < max(e.settings.Block/2, 2*m.halved) {
		return
	}
	m.halved = length
	for i := range m.parts {
		m.parts[i].early, m.parts[i].late = m.parts[i].late, *e.flows[i].last()
	}
}

// processing is S = L/X of an unsaturated block, by Little's law; 0 where that would be no evidence:
//
//   - a reading does not tell what is in flight, or slots of another revision worked too;
//   - there were fewer than 100 completions, or the block is shorter than 5·S: what began before it or ended after it counts
//     too much;
//   - what is in flight was not steady: its means before and after the middle differ by over 10 %, and by more than two
//     standard deviations of counts at the instants that were read (a Poisson count varies by its root);
//   - L > N·c, more than the pods can work on at once. Then clients hold messages that nobody works on yet, and S counts
//     their waiting.
//
// The last stands for "below half its ceiling". Where clients take only what they work on, in-flight never exceeds N·c and
// S is right at any utilization, so that a fleet at 80 % of c = 1 is evidence; its ceiling is N·c, and half of it would rule
// out just that. Where clients prefetch, each pod is a queue of its own, with L/N = ρ/(1−ρ) for c = 1: L <= N·c is ρ <= 1/2.
// Up to there the reading grows no faster than X/N does, so that at equal X/N (±10 %) two revisions differ by at most 10 %
// for that reason; at 80 % it would be 40 %.
func (e *Estimator) processing() float64 {
	length, done := e.since(begin)
	l, x := e.flight(begin)
	capable := float64(e.serving.Replicas) * e.settings.Concurrency
	if !e.tellsFlight() || done < flightMessages || !(l > 0 && x > 0) || l > capable ||
		length.Seconds() < flightSpans*l/x || !e.isSteady(length, l, l/x) {
		return 0
	}
	return l / x
}

// isSteady compares what was in flight before and after the middle, where L is its mean and s the processing time.
func (e *Estimator) isSteady(length time.Duration, l, s float64) bool {
	parts, middle := e.block.parts, late
	if e.flows[0].last().at.Sub(parts[0].late.at) < length*45/100 && !parts[0].early.at.IsZero() {
		middle = early
	}
	var before, after, seen float64
	for i := range parts {
		from, mid, last := &parts[i].from, middle(&parts[i]), e.flows[i].last()
		t1, t2 := mid.at.Sub(from.at).Seconds(), last.at.Sub(mid.at).Seconds()
		if mid.at.IsZero() || t1 <= 0 || t2 <= 0 {
			return false // too few readings to tell
		}
		before += (mid.flight - from.flight) / t1
		after += (last.flight - mid.flight) / t2
		// Readings closer together than a message takes show the same messages again.
		n1 := min(float64(mid.readings-from.readings), 1+t1/(2*s))
		n2 := min(float64(last.readings-mid.readings), 1+t2/(2*s))
		seen = max(seen, 1/n1+1/n2)
	}
	return math.Abs(before-after) <= max(steady*l, 2*math.Sqrt(l*seen))
}

func early(p *part) *point { return &p.early }
func late(p *part) *point  { return &p.late }
