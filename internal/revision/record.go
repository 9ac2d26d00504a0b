// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"time"
)

// Standing is what a revision has proved.
type Standing string

const (
	// New: it has not soaked.
	New Standing = "New"
	// Soaked: it completed its rollout and stayed for the soak time.
	Soaked Standing = "Soaked"
	// Provisional: it is the baseline because there is no other. Nothing is rolled back to it automatically.
	Provisional Standing = "Provisional"
	// KnownGood: it also proved itself under load. Baseline and rollback target.
	KnownGood Standing = "KnownGood"
)

// Basis is the kind of evidence that a verdict stands on.
type Basis string

const (
	// ServiceRate is what one replica completes while it always has work.
	ServiceRate Basis = "ServiceRate"
	// ProcessingTime is how long one message takes while there is no backlog.
	ProcessingTime Basis = "ProcessingTime"
	// Arrivals is how many messages arrive for each unit of user work; without a driver, how much more than before the deploy.
	Arrivals Basis = "Arrivals"
)

const (
	// keptMeasured are the saturated blocks over which the service rate is the median.
	keptMeasured = 9
	// keptBounds are the highest unsaturated throughputs that are kept.
	keptBounds = leastBaseline
	// highestFor is how long a highest throughput counts: what was possible a week ago may not be today.
	highestFor = 7 * 24 * time.Hour
)

// Sample is a block's value, and what it was measured at.
type Sample struct {
	// Value is messages/s of one replica, seconds for one message, or messages per unit of the driver.
	Value float64
	// At is the number of replicas in service for a rate; messages/s of one replica for a time; units/s for arrivals.
	At float64
}

// Record is what one revision was seen to do.
type Record struct {
	// Key identifies it, see KeyOf. Hash is its pod-template-hash, Change the text of a change without a new template.
	Key, Hash, Change string
	// Number is what `kubectl rollout history` showed last; 0 if that is not known.
	Number int64
	// Completed is when its rollout completed, the last time.
	Completed time.Time

	Standing Standing
	// Since is when it came to that standing.
	Since time.Time
	// Proving is since when it does as much per replica as the known-good ever did, with the objective met; zero: it does not.
	Proving time.Time

	// Verdict on it, against the known-good revision of that time, and the evidence it stands on.
	Verdict   Verdict
	Basis     Basis
	VerdictAt time.Time
	// RateWatch, TimeWatch and ArrivalsWatch are the looks at each kind of evidence.
	RateWatch, TimeWatch, ArrivalsWatch Watch
	// RolledBack is when it was rolled back automatically. That is done once.
	RolledBack time.Time
	// Withdrawn: after a rollback the rate stayed low, so that it was not this revision.
	Withdrawn bool

	// Missed is how many blocks of its present stay ended with the objective missed.
	Missed int

	// Rates are messages/s of one replica over the newest usable saturated blocks, RatesSeen how many there were in all and
	// RatesAtEntry how many when its present stay began.
	Rates                   []Sample
	RatesSeen, RatesAtEntry int
	// Times are seconds for one message over the newest usable unsaturated blocks, TimesSeen how many there were in all.
	Times     []Sample
	TimesSeen int
	// Arrivals are messages per unit of the driver over the newest usable blocks, ArrivalsSeen how many there were in all.
	// Driver identifies the driver that they were measured with.
	Arrivals     []Sample
	ArrivalsSeen int
	Driver       string
	// Bounds are the highest unsaturated throughputs of one replica, messages/s: lower bounds of its service rate.
	Bounds []Sample
	// Highest is the most that one replica completed, messages/s, within the last 7 days, and HighestAt when.
	Highest   float64
	HighestAt time.Time
	// HighestArrival is the highest arrival rate, weighted messages/s, that it served with the objective met.
	HighestArrival float64
	// MostReplicas is the largest number of replicas in service that it was seen with.
	MostReplicas float64
	// Shares of the queues in the work that it completed.
	Shares []float64

	// stepped: without a driver, λ rose at the deploy.
	stepped bool
	// against is the key of the baseline that it was compared with; empty before the first time, and after a restart.
	against string
	// measured are the rates of the newest saturated blocks, usable as evidence or not: the service rate to decide by.
	measured []float64
}

// KeyOf identifies a revision: its pod-template-hash, and a digest of the marked change, if it is one.
func KeyOf(hash, change string) string {
	if change == "" || hash == "" {
		return hash
	}
	sum := sha256.Sum256([]byte(change))
	return hash + "+" + hex.EncodeToString(sum[:5])
}

// Good reports whether it is a baseline for others.
func (r *Record) Good() bool {
	return r.Standing == KnownGood || r.Standing == Provisional
}

// Flagged reports whether something is wrong with it. Nothing runs it then beside the target itself.
func (r *Record) Flagged() bool {
	return !r.Withdrawn && (r.Verdict == Regressed || r.Verdict == Suspected)
}

// Rate is its service rate, weighted messages/s: the median of its newest saturated blocks; 0 where there was none.
func (r *Record) Rate() float64 {
	if len(r.measured) > 0 {
		return median(r.measured)
	}
	return medianOf(tail(r.Rates, keptMeasured))
}

// Time is how long one message takes it, in seconds: the median of its newest unsaturated blocks; 0 where that is not known.
func (r *Record) Time() float64 { return medianOf(tail(r.Times, keptMeasured)) }

// PerUnit is how many messages arrive for each unit of the driver: the median of its newest blocks; 0 where that is not known.
func (r *Record) PerUnit() float64 { return medianOf(tail(r.Arrivals, keptMeasured)) }

// baseline is the service rates that others are compared with. Where there are too few, its highest unsaturated throughputs
// complete them: those are lower bounds, and so make the test more conservative.
func (r *Record) baseline() []float64 {
	out := values(r.Rates)
	if missing := leastBaseline - len(out); missing > 0 {
		out = append(values(r.Bounds[:min(missing, len(r.Bounds))]), out...)
	}
	return out
}

// notes the throughput of one replica at a time.
func (r *Record) noteThroughput(perReplica float64, at time.Time) {
	if perReplica >= r.Highest || at.Sub(r.HighestAt) > highestFor {
		r.Highest, r.HighestAt = perReplica, at
	}
}

func (r *Record) noteBound(s Sample) {
	r.Bounds = append(slices.Clone(r.Bounds), s)
	slices.SortStableFunc(r.Bounds, func(a, b Sample) int { return cmp.Compare(b.Value, a.Value) })
	r.Bounds = r.Bounds[:min(len(r.Bounds), keptBounds)]
}

// noteShares follows the shares of the queues slowly, so that a block is compared with what is usual.
func (r *Record) noteShares(shares []float64) {
	if len(r.Shares) != len(shares) {
		r.Shares = slices.Clone(shares)
		return
	}
	const weight = 0.1
	for i := range shares {
		r.Shares[i] += weight * (shares[i] - r.Shares[i])
	}
}

// furthestShare is by how much the share of a queue differs at most, in [0, 1].
func furthestShare(a, b []float64) float64 {
	if len(a) != len(b) {
		return 0
	}
	furthest := 0.0
	for i := range a {
		furthest = max(furthest, math.Abs(a[i]-b[i]))
	}
	return furthest
}

func values(samples []Sample) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = s.Value
	}
	return out
}

func medianOf(samples []Sample) float64 {
	if len(samples) == 0 {
		return 0
	}
	return median(values(samples))
}

// tail is the last n of a slice, or all.
func tail[T any](s []T, n int) []T { return s[max(0, len(s)-n):] }

// kept appends and keeps the newest n.
func kept[T any](s []T, v T, n int) []T {
	s = append(s, v)
	if len(s) > n {
		s = slices.Delete(s, 0, len(s)-n)
	}
	return s
}
