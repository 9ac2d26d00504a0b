// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// aPool is an input for a pool of 3 of revision aaa, and one warm slot of it.
func aPool() (PoolInput, Slot) {
	in := PoolInput{
		Scaler: "q", Replicas: 3, Gate: v1alpha1.GateService, Revision: "aaa", TargetRevision: "aaa",
		Template: &SlotTemplate{Digest: "d"},
	}
	return in, Slot{
		State: Warm, Ready: true, ReadySince: noon.Add(-time.Hour), Created: noon.Add(-time.Hour), Revision: "aaa", TemplateDigest: "d",
		Gate: v1alpha1.GateService, Labels: map[string]string{v1alpha1.LabelRole: v1alpha1.RoleStandby},
	}
}

func named(s Slot, name string, change func(*Slot)) Slot {
	s.Name, s.Pod = name, name+"-pod"
	if change != nil {
		change(&s)
	}
	return s
}

func summaryOf(p PoolPlan) string {
	var parts []string
	for _, a := range p.Actions {
		parts = append(parts, fmt.Sprintf("%s %s", a.Kind, a.Name))
	}
	return strings.Join(parts, ", ")
}

func TestWhichSlotIsLent(t *testing.T) {
	in, warm := aPool()
	in.WantLent, in.TargetRevision, in.Soaked = 1, "bbb", []string{"bbb"}
	old := named(warm, "a-old", func(s *Slot) { s.ReadySince = noon.Add(-2 * time.Hour) })
	same := named(warm, "b-same", func(s *Slot) { s.Revision = "bbb" })
	young := named(warm, "c-young", nil)
	for _, test := range []struct {
		name  string
		slots []Slot
		want  string
	}{
		{"of the target's own revision", []Slot{old, same, young}, "Lend b-same"},
		{"the one that is warm for longest", []Slot{young, old}, "Lend a-old"},
		{"none that is not soaked", []Slot{named(warm, "x", func(s *Slot) { s.Revision = "ccc" })}, "EndPod x"},
		{"none that somebody marked", []Slot{named(warm, "x", func(s *Slot) { s.Tampered = true })}, "EndPod x"},
		{"none that starts", []Slot{named(warm, "x", func(s *Slot) { s.State = Starting })}, ""},
		{"one is lent already", []Slot{young, named(warm, "z", func(s *Slot) { s.State = Lent })}, ""},
		{"one is lent, and dead for 10 s", []Slot{young, named(warm, "z", func(s *Slot) {
			s.State, s.Ready, s.UnreadySince = Lent, false, noon.Add(-10*time.Second)
		})}, "Lend c-young, EndPod z"},
		{"one is lent, and dead for 9 s", []Slot{young, named(warm, "z", func(s *Slot) {
			s.State, s.Ready, s.UnreadySince = Lent, false, noon.Add(-9*time.Second)
		})}, ""},
		{"one is lent, and its process begins", []Slot{young, named(warm, "z", func(s *Slot) {
			s.State, s.Gate, s.Ready, s.Beginning, s.Touches = Lent, v1alpha1.GatePrepared, false, true, 2
			s.UnreadySince, s.LentSince = noon.Add(-time.Hour), noon.Add(-9*time.Minute)
		})}, ""},
		{"one is lent, and its process begins for too long", []Slot{young, named(warm, "z", func(s *Slot) {
			s.State, s.Gate, s.Ready, s.Beginning, s.Touches = Lent, v1alpha1.GatePrepared, false, true, 2
			s.UnreadySince, s.LentSince = noon.Add(-time.Hour), noon.Add(-10*time.Minute)
		})}, "Lend c-young, EndPod z"},
		{"one is lent, and does not see it: its node is dead", []Slot{young, named(warm, "z", func(s *Slot) {
			s.State, s.Gate, s.Ready, s.Waiting, s.Touches = Lent, v1alpha1.GatePrepared, false, true, 2
			s.UnreadySince, s.LentSince = noon.Add(-time.Hour), noon.Add(-10*time.Second)
		})}, "Lend c-young, EndPod z"},
		{"one was lent just now, and was unready before", []Slot{young, named(warm, "z", func(s *Slot) {
			s.State, s.Ready, s.UnreadySince, s.LentSince = Lent, false, noon.Add(-time.Hour), noon.Add(-9*time.Second)
		})}, ""},
		{"the dead one stays while nobody can replace it", []Slot{named(warm, "z", func(s *Slot) {
			s.State, s.Ready, s.UnreadySince = Lent, false, noon.Add(-time.Hour)
		})}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := in
			in.Replicas = int32(len(test.slots))
			in.RefillAfter = noon.Add(time.Minute) // only lending and returning is of interest
			if got := summaryOf(Plan(noon, in, test.slots)); got != test.want {
				t.Errorf("planned %q, want %q", got, test.want)
			}
		})
	}
}

func TestWhichSlotReturns(t *testing.T) {
	in, warm := aPool()
	lent := func(name string, ago time.Duration, change func(*Slot)) Slot {
		return named(warm, name, func(s *Slot) {
			s.State, s.LentSince, s.Touches = Lent, noon.Add(-ago), 2
			if change != nil {
				change(s)
			}
		})
	}
	first, last := lent("first", time.Hour, nil), lent("last", time.Minute, nil)
	dead := lent("dead", 2*time.Hour, func(s *Slot) { s.Ready, s.UnreadySince = false, noon.Add(-time.Minute) })
	forbidden := lent("forbidden", 2*time.Hour, func(s *Slot) { s.Revision = "bad" })
	for _, test := range []struct {
		name  string
		want  int32
		slots []Slot
		plan  string
	}{
		{"the one lent last", 1, []Slot{first, last}, "EndPod last"},
		{"the dead one first", 2, []Slot{first, last, dead}, "EndPod dead"},
		{"the forbidden one first", 2, []Slot{first, last, forbidden}, "EndPod forbidden"},
		{"all", 0, []Slot{first, last}, "EndPod last, EndPod first"},
		{"none", 2, []Slot{first, last}, ""},
		{"with gate Prepared it ends", 0, []Slot{lent("p", time.Minute, func(s *Slot) { s.Gate = v1alpha1.GatePrepared })}, "EndPod p"},
		{"with gate File it drains", 0, []Slot{lent("f", time.Minute, func(s *Slot) { s.Gate = v1alpha1.GateFile })}, "BeginDrain f"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := in
			in.WantLent, in.Replicas, in.Forbidden = test.want, int32(len(test.slots)), []string{"bad"}
			if got := summaryOf(Plan(noon, in, test.slots)); got != test.plan {
				t.Errorf("planned %q, want %q", got, test.plan)
			}
		})
	}
}

// TestIntentIsStoredFirst: nothing is done whose memory is not stored yet.
func TestIntentIsStoredFirst(t *testing.T) {
	in, warm := aPool()
	plan := Plan(noon, in, nil)
	if len(plan.Actions) != 0 || len(plan.Pending) != 3 || !plan.Again.Equal(noon) {
		t.Errorf("slots whose names are not stored: %+v", plan)
	}
	in.Pending = plan.Pending
	if plan = Plan(noon, in, nil); len(plan.Actions) != 3 || !cmp.Equal(plan.Pending, in.Pending) {
		t.Errorf("slots whose names are stored: %+v", plan)
	}
	in, _ = aPool()
	in.QuotaFailure = true
	slots := []Slot{named(warm, "a", nil)}
	plan = Plan(noon, in, slots)
	if len(plan.Actions) != 0 || !plan.RefillAfter.Equal(noon.Add(5*time.Minute)) || !plan.Again.Equal(noon) {
		t.Errorf("a release that is not stored: %+v", plan)
	}
	in.RefillAfter = plan.RefillAfter
	if got := summaryOf(Plan(noon, in, slots)); got != "EndPod a" {
		t.Errorf("planned %q once it is stored, want the release", got)
	}
}

func TestAgain(t *testing.T) {
	in, warm := aPool()
	file := func(change func(*Slot)) Slot {
		return named(warm, "a", func(s *Slot) {
			s.Gate, s.State = v1alpha1.GateFile, Lent
			change(s)
		})
	}
	for _, test := range []struct {
		name  string
		slot  Slot
		in    func(*PoolInput)
		plan  string
		again time.Duration // -1: not at all
	}{
		{"at rest", named(warm, "a", nil), nil, "", -1},
		{"touch after 2 s", file(func(s *Slot) { s.LentSince = noon.Add(-time.Second) }), nil, "", time.Second},
		{"touched once", file(func(s *Slot) { s.LentSince, s.Touches = noon.Add(-3*time.Second), 1 }), nil, "", 7 * time.Second},
		{"touch twice", file(func(s *Slot) { s.LentSince, s.Touches = noon.Add(-10*time.Second), 1 }), nil, "Touch a", -1},
		{"one touch after a long gap", file(func(s *Slot) { s.LentSince = noon.Add(-time.Hour) }), nil, "Touch a", -1},
		{"gate Service is not touched", named(warm, "a", func(s *Slot) { s.State, s.LentSince = Lent, noon.Add(-time.Hour) }), nil, "", -1},
		{"gate Prepared is touched", file(func(s *Slot) {
			s.Gate, s.Ready, s.Waiting, s.LentSince = v1alpha1.GatePrepared, false, true, noon.Add(-2*time.Second)
		}), nil, "Touch a", 8 * time.Second},
		{"gate Prepared has begun", file(func(s *Slot) {
			s.Gate, s.Ready, s.Beginning, s.LentSince, s.Touches = v1alpha1.GatePrepared, false, true, noon.Add(-time.Minute), 2
		}), nil, "", 9 * time.Minute},
		{"lent at a time in the future", file(func(s *Slot) { s.LentSince = noon.Add(time.Hour) }), nil, "Touch a", -1},
		{"draining", file(func(s *Slot) { s.State, s.DrainingSince = Draining, noon.Add(-3*time.Second) }), nil, "", 7 * time.Second},
		{"draining since a time in the future", file(func(s *Slot) { s.State, s.DrainingSince = Draining, noon.Add(time.Hour) }), nil, "EndPod a", -1},
		{"drained", file(func(s *Slot) { s.State, s.Ready, s.DrainingSince = Draining, false, noon }), nil, "EndPod a", -1},
		{"unschedulable for 4 s", named(warm, "a", nil), func(in *PoolInput) { in.UnschedulableSince = noon.Add(-4 * time.Second) }, "", 6 * time.Second},
		{"refill later", named(warm, "a", nil), func(in *PoolInput) { in.RefillAfter = noon.Add(time.Minute) }, "", time.Minute},
		{"refill in a year: the clock went back", named(warm, "a", nil), func(in *PoolInput) { in.RefillAfter = noon.Add(8760 * time.Hour) }, "", 5 * time.Minute},
		{"a slot has had no node for 4 s", named(warm, "a", func(s *Slot) { s.State, s.UnschedulableSince = Starting, noon.Add(-4*time.Second) }), nil, "", 6 * time.Second},
		{"crashes for 9 min", named(warm, "a", func(s *Slot) { s.State, s.Failing, s.Created = Starting, "CrashLoopBackOff", noon.Add(-9*time.Minute) }), nil, "", time.Minute},
		{"crashes for 10 min", named(warm, "a", func(s *Slot) { s.State, s.Failing, s.Created = Starting, "CrashLoopBackOff", noon.Add(-10*time.Minute) }), nil, "EndPod a", -1},
		{"frozen", file(func(s *Slot) { s.LentSince = noon.Add(-time.Hour) }), func(in *PoolInput) { in.Frozen = v1alpha1.ReasonDryRun }, "", -1},
		{"the namespace goes", named(warm, "a", nil), func(in *PoolInput) { in.Terminating, in.WantLent = true, 1 }, "", -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := in
			in.Replicas, in.Drain = 1, 10*time.Second
			if test.slot.State == Lent {
				in.WantLent = 1
			}
			if test.in != nil {
				test.in(&in)
			}
			plan := Plan(noon, in, []Slot{test.slot})
			again := time.Duration(-1)
			if !plan.Again.IsZero() {
				again = plan.Again.Sub(noon)
			}
			if got := summaryOf(plan); got != test.plan || again != test.again {
				t.Errorf("planned %q, again in %v; want %q, %v", got, again, test.plan, test.again)
			}
		})
	}
}

func TestReady(t *testing.T) {
	in, warm := aPool()
	two := []Slot{named(warm, "a", nil), named(warm, "b", nil)}
	three := append(two[:2:2], named(warm, "c", nil))
	failing := append(two[:2:2], named(warm, "c", func(s *Slot) { s.State, s.Failing = Starting, "ImagePullBackOff" }))
	for _, test := range []struct {
		name   string
		slots  []Slot
		change func(*PoolInput)
		ready  bool
		reason string
		says   string
	}{
		{"full", three, nil, true, v1alpha1.ReasonSlotsWarm, "3 of 3 slots warm"},
		{"full with a lent one", append(two[:2:2], named(warm, "c", func(s *Slot) { s.State = Lent })), func(in *PoolInput) { in.WantLent = 1 }, true, v1alpha1.ReasonSlotsWarm, "2 of 3 slots warm, 1 lent"},
		{"starting", append(two[:2:2], named(warm, "c", func(s *Slot) { s.State = Starting })), nil, false, v1alpha1.ReasonSlotsStarting, "2 of 3 slots warm, 1 starting"},
		{"failing", failing, nil, false, v1alpha1.ReasonSlotsFailing, "pod c-pod: ImagePullBackOff. See kubectl describe pod c-pod"},
		{"failing beside a full pool", failing, func(in *PoolInput) { in.Replicas = 2 }, true, v1alpha1.ReasonSlotsWarm, "1 slot fails, pod c-pod: ImagePullBackOff"},
		{"quota", append(two[:2:2], named(warm, "c", func(s *Slot) { s.State, s.Failing, s.CreateFailed = Starting, "exceeded quota", true })), nil,
			false, v1alpha1.ReasonSlotsFailing, "the pod of slot c cannot be created: exceeded quota"},
		{"no node", append(two[:2:2], named(warm, "c", func(s *Slot) { s.State, s.UnschedulableSince = Starting, noon.Add(-time.Minute) })), nil,
			false, v1alpha1.ReasonSlotsUnschedulable, "1 slot has no node, pod c-pod since 11:59:00 UTC: kubectl describe pod c-pod tells why. Add nodes"},
		{"no node for the one that is to replace others", append(three[:3:3], named(warm, "d", func(s *Slot) {
			s.State, s.UnschedulableSince, s.TemplateDigest = Starting, noon.Add(-time.Minute), "d2"
		})), func(in *PoolInput) { in.Template = &SlotTemplate{Digest: "d2"} }, true, v1alpha1.ReasonSlotsWarm, "template or configuration changed; 1 slot has no node, pod d-pod"},
		{"no pool", nil, func(in *PoolInput) { in.Replicas = 0 }, false, v1alpha1.ReasonStandbyDisabled, "no pool is asked for"},
		{"suspended", two, func(in *PoolInput) { in.Frozen = v1alpha1.ReasonSuspended }, false, v1alpha1.ReasonSuspended, "2 of 3 slots warm; slots are left"},
		{"suspended and full", three, func(in *PoolInput) { in.Frozen = v1alpha1.ReasonSuspended }, true, v1alpha1.ReasonSlotsWarm, "3 of 3"},
		{"the namespace goes", two, func(in *PoolInput) { in.Terminating = true }, false, v1alpha1.ReasonNamespaceTerminating, "being deleted"},
		{"refused", two, func(in *PoolInput) {
			in.Template, in.Refusal = nil, &Refusal{v1alpha1.ReasonGateNotDeclared, "Add the annotation."}
		}, false, v1alpha1.ReasonGateNotDeclared, "Add the annotation. (2 of 3 slots warm)"},
		{"nothing has soaked", nil, func(in *PoolInput) { in.Revision = "" }, false, v1alpha1.ReasonNoSoakedRevision, "rollout.soakSeconds"},
		{"the template is lost", nil, func(in *PoolInput) { in.Template = nil }, false, v1alpha1.ReasonNoSoakedRevision, "template of revision aaa is lost"},
		{"pressure", two, func(in *PoolInput) { in.UnschedulableSince = noon.Add(-time.Second) }, false, v1alpha1.ReasonReleasedUnderPressure, "unschedulable since 11:59:59 UTC"},
		{"pressure, and full", three, func(in *PoolInput) { in.UnschedulableSince = noon.Add(-time.Second) }, true, v1alpha1.ReasonSlotsWarm, "3 of 3"},
		{"the target's quota", two, func(in *PoolInput) { in.QuotaFailure = true }, false, v1alpha1.ReasonReleasedUnderPressure, "a ResourceQuota keeps pods of the target from being created: raise it"},
		{"released", two, func(in *PoolInput) { in.RefillAfter = noon.Add(time.Minute) }, false, v1alpha1.ReasonReleasedUnderPressure, "made again at 12:01:00 UTC"},
		{"switched off", two, func(in *PoolInput) { in.ReturnAll = true }, false, v1alpha1.ReasonScalingDisabled, "switched off"},
		{"not to be mixed", three, func(in *PoolInput) { in.NoMixing, in.TargetRevision = true, "bbb" }, true, v1alpha1.ReasonSlotsWarm, "3 not to be lent beside revision bbb"},
		{"stale", three, func(in *PoolInput) { in.ConfigDigest, in.ConfigSoaked = "c2", true }, true, v1alpha1.ReasonSlotsWarm, "3 being replaced one by one, because"},
		{"a warning", three, func(in *PoolInput) { in.Template = &SlotTemplate{Digest: "d", Warning: "use gate: File"} }, true, v1alpha1.ReasonSlotsWarm, "use gate: File"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := in
			if test.change != nil {
				test.change(&in)
			}
			plan := Plan(noon, in, test.slots)
			if plan.Ready != test.ready || plan.Reason != test.reason || !strings.Contains(plan.Message, test.says) {
				t.Errorf("%v %s: %s; want %v %s saying %q", plan.Ready, plan.Reason, plan.Message, test.ready, test.reason, test.says)
			}
		})
	}
}

// TestRefusedSlots: a refusal because of the new template leaves the slots of the old one; one because of what selects
// pods is about them too.
func TestRefusedSlots(t *testing.T) {
	for reason, want := range map[string]string{
		v1alpha1.ReasonTemplateUnsuitable:        "",
		v1alpha1.ReasonGateNotDeclared:           "",
		v1alpha1.ReasonNothingToWithhold:         "EndPod a",
		v1alpha1.ReasonNetworkPolicySelectsLabel: "EndPod a",
	} {
		in, warm := aPool()
		in.Template, in.Refusal = nil, &Refusal{Reason: reason}
		plan := Plan(noon, in, []Slot{named(warm, "a", nil)})
		if got := summaryOf(plan); got != want || len(plan.Pending) != 0 {
			t.Errorf("%s: planned %q, pending %v; want %q and none", reason, got, plan.Pending, want)
		}
	}
	in, warm := aPool()
	in.Template, in.Refusal, in.Gate = nil, &Refusal{Reason: v1alpha1.ReasonGateNotDeclared}, v1alpha1.GateFile
	if got := summaryOf(Plan(noon, in, []Slot{named(warm, "a", nil)})); got != "EndPod a" {
		t.Errorf("a slot of the gate that was given up: planned %q, want its end", got)
	}
}

// TestAnySlots: whatever is observed, planning does not panic, is bounded, does at most one thing to each slot, and lends
// only what may be lent.
func TestAnySlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		revision := rapid.SampledFrom([]string{"", "aaa", "bbb", "ccc"})
		when := rapid.Custom(func(t *rapid.T) time.Time {
			if rapid.Bool().Draw(t, "known") {
				return noon.Add(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "ago")))
			}
			return time.Time{}
		})
		yes := rapid.Bool()
		slots := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Slot {
			return Slot{
				Name: rapid.StringMatching("[a-z]{3}").Draw(t, "name"), Pod: rapid.SampledFrom([]string{"", "pod"}).Draw(t, "pod"),
				State: rapid.SampledFrom([]State{Starting, Warm, Lent, Draining, Ending}).Draw(t, "state"),
				Ready: yes.Draw(t, "ready"), ReadySince: when.Draw(t, "ready since"), UnreadySince: when.Draw(t, "unready since"),
				Created: when.Draw(t, "created"), LentSince: when.Draw(t, "lent"), DrainingSince: when.Draw(t, "draining"),
				Touches: rapid.Int().Draw(t, "touches"), Gate: rapid.SampledFrom([]v1alpha1.Gate{"", v1alpha1.GateFile, v1alpha1.GateService, v1alpha1.GatePrepared}).Draw(t, "gate"),
				Waiting: yes.Draw(t, "waiting"), Beginning: yes.Draw(t, "beginning"),
				Revision: revision.Draw(t, "revision"), TemplateDigest: rapid.SampledFrom([]string{"", "d"}).Draw(t, "digest"),
				Failing: rapid.SampledFrom([]string{"", "CrashLoopBackOff"}).Draw(t, "failing"), Tampered: yes.Draw(t, "tampered"),
				Remaining: rapid.IntRange(0, 3).Draw(t, "remaining"), Overdue: yes.Draw(t, "overdue"), Gone: yes.Draw(t, "gone"), Deleting: yes.Draw(t, "deleting"),
			}
		}), 0, 200, func(s Slot) string { return s.Name }).Draw(t, "slots")
		in := PoolInput{
			Scaler: "q", Replicas: rapid.Int32().Draw(t, "replicas"), Gate: v1alpha1.GateFile, Drain: time.Duration(rapid.Int64().Draw(t, "drain")),
			WantLent: rapid.Int32().Draw(t, "lent"), ReturnAll: yes.Draw(t, "return"), NoMixing: yes.Draw(t, "no mixing"),
			Revision: revision.Draw(t, "pool"), TargetRevision: revision.Draw(t, "target"), Soaked: []string{revision.Draw(t, "soaked")},
			Forbidden: []string{revision.Draw(t, "forbidden")}, UnschedulableSince: when.Draw(t, "unschedulable"), QuotaFailure: yes.Draw(t, "quota"),
			RefillAfter: when.Draw(t, "refill"), Pending: rapid.SliceOfN(rapid.StringMatching("[a-z]{3}"), 0, 120).Draw(t, "pending"),
			Seed: rapid.Uint64().Draw(t, "seed"),
		}
		if yes.Draw(t, "template") {
			in.Template = &SlotTemplate{Digest: "d"}
		}
		if yes.Draw(t, "known-good") {
			in.KnownGood, in.KnownGoodReplicas, in.TargetRegressed = revision.Draw(t, "known-good"), rapid.Int32().Draw(t, "known-good replicas"), yes.Draw(t, "regressed")
			in.KnownGoodTemplate = rapid.SampledFrom([]*SlotTemplate{nil, {Digest: "d"}}).Draw(t, "known-good template")
		}
		plan := Plan(noon, in, slots)
		if len(plan.Actions) > mostActions || len(plan.Pending) > mostSlots+1 || plan.Reason == "" || plan.Message == "" {
			t.Fatalf("%d actions, %d pending, reason %q", len(plan.Actions), len(plan.Pending), plan.Reason)
		}
		done := map[string]bool{}
		for _, a := range plan.Actions {
			if done[a.Name] || a.Reason == "" {
				t.Fatalf("%s %s twice, or without reason", a.Kind, a.Name)
			}
			done[a.Name] = true
			if a.Kind == Create && a.Template == nil {
				t.Fatalf("slot %s is made from nothing", a.Name)
			}
			if a.Kind == Lend && (a.Slot.State != Warm || in.ReturnAll || a.Slot.Revision == "" || a.Slot.Revision == in.Forbidden[0]) {
				t.Fatalf("lent %+v", a.Slot)
			}
		}
		if !plan.Again.IsZero() && plan.Again.Before(noon) {
			t.Fatalf("again at %v, before now", plan.Again)
		}
	})
}

// TestPodsThatCannotEnd: the place of a returned slot is free when its pod is gone, or when its node has not answered for
// too long; then too no more than twice the pool and one are made.
func TestPodsThatCannotEnd(t *testing.T) {
	in, warm := aPool()
	ending := func(n int, overdue bool) (slots []Slot) {
		for i := range n {
			slots = append(slots, named(warm, fmt.Sprintf("s%d", i), func(s *Slot) { s.State, s.Remaining, s.Overdue = Ending, 1, overdue }))
		}
		return slots
	}
	for _, test := range []struct {
		slots []Slot
		made  int
	}{
		{ending(3, false), 0}, {ending(1, false), 2}, {ending(3, true), 3}, {ending(5, true), 2}, {ending(7, true), 0}, {ending(60, true), 0},
	} {
		if plan := Plan(noon, in, test.slots); len(plan.Pending) != test.made {
			t.Errorf("%d ending, overdue %v: %d are to be made, want %d", len(test.slots), test.slots[0].Overdue, len(plan.Pending), test.made)
		}
	}
}
