// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package revision is what each revision of a target was seen to do, and whether the newest does less. It is pure.
//
// The verdict is a sequence of looks: at 4 blocks of the revision on watch and at every doubling, its newest blocks are
// compared with the known-good's by a one-sided Mann–Whitney test on logs, with a margin. Two things make that test say
// "slower" too readily, and both are dealt with:
//
//	looking often         each look has a level and a margin of its own (see looks); after the fifth the level halves
//	minutes that resemble the z value of p is divided by √v. v is how much more the difference of two means of n and m
//	the ones before       blocks varies than it would if blocks were independent: (f(n) + f(m)) / (1/n + 1/m), where
//	                      f(n) = (1 + 2·Σ(1 − k/n)·φ^k)/n, k = 1 ... n−1, is the variance of the mean of n blocks of an
//	                      AR(1) noise, and φ is estimated from both samples (see resemblance)
//
// `make bench-verdict` measures what comes of it, beside the plain test.
package revision

import (
	"math"
	"slices"
)

// Verdict on a revision against the known-good one.
type Verdict string

const (
	// InsufficientData: there were not enough blocks for a look.
	InsufficientData Verdict = "InsufficientData"
	// NoRegression: it does not do less, by more than tolerated, than the known-good did.
	NoRegression Verdict = "NoRegression"
	// Suspected: it does far more than the known-good did. Failing fast looks fast.
	Suspected Verdict = "Suspected"
	// Regressed: it does less, by more than the margin.
	Regressed Verdict = "Regressed"
	// Inconclusive: there were looks, and none found anything.
	Inconclusive Verdict = "Inconclusive"
)

const (
	// KeptBlocks are the newest blocks of one revision and kind that a look needs at most.
	KeptBlocks = 64
	// leastBaseline blocks of the known-good make a baseline.
	leastBaseline = 6
	// tolerated is the share that a revision may do less with NoRegression, and that processing times and arrivals must step by.
	tolerated = 0.10
	// far above the known-good's median is suspect.
	far = 1.5
	// sure is the level of NoRegression and Suspected at each look.
	sure = 0.01
	// stepBlocks before and after the deploy have to show a step of the processing time, or of arrivals.
	stepBlocks = 8
)

// look is the test at one number of blocks.
type look struct {
	blocks int
	// margin is the share by which less is not yet a regression, level the p below which it is one.
	margin, level float64
	// resembling is whether p is corrected for minutes that resemble the ones before.
	resembling bool
}

// looks were chosen by bench-verdict. Four blocks cannot tell how much blocks resemble each other: the first look has a low
// level instead. Few blocks have the higher margin, as they may all lie in one bad spell. The last one stands for all further
// ones, each at half the level of the one before.
var looks = []look{
	{4, 0.20, 0.01, false},
	{8, 0.20, 0.05, true},
	{16, 0.20, 0.02, true},
	{32, 0.15, 0.08, true},
	{64, 0.15, 0.08, true},
}

// Evidence of one kind on two revisions. Baseline are the known-good's blocks, Present those of the revision on watch, of each
// the newest KeptBlocks at most, oldest first: messages/s of one replica, seconds, or messages per unit. What is not above 0 is left out.
//
// A baseline with lower bounds of service rates in it is allowed: they make Regressed rarer, but NoRegression more frequent.
type Evidence struct {
	Baseline, Present []float64
	// MoreIsWorse is true for processing times and arrivals, false for service rates.
	MoreIsWorse bool
}

// Watch is what has to be remembered of the looks at one revision by one kind of evidence. The zero value has not looked yet.
// It begins anew when the baseline is another revision's.
type Watch struct {
	// Looks is the number of the newest look, which was due at 4·2^(Looks−1) blocks; 0 before the first.
	Looks int
	// Verdict is that of the newest look which found something; Inconclusive if none did, InsufficientData or empty
	// before the first. So what was found is withdrawn by a look that finds something else, and not by doubt. Regressed is withdrawn
	// between looks too, once the newest blocks show the opposite.
	Verdict Verdict
	// Stepped is whether processing times, or arrivals, rose right at the deploy; only then they can make it Regressed. Without it they
	// follow something else: the mix of messages, a dependency, the time of the day.
	Stepped bool
}

// Comparison is what a look saw, for a person to read. The zero value is that of no look.
type Comparison struct {
	// Baseline and Present are the medians of the blocks that were compared.
	Baseline, Present float64
	// Change is Present/Baseline − 1: −0.36 is 36 % less.
	Change float64
	// Worse of the Blocks present blocks are on the bad side of the baseline's median.
	Worse, Blocks int
}

// Next takes a look if one is due, at the most blocks for which one is: looks that were missed are not made up for. seen is how
// many blocks of the present revision there were in all, those included that are not kept.
func (w Watch) Next(e Evidence, seen int) (Watch, Comparison) {
	if w.Verdict == "" {
		w.Verdict = InsufficientData
	}
	e.Baseline, e.Present = valid(e.Baseline), valid(e.Present)
	number := lookAt(seen)
	if number <= max(0, w.Looks) || len(e.Baseline) < leastBaseline || len(e.Present) < looks[0].blocks {
		if w.Verdict == Regressed && e.contradicts() {
			w.Verdict = Inconclusive
		}
		return w, Comparison{}
	}
	w.Looks = number
	if seen == len(e.Present) {
		w.Stepped = w.Stepped || e.stepped()
	}
	e.Present = e.Present[max(0, len(e.Present)-looks[0].blocks<<(number-1)):]
	c := e.Compare()
	found := e.judge(test(number, len(e.Present)), c)
	if found == Regressed && e.MoreIsWorse && !w.Stepped {
		found = Inconclusive
	}
	if found != Inconclusive || w.Verdict == InsufficientData {
		w.Verdict = found
	}
	return w, c
}

// lookAt is the number of the look that is due at so many blocks; 0 for none.
func lookAt(seen int) (number int) {
	for blocks := looks[0].blocks; blocks <= seen && number < 40; blocks *= 2 {
		number++
	}
	return number
}

// test is the one for a look by its number, over so many blocks.
func test(number, blocks int) look {
	t := looks[0]
	for _, l := range looks[1:] {
		if l.blocks <= blocks {
			t = l
		}
	}
	t.level = math.Ldexp(t.level, -max(0, number-len(looks)))
	return t
}

// Compare compares all blocks, at a look or not.
func (e Evidence) Compare() Comparison {
	e.Baseline, e.Present = valid(e.Baseline), valid(e.Present)
	if len(e.Baseline) == 0 || len(e.Present) == 0 {
		return Comparison{}
	}
	c := Comparison{Baseline: median(e.Baseline), Present: median(e.Present), Blocks: len(e.Present)}
	c.Change = c.Present/c.Baseline - 1
	for _, v := range e.Present {
		if v != c.Baseline && (v > c.Baseline) == e.MoreIsWorse {
			c.Worse++
		}
	}
	return c
}

// judge says what one look finds; Inconclusive is nothing.
func (e Evidence) judge(t look, c Comparison) Verdict {
	before, now := e.ability(e.Baseline), e.ability(e.Present)
	v := inflation(before, now)
	resembling := v
	if !t.resembling {
		v = 1
	}
	better := c.Present / c.Baseline
	if e.MoreIsWorse {
		better = 1 / better
	}
	switch {
	case deflate(MannWhitney(raised(now, t.margin), before), v) <= t.level:
		return Regressed
	case better > far && deflate(MannWhitney(before, now), resembling) <= sure:
		return Suspected
	case deflate(MannWhitney(before, raised(now, tolerated)), resembling) <= sure:
		return NoRegression
	}
	return Inconclusive
}

// contradicts reports whether the newest blocks, those that a person is told of, do no less than the baseline. The next look may be
// far away, and nobody is to be told to roll back with numbers that speak against it.
func (e Evidence) contradicts() bool {
	if len(e.Baseline) < leastBaseline || len(e.Present) < shown {
		return false
	}
	e.Present = tail(e.Present, shown)
	change := e.Compare().Change
	return change == 0 || (change < 0) == e.MoreIsWorse
}

// stepped reports whether the median of the first blocks is worse than that of the last before the deploy.
func (e Evidence) stepped() bool {
	after := e.ability(e.Present[:min(stepBlocks, len(e.Present))])
	before := e.ability(e.Baseline[max(0, len(e.Baseline)-stepBlocks):])
	return median(before)-median(after) >= -math.Log(1-tolerated)-equal
}

// ability is the log of each value, with the sign that makes more better.
func (e Evidence) ability(values []float64) []float64 {
	logs := make([]float64, len(values))
	for i, v := range values {
		logs[i] = math.Log(v)
		if e.MoreIsWorse {
			logs[i] = -logs[i]
		}
	}
	return logs
}

// raised makes up for a loss of so large a share.
func raised(logs []float64, share float64) []float64 {
	out := make([]float64, len(logs))
	for i, v := range logs {
		out[i] = v - math.Log(1-share)
	}
	return out
}

// valid leaves out what has no logarithm.
func valid(values []float64) []float64 {
	isNot := func(v float64) bool { return !(v > 0) || math.IsInf(v, 1) }
	if !slices.ContainsFunc(values, isNot) {
		return values
	}
	return slices.DeleteFunc(slices.Clone(values), isNot)
}

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
