// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"

	"github.com/queuescaler/queuescaler/internal/revision"
)

// test is a sequence of looks at one revision.
type test struct {
	name, title string
	// begin gives the function that is called at 4 blocks and at every doubling, with the newest that are kept and how
	// many there were in all.
	begin func() func(e revision.Evidence, seen int) revision.Verdict
}

var (
	shipped = test{"Shipped", "the test as it ships", func() func(revision.Evidence, int) revision.Verdict {
		var w revision.Watch
		return func(e revision.Evidence, seen int) revision.Verdict {
			w, _ = w.Next(e, seen)
			return w.Verdict
		}
	}}
	section7 = test{"Plain", "the plain test (Mann–Whitney, 10 % margin, α = 0.01/2^k)", func() func(revision.Evidence, int) revision.Verdict {
		verdict, k := revision.Inconclusive, 0
		return func(e revision.Evidence, _ int) revision.Verdict {
			k++
			before, now := logs(e.Baseline, e.MoreIsWorse), logs(e.Present, e.MoreIsWorse)
			for i := range now {
				now[i] -= math.Log(0.9)
			}
			alpha := math.Ldexp(0.01, -k)
			switch {
			case revision.MannWhitney(now, before) <= alpha:
				verdict = revision.Regressed
			case revision.MannWhitney(before, now) <= alpha:
				verdict = revision.NoRegression
			}
			return verdict
		}
	}}
)

func logs(values []float64, moreIsWorse bool) (out []float64) {
	for _, v := range values {
		if moreIsWorse {
			v = 1 / v
		}
		out = append(out, math.Log(v))
	}
	return out
}

// follow watches one revision to the last of its blocks.
func follow(t test, e revision.Evidence) (o outcome) {
	all, look := e.Present, t.begin()
	e.Baseline = e.Baseline[max(0, len(e.Baseline)-revision.KeptBlocks):]
	for seen := 4; seen <= len(all); seen *= 2 {
		e.Present = all[max(0, seen-revision.KeptBlocks):seen]
		o.last = look(e, seen)
		if o.last == revision.Regressed && o.regressedAt == 0 {
			o.regressedAt = seen
		}
	}
	return o
}
