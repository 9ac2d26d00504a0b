// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// foreignWrite notices that somebody else wrote the target's replicas. The number is adopted; one that was lowered by the
// very write that changed the template is restored, once for each rollout.
func (r *QueueScalerReconciler) foreignWrite(ctx context.Context, seen *observed, s *scaler, done *acted) error {
	d := seen.target
	if d == nil {
		return nil
	}
	from, generation, digest, contest, known := s.replicas, s.generation, s.digest, s.contest, s.targetUID == d.UID
	to := replicasOf(d)
	s.targetUID, s.replicas, s.generation, s.digest = d.UID, to, d.Generation, rollout.Digest(&d.Spec.Template)
	if !known || to == from || writtenByUs(d) || (to == 0 && ownZero(seen, d)) {
		return nil
	}
	manager := replicasWriter(d)
	write := scaling.ForeignWrite{
		From: from, To: to, By: manager,
		WithTemplate: digest != s.digest && d.Generation == generation+1,
	}
	var restore *int32
	restore, s.contest = scaling.OnForeignWrite(seen.now, policyOf(&seen.qs.Spec), write, s.restored == s.digest, s.contest)
	if restore == nil || !seen.assessment.Restore || seen.qs.Spec.Mode != capacityv1alpha1.ModeActive || seen.conflict != "" {
		done.events = append(done.events, replicasAdopted(from, to, manager))
		return nil
	}
	if err := r.restore(ctx, seen, s, *restore, manager, done); err != nil {
		// Seen, but not undone: the next look has to notice it again.
		s.replicas, s.generation, s.digest, s.contest = from, generation, digest, contest
		return err
	}
	return nil
}

// restore puts back replicas that a manifest with a stale number lowered together with a new template.
func (r *QueueScalerReconciler) restore(ctx context.Context, seen *observed, s *scaler, to int32, manager string, done *acted) error {
	for range scaleTries {
		live, err := r.liveTarget(ctx, seen)
		if err != nil || live == nil || live.UID != seen.target.UID {
			return err
		}
		if live.Generation != seen.target.Generation {
			// Somebody wrote again since: the next look judges that write.
			return nil
		}
		err = r.putScale(ctx, live, to)
		if apierrors.IsConflict(err) {
			continue // at the start of a rollout its controller writes the Deployment's status all the time
		}
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		from := replicasOf(live)
		s.replicas, s.restored, s.lastScale = to, s.digest, seen.now
		done.wrote = true
		done.events = append(done.events, replicasRestored(from, to, manager))
		r.metrics.Scaled(client.ObjectKeyFromObject(seen.qs), from, to)
		return nil
	}
	return fmt.Errorf("deployment %s was written by others %d times while its replicas were to be restored to %d", seen.target.Name, scaleTries, to)
}

// writtenByUs reports whether we wrote the target's present replicas.
func writtenByUs(d *appsv1.Deployment) bool { return replicasWriter(d) == capacityv1alpha1.FieldOwner }

// ownZero reports whether a 0 is our own. Who wrote it cannot tell: the API server drops the owner of a 0 that came through
// the scale subresource. So our intent is stored before the write.
func ownZero(seen *observed, d *appsv1.Deployment) bool {
	return replicasOf(d) == 0 && seen.qs.Status.ScaledToZeroTime != nil
}

// replicasWriter is the field manager of the target's replicas; "somebody" where the API server does not tell.
func replicasWriter(d *appsv1.Deployment) string {
	if entry := replicasManager(d); entry != nil && entry.Manager != "" {
		return entry.Manager
	}
	return "somebody"
}
