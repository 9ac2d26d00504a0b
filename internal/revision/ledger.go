// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

const (
	// most is how many revisions are kept.
	most = 10
	// provingTime is how long a revision has to do as much as the known-good one ever did to be known-good too.
	provingTime = 10 * time.Minute
	// provingShare of the known-good's highest throughput per replica is as much.
	provingShare = 0.9
	// provisionalFor is how long the objective has to be met without a break until the first revision is known-good, where its
	// service rate is not measured before.
	provisionalFor = time.Hour
	// sameReplicas is by how much, as a share, there may be more replicas than the baseline ever had, for service rates to be
	// compared as they are: where many more share what is downstream, each does less. sameShares is how far the share of a queue in the work may be from the baseline's.
	sameReplicas, sameShares = 0.25, 0.15
	// slowedShare of its former service rate, or less, in slowedBlocks in a row is a known-good revision that slowed down.
	slowedShare, slowedBlocks = 0.8, 6
	// stayedLow blocks after a rollback tell whether the rate recovered.
	stayedLow = 8
)

// Ledger keeps what each revision of one target was seen to do. The zero value knows none. It is not safe for concurrent use.
type Ledger struct {
	// records in the order in which they completed their rollout, the newest last.
	records []*Record
	// present is the key of the revision that the target runs; empty while a rollout is in progress.
	present string
	// away: a rollout from the newest revision to another one began since that was present.
	away bool
}

// Restore is a ledger with the records that were kept elsewhere, in their order.
func Restore(records []*Record) Ledger {
	return Ledger{records: slices.Clone(tail(records, most))}
}

// Records are what is known of each revision, the newest last. They are not to be changed.
func (l *Ledger) Records() []*Record { return l.records }

// Target is what a look saw of the target's revision.
type Target struct {
	// Hash is the pod-template-hash of its template, Change the text of the marked change, if there is one, Number its revision.
	Hash, Change string
	Number       int64
	// Settled: its rollout completed, and none is in progress.
	Settled bool
	// Completed is when that was; zero: now.
	Completed time.Time
	// SoakedHash is the newest revision that soaked, SoakTime how long a marked change has to stay for the same.
	SoakedHash string
	SoakTime   time.Duration
}

// Enter takes in which revision the target runs.
func (l *Ledger) Enter(now time.Time, t Target) {
	if !t.Settled || t.Hash == "" {
		l.present = ""
		l.away = l.away || t.Hash != "" && len(l.records) > 0 && l.records[len(l.records)-1].Hash != t.Hash
		return
	}
	key := KeyOf(t.Hash, t.Change)
	r := l.find(key)
	if r == nil {
		r = &Record{Key: key, Hash: t.Hash, Change: t.Change, Standing: New, Verdict: InsufficientData}
		l.records = append(l.records, r)
	}
	if t.Number > 0 {
		r.Number = t.Number
	}
	if l.present != key {
		l.arrive(r, now, t)
	}
	soaked := t.SoakedHash == t.Hash && (t.Change == "" || now.Sub(r.Completed) >= t.SoakTime)
	if soaked && r.Standing == New && !r.Flagged() {
		r.Standing, r.Since = Soaked, now
		if l.good(nil) == nil {
			r.Standing = Provisional
		}
	}
	l.trim()
}

// arrive begins a stay of a revision, the first or a further one. After a restart the stay goes on, and after a rollout that
// was broken off; but one that was being rolled back, and is back, was put there by somebody.
func (l *Ledger) arrive(r *Record, now time.Time, t Target) {
	putBack := l.away && !r.RolledBack.IsZero()
	l.present, l.away = r.Key, false
	if newest := l.records[len(l.records)-1]; newest == r && !r.Completed.IsZero() && !putBack {
		return
	}
	r.Completed = now
	if !t.Completed.IsZero() && t.Completed.Before(now) && t.Change == "" {
		r.Completed = t.Completed
	}
	r.RatesAtEntry, r.Proving, r.Missed = r.RatesSeen, time.Time{}, 0
	l.records = append(slices.DeleteFunc(l.records, func(o *Record) bool { return o == r }), r)
}

// trim lets go of the oldest records that nobody needs.
func (l *Ledger) trim() {
	good := l.good(nil)
	for len(l.records) > most {
		i := slices.IndexFunc(l.records, func(r *Record) bool { return r != good && r.Key != l.present })
		l.records = slices.Delete(l.records, i, i+1)
	}
}

func (l *Ledger) find(key string) *Record {
	for _, r := range l.records {
		if r.Key == key {
			return r
		}
	}
	return nil
}

// PresentKey is the key of the revision that the target runs; empty while a rollout is in progress.
func (l *Ledger) PresentKey() string { return l.present }

// Present is the revision that the target runs; nil while a rollout is in progress.
func (l *Ledger) Present() *Record {
	if l.present == "" {
		return nil
	}
	return l.find(l.present)
}

// good is the newest to become good, other than one; nil: none is.
func (l *Ledger) good(other *Record) *Record {
	var newest *Record
	for _, r := range l.records {
		if r != other && r.Good() && !r.Flagged() && (newest == nil || r.Since.After(newest.Since)) {
			newest = r
		}
	}
	return newest
}

// KnownGood is the baseline and the rollback target: the newest revision that proved itself; provisionally the first. nil:
// there is none.
func (l *Ledger) KnownGood() *Record { return l.good(nil) }

// Baseline is what the present revision is compared with; nil where it is known-good itself, or there is nothing to compare with.
func (l *Ledger) Baseline() *Record {
	r := l.Present()
	if r == nil || r.Good() {
		return nil
	}
	return l.good(r)
}

// Flagged are the pod-template-hashes of revisions that something is wrong with.
func (l *Ledger) Flagged() []string {
	var out []string
	for _, r := range l.records {
		if r.Flagged() && r.Change == "" {
			out = append(out, r.Hash)
		}
	}
	return out
}

// Saturated is how many blocks measured the service rates of revisions that nothing is wrong with.
func (l *Ledger) Saturated() int {
	blocks := 0
	for _, r := range l.records {
		if !r.Flagged() {
			blocks += r.RatesSeen
		}
	}
	return blocks
}

// Rate is the service rate of the present revision to decide by: measured; else what the known-good, or the newest that was
// measured, did; else the prior, 0 for none. A throughput that was seen to be higher is at least what it can do.
func (l *Ledger) Rate(prior float64) capacity.ServiceRate {
	r := l.Present()
	if r == nil && len(l.records) > 0 {
		r = l.records[len(l.records)-1] // a rollout is in progress
	}
	if r == nil {
		return given(prior)
	}
	bound := medianOf(r.Bounds[:min(1, len(r.Bounds))])
	if rate := r.Rate(); rate > 0 {
		if len(r.measured) < leastBaseline {
			rate = max(rate, bound) // few blocks have too much noise to deny what was seen
		}
		return capacity.ServiceRate{PerReplica: rate, Known: capacity.Measured}
	}
	rate := given(prior)
	if inherited := l.inherited(); inherited > 0 {
		rate = given(inherited)
	}
	if bound > rate.PerReplica {
		return capacity.ServiceRate{PerReplica: bound, Known: capacity.AtLeast}
	}
	return rate
}

func given(rate float64) capacity.ServiceRate {
	if rate <= 0 {
		return capacity.ServiceRate{}
	}
	return capacity.ServiceRate{PerReplica: rate, Known: capacity.Given}
}

// inherited is the measured rate of the known-good revision, or of the newest that was measured; 0: none was.
func (l *Ledger) inherited() float64 {
	if good := l.KnownGood(); good != nil && good.Rate() > 0 {
		return good.Rate()
	}
	for _, r := range slices.Backward(l.records) {
		if rate := r.Rate(); rate > 0 {
			return rate
		}
	}
	return 0
}

// RateOf is the service rate of the revision with a pod-template-hash; otherwise where that was never measured.
func (l *Ledger) RateOf(hash string, otherwise float64) float64 {
	for _, r := range slices.Backward(l.records) {
		if r.Hash == hash && r.Rate() > 0 {
			return r.Rate()
		}
	}
	return otherwise
}

// DeployedAgain reports whether it came back after it was rolled back automatically.
func (r *Record) DeployedAgain() bool {
	return !r.RolledBack.IsZero() && r.Completed.After(r.RolledBack)
}

// MarkRolledBack notes that the revision with this hash was rolled back automatically.
func (l *Ledger) MarkRolledBack(hash string, now time.Time) {
	for _, r := range l.records {
		if r.Hash == hash && r.Change == "" {
			r.RolledBack = now
		}
	}
}
