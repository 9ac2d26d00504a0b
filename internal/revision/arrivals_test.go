// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

// makes so many messages of each unit of user work.
func (w *watched) makes(perUnit float64) func(*capacity.Block, *Circumstances) {
	return func(b *capacity.Block, _ *Circumstances) {
		b.Driver = b.Arrival / (perUnit * (1 + 0.02*w.random.NormFloat64()))
	}
}

// compared is a ledger with a known-good revision that made 1.9 messages per unit, and a newer one, both with a driver.
func compared(t *testing.T, change ...func(*capacity.Block, *Circumstances)) *watched {
	w := watch(t)
	w.deploy("six", 6, true)
	w.Drive("orders", w.now)
	w.blocks(20, 10, append(change, w.makes(1.9))...)
	w.deploy("seven", 7, true)
	w.Drive("orders", w.now)
	return w
}

func TestARevisionThatMakesMoreWork(t *testing.T) {
	shares := func(b *capacity.Block, _ *Circumstances) { b.Shares = []float64{0.4} }
	for _, c := range []struct {
		name    string
		rate    float64
		perUnit []float64
		change  func(*capacity.Block, *Circumstances)
		verdict Verdict
		basis   Basis
	}{
		{"more work of each unit, as fast", 10, []float64{2.6, 2.6}, nil, Regressed, Arrivals},
		{"the same, and it is never saturated", 4, []float64{2.6, 2.6}, quiet, Regressed, Arrivals},
		{"the same, in one of several queues", 10, []float64{2.6, 2.6}, shares, Regressed, Arrivals},
		{"more work, and slower", 6, []float64{2.6, 2.6}, nil, Regressed, ServiceRate},
		{"as much work", 10, []float64{1.9, 1.9}, nil, NoRegression, ServiceRate},
		{"as much work clears nobody", 4, []float64{1.9, 1.9}, quiet, InsufficientData, ""},
		{"less work is no merit", 4, []float64{0.9, 0.9}, quiet, InsufficientData, ""},
		{"more work some time after the deploy: it is not the revision", 10, []float64{1.9, 2.6}, nil, NoRegression, ServiceRate},
		{"slots of another revision make work too", 4, []float64{2.6, 2.6}, func(b *capacity.Block, _ *Circumstances) { b.Saturated, b.Others = false, 2 }, InsufficientData, ""},
		{"caches that fill", 4, []float64{2.6, 2.6}, func(b *capacity.Block, _ *Circumstances) { b.Saturated, b.Young = false, true }, InsufficientData, ""},
		{"the driver cannot be read", 4, []float64{2.6, 2.6}, func(b *capacity.Block, _ *Circumstances) { b.Saturated, b.Driver = false, 0 }, InsufficientData, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := compared(t)
			growing := func(_ *capacity.Block, c *Circumstances) { c.Growing = true } // that nobody becomes known-good meanwhile
			for _, perUnit := range c.perUnit {
				change := []func(*capacity.Block, *Circumstances){w.makes(perUnit), growing}
				if c.change != nil {
					change = append(change, c.change)
				}
				w.blocks(8, c.rate, change...)
				if w.find("seven").Standing == KnownGood {
					break
				}
			}
			r := w.find("seven")
			if r.Verdict != c.verdict || r.Basis != c.basis {
				t.Errorf("%s by %q, want %s by %q", r.Verdict, r.Basis, c.verdict, c.basis)
			}
		})
	}
}

func TestTheEvidenceOfMoreWorkInNumbers(t *testing.T) {
	w := compared(t)
	w.blocks(10, 10, w.makes(2.6))
	if c := w.Comparison(); c.Change < 0.33 || c.Change > 0.40 || c.Worse != 8 || c.Blocks != 8 {
		t.Errorf("%+v", c)
	}
	w.wantKnownGood("six")
	if r := w.Present(); !r.Flagged() || r.Standing != Soaked {
		t.Errorf("%+v", r)
	}
}

// What was measured with one driver says nothing about another one, and with none there is nothing to say.
func TestAnotherDriverBeginsAnew(t *testing.T) {
	for _, driver := range []string{"logins", ""} {
		w := compared(t)
		w.blocks(8, 4, w.makes(2.6), quiet)
		w.want("seven", Soaked, Regressed, Arrivals)
		w.Drive("orders", w.now)
		w.want("seven", Soaked, Regressed, Arrivals)
		w.Drive(driver, w.now)
		w.want("seven", Soaked, InsufficientData, "")
		if r := w.find("six"); len(r.Arrivals) > 0 || r.PerUnit() != 0 {
			t.Errorf("driver %q: arrivals of the known-good one are kept: %v", driver, r.Arrivals)
		}
	}
}

func TestAStepIsSuspectWhileItStands(t *testing.T) {
	w := compared(t)
	for _, step := range []struct {
		factor  float64
		verdict Verdict
		basis   Basis
	}{
		{0, InsufficientData, ""}, {1.19, InsufficientData, ""}, {1.2, Suspected, Arrivals}, {1.11, Suspected, Arrivals},
		{1.09, InsufficientData, ""}, {1.19, InsufficientData, ""}, {1.4, Suspected, Arrivals}, {0, InsufficientData, ""},
	} {
		w.Step(step.factor, w.now)
		w.want("seven", Soaked, step.verdict, step.basis)
	}
}

func TestWhatAStepOutranks(t *testing.T) {
	w := compared(t)
	w.blocks(4, 10)
	w.want("seven", Soaked, NoRegression, ServiceRate)
	w.Step(1.5, w.now)
	w.want("seven", Soaked, Suspected, Arrivals)
	w.blocks(8, 10)
	w.want("seven", Soaked, Suspected, Arrivals) // and so it does not become known-good
	w.blocks(64, 5)
	w.want("seven", Soaked, Regressed, ServiceRate)
	w.Step(1.5, w.now)
	w.want("seven", Soaked, Regressed, ServiceRate)
}

// What is only suspected does not follow a revision: not into a restart, and not when it is replaced.
func TestASuspicionLapses(t *testing.T) {
	w := compared(t)
	w.Step(1.5, w.now)
	restored := *w.find("seven")
	restored.stepped = false
	l := Restore([]*Record{w.find("six"), &restored})
	l.Enter(w.now, w.target)
	l.Step(0, w.now)
	if r := l.Present(); r.Verdict != InsufficientData || r.Basis != "" || r.Flagged() {
		t.Errorf("after a restart: %s by %q", r.Verdict, r.Basis)
	}
	w.deploy("eight", 8, true)
	w.Step(0, w.now)
	w.want("seven", Soaked, InsufficientData, "")
}

// The known-good revision is its own measure: no step makes it suspect.
func TestAStepSaysNothingAboutTheKnownGood(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, true)
	w.blocks(20, 10)
	w.Step(2, w.now)
	w.want("six", KnownGood, InsufficientData, "")
}

// Whatever the arrivals: what the other kinds of evidence found is the same as without them, and they clear nobody.
func TestArrivalsOnlySpeakAgainstARevision(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		with, without := watch(t), watch(t)
		growing := func(_ *capacity.Block, c *Circumstances) { c.Growing = true }
		alike := true // until a revision is known-good in one of the two alone, and the baselines part
		for number := range rapid.Int64Range(1, 4).Draw(r, "revisions") {
			hash := string(rune('a' + number))
			with.deploy(hash, number, true)
			without.deploy(hash, number, true)
			with.Drive("orders", with.now)
			rate, seconds := rapid.Float64Range(4, 20).Draw(r, "rate"), rapid.Float64Range(0.05, 0.3).Draw(r, "seconds")
			perUnit, saturated := rapid.Float64Range(0.5, 4).Draw(r, "per unit"), rapid.Bool().Draw(r, "saturated")
			shape := func(b *capacity.Block, _ *Circumstances) { b.Saturated, b.Processing = saturated, seconds }
			for range rapid.IntRange(0, 40).Draw(r, "blocks") {
				with.blocks(1, rate, growing, shape, func(b *capacity.Block, _ *Circumstances) { b.Driver = b.Arrival / perUnit })
				without.blocks(1, rate, growing, shape)
				a, b := with.Present(), without.Present()
				if a.Basis == Arrivals && a.Verdict != Regressed {
					r.Fatalf("%s by %q", a.Verdict, a.Basis)
				}
				if a.Standing == KnownGood && b.Standing != KnownGood {
					r.Fatalf("with arrivals %+v, without %+v", a, b)
				}
				if alike = alike && a.Standing == b.Standing && keyOf(with.Baseline()) == keyOf(without.Baseline()); !alike {
					continue
				}
				if a.RateWatch != b.RateWatch || a.TimeWatch != b.TimeWatch || a.Basis != Arrivals && (a.Verdict != b.Verdict || a.Basis != b.Basis) {
					r.Fatalf("with arrivals %+v, without %+v", a, b)
				}
				if b.Verdict == Regressed && a.Verdict != Regressed || b.Basis == ServiceRate && b.Verdict == Regressed && a.Basis != ServiceRate {
					r.Fatalf("with arrivals %s by %q, without %s by %q", a.Verdict, a.Basis, b.Verdict, b.Basis)
				}
				if len(a.Arrivals) > KeptBlocks {
					r.Fatalf("%d arrivals are kept", len(a.Arrivals))
				}
			}
		}
	})
}

func keyOf(r *Record) string {
	if r == nil {
		return ""
	}
	return r.Key
}
