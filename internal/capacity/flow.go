// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package capacity estimates rates from readings: what arrives, what is completed, and, as evidence about a revision, what
// one replica completes and how long a message takes. It is pure: time comes with the readings or as a parameter, and what
// cannot be known is nil, never 0.
//
//	λ fast      median of the last ten polls' rates: a burst is in the backlog already, and must not count twice
//	λ slow      mean of six sub-windows without the largest: steady when arrivals are lumpy
//	X           completions over the last ten polls
//	Block       60 s without rollout, scaling or lending inside: X/N, and S by Little's law where in-flight is told;
//	            beside them λ, and the driver's own arrivals
//	Step        λ after a deploy, against the same hour of the day before
//	Calibration a careful way to a service rate that no calm day would ever measure
//
// Memory is bounded: at most 9 KiB for each queue and the driver, and 8 KiB beside them, after a day. TestMemoryIsBounded holds it to that.
package capacity

import (
	"math"
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
	// fresh is the age up to which a reading is Fresh whatever the poll interval.
	fresh = 15 * time.Second
	// fewDeliveries say nothing about the share of them that is repeated.
	fewDeliveries = 10
	// polls are the readings that the fast estimate looks at, subWindows the parts of the slow one.
	polls, subWindows = 10, 6
	subWindow         = 10 * time.Second
	// chance is how many standard deviations of its noise the fast estimate has to be above the slow one to count. A fleet that
	// grew for noise keeps the pods until they are 10 % too many.
	chance = 4
)

// Estimate is what is known of one queue.
type Estimate struct {
	// Arrival is λ: ArrivalFast where it is larger by more than chance explains, else ArrivalSlow, messages/s. nil: unknown.
	Arrival, ArrivalFast, ArrivalSlow *float64
	// Throughput is X, messages/s. nil: unknown.
	Throughput *float64
	// Redelivered is the share of the completed messages that had been delivered more than once, in [0, 1].
	Redelivered float64
	// QuietSince is since when nothing waited, was in flight or arrived; zero when it is not quiet.
	QuietSince time.Time
}

// point is a reading as it is kept. Totals are nil-safe through has. What is cumulative needs two points to mean anything.
type point struct {
	at                                    time.Time
	depth, inFlight                       int64
	arrived, completed                    int64
	hasInFlight, hasArrived, hasCompleted bool
	// derived: completed is not told, but what is missing. A purge looks the same.
	derived bool
	// vain are the deliveries that completed nothing, modulo 2^32: only differences mean something. Where deliveries are not told, they
	// are those that were repeated.
	vain        uint32
	redelivered int64
	// readings before this one, and those of them and itself that did not tell what is in flight.
	readings, silent uint32
	// flight is the integral of what was in flight, in message-seconds, by straight lines between readings.
	flight float64
}

// flow is the recent past of one queue.
type flow struct {
	points     []point
	quietSince time.Time
	// shared: consumers share partitions, so that one that comes or goes interrupts the others. members are who they were last.
	shared  bool
	members uint64
	// consumers is how many can work at once where shared, everywhere what of the backlog all of them can find.
	consumers, everywhere int64
	// age is the newest oldest-age, aging is true where it rises while the backlog falls: a poison message, or priorities.
	age   time.Duration
	aging bool
}

// continuity is how a reading follows the one before.
type continuity int

const (
	// ignored: a duplicate, or late.
	ignored continuity = iota
	// continued: nothing is missing in between.
	continued
	// broken: it is the first, counters restarted, or readings are missing in between.
	broken
)

// observe adds a reading. Duplicates and late ones are dropped; counters that go backwards and gaps restart the estimate.
func (f *flow) observe(r queue.Reading) continuity {
	p := pointOf(r)
	follows := broken
	if last := f.last(); last != nil {
		since := p.at.Sub(last.at)
		switch {
		case since > gap, since < -time.Minute, restarted(last, &p):
			f.points, f.quietSince, f.aging = f.points[:0], time.Time{}, false
		case since < tooClose:
			return ignored
		case since <= f.patience():
			follows = continued
		}
	}
	f.observeAge(r)
	f.observeQuiet(&p)
	f.observePartitions(r)
	f.accumulate(&p)
	if f.points == nil {
		f.points = make([]point, 0, history)
	}
	if len(f.points) == history {
		f.thin()
	}
	f.points = append(f.points, p)
	return follows
}

// patience is how long after the last reading the next one is no gap: three polls, as in queue.Fresh.
func (f *flow) patience() time.Duration {
	n := len(f.points)
	if n < 2 {
		return gap
	}
	return max(fresh, 3*f.points[n-1].at.Sub(f.points[n-2].at))
}

// accumulate carries the cumulative numbers on to p.
func (f *flow) accumulate(p *point) {
	if !p.hasInFlight {
		p.silent = 1
	}
	last := f.last()
	if last == nil {
		return
	}
	p.readings, p.silent = last.readings+1, last.silent+p.silent
	p.flight = last.flight + p.at.Sub(last.at).Seconds()*(float64(last.inFlight)+float64(p.inFlight))/2
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
	p.vain = uint32(p.redelivered)
	if r.DeliveredTotal != nil && p.hasCompleted {
		p.vain = uint32(*r.DeliveredTotal - p.completed - p.inFlight)
	}
	switch {
	case p.hasArrived && !p.hasCompleted && p.hasInFlight:
		p.completed, p.hasCompleted, p.derived = p.arrived-p.depth-p.inFlight, true, true
	case p.hasCompleted && !p.hasArrived && p.hasInFlight:
		p.arrived, p.hasArrived = p.completed+p.depth+p.inFlight, true
	}
	return p
}

// observePartitions takes in what of the backlog each consumer can find.
func (f *flow) observePartitions(r queue.Reading) {
	f.shared, f.everywhere = r.MostConsumers != nil, max(0, r.Depth)
	if !f.shared {
		return
	}
	f.consumers = *r.MostConsumers
	if r.ShallowestPartition != nil && *r.ShallowestPartition < f.everywhere/max(1, f.consumers) {
		f.everywhere = max(0, *r.ShallowestPartition) * f.consumers
	}
}

// rebalanced takes the reading's members, and is true where they are others than before.
func (f *flow) rebalanced(r queue.Reading) bool {
	if r.Members == nil || *r.Members == f.members {
		return false
	}
	before := f.members
	f.members = *r.Members
	return before != 0
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
	e.Arrival = f.arrival(e.ArrivalFast, e.ArrivalSlow)
	if last.hasCompleted {
		if x, known := f.throughput(); known {
			e.Throughput = &x
		}
		e.Redelivered = f.redelivered()
	}
	return e
}

// arrival is the fast estimate where it is larger than the slow one by more than chance explains, else the slow one. Of Poisson
// arrivals the median of n intervals has a variance of about π/2·λ over their whole length.
func (f *flow) arrival(fast, slow *float64) *float64 {
	if fast == nil || slow == nil {
		return larger(fast, slow)
	}
	recent := f.recent(polls + 1)
	span := recent[len(recent)-1].at.Sub(recent[0].at).Seconds()
	if *fast > *slow+chance*math.Sqrt(math.Pi/2**slow/span) {
		return fast
	}
	return slow
}

func (f *flow) arrivalFast() *float64 {
	recent := f.recent(polls + 1)
	if len(recent) < 4 {
		return nil
	}
	var rates [polls]float64
	for i := 1; i < len(recent); i++ {
		rates[i-1] = rate(recent[i].arrived-recent[i-1].arrived, recent[i].at.Sub(recent[i-1].at))
	}
	return new(median(rates[:len(recent)-1]))
}

// arrivalSlow needs at least three whole sub-windows, so that one can be left out.
func (f *flow) arrivalSlow(window time.Duration) *float64 {
	from, after := f.last().at, float64(f.last().arrived)
	rates := make([]float64, 0, subWindows)
	for range subWindows {
		from = from.Add(-window)
		if from.Before(f.points[0].at) {
			break
		}
		before := f.arrivedAt(from)
		rates = append(rates, (after-before)/window.Seconds())
		after = before
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

func (f *flow) throughput() (x float64, known bool) {
	recent := f.recent(polls + 1)
	if len(recent) < 2 {
		return 0, false
	}
	first, last := recent[0], recent[len(recent)-1]
	return rate(last.completed-first.completed, last.at.Sub(first.at)), true
}

func (f *flow) redelivered() float64 {
	recent := f.recent(60)
	first, last := recent[0], recent[len(recent)-1]
	completed, again := float64(last.completed)-float64(first.completed), repeated(&first, &last)
	if again <= 0 || max(completed, again) < fewDeliveries {
		return 0
	}
	return min(1, again/max(completed, again))
}

// repeated is how many deliveries between two readings were repeated because one completed nothing. What a restarted server kept may be
// flagged as repeated though nobody ever had it; so where all deliveries are counted, it is at most those that completed nothing.
func repeated(from, to *point) float64 {
	return min(float64(to.redelivered)-float64(from.redelivered), float64(max(0, int32(to.vain-from.vain))))
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
