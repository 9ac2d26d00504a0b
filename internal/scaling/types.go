// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

// Policy is what the spec of a QueueScaler asks for, with defaults filled in.
type Policy struct {
	Min, Max int32
	// Drain is the objective; nil means the plain form, with PerReplica.
	Drain *Drain
	// PerReplica is the number of messages, waiting or in flight, for each replica (plain form).
	PerReplica int64
	// Behavior limits how fast the number changes. DefaultBehavior is what an empty spec means.
	Behavior Behavior
	Rollout  RolloutPolicy
	// Fallback is a floor while no queue can be read; nil means none.
	Fallback *Fallback
}

// Drain asks for enough replicas to work off any backlog within a time.
type Drain struct {
	// Seconds is T, for queues that have none of their own.
	Seconds float64
	// Utilization is ρ, in (0, 1].
	Utilization float64
	// Concurrency is c, at least 1.
	Concurrency float64
	// Prior is the service rate of the spec; 0 for none. With one, a higher lower bound of μ takes its place; without,
	// a lower bound alone says too little to take the full step.
	Prior float64
}

// Behavior has a rule for each direction, with the meaning of autoscaling/v2.
type Behavior struct {
	ScaleUp, ScaleDown Rules
}

// Rules limit changes in one direction.
type Rules struct {
	// Window over which the safest recommendation counts: the highest for scale-down, the lowest for scale-up.
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
	// Period of at most 30 min.
	Period time.Duration
}

// DefaultBehavior is what an empty spec.behavior means: the full number in one step up; down to the highest
// recommendation of 300 s; deviations of 10 % cause no change.
func DefaultBehavior() Behavior {
	return Behavior{
		ScaleUp:   Rules{Tolerance: 0.1},
		ScaleDown: Rules{Tolerance: 0.1, Window: 300 * time.Second},
	}
}

// RolloutMode is spec.rollout.policy. Scale-down is held during a rollout in every mode.
type RolloutMode string

const (
	// Hold leaves the target's replicas alone during a rollout. The zero value means the same.
	Hold RolloutMode = "Hold"
	// ScaleUpOnly lets scale-up through, except into a rollout that is stuck or rolling back.
	ScaleUpOnly RolloutMode = "ScaleUpOnly"
	// Ignore lets scale-up through whatever the rollout does.
	Ignore RolloutMode = "Ignore"
)

// RolloutPolicy says what may happen while a rollout is in progress.
type RolloutPolicy struct {
	Mode RolloutMode
	// ForbidLending is rollout.lending: Forbid.
	ForbidLending bool
	// HoldTimeout after the target was last stable scale-up is allowed again; 0 means never.
	HoldTimeout time.Duration
	// ReleaseAfterMissed ends a hold for scale-up once the objective was missed for so long; 0 means never.
	ReleaseAfterMissed time.Duration
}

// Fallback is a floor while no queue can be read.
type Fallback struct {
	After time.Duration
	Min   int32
}

// Observation is everything that is decided upon.
type Observation struct {
	// Name of the QueueScaler, for the commands in messages.
	Name string
	// Suspended and Conflict (a message that names the other autoscaler) hold everything.
	Suspended bool
	Conflict  string
	Target    Target
	Rollout   Rollout
	Queues    []Queue
	Rate      ServiceRate
	Pool      Pool
	// Regressed is set while the target's revision is found to do less per replica than the known-good one. Pool then
	// counts slots of the known-good revision only.
	Regressed *Regressed
	// Block is the newest block of the capacity that was measured; nil: none. It may be handed in again and again.
	Block *Saturation
}

// Queue is what is known of one queue at one instant.
type Queue struct {
	Name string
	// Weight is the work per message relative to the other queues, at least 1.
	Weight float64
	// DrainSeconds is T of this queue; 0 means the policy's.
	DrainSeconds float64
	// Fresh is false where the reading may not be decided upon. Nothing below but Problem and how many consumers there may be is looked at then.
	Fresh bool
	// Problem says for a person why it is not fresh.
	Problem string
	// Depth is the newest backlog, InFlight what is being worked on (nil: not told).
	Depth    int64
	InFlight *int64
	// Arrival is λ, messages/s. nil: unknown.
	Arrival *float64
	// Throughput is X, messages/s completed. nil: unknown.
	Throughput *float64
	// MostConsumers is how many consumers can work on it at once: its partitions. A consumer that comes or goes then interrupts the
	// others. As told last where it is not fresh. 0: any number, or never told.
	MostConsumers int64
	// ConsumersPerReplica is how many of them one replica runs, at least 1.
	ConsumersPerReplica int64
	// DeepestPartition is the largest backlog of one partition, which one consumer at a time works on; 0 where not told.
	DeepestPartition int64
	// Redelivered is the share of deliveries that were repeated, in [0, 1]; 0 where not told.
	Redelivered float64
	// QuietSince is since when nothing waited, was in flight or arrived; zero when it is not quiet.
	QuietSince time.Time
}

// ServiceRate is μ and how it is known.
type ServiceRate = capacity.ServiceRate

// How a service rate is known.
const (
	Given    = capacity.Given
	AtLeast  = capacity.AtLeast
	Measured = capacity.Measured
)

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
	// ForeignZero is true where somebody else set replicas to 0, OwnZero where this QueueScaler did.
	ForeignZero, OwnZero bool
	// ContestedUntil is the time until which the replicas are left to another writer; zero when they are not.
	ContestedUntil time.Time
	// ContestedBy is that writer's field manager.
	ContestedBy string
	// StartUp is how long a pod of the target takes until available; 0: unknown.
	StartUp time.Duration
	// PodsFailing says for a person why new pods crash-loop or cannot be scheduled, so that a further step would
	// not help. Empty when they do not.
	PodsFailing string
	// SettledOnce is true once the target was complete: nothing is lent before.
	SettledOnce bool
}

// Rollout is what the assessment of the target's rollout permits, and why. The zero value permits nothing.
type Rollout struct {
	// State is the word of rollout.State, such as Stable or Rolling.
	State string
	// InProgress is true in every state but Stable and Scaling.
	InProgress bool
	// MayScaleUp, MayScaleDown and MayLend are the assessment's permissions.
	MayScaleUp, MayScaleDown, MayLend bool
	// LendFirst: slots are preferred to replicas as long as there are any.
	LendFirst bool
	// Progressing is true while pods of the new revision become available.
	Progressing bool
	// Released is true where a person ended the present hold by annotation.
	Released bool
	// Hash is the pod-template-hash that the release-hold annotation would have to name.
	Hash string
	// LastStable is when the target was last seen complete: the hold timeout counts from here. Zero: not known.
	LastStable time.Time
	// Flagged is true where the revision that rolls out is suspected or regressed: no timeout feeds it.
	Flagged bool
	// Message says for a person what goes on, such as "revision 7 rolling out for 6 min, 9 of 12 updated".
	Message string
}

// Words of Rollout.State that Decide distinguishes.
const (
	stateRolling     = "Rolling"
	stateStuck       = "Stuck"
	stateRollingBack = "RollingBack"
)

// Pool is what is known of the slots at one instant.
type Pool struct {
	// Warm slots may be lent now (of a soaked revision, ready, not being deleted); Lent are in service.
	Warm, Lent int32
	// Coming slots will be warm: they start, or end and are made again. Looked at with a regressed revision only.
	Coming int32
	// OtherRevision is true where the pool does not run the target's current revision.
	OtherRevision bool
	// StartUp is how long a slot takes until warm; 0: unknown.
	StartUp time.Duration
}

// Finding is a state with its reason and, for a person, its numbers: what a condition needs.
type Finding struct {
	Status  metav1.ConditionStatus
	Reason  string
	Message string
}

// Restraint is a hold that applies: a reason to leave the target's replicas alone, in one or both directions.
type Restraint struct {
	Reason, Message string
	Up, Down        bool
}

// Plan is what to do, and why.
type Plan struct {
	// Recommended is what the queues ask for, Desired the same after stabilization and limits, holds apart.
	// nil: unknown, change nothing.
	Recommended, Desired *int32
	// Replicas is the number to write to the target; nil: leave it alone.
	Replicas *int32
	// Lent is how many slots are to be in service: a level, not a change.
	Lent int32
	// Reason and Message say why, in one word and with the numbers.
	Reason, Message string
	// Held is true where a hold keeps the target from the desired number. Reason and Message are that hold's.
	Held bool
	// Holds are all that apply, also those that bind nothing now.
	Holds []Restraint
	// Released is set where a rollout's hold on scale-up ended early. Its reason is HoldReleased or HoldTimedOut.
	Released *Finding
	// Able, Active, Limited and ObjectiveMet are the conditions AbleToScale, ScalingActive, ScalingLimited and ObjectiveMet.
	Able, Active, Limited, ObjectiveMet Finding
	// DrainSeconds until the backlog is gone at the present capacity; nil: unknown, or never if DrainNever.
	DrainSeconds *float64
	DrainNever   bool
	// InFallback is true while the fallback floor applies.
	InFallback bool
	// CheckQueue is true while redelivery keeps the number from growing.
	CheckQueue bool
	// Again is after how long the plan could change by time alone; 0: it could not.
	Again time.Duration
}
