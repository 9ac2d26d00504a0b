// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// conflict says, for people, which other autoscaler acts on the target; empty if none does. Of several QueueScalers the
// oldest (then the one with the lowest UID) acts. An HPA always outranks us: it does not know of us.
func (r *QueueScalerReconciler) conflict(ctx context.Context, qs *capacityv1alpha1.QueueScaler) (string, error) {
	onTarget := []client.ListOption{client.InNamespace(qs.Namespace), client.MatchingFields{indexTarget: qs.Spec.ScaleTargetRef.Name}}
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	if err := r.List(ctx, &hpas, onTarget...); err != nil {
		return "", fmt.Errorf("list HorizontalPodAutoscalers: %w", err)
	}
	for _, hpa := range hpas.Items {
		if hpa.DeletionTimestamp.IsZero() {
			return fmt.Sprintf("HorizontalPodAutoscaler %s scales deployment/%s too. Nothing is written until one of the two is gone: kubectl delete hpa %s (the replicas stay as they are)",
				hpa.Name, qs.Spec.ScaleTargetRef.Name, hpa.Name), nil
		}
	}
	var others capacityv1alpha1.QueueScalerList
	if err := r.List(ctx, &others, onTarget...); err != nil {
		return "", fmt.Errorf("list QueueScalers: %w", err)
	}
	for i := range others.Items {
		if other := &others.Items[i]; outranks(other, qs) {
			return fmt.Sprintf("QueueScaler %s is older and scales deployment/%s. This one owns no slots and writes nothing until the other is gone; put all queues into one QueueScaler",
				other.Name, qs.Spec.ScaleTargetRef.Name), nil
		}
	}
	return "", nil
}

// outranks reports whether the other one acts instead of this one. Suspended ones keep their rank: they act again later.
// One that only tries out what it would do does not act.
func outranks(other, this *capacityv1alpha1.QueueScaler) bool {
	if other.UID == this.UID || !other.DeletionTimestamp.IsZero() || other.Spec.Mode == capacityv1alpha1.ModeDryRun {
		return false
	}
	if !other.CreationTimestamp.Equal(&this.CreationTimestamp) {
		return other.CreationTimestamp.Before(&this.CreationTimestamp)
	}
	return other.UID < this.UID
}
