// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"math"
	"strconv"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/revision"
)

// ledgerStatus is the ledger as status keeps it. What did not change since the old status was made is taken from there: a block
// ends once a minute, and a status is made at every look.
func ledgerStatus(l *revision.Ledger, old []capacityv1alpha1.RevisionStatus) []capacityv1alpha1.RevisionStatus {
	var out []capacityv1alpha1.RevisionStatus
	for _, r := range l.Records() {
		out = append(out, capacityv1alpha1.RevisionStatus{
			Key: r.Key, TemplateHash: r.Hash, Change: r.Change, Revision: r.Number,
			CompletedAt: StatusTime(r.Completed),
			Standing:    capacityv1alpha1.Standing(r.Standing), StandingSince: StatusTime(r.Since),
			Verdict: capacityv1alpha1.RevisionVerdict(r.Verdict), Basis: capacityv1alpha1.VerdictBasis(r.Basis), VerdictAt: StatusTime(r.VerdictAt),
			ServicePerReplica:           known(r.Rate()),
			ProcessingSeconds:           known(r.Time()),
			MessagesPerUnit:             known(r.PerUnit()),
			HighestThroughputPerReplica: known(r.Highest), HighestThroughputAt: StatusTime(r.HighestAt),
			HighestArrivalPerSecond: known(r.HighestArrival),
			RolledBackAt:            StatusTime(r.RolledBack),
			Evidence:                evidenceStatus(r, evidenceOf(old, r.Key)),
		})
	}
	return out
}

// evidenceOf is what a status has of a revision; empty where it has nothing.
func evidenceOf(revisions []capacityv1alpha1.RevisionStatus, key string) *capacityv1alpha1.RevisionEvidence {
	for i := range revisions {
		if revisions[i].Key == key && revisions[i].Evidence != nil {
			return revisions[i].Evidence
		}
	}
	return &capacityv1alpha1.RevisionEvidence{}
}

func evidenceStatus(r *revision.Record, old *capacityv1alpha1.RevisionEvidence) *capacityv1alpha1.RevisionEvidence {
	e := &capacityv1alpha1.RevisionEvidence{
		ServiceRates: rewrite(old.ServiceRates, old.ServiceRatesSeen, r.Rates, r.RatesSeen), ServiceRatesSeen: int32(r.RatesSeen), ServiceRatesAtEntry: int32(r.RatesAtEntry),
		ProcessingTimes: rewrite(old.ProcessingTimes, old.ProcessingTimesSeen, r.Times, r.TimesSeen), ProcessingTimesSeen: int32(r.TimesSeen),
		Arrivals: rewrite(old.Arrivals, old.ArrivalsSeen, r.Arrivals, r.ArrivalsSeen), ArrivalsSeen: int32(r.ArrivalsSeen),
		LowerBounds:  writeSamples(r.Bounds),
		MostReplicas: int32(r.MostReplicas), MissedBlocks: int32(r.Missed),
		Looks: capacityv1alpha1.VerdictLooks{
			ServiceRate: int32(r.RateWatch.Looks), ServiceRateVerdict: capacityv1alpha1.RevisionVerdict(r.RateWatch.Verdict),
			ProcessingTime: int32(r.TimeWatch.Looks), ProcessingTimeVerdict: capacityv1alpha1.RevisionVerdict(r.TimeWatch.Verdict),
			Arrivals: int32(r.ArrivalsWatch.Looks), ArrivalsVerdict: capacityv1alpha1.RevisionVerdict(r.ArrivalsWatch.Verdict),
		},
		ProvingSince: StatusTime(r.Proving),
	}
	if r.TimeWatch.Stepped {
		e.Step = capacityv1alpha1.StepAtDeploy
	}
	if r.ArrivalsWatch.Stepped {
		e.ArrivalsStep = capacityv1alpha1.StepAtDeploy
	}
	if r.ArrivalsSeen > 0 {
		e.ArrivalsDriver = r.Driver
	}
	if r.Withdrawn {
		e.Flag = capacityv1alpha1.FlagWithdrawn
	}
	for _, share := range r.Shares {
		e.Shares = append(e.Shares, short(share))
	}
	return e
}

// recallLedger is the inverse of ledgerStatus, but for what was rounded. What makes no sense is left out.
func recallLedger(revisions []capacityv1alpha1.RevisionStatus) revision.Ledger {
	var records []*revision.Record
	for i := range revisions {
		records = append(records, recallRecord(&revisions[i]))
	}
	return revision.Restore(records)
}

func recallRecord(s *capacityv1alpha1.RevisionStatus) *revision.Record {
	r := &revision.Record{
		Key: s.Key, Hash: s.TemplateHash, Change: s.Change, Number: s.Revision,
		Completed: TimeOf(s.CompletedAt),
		Standing:  revision.Standing(s.Standing), Since: TimeOf(s.StandingSince),
		Verdict: revision.Verdict(s.Verdict), Basis: revision.Basis(s.Basis), VerdictAt: TimeOf(s.VerdictAt),
		Highest: readNumber(s.HighestThroughputPerReplica), HighestAt: TimeOf(s.HighestThroughputAt),
		HighestArrival: readNumber(s.HighestArrivalPerSecond),
		RolledBack:     TimeOf(s.RolledBackAt),
	}
	e := s.Evidence
	if e == nil {
		return r
	}
	r.Rates, r.RatesSeen, r.RatesAtEntry = readSamples(e.ServiceRates), int(e.ServiceRatesSeen), int(e.ServiceRatesAtEntry)
	r.Times, r.TimesSeen = readSamples(e.ProcessingTimes), int(e.ProcessingTimesSeen)
	r.Arrivals, r.ArrivalsSeen, r.Driver = readSamples(e.Arrivals), int(e.ArrivalsSeen), e.ArrivalsDriver
	r.Bounds, r.MostReplicas, r.Missed = readSamples(e.LowerBounds), float64(e.MostReplicas), int(e.MissedBlocks)
	r.RateWatch = revision.Watch{Looks: int(e.Looks.ServiceRate), Verdict: revision.Verdict(e.Looks.ServiceRateVerdict)}
	r.TimeWatch = revision.Watch{Looks: int(e.Looks.ProcessingTime), Verdict: revision.Verdict(e.Looks.ProcessingTimeVerdict)}
	r.TimeWatch.Stepped = e.Step == capacityv1alpha1.StepAtDeploy
	r.ArrivalsWatch = revision.Watch{Looks: int(e.Looks.Arrivals), Verdict: revision.Verdict(e.Looks.ArrivalsVerdict), Stepped: e.ArrivalsStep == capacityv1alpha1.StepAtDeploy}
	r.Proving, r.Withdrawn = TimeOf(e.ProvingSince), e.Flag == capacityv1alpha1.FlagWithdrawn
	for _, share := range e.Shares {
		r.Shares = append(r.Shares, readNumber(share))
	}
	return r
}

// rewrite writes samples, of which there were seen in all, unless they are the ones that were written before.
func rewrite(written []string, before int32, samples []revision.Sample, seen int) []string {
	n := len(samples)
	if n > 0 && n == len(written) && int32(seen) == before && written[n-1] == writeSample(samples[n-1]) {
		return written
	}
	return writeSamples(samples)
}

func writeSample(s revision.Sample) string { return short(s.Value) + "@" + short(s.At) }

func writeSamples(samples []revision.Sample) []string {
	var out []string
	for _, s := range samples {
		out = append(out, writeSample(s))
	}
	return out
}

func readSamples(texts []string) []revision.Sample {
	var out []revision.Sample
	for _, text := range texts {
		value, at, _ := strings.Cut(text, "@")
		if s := (revision.Sample{Value: readNumber(value), At: readNumber(at)}); s.Value > 0 {
			out = append(out, s)
		}
	}
	return out
}

// short writes four significant digits, which is more than a block is good for.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// readNumber reads a decimal of status; 0 where it is none.
func readNumber(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// known is a number above 0 for people; empty for 0, which stands for what is not known.
func known(v float64) string {
	if v <= 0 {
		return ""
	}
	if v < 1 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return decimal(&v)
}
