// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// poolInput is what is decided about the slots upon, but for the number that is wanted in service.
func (seen *observed) poolInput(s *scaler) standby.PoolInput {
	spec := &seen.qs.Spec
	in := standby.PoolInput{
		Scaler:         seen.qs.Name,
		Replicas:       spec.Standby.Replicas,
		Gate:           spec.Standby.Gate,
		Frozen:         frozen(seen),
		Revision:       s.soak.SoakedHash,
		TargetRevision: seen.assessment.New.Hash,
		Soaked:         soakedRevisions(seen),
		Services:       seen.services,
		Seed:           seedOf(seen.qs.UID, seen.now),

		UnschedulableSince: seen.trouble.Unschedulable,
		QuotaFailure:       seen.trouble.CannotCreate,
		ReturnAll:          switchedOff(seen),
		NoMixing:           noMixing(seen),
	}
	if spec.Standby.DrainSeconds != nil {
		in.Drain = seconds(*spec.Standby.DrainSeconds)
	}
	if status := seen.qs.Status.Standby; status != nil {
		in.Pending, in.RefillAfter = status.Pending, timeOf(status.RefillAfter)
	}
	if seen.target == nil {
		in.Replicas = 0
	}
	if s.rollout.StuckHash != "" {
		in.Forbidden = []string{s.rollout.StuckHash}
	}
	if seen.conflict != "" && in.Frozen == "" {
		in.Replicas, in.ReturnAll = 0, true
	}
	in.ConfigDigest, in.ConfigSoaked = s.config.Digest, s.config.Soaked
	return in
}

// frozen is why slots are left as they are; empty where they are not.
func frozen(seen *observed) string {
	if isSuspended, _ := suspended(&seen.qs.Spec, seen.now); isSuspended {
		return capacityv1alpha1.ReasonSuspended
	}
	if seen.qs.Spec.Mode == capacityv1alpha1.ModeDryRun {
		return capacityv1alpha1.ReasonDryRun
	}
	return ""
}

// switchedOff: the target is gone, or somebody else set it to 0. A person's emergency stop must stop everything.
func switchedOff(seen *observed) bool {
	return seen.target == nil || seen.assessment.Missing || (replicasOf(seen.target) == 0 && !ownZero(seen, seen.target))
}

// noMixing: slots of another revision may not work while, or after, the target's template changed.
func noMixing(seen *observed) bool {
	if seen.target == nil {
		return false
	}
	r := seen.qs.Spec.Rollout
	return seen.target.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType ||
		(r != nil && r.Lending == capacityv1alpha1.LendingForbid) ||
		seen.target.Spec.Template.Annotations[capacityv1alpha1.AnnotationIncompatible] == "true"
}

// soakedRevisions are those whose templates were kept: that is only done once they soaked.
func soakedRevisions(seen *observed) []string {
	var hashes []string
	for _, cr := range seen.revisions {
		hashes = append(hashes, cr.Labels[capacityv1alpha1.LabelRevision])
	}
	return hashes
}

// seedOf draws the random part of new slots' names. It need not be secret, only different each time.
func seedOf(uid types.UID, now time.Time) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", uid, now.UnixNano())
	return h.Sum64()
}

// slotTemplate makes the template of a slot of the soaked revision, from its ReplicaSet, or from where it was kept.
func slotTemplate(seen *observed, s *scaler) (*standby.SlotTemplate, *standby.Refusal) {
	source := soakedTemplate(seen, s.soak.SoakedHash)
	if source == nil || seen.target == nil {
		return nil, nil
	}
	spec := &seen.qs.Spec.Standby
	return standby.Template(standby.TemplateInput{
		Namespace: seen.qs.Namespace, Scaler: seen.qs.Name,
		Gate: spec.Gate, WithholdLabels: spec.WithholdLabels, PriorityClassName: spec.PriorityClassName,
		Revision: s.soak.SoakedHash, Template: source, MinReadySeconds: seen.target.Spec.MinReadySeconds,
		Surroundings: standby.Surroundings{
			Services: seen.services, Budgets: seen.budgets, NetworkPolicies: seen.policies, ClaimModes: s.claims.modes,
		},
	})
}

func soakedTemplate(seen *observed, hash string) *corev1.PodTemplateSpec {
	if rs := replicaSetOf(seen, hash); rs != nil {
		return &rs.Spec.Template
	}
	for _, cr := range seen.revisions {
		if hash != "" && cr.Labels[capacityv1alpha1.LabelRevision] == hash {
			if template, _, err := standby.TemplateOf(cr); err == nil {
				return &template
			}
		}
	}
	return nil
}

func replicaSetOf(seen *observed, hash string) *appsv1.ReplicaSet {
	for _, rs := range seen.replicaSets {
		if hash != "" && rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash {
			return rs
		}
	}
	return nil
}

// planPool decides about the slots, once it is known how many are wanted in service.
func planPool(seen *observed, s *scaler, in standby.PoolInput, wantLent int32) standby.PoolPlan {
	in.WantLent = wantLent
	if wantsPool(&seen.qs.Spec) {
		in.Template, in.Refusal = slotTemplate(seen, s)
	}
	return standby.Plan(seen.now, in, seen.slots)
}

// scalingPool is the pool as Decide takes it.
func scalingPool(now time.Time, in standby.PoolInput, slots []standby.Slot) scaling.Pool {
	counts, startUp := standby.Count(now, in, slots)
	return scaling.Pool{
		Warm: counts.Lendable, Lent: counts.Lent, StartUp: startUp,
		OtherRevision: in.Revision != "" && in.Revision != in.TargetRevision,
	}
}

// lend puts slots in service, all at once. The finalizer comes first: a QueueScaler that is deleted while slots are lent
// has the target make up for them.
func (r *QueueScalerReconciler) lend(ctx context.Context, seen *observed, pool *standby.PoolPlan, done *acted) error {
	var slots []*standby.Slot
	for _, action := range pool.Actions {
		if action.Kind == standby.Lend {
			slots = append(slots, action.Slot)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	if err := r.keepFinalizer(ctx, seen.qs, true); err != nil {
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
		done.wrote = true
		r.metrics.SlotsLent(client.ObjectKeyFromObject(seen.qs), done.lent)
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
func lentMessage(seen *observed, hash string, lent int, now time.Time) string {
	message := slotCount(lent) + " in service"
	if n := revisionNumber(seen, hash); n > 0 {
		message = fmt.Sprintf("%s of revision %d in service", slotCount(lent), n)
	}
	backlog, newest := int64(0), time.Time{}
	for _, sample := range seen.samples {
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
func (r *QueueScalerReconciler) tend(ctx context.Context, seen *observed, d *decided, s *scaler, done *acted) error {
	var failed error
	if seen.conflict == "" {
		failed = r.keepTemplates(ctx, seen, s)
	}
	for _, action := range d.pool.Actions {
		if action.Kind == standby.Lend {
			continue
		}
		if err := r.tendSlot(ctx, seen, s, action); err != nil && !gone(err) {
			failed = fmt.Errorf("slot %s: %w", action.Name, err)
			continue
		}
		if action.Kind == standby.BeginDrain || (action.Kind == standby.EndPod && action.Slot.State == standby.Lent) {
			done.returned++
		}
	}
	if done.returned > 0 {
		r.metrics.SlotsReturned(client.ObjectKeyFromObject(seen.qs), done.returned)
		done.events = append(done.events, slotsReturned(fmt.Sprintf("%s returned: %s", slotCount(done.returned), d.plan.Message)))
	}
	if d.pool.Counts.Lent+int32(done.lent) == 0 && failed == nil {
		return r.keepFinalizer(ctx, seen.qs, false)
	}
	return failed
}

func (r *QueueScalerReconciler) tendSlot(ctx context.Context, seen *observed, s *scaler, action standby.Action) error {
	slot := action.Slot
	switch action.Kind {
	case standby.Create:
		return r.createSlot(ctx, seen, s, action.Name)
	case standby.BeginDrain:
		return r.patchPod(ctx, seen, slot.Pod, standby.DrainPatch(slot, seen.now))
	case standby.Touch:
		return r.patchPod(ctx, seen, slot.Pod, standby.TouchPatch(slot, action.Touch))
	case standby.EndPod:
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: seen.qs.Namespace, Name: slot.Name}}
		return r.Patch(ctx, rs, client.RawPatch(types.JSONPatchType, standby.EndPatch(slot)))
	case standby.DeleteReplicaSet:
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: seen.qs.Namespace, Name: slot.Name}}
		return r.Delete(ctx, rs, client.Preconditions{UID: &slot.ReplicaSetUID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	}
	return fmt.Errorf("unknown action %s", action.Kind)
}

// createSlot makes a slot whose name was stored before. One of that name that is there already is ours from before a crash.
func (r *QueueScalerReconciler) createSlot(ctx context.Context, seen *observed, s *scaler, name string) error {
	template, refusal := slotTemplate(seen, s)
	if template == nil {
		if refusal != nil {
			return fmt.Errorf("%s: %s", refusal.Reason, refusal.Message)
		}
		return nil
	}
	err := r.Create(ctx, standby.ReplicaSet(seen.qs, name, template, s.config.Digest))
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// keepTemplates keeps the soaked revision's template, because the Deployment's history may drop it, and lets go of the oldest.
func (r *QueueScalerReconciler) keepTemplates(ctx context.Context, seen *observed, s *scaler) error {
	hash := s.soak.SoakedHash
	rs := replicaSetOf(seen, hash)
	if wantsPool(&seen.qs.Spec) && rs != nil && !slices.Contains(soakedRevisions(seen), hash) {
		cr, err := standby.Revision(seen.qs, rs)
		if err != nil {
			return err
		}
		err = r.Create(ctx, cr)
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return fmt.Errorf("keep the template of revision %s: %w", hash, err)
		}
	}
	needed := []string{hash, seen.assessment.New.Hash, s.rollout.SettledHash}
	for i := range seen.slots {
		needed = append(needed, seen.slots[i].Revision)
	}
	for _, cr := range standby.Superfluous(seen.revisions, needed...) {
		if err := r.Delete(ctx, cr); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("let go of template %s: %w", cr.Name, err)
		}
	}
	return nil
}

func (r *QueueScalerReconciler) patchPod(ctx context.Context, seen *observed, name string, patch []byte) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: seen.qs.Namespace, Name: name}}
	return r.Patch(ctx, pod, client.RawPatch(types.JSONPatchType, patch))
}

// gone reports whether a conditional write found the slot changed: our copy was behind, and the next look decides anew.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsConflict(err)
}
