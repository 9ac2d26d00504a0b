// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/rollout"
)

// stalledAfter is how long messages wait with nothing completed until the consumers are taken to be stalled; longer where
// one message takes longer.
const stalledAfter = 5 * time.Minute

// diagnose says what goes on and what to do: first what must be mended before anything else can help.
func diagnose(seen *Observation, d *Decision, s *Memory) *capacityv1alpha1.Diagnosis {
	for _, cause := range []func(*Observation, *Decision, *Memory) *capacityv1alpha1.Diagnosis{
		dataUnavailable, rolloutStuck, revisionRegressed, capacityMissing, consumersStalled, redelivering, ineffective, slowedDown, arrivalsSuspected, demandSurge,
	} {
		if found := cause(seen, d, s); found != nil {
			found.Since = StatusTime(seen.Now)
			found.Message = Clip(found.Message, 2048)
			return found
		}
	}
	return &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseHealthy, Since: StatusTime(seen.Now)}
}

func dataUnavailable(seen *Observation, _ *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	sample := firstNotFresh(seen.Samples)
	if sample == nil {
		return nil
	}
	found := &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseDataUnavailable, Message: queueMessage(seen, sample)}
	if sample.Reason != capacityv1alpha1.ReasonWaitingForReadings {
		found.Advice = capacityv1alpha1.AdviceCheckQueue
	}
	return found
}

func rolloutStuck(seen *Observation, _ *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	if !stuckByItself(seen) {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{
		Cause: capacityv1alpha1.CauseRolloutStuck, Advice: rollBackTo(RevisionNumber(seen, seen.Assessment.SettledHash)), Message: stuckAdvice(seen),
	}
}

// rollBackTo is the advice to go back to a revision; 0: to the one before.
func rollBackTo(number int64) string {
	if number > 0 {
		return fmt.Sprintf("%s:%d", capacityv1alpha1.AdviceRollBack, number)
	}
	return capacityv1alpha1.AdviceRollBack
}

func revisionRegressed(seen *Observation, d *Decision, s *Memory) *capacityv1alpha1.Diagnosis {
	if seen.Target == nil || !regressed(s) {
		return nil
	}
	to := s.Ledger.Baseline()
	number := RevisionNumber(seen, to.Hash)
	if number == 0 {
		number = to.Number
	}
	cause := capacityv1alpha1.CauseThroughputRegressed
	if s.Ledger.Present().Basis == revision.Arrivals {
		cause = capacityv1alpha1.CauseArrivalsInflated
	}
	return &capacityv1alpha1.Diagnosis{Cause: cause, Advice: rollBackTo(number), Message: regressionAdvice(seen, d, s)}
}

// arrivalsSuspected: without a driver more arrives since the deploy. What is done about the messages is what a surge calls for.
func arrivalsSuspected(seen *Observation, d *Decision, s *Memory) *capacityv1alpha1.Diagnosis {
	if !suspectedByArrivals(s) {
		return nil
	}
	found := &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseArrivalsInflated, Message: sentences(suspicionText(seen, s))}
	if surge := demandSurge(seen, d, s); surge != nil {
		found.Advice, found.Message = surge.Advice, sentences(suspicionText(seen, s), surge.Message)
	}
	return found
}

// ineffective: more replicas brought no more throughput.
func ineffective(_ *Observation, d *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	for _, h := range d.Plan.Holds {
		if h.Reason == capacityv1alpha1.ReasonScaleUpIneffective {
			return &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseIneffective, Advice: capacityv1alpha1.AdviceCheckDownstream, Message: h.Message}
		}
	}
	return nil
}

// slowedDown: the known-good revision itself does less than it did.
func slowedDown(_ *Observation, _ *Decision, s *Memory) *capacityv1alpha1.Diagnosis {
	c, slower := s.Ledger.SlowedDown()
	if !slower {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{
		Cause: capacityv1alpha1.CauseSlowedDown, Advice: capacityv1alpha1.AdviceCheckDownstream,
		Message: fmt.Sprintf("%s, which is known-good, completes %s msg/s per replica and did %s (−%.0f %%, %d of %d blocks): it is not the revision. Look at what it calls: a database, a cache, a remote service",
			nameOf(s.Ledger.Present()), decimal(&c.Present), decimal(&c.Baseline), -100*c.Change, c.Worse, c.Blocks),
	}
}

func capacityMissing(seen *Observation, _ *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	if seen.Target == nil || seen.Trouble.Message == "" {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{
		Cause: capacityv1alpha1.CauseCapacityMissing, Advice: capacityv1alpha1.AdviceCheckCluster,
		Message: fmt.Sprintf("%d of %d replicas are available: %s", seen.Target.Status.AvailableReplicas, ReplicasOf(seen.Target), seen.Trouble.Message),
	}
}

func consumersStalled(seen *Observation, d *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	if seen.Target == nil || d.stalledSince.IsZero() {
		return nil
	}
	patience := stalledAfter
	if rate := d.Input.Rate.PerReplica; rate > 0 && d.Policy.Drain != nil {
		patience = max(patience, time.Duration(min(5*d.Policy.Drain.Concurrency/rate, 1e6)*float64(time.Second)))
	}
	if seen.Now.Sub(d.stalledSince) < patience || seen.Target.Status.AvailableReplicas == 0 {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{
		Cause: capacityv1alpha1.CauseConsumersStalled, Advice: capacityv1alpha1.AdviceCheckConsumers,
		Message: fmt.Sprintf("messages have waited since %s and none was completed, with %d replicas available: look at the consumers' logs",
			d.stalledSince.UTC().Format(time.TimeOnly), seen.Target.Status.AvailableReplicas),
	}
}

func redelivering(_ *Observation, d *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	if !d.Plan.CheckQueue {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseDemandSurge, Advice: capacityv1alpha1.AdviceCheckQueue, Message: d.Plan.Message}
}

func demandSurge(seen *Observation, d *Decision, _ *Memory) *capacityv1alpha1.Diagnosis {
	if seen.Target == nil || d.Plan.Desired == nil {
		return nil
	}
	found := &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseDemandSurge, Message: d.Plan.Message}
	short := *d.Plan.Desired > seen.Target.Status.AvailableReplicas
	switch missed := d.Plan.ObjectiveMet.Status == metav1.ConditionFalse; {
	case missed && seen.Assessment.State == rollout.RollingBack: // what the revision that goes would need is of no interest any more
		found.Advice, found.Message = capacityv1alpha1.AdviceWait, sentences(seen.Assessment.Message, "How many replicas are needed shows at its end.")
	case d.Plan.Limited.Reason == capacityv1alpha1.ReasonTooManyReplicas && missed:
		found.Advice, found.Message = capacityv1alpha1.AdviceRaiseMaxReplicas, d.Plan.Limited.Message
	case d.Plan.Limited.Reason == capacityv1alpha1.ReasonTooFewPartitions && missed:
		found.Advice, found.Message = capacityv1alpha1.AdviceCheckQueue, d.Plan.Limited.Message
	case short && d.Plan.Held:
		found.Advice = capacityv1alpha1.AdviceWait
	case short && d.Plan.Replicas != nil, short && ReplicasOf(seen.Target) > seen.Target.Status.AvailableReplicas:
		found.Advice = capacityv1alpha1.AdviceScalingUp
	case missed:
		found.Advice = capacityv1alpha1.AdviceWait
	default:
		return nil
	}
	return found
}
