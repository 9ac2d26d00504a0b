// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"strings"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// TestTwoRevisions: bbb is the target's and the pool's, aaa known-good.
func TestTwoRevisions(t *testing.T) {
	in, warm := aPool()
	in.Revision, in.TargetRevision, in.Soaked = "bbb", "bbb", []string{"aaa", "bbb", "ccc"}
	in.KnownGood, in.KnownGoodReplicas, in.KnownGoodTemplate = "aaa", 1, &SlotTemplate{Digest: "good"}
	slot := func(name string, change func(*Slot)) Slot {
		s := warm
		s.Revision = map[byte]string{'a': "aaa", 'b': "bbb", 'c': "ccc"}[name[0]]
		if s.Revision == "aaa" {
			s.TemplateDigest = "good"
		}
		return named(s, name, change)
	}
	starting := func(s *Slot) { s.State, s.Ready = Starting, false }
	lent := func(s *Slot) { s.State, s.LentSince = Lent, noon.Add(-time.Minute) }
	full := []Slot{slot("a1", nil), slot("b1", nil), slot("b2", nil)}
	for _, test := range []struct {
		name    string
		change  func(*PoolInput)
		slots   []Slot
		want    string
		pending int
		message string
	}{
		{"as it should be", nil, full, "", 0, "3 of 3 slots warm (2 of revision bbb, 1 of known-good revision aaa)"},
		{"the known-good one is lent last", func(in *PoolInput) { in.WantLent = 2 }, full, "Lend b1, Lend b2", 0, ""},
		{"but it is", func(in *PoolInput) { in.WantLent = 3 }, full, "Lend b1, Lend b2, Lend a1", 0, ""},
		{"too many known-good ones", nil, []Slot{slot("a1", nil), slot("a2", nil), slot("a3", nil)}, "", 1, "2 being replaced one by one by slots of revision bbb"},
		{"too few", nil, []Slot{slot("b1", nil), slot("b2", nil), slot("b3", nil)}, "", 1, "1 being replaced one by one by slots of known-good revision aaa"},
		{"the one in its place is warm", nil, []Slot{slot("a1", nil), slot("b1", nil), slot("b2", nil), slot("b3", nil)}, "EndPod b1", 0, ""},
		{"one that starts makes way at once", nil, []Slot{slot("a1", nil), slot("a2", starting), slot("b1", nil)}, "EndPod a2", 0, ""},
		{"those in service count", func(in *PoolInput) { in.WantLent = 1 }, []Slot{slot("a1", lent), slot("a2", nil), slot("b1", nil)}, "", 1,
			"1 being replaced one by one by slots of revision bbb"},
		{"known-good replicas of the whole pool", func(in *PoolInput) { in.KnownGoodReplicas = 9 }, []Slot{slot("a1", nil), slot("a2", nil), slot("a3", nil)}, "", 0, ""},
		{"a smaller pool", func(in *PoolInput) { in.Replicas = 2 }, full, "EndPod b1", 0, ""},
		{"a stale known-good one", nil, []Slot{slot("a1", func(s *Slot) { s.TemplateDigest = "old" }), slot("b1", nil), slot("b2", nil)}, "", 1, ""},
		{"its template is lost: it stays", func(in *PoolInput) { in.KnownGoodTemplate = nil }, full, "", 0, ""},
		{"its template is lost, and it is gone", func(in *PoolInput) { in.KnownGoodTemplate = nil }, []Slot{slot("b1", nil), slot("b2", nil), slot("b3", nil)}, "", 0, ""},
		{"no mixing: none is kept", func(in *PoolInput) { in.NoMixing = true }, full, "", 1, ""},
		{"proved", func(in *PoolInput) { in.KnownGood = "bbb" }, full, "", 1, "1 being replaced one by one by slots of revision bbb"},

		{"regressed: its idle slots end", regressedTarget, full, "EndPod b1, EndPod b2", 0, "(1 of known-good revision aaa)"},
		{"regressed: only known-good ones are lent", func(in *PoolInput) { regressedTarget(in); in.WantLent = 3 }, full, "Lend a1, EndPod b1, EndPod b2", 0, ""},
		{"regressed: not even one of another soaked revision", func(in *PoolInput) { regressedTarget(in); in.WantLent = 3 },
			[]Slot{slot("a1", nil), slot("a2", nil), slot("c1", nil)}, "Lend a1, Lend a2", 1, ""},
		{"regressed: one in service is replaced", func(in *PoolInput) { regressedTarget(in); in.WantLent = 1 },
			[]Slot{slot("a1", nil), slot("a2", nil), slot("b1", lent)}, "Lend a1, EndPod b1", 0, ""},
		{"regressed: all in service are, by one more", func(in *PoolInput) { regressedTarget(in); in.WantLent = 3 },
			[]Slot{slot("a1", lent), slot("b1", lent), slot("b2", lent)}, "", 1, ""},
		{"regressed: which starts", func(in *PoolInput) { regressedTarget(in); in.WantLent = 3 },
			[]Slot{slot("a1", lent), slot("a2", starting), slot("b1", lent), slot("b2", lent)}, "", 0, ""},
		{"regressed: and is lent", func(in *PoolInput) { regressedTarget(in); in.WantLent = 3 },
			[]Slot{slot("a1", lent), slot("a2", nil), slot("b1", lent), slot("b2", lent)}, "Lend a2, EndPod b1", 0, ""},
		{"regressed: the pool of one that has not proved itself either is made from the known-good one", func(in *PoolInput) {
			in.TargetRevision, in.Forbidden, in.TargetRegressed = "ccc", []string{"ccc"}, true
		}, full, "", 1, "3 of 3 slots warm (1 of known-good revision aaa); 2 being replaced one by one by slots of revision aaa"},
		{"no other has soaked", func(in *PoolInput) { in.Revision, in.Template = "", nil }, nil, "", 3, ""},
		{"suspected: the pool is made from the known-good one", func(in *PoolInput) { in.Forbidden = []string{"bbb"} },
			[]Slot{slot("a1", nil)}, "", 2, ""},
		{"known-good is forbidden: as if there were none", func(in *PoolInput) { in.Forbidden = []string{"aaa"} }, full, "EndPod a1", 0, ""},
		{"everything is forbidden", func(in *PoolInput) { in.Forbidden = []string{"aaa", "bbb"} }, full, "EndPod a1, EndPod b1, EndPod b2", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := in
			if test.change != nil {
				test.change(&in)
			}
			plan := Plan(noon, in, test.slots)
			if got := summaryOf(plan); got != test.want || len(plan.Pending) != test.pending || !strings.Contains(plan.Message, test.message) {
				t.Errorf("planned %q and %d to be made, want %q and %d; %s", got, len(plan.Pending), test.want, test.pending, plan.Message)
			}
		})
	}
}

func regressedTarget(in *PoolInput) { in.Forbidden, in.TargetRegressed = []string{"bbb"}, true }

// TestWhatSlotsAreMadeFrom: of the names that were stored, the known-good ones come first.
func TestWhatSlotsAreMadeFrom(t *testing.T) {
	in, _ := aPool()
	in.Revision, in.TargetRevision, in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
	in.KnownGood, in.KnownGoodReplicas, in.KnownGoodTemplate, in.KnownGoodConfigDigest = "aaa", 1, &SlotTemplate{Digest: "good"}, "c-good"
	in.ConfigDigest, in.Pending = "c", []string{"x", "y", "z"}
	for _, change := range []struct {
		name string
		do   func(*PoolInput)
		want []string
	}{
		{"two revisions", func(*PoolInput) {}, []string{"good c-good", "d c", "d c"}},
		{"regressed", regressedTarget, []string{"good c-good", "good c-good", "good c-good"}},
		{"no template of the known-good one", func(in *PoolInput) { in.KnownGoodTemplate = nil }, []string{"d c", "d c", "d c"}},
		{"no known-good one", func(in *PoolInput) { in.KnownGood = "" }, []string{"d c", "d c", "d c"}},
	} {
		in := in
		change.do(&in)
		actions := Plan(noon, in, nil).Actions
		if len(actions) != len(change.want) {
			t.Errorf("%s: %+v", change.name, actions)
			continue
		}
		for i, a := range actions {
			if got := a.Template.Digest + " " + a.ConfigDigest; a.Kind != Create || got != change.want[i] {
				t.Errorf("%s: slot %s is made from %s, want %s", change.name, a.Name, got, change.want[i])
			}
		}
	}
}

// TestRefusalOfAnUnusedTemplate: it is about the target's template, and the pool is made from the known-good one.
func TestRefusalOfAnUnusedTemplate(t *testing.T) {
	in, _ := aPool()
	in.Revision, in.TargetRevision, in.Soaked, in.Template = "bbb", "bbb", []string{"aaa", "bbb"}, nil
	in.Refusal = &Refusal{Reason: v1alpha1.ReasonTemplateUnsuitable, Message: "host ports"}
	in.KnownGood, in.KnownGoodTemplate = "aaa", &SlotTemplate{Digest: "good"}
	if plan := Plan(noon, in, nil); plan.Reason != v1alpha1.ReasonTemplateUnsuitable {
		t.Errorf("%s: %s", plan.Reason, plan.Message)
	}
	regressedTarget(&in)
	if plan := Plan(noon, in, nil); len(plan.Pending) != 3 || plan.Reason != v1alpha1.ReasonSlotsStarting {
		t.Errorf("%d to be made, %s: %s", len(plan.Pending), plan.Reason, plan.Message)
	}
}

func TestComingSlots(t *testing.T) {
	in, warm := aPool()
	in.Replicas, in.Pending = 6, []string{"p"}
	slots := []Slot{
		named(warm, "warm", nil),
		named(warm, "starting", func(s *Slot) { s.State = Starting }),
		named(warm, "failing", func(s *Slot) { s.State, s.Failing = Starting, "CrashLoopBackOff" }),
		named(warm, "ending", func(s *Slot) { s.State = Ending }),
	}
	if counts, _ := Count(noon, in, slots); counts.Coming != 3 || counts.Lendable != 1 {
		t.Errorf("%+v", counts)
	}
	in.Replicas = 2
	if counts, _ := Count(noon, in, slots); counts.Coming != 1 {
		t.Errorf("of 2: %+v", counts)
	}
}
