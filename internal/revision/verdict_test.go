// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// constant blocks with a hair's difference, so that none are tied.
func constant(n int, value float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = value * (1 + 1e-6*float64((i*7)%n))
	}
	return out
}

// follow looks at every block, as the ledger does, and gives all looks by the number of blocks at which they were taken.
func follow(baseline, present []float64, moreIsWorse bool) (Watch, map[int]Verdict) {
	w, looks := Watch{}, map[int]Verdict{}
	for seen := 1; seen <= len(present); seen++ {
		before := w.Looks
		w, _ = w.Next(Evidence{baseline, present[max(0, seen-KeptBlocks):seen], moreIsWorse}, seen)
		if w.Looks != before {
			looks[seen] = w.Verdict
		}
	}
	return w, looks
}

func TestNext(t *testing.T) {
	many := func(v float64) []float64 { return constant(16, v) }
	for _, c := range []struct {
		name              string
		baseline, present []float64
		moreIsWorse       bool
		seen              int
		want              Verdict
	}{
		{"nothing", nil, nil, false, 0, InsufficientData},
		{"three blocks", many(8), constant(3, 2), false, 3, InsufficientData},
		{"five blocks of the known-good", constant(5, 8), constant(4, 2), false, 4, InsufficientData},
		{"the incident at four blocks", many(10), constant(4, 6.2), false, 4, Regressed},
		{"the incident, shortest baseline", constant(6, 10), constant(4, 6.2), false, 4, Regressed},
		{"the same", many(10), many(10), false, 16, NoRegression},
		{"a little less", many(10), many(9.5), false, 16, NoRegression},
		{"less, within the margin", many(10), many(8.5), false, 16, Inconclusive},
		{"less, over more blocks", constant(32, 10), constant(32, 8.4), false, 32, Regressed},
		{"more", many(10), many(14), false, 16, NoRegression},
		{"failing fast looks fast", many(10), many(16), false, 16, Suspected},
		{"takes longer", many(0.1), many(0.16), true, 16, Regressed},
		{"takes as long", many(0.1), many(0.1), true, 16, NoRegression},
		{"takes half as long", many(0.1), many(0.05), true, 16, Suspected},
		{"all equal", slices.Repeat([]float64{10}, 16), slices.Repeat([]float64{6}, 16), false, 16, Regressed},
		{"all equal and the same", slices.Repeat([]float64{10}, 16), slices.Repeat([]float64{10}, 16), false, 16, NoRegression},
		{"not a number", append(many(10), math.NaN(), 0, -1, math.Inf(1)), append(many(6), 0, math.NaN()), false, 18, Regressed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Evidence{c.baseline, c.present, c.moreIsWorse}
			w := Watch{Stepped: c.moreIsWorse}
			if got, _ := w.Next(e, c.seen); got.Verdict != c.want {
				t.Errorf("got %s, want %s", got.Verdict, c.want)
			}
		})
	}
}

func TestComparison(t *testing.T) {
	e := Evidence{Baseline: []float64{8, 8.2, 8.1, 7.9, 8.1, 8.4}, Present: []float64{5.2, 5.1, 8.2, 5.3}}
	want := Comparison{Baseline: 8.1, Present: 5.25, Change: 5.25/8.1 - 1, Worse: 3, Blocks: 4}
	if diff := cmp.Diff(want, e.Compare()); diff != "" {
		t.Error(diff)
	}
	e.MoreIsWorse = true
	want.Worse = 1
	if diff := cmp.Diff(want, e.Compare()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Comparison{}, Evidence{}.Compare()); diff != "" {
		t.Error(diff)
	}
}

func TestLooksAtEveryDoubling(t *testing.T) {
	w, looks := Watch{}, []int{}
	for seen := range 5000 {
		before := w
		var c Comparison
		w, c = w.Next(Evidence{Baseline: constant(16, 10), Present: constant(min(seen, KeptBlocks), 10)}, seen)
		if w.Looks != before.Looks {
			looks = append(looks, seen)
			if want := min(seen, KeptBlocks); c.Blocks != want {
				t.Errorf("look at %d compared %d blocks, want %d", seen, c.Blocks, want)
			}
		} else if (c != Comparison{}) {
			t.Errorf("compared %d blocks at %d without a look", c.Blocks, seen)
		}
	}
	if diff := cmp.Diff([]int{4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}, looks); diff != "" {
		t.Error(diff)
	}
}

// A fault campaign disturbed the first blocks of a revision that was as good as the one before. It was told to be rolled back, since it
// completed 7 % more, until the next look.
func TestRegressedIsWithdrawnOnceTheNewestBlocksShowTheOpposite(t *testing.T) {
	disturbed := []float64{4.17, 2.2, 8.31, 2.96, 14.03, 17.12, 18.24, 13.14, 15.31, 21.64, 29.82, 22.57, 18.38, 21.74}
	inverse := func(values []float64) []float64 {
		out := slices.Clone(values)
		for i := range out {
			out[i] = 1 / out[i]
		}
		return out
	}
	baseline := constant(16, 18.8)
	for _, c := range []struct {
		name              string
		baseline, present []float64
		moreIsWorse       bool
		want              Verdict
	}{
		{"the newest eight do as much", baseline, disturbed, false, Inconclusive},
		{"the newest eight take no longer", inverse(baseline), inverse(disturbed), true, Inconclusive},
		{"they do a little less", baseline, disturbed[:12], false, Regressed},
		{"they do as much, and are few", constant(16, 3), append(constant(4, 1), constant(3, 3)...), false, Regressed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := Watch{Stepped: c.moreIsWorse}
			accused := false
			for seen := 1; seen <= len(c.present); seen++ {
				w, _ = w.Next(Evidence{c.baseline, c.present[:seen], c.moreIsWorse}, seen)
				accused = accused || w.Verdict == Regressed
			}
			if !accused || w.Verdict != c.want {
				t.Errorf("%s in the end, want %s; Regressed meanwhile: %v, want true", w.Verdict, c.want, accused)
			}
		})
	}
}

// What is missed while there is no baseline is not made up for: only one look is taken then, over the most blocks.
func TestMissedLooks(t *testing.T) {
	w, c := Watch{}.Next(Evidence{Baseline: constant(8, 10), Present: constant(50, 10)}, 50)
	if w.Looks != 4 || c.Blocks != 32 {
		t.Errorf("look %d over %d blocks, want look 4 over 32", w.Looks, c.Blocks)
	}
	if again, _ := w.Next(Evidence{Baseline: constant(8, 10), Present: constant(50, 1)}, 50); again != w {
		t.Errorf("looked again: %+v", again)
	}
}

// A verdict is withdrawn by a look that finds something else, not by one that finds nothing.
func TestWithdrawal(t *testing.T) {
	baseline := constant(32, 10)
	for _, c := range []struct {
		name  string
		later float64
		want  Verdict
	}{
		{"still less", 6, Regressed},
		{"in doubt", 8.6, Regressed},
		{"as before", 10, NoRegression},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := Watch{Looks: 4, Verdict: Regressed}
			w, _ = w.Next(Evidence{Baseline: baseline, Present: constant(64, c.later)}, 64)
			if w.Verdict != c.want {
				t.Errorf("got %s, want %s", w.Verdict, c.want)
			}
		})
	}
}

// Processing times that grow hours after the deploy are not the revision's: the mix of messages changed.
func TestProcessingTimeMustStep(t *testing.T) {
	baseline := constant(32, 0.1)
	late := append(constant(16, 0.1), constant(48, 0.2)...)
	if _, looks := follow(baseline, late, true); slices.Contains([]Verdict{looks[32], looks[64]}, Regressed) {
		t.Errorf("blamed for what came later: %v", looks)
	}
	if _, looks := follow(baseline, constant(64, 0.2), true); looks[4] != Regressed || looks[64] != Regressed {
		t.Errorf("a step was not found: %v", looks)
	}
	late = append(constant(16, 10), constant(48, 5)...)
	if _, looks := follow(constant(32, 10), late, false); looks[64] != Regressed {
		t.Errorf("a service rate that fell at the first peak was not found: %v", looks)
	}
	w, _ := Watch{}.Next(Evidence{baseline, constant(64, 0.2), true}, 500)
	if w.Verdict != Inconclusive || w.Stepped {
		t.Errorf("a step was seen that is not kept: %+v", w)
	}
}

// blocks draws blocks of one revision; few distinct values make ties.
func blocks(least, most int) *rapid.Generator[[]float64] {
	return rapid.Custom(func(t *rapid.T) []float64 {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		at := math.Exp(r.Float64()*1.5 - 0.75)
		distinct := r.IntN(2) == 0
		out := make([]float64, rapid.IntRange(least, most).Draw(t, "n"))
		for i := range out {
			out[i] = at * math.Exp(0.3*r.NormFloat64())
			if !distinct {
				out[i] = math.Ceil(8*out[i]) / 8
			}
		}
		return out
	})
}

// order of verdicts from bad to good.
var order = []Verdict{Regressed, Inconclusive, NoRegression, Suspected}

// To do less never helps: where all blocks are as low or lower, no NoRegression comes of a Regressed, and no Suspected of doubt, unless
// the blocks are more independent of each other than they were.
func TestLawLessIsNeverBetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Evidence{Baseline: blocks(6, 64).Draw(t, "baseline"), Present: blocks(4, 64).Draw(t, "present")}
		lower := e
		lower.Present = slices.Clone(e.Present)
		for i := range lower.Present {
			if rapid.Bool().Draw(t, "lower") {
				lower.Present[i] *= rapid.Float64Range(0.01, 1).Draw(t, "by")
			}
		}
		seen := len(e.Present)
		was, _ := Watch{}.Next(e, seen)
		is, _ := Watch{}.Next(lower, seen)
		if was.Verdict == Regressed && slices.Index(order, is.Verdict) > slices.Index(order, Inconclusive) {
			t.Fatalf("%s became %s", was.Verdict, is.Verdict)
		}
		looked := func(e Evidence) float64 {
			newest := e.Present[max(0, seen-looks[0].blocks<<(lookAt(seen)-1)):]
			return inflation(e.ability(e.Baseline), e.ability(newest))
		}
		if was.Verdict == Inconclusive && is.Verdict == Suspected && looked(lower) >= looked(e) {
			t.Fatalf("%s became %s", was.Verdict, is.Verdict)
		}
	})
}

// Units do not matter: milliseconds or seconds, messages or weighted ones; nor does it whether a rate or its inverse is told.
func TestLawUnits(t *testing.T) {
	times := func(values []float64, by float64) []float64 {
		out := slices.Clone(values)
		for i := range out {
			out[i] *= by
		}
		return out
	}
	inverse := func(values []float64) []float64 {
		out := slices.Clone(values)
		for i := range out {
			out[i] = 1 / out[i]
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		e := Evidence{Baseline: blocks(6, 64).Draw(t, "baseline"), Present: blocks(4, 64).Draw(t, "present")}
		by := math.Ldexp(1, rapid.IntRange(-10, 10).Draw(t, "by")) // exact, so that ties stay ties
		want, _ := Watch{Stepped: true}.Next(e, len(e.Present))
		if got, _ := (Watch{Stepped: true}).Next(Evidence{times(e.Baseline, by), times(e.Present, by), false}, len(e.Present)); got != want {
			t.Fatalf("times %g: got %+v, want %+v", by, got, want)
		}
		got, _ := Watch{Stepped: true}.Next(Evidence{inverse(e.Baseline), inverse(e.Present), true}, len(e.Present))
		// Near a median of an even number of values the ratio of the inverses differs a little: Suspected may.
		if got.Verdict != want.Verdict && got.Verdict != Suspected && want.Verdict != Suspected {
			t.Fatalf("inverse: got %+v, want %+v", got, want)
		}
	})
}

// Whatever comes, it does not panic, and what it remembers is in order.
func TestLawAnyInput(t *testing.T) {
	anything := rapid.SliceOfN(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
		0, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1, 1, 2})), 0, 70)
	rapid.Check(t, func(t *rapid.T) {
		w := Watch{Looks: rapid.IntRange(-3, 80).Draw(t, "looks")}
		for range 5 {
			e := Evidence{anything.Draw(t, "baseline"), anything.Draw(t, "present"), rapid.Bool().Draw(t, "more")}
			before := w.Looks
			w, _ = w.Next(e, rapid.Int().Draw(t, "seen"))
			if w.Looks < before || !slices.Contains(append(order, InsufficientData), w.Verdict) {
				t.Fatalf("%+v", w)
			}
		}
	})
}

// The published figures are those of make bench-verdict; here is a short run on plain AR(1) noise without a plant.
func TestFalseAlarmsAndPower(t *testing.T) {
	const runs = 2000
	for _, c := range []struct {
		phi, change float64
		// share of the runs that end Regressed at some look.
		least, most float64
	}{
		{0, 0, 0, 0.01}, {0.5, 0, 0, 0.025}, {0.8, 0, 0, 0.065},
		{0, -0.35, 0.97, 1}, {0.5, -0.35, 0.92, 1}, {0.8, -0.35, 0.8, 1},
		{0, -0.6, 0.995, 1}, {0.5, -0.6, 0.99, 1},
	} {
		found := 0
		for run := range runs {
			random := rand.New(rand.NewPCG(uint64(run), math.Float64bits(c.phi)))
			at := random.NormFloat64()
			draw := func(n int, change float64) []float64 {
				out := make([]float64, n)
				for i := range out {
					at = c.phi*at + math.Sqrt(1-c.phi*c.phi)*random.NormFloat64()
					out[i] = 10 * (1 + change) * math.Exp(0.2*at)
				}
				return out
			}
			_, looks := follow(draw(6+random.IntN(59), 0), draw(64, c.change), false)
			for _, v := range looks {
				if v == Regressed {
					found++
					break
				}
			}
		}
		if share := float64(found) / runs; share < c.least || share > c.most {
			t.Errorf("φ %g, change %g: %.3f of the runs Regressed, want %g to %g", c.phi, c.change, share, c.least, c.most)
		}
	}
}
