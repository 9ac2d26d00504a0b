// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"time"

	"github.com/queuescaler/queuescaler/internal/rollout"
)

// Policy is what the spec of a QueueScaler asks for, with defaults filled in.
type Policy struct {
	Min, Max int32
	// Drain is the objective; nil means the plain form, with PerReplica.
	Drain *Drain
	// PerReplica is the number of messages, waiting or in flight, for each replica (plain form).
	PerReplica int64
	Behavior   Behavior
	Rollout    RolloutPolicy
	// Fallback is a floor while no queue can be read; nil means none.
	Fallback *Fallback
	// HasPool is true where standby is asked for.
	HasPool bool
}

// Drain asks for enough replicas to work off any backlog within a time.
type Drain struct {
	// Seconds is T, for queues that have none of their own.
	Seconds float64
	// Utilization is ρ, in (0, 1].
	Utilization float64
	// Concurrency is c, at least 1.
	Concurrency float64
}

// Behavior has a rule for each direction, with the meaning of autoscaling/v2.
type Behavior struct {
	ScaleUp, ScaleDown Rules
}

// Rules limit changes in one direction.
type Rules struct {
	// Window over which the safest recommendation counts.
	Window time.Duration
	// Tolerance is the relative deviation that causes no change, in [0, 1].
	Tolerance float64
	// Disabled forbids changes in this direction.
	Disabled bool
	// SelectMin chooses the policy that allows the smallest change; else the largest.
	SelectMin bool
	// Policies allow changes within periods; none means no limit.
	Policies []RatePolicy
}

// RatePolicy allows a change within a period.
type RatePolicy struct {
	// Percent is true where Value is a percentage of the replicas at the start of the period, else it counts pods.
	Percent bool
	Value   int32
	Period  time.Duration
}

// RolloutPolicy says what may happen while a rollout is in progress.
type RolloutPolicy struct {
	// Mode is Hold, ScaleUpOnly or Ignore.
	Mode string
	// ForbidLending is rollout.lending: Forbid.
	ForbidLending bool
	HoldTimeout   time.Duration
	// ReleaseAfterMissed ends a hold for scale-up once the objective was missed for so long; 0 means never.
	ReleaseAfterMissed time.Duration
}

// Fallback is a floor while no queue can be read.
type Fallback struct {
	After time.Duration
	Min   int32
}

// Queue is what is known of one queue at one instant.
type Queue struct {
	Name string
	// Weight is the work per message relative to the other queues, at least 1.
	Weight float64
	// DrainSeconds is T of this queue; 0 means the policy's.
	DrainSeconds float64
	// Fresh is false where the reading may not be decided upon.
	Fresh bool
	// Depth is the newest backlog, InFlight what is being worked on (nil: not told).
	Depth    int64
	InFlight *int64
	// Arrival is λ for scaling up: the larger of the fast and the slow estimate, messages/s. nil: unknown.
	Arrival *float64
	// Throughput is X, messages/s completed. nil: unknown.
	Throughput *float64
	// Redelivered is the share of deliveries that were repeated, in [0, 1]; 0 where not told.
	Redelivered float64
	// QuietSince is since when nothing waited, was in flight or arrived; zero when it is not quiet.
	QuietSince time.Time
}

// ServiceRate is μ and how it is known.
type ServiceRate struct {
	// PerReplica is μ in weighted messages/s (a message of weight w counts w). 0: unknown.
	PerReplica float64
	// Known is Given, AtLeast or Measured; empty when unknown.
	Known string
}

// Target is the Deployment at one instant.
type Target struct {
	// Found is false when the Deployment does not exist or is being deleted.
	Found bool
	// Replicas is spec.replicas, Available status.availableReplicas.
	Replicas, Available int32
	// MaxUnavailable is the strategy's own, resolved to pods; 0 for none.
	MaxUnavailable int32
	// Recreate is true for strategy Recreate, Incompatible for the template's incompatible-with-previous annotation.
	Recreate, Incompatible bool
	// ForeignZero is true where somebody else set replicas to 0.
	ForeignZero bool
	// Contested is the time until which the replicas are left to another writer; zero when they are not.
	ContestedUntil time.Time
	// StartUp is how long a pod of the target takes until available; 0: unknown.
	StartUp time.Duration
	// PodsFailing is true where new pods crash-loop or cannot be scheduled: a further step would not help.
	PodsFailing bool
	// Rollout is what Assess said.
	Rollout rollout.Assessment
	// HoldReleased is true where a person ended the present hold by annotation.
	HoldReleased bool
	// SettledOnce is true once the target was complete: nothing is lent before.
	SettledOnce bool
}

// Pool is what is known of the slots at one instant.
type Pool struct {
	// Warm slots may be lent now (of a soaked revision, ready, not being deleted); Lent are in service.
	Warm, Lent int32
	// OtherRevision is true where the pool does not run the target's current revision.
	OtherRevision bool
	// StartUp is how long a slot takes until warm; 0: unknown.
	StartUp time.Duration
}

// Observation is everything that is decided upon.
type Observation struct {
	// Suspended and Conflict (a message that names the other autoscaler) hold everything.
	Suspended bool
	Conflict  string
	Target    Target
	Queues    []Queue
	Rate      ServiceRate
	Pool      Pool
}
