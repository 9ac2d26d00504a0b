// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// lend puts slots in service, all at once. The finalizer comes first: a QueueScaler that is deleted while slots are lent
// has the target make up for them.
func (r *QueueScalerReconciler) lend(ctx context.Context, seen *decision.Observation, pool *standby.PoolPlan, done *acted) error {
	var slots []*standby.Slot
	for _, action := range pool.Actions {
		if action.Kind == standby.Lend {
			slots = append(slots, action.Slot)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	if kept, err := r.keepFinalizer(ctx, seen.QueueScaler, true); err != nil || !kept {
		return err
	}
	now := r.Clock.Now()
	errs := make([]error, len(slots))
	var wait sync.WaitGroup
	for i, slot := range slots {
		wait.Go(func() { errs[i] = r.patchPod(ctx, seen, slot.Pod, standby.LendPatch(slot, now)) })
	}
	wait.Wait()
	var failed error
	for _, err := range errs {
		switch {
		case err == nil:
			done.lent++
		case !gone(err):
			failed = fmt.Errorf("lend a slot: %w", err)
		}
	}
	if done.lent > 0 {
		done.Wrote = true
		r.metrics.SlotsLent(client.ObjectKeyFromObject(seen.QueueScaler), done.lent)
		done.events = append(done.events, slotsLent(lentMessage(seen, slots[0].Revision, done.lent, r.Clock.Now())))
	}
	return failed
}

func slotCount(n int) string {
	if n == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", n)
}

// lentMessage says what was put in service, how long after the reading that showed the backlog, and how big that was.
func lentMessage(seen *decision.Observation, hash string, lent int, now time.Time) string {
	message := slotCount(lent) + " in service"
	if n := decision.RevisionNumber(seen, hash); n > 0 {
		message = fmt.Sprintf("%s of revision %d in service", slotCount(lent), n)
	}
	backlog, newest := int64(0), time.Time{}
	for _, sample := range seen.Samples {
		if sample.Reading != nil {
			backlog += sample.Reading.Depth
			if sample.Reading.Time.After(newest) {
				newest = sample.Reading.Time
			}
		}
	}
	if took := now.Sub(newest); !newest.IsZero() && took >= 0 && took < time.Minute {
		message += fmt.Sprintf(" %.2f s after backlog %d was read", took.Seconds(), backlog)
	}
	return message
}

// tend does what else the pool needs, in order. What fails is left for the next time; the rest goes on.
func (r *QueueScalerReconciler) tend(ctx context.Context, seen *decision.Observation, d *decision.Decision, s *scaler, done *acted) error {
	var failed error
	if seen.Conflict == "" {
		failed = r.keepTemplates(ctx, seen, s)
	}
	for _, action := range d.Pool.Actions {
		if action.Kind == standby.Lend {
			continue
		}
		if err := r.tendSlot(ctx, seen, action); err != nil && !gone(err) {
			failed = fmt.Errorf("slot %s: %w", action.Name, err)
			continue
		}
		if action.Kind == standby.BeginDrain || (action.Kind == standby.EndPod && action.Slot.State == standby.Lent) {
			done.returned++
		}
	}
	if done.returned > 0 {
		r.metrics.SlotsReturned(client.ObjectKeyFromObject(seen.QueueScaler), done.returned)
		done.events = append(done.events, slotsReturned(fmt.Sprintf("%s returned: %s", slotCount(done.returned), d.Plan.Message)))
	}
	if d.Pool.Counts.Lent+int32(done.lent) == 0 && failed == nil {
		_, failed = r.keepFinalizer(ctx, seen.QueueScaler, false)
	}
	return failed
}

func (r *QueueScalerReconciler) tendSlot(ctx context.Context, seen *decision.Observation, action standby.Action) error {
	slot := action.Slot
	switch action.Kind {
	case standby.Create:
		return r.createSlot(ctx, seen, action)
	case standby.BeginDrain:
		return r.patchPod(ctx, seen, slot.Pod, standby.DrainPatch(slot, seen.Now))
	case standby.Touch:
		return r.patchPod(ctx, seen, slot.Pod, standby.TouchPatch(slot, action.Touch))
	case standby.EndPod:
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: seen.QueueScaler.Namespace, Name: slot.Name}}
		return r.Patch(ctx, rs, client.RawPatch(types.JSONPatchType, standby.EndPatch(slot)))
	case standby.DeleteReplicaSet:
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: seen.QueueScaler.Namespace, Name: slot.Name}}
		return r.Delete(ctx, rs, client.Preconditions{UID: &slot.ReplicaSetUID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	}
	return fmt.Errorf("unknown action %s", action.Kind)
}

// createSlot makes a slot whose name was stored before. One of that name that is there already is ours from before a crash.
func (r *QueueScalerReconciler) createSlot(ctx context.Context, seen *decision.Observation, action standby.Action) error {
	if action.Template == nil {
		return nil // the pool's plan makes none without
	}
	err := r.Create(ctx, standby.ReplicaSet(seen.QueueScaler, action.Name, action.Template, action.ConfigDigest))
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// keepTemplates keeps the soaked revision's template, because the Deployment's history may drop it, and it is what the pool runs
// and what is rolled back to. It lets go of the oldest.
func (r *QueueScalerReconciler) keepTemplates(ctx context.Context, seen *decision.Observation, s *scaler) error {
	hash := s.Soak.SoakedHash
	rs := replicaSetOf(seen, hash)
	if rs != nil && !slices.Contains(decision.SoakedRevisions(seen), hash) {
		cr, err := standby.Revision(seen.QueueScaler, rs)
		if err != nil {
			return err
		}
		err = r.Create(ctx, cr)
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return fmt.Errorf("keep the template of revision %s: %w", hash, err)
		}
	}
	needed := []string{hash, seen.Assessment.New.Hash, s.Rollout.SettledHash, s.KnownGood()}
	for i := range seen.Slots {
		needed = append(needed, seen.Slots[i].Revision)
	}
	for _, cr := range standby.Superfluous(seen.Revisions, needed...) {
		if err := r.Delete(ctx, cr); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("let go of template %s: %w", cr.Name, err)
		}
	}
	return nil
}

func (r *QueueScalerReconciler) patchPod(ctx context.Context, seen *decision.Observation, name string, patch []byte) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: seen.QueueScaler.Namespace, Name: name}}
	return r.Patch(ctx, pod, client.RawPatch(types.JSONPatchType, patch))
}

// gone reports whether a conditional write found the slot changed: our copy was behind, and the next look decides anew. What the API
// server finds invalid in itself is not that: it would be so at the next look too.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) && conflicting(err) || apierrors.IsConflict(err)
}
