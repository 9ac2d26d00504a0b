// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout answers one question: is a rollout of this Deployment in progress?
//
// It must never be wrong, in either direction. A rollout taken for scaling means that we feed a
// revision nobody trusts yet; scaling taken for a rollout means that our own write makes us hold,
// and a hold caused by ourselves would never end.
//
// Why it is hard: kubectl rollout status, kstatus and the Progressing condition take scaling for
// a rollout, or a rollout for nothing. Progressing=NewReplicaSetAvailable is a latch that a later
// failed scale-up never clears, and that can be left over from another ReplicaSet. A Deployment
// that timed out looks healthy again as soon as it is scaled. And the caches of Deployments and
// of ReplicaSets lag each other, so that no single look at both is ever to be trusted: a copy of
// the Deployment that is behind cannot be told from a stable one. Whoever is about to write reads
// the Deployment live first and assesses again.
//
// The procedure: compare what the Deployment asks for with what its ReplicaSets have, and with
// what was remembered of the last template that was seen complete (the settled one).
//
//   - The new ReplicaSet is the owned one with the Deployment's template. If another one has or
//     wants pods, a rollout moves pods between them: rolling, stuck, paused or rolling back.
//   - If only the new one has pods and it is the settled one, missing pods are scaling or trouble
//     of single pods, never a rollout.
//   - If only the new one has pods and it never was complete, its first pods are unproven: settling.
//   - Complete means that Deployment and new ReplicaSet agree on every number. Then the template
//     is settled, and everything before is forgotten.
//
// The rules in rules.go spell this out; the first that matches decides. Assess is a pure function:
// no client, no clock, no logger, the same input gives the same answer. It may be called on every
// event, and on any pair of cached copies however far apart they are.
package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
)

// State names what a target's rollout is doing. The API publishes these very words.
type State string

const (
	// Stable: one template, and it has been complete. Pods may be missing (Assessment.Degraded).
	Stable State = "Stable"
	// Scaling: one template that has been complete, on its way to another number of replicas.
	Scaling State = "Scaling"
	// Rolling: a new template is replacing another one.
	Rolling State = "Rolling"
	// Settling: only the newest template has pods, and they have not all been available yet.
	Settling State = "Settling"
	// Stuck: the rollout exceeded its deadline, and no further new pod became ready since.
	Stuck State = "Stuck"
	// PausedPending: the template was edited while paused; no pod of it exists yet.
	PausedPending State = "PausedPending"
	// PausedMidRollout: paused while pods of two templates exist.
	PausedMidRollout State = "PausedMidRollout"
	// RollingBack: an earlier template is replacing a later one.
	RollingBack State = "RollingBack"
)

// Permissions say what may be done to the target's replicas while the assessment holds.
// The zero value permits nothing.
type Permissions struct {
	// ScaleUp: the target's replicas may be raised.
	ScaleUp bool
	// ScaleDown: the target's replicas may be lowered.
	ScaleDown bool
	// Lend: standby slots may be put in service.
	Lend bool
	// LendFirst: replicas may be raised, but pods so gained are of a template that is about to be
	// replaced: prefer standby slots as long as there are any.
	LendFirst bool
	// Restore: a number of replicas that was lowered by the very write that started this rollout
	// may be put back. Raising beyond it needs ScaleUp.
	Restore bool
}

// Revision identifies a ReplicaSet of the target.
type Revision struct {
	// Name of the ReplicaSet; empty when there is none.
	Name string
	// Hash is its pod-template-hash.
	Hash string
	// Number is its revision number; 0 when it has none.
	Number int64
}

// Assessment is the answer for one moment.
type Assessment struct {
	// State of the rollout; empty when Missing.
	State State
	// Row of the rule that matched, 1 to 21, for tests and logs.
	Row int
	// Missing: the Deployment does not exist or is being deleted.
	Missing bool
	// Degraded: Stable, but pods are missing or not available.
	Degraded bool
	// Permissions for the target's replicas.
	Permissions
	// New is the ReplicaSet with the Deployment's template.
	New Revision
	// SettledHash is the pod-template-hash of the newest template seen complete; empty when unknown.
	SettledHash string
	// Wanted is the target's spec.replicas.
	Wanted int32
	// Updated is the number of pods of the new ReplicaSet.
	Updated int32
	// Available is the number of available pods of all its ReplicaSets.
	Available int32
	// Since is when the present state began; a change of Degraded begins a new one.
	Since time.Time
	// HeldSince is when the present unbroken run of states that are InProgress began, which is when
	// the target was last Stable or Scaling. Zero when not in progress.
	HeldSince time.Time
	// Reason names the rule for machines.
	Reason string
	// Message says the same for people, with the numbers.
	Message string
}

// InProgress reports whether a rollout is in progress, which is every state but Stable and
// Scaling. A missing target has none.
func (a Assessment) InProgress() bool { return a.State.InProgress() }

// InProgress reports whether the state is one of a rollout: neither Stable nor Scaling nor empty.
func (s State) InProgress() bool { return s != "" && s != Stable && s != Scaling }

// Memory is what must be carried from one assessment of a target to the next. The zero value
// remembers nothing. Losing it costs holding for too long, never safety, with one exception: the
// first pods of a template that was changed while the target stood at 0 replicas are taken for
// proven once the first of them is available.
type Memory struct {
	// UID of the Deployment that this is about. Memory of another one is forgotten.
	UID types.UID `json:"uid,omitempty"`
	// SettledHash is the pod-template-hash of the template that was last seen complete.
	SettledHash string `json:"settledHash,omitempty"`
	// SettledTemplateDigest is Digest of that template. It outlives the ReplicaSet.
	SettledTemplateDigest string `json:"settledTemplateDigest,omitempty"`
	// SettledReplicas is the number of replicas at that time.
	SettledReplicas int32 `json:"settledReplicas,omitempty"`
	// Unsettled: pods have moved between templates since then, so that having the settled template
	// no longer means that its pods are settled.
	Unsettled bool `json:"unsettled,omitempty"`
	// StuckHash is the pod-template-hash of the ReplicaSet whose rollout exceeded its deadline.
	StuckHash string `json:"stuckHash,omitempty"`
	// StuckReadyReplicas is how many of its pods were ready then. One more ends being stuck.
	StuckReadyReplicas int32 `json:"stuckReadyReplicas,omitempty"`
	// StuckAt is when the controller said so, by its own clock. It tells a new verdict from an old one.
	StuckAt time.Time `json:"stuckAt,omitzero"`
	// State and Degraded are those of the last assessment, Since is when they began.
	State    State     `json:"state,omitempty"`
	Degraded bool      `json:"degraded,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// HeldSince is as in Assessment.
	HeldSince time.Time `json:"heldSince,omitzero"`
}

// Assess says what the rollout of d is doing, and what may be done to its replicas.
//
// rss may hold any ReplicaSets; those that d does not own are ignored, as are nil ones. A nil d
// means that the Deployment does not exist. m is what the previous call returned; now only dates
// the answer and never changes what it is. Neither d nor rss is changed or kept.
func Assess(now time.Time, d *appsv1.Deployment, rss []*appsv1.ReplicaSet, m Memory) (Assessment, Memory) {
	f := gather(d, rss, m)
	r := firstMatch(f)
	m = remember(now, f, r)
	a := Assessment{
		State:       r.state,
		Row:         r.row,
		Missing:     f.missing,
		Degraded:    r.degraded,
		Permissions: r.may,
		New:         revisionOf(f.newRS),
		SettledHash: m.SettledHash,
		Wanted:      f.wanted,
		Updated:     f.updated,
		Available:   f.available,
		Since:       m.Since,
		HeldSince:   m.HeldSince,
		Reason:      r.reason,
	}
	a.Message = message(now, a, f)
	return a, m
}

// remember returns what to carry on after rule r matched.
func remember(now time.Time, f *facts, r *rule) Memory {
	m := f.memory
	if f.missing {
		return m
	}
	switch {
	case r.settles:
		m.settle(f)
		m.Unsettled = false
		m.StuckHash, m.StuckReadyReplicas, m.StuckAt = "", 0, time.Time{}
	case r.state.InProgress() && f.podsMoved:
		m.Unsettled = true
	}
	if r.state != m.State || r.degraded != m.Degraded || m.Since.IsZero() {
		m.State, m.Degraded, m.Since = r.state, r.degraded, now
	}
	if !r.state.InProgress() {
		m.HeldSince = time.Time{}
	} else if m.HeldSince.IsZero() {
		m.HeldSince = now
	}
	return m
}

// settle remembers the new ReplicaSet's template. The digest is made once for each: it costs as much
// as all the rest.
func (m *Memory) settle(f *facts) {
	if m.SettledHash != f.hash || m.SettledTemplateDigest == "" {
		m.SettledHash, m.SettledTemplateDigest = f.hash, Digest(&f.d.Spec.Template)
	}
	m.SettledReplicas = f.wanted
}
