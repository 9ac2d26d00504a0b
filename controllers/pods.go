// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// podsEvery is how often the pods of one target are listed at most, while some are unavailable, and once more before slots give way to them.
const podsEvery = 10 * time.Second

// podTrouble lists the target's pods live, because only slots are cached, and only while some are unavailable.
func (r *QueueScalerReconciler) podTrouble(ctx context.Context, now time.Time, d *appsv1.Deployment, s *scaler) (decision.PodTrouble, error) {
	if d.Status.UnavailableReplicas == 0 && d.Status.AvailableReplicas >= decision.ReplicasOf(d) {
		s.trouble, s.troubleAt = decision.PodTrouble{}, time.Time{}
		return s.trouble, nil
	}
	if s.troubleFresh(now) {
		return s.trouble, nil
	}
	pods, err := r.targetPods(ctx, d)
	if err != nil {
		return decision.PodTrouble{}, err
	}
	s.trouble, s.troubleAt = decision.TroubleOf(d, pods), now
	return s.trouble, nil
}

// troubleFresh reports whether what the pods told before is still good enough. It is not when slots would give way to a pod for its sake: the
// pod may have found a node since.
func (s *scaler) troubleFresh(now time.Time) bool {
	if !now.After(s.troubleAt) || now.Sub(s.troubleAt) >= podsEvery {
		return false
	}
	slotsGiveWay := s.trouble.Unschedulable.Add(standby.UnschedulableFor)
	return s.trouble.Unschedulable.IsZero() || now.Before(slotsGiveWay) || !s.troubleAt.Before(slotsGiveWay)
}

// targetPods lists the target's pods live, at most 500 of them, without slots.
func (r *QueueScalerReconciler) targetPods(ctx context.Context, d *appsv1.Deployment) ([]corev1.Pod, error) {
	selector, err := notSlots(d)
	if err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(500)); err != nil {
		return nil, fmt.Errorf("list pods of deployment %s: %w", d.Name, err)
	}
	return pods.Items, nil
}

func notSlots(d *appsv1.Deployment) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of deployment %s: %w", d.Name, err)
	}
	slotless, err := labels.NewRequirement(capacityv1alpha1.LabelSlot, selection.DoesNotExist, nil)
	if err != nil {
		return nil, err
	}
	return selector.Add(*slotless), nil
}
