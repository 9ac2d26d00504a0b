// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/internal/queue"
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
	// ConsumersPerReplica are those that one replica runs of each queue with partitions, in the order of Weights; nil means 1.
	ConsumersPerReplica []float64
	// Concurrency is c, the number of messages one replica works on at once; at least 1.
	Concurrency float64
	// Block is the length of a block; 0 means DefaultBlock.
	Block time.Duration
}

// Serving is who works on the queues at one instant.
type Serving struct {
	// Replicas are the pods of Revision in service: available ones of the target, and lent slots.
	Replicas int32
	// Others are the lent slots of another revision, OthersRate what one of them completes per second while it always has
	// work (weighted messages); 0: not known.
	Others     int32
	OthersRate float64
	// Revision that the target runs. It is only compared.
	Revision string
	// Disturbed is true during a rollout, and while pods come or go.
	Disturbed bool
	// Young is true while a pod in service is younger than max(2 × start-up, 120 s).
	Young bool
}

// Estimator estimates for one QueueScaler. It is not safe for concurrent use.
type Estimator struct {
	settings Settings
	flows    []flow
	serving  Serving
	block    measurement
	latency  latency
	highest  highest
	ended    []Block
	// driver is the recent past of the counter of user work.
	driver flow
	day    day
	stay   stay
}

// NewEstimator returns an Estimator that knows nothing.
func NewEstimator() *Estimator { return &Estimator{} }

// Configure takes over the settings. A changed number of queues or weight starts all measurements anew.
func (e *Estimator) Configure(s Settings) {
	switch {
	case !slices.Equal(s.Weights, e.settings.Weights):
		e.flows = make([]flow, len(s.Weights))
		e.block = measurement{parts: make([]part, len(s.Weights)), clear: e.block.clear}
		e.latency, e.highest, e.ended = latency{}, highest{}, nil
		e.day, e.stay = day{}, stay{}
	case s.Concurrency != e.settings.Concurrency:
		e.block.drop(e.serving.Young)
	}
	e.settings = Settings{Weights: slices.Clone(s.Weights), Concurrency: max(1, s.Concurrency), Block: s.Block, ConsumersPerReplica: slices.Clone(s.ConsumersPerReplica)}
	if s.Block <= 0 {
		e.settings.Block = DefaultBlock
	}
}

// Restart forgets one queue's past, because it is read from another source now.
func (e *Estimator) Restart(i int) {
	e.flows[i] = flow{}
	e.block.drop(e.serving.Young)
}

// Serve says who works on the queues from now on. A change ends the block that is being measured, and none begins with a
// reading from before it; so does the end of youth, for what came before it is no evidence. That a pod is young, or what another
// revision's slot completes, changes nobody's number.
func (e *Estimator) Serve(now time.Time, s Serving) {
	was := e.serving
	changed := s.Disturbed || was.Disturbed || s.Replicas != was.Replicas || s.Others != was.Others || s.Revision != was.Revision ||
		was.Young && !s.Young
	if changed {
		e.cut()
	}
	e.serving = s
	if changed {
		e.block.drop(s.Young)
		e.block.clear = e.settled(now)
	}
	if s.Revision != was.Revision {
		e.highest = highest{}
	}
	e.block.young = e.block.young || s.Young
}

// settled is when readings are evidence again after a change.
func (e *Estimator) settled(change time.Time) time.Time {
	for i := range e.flows {
		if e.flows[i].shared {
			return change.Add(rebalance)
		}
	}
	return change
}

// Observe adds a reading of queue i.
func (e *Estimator) Observe(i int, r queue.Reading) {
	if i < 0 || i >= len(e.flows) {
		return
	}
	follows := e.flows[i].observe(r)
	if follows == ignored {
		return
	}
	if follows == continued {
		e.countDay(i)
	}
	if e.flows[i].rebalanced(r) {
		e.block.drop(e.serving.Young)
		if at := e.settled(r.Time); at.After(e.block.clear) {
			e.block.clear = at
		}
	}
	if follows == broken || !e.measurable() {
		e.block.drop(e.serving.Young)
	}
	if e.measurable() {
		e.measure(i)
	}
}

// Queue says what is known of queue i. longest is how long one message takes, c/μ; 0 where that is not known.
func (e *Estimator) Queue(i int, longest time.Duration) Estimate {
	if i < 0 || i >= len(e.flows) {
		return Estimate{}
	}
	return e.flows[i].estimate(min(max(longest, 0), time.Hour))
}

// Blocks are those that ended since the last call, oldest first. Of more than 16 the oldest are lost.
func (e *Estimator) Blocks() []Block {
	ended := e.ended
	e.ended = nil
	return ended
}

// measurable reports whether somebody works on the queues undisturbed, and every queue tells arrivals and completions.
func (e *Estimator) measurable() bool {
	if e.serving.Disturbed || e.serving.Replicas <= 0 {
		return false
	}
	for i := range e.flows {
		last := e.flows[i].last()
		if last == nil || !last.hasArrived || !last.hasCompleted || last.derived {
			return false
		}
	}
	return len(e.flows) > 0
}
