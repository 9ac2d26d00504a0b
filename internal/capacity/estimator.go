// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// block is the length of one measurement without rollout, scaling or lending inside it. Where messages are long it lasts
	// until blockMessages were completed, or its rate would be the luck of the minute; a longer one than blockMost is none.
	block         = time.Minute
	blockMessages = 10
	blockMost     = time.Hour
	// blocks are the saturated ones that the median is taken over.
	blocks = 9
	// latencies are the samples of depth/X, one every latencyEvery: a day. The 5th percentile of them is the source's own
	// latency, the backlog that shows with nothing waiting; at most latencyMax.
	latencies    = 288
	latencyEvery = 5 * time.Minute
	latencyMax   = 15.0
	// tolerated is the share of the larger counter's change that may be unaccounted for, or redelivered, in evidence.
	tolerated = 0.05
)

// How a service rate is known.
const (
	Given    = "Given"
	AtLeast  = "AtLeast"
	Measured = "Measured"
)

// ServiceRate is μ, in weighted messages/s of one replica, and how it is known. PerReplica is 0 when it is unknown.
type ServiceRate struct {
	PerReplica float64
	Known      string
}

// Settings are what the spec says about the queues and their consumers.
type Settings struct {
	// Weights of the queues, in their order; at least 1 each.
	Weights []float64
	// Concurrency is the number of messages one replica works on at once; at least 1.
	Concurrency float64
	// Prior is the service rate of the spec; 0 for none.
	Prior float64
}

// Serving is who works on the queues at one instant.
type Serving struct {
	// Replicas are the pods in service: available ones of the target and lent slots.
	Replicas int32
	// Revision is the pod-template-hash that the target runs.
	Revision string
	// Disturbed is true during a rollout, while the number of replicas changes, and while slots of another revision are lent.
	Disturbed bool
}

// Estimator estimates for one QueueScaler. It is not safe for concurrent use.
type Estimator struct {
	settings Settings
	flows    []flow
	serving  Serving

	// The block that is being measured; began is zero while none is.
	began     time.Time
	start     []point
	saturated bool

	revision  string
	measured  []float64 // rates of the newest saturated blocks of this revision
	atLeast   float64   // highest unsaturated throughput per replica of this revision
	recent    float64   // the same within the last hour
	recentAt  time.Time
	inherited float64 // what an earlier revision was measured to do

	latency   []float32
	latencyAt time.Time
}

// NewEstimator returns an Estimator that knows nothing but, possibly, what was measured before it was restarted.
func NewEstimator(inherited float64) *Estimator {
	e := &Estimator{}
	if inherited > 0 && !math.IsInf(inherited, 0) {
		e.inherited = inherited
	}
	return e
}

// Configure takes over the settings. A changed number of queues or weight starts all measurements anew.
func (e *Estimator) Configure(s Settings) {
	if !slices.Equal(s.Weights, e.settings.Weights) {
		e.flows = make([]flow, len(s.Weights))
		e.began, e.measured, e.atLeast, e.recent = time.Time{}, nil, 0, 0
		if e.settings.Weights != nil {
			e.inherited = 0
		}
	}
	e.settings = s
}

// Restart forgets one queue's past, because it is read from another source now.
func (e *Estimator) Restart(i int) {
	e.flows[i] = flow{}
	e.began = time.Time{}
}

// Serve says who works on the queues from now on. A change ends the block that is being measured.
func (e *Estimator) Serve(s Serving) {
	if s != e.serving || s.Disturbed {
		e.began = time.Time{}
	}
	if s.Revision != e.revision && s.Revision != "" {
		if len(e.measured) > 0 {
			e.inherited = median(slices.Clone(e.measured))
		}
		e.revision, e.measured, e.atLeast, e.recent = s.Revision, nil, 0, 0
	}
	e.serving = s
}

// Observe adds a reading of queue i.
func (e *Estimator) Observe(i int, r queue.Reading) {
	if i < 0 || i >= len(e.flows) {
		return
	}
	before := len(e.flows[i].points)
	e.flows[i].observe(r)
	if len(e.flows[i].points) <= 1 && before > 0 {
		e.began = time.Time{} // it restarted
	}
	e.measure(r.Time)
}

// Queue says what is known of queue i.
func (e *Estimator) Queue(i int) Estimate {
	if i < 0 || i >= len(e.flows) {
		return Estimate{}
	}
	var longest time.Duration
	if mu := e.ServiceRate().PerReplica; mu > 0 {
		longest = time.Duration(min(e.settings.Concurrency/mu, 3600) * float64(time.Second))
	}
	return e.flows[i].estimate(longest)
}

// ServiceRate is the median over the saturated blocks of the present revision; before there is one, what an earlier
// revision did, or the prior, unless this one was seen to do more.
func (e *Estimator) ServiceRate() ServiceRate {
	if len(e.measured) > 0 {
		return ServiceRate{median(slices.Clone(e.measured)), Measured}
	}
	given := or(e.inherited, e.settings.Prior)
	switch {
	case e.atLeast > given:
		return ServiceRate{e.atLeast, AtLeast}
	case given > 0:
		return ServiceRate{given, Given}
	}
	return ServiceRate{}
}

// measure carries the present block on. It begins with a point of every queue, and ends after a minute or when disturbed.
func (e *Estimator) measure(now time.Time) {
	if e.serving.Disturbed || e.serving.Replicas <= 0 || !e.countsAll() {
		e.began = time.Time{}
		return
	}
	if e.began.IsZero() || now.Before(e.began) {
		e.began, e.start, e.saturated = now, e.lasts(), true
		return
	}
	depth, x := e.load()
	e.observeLatency(now, depth, x)
	n, c := float64(e.serving.Replicas), max(1, e.settings.Concurrency)
	e.saturated = e.saturated && depth >= 2*n*c+1.5*e.sourceLatency()*x
	switch length := now.Sub(e.began); {
	case length >= block && e.completed() >= blockMessages:
		e.endBlock(now)
		e.began, e.start, e.saturated = now, e.lasts(), true
	case length >= blockMost:
		e.began, e.start, e.saturated = now, e.lasts(), true
	}
}

// endBlock turns a block into evidence, unless messages went missing or were delivered again in it.
func (e *Estimator) endBlock(now time.Time) {
	work := 0.0
	for i := range e.flows {
		from, to := e.start[i], *e.flows[i].last()
		arrived, completed := float64(to.arrived-from.arrived), float64(to.completed-from.completed)
		kept := float64(to.depth - from.depth + to.inFlight - from.inFlight)
		larger := max(arrived, completed)
		if completed < 0 || math.Abs(arrived-completed-kept) > max(tolerated*larger, 1) ||
			float64(to.redelivered-from.redelivered) > tolerated*max(completed, 1) {
			return
		}
		work += e.settings.Weights[i] * completed
	}
	perReplica := work / now.Sub(e.began).Seconds() / float64(e.serving.Replicas)
	switch {
	case perReplica <= 0:
	case !e.saturated:
		e.atLeast = max(e.atLeast, perReplica)
		if perReplica >= e.recent || now.Sub(e.recentAt) > time.Hour {
			e.recent, e.recentAt = perReplica, now
		}
	case perReplica < 0.9*e.recent && now.Sub(e.recentAt) <= time.Hour:
		// It contradicts itself: with less to do the same replicas did more.
	default:
		e.measured = append(e.measured, perReplica)
		e.measured = e.measured[max(0, len(e.measured)-blocks):]
	}
}

// completed is the number of messages completed in the present block.
func (e *Estimator) completed() (n int64) {
	for i := range e.flows {
		n += e.flows[i].last().completed - e.start[i].completed
	}
	return n
}

// countsAll reports whether every queue has a reading from which arrivals are known, and which tells completions.
func (e *Estimator) countsAll() bool {
	for i := range e.flows {
		last := e.flows[i].last()
		if last == nil || !last.hasArrived || !last.hasCompleted || last.derived {
			return false
		}
	}
	return len(e.flows) > 0
}

func (e *Estimator) lasts() []point {
	points := e.start[:0]
	for i := range e.flows {
		points = append(points, *e.flows[i].last())
	}
	return points
}

// load is the weighted backlog and throughput of all queues.
func (e *Estimator) load() (depth, x float64) {
	for i := range e.flows {
		depth += e.settings.Weights[i] * float64(e.flows[i].last().depth)
		if t := e.flows[i].throughput(); t != nil {
			x += e.settings.Weights[i] * *t
		}
	}
	return depth, x
}

func (e *Estimator) observeLatency(now time.Time, depth, x float64) {
	if x <= 0 || (now.Sub(e.latencyAt) < latencyEvery && !now.Before(e.latencyAt)) {
		return
	}
	e.latencyAt = now
	if len(e.latency) == latencies {
		e.latency = slices.Delete(e.latency, 0, 1)
	}
	e.latency = append(e.latency, float32(depth/x))
}

// sourceLatency is the 5th percentile of depth/X, in seconds; 0 while too little is known.
func (e *Estimator) sourceLatency() float64 {
	if len(e.latency) < 20 {
		return 0
	}
	sorted := slices.Clone(e.latency)
	slices.Sort(sorted)
	return min(latencyMax, float64(sorted[len(sorted)/20]))
}

func or(a, b float64) float64 {
	if a > 0 {
		return a
	}
	return b
}
