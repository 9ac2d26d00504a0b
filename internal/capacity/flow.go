// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package capacity estimates rates from readings: what arrives, what is completed, and what one replica completes while it
// always has work. It is pure: time comes with the readings or as a parameter, and what cannot be known is nil, never 0.
//
//	λ fast      median of the last ten polls' rates: a burst is in the backlog already, and must not count twice
//	λ slow      mean of six sub-windows without the largest: steady when arrivals are lumpy
//	X           completions over the last ten polls
//	μ           median of X/N over the recent saturated blocks of 60 s of one revision
//
// Memory is bounded: see TestMemoryIsBounded for the bytes.
package capacity

import (
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// history is the number of readings that are kept for each queue: a minute and a half at one a second. Older ones are
	// thinned out, so that it reaches further back when a window is longer.
	history = 96
	// tooClose readings tell more about jitter than about a rate.
	tooClose = 200 * time.Millisecond
	// gap after which what happened in between says nothing about now, also when a clock jumped: three of the slowest polls.
	gap = 15 * time.Minute
	// fewDeliveries say nothing about the share of them that is repeated.
	fewDeliveries = 10
	// polls are the readings that the fast estimate looks at, subWindows the parts of the slow one.
	polls, subWindows = 10, 6
	subWindow         = 10 * time.Second
)

// Estimate is what is known of one queue.
type Estimate struct {
	// Arrival is λ for scaling up: the larger of ArrivalFast and ArrivalSlow, messages/s. nil: unknown.
	Arrival, ArrivalFast, ArrivalSlow *float64
	// Throughput is X, messages/s. nil: unknown.
	Throughput *float64
	// Redelivered is the share of the completed messages that had been delivered more than once, in [0, 1].
	Redelivered float64
	// QuietSince is since when nothing waited, was in flight or arrived; zero when it is not quiet.
	QuietSince time.Time
}

// point is a reading as it is kept. Totals are nil-safe through has.
type point struct {
	at                                    time.Time
	depth, inFlight                       int64
	arrived, completed                    int64
	hasInFlight, hasArrived, hasCompleted bool
	// derived: completed is not told, but what is missing. A purge looks the same.
	derived     bool
	redelivered int64
}

// flow is the recent past of one queue.
type flow struct {
	points     []point
	quietSince time.Time
	// age is the newest oldest-age, aging is true where it rises while the backlog falls: a poison message, or priorities.
	age   time.Duration
	aging bool
}

// observe adds a reading. Duplicates and late ones are dropped; counters that go backwards and gaps restart the estimate.
func (f *flow) observe(r queue.Reading) {
	p := pointOf(r)
	if last := f.last(); last != nil {
		since := p.at.Sub(last.at)
		switch {
		case since > gap, since < -time.Minute, restarted(last, &p):
			f.points, f.quietSince, f.aging = f.points[:0], time.Time{}, false
		case since < tooClose:
			return
		}
	}
	f.observeAge(r)
	f.observeQuiet(&p)
	if len(f.points) == history {
		f.thin()
	}
	f.points = append(f.points, p)
}

// pointOf completes the totals by conservation, where all that enters or leaves is told: arrived = completed + depth + in flight.
func pointOf(r queue.Reading) point {
	p := point{at: r.Time, depth: max(0, r.Depth)}
	if r.InFlight != nil {
		p.inFlight, p.hasInFlight = max(0, *r.InFlight), true
	}
	if r.ArrivedTotal != nil {
		p.arrived, p.hasArrived = *r.ArrivedTotal, true
	}
	if r.CompletedTotal != nil {
		p.completed, p.hasCompleted = *r.CompletedTotal, true
	}
	if r.RedeliveredTotal != nil {
		p.redelivered = *r.RedeliveredTotal
	}
	switch {
	case p.hasArrived && !p.hasCompleted && p.hasInFlight:
		p.completed, p.hasCompleted, p.derived = p.arrived-p.depth-p.inFlight, true, true
	case p.hasCompleted && !p.hasArrived && p.hasInFlight:
		p.arrived, p.hasArrived = p.completed+p.depth+p.inFlight, true
	}
	return p
}

func restarted(last, p *point) bool {
	return (last.hasArrived && p.hasArrived && p.arrived < last.arrived) ||
		(last.hasCompleted && p.hasCompleted && p.completed < last.completed-p.inFlight-last.inFlight) ||
		last.hasArrived != p.hasArrived || last.hasCompleted != p.hasCompleted
}

func (f *flow) observeAge(r queue.Reading) {
	if r.OldestAge == nil {
		f.age, f.aging = 0, false
		return
	}
	if last := f.last(); last != nil {
		switch rises, falls := *r.OldestAge > f.age, r.Depth < last.depth; {
		case rises && falls:
			f.aging = true
		case !rises:
			f.aging = false
		}
	}
	f.age = *r.OldestAge
}

func (f *flow) observeQuiet(p *point) {
	last := f.last()
	arrived := last != nil && p.hasArrived && p.arrived != last.arrived
	waiting := p.depth > 0 || p.inFlight > 0
	if !p.hasInFlight {
		// Without counters either, nobody knows what is being worked on: never quiet.
		waiting = waiting || !p.hasArrived || !p.hasCompleted || p.arrived != p.completed
	}
	switch {
	case waiting || arrived:
		f.quietSince = time.Time{}
	case f.quietSince.IsZero():
		f.quietSince = p.at
	}
}

// thin drops every second one of the older half.
func (f *flow) thin() {
	half := len(f.points) / 2
	kept := f.points[:0]
	for i, p := range f.points {
		if i >= half || i%2 == 0 {
			kept = append(kept, p)
		}
	}
	f.points = kept
}

func (f *flow) last() *point {
	if len(f.points) == 0 {
		return nil
	}
	return &f.points[len(f.points)-1]
}

// recent are the newest n points.
func (f *flow) recent(n int) []point { return f.points[max(0, len(f.points)-n):] }

// estimate says what is known. longest is how long one message takes, c/μ; 0 when that is not known.
func (f *flow) estimate(longest time.Duration) Estimate {
	e := Estimate{QuietSince: f.quietSince}
	last := f.last()
	if last == nil {
		return e
	}
	if !last.hasArrived {
		e.ArrivalFast = f.arrivalByAge()
		e.Arrival = e.ArrivalFast
		return e
	}
	e.ArrivalFast, e.ArrivalSlow = f.arrivalFast(), f.arrivalSlow(max(subWindow, longest/subWindows))
	e.Arrival = larger(e.ArrivalFast, e.ArrivalSlow)
	if last.hasCompleted {
		e.Throughput = f.throughput()
		e.Redelivered = f.redelivered()
	}
	return e
}

func (f *flow) arrivalFast() *float64 {
	recent := f.recent(polls + 1)
	if len(recent) < 4 {
		return nil
	}
	rates := make([]float64, 0, polls)
	for i := 1; i < len(recent); i++ {
		rates = append(rates, rate(recent[i].arrived-recent[i-1].arrived, recent[i].at.Sub(recent[i-1].at)))
	}
	return new(median(rates))
}

// arrivalSlow needs at least three whole sub-windows, so that one can be left out.
func (f *flow) arrivalSlow(window time.Duration) *float64 {
	end := f.last().at
	var rates []float64
	for i := range subWindows {
		to := end.Add(-time.Duration(i) * window)
		from := to.Add(-window)
		if from.Before(f.points[0].at) {
			break
		}
		rates = append(rates, (f.arrivedAt(to)-f.arrivedAt(from))/window.Seconds())
	}
	if len(rates) < 3 {
		return nil
	}
	slices.Sort(rates)
	rates = rates[:len(rates)-1]
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return new(max(0, sum/float64(len(rates))))
}

// arrivedAt interpolates the arrivals at a time within the points.
func (f *flow) arrivedAt(t time.Time) float64 {
	of := func(p *point) float64 { return float64(p.arrived) }
	i, found := slices.BinarySearchFunc(f.points, t, func(p point, t time.Time) int { return p.at.Compare(t) })
	switch {
	case found || i == 0:
		return of(&f.points[min(i, len(f.points)-1)])
	case i == len(f.points):
		return of(f.last())
	}
	before, after := &f.points[i-1], &f.points[i]
	part := t.Sub(before.at).Seconds() / after.at.Sub(before.at).Seconds()
	return of(before) + part*(of(after)-of(before))
}

func (f *flow) throughput() *float64 {
	recent := f.recent(polls + 1)
	if len(recent) < 2 {
		return nil
	}
	first, last := recent[0], recent[len(recent)-1]
	return new(rate(last.completed-first.completed, last.at.Sub(first.at)))
}

func (f *flow) redelivered() float64 {
	recent := f.recent(60)
	first, last := recent[0], recent[len(recent)-1]
	completed, again := last.completed-first.completed, last.redelivered-first.redelivered
	if again <= 0 || max(completed, again) < fewDeliveries {
		return 0
	}
	return min(1, float64(again)/float64(max(completed, again)))
}

// arrivalByAge is depth/age of a FIFO queue: what came within the last age seconds still waits.
func (f *flow) arrivalByAge() *float64 {
	last := f.last()
	if f.aging || f.age < time.Second || last.depth == 0 {
		return nil
	}
	return new(float64(last.depth) / f.age.Seconds())
}

func rate(change int64, over time.Duration) float64 {
	if over <= 0 {
		return 0
	}
	return max(0, float64(change)/over.Seconds())
}

func larger(a, b *float64) *float64 {
	switch {
	case a == nil:
		return b
	case b == nil || *a > *b:
		return a
	}
	return b
}

// median of at least one value; it sorts them.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}
