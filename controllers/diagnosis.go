// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/rollout"
)

// stalledAfter is how long messages wait with nothing completed until the consumers are taken to be stalled; longer where
// one message takes longer.
const stalledAfter = 5 * time.Minute

// diagnose says what goes on and what to do: first what must be mended before anything else can help.
func diagnose(seen *observed, d *decided) *capacityv1alpha1.Diagnosis {
	for _, cause := range []func(*observed, *decided) *capacityv1alpha1.Diagnosis{
		dataUnavailable, rolloutStuck, capacityMissing, consumersStalled, redelivering, demandSurge,
	} {
		if found := cause(seen, d); found != nil {
			found.Since = statusTime(seen.now)
			found.Message = clip(found.Message, 2048)
			return found
		}
	}
	return &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseHealthy, Since: statusTime(seen.now)}
}

func dataUnavailable(seen *observed, _ *decided) *capacityv1alpha1.Diagnosis {
	sample := firstNotFresh(seen.samples)
	if sample == nil {
		return nil
	}
	found := &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseDataUnavailable, Message: queueMessage(seen, sample)}
	if sample.Reason != capacityv1alpha1.ReasonWaitingForReadings {
		found.Advice = capacityv1alpha1.AdviceCheckQueue
	}
	return found
}

func rolloutStuck(seen *observed, _ *decided) *capacityv1alpha1.Diagnosis {
	if seen.target == nil || seen.assessment.State != rollout.Stuck || seen.trouble.Cluster {
		return nil
	}
	to := revisionNumber(seen, seen.assessment.SettledHash)
	advice := capacityv1alpha1.AdviceRollBack
	if to > 0 {
		advice = fmt.Sprintf("%s:%d", advice, to)
	}
	return &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseRolloutStuck, Advice: advice, Message: rollbackMessage(seen, to)}
}

func capacityMissing(seen *observed, _ *decided) *capacityv1alpha1.Diagnosis {
	if seen.target == nil || seen.trouble.Message == "" {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{
		Cause: capacityv1alpha1.CauseCapacityMissing, Advice: capacityv1alpha1.AdviceCheckCluster,
		Message: fmt.Sprintf("%d of %d replicas are available: %s", seen.target.Status.AvailableReplicas, replicasOf(seen.target), seen.trouble.Message),
	}
}

func consumersStalled(seen *observed, d *decided) *capacityv1alpha1.Diagnosis {
	if seen.target == nil || d.stalledSince.IsZero() {
		return nil
	}
	patience := stalledAfter
	if rate := d.input.Rate.PerReplica; rate > 0 && d.policy.Drain != nil {
		patience = max(patience, time.Duration(min(5*d.policy.Drain.Concurrency/rate, 1e6)*float64(time.Second)))
	}
	if seen.now.Sub(d.stalledSince) < patience || seen.target.Status.AvailableReplicas == 0 {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{
		Cause: capacityv1alpha1.CauseConsumersStalled, Advice: capacityv1alpha1.AdviceCheckConsumers,
		Message: fmt.Sprintf("messages have waited since %s and none was completed, with %d replicas available: look at the consumers' logs",
			d.stalledSince.UTC().Format(time.TimeOnly), seen.target.Status.AvailableReplicas),
	}
}

func redelivering(_ *observed, d *decided) *capacityv1alpha1.Diagnosis {
	if !d.plan.CheckQueue {
		return nil
	}
	return &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseDemandSurge, Advice: capacityv1alpha1.AdviceCheckQueue, Message: d.plan.Message}
}

func demandSurge(seen *observed, d *decided) *capacityv1alpha1.Diagnosis {
	if seen.target == nil || d.plan.Desired == nil {
		return nil
	}
	found := &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseDemandSurge, Message: d.plan.Message}
	short := *d.plan.Desired > seen.target.Status.AvailableReplicas
	switch missed := d.plan.ObjectiveMet.Status == metav1.ConditionFalse; {
	case d.plan.Limited.Reason == capacityv1alpha1.ReasonTooManyReplicas && missed:
		found.Advice, found.Message = capacityv1alpha1.AdviceRaiseMaxReplicas, d.plan.Limited.Message
	case short && d.plan.Held:
		found.Advice = capacityv1alpha1.AdviceWait
	case short && d.plan.Replicas != nil, short && replicasOf(seen.target) > seen.target.Status.AvailableReplicas:
		found.Advice = capacityv1alpha1.AdviceScalingUp
	case missed:
		found.Advice = capacityv1alpha1.AdviceWait
	default:
		return nil
	}
	return found
}
