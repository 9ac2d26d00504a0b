// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// pressure has idle slots give way to pods of the target: those need the room more.
func (p *planner) pressure() {
	if p.in.RefillAfter.After(p.now.Add(refillPause)) {
		p.in.RefillAfter = p.now.Add(refillPause) // the clock went back
		p.plan.RefillAfter = p.in.RefillAfter
	}
	if !p.pressed() {
		switch {
		case p.in.RefillAfter.After(p.now):
			p.again(p.in.RefillAfter)
		default:
			p.plan.RefillAfter = time.Time{}
		}
		return
	}
	if waited := elapsed(p.now, p.in.UnschedulableSince); !p.in.QuotaFailure && waited < UnschedulableFor {
		p.again(p.now.Add(UnschedulableFor - waited))
		return
	}
	if p.in.RefillAfter.Sub(p.now) < refillPause-time.Minute {
		p.plan.RefillAfter = p.now.Add(refillPause)
		p.again(p.now)
	}
	if !p.in.RefillAfter.After(p.now) {
		return // stored first: else a restart would refill at once what was released
	}
	for _, s := range p.idle() {
		p.do(EndPod, s, "it gives way to pods of the target")
	}
}

// pressed reports whether pods of the target lack room now.
func (p *planner) pressed() bool { return !p.in.UnschedulableSince.IsZero() || p.in.QuotaFailure }

// idle are the slots that stay idle after what has been planned so far.
func (p *planner) idle() []*Slot {
	var out []*Slot
	for i := range p.slots {
		if s := &p.slots[i]; s.Idle() && !p.taken[s.Name] {
			out = append(out, s)
		}
	}
	return out
}

// discard ends idle slots that must not stay for another moment.
func (p *planner) discard() {
	for _, s := range p.idle() {
		if why := p.unfit(s); why != "" {
			p.do(EndPod, s, why)
		}
	}
}

// unfit says why an idle slot cannot stay; empty if it can.
func (p *planner) unfit(s *Slot) string {
	switch {
	case p.in.ReturnAll:
		return switchedOff
	case s.Tampered:
		return "somebody changed its marks"
	case Exposed(s, p.in.Services):
		return "a Service selects it"
	case p.forbidden(s.Revision):
		return "its revision is stuck, suspected or regressed"
	case p.in.Revision != "" && !p.soaked(s.Revision):
		return "its revision has not soaked"
	case p.refused(s):
		return "it is not kept out of the traffic: " + p.in.Refusal.Reason
	case s.State == Starting && p.surplus[s.Name]:
		return "another revision takes its place before it is warm"
	case s.State == Starting && p.stale(s):
		return "its template changed before it was warm"
	case s.State == Starting && s.Pod != "" && s.Failing != "":
		age := elapsed(p.now, s.Created)
		if age >= failingFor {
			return s.Failing
		}
		p.again(p.now.Add(failingFor - age))
	}
	return ""
}

// refused: a refusal because of the template leaves the slots of an earlier one as they are. One because of what selects
// pods, or of the gate that was chosen, is about every slot.
func (p *planner) refused(s *Slot) bool {
	if p.in.Refusal == nil {
		return false
	}
	switch p.in.Refusal.Reason {
	case v1alpha1.ReasonNetworkPolicySelectsLabel, v1alpha1.ReasonNothingToWithhold:
		return true
	}
	return s.Gate != p.in.Gate
}

// stale: a new slot in its place would look different.
func (p *planner) stale(s *Slot) bool { return p.outdated(s) || p.surplus[s.Name] }

// outdated: a new slot of its revision would look different, or none would be made.
func (p *planner) outdated(s *Slot) bool {
	if p.in.Template == nil || p.in.Revision == "" {
		return false
	}
	template, digest := p.in.Template, p.in.ConfigDigest
	switch {
	case s.Revision == p.in.Revision:
	case s.Revision == p.in.KnownGood && p.in.KnownGoodReplicas > 0:
		template, digest = p.in.KnownGoodTemplate, p.in.KnownGoodConfigDigest
	default:
		return true
	}
	return (template != nil && s.TemplateDigest != template.Digest) ||
		(p.in.ConfigSoaked && digest != "" && s.ConfigDigest != digest)
}

// resize removes idle slots that are too many, makes those that are missing, and replaces stale ones one by one: the new
// one first, so that the pool is never empty.
func (p *planner) resize() {
	idle := p.idle()
	inUse, ending, stuck := p.elsewhere()
	pending := p.pendingNames()

	for _, s := range p.excess(idle, len(idle)-max(0, int(p.in.Replicas)-inUse)) {
		p.do(EndPod, s, p.whyTooMany(s))
		ending++
	}
	idle = p.idle()
	need := int(p.in.Replicas) - inUse - ending - len(idle)
	if need == 0 && p.replacing(idle) {
		need = 1
	}
	need = min(need, 2*int(p.in.Replicas)+1-inUse-ending-stuck-len(idle))
	if need <= 0 || p.noRefill() != "" {
		p.plan.Pending = nil
		return
	}
	p.make(need, pending)
}

// elsewhere counts the places in the pool that are not taken by idle slots: those of slots in use (with what is lent and
// drained by this plan), those of ending ones, and those whose pod cannot end, which is waited for only so far.
func (p *planner) elsewhere() (inUse, ending, stuck int) {
	kinds := map[string]Kind{}
	for _, a := range p.plan.Actions {
		kinds[a.Name] = a.Kind
	}
	for i := range p.slots {
		s := &p.slots[i]
		switch kind := kinds[s.Name]; {
		case kind == EndPod:
			ending++
		case s.State == Lent, s.State == Draining, kind == Lend:
			inUse++
		case s.State == Ending && s.Overdue:
			stuck++
		case s.State == Ending && !s.Gone:
			ending++
		}
	}
	return inUse, ending, stuck
}

// pendingNames are the stored names of slots that are not seen yet.
func (p *planner) pendingNames() []string {
	return slices.DeleteFunc(slices.Clone(p.in.Pending), func(name string) bool {
		return slices.ContainsFunc(p.slots, func(s Slot) bool { return s.Name == name })
	})
}

// excess chooses n idle slots to remove: those that start, then stale ones, then the youngest. The one that is to replace
// a stale slot, or one in service that should not be, is not too many while it starts.
func (p *planner) excess(idle []*Slot, n int) []*Slot {
	surge := 0
	if p.in.Replicas > 0 && (p.lentForbidden() || slices.ContainsFunc(idle, func(s *Slot) bool { return s.State == Warm && p.stale(s) })) {
		if slices.ContainsFunc(idle, func(s *Slot) bool { return s.State == Starting }) {
			surge = 1
		}
	}
	n -= surge
	if n <= 0 {
		return nil
	}
	candidates := slices.Clone(idle)
	slices.SortFunc(candidates, func(a, b *Slot) int {
		return cmp.Or(
			p.dispensable(b)-p.dispensable(a),
			b.Created.Compare(a.Created),
			cmp.Compare(a.Name, b.Name))
	})
	if surge == 1 {
		starting := 0
		for starting < len(candidates) && candidates[starting].State == Starting {
			starting++
		}
		candidates = slices.Delete(candidates, starting-1, starting)
	}
	return candidates[:min(n, len(candidates))]
}

// lentForbidden: a slot stays in service though its revision was found to be bad since.
func (p *planner) lentForbidden() bool {
	return slices.ContainsFunc(p.slots, func(s Slot) bool {
		return s.State == Lent && !p.taken[s.Name] && p.forbidden(s.Revision)
	})
}

// dispensable orders idle slots for removal.
func (p *planner) dispensable(s *Slot) int {
	switch {
	case s.State == Starting && s.Failing != "":
		return 4
	case s.State == Starting:
		return 3
	case p.stale(s):
		return 2 - p.preferred(s)
	}
	return -p.preferred(s) - 1
}

func (p *planner) whyTooMany(s *Slot) string {
	switch {
	case p.in.Replicas == 0:
		return "no pool is asked for"
	case p.surplus[s.Name] && s.Revision == p.in.Revision:
		return fmt.Sprintf("%d slots are enough, %d of them of known-good revision %s", p.in.Replicas, p.in.KnownGoodReplicas, p.in.KnownGood)
	case p.stale(s) && s.Revision != p.in.Revision:
		return "a slot of revision " + p.in.Revision + " is warm in its place"
	case p.stale(s):
		return "a slot with the present template or configuration is warm in its place"
	}
	return fmt.Sprintf("%d slots are enough", p.in.Replicas)
}

// replacing: a stale slot is warm, or one of a forbidden revision in service, and the one to replace it was not made yet.
func (p *planner) replacing(idle []*Slot) bool {
	return (p.lentForbidden() || slices.ContainsFunc(idle, p.stale)) &&
		!slices.ContainsFunc(idle, func(s *Slot) bool { return s.State == Starting })
}

// noRefill says why no slots are made; empty if they may be.
func (p *planner) noRefill() string {
	switch {
	case p.in.Replicas == 0:
		return "no pool is asked for"
	case p.in.ReturnAll:
		return switchedOff
	case p.in.Template == nil || p.in.Revision == "":
		return "there is no template to make slots from"
	case p.forbidden(p.in.Revision):
		return "its revision may not be lent"
	case p.pressed():
		return "pods of the target lack room"
	case p.plan.RefillAfter.After(p.now):
		return "slots gave way to pods of the target"
	}
	return ""
}

// make creates slots: those whose names are stored now, the others once theirs are. A restart then makes the same ones,
// and a cache that does not show a slot yet leads to no second one.
func (p *planner) make(need int, pending []string) {
	pending = pending[:min(need, len(pending))]
	good := p.staying(p.in.KnownGood)
	for _, name := range pending {
		p.plan.Actions = append(p.plan.Actions, p.create(name, &good))
	}
	p.plan.Pending = pending
	random := rand.New(rand.NewPCG(p.in.Seed, uint64(p.now.UnixNano())))
	for len(p.plan.Pending) < need {
		name := p.newName(random)
		if !slices.Contains(p.plan.Pending, name) && !slices.ContainsFunc(p.slots, func(s Slot) bool { return s.Name == name }) {
			p.plan.Pending = append(p.plan.Pending, name)
			p.again(p.now)
		}
	}
}

// suffixLetters spell nothing.
const suffixLetters = "bcdfghjklmnpqrstvwxz2456789"

func (p *planner) newName(random *rand.Rand) string {
	suffix := make([]byte, 6)
	for i := range suffix {
		suffix[i] = suffixLetters[random.IntN(len(suffixLetters))]
	}
	const middle = "-standby-"
	return shorten(p.in.Scaler, maxName-len(middle)-len(suffix)) + middle + string(suffix)
}

// bound keeps a plan finite, whatever was observed. The rest is for the next one.
func (p *planner) bound() {
	if len(p.plan.Actions) > mostActions {
		p.plan.Actions = p.plan.Actions[:mostActions]
		p.again(p.now)
	}
}
