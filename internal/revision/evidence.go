// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"math"
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

// Circumstances of a block, which decide what it is evidence of.
type Circumstances struct {
	// ObjectiveMet: the objective was met at its end. Growing: the backlog grew in it.
	ObjectiveMet, Growing bool
	// Effective: the steps of the number of replicas since the baseline brought at least half of what they should.
	Effective bool
	// Ineffective: more replicas bring less than half of what they should, so that a rate tells of the limit downstream.
	Ineffective bool
}

// Observe takes in a block of the present revision. It reports whether the verdict on it changed.
func (l *Ledger) Observe(b capacity.Block, c Circumstances) bool {
	r := l.Present()
	if r == nil || b.Revision != r.Key || b.Rate <= 0 || math.IsInf(b.Rate, 0) || math.IsNaN(b.Rate) {
		return false
	}
	baseline := l.Baseline()
	usable := usable(b, c, baseline)
	replicas := float64(b.Replicas + b.Others)
	if !b.Saturated && b.Throughput > b.Arrival {
		b.Rate *= b.Arrival / b.Throughput // a rest of an old backlog that was worked off is no steady throughput
	}
	r.noteThroughput(b.Rate, b.End)
	if c.ObjectiveMet {
		r.HighestArrival = max(r.HighestArrival, b.Arrival)
	} else {
		r.Missed++
	}
	if b.Saturated {
		if !c.Ineffective {
			r.measured = kept(r.measured, b.Rate, keptMeasured)
		}
		if share := crowding(replicas, c, baseline); usable && share > 0 {
			r.Rates = kept(r.Rates, Sample{b.Rate * share, replicas}, KeptBlocks)
			r.RatesSeen++
		}
	} else {
		r.noteBound(Sample{b.Rate, replicas})
		if usable && b.Processing > 0 && b.Others == 0 {
			r.Times = kept(r.Times, Sample{b.Processing, b.Rate}, KeptBlocks)
			r.TimesSeen++
		}
	}
	if usable {
		r.noteShares(b.Shares)
		r.MostReplicas = max(r.MostReplicas, replicas)
	}
	r.noteArrivals(&b)
	before := r.Verdict
	if baseline != nil {
		r.look(baseline, b.End)
	}
	l.prove(r, b, c)
	l.withdraw(r)
	return r.Verdict != before
}

// usable: what the block tells is the revision's own doing, on the work that the baseline was measured with.
func usable(b capacity.Block, c Circumstances, baseline *Record) bool {
	return !b.Young && !c.Ineffective && (baseline == nil || furthestShare(b.Shares, baseline.Shares) <= sameShares)
}

// crowding is the factor of a rate that was measured with many more replicas than the baseline ever had. What is downstream may
// limit them: those beyond sameReplicas are taken to have brought nothing, so that a rate which is low all the same is the
// revision's own. 1 where they are not so many, or were seen to bring more; 0 where that cannot be told.
func crowding(replicas float64, c Circumstances, baseline *Record) float64 {
	if baseline == nil || c.Effective {
		return 1
	}
	most := (1 + sameReplicas) * baseline.MostReplicas
	if most <= 0 {
		return 0
	}
	return max(1, replicas/most)
}

// crowded reports whether a rate that counts now was measured with so many replicas: it can speak against a revision, never for it.
func (r *Record) crowded(baseline *Record) bool {
	return slices.ContainsFunc(r.Rates, func(s Sample) bool { return s.At > (1+sameReplicas)*baseline.MostReplicas })
}

// look takes one more look at each kind of evidence, if one is due.
func (r *Record) look(baseline *Record, at time.Time) {
	if r.against != baseline.Key {
		if r.against != "" {
			r.RateWatch, r.TimeWatch, r.ArrivalsWatch = Watch{}, Watch{}, Watch{}
		}
		r.against = baseline.Key
	}
	rates, _ := r.RateWatch.Next(r.rateEvidence(baseline), r.RatesSeen)
	if rates.Looks != r.RateWatch.Looks && rates.Verdict != Regressed && r.crowded(baseline) {
		rates.Verdict = r.RateWatch.Verdict
	}
	r.RateWatch = rates
	r.TimeWatch, _ = r.TimeWatch.Next(r.timeEvidence(baseline), r.TimesSeen)
	r.ArrivalsWatch, _ = r.ArrivalsWatch.Next(r.arrivalsEvidence(baseline), r.ArrivalsSeen)
	r.settle(at)
}

// settle brings the verdict up to what the kinds of evidence say.
func (r *Record) settle(at time.Time) {
	verdict, basis := r.conclude()
	if verdict != r.Verdict || basis != r.Basis {
		r.Verdict, r.Basis, r.VerdictAt = verdict, basis, at
	}
}

func (r *Record) rateEvidence(baseline *Record) Evidence {
	return Evidence{Baseline: baseline.baseline(), Present: values(r.Rates)}
}

// sameLoad is how far the throughput per replica may differ between blocks whose processing times are compared, as a share.
const sameLoad = 0.1

// timeEvidence compares processing times only with those of the baseline that were measured at an equal or a higher load of a
// replica. With load, what clients prefetch grows, and with it what is in flight: who has less to do and takes longer is
// slower all the more. Each is scaled by the median of those, so that blocks of different loads are alike.
func (r *Record) timeEvidence(baseline *Record) Evidence {
	e := Evidence{MoreIsWorse: true}
	used := map[int]bool{}
	for _, s := range r.Times {
		like := loaded(baseline.Times, s.At)
		if len(like) < leastBaseline {
			continue
		}
		usual := medianAt(baseline.Times, like)
		e.Present = append(e.Present, s.Value/usual)
		for _, i := range like {
			if !used[i] {
				used[i] = true
				e.Baseline = append(e.Baseline, baseline.Times[i].Value/usual)
			}
		}
	}
	return e
}

// loaded are the samples with about this load, or a higher one.
func loaded(samples []Sample, load float64) []int {
	var out []int
	for i, s := range samples {
		if s.At >= (1-sameLoad)*load {
			out = append(out, i)
		}
	}
	return out
}

func medianAt(samples []Sample, indices []int) float64 {
	v := make([]float64, len(indices))
	for i, index := range indices {
		v[i] = samples[index].Value
	}
	return median(v)
}

// conclude makes one verdict of the kinds of evidence, which are never mixed. The service rate is what a revision can do, and
// outranks how long a message takes. That clears nobody: it was compared at loads that may have been higher. Arrivals tell of
// something else, and only against a revision.
func (r *Record) conclude() (Verdict, Basis) {
	rate, t := r.RateWatch.Verdict, r.TimeWatch.Verdict
	measured := rate == Regressed || rate == NoRegression || rate == Suspected
	switch {
	case rate == Regressed:
		return rate, ServiceRate
	case t == Regressed && !measured:
		return t, ProcessingTime
	case r.ArrivalsWatch.Verdict == Regressed:
		return Regressed, Arrivals
	case rate == Suspected:
		return rate, ServiceRate
	case r.stepped:
		return Suspected, Arrivals
	case rate == NoRegression:
		return rate, ServiceRate
	case rate == Inconclusive:
		return rate, ServiceRate
	case t == Inconclusive, t == NoRegression, t == Suspected:
		return Inconclusive, ProcessingTime
	}
	return InsufficientData, ""
}

// prove promotes the present revision once it proved itself under load.
func (l *Ledger) prove(r *Record, b capacity.Block, c Circumstances) {
	good := l.KnownGood()
	if good == nil || r.Flagged() || r.Standing == New || r.Standing == KnownGood {
		r.Proving = time.Time{}
		return
	}
	// The first one is its own measure, and was what served before anybody watched: an hour with the objective met is enough.
	enough, needed := b.Rate >= provingShare*good.Highest, provingTime
	if r.Standing == Provisional {
		enough, needed = true, provisionalFor
	}
	if !enough || !c.ObjectiveMet || c.Growing {
		r.Proving = time.Time{}
	} else if r.Proving.IsZero() {
		r.Proving = b.Start
	}
	proved := !r.Proving.IsZero() && b.End.Sub(r.Proving) >= needed
	if r.Standing == Provisional && c.ObjectiveMet && r.RatesSeen >= leastBaseline {
		proved = true
	}
	// With fewer blocks it would be a baseline that nothing can be compared with.
	cleared := r.Standing == Soaked && r.Verdict == NoRegression && len(r.baseline()) >= leastBaseline
	if proved || cleared {
		r.Standing, r.Since, r.Proving = KnownGood, b.End, time.Time{}
	}
}

// withdraw takes back the flag of what ran before, where the rate stayed low after it was rolled back: it was not the revision.
func (l *Ledger) withdraw(r *Record) {
	stay := r.RatesSeen - r.RatesAtEntry
	if !r.Good() || r.RatesAtEntry == 0 || stay < stayedLow || len(l.records) < 2 || stay > len(r.Rates) {
		return
	}
	flagged := l.records[len(l.records)-2]
	if !flagged.Flagged() || flagged.Basis != ServiceRate {
		return
	}
	before, since := r.Rates[:len(r.Rates)-stay], r.Rates[len(r.Rates)-stay:]
	if len(before) > 0 && medianOf(since) < provingShare*medianOf(before) {
		flagged.Withdrawn = true
	}
}

// SlowedDown reports whether the present revision, a known-good one, does less than it did itself, and by how much: then it is
// not the revision.
func (l *Ledger) SlowedDown() (Comparison, bool) {
	r := l.Present()
	if r == nil || !r.Good() || len(r.Rates) < leastBaseline+slowedBlocks {
		return Comparison{}, false
	}
	split := len(r.Rates) - slowedBlocks
	if stay := r.RatesSeen - r.RatesAtEntry; r.RatesAtEntry > 0 && stay > slowedBlocks && stay <= len(r.Rates)-leastBaseline {
		split = len(r.Rates) - stay
	}
	e := Evidence{Baseline: values(r.Rates[:split]), Present: values(tail(r.Rates, slowedBlocks))}
	c := e.Compare()
	for _, v := range e.Present {
		if v > slowedShare*c.Baseline {
			return Comparison{}, false
		}
	}
	return c, true
}

// shown are the newest blocks that a person is told of.
const shown = 8

// Comparison is the evidence of the verdict on the present revision in numbers; zero where there is none.
func (l *Ledger) Comparison() Comparison {
	r, baseline := l.Present(), l.Baseline()
	if r == nil || baseline == nil {
		return Comparison{}
	}
	e := r.rateEvidence(baseline)
	switch r.Basis {
	case ProcessingTime:
		e = Evidence{MoreIsWorse: true, Baseline: values(tail(baseline.Times, shown)), Present: values(r.Times)}
	case Arrivals:
		e = r.arrivalsEvidence(baseline)
	}
	e.Present = tail(e.Present, shown)
	return e.Compare()
}
