// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import "time"

const (
	// bucketLength is the length of a bucket; 26 hours of them are kept: a day, and what it takes to compare an hour with it.
	bucketLength = 15 * time.Minute
	quarters     = 26 * 4
	// hourly buckets make what is compared. Each has to be counted for wellCounted of its time, and all of them have to have
	// leastHourly messages: fewer rise by a fifth by chance.
	hourly      = 4
	wellCounted = 0.9
	leastHourly = 1000
	// watchedFor is how long after a rollout the day before is one without the revision.
	watchedFor = 24 * time.Hour
)

// day is the arrivals of the last 26 hours, of all queues together. Quarters of an hour are those of the clock.
type day [quarters]bucket

// bucket is a quarter of an hour.
type bucket struct {
	// messages, weighted.
	messages float64
	// number of quarters of an hour since 1970.
	number int32
	// seconds in which they were counted: of each queue, added up.
	seconds float32
}

func numberOf(t time.Time) int32 { return int32(t.Unix() / int64(bucketLength/time.Second)) }

func timeOf(number int32) time.Time {
	return time.Unix(int64(number)*int64(bucketLength/time.Second), 0)
}

func (d *day) of(number int32) *bucket { return &d[((number%quarters)+quarters)%quarters] }

// add counts what arrived at one queue until a time.
func (d *day) add(at time.Time, messages float64, over time.Duration) {
	number := numberOf(at)
	b := d.of(number)
	if b.number != number {
		*b = bucket{number: number}
	}
	b.messages += messages
	b.seconds += float32(over.Seconds())
}

// countDay counts what arrived at queue i between its last two readings.
func (e *Estimator) countDay(i int) {
	recent := e.flows[i].recent(2)
	if from, to := recent[0], recent[len(recent)-1]; from.hasArrived && to.hasArrived {
		e.day.add(to.at, e.settings.Weights[i]*(float64(to.arrived)-float64(from.arrived)), to.at.Sub(from.at))
	}
}

// RestartDay forgets what arrived before, because queues are read from other sources now.
func (e *Estimator) RestartDay() { e.day, e.stay = day{}, stay{} }

// hour is λ of the last whole hour, in quarters, before a quarter; false where one of them is not well counted.
func (d *day) hour(before int32, queues int) (rate float64, known bool) {
	messages := 0.0
	for number := before - hourly; number < before; number++ {
		b := d.of(number)
		seconds := float64(b.seconds) / float64(queues)
		if b.number != number || seconds < wellCounted*bucketLength.Seconds() {
			return 0, false
		}
		messages += b.messages
		rate += b.messages / seconds / hourly
	}
	return rate, messages >= leastHourly
}

// ratio is λ in the hour before a quarter over λ in the same hour of the day before; 0: not known.
func (d *day) ratio(before int32, queues int) float64 {
	now, known := d.hour(before, queues)
	then, alsoKnown := d.hour(before-int32(24*time.Hour/bucketLength), queues)
	if !known || !alsoKnown {
		return 0
	}
	return now / then
}

// stay is since when the target runs its revision, and how arrivals were before.
type stay struct {
	key string
	// left is when the rollout to another one began; zero while none is in progress.
	left time.Time
	// since is when the rollout to it was complete; zero where that is not known, as it was there at first sight.
	since time.Time
	// before is λ over that of the day before, in the hour before the rollout; 0: not known.
	before float64
}

// Step is by which factor λ is another one than at the same hour of the day before. 0: not known.
type Step struct {
	// Before the rollout of the present revision, and After it: in the newest hour.
	Before, After float64
}

// Factor is by how much λ stepped at the deploy, apart from what the day makes of it; 0: not known.
func (s Step) Factor() float64 {
	if s.Before <= 0 || s.After <= 0 {
		return 0
	}
	return s.After / s.Before
}

// Stay says which revision the target runs; empty while a rollout is in progress.
func (e *Estimator) Stay(now time.Time, key string) {
	s := &e.stay
	switch {
	case key == s.key:
		s.left = time.Time{}
	case key == "":
		if s.left.IsZero() {
			s.left = now
		}
	case s.key == "":
		*s = stay{key: key}
	default:
		began := now
		if !s.left.IsZero() {
			began = s.left
		}
		*s = stay{key: key, since: now, before: e.day.ratio(numberOf(began), len(e.flows))}
	}
}

// Step compares the newest hour with the same hour of the day before, from an hour after a rollout until a day after it.
func (e *Estimator) Step(now time.Time) Step {
	s, newest := &e.stay, numberOf(now)
	if s.since.IsZero() || !s.left.IsZero() || now.Sub(s.since) >= watchedFor ||
		timeOf(newest-hourly).Before(s.since) {
		return Step{}
	}
	return Step{Before: s.before, After: e.day.ratio(newest, len(e.flows))}
}
