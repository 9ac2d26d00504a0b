// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"cmp"
	"slices"
)

// resolved says what the pool is to run: of which revision most slots are, and how many stay on the known-good one until
// that has proved itself. With no known-good revision it is in, as it was given.
//
// A revision that is forbidden, or not to be lent beside a regressed target, is no revision for the pool: then it is made
// from the known-good one.
func (in PoolInput) resolved() PoolInput {
	in.Replicas = min(max(in.Replicas, 0), mostSlots)
	if in.KnownGood == "" || slices.Contains(in.Forbidden, in.KnownGood) {
		in.KnownGood, in.KnownGoodReplicas, in.KnownGoodTemplate, in.TargetRegressed = "", 0, nil, false
		return in
	}
	if in.TargetRegressed || in.Revision == "" || slices.Contains(in.Forbidden, in.Revision) {
		in.Revision, in.Template, in.ConfigDigest = in.KnownGood, in.KnownGoodTemplate, in.KnownGoodConfigDigest
		if in.Template != nil {
			in.Refusal = nil // it is about a template that is not used
		}
	}
	if in.Revision == in.KnownGood || in.NoMixing {
		in.KnownGoodReplicas = 0 // nothing to keep, or nothing that could be lent
	}
	in.KnownGoodReplicas = min(max(in.KnownGoodReplicas, 0), in.Replicas)
	return in
}

// apportion marks idle slots of which there are too many of one revision and too few of the other. They are replaced like
// stale ones.
func (p *planner) apportion() {
	if p.in.KnownGoodReplicas == 0 {
		return
	}
	keep, good := p.knownGoodWanted(), p.staying(p.in.KnownGood)
	p.markSurplus(p.in.KnownGood, good-keep)
	p.markSurplus(p.in.Revision, p.staying(p.in.Revision)-(int(p.in.Replicas)-keep))
}

// knownGoodWanted is how many slots of the pool are to run the known-good revision. Where none can be made, those that are
// there stay.
func (p *planner) knownGoodWanted() int {
	wanted := int(p.in.KnownGoodReplicas)
	if p.in.KnownGoodTemplate == nil {
		wanted = min(wanted, p.staying(p.in.KnownGood))
	}
	return wanted
}

// staying counts the slots of a revision that are there after what has been planned so far: idle ones that are up to date,
// and those in service.
func (p *planner) staying(revision string) int {
	n := 0
	for i := range p.slots {
		s := &p.slots[i]
		if s.Revision != revision {
			continue
		}
		ends := false
		lent := s.State == Lent
		for _, a := range p.plan.Actions {
			if a.Name == s.Name {
				ends = ends || a.Kind == EndPod || a.Kind == BeginDrain
				lent = lent || a.Kind == Lend
			}
		}
		if !ends && (lent || (s.Idle() && !p.outdated(s))) {
			n++
		}
	}
	return n
}

// markSurplus marks n idle slots of a revision: those that start, then the youngest.
func (p *planner) markSurplus(revision string, n int) {
	idle := slices.DeleteFunc(p.idle(), func(s *Slot) bool { return s.Revision != revision || p.outdated(s) })
	slices.SortFunc(idle, func(a, b *Slot) int {
		return cmp.Or(
			cmp.Compare(warmed(a), warmed(b)),
			b.Created.Compare(a.Created),
			cmp.Compare(a.Name, b.Name))
	})
	for _, s := range idle[:min(max(n, 0), len(idle))] {
		p.surplus[s.Name] = true
	}
}

// warmed is what it took to make a slot: 0 while it starts.
func warmed(s *Slot) int {
	if s.State == Starting {
		return 0
	}
	return 1
}

// create says what a new slot is made from, where so many are of the known-good revision; it counts itself.
func (p *planner) create(name string, good *int) Action {
	a := Action{Kind: Create, Name: name, Reason: "revision " + p.in.Revision, Template: p.in.Template, ConfigDigest: p.in.ConfigDigest}
	if *good < p.knownGoodWanted() {
		*good++
		a.Reason, a.Template, a.ConfigDigest = "known-good revision "+p.in.KnownGood, p.in.KnownGoodTemplate, p.in.KnownGoodConfigDigest
	}
	return a
}
