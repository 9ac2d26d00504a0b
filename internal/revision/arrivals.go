// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"time"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

// λ that rose at the deploy by stepsUp or more, as a factor, is suspect without a driver, until it is below stepsDown again.
const stepsUp, stepsDown = 1.2, 1.1

// noteArrivals keeps how many messages a unit of user work made. What arrives depends neither on how busy replicas are nor on the
// shares of the queues in their work: a revision that puts more into one of them is just what is looked for. Slots of
// another revision make messages too, and caches that fill make other ones.
func (r *Record) noteArrivals(b *capacity.Block) {
	if b.Young || b.Others > 0 || b.Driver <= 0 || b.Arrival <= 0 {
		return
	}
	r.Arrivals = kept(r.Arrivals, Sample{b.Arrival / b.Driver, b.Driver}, KeptBlocks)
	r.ArrivalsSeen++
}

func (r *Record) arrivalsEvidence(baseline *Record) Evidence {
	return Evidence{MoreIsWorse: true, Baseline: values(baseline.Arrivals), Present: values(r.Arrivals)}
}

// Drive says which driver counts the user work; empty where none does. What was measured with another one tells nothing any more.
func (l *Ledger) Drive(driver string, now time.Time) {
	for _, r := range l.records {
		if r.Driver == driver {
			continue
		}
		r.Arrivals, r.ArrivalsSeen, r.ArrivalsWatch, r.Driver = nil, 0, Watch{}, driver
		if r.Basis == Arrivals {
			r.settle(now)
		}
	}
}

// Step takes in by which factor λ stepped at the deploy of the present revision; 0: not known, or a driver tells. It makes that
// revision suspect and no more, for as long as the step stands.
func (l *Ledger) Step(factor float64, now time.Time) {
	present, judged := l.Present(), l.Baseline() != nil
	for _, r := range l.records {
		was := r.stepped
		r.stepped = r == present && judged && (factor >= stepsUp || was && factor >= stepsDown)
		// After a restart only the verdict is known, and what it stood on is not.
		if r.stepped != was || !r.stepped && r.Verdict == Suspected && r.Basis == Arrivals {
			r.settle(now)
		}
	}
}
