// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/metrics"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// snapshotOf is the status as metrics.
func snapshotOf(seen *decision.Observation, d *decision.Decision, status *capacityv1alpha1.QueueScalerStatus) metrics.Snapshot {
	s := metrics.Snapshot{
		Arrival: d.Arrival, Throughput: d.Throughput, Desired: d.Plan.Desired,
		RolloutInProgress: seen.Assessment.InProgress(), Held: d.Plan.Held,
		Fresh: make(map[string]bool, len(seen.Samples)),
	}
	if status.Backlog != nil {
		s.Backlog = ptr.To(float64(*status.Backlog.Messages))
		s.Drain = d.Plan.DrainSeconds
		if d.Plan.DrainNever {
			s.Drain = ptr.To(math.Inf(1))
		}
	}
	if seen.Target != nil {
		s.Target, s.Available = decision.ReplicasOf(seen.Target), seen.Target.Status.AvailableReplicas
	}
	if status.Standby != nil {
		s.Warm, s.Lent, s.Starting = status.Standby.Warm, status.Standby.Lent, status.Standby.Starting
	}
	if rate := d.Input.Rate.PerReplica; rate > 0 {
		s.ServiceRate = &rate
	}
	s.Regressed = meta.IsStatusConditionTrue(status.Conditions, capacityv1alpha1.ConditionThroughputRegressed)
	s.Advised = meta.IsStatusConditionTrue(status.Conditions, capacityv1alpha1.ConditionRollbackAdvised)
	for _, sample := range seen.Samples {
		s.Fresh[sample.Name] = sample.Quality == queue.Fresh
	}
	return s
}

// told are the conditions whose turning is an event, with the status that is bad news.
var told = []struct {
	condition string
	bad       metav1.ConditionStatus
}{
	{capacityv1alpha1.ConditionReady, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionAbleToScale, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionScalingActive, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionScalingLimited, ""},
	{capacityv1alpha1.ConditionRolloutInProgress, ""},
	{capacityv1alpha1.ConditionStandbyReady, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionObjectiveMet, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionThroughputRegressed, metav1.ConditionTrue},
	{capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionTrue},
}

// turnedOf are events for the conditions that turned. A first sight is no transition, unless it is bad news.
func turnedOf(old, status *capacityv1alpha1.QueueScalerStatus) []event {
	var events []event
	for _, t := range told {
		is, was := meta.FindStatusCondition(status.Conditions, t.condition), meta.FindStatusCondition(old.Conditions, t.condition)
		if is == nil || is.Status == metav1.ConditionUnknown || (was != nil && was.Status == is.Status && (was.Reason == is.Reason || is.Status != t.bad)) {
			continue
		}
		if is.Type == capacityv1alpha1.ConditionScalingLimited && !decision.LimitsGrowth(is.Reason) {
			continue // minReplicas binds whenever it is calm
		}
		kind := corev1.EventTypeNormal
		if is.Status == t.bad {
			kind = corev1.EventTypeWarning
		} else if was == nil || was.Status == metav1.ConditionUnknown {
			continue
		}
		events = append(events, turned(kind, is))
	}
	return events
}

// beganWithoutPlan: a rollout begins, and nobody wrote down how to undo it. A rollback is what a plan is for, and needs none.
func beganWithoutPlan(seen *decision.Observation, status *capacityv1alpha1.QueueScalerStatus) bool {
	const kind = capacityv1alpha1.ConditionRolloutInProgress
	back := status.Rollout != nil && status.Rollout.State == capacityv1alpha1.RolloutRollingBack
	return seen.Target != nil && !back && decision.RollbackPlan(seen) == "" &&
		meta.IsStatusConditionFalse(seen.QueueScaler.Status.Conditions, kind) && meta.IsStatusConditionTrue(status.Conditions, kind)
}
