// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// finalizeWithin is how long a deleted QueueScaler waits at most for the target to make up for its lent slots.
const finalizeWithin = 5 * time.Minute

// keepFinalizer has the finalizer on the QueueScaler while slots are lent, and only then: deleting it would take lent
// capacity away at once. Before the first lend it must be there; it goes once none is lent. False where somebody wrote the
// QueueScaler meanwhile, which brings us back here once the cache has it.
func (r *QueueScalerReconciler) keepFinalizer(ctx context.Context, qs *capacityv1alpha1.QueueScaler, wanted bool) (bool, error) {
	if controllerutil.ContainsFinalizer(qs, capacityv1alpha1.Finalizer) == wanted {
		return true, nil
	}
	err := r.putFinalizer(ctx, qs, wanted)
	if apierrors.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

func (r *QueueScalerReconciler) putFinalizer(ctx context.Context, qs *capacityv1alpha1.QueueScaler, wanted bool) error {
	changed := qs.DeepCopy()
	if wanted {
		controllerutil.AddFinalizer(changed, capacityv1alpha1.Finalizer)
	} else {
		controllerutil.RemoveFinalizer(changed, capacityv1alpha1.Finalizer)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"finalizers": changed.Finalizers, "resourceVersion": qs.ResourceVersion,
	}})
	if err != nil {
		return err
	}
	if err := r.Patch(ctx, changed, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("finalizer of queuescaler %s: %w", qs.Name, err)
	}
	qs.Finalizers, qs.ResourceVersion = changed.Finalizers, changed.ResourceVersion
	return nil
}

// finalize has the target make up for lent slots before they go with the QueueScaler.
func (r *QueueScalerReconciler) finalize(ctx context.Context, seen *decision.Observation, s *scaler) (ctrl.Result, error) {
	qs := seen.QueueScaler
	if !controllerutil.ContainsFinalizer(qs, capacityv1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	again, err := r.makeUp(ctx, seen, s)
	if err != nil || again > 0 {
		return ctrl.Result{RequeueAfter: again}, err
	}
	released, err := r.keepFinalizer(ctx, qs, false)
	if released {
		log.FromContext(ctx).Info("Released the finalizer")
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// makeUp scales the target to make up for lent slots, outside a rollout. It returns when to look again; 0: nothing more to wait for.
func (r *QueueScalerReconciler) makeUp(ctx context.Context, seen *decision.Observation, s *scaler) (time.Duration, error) {
	qs := seen.QueueScaler
	lent := int32(0)
	for i := range seen.Slots {
		if seen.Slots[i].State == standby.Lent {
			lent++
		}
	}
	left := finalizeWithin - seen.Now.Sub(qs.DeletionTimestamp.Time)
	if lent == 0 || left <= 0 || qs.Spec.Mode != capacityv1alpha1.ModeActive || seen.Target == nil || seen.Conflict != "" {
		return 0, nil
	}
	if ending, err := r.namespaceTerminating(ctx, qs.Namespace); err != nil || ending {
		return 0, err
	}
	live, err := r.liveTarget(ctx, seen)
	if err != nil || live == nil || decision.ReplicasOf(live) == 0 {
		return 0, err
	}
	assessment, _ := rollout.Assess(seen.Now, live, seen.ReplicaSets, s.Rollout)
	wanted := max(decision.ReplicasOf(live), min(qs.Spec.MaxReplicas, ptr.Deref(qs.Status.DesiredReplicas, 0)))
	again := min(left, 5*time.Second)
	switch {
	case decision.ReplicasOf(live) < wanted && !assessment.InProgress():
		if err := r.putScale(ctx, live, wanted); err != nil {
			if apierrors.IsConflict(err) {
				return time.Second, nil
			}
			return 0, err
		}
		r.emit(qs, rescaled(fmt.Sprintf("%d → %d: this QueueScaler is being deleted, and %d lent slots go with it once the new pods are available",
			decision.ReplicasOf(live), wanted, lent)))
		return again, nil
	case decision.ReplicasOf(live) < wanted, live.Status.AvailableReplicas < wanted:
		return again, nil
	}
	return 0, nil
}

func (r *QueueScalerReconciler) namespaceTerminating(ctx context.Context, name string) (bool, error) {
	var ns corev1.Namespace
	if err := r.APIReader.Get(ctx, types.NamespacedName{Name: name}, &ns); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	return !ns.DeletionTimestamp.IsZero(), nil
}
