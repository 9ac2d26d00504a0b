// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// poolInput is what is decided about the slots upon, but for the number that is wanted in service.
func poolInput(seen *Observation, s *Memory) standby.PoolInput {
	spec := &seen.QueueScaler.Spec
	in := standby.PoolInput{
		Scaler:         seen.QueueScaler.Name,
		Replicas:       spec.Standby.Replicas,
		Gate:           spec.Standby.Gate,
		Frozen:         Frozen(seen),
		Revision:       s.PoolRevision(),
		TargetRevision: seen.Assessment.New.Hash,
		Soaked:         SoakedRevisions(seen),
		Services:       seen.Services,
		Seed:           seedOf(seen.QueueScaler.UID, seen.Now),

		UnschedulableSince: seen.Trouble.Unschedulable,
		QuotaFailure:       seen.Trouble.QuotaExceeded,
		ReturnAll:          switchedOff(seen),
		NoMixing:           noMixing(seen),
	}
	if spec.Standby.DrainSeconds != nil {
		in.Drain = seconds(*spec.Standby.DrainSeconds)
	}
	if status := seen.QueueScaler.Status.Standby; status != nil {
		in.Pending, in.RefillAfter = status.Pending, TimeOf(status.RefillAfter)
	}
	if seen.Target == nil {
		in.Replicas = 0
	}
	in.Forbidden = s.Ledger.Flagged()
	if s.Rollout.StuckHash != "" {
		in.Forbidden = append(in.Forbidden, s.Rollout.StuckHash)
	}
	if seen.Conflict != "" && in.Frozen == "" {
		in.Replicas, in.ReturnAll = 0, true
	}
	in.ConfigDigest, in.ConfigSoaked = seen.ConfigDigest, seen.ConfigSoaked
	in.KnownGood, in.KnownGoodReplicas = s.KnownGood(), ptr.Deref(spec.Standby.KnownGoodReplicas, 1)
	in.KnownGoodConfigDigest, in.TargetRegressed = seen.KnownGoodConfigDigest, regressed(s)
	return in
}

// PoolRevision is the pod-template-hash that the pool runs: the newest soaked revision; where something is wrong with that,
// the known-good one. Empty where there is neither.
func (s *Memory) PoolRevision() string {
	if !slices.Contains(s.Ledger.Flagged(), s.Soak.SoakedHash) {
		return s.Soak.SoakedHash
	}
	return s.KnownGood()
}

// KnownGood is the pod-template-hash of the known-good revision; empty where there is none.
func (s *Memory) KnownGood() string {
	if good := s.Ledger.KnownGood(); good != nil {
		return good.Hash
	}
	return ""
}

// Frozen is why slots are left as they are; empty where they are not.
func Frozen(seen *Observation) string {
	if isSuspended, _ := Suspended(&seen.QueueScaler.Spec, seen.Now); isSuspended {
		return capacityv1alpha1.ReasonSuspended
	}
	if seen.QueueScaler.Spec.Mode == capacityv1alpha1.ModeDryRun {
		return capacityv1alpha1.ReasonDryRun
	}
	return ""
}

// switchedOff: the target is gone, or somebody else set it to 0. A person's emergency stop must stop everything.
func switchedOff(seen *Observation) bool {
	return seen.Target == nil || seen.Assessment.Missing || (ReplicasOf(seen.Target) == 0 && !OwnZero(seen, seen.Target))
}

// noMixing: slots of another revision may not work while, or after, the target's template changed.
func noMixing(seen *Observation) bool {
	if seen.Target == nil {
		return false
	}
	r := seen.QueueScaler.Spec.Rollout
	return seen.Target.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType ||
		(r != nil && r.Lending == capacityv1alpha1.LendingForbid) ||
		seen.Target.Spec.Template.Annotations[capacityv1alpha1.AnnotationIncompatible] == "true"
}

// SoakedRevisions are those whose templates were kept: that is only done once they soaked.
func SoakedRevisions(seen *Observation) []string {
	var hashes []string
	for _, cr := range seen.Revisions {
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

// planPool decides about the slots, once it is known how many are wanted in service.
func planPool(seen *Observation, in standby.PoolInput, wantLent int32) standby.PoolPlan {
	in.WantLent = wantLent
	if WantsPool(&seen.QueueScaler.Spec) {
		in.Template, in.Refusal = seen.Template, seen.Refusal
		in.KnownGoodTemplate = seen.KnownGoodTemplate
		if in.KnownGood == in.Revision {
			in.KnownGoodTemplate, in.KnownGoodConfigDigest = in.Template, in.ConfigDigest
		}
	}
	return standby.Plan(seen.Now, in, seen.Slots)
}

// scalingPool is the pool as Decide takes it.
func scalingPool(now time.Time, in standby.PoolInput, slots []standby.Slot) scaling.Pool {
	counts, startUp := standby.Count(now, in, slots)
	return scaling.Pool{
		Warm: counts.Lendable, Lent: counts.Lent, Coming: counts.Coming, StartUp: startUp,
		OtherRevision: in.Revision != "" && in.Revision != in.TargetRevision,
	}
}

// OwnZero reports whether a 0 is our own. Who wrote it cannot tell: the API server drops the owner of a 0 that came through
// the scale subresource. So our intent is stored before the write.
func OwnZero(seen *Observation, d *appsv1.Deployment) bool {
	return ReplicasOf(d) == 0 && seen.QueueScaler.Status.ScaledToZeroTime != nil
}
