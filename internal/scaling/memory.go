// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"slices"
	"time"
)

// Memory is what Decide carries from one call to the next. The zero value remembers nothing. It is never changed in
// place, so a copy stays valid. Bounded: three windows and one list of steps of at most maxEntries entries of 16 bytes, and
// some 700 bytes besides.
type Memory struct {
	// since is the time of the first decision, last of the newest one, with its monotonic part. Zero before the first.
	since, last time.Time
	// desired is the last decision, if there was one.
	desired int32
	decided bool
	// recommended is the last recommendation.
	recommended int32
	// replicas of the target as last seen.
	replicas int32
	seen     bool
	// down and up are recommendations: the highest and the lowest of a while count.
	down, up window
	// slots are the levels of lending that were needed.
	slots window
	// steps are changes of the target's replicas, by whomever.
	steps []step
	// verification tells whether steps brought what they should.
	verification Verification
	// growth is the doubling while the service rate is not known.
	growth growth
	// noDataSince is since when no queue could be read, missedSince since when the objective is missed; zero: not so.
	noDataSince, missedSince time.Time
	// blockedSince is since when the rollout's assessment permits no scale-up; zero: it does.
	blockedSince time.Time
}

// step is a change of the target's replicas that was seen.
type step struct {
	at             int64 // ms since 1970
	added, removed int32
}

// growth is the last doubling: to how many, and when.
type growth struct {
	to int32
	at time.Time
}

// advance brings m to now: a clock that jumped leaves every age as it was, and what changed since is noted.
func (m Memory) advance(clock time.Time, p Policy, o Observation) Memory {
	now := clock.Round(0)
	if m.last.IsZero() {
		m.since, m.last = now, clock
		m.slots = m.slots.push(now, o.Pool.Lent, returnAfter(o), highest)
	}
	if jump := jumped(m.last, clock); jump.Abs() > 100*time.Millisecond {
		m = m.shifted(jump)
	}
	m.last = clock
	m.verification = m.verification.of(now, o.Rollout.Hash)
	if o.Block != nil {
		m.verification = m.verification.observed(now, *o.Block)
	}
	if o.Target.Found {
		if m.seen && m.replicas != o.Target.Replicas {
			m.steps = noteStep(m.steps, now, o.Target.Replicas-m.replicas, longestPeriod(p.Behavior))
			m.verification = m.verification.stepped(now, m.replicas, o.Target.Replicas, m.recommended, o.Target.startUp())
			// Either our decision arrived, or somebody else's number is adopted.
			m.desired = o.Target.Replicas
		}
		m.replicas, m.seen = o.Target.Replicas, true
	}
	m.noDataSince = since(m.noDataSince, now, len(o.Queues) > 0 && !slices.ContainsFunc(o.Queues, func(q Queue) bool { return q.Fresh }))
	m.blockedSince = since(m.blockedSince, now, o.Target.Found && !o.Rollout.MayScaleUp)
	return m
}

// Verification is what is known of the effect of scaling.
func (m Memory) Verification() Verification { return m.verification }

// jumped is by how much the wall clock moved beyond the time that passed. Where the times have no monotonic part that is
// not known: time that seems to pass does, and time never goes back.
func jumped(before, now time.Time) time.Duration {
	return now.Round(0).Sub(before.Round(0)) - max(now.Sub(before), 0)
}

// remember notes what was decided.
func (m Memory) remember(in input, desired *int32, objective Finding) Memory {
	if desired != nil {
		m.desired, m.decided = *desired, true
	}
	m.recommended = in.recommended
	m.missedSince = since(m.missedSince, in.now, objective.Status == no)
	return m
}

// since is when something that is true now became true: before, if it was true already.
func since(before, now time.Time, isTrue bool) time.Time {
	switch {
	case !isTrue:
		return time.Time{}
	case before.IsZero():
		return now
	default:
		return before
	}
}

// shifted moves every time in m by d.
func (m Memory) shifted(d time.Duration) Memory {
	for _, t := range []*time.Time{&m.since, &m.growth.at, &m.noDataSince, &m.missedSince, &m.blockedSince} {
		if !t.IsZero() {
			*t = t.Add(d)
		}
	}
	m.verification = m.verification.shifted(d)
	m.down, m.up, m.slots = m.down.shifted(d), m.up.shifted(d), m.slots.shifted(d)
	m.steps = slices.Clone(m.steps)
	for i := range m.steps {
		m.steps[i].at += d.Milliseconds()
	}
	return m
}

// noteStep adds a change, and forgets those older than the longest period that any policy looks back. Changes within
// 1/60 of that period count as one, at the time of the later.
func noteStep(steps []step, now time.Time, change int32, period time.Duration) []step {
	if period <= 0 {
		return nil
	}
	at, grain := now.UnixMilli(), max(period.Milliseconds()/60, 1)
	steps = slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return s.at <= at-period.Milliseconds() })
	if n := len(steps); n == 0 || (n < maxEntries && steps[n-1].at/grain != at/grain) {
		steps = append(steps, step{})
	}
	s := &steps[len(steps)-1]
	s.at = at
	s.added = clip(int64(s.added) + int64(max(change, 0)))
	s.removed = clip(int64(s.removed) + int64(max(-change, 0)))
	return steps
}
