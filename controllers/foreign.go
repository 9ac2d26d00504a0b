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
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// foreignWrite notices that somebody else wrote the target's replicas. The number is adopted; one that was lowered by the
// very write that changed the template is restored, once for each rollout.
func (r *QueueScalerReconciler) foreignWrite(ctx context.Context, seen *decision.Observation, s *scaler, done *acted) error {
	d := seen.Target
	if d == nil {
		return nil
	}
	from, generation, digest, contest, known := s.replicas, s.generation, s.digest, s.Contest, s.targetUID == d.UID
	to := decision.ReplicasOf(d)
	s.targetUID, s.replicas, s.generation, s.digest = d.UID, to, d.Generation, rollout.Digest(&d.Spec.Template)
	if !known || to == from || writtenByUs(d) || (to == 0 && decision.OwnZero(seen, d)) {
		return nil
	}
	manager := replicasWriter(d)
	write := scaling.ForeignWrite{
		From: from, To: to, By: manager,
		WithTemplate: digest != s.digest && d.Generation == generation+1,
	}
	var restore *int32
	restore, s.Contest = scaling.OnForeignWrite(seen.Now, decision.PolicyOf(&seen.QueueScaler.Spec), write, s.Restored == s.digest, s.Contest)
	if restore == nil || !seen.Assessment.Restore || seen.QueueScaler.Spec.Mode != capacityv1alpha1.ModeActive || seen.Conflict != "" {
		done.events = append(done.events, replicasAdopted(from, to, manager))
		return nil
	}
	if err := r.restore(ctx, seen, s, *restore, manager, done); err != nil {
		// Seen, but not undone: the next look has to notice it again.
		s.replicas, s.generation, s.digest, s.Contest = from, generation, digest, contest
		return err
	}
	return nil
}

// restore puts back replicas that a manifest with a stale number lowered together with a new template.
func (r *QueueScalerReconciler) restore(ctx context.Context, seen *decision.Observation, s *scaler, to int32, manager string, done *acted) error {
	for range scaleTries {
		live, err := r.liveTarget(ctx, seen)
		if err != nil || live == nil || live.UID != seen.Target.UID {
			return err
		}
		if live.Generation != seen.Target.Generation {
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
		from := decision.ReplicasOf(live)
		s.replicas, s.Restored, s.LastScale = to, s.digest, seen.Now
		done.Wrote = true
		done.events = append(done.events, replicasRestored(from, to, manager))
		r.metrics.Scaled(client.ObjectKeyFromObject(seen.QueueScaler), from, to)
		return nil
	}
	return fmt.Errorf("deployment %s was written by others %d times while its replicas were to be restored to %d", seen.Target.Name, scaleTries, to)
}

// writtenByUs reports whether we wrote the target's present replicas.
func writtenByUs(d *appsv1.Deployment) bool { return replicasWriter(d) == capacityv1alpha1.FieldOwner }

// replicasWriter is the field manager of the target's replicas; "somebody" where the API server does not tell.
func replicasWriter(d *appsv1.Deployment) string {
	if entry := replicasManager(d); entry != nil && entry.Manager != "" {
		return entry.Manager
	}
	return "somebody"
}
