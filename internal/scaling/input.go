// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"math"
	"slices"
	"time"
)

const (
	// maxCount bounds every count, so that sums of two fit an int32.
	maxCount = 1_000_000_000
	// maxAmount bounds every number of messages and every rate.
	maxAmount = 1e18
	// minRate is the least service rate, one message in 31 years; less is none. A longer drain time is never.
	minRate, minSeconds, maxSeconds = 1e-9, 1e-3, 1e9
)

// input is all that one decision is made from, gathered once and never changed.
type input struct {
	Policy
	Observation
	now    time.Time
	memory Memory
	load   load
	// recommended is what the queues ask for.
	recommended int32
	// fallback is true while the fallback floor applies.
	fallback bool
	// rollout is what the policy makes of the rollout's permissions.
	rollout rolloutHold
	// released says that the hold on scale-up ended early; nil: it did not.
	released *Finding
}

// load is what all fresh queues ask for together.
type load struct {
	fresh, stale int
	// problem says why a queue is not fresh.
	problem string
	// backlog and inFlight are messages; inFlightKnown is false where a queue does not tell.
	backlog, inFlight float64
	inFlightKnown     bool
	// work is the backlog, pending the backlog and what is in flight, both weighted.
	work, pending float64
	// arrival and throughput are weighted messages/s; sums over those queues that tell, if not known.
	arrival, throughput           float64
	arrivalKnown, throughputKnown bool
	// redelivered is the largest share of all queues.
	redelivered float64
	// quietSince is since when all queues are quiet; zero: they are not.
	quietSince time.Time
	// waiting is how many replicas the backlog keeps busy within its objectives. 0 without μ.
	waiting float64
	// spread is waiting where a partition that takes longer than the objective is given the time that it takes; see mayDrain.
	spread float64
	// alone is the longest time that one partition takes at the least, of queue fullest; 0 without μ. uneven is true where that is longer
	// than the queue's objective.
	alone   float64
	fullest Queue
	uneven  bool
	// seconds is the shortest objective T, longest the time that the largest message takes; 0 without μ.
	seconds, longest float64
	// tooLong names a queue one message of which takes longer than its objective.
	tooLong string
}

func gather(now time.Time, p Policy, o Observation, m Memory) input {
	p, o = boundedPolicy(p), boundedObservation(o)
	// Everything but the memory's own clock compares with times that were stored or read: wall clocks.
	in := input{Policy: p, Observation: o, memory: m.advance(now, p, o)}
	now = now.Round(0)
	in.now = now
	in.load = in.sum()
	if mu := o.Rate.PerReplica; mu > 0 {
		in.load.waiting, in.load.spread = in.waiting(mu, in.drainSeconds), in.waiting(mu, in.mayDrain)
	}
	if f := p.Fallback; f != nil && !in.memory.noDataSince.IsZero() {
		in.fallback = now.Sub(in.memory.noDataSince) >= f.After
	}
	in.rollout, in.released = in.assessHold()
	return in
}

// sum adds the queues up.
func (in *input) sum() load {
	l := load{inFlightKnown: true, arrivalKnown: true, throughputKnown: true}
	quiet := true
	for _, q := range in.Queues {
		if !q.Fresh {
			l.stale++
			if l.problem == "" {
				l.problem = q.Problem
			}
			continue
		}
		l.fresh++
		in.add(&l, q)
		if q.QuietSince.IsZero() {
			quiet = false
		} else if q.QuietSince.After(l.quietSince) {
			l.quietSince = q.QuietSince
		}
	}
	if !quiet || l.stale > 0 {
		l.quietSince = time.Time{}
	}
	return l
}

// add adds one fresh queue.
func (in *input) add(l *load, q Queue) {
	depth := float64(q.Depth)
	l.backlog += depth
	l.work += q.Weight * depth
	l.pending += q.Weight * depth
	if q.InFlight != nil {
		l.inFlight += float64(*q.InFlight)
		l.pending += q.Weight * float64(*q.InFlight)
	} else {
		l.inFlightKnown = false
	}
	l.arrival, l.arrivalKnown = plus(l.arrival, l.arrivalKnown, q.Weight, q.Arrival)
	l.throughput, l.throughputKnown = plus(l.throughput, l.throughputKnown, q.Weight, q.Throughput)
	l.redelivered = max(l.redelivered, q.Redelivered)
	if in.Drain == nil {
		return
	}
	t := in.drainSeconds(q)
	if l.seconds == 0 || t < l.seconds {
		l.seconds = t
	}
	if alone := in.alone(q); alone > l.alone {
		l.alone, l.fullest = alone, q
		l.uneven = l.uneven || alone > t
	}
	if mu := in.Rate.PerReplica; mu > 0 {
		takes := q.Weight * in.Drain.Concurrency / mu
		l.longest = max(l.longest, takes)
		if takes > t && l.tooLong == "" {
			l.tooLong = q.Name
		}
	}
}

// drainSeconds is T of a queue.
func (in *input) drainSeconds(q Queue) float64 {
	if q.DrainSeconds == 0 {
		return in.Drain.Seconds
	}
	return q.DrainSeconds
}

// plus adds weight·rate; a rate that is not known makes the sum unknown.
func plus(sum float64, known bool, weight float64, rate *float64) (float64, bool) {
	if rate == nil {
		return sum, false
	}
	return sum + weight**rate, known
}

// boundedPolicy keeps nonsense of a spec from doing harm. The API's validation admits none of it.
func boundedPolicy(p Policy) Policy {
	p.Min = min(max(p.Min, 0), maxCount)
	p.Max = min(max(p.Max, p.Min, 1), maxCount)
	p.PerReplica = max(p.PerReplica, 1)
	if p.Drain != nil {
		d := *p.Drain
		d.Seconds = between(d.Seconds, minSeconds, maxSeconds, 60)
		d.Utilization = between(d.Utilization, 0.01, 1, 0.8)
		d.Concurrency = between(d.Concurrency, 1, 1e9, 1)
		d.Prior = between(d.Prior, 0, maxAmount, 0)
		p.Drain = &d
	}
	p.Behavior.ScaleUp = p.Behavior.ScaleUp.bounded()
	p.Behavior.ScaleDown = p.Behavior.ScaleDown.bounded()
	if p.Fallback != nil {
		f := Fallback{After: max(p.Fallback.After, 0), Min: min(max(p.Fallback.Min, 0), p.Max)}
		p.Fallback = &f
	}
	return p
}

func (r Rules) bounded() Rules {
	r.Window = min(max(r.Window, 0), time.Hour)
	r.Tolerance = between(r.Tolerance, 0, 1, 0.1)
	r.Policies = slices.Clone(r.Policies)
	for i, p := range r.Policies {
		r.Policies[i] = RatePolicy{p.Percent, min(max(p.Value, 0), maxCount), min(max(p.Period, time.Second), 30*time.Minute)}
	}
	return r
}

// boundedObservation makes what is no number unknown, and bounds the rest.
func boundedObservation(o Observation) Observation {
	if !isRate(o.Rate.PerReplica) || o.Rate.Known == "" {
		o.Rate = ServiceRate{}
	}
	for _, n := range []*int32{&o.Target.Replicas, &o.Target.Available, &o.Target.MaxUnavailable, &o.Pool.Warm, &o.Pool.Lent, &o.Pool.Coming} {
		*n = min(max(*n, 0), maxCount)
	}
	if r := o.Regressed; r != nil && !(isRate(r.Present) && isRate(r.Slot)) {
		o.Regressed = nil
	}
	o.Queues = slices.Clone(o.Queues)
	for i := range o.Queues {
		q := &o.Queues[i]
		q.Weight = between(q.Weight, 1, 1e6, 1)
		if q.DrainSeconds = between(q.DrainSeconds, 0, maxSeconds, 0); q.DrainSeconds < minSeconds {
			q.DrainSeconds = 0
		}
		q.Depth = max(q.Depth, 0)
		q.MostConsumers = min(max(q.MostConsumers, 0), maxCount)
		q.ConsumersPerReplica = min(max(q.ConsumersPerReplica, 1), maxCount)
		q.DeepestPartition = min(max(q.DeepestPartition, 0), q.Depth)
		q.Redelivered = between(q.Redelivered, 0, 1, 0)
		if q.InFlight != nil && *q.InFlight < 0 {
			q.InFlight = nil
		}
		q.Arrival, q.Throughput = rate(q.Arrival), rate(q.Throughput)
	}
	return o
}

// isRate is true where μ can be a service rate.
func isRate(mu float64) bool { return mu >= minRate && mu <= maxAmount }

// rate is r if it can be one.
func rate(r *float64) *float64 {
	if r == nil || !(*r >= 0) || *r > maxAmount {
		return nil
	}
	return r
}

// between is x within [low, high], or otherwise if x is no number.
func between(x, low, high, otherwise float64) float64 {
	if math.IsNaN(x) {
		return otherwise
	}
	return min(max(x, low), high)
}

// clip makes a count of n.
func clip(n int64) int32 { return int32(min(max(n, 0), maxCount)) }

// ceil is the number of whole replicas for x; a rounding error in x asks for none.
func ceil(x float64) int32 {
	if !(x > 0) {
		return 0
	}
	if x >= maxCount {
		return maxCount
	}
	return int32(math.Ceil(x - 1e-9*max(1, x)))
}
