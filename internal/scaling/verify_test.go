// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// blocks feeds one block a minute, of so many pods and so much throughput each; a throughput below 0 is one that is not
// saturated.
func blocks(v Verification, now time.Time, of ...Saturation) (Verification, time.Time) {
	for _, b := range of {
		b.Start, b.End = now, now.Add(time.Minute)
		now = b.End
		v = v.observed(now, b)
	}
	return v, now
}

func saturated(n int32, x float64) Saturation {
	return Saturation{Serving: n, Throughput: x, Saturated: true}
}

func TestEffect(t *testing.T) {
	idle := Saturation{Serving: 40, Throughput: 300}
	for _, test := range []struct {
		name        string
		blocks      []Saturation
		effect      float64
		judged      bool
		ineffective bool
	}{
		{"nothing", nil, 0, false, false},
		{"one level", []Saturation{saturated(40, 400), saturated(40, 404)}, 0, false, false},
		{"as it should", []Saturation{saturated(40, 400), saturated(50, 500)}, 1, true, false},
		{"half", []Saturation{saturated(40, 400), saturated(50, 450)}, 0.5, true, false},
		{"once ineffective", []Saturation{saturated(40, 480), saturated(50, 480)}, 0, true, false},
		{"twice", []Saturation{saturated(40, 480), saturated(50, 480), saturated(51, 481)}, 1.0 / 9.6, true, false},
		{"twice, and more is worse", []Saturation{saturated(40, 480), saturated(50, 480), saturated(60, 432)}, -0.5, true, true},
		{"an effective one between", []Saturation{saturated(40, 400), saturated(50, 400), saturated(60, 480), saturated(70, 480)}, 0, true, false},
		{"what is not saturated begins anew", []Saturation{saturated(40, 480), saturated(50, 480), idle, saturated(50, 480), saturated(60, 480)}, 0, true, false},
		{"and ends a freeze", []Saturation{saturated(40, 480), saturated(50, 480), saturated(60, 480), idle}, 0, false, false},
		{"fewer pods begin anew", []Saturation{saturated(40, 480), saturated(50, 480), saturated(45, 480), saturated(50, 480)}, 0, true, false},
		{"the mean of a level counts", []Saturation{saturated(40, 400), saturated(40, 440), saturated(50, 470), saturated(50, 550)}, 90.0 / 105, true, false},
		{"found by chance, and taken back", []Saturation{saturated(40, 400), saturated(50, 400), saturated(60, 400), saturated(60, 560)}, 1, true, false},
		{"a limit that is raised", []Saturation{saturated(40, 480), saturated(50, 480), saturated(60, 480), saturated(58, 480), saturated(58, 600)}, 0, false, false},
		{"nothing completed", []Saturation{saturated(40, 0), saturated(50, 0)}, 0, false, false},
		{"no number", []Saturation{saturated(40, 400), saturated(50, math.NaN()), saturated(-1, 5)}, 0, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, now := blocks(Verification{}.of(noon, "6"), noon, test.blocks...)
			e, judged := v.Effect()
			ineffective, message := v.Ineffective(now)
			if judged != test.judged || math.Abs(e-test.effect) > 1e-9 || ineffective != test.ineffective || (message != "") != ineffective {
				t.Errorf("e %v, judged %v, ineffective %v %q", e, judged, ineffective, message)
			}
		})
	}
}

func TestIneffectiveSaysSo(t *testing.T) {
	v, now := blocks(Verification{}.of(noon, "6"), noon, saturated(40, 480), saturated(45, 480), saturated(50, 481))
	_, message := v.Ineffective(now)
	const want = "45 → 50 pods brought 2% of what they should (480/s before, 481/s after): the limit is downstream; scale-up is frozen until 12:13:00 UTC"
	if message != want {
		t.Error(message)
	}
	if _, message = v.Ineffective(now.Add(frozenFor)); !strings.HasSuffix(message, "; a step of 10% may show whether it still is") {
		t.Error(message)
	}
	if again, _ := v.of(now, "7").Ineffective(now); again {
		t.Error("ineffective of another revision")
	}
	if again, _ := v.of(now.Add(2*time.Hour), "6").Ineffective(now.Add(2 * time.Hour)); again {
		t.Error("ineffective after two hours without a block")
	}
	if same, _ := v.of(now, "").Ineffective(now); !same {
		t.Error("forgotten though no other revision is known")
	}
}

// TestBlocksCountOnce: the newest block is handed in at every decision.
func TestBlocksCountOnce(t *testing.T) {
	v, now := blocks(Verification{}.of(noon, "6"), noon, saturated(40, 400), saturated(50, 460))
	b := Saturation{Start: now, End: now.Add(time.Minute), Serving: 50, Throughput: 540, Saturated: true}
	once := v.observed(b.End, b)
	if twice := once.observed(b.End.Add(time.Second), b); twice != once {
		t.Errorf("%+v, want %+v", twice, once)
	}
	b.Start = noon.Add(-time.Second)
	b.End = now.Add(2 * time.Minute)
	if early := once.observed(b.End, b); early != once {
		t.Errorf("a block that began before watching did counts: %+v", early)
	}
}

func TestStepIsVerified(t *testing.T) {
	const startUp = 3 * time.Minute
	waits := func(v Verification, now time.Time, recommended int32) bool {
		in := input{now: now, recommended: recommended, memory: Memory{verification: v}}
		_, message, forbids := stepNotVerified(in)
		return forbids == up && message != ""
	}
	busy, now := blocks(Verification{}.of(noon, "6"), noon, saturated(40, 400))
	calm, _ := blocks(Verification{}.of(noon, "6"), noon, Saturation{Serving: 40, Throughput: 300})
	stepped := busy.stepped(now, 40, 50, 50, startUp)
	arrived, _ := blocks(stepped, now.Add(startUp), saturated(50, 500))
	same, _ := blocks(stepped, now, saturated(40, 400))
	drained, _ := blocks(stepped, now, Saturation{Serving: 40, Throughput: 300})
	for _, test := range []struct {
		name        string
		v           Verification
		after       time.Duration
		recommended int32
		want        bool
	}{
		{"a refinement waits", stepped, time.Second, 55, true},
		{"what rose by 20 % does not", stepped, time.Second, 60, false},
		{"to the end", stepped, startUp + blocksWait - time.Second, 55, true},
		{"and no longer", stepped, startUp + blocksWait, 55, false},
		{"without any step", busy, time.Second, 55, false},
		{"no block before", Verification{}.stepped(now, 40, 50, 50, startUp), time.Second, 55, false},
		{"not saturated before", calm.stepped(now, 40, 50, 50, startUp), time.Second, 55, false},
		{"saturated long before", busy.stepped(now.Add(judgeWithin), 40, 50, 50, startUp), judgeWithin + time.Second, 55, false},
		{"judged", arrived, startUp + time.Minute, 55, false},
		{"a block without its pods tells nothing", same, time.Minute, 55, true},
		{"drained", drained, time.Minute, 55, false},
		{"a step down", stepped.stepped(now.Add(time.Second), 50, 45, 45, startUp), 2 * time.Second, 55, false},
		{"pods that take too long to be judged", busy.stepped(now, 40, 50, 50, time.Hour), judgeWithin, 55, false},
	} {
		if got := waits(test.v, now.Add(test.after), test.recommended); got != test.want {
			t.Errorf("%s: waits %v", test.name, got)
		}
	}
}

// TestVerificationDelaysNoEmergency: pods take 180 s, and arrivals rise, suddenly or ever more, on a calm fleet or on one
// that has fallen behind already. With steps verified the messages wait no longer, all together, than without, but for 2 %.
func TestVerificationDelaysNoEmergency(t *testing.T) {
	for _, story := range []struct {
		name string
		play func(w *plant)
	}{
		{"arrivals double", func(w *plant) { w.arrival = 152; w.seconds(3600) }},
		{"and double again while pods start", func(w *plant) {
			w.arrival = 152
			w.seconds(100)
			w.arrival = 304
			w.seconds(3600)
		}},
		{"from behind", func(w *plant) {
			w.policy.Max = 13
			w.arrival = 130
			w.seconds(300)
			w.policy.Max = 200
			w.arrival = 200
			w.seconds(3600)
		}},
		{"a ramp", func(w *plant) {
			for range 1800 {
				w.arrival += 0.2
				w.second()
			}
			w.seconds(1800)
		}},
	} {
		t.Run(story.name, func(t *testing.T) {
			play := func(blind bool) *plant {
				w := newPlant(chat(), 12, 3)
				w.policy.Max, w.cold, w.blind, w.arrival = 200, 180*time.Second, blind, 76
				w.seconds(400)
				story.play(w)
				return w
			}
			without, with := play(true), play(false)
			t.Logf("waited %.0f s with, %.0f s without; writes %v with, %v without", with.waited, without.waited, with.writes, without.writes)
			if with.waited > 1.02*without.waited || with.backlog > 0 {
				t.Errorf("waited %.0f message-seconds, %.0f without; backlog %.0f", with.waited, without.waited, with.backlog)
			}
		})
	}
}

// TestDownstreamLimit: a store completes at most 480/s however many pods ask, and more arrive. Growth stops far below max,
// goes on in steps of 10 %, the first after 10 min, the next after 20, and is free again when the limit is gone.
func TestDownstreamLimit(t *testing.T) {
	play := func(blind bool) *plant {
		w := newPlant(chat(), 45, 3)
		w.policy.Max, w.cold, w.blind, w.measures, w.arrival, w.downstream = 400, 180*time.Second, blind, true, 280, 480
		w.seconds(400)
		for range 1800 { // to 520/s in half an hour
			w.arrival += 240.0 / 1800
			w.second()
		}
		return w
	}
	without, w := play(true), play(false)
	for range 1200 {
		without.second()
		w.second()
	}
	ineffective, message := w.memory.Verification().Ineffective(w.now)
	if !ineffective || w.plan.Reason != "ScaleUpIneffective" || !w.plan.Held {
		t.Fatalf("%d replicas, writes %v; %s: %s", w.replicas, w.writes, w.plan.Reason, w.plan.Message)
	}
	found := w.replicas
	w.seconds(3600)
	without.seconds(3600)
	t.Logf("%d replicas when found (%s), %d an hour later, %d without", found, message, w.replicas, without.replicas)
	if w.replicas > found*5/4 || found > 160 || without.replicas != 400 {
		t.Errorf("%d replicas when found, %d an hour later; %d without", found, w.replicas, without.replicas)
	}
	w.downstream = 0
	w.seconds(1200)
	if ineffective, message := w.memory.Verification().Ineffective(w.now); ineffective || w.backlog > 0 {
		t.Errorf("20 min after the limit is gone: backlog %.0f, %s", w.backlog, message)
	}
}

// TestFreezeByChance prints how often noise alone freezes scale-up: four steps that bring all they should, with throughput
// of each block spread by s on the log, and for how many blocks it lasts.
func TestFreezeByChance(t *testing.T) {
	const runs = 20_000
	random := rand.New(rand.NewPCG(7, 7))
	for _, test := range []struct{ spread, step, most float64 }{
		{0.02, 0.1, 0.001}, {0.05, 0.1, 0.05}, {0.05, 0.2, 0.005}, {0.1, 0.2, 0.06}, {0.2, 0.2, 0.2}, {0.2, 0.5, 0.06},
	} {
		frozen, minutes := 0, 0
		for range runs {
			v, now, n, found := Verification{}.of(noon, "6"), noon, 40.0, false
			for range 5 {
				for range 3 {
					v, now = blocks(v, now, saturated(int32(math.Round(n)), 8*math.Round(n)*math.Exp(test.spread*random.NormFloat64())))
					if is, _ := v.Ineffective(now); is {
						found = true
						minutes++
					}
				}
				n *= 1 + test.step
			}
			if found {
				frozen++
			}
		}
		share := float64(frozen) / runs
		t.Logf("spread %.2f, steps of %.0f%%: %.2f%% of runs frozen, for %.1f blocks each", test.spread, 100*test.step, 100*share, float64(minutes)/float64(max(frozen, 1)))
		if share > test.most {
			t.Errorf("spread %.2f, steps of %.0f%%: %.4f of runs frozen, want at most %v", test.spread, 100*test.step, share, test.most)
		}
	}
}
