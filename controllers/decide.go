// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// scalingInput is the observation as Decide takes it. live is the Deployment to decide for, which a write reads anew.
func scalingInput(seen *observed, s *scaler, pool standby.PoolInput, live *appsv1.Deployment, a rollout.Assessment) scaling.Observation {
	isSuspended, _ := suspended(&seen.qs.Spec, seen.now)
	o := scaling.Observation{
		Name:      seen.qs.Name,
		Suspended: isSuspended,
		Conflict:  seen.conflict,
		Rollout:   rolloutInput(seen, a),
		Queues:    queueInputs(seen, s),
		Rate:      s.capacity.ServiceRate(),
		Pool:      scalingPool(seen.now, pool, seen.slots),
	}
	if live == nil || a.Missing {
		return o
	}
	o.Target = scaling.Target{
		Found:          true,
		Replicas:       replicasOf(live),
		Available:      live.Status.AvailableReplicas,
		MaxUnavailable: maxUnavailable(live),
		Recreate:       live.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType,
		Incompatible:   live.Spec.Template.Annotations[capacityv1alpha1.AnnotationIncompatible] == "true",
		ContestedUntil: s.contest.Until,
		ContestedBy:    s.contest.By,
		StartUp:        o.Pool.StartUp,
		SettledOnce:    a.SettledHash != "",
	}
	if seen.trouble.Message != "" {
		o.Target.PodsFailing = seen.trouble.Message
	}
	if o.Target.Replicas == 0 {
		o.Target.OwnZero = ownZero(seen, live)
		o.Target.ForeignZero = !o.Target.OwnZero
	}
	return o
}

func rolloutInput(seen *observed, a rollout.Assessment) scaling.Rollout {
	in := scaling.Rollout{
		State:        string(a.State),
		InProgress:   a.InProgress(),
		MayScaleUp:   a.ScaleUp,
		MayScaleDown: a.ScaleDown,
		MayLend:      a.Lend,
		LendFirst:    a.LendFirst,
		Progressing:  a.State == rollout.Rolling && a.Updated > 0 && seen.trouble.Message == "",
		Hash:         a.New.Hash,
		LastStable:   a.HeldSince,
		Message:      a.Message,
	}
	in.Released = in.Hash != "" && (seen.qs.Annotations[capacityv1alpha1.AnnotationReleaseHold] == in.Hash)
	return in
}

func queueInputs(seen *observed, s *scaler) []scaling.Queue {
	queues := make([]scaling.Queue, len(seen.samples))
	for i, sample := range seen.samples {
		spec := &seen.qs.Spec.Queues[i]
		q := scaling.Queue{
			Name:         spec.Name,
			Weight:       float64(or(spec.Weight, 1)),
			DrainSeconds: float64(spec.DrainSeconds),
			Fresh:        sample.Quality == queue.Fresh,
			Problem:      sample.Message,
		}
		if q.Fresh {
			q.Depth, q.InFlight = sample.Reading.Depth, sample.Reading.InFlight
			estimate := s.capacity.Queue(i)
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
	replicas := int(replicasOf(d))
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

// decided is what is to be done, and what status tells of it.
type decided struct {
	policy scaling.Policy
	input  scaling.Observation
	plan   scaling.Plan
	// slots is the input of the pool's plan, which a second decision reuses.
	slots standby.PoolInput
	pool  standby.PoolPlan
	// before is the memory that the plan was made from, to make it anew.
	before scaling.Memory

	// arrival and throughput are of all queues together; nil where one is not known.
	arrival, throughput *float64
	// stalledSince is since when messages wait and none is completed; zero if it is not so.
	stalledSince time.Time
	// soakEnds is when a revision will have soaked; zero if none is about to.
	soakEnds time.Time
}

// decide makes the plans, from what was observed and what is remembered.
func decide(seen *observed, s *scaler) *decided {
	d := &decided{policy: policyOf(&seen.qs.Spec), slots: seen.poolInput(s), before: s.decision}
	d.input = scalingInput(seen, s, d.slots, seen.target, seen.assessment)
	d.plan, s.decision = scaling.Decide(seen.now, d.policy, d.input, d.before)
	d.pool = planPool(seen, s, d.slots, d.plan.Lent)
	d.arrival = total(d.input.Queues, func(q scaling.Queue) *float64 { return q.Arrival })
	d.throughput = total(d.input.Queues, func(q scaling.Queue) *float64 { return q.Throughput })
	s.stalledSince = stalledSince(seen, d, s.stalledSince)
	d.stalledSince = s.stalledSince
	d.soakEnds = s.soak.Ends(soakTime(&seen.qs.Spec))
	return d
}

// stalledSince is since when messages wait and none is completed.
func stalledSince(seen *observed, d *decided, since time.Time) time.Time {
	waiting := int64(0)
	for _, q := range d.input.Queues {
		waiting += q.Depth
	}
	if waiting == 0 || d.throughput == nil || *d.throughput > 0 {
		return time.Time{}
	}
	if since.IsZero() || since.After(seen.now) {
		return seen.now
	}
	return since
}

// longest is how long a QueueScaler with work to do is left alone, so that its rates and its status stay current.
const longest = 5 * time.Second

// again is when to look again, if nothing happens before; 0: no need to.
func (d *decided) again(seen *observed, done *acted) time.Duration {
	next := d.plan.Again
	sooner := func(t time.Duration) {
		if t = max(t, 10*time.Millisecond); next == 0 || t < next {
			next = t
		}
	}
	if at := d.pool.Again; !at.IsZero() {
		sooner(at.Sub(seen.now))
	}
	if !d.soakEnds.IsZero() {
		sooner(d.soakEnds.Sub(seen.now))
	}
	if isSuspended, until := suspended(&seen.qs.Spec, seen.now); isSuspended && !until.IsZero() {
		sooner(until.Sub(seen.now))
	}
	if !atRest(seen, d) || done.wrote {
		sooner(longest)
	}
	if firstNotFresh(seen.samples) != nil {
		sooner(time.Minute) // so that what status says of how long that has been is never far off
	}
	return next
}

// atRest: nothing waits, nothing is lent, no rollout, and the target has what it is to have.
func atRest(seen *observed, d *decided) bool {
	for _, q := range d.input.Queues {
		if q.Fresh && q.QuietSince.IsZero() {
			return false
		}
	}
	return d.pool.Counts.Lent == 0 && seen.target != nil && !seen.assessment.InProgress() && seen.trouble.Message == "" &&
		d.plan.Desired != nil && *d.plan.Desired == replicasOf(seen.target) && seen.target.Status.AvailableReplicas == *d.plan.Desired
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
