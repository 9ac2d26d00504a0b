// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// TestLaws plays random histories on the model of a cluster: 100 histories (-rapid.checks, seeds by -rapid.seed) of 20 to
// 150 steps each. In every one the caches lag, each for itself, and the operator is killed between any two of its writes.
// At every write:
//
//   - law 5: only a warm slot of a soaked revision that is not forbidden is lent, and none while the target is switched
//     off; no Service that existed when a slot was made selects its idle pod;
//   - no more places are taken than the largest pool so far and one, and with those of pods that cannot end (or seem to,
//     to a clock that is an hour ahead) no more than twice that pool and one;
//   - a ReplicaSet is deleted only when its pod is gone.
//
// And at the end, when the faults are over:
//
//   - law 6: the same slots are there that an operator makes that starts on an empty cluster and is never interrupted:
//     none is missing, doubled or left over;
//   - law 9: then nothing is written any more, and nobody is asked to look again at once.
//
// Law 8 is checked by planning everything twice (world.reconcile).
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gate := rapid.SampledFrom([]v1alpha1.Gate{v1alpha1.GateService, v1alpha1.GateFile, v1alpha1.GatePrepared}).Draw(t, "gate")
		w := newWorld(t.Fatalf, gate)
		h := &history{world: w, t: t, largest: w.in.Replicas, jumps: rapid.Bool().Draw(t, "clock jumps")}
		w.onWrite = h.check
		if rapid.Bool().Draw(t, "two revisions") {
			w.in.KnownGood, w.in.KnownGoodReplicas = "aaa", int32(rapid.IntRange(1, 3).Draw(t, "known-good replicas"))
			w.in.Revision, w.in.TargetRevision, w.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
		}
		for range rapid.IntRange(20, 150).Draw(t, "steps") {
			h.step()
		}
		h.end()
	})
}

// history is one random history.
type history struct {
	*world
	t       *rapid.T
	largest int32
	// jumps: the operator's clock jumps by an hour.
	jumps bool
}

func (h *history) check(a Action) {
	if a.Kind != Lend {
		return
	}
	s, in := a.Slot, h.in
	if s.State != Warm || s.Labels[v1alpha1.LabelRole] != v1alpha1.RoleStandby {
		h.t.Fatalf("%v: lent %+v, which was not warm", h.since(), s)
	}
	if in.TargetRegressed && in.KnownGood != "" && !slices.Contains(in.Forbidden, in.KnownGood) && s.Revision != in.KnownGood {
		h.t.Fatalf("%v: lent a slot of revision %s beside a regressed one, of %+v", h.since(), s.Revision, in)
	}
	if in.ReturnAll || slices.Contains(in.Forbidden, s.Revision) || (s.Revision != in.Revision && !slices.Contains(in.Soaked, s.Revision)) {
		h.t.Fatalf("%v: lent a slot of revision %s, of %+v", h.since(), s.Revision, in)
	}
	if in.NoMixing && s.Revision != in.TargetRevision {
		h.t.Fatalf("%v: lent a slot of revision %s beside %s", h.since(), s.Revision, in.TargetRevision)
	}
}

// step changes something, lets time pass, and gives the operator a chance.
func (h *history) step() {
	h.change()
	h.now = h.now.Add(time.Duration(rapid.IntRange(0, 12).Draw(h.t, "seconds")) * time.Second)
	h.kube()
	for range rapid.IntRange(1, 3).Draw(h.t, "reconciles") {
		h.sync(rapid.Bool().Draw(h.t, "see ReplicaSets"), rapid.Bool().Draw(h.t, "see pods"))
		writes := 1000
		if rapid.IntRange(0, 2).Draw(h.t, "kill") == 0 {
			writes = rapid.IntRange(0, 6).Draw(h.t, "writes until killed")
		}
		if !h.reconcile(writes, rapid.Bool().Draw(h.t, "status last")) {
			h.sync(true, true) // it starts again, and lists
		}
		h.kube()
		places, all := h.places()
		if all > 2*h.largest+1 || (places > h.largest+1 && !h.jumps) {
			h.t.Fatalf("%v: %d places taken, %d with pods that cannot end, by a pool of at most %d:\n%s", h.since(), places, all, h.largest, h.summary())
		}
	}
}

func (h *history) change() {
	in, draw := &h.in, func(name string) bool { return rapid.Bool().Draw(h.t, name) }
	if h.changeRevisions() {
		return
	}
	switch rapid.IntRange(0, 21).Draw(h.t, "change") {
	case 0, 1, 2:
		in.WantLent = int32(rapid.IntRange(0, 6).Draw(h.t, "lent"))
	case 3:
		in.Replicas = int32(rapid.IntRange(0, 5).Draw(h.t, "replicas"))
		h.largest = max(h.largest, in.Replicas)
	case 4:
		in.TargetRevision = rapid.SampledFrom([]string{"aaa", "bbb", "ccc"}).Draw(h.t, "target")
	case 5:
		in.Revision = in.TargetRevision
		in.Soaked = append(slices.Clone(in.Soaked), in.Revision)
	case 6:
		in.Forbidden = nil
		if draw("forbid") {
			in.Forbidden = []string{rapid.SampledFrom([]string{"aaa", "bbb", "ccc"}).Draw(h.t, "forbidden")}
		}
	case 7:
		in.UnschedulableSince = time.Time{}
		if draw("target unschedulable") {
			in.UnschedulableSince = h.now
		}
	case 8:
		in.QuotaFailure = draw("target's quota")
	case 9:
		in.ReturnAll = draw("switched off")
	case 10:
		in.NoMixing = draw("no mixing")
	case 11:
		in.ConfigDigest, in.ConfigSoaked = rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(h.t, "config"), draw("config soaked")
		in.KnownGoodConfigDigest = rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(h.t, "known-good config")
	case 12:
		h.crash, h.neverReady = draw("crash"), draw("never ready")
	case 13:
		h.quota, h.unschedulable = draw("quota"), draw("unschedulable")
	case 14:
		h.services = h.services[:1:1]
		if draw("another Service") {
			h.services = append(h.services, corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "tier"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"tier": "front"}}})
		}
	case 15, 20, 21:
		h.disturb()
	case 16:
		skews := []time.Duration{0, 20 * time.Second, -20 * time.Second}
		if h.jumps {
			skews = append(skews, time.Hour, -time.Hour)
		}
		h.skew = rapid.SampledFrom(skews).Draw(h.t, "skew")
	case 17:
		in.Drain, h.finish = 10*time.Second, time.Duration(rapid.IntRange(0, 20).Draw(h.t, "finish"))*time.Second
	case 18:
		h.deadNode = draw("dead node")
	case 19:
		in.Frozen = rapid.SampledFrom([]string{"", "", v1alpha1.ReasonSuspended}).Draw(h.t, "frozen")
	}
}

// changeRevisions has a revision proved or found regressed, in a tenth of all steps.
func (h *history) changeRevisions() bool {
	in := &h.in
	switch rapid.IntRange(0, 39).Draw(h.t, "revisions") {
	case 10, 11:
		in.KnownGood = rapid.SampledFrom(append([]string{""}, in.Soaked...)).Draw(h.t, "known-good")
	case 12:
		in.KnownGoodReplicas = int32(rapid.IntRange(0, 3).Draw(h.t, "known-good replicas"))
	case 13, 14:
		in.TargetRegressed = in.KnownGood != in.TargetRevision && in.KnownGood != ""
		if in.TargetRegressed {
			in.Forbidden = []string{in.TargetRevision}
		}
	case 15:
		in.TargetRegressed, in.Forbidden = false, nil
	default:
		return false
	}
	return true
}

// disturb does what somebody else might do to a slot.
func (h *history) disturb() {
	if len(h.pods) > 0 {
		pod := h.pods[rapid.SampledFrom(slices.Sorted(maps.Keys(h.pods))).Draw(h.t, "pod")]
		switch rapid.IntRange(0, 4).Draw(h.t, "to a pod") {
		case 0:
			h.deletePod(pod)
		case 1:
			h.setReady(pod, false)
		case 2:
			pod.Labels[v1alpha1.LabelRole] = "nonsense"
		case 3:
			pod.Status.Phase = corev1.PodFailed // evicted
			delete(h.pods, pod.Name)
		case 4:
			pod.Annotations[v1alpha1.AnnotationOnLend] = "{"
		}
	}
	if len(h.rss) > 0 && rapid.IntRange(0, 3).Draw(h.t, "delete ReplicaSet") == 0 {
		rs := h.rss[rapid.SampledFrom(slices.Sorted(maps.Keys(h.rss))).Draw(h.t, "ReplicaSet")]
		active, _ := h.owned(rs)
		for _, pod := range active {
			h.deletePod(pod)
		}
		delete(h.rss, rs.Name)
	}
}

// end takes all faults away and compares with a pool that never saw one.
func (h *history) end() {
	h.crash, h.neverReady, h.quota, h.unschedulable, h.deadNode, h.skew = false, false, false, false, false, 0
	in := &h.in
	in.Frozen, in.Forbidden, in.ReturnAll, in.QuotaFailure, in.UnschedulableSince = "", nil, false, false, time.Time{}
	in.Revision, in.ConfigSoaked, in.TargetRegressed = in.TargetRevision, true, false
	in.Soaked = []string{"aaa", "bbb", "ccc"}
	h.endRevisions()
	wanted := in.WantLent
	in.WantLent = 0 // slots of older revisions may stay lent; let them come home
	h.calm(16 * time.Minute)
	in.WantLent = wanted
	h.calm(2 * time.Minute)

	fresh := newWorld(h.t.Fatalf, h.gate)
	fresh.in, fresh.services = h.in, h.services
	fresh.in.Pending, fresh.in.RefillAfter, fresh.in.WantLent = nil, time.Time{}, 0
	fresh.calm(time.Minute)
	fresh.in.WantLent = wanted
	fresh.calm(2 * time.Minute)
	if got, want := h.summary(), fresh.summary(); got != want {
		h.t.Fatalf("after the faults there is\n%s\nand without any\n%s\nplan %+v", got, want, h.plan)
	}
	if len(h.in.Pending) > 0 || len(h.plan.Actions) > 0 || (!h.plan.Again.IsZero() && !h.plan.Again.After(h.now)) {
		h.t.Fatalf("not at rest: pending %v, %+v", h.in.Pending, h.plan)
	}
	lendable := in.Replicas - h.knownGoodWanted()
	if in.KnownGood == in.TargetRevision || !in.NoMixing {
		lendable = in.Replicas
	}
	if lent := h.plan.Counts.Lent; lent != min(wanted, lendable) {
		h.t.Fatalf("%d lent, %d wanted of %d", lent, wanted, lendable)
	}
	h.checkRevisions()
	for _, pod := range h.pods {
		if h.gate == v1alpha1.GateService && pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive {
			for _, s := range h.services {
				if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
					h.t.Fatalf("lent pod %s is not selected by Service %s", pod.Name, s.Name)
				}
			}
		}
	}
	before := h.writes
	h.calm(time.Hour)
	if h.writes != before {
		h.t.Fatalf("%d writes in an hour in which nothing happened", h.writes-before)
	}
}

// endRevisions is what is known of revisions in the end: nothing; that the target's is good; that it has to prove itself
// yet; or that it is regressed.
func (h *history) endRevisions() {
	in := &h.in
	others := slices.DeleteFunc(slices.Clone(in.Soaked), func(r string) bool { return r == in.TargetRevision })
	in.KnownGood, in.KnownGoodReplicas = rapid.SampledFrom(others).Draw(h.t, "known-good"), int32(rapid.IntRange(0, 3).Draw(h.t, "known-good replicas"))
	switch rapid.SampledFrom([]string{"unproven", "unproven, large pool", "regressed", "good", "nothing"}).Draw(h.t, "end") {
	case "unproven, large pool":
		in.Replicas, in.NoMixing = 5, false
		h.largest = max(h.largest, 5)
	case "regressed":
		in.TargetRegressed, in.Forbidden = true, []string{in.TargetRevision}
	case "good":
		in.KnownGood = in.TargetRevision
	case "nothing":
		in.KnownGood = ""
	}
}

// knownGoodWanted is how many slots are to run a known-good revision that is not the target's.
func (h *history) knownGoodWanted() int32 {
	in := &h.in
	switch {
	case in.KnownGood == "" || in.KnownGood == in.TargetRevision:
		return 0
	case in.TargetRegressed:
		return in.Replicas
	case in.NoMixing:
		return 0
	}
	return min(in.KnownGoodReplicas, in.Replicas)
}

// checkRevisions: at rest, as many slots as wanted run the known-good revision, and the others the target's.
func (h *history) checkRevisions() {
	count := map[string]int32{}
	for _, pod := range h.pods {
		count[pod.Labels[v1alpha1.LabelRevision]]++
	}
	good := h.knownGoodWanted()
	want := map[string]int32{}
	if good > 0 {
		want[h.in.KnownGood] = good
	}
	if rest := h.in.Replicas - good; rest > 0 {
		want[h.in.TargetRevision] = rest
	}
	if !maps.Equal(count, want) {
		h.t.Fatalf("slots of revisions %v, want %v", count, want)
	}
}

// TestEveryKill kills the operator before each single write of a history with everything in it, one after the other, and
// compares with the run that was not interrupted.
func TestEveryKill(t *testing.T) {
	play := func(killAt int) (summary string, writes int) {
		w := newWorld(t.Fatalf, v1alpha1.GateFile)
		w.in.Drain, w.finish = 4*time.Second, 2*time.Second
		left := killAt
		run := func(seconds int) {
			for range seconds {
				w.kube()
				for range 3 {
					w.sync(true, true)
					budget, before := 1000, w.writes
					if left >= 0 {
						budget = left
					}
					if !w.reconcile(budget, false) {
						left = -1 // killed; the next one runs to the end
						w.sync(true, true)
						continue
					}
					if left >= 0 {
						left -= w.writes - before
					}
				}
				w.now = w.now.Add(time.Second)
			}
		}
		run(10)
		w.in.WantLent = 2
		run(14)
		w.in.WantLent = 1
		run(20)
		w.in.Revision, w.in.TargetRevision, w.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
		run(40)
		w.in.UnschedulableSince = w.now
		run(15)
		w.in.UnschedulableSince = time.Time{}
		run(320)
		w.in.WantLent = 0
		run(30)
		w.in.Replicas = 2
		run(20)
		return w.summary(), w.writes
	}
	want, writes := play(-1)
	if writes < 20 {
		t.Fatalf("only %d writes in a history that should have everything", writes)
	}
	for killAt := range writes {
		if got, _ := play(killAt); got != want {
			t.Errorf("killed before write %d:\n%s\nuninterrupted:\n%s", killAt, got, want)
		}
	}
	t.Logf("%d writes, killed before each", writes)
}
