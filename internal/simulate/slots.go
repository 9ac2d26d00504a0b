// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"slices"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// slotState is where a standby slot is in its life.
type slotState int

const (
	slotStarting slotState = iota
	slotWarm
	slotLent
	slotDraining
	slotEnding
)

// slot is one standby pod outside the traffic.
type slot struct {
	name     string
	revision int
	state    slotState
	pod      pod
	// lent and draining are since when it is so; touches is how often it was touched since.
	lent, draining, touches int
	// digest of the template that it was made from.
	digest string
}

// tend does one thing to a slot.
func (w *Plant) tend(t int, a *standby.Action) {
	w.fleet.changes++
	if a.Kind == standby.Create {
		revision := w.revisionOf(a.Template.Template.Labels[capacityv1alpha1.LabelRevision])
		w.slots = append(w.slots, &slot{name: a.Name, revision: revision, digest: a.Template.Digest, pod: pod{created: t, ready: t + w.scenario.ColdStartSeconds}})
		return
	}
	i := slices.IndexFunc(w.slots, func(s *slot) bool { return s.name == a.Name })
	if i < 0 {
		return
	}
	switch s := w.slots[i]; a.Kind {
	case standby.Lend:
		s.state, s.lent = slotLent, t
		w.meter.result.SlotsLent++
	case standby.BeginDrain:
		s.state, s.draining = slotDraining, t
	case standby.EndPod:
		s.state = slotEnding
	case standby.Touch:
		s.touches = a.Touch
	case standby.DeleteReplicaSet:
		w.slots = slices.Delete(w.slots, i, i+1)
	}
}

// revisionOf a pod-template-hash; -1 if there is none.
func (w *Plant) revisionOf(hash string) int {
	for i := range w.scenario.Revisions {
		if hashOf(w, i) == hash {
			return i
		}
	}
	return -1
}
