// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// scalingInput is the observation as Decide takes it. live is the Deployment to decide for, which a write reads anew.
func scalingInput(seen *Observation, s *Memory, pool standby.PoolInput, live *appsv1.Deployment, a rollout.Assessment) scaling.Observation {
	isSuspended, _ := Suspended(&seen.QueueScaler.Spec, seen.Now)
	o := scaling.Observation{
		Name:      seen.QueueScaler.Name,
		Suspended: isSuspended,
		Conflict:  seen.Conflict,
		Rollout:   rolloutInput(seen, s, a),
		Regressed: regressedInput(s),
		Queues:    queueInputs(seen, s),
		Rate:      s.rate(seen),
		Pool:      scalingPool(seen.Now, pool, seen.Slots),
		Block:     s.block,
	}
	if live == nil || a.Missing {
		return o
	}
	o.Target = scaling.Target{
		Found:          true,
		Replicas:       ReplicasOf(live),
		Available:      live.Status.AvailableReplicas,
		MaxUnavailable: maxUnavailable(live),
		Recreate:       live.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType,
		Incompatible:   live.Spec.Template.Annotations[capacityv1alpha1.AnnotationIncompatible] == "true",
		ContestedUntil: s.Contest.Until,
		ContestedBy:    s.Contest.By,
		StartUp:        or(s.growth.startUp, o.Pool.StartUp),
		SettledOnce:    a.SettledHash != "",
	}
	if seen.Trouble.Message != "" {
		o.Target.PodsFailing = seen.Trouble.Message
	}
	if o.Target.Replicas == 0 {
		o.Target.OwnZero = OwnZero(seen, live)
		o.Target.ForeignZero = !o.Target.OwnZero
	}
	return o
}

// regressedInput is what pods of a regressed revision lack; nil where it is not, or that is not measured. Pods of one that makes
// more work lack nothing.
func regressedInput(s *Memory) *scaling.Regressed {
	r, baseline := s.Ledger.Present(), s.Ledger.Baseline()
	if !regressed(s) || r.Basis == revision.Arrivals || r.Rate() <= 0 || baseline.Rate() <= 0 {
		return nil
	}
	present, slot := r.Rate(), baseline.Rate()
	return &scaling.Regressed{
		Present: present, Slot: slot,
		Message: fmt.Sprintf("%s completes %s/s per replica, %s did %s/s", nameOf(r), decimal(&present), nameOf(baseline), decimal(&slot)),
	}
}

func rolloutInput(seen *Observation, s *Memory, a rollout.Assessment) scaling.Rollout {
	in := scaling.Rollout{
		State:        string(a.State),
		InProgress:   a.InProgress(),
		MayScaleUp:   a.ScaleUp,
		MayScaleDown: a.ScaleDown,
		MayLend:      a.Lend,
		LendFirst:    a.LendFirst,
		Progressing:  a.State == rollout.Rolling && a.Updated > 0 && seen.Trouble.Message == "",
		Hash:         a.New.Hash,
		LastStable:   a.HeldSince,
		Message:      a.Message,
	}
	in.Flagged = slices.Contains(s.Ledger.Flagged(), in.Hash)
	in.Released = in.Hash != "" && (seen.QueueScaler.Annotations[capacityv1alpha1.AnnotationReleaseHold] == in.Hash)
	return in
}

func queueInputs(seen *Observation, s *Memory) []scaling.Queue {
	queues, longest := make([]scaling.Queue, len(seen.Samples)), s.messageTime(seen)
	for i, sample := range seen.Samples {
		spec := &seen.QueueScaler.Spec.Queues[i]
		q := scaling.Queue{
			Name:         spec.Name,
			Weight:       float64(or(spec.Weight, 1)),
			DrainSeconds: float64(spec.DrainSeconds),
			Fresh:        sample.Quality == queue.Fresh,
			Problem:      sample.Message,
		}
		// How many partitions there are does not change by the minute: the last reading tells it while there is no newer one.
		if r := sample.Reading; r != nil && r.MostConsumers != nil {
			q.MostConsumers, q.ConsumersPerReplica = *r.MostConsumers, int64(or(spec.Kafka.ConsumersPerReplica, 1))
		}
		if q.Fresh {
			q.Depth, q.InFlight = sample.Reading.Depth, sample.Reading.InFlight
			if deepest := sample.Reading.DeepestPartition; deepest != nil {
				q.DeepestPartition = *deepest
			}
			estimate := s.Capacity.Queue(i, longest)
			q.Arrival, q.Throughput = estimate.Arrival, estimate.Throughput
			q.Redelivered, q.QuietSince = estimate.Redelivered, estimate.QuietSince
		}
		queues[i] = q
	}
	return queues
}

// maxUnavailable resolves the strategy's own to pods, rounded down as the Deployment controller does. Both at zero would
// forbid every rollout, so that the controller takes 1 then.
func maxUnavailable(d *appsv1.Deployment) int32 {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || rolling == nil {
		return 0
	}
	replicas := int(ReplicasOf(d))
	surge, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxSurge, intstr.FromInt32(0)), replicas, true)
	if err != nil {
		surge = 0
	}
	unavailable, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxUnavailable, intstr.FromInt32(0)), replicas, false)
	if err != nil {
		unavailable = 0
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return int32(min(unavailable, replicas))
}

// Decision is what is to be done, and what status tells of it.
type Decision struct {
	Policy scaling.Policy
	Input  scaling.Observation
	Plan   scaling.Plan
	Pool   standby.PoolPlan
	// Rollback is what follows from a regression where it is to be rolled back; nil where nothing asks for it.
	Rollback *Rollback

	// Arrival and Throughput are of all queues together; nil where one is not known.
	Arrival, Throughput *float64

	// poolInput is what the pool's plan was made from, before is the memory that Plan was: Anew uses them again.
	poolInput standby.PoolInput
	before    scaling.Memory
	// stalledSince is since when messages wait and none is completed; zero if it is not so.
	stalledSince time.Time
	// soakEnds is when a revision will have soaked; zero if none is about to.
	soakEnds time.Time
}

// Decide makes the plans, from what was observed and what is remembered.
func Decide(seen *Observation, s *Memory) *Decision {
	d := &Decision{Policy: PolicyOf(&seen.QueueScaler.Spec), poolInput: poolInput(seen, s), before: s.Scaling}
	d.Input = scalingInput(seen, s, d.poolInput, seen.Target, seen.Assessment)
	d.calibrate(seen, s)
	d.Plan, s.Scaling = scaling.Decide(seen.Now, d.Policy, d.Input, d.before)
	d.Pool = planPool(seen, d.poolInput, d.Plan.Lent)
	d.Arrival = total(d.Input.Queues, func(q scaling.Queue) *float64 { return q.Arrival })
	d.Throughput = total(d.Input.Queues, func(q scaling.Queue) *float64 { return q.Throughput })
	s.objectiveMet = d.Plan.ObjectiveMet.Status == metav1.ConditionTrue
	d.Rollback = rollbackOf(seen, s, &d.Plan)
	s.stalledSince = stalledSince(seen, d, s.stalledSince)
	d.stalledSince = s.stalledSince
	d.soakEnds = s.Soak.Ends(SoakTime(&seen.QueueScaler.Spec))
	return d
}

// Anew makes the plan for the target's replicas again, for a copy of the Deployment that was read just now.
func (d *Decision) Anew(seen *Observation, s *Memory, live *appsv1.Deployment) {
	assessment, _ := rollout.Assess(seen.Now, live, seen.ReplicaSets, s.Rollout)
	d.Plan, s.Scaling = scaling.Decide(seen.Now, d.Policy, scalingInput(seen, s, d.poolInput, live, assessment), d.before)
}

// stalledSince is since when messages wait and none is completed.
func stalledSince(seen *Observation, d *Decision, since time.Time) time.Time {
	waiting := int64(0)
	for _, q := range d.Input.Queues {
		waiting += q.Depth
	}
	if waiting == 0 || d.Throughput == nil || *d.Throughput > 0 {
		return time.Time{}
	}
	if since.IsZero() || since.After(seen.Now) {
		return seen.Now
	}
	return since
}

// lookAgain is how long a QueueScaler with work to do is left alone, so that its rates and its status stay current.
const lookAgain = 5 * time.Second

// Again is when to look again, if nothing happens before; 0: no need to.
func (d *Decision) Again(seen *Observation, done *Outcome) time.Duration {
	next := d.Plan.Again
	sooner := func(t time.Duration) {
		if t = max(t, 10*time.Millisecond); next == 0 || t < next {
			next = t
		}
	}
	if at := d.Pool.Again; !at.IsZero() {
		sooner(at.Sub(seen.Now))
	}
	if !d.soakEnds.IsZero() {
		sooner(d.soakEnds.Sub(seen.Now))
	}
	if isSuspended, until := Suspended(&seen.QueueScaler.Spec, seen.Now); isSuspended && !until.IsZero() {
		sooner(until.Sub(seen.Now))
	}
	if !atRest(seen, d) || done.Wrote {
		sooner(lookAgain)
	}
	if done.NumbersIn > 0 {
		sooner(done.NumbersIn)
	}
	if firstNotFresh(seen.Samples) != nil {
		sooner(time.Minute) // so that what status says of how long that has been is never far off
	}
	return next
}

// atRest: nothing waits, nothing is lent, no rollout, and the target has what it is to have. Where it is quiet no reading brings us
// back, and as long as the rates are those of the work that was there, fewer replicas may be wanted soon.
func atRest(seen *Observation, d *Decision) bool {
	for _, q := range d.Input.Queues {
		if q.Fresh && (q.QuietSince.IsZero() || ptr.Deref(q.Arrival, 0) > 0 || ptr.Deref(q.Throughput, 0) > 0) {
			return false
		}
	}
	return d.Pool.Counts.Lent == 0 && seen.Target != nil && !seen.Assessment.InProgress() && seen.Trouble.Message == "" &&
		d.Plan.Desired != nil && *d.Plan.Desired == ReplicasOf(seen.Target) && seen.Target.Status.AvailableReplicas == *d.Plan.Desired
}

func total(queues []scaling.Queue, of func(scaling.Queue) *float64) *float64 {
	sum := 0.0
	for _, q := range queues {
		v := of(q)
		if !q.Fresh || v == nil {
			return nil
		}
		sum += *v
	}
	return &sum
}

// Outcome is what came of doing it.
type Outcome struct {
	// Err is the first error, Reason its word for the condition Ready.
	Err    error
	Reason string
	// ScaleErr is why the target's replicas could not be written.
	ScaleErr error
	// Replicas of the target as a write or a live read found them; nil where there was neither, and the cache's count.
	Replicas *int32
	// Wrote is true where anything but status was written.
	Wrote bool
	// NumbersIn is how long until changed numbers, which status does not have yet, may be written; 0 where there are none.
	NumbersIn time.Duration
}
