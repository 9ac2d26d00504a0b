// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
)

func TestARollbackNeedsNoPlan(t *testing.T) {
	condition := func(status metav1.ConditionStatus) []metav1.Condition {
		return []metav1.Condition{{Type: capacityv1alpha1.ConditionRolloutInProgress, Status: status}}
	}
	for _, c := range []struct {
		state capacityv1alpha1.RolloutState
		plan  string
		want  bool
	}{
		{capacityv1alpha1.RolloutRolling, "", true},
		{capacityv1alpha1.RolloutRolling, "https://wiki.example/rollback", false},
		{capacityv1alpha1.RolloutRollingBack, "", false},
	} {
		qs := &capacityv1alpha1.QueueScaler{Status: capacityv1alpha1.QueueScalerStatus{Conditions: condition(metav1.ConditionFalse)}}
		qs.Spec.Rollout = &capacityv1alpha1.Rollout{RollbackPlan: c.plan}
		status := &capacityv1alpha1.QueueScalerStatus{Conditions: condition(metav1.ConditionTrue), Rollout: &capacityv1alpha1.RolloutStatus{State: c.state}}
		if got := beganWithoutPlan(&decision.Observation{QueueScaler: qs, Target: &appsv1.Deployment{}}, status); got != c.want {
			t.Errorf("%s with plan %q: %v, want %v", c.state, c.plan, got, c.want)
		}
	}
}
