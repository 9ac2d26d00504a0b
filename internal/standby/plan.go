// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// UnschedulableFor is how long a pod of the target may be unschedulable until idle slots give way.
	UnschedulableFor = 10 * time.Second
	// refillPause is how long released slots are not made again.
	refillPause = 5 * time.Minute
	// failingFor is how old the pod of an idle slot gets whose containers do not run, until the slot is made anew: perhaps
	// it is the node. It is also what keeps us from making slots in a loop.
	failingFor = 10 * time.Minute
	// unhealthyFor is how long a lent pod is unready until another is lent in its place.
	unhealthyFor = 10 * time.Second
	// beginningFor is the same for one of gate Prepared that was not ready yet and did not fail: its process takes its own
	// start-up time. It is what a Deployment gives a pod by default (progressDeadlineSeconds).
	beginningFor = 10 * time.Minute
	// mostSlots bounds what a pool may ever consist of.
	mostSlots = 50
	// mostActions bounds what one plan asks for.
	mostActions = 100
)

// switchedOff is why no slot stays with ReturnAll.
const switchedOff = "the target is switched off"

// touchAfter is when a lent pod is touched, after it was lent.
var touchAfter = []time.Duration{2 * time.Second, 10 * time.Second}

// PoolInput is everything, besides the slots themselves, that is decided upon.
type PoolInput struct {
	// Scaler is the name of the QueueScaler. It begins the names of its slots.
	Scaler string
	// Replicas is the number of slots to keep, lent ones counted in; 0 for no pool: idle slots go, lent ones as they return.
	Replicas int32
	Gate     v1alpha1.Gate
	// Drain is how long a returned slot of gate File may finish its work.
	Drain time.Duration

	// WantLent is the number of slots that should be in service.
	WantLent int32
	// ReturnAll ends every slot at once, idle ones too, and makes none: somebody switched the target off, and wants none
	// of its pods to run.
	ReturnAll bool
	// NoMixing lends only slots of the target's own revision, and returns others.
	NoMixing bool
	// Frozen leaves everything as it is: the reason (Suspended, DryRun); empty if not.
	Frozen string
	// Terminating is true where the namespace is being deleted: nothing can be made, and all goes by itself.
	Terminating bool

	// Revision is the pod-template-hash that the pool is to run, the newest soaked one; empty if none has soaked.
	Revision string
	// Template of a slot of that revision; nil with a Refusal, and where the revision's template is lost.
	Template *SlotTemplate
	Refusal  *Refusal
	// ConfigDigest is that of the data which the template refers to; empty if unknown. ConfigSoaked is true where the
	// target's own pods have run with it for long enough: slots made with other data are then replaced.
	ConfigDigest string
	ConfigSoaked bool
	// TargetRevision is the pod-template-hash of the target's present template.
	TargetRevision string
	// Soaked are the revisions known to have soaked, Revision apart. No slot of another one is lent or kept.
	Soaked []string
	// Forbidden are revisions that are stuck, suspected or regressed. No slot of one is lent or kept, soaked or not.
	Forbidden []string
	// KnownGood is the pod-template-hash of the known-good revision, which has soaked; empty if there is none.
	KnownGood string
	// KnownGoodReplicas of the slots run it for as long as Revision is another one, which has not proved itself.
	KnownGoodReplicas int32
	// KnownGoodTemplate of a slot of it; nil where none can be made. KnownGoodConfigDigest is that of the data which it
	// refers to.
	KnownGoodTemplate     *SlotTemplate
	KnownGoodConfigDigest string
	// TargetRegressed: the target's revision is regressed. Then only known-good slots make up for it, and the pool runs
	// no other.
	TargetRegressed bool

	// UnschedulableSince is since when a pod of the target has been unschedulable; zero if none is.
	UnschedulableSince time.Time
	// QuotaFailure is true where a quota keeps the target's pods from being created.
	QuotaFailure bool
	// Services of the namespace. One that comes to select an idle slot gets it replaced.
	Services []corev1.Service

	// Pending are the names of slots that were stored before creation.
	Pending []string
	// RefillAfter is until when no slots are made, as stored; zero if not.
	RefillAfter time.Time
	// Seed of the random part of new names.
	Seed uint64
}

// Kind of an Action.
type Kind string

const (
	// Lend a warm slot: LendPatch.
	Lend Kind = "Lend"
	// BeginDrain tells a lent slot to take nothing new: DrainPatch.
	BeginDrain Kind = "BeginDrain"
	// EndPod ends a slot's pod: EndPatch.
	EndPod Kind = "EndPod"
	// DeleteReplicaSet removes what is left of a slot whose pod is gone.
	DeleteReplicaSet Kind = "DeleteReplicaSet"
	// Touch a lent pod: TouchPatch.
	Touch Kind = "Touch"
	// Create a slot: ReplicaSet.
	Create Kind = "Create"
)

// Action is one write.
type Action struct {
	Kind Kind
	// Name of the slot.
	Name string
	// Slot as it was observed; nil for Create.
	Slot *Slot
	// Touch is the number of the touch, for TouchPatch.
	Touch int
	// Template and ConfigDigest are what a slot is made with, for Create.
	Template     *SlotTemplate
	ConfigDigest string
	// Reason in a few words, for people.
	Reason string
}

// Counts of slots.
type Counts struct {
	// Warm and idle, Lent, Starting, Draining and Ending slots.
	Warm, Lent, Starting, Draining, Ending int32
	// Lendable are those of Warm that may be lent now.
	Lendable int32
	// Coming will be warm: slots that start and do not fail, or end and are made again.
	Coming int32
}

// PoolPlan is what to do about the pool.
type PoolPlan struct {
	// Actions in the order in which they are to be done; each may be done, fail or be left out for itself.
	Actions []Action
	// Pending and RefillAfter are to be stored in status. Nothing in Actions depends on a value that is not stored yet:
	// where one changed, Again is now, and the next plan acts on it.
	Pending     []string
	RefillAfter time.Time
	Counts      Counts
	// StartUp is how long slots take until warm, the median; 0 if unknown.
	StartUp time.Duration
	// Ready is the status of StandbyReady, with its reason and message.
	Ready           bool
	Reason, Message string
	// Again is when to look again at the latest, if nothing happens before; zero for not at all.
	Again time.Time
}

// planner holds one call of Plan.
type planner struct {
	now   time.Time
	in    PoolInput
	slots []Slot
	plan  PoolPlan
	// taken are the slots with an action already, surplus those of a revision of which there are too many.
	taken, surplus map[string]bool
}

// Plan decides about the pool. It is a pure function of its input: the same slots and input give the same plan.
//
// Replicas is the size of the pool, lent and ending slots counted in, so that a returned slot is replaced when it is
// gone. One more may exist while slots are being replaced.
//
// The steps go from what users feel first to what can wait: lend, return, end, touch; give way; apportion, discard, resize. A step
// only adds actions, at most one for each slot, and leaves alone a slot that an earlier step has one for.
func Plan(now time.Time, in PoolInput, slots []Slot) PoolPlan {
	in = in.resolved()
	p := &planner{now: now, in: in, slots: slots, taken: map[string]bool{}, surplus: map[string]bool{}}
	p.plan.Pending, p.plan.RefillAfter = in.Pending, in.RefillAfter
	p.count()
	if in.Frozen == "" && !in.Terminating {
		p.lend()
		p.giveBack()
		p.end()
		p.touch()
		p.pressure()
		p.apportion()
		p.discard()
		p.resize()
		p.bound()
	}
	p.report()
	return p.plan
}

// count tells the slots by state.
func (p *planner) count() {
	c := &p.plan.Counts
	var startUps []time.Duration
	for i := range p.slots {
		s := &p.slots[i]
		switch s.State {
		case Warm:
			c.Warm++
			if p.lendable(s) {
				c.Lendable++
			}
		case Lent:
			c.Lent++
		case Starting:
			c.Starting++
		case Draining:
			c.Draining++
		case Ending:
			c.Ending++
		}
		if s.State == Draining || s.State == Ending || (s.State == Starting && s.Failing == "") {
			c.Coming++
		}
		if s.StartUp > 0 {
			startUps = append(startUps, s.StartUp)
		}
	}
	c.Coming += int32(len(p.pendingNames()))
	c.Coming = min(c.Coming, max(0, p.in.Replicas-c.Lendable-c.Lent))
	if len(startUps) > 0 {
		slices.Sort(startUps)
		p.plan.StartUp = startUps[len(startUps)/2]
	}
}

func (p *planner) do(kind Kind, s *Slot, reason string) {
	p.taken[s.Name] = true
	p.plan.Actions = append(p.plan.Actions, Action{Kind: kind, Name: s.Name, Slot: s, Reason: reason})
}

// again asks to be called at a time, or earlier.
func (p *planner) again(at time.Time) {
	if at.Before(p.now) {
		at = p.now
	}
	if p.plan.Again.IsZero() || at.Before(p.plan.Again) {
		p.plan.Again = at
	}
}

// lendable: a warm slot of a soaked revision, and nothing speaks against it.
func (p *planner) lendable(s *Slot) bool {
	return s.State == Warm && s.Pod != "" && !s.Tampered && p.soaked(s.Revision) && !p.in.ReturnAll && !p.in.Terminating &&
		(!p.in.NoMixing || s.Revision == p.in.TargetRevision) && (!p.in.TargetRegressed || s.Revision == p.in.KnownGood)
}

func (p *planner) forbidden(revision string) bool { return slices.Contains(p.in.Forbidden, revision) }

func (p *planner) soaked(revision string) bool {
	if revision == "" || p.forbidden(revision) {
		return false
	}
	return revision == p.in.Revision || revision == p.in.KnownGood || slices.Contains(p.in.Soaked, revision)
}

// healthy: a lent slot that does work, or was unready too shortly to say.
func (p *planner) healthy(s *Slot) bool {
	if s.Ready {
		return true
	}
	since, allowed := s.UnreadySince, unhealthyFor
	if since.Before(s.LentSince) {
		since = s.LentSince
	}
	if s.Beginning {
		allowed = beginningFor
	}
	unready := elapsed(p.now, since)
	if unready < allowed {
		p.again(p.now.Add(allowed - unready))
		return true
	}
	return false
}

// lend puts as many slots in service as are wanted. An unhealthy one is no help, and does not count; nor does one of a
// revision that was found to be bad since.
func (p *planner) lend() {
	missing := int(p.in.WantLent)
	var warm []*Slot
	for i := range p.slots {
		s := &p.slots[i]
		switch {
		case s.State == Lent && p.healthy(s) && !p.mixed(s) && !p.forbidden(s.Revision):
			missing--
		case p.lendable(s):
			warm = append(warm, s)
		}
	}
	if p.in.ReturnAll || missing <= 0 {
		return
	}
	slices.SortFunc(warm, func(a, b *Slot) int {
		return cmp.Or(
			p.preferred(b)-p.preferred(a),
			a.ReadySince.Compare(b.ReadySince),
			cmp.Compare(a.Name, b.Name))
	})
	for _, s := range warm[:min(missing, len(warm))] {
		p.do(Lend, s, fmt.Sprintf("%d slots wanted in service", p.in.WantLent))
	}
}

// preferred orders slots for lending: of the target's own revision, then of the pool's, and those last that are kept on the
// known-good one.
func (p *planner) preferred(s *Slot) int {
	switch s.Revision {
	case p.in.TargetRevision:
		return 2
	case p.in.Revision:
		return 1
	}
	return 0
}

// mixed: a lent slot of a revision that may not work beside the target's. Where the target's is not known, nothing returns.
func (p *planner) mixed(s *Slot) bool {
	return p.in.NoMixing && p.in.TargetRevision != "" && s.Revision != p.in.TargetRevision
}

// giveBack returns lent slots: all that must not be in service, then as many as are more than wanted. Unhealthy ones go
// first, and as soon as others work in their place; then those of a revision that would not be lent now; then the one
// that was lent last.
func (p *planner) giveBack() {
	lending := len(p.plan.Actions)
	var lent []*Slot
	for i := range p.slots {
		s := &p.slots[i]
		switch {
		case s.State != Lent:
		case p.in.ReturnAll:
			p.do(EndPod, s, switchedOff)
		case p.mixed(s):
			p.giveBackOne(s, "its revision may not work beside the target's")
		default:
			lent = append(lent, s)
		}
	}
	slices.SortFunc(lent, func(a, b *Slot) int {
		return cmp.Or(
			p.worth(a)-p.worth(b),
			b.LentSince.Compare(a.LentSince),
			cmp.Compare(a.Name, b.Name))
	})
	keep := min(len(lent), max(0, int(p.in.WantLent)-lending))
	for _, s := range lent[:len(lent)-keep] {
		p.giveBackOne(s, fmt.Sprintf("%d slots wanted in service", p.in.WantLent))
	}
}

// giveBackOne: with gate File the app is told first, and may finish.
func (p *planner) giveBackOne(s *Slot, reason string) {
	if s.Gate == v1alpha1.GateFile {
		p.do(BeginDrain, s, reason)
		return
	}
	p.do(EndPod, s, reason)
}

func (p *planner) worth(s *Slot) int {
	worth := 0
	if p.healthy(s) {
		worth += 2
	}
	if p.soaked(s.Revision) {
		worth++
	}
	return worth
}

// end ends drained pods, and removes what is left of slots whose pod is gone. It is in this order, because the disruption
// controller fails a budget closed while a pod has no ReplicaSet.
func (p *planner) end() {
	for i := range p.slots {
		s := &p.slots[i]
		switch {
		case s.State == Draining && !s.Ready:
			p.do(EndPod, s, "drained")
		case s.State == Draining:
			if spent := elapsed(p.now, s.DrainingSince); p.in.ReturnAll || spent >= p.in.Drain {
				p.do(EndPod, s, "its time to drain is over")
			} else {
				p.again(p.now.Add(p.in.Drain - spent))
			}
		case s.State == Ending && s.Gone && !s.Deleting:
			p.do(DeleteReplicaSet, s, "its pod is gone")
		case s.State == Ending && s.Remaining > 0 && !s.Overdue:
			p.again(p.now.Add(overdueAfter))
		}
	}
}

// touch changes lent pods that have a role file once more, so that it is up to date for certain.
func (p *planner) touch() {
	for i := range p.slots {
		s := &p.slots[i]
		if s.State != Lent || s.Gate == v1alpha1.GateService || p.taken[s.Name] {
			continue
		}
		age, due := elapsed(p.now, s.LentSince), 0
		for due < len(touchAfter) && age >= touchAfter[due] {
			due++
		}
		if s.Touches < due {
			p.do(Touch, s, "so that the role file is seen")
			p.plan.Actions[len(p.plan.Actions)-1].Touch = due
		}
		if due < len(touchAfter) {
			p.again(p.now.Add(touchAfter[due] - age))
		}
	}
}
