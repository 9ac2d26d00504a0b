// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// scaleTries is how often a write that met somebody else's is decided anew.
const scaleTries = 3

// scale writes the target's replicas if the plan, made anew from a live copy of the Deployment, still wants it. A cached
// copy that is behind cannot be told from a stable Deployment, and a write without a resourceVersion would be unconditional.
func (r *QueueScalerReconciler) scale(ctx context.Context, seen *decision.Observation, d *decision.Decision, s *scaler, done *acted) error {
	for range scaleTries {
		live, err := r.liveTarget(ctx, seen)
		if err != nil || live == nil {
			return err
		}
		done.Replicas = ptr.To(decision.ReplicasOf(live))
		d.Anew(seen, &s.Memory, live)
		plan := d.Plan
		if plan.Replicas == nil || *plan.Replicas == decision.ReplicasOf(live) {
			return nil
		}
		if *plan.Replicas == 0 && seen.QueueScaler.Status.ScaledToZeroTime == nil {
			return nil // the intent is stored first; its write brings us back here
		}
		err = r.putScale(ctx, live, *plan.Replicas)
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			done.events = append(done.events, rescaleFailed(decision.ReplicasOf(live), *plan.Replicas, err))
			return err
		}
		r.scaled(seen, s, live, plan, done)
		return nil
	}
	return fmt.Errorf("deployment %s was written by others %d times while it was to be scaled", seen.Target.Name, scaleTries)
}

// scaled remembers a write, so that it is not taken for somebody else's.
func (r *QueueScalerReconciler) scaled(seen *decision.Observation, s *scaler, live *appsv1.Deployment, plan scaling.Plan, done *acted) {
	from, to := decision.ReplicasOf(live), *plan.Replicas
	s.replicas, s.LastScale = to, seen.Now
	done.Replicas = &to
	done.events = append(done.events, rescaled(plan.Message))
	r.metrics.Scaled(client.ObjectKeyFromObject(seen.QueueScaler), from, to)
	done.Wrote = true
}

// liveTarget reads the Deployment from the API server; nil when it is gone.
func (r *QueueScalerReconciler) liveTarget(ctx context.Context, seen *decision.Observation) (*appsv1.Deployment, error) {
	var live appsv1.Deployment
	err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: seen.QueueScaler.Namespace, Name: seen.QueueScaler.Spec.ScaleTargetRef.Name}, &live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read deployment %s: %w", seen.QueueScaler.Spec.ScaleTargetRef.Name, err)
	}
	return &live, nil
}

// putScale writes replicas through the scale subresource, on the condition that the Deployment is still the one that was read.
func (r *QueueScalerReconciler) putScale(ctx context.Context, live *appsv1.Deployment, replicas int32) error {
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: live.Namespace, Name: live.Name, UID: live.UID, ResourceVersion: live.ResourceVersion},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	return r.SubResource("scale").Update(ctx, live, client.WithSubResourceBody(scale))
}
