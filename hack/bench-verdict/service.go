// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// opens and closes are the minutes of the busy hours; the night between them is skipped, the noise goes on.
	opens, closes = 11 * 60, 28 * 60
	day           = 24 * 60
	// deploys is the minute of the day at which the revision on watch arrives, settles how long its rollout and its pods'
	// first minutes take.
	deploys, settles = 20 * 60, 10
	// messagesPerSecond of one replica, as long as there are at most crowd replicas; each further one costs all crowding.
	messagesPerSecond = 10
	crowd, crowding   = 30, 0.005
	// least is the smallest fleet; it follows the demand by lag minutes.
	least, lag = 5, 15
)

// service is the plant of the service rates: the incident's day curve, a fleet that follows it a quarter of an hour late and is
// now and then too small for the peak, and the backlog that this makes. A block is evidence while there is a backlog at its
// begin and end and the fleet stays: so evidence comes in clumps around the peaks, some of them short, some days none.
type service struct {
	random  *rand.Rand
	noise   *noise
	change  float64
	minute  int // of the day
	skipped int // minutes since the noise was last drawn
	backlog float64
	load    float64 // of this day, relative to the usual one
	most    float64 // replicas there may be on this day
	fleet   float64
	since   int       // minutes since the fleet changed
	idle    []float64 // throughput per replica in the unsaturated minutes of the last hour; 0 in the others
}

// dayCurve is the incident's: the usual messages/s at each of the busy minutes.
var dayCurve = func() (curve [closes + 1]float64) {
	for minute := opens; minute <= closes; minute++ {
		angle := math.Pi * float64(minute-opens) / (closes - opens)
		curve[minute] = 40 + 360*math.Pow(max(0, math.Sin(angle)), 1.2)
	}
	return curve
}()

// block is one minute: messages/s of one replica.
type block struct {
	rate float64
	// demanded is what arrived in it for one replica: while that is less than the rate, an old backlog is worked off.
	demanded float64
	// saturated is true where it is evidence, unsaturated where it is a lower bound; it may be neither.
	saturated, unsaturated bool
}

func newService(random *rand.Rand, phi float64) *service {
	s := &service{random: random, noise: newNoise(random, phi)}
	s.begin()
	return s
}

// begin begins a day.
func (s *service) begin() {
	s.minute = opens
	s.load = math.Exp(0.1 * s.random.NormFloat64())
	s.most = 32 + float64(s.random.IntN(11))
	s.fleet, s.backlog, s.idle = least, 0, nil
}

// demand in messages/s at a minute of the day.
func (s *service) demand(minute int) float64 { return s.load * dayCurve[minute] }

func (s *service) next() block {
	s.minute++
	s.skipped++
	if s.minute >= closes {
		s.skipped += day - (closes - opens)
		s.begin()
	}
	s.scale()
	rate := messagesPerSecond * (1 + s.change) * (1 - crowding*max(0, s.fleet-crowd)) * s.noise.after(s.skipped)
	s.skipped = 0
	before, arrived := s.backlog, 60*s.demand(s.minute)
	s.backlog = max(0, before+arrived-60*s.fleet*rate)
	b := block{rate: (before + arrived - s.backlog) / 60 / s.fleet, demanded: arrived / 60 / s.fleet}
	idle := 0.0
	if min(before, s.backlog) >= 2*s.fleet {
		// As the estimator does: a saturated block that did less than an unsaturated one contradicts itself.
		b.saturated = s.since > 0 && (len(s.idle) == 0 || b.rate >= 0.9*slices.Max(s.idle))
	} else {
		b.unsaturated, idle = s.since > 0, b.rate
	}
	s.idle = append(s.idle, idle)
	s.idle = s.idle[max(0, len(s.idle)-60):]
	return b
}

// scale follows the demand in steps of 10 % or more, to 80 % utilization.
func (s *service) scale() {
	wanted := min(s.most, max(least, math.Ceil(s.demand(max(opens, s.minute-lag))/messagesPerSecond/0.8)))
	s.since++
	step := math.Abs(wanted/s.fleet-1) > 0.1 || (wanted == s.most && s.fleet < wanted)
	if step && s.since >= 3 {
		s.fleet, s.since = wanted, 0
	}
}

// knownGood goes on until the deploy after the revision has so many saturated blocks, and gives the newest of them, and the
// lower bounds of the last day.
func (s *service) knownGood(blocks int) (saturated []float64, bounds []block) {
	for len(saturated) < blocks || s.minute != deploys {
		b := s.next()
		if s.minute == opens {
			bounds = bounds[:0]
		}
		switch {
		case b.saturated:
			saturated = append(saturated, b.rate)
		case b.unsaturated:
			bounds = append(bounds, b)
		}
	}
	return saturated[len(saturated)-blocks:], bounds
}

// follow gives so many saturated blocks of the revision that follows.
func (s *service) follow(change float64, blocks int) (present []float64) {
	for range settles {
		s.next()
	}
	s.change = change
	for len(present) < blocks {
		if b := s.next(); b.saturated {
			present = append(present, b.rate)
		}
	}
	return present
}

func serviceRates(random *rand.Rand, phi, change float64, known, blocks int) (baseline, present []float64) {
	s := newService(random, phi)
	baseline, _ = s.knownGood(known)
	return baseline, s.follow(change, blocks)
}

// boundedRates has a baseline of 2 saturated blocks, completed to 6 by the highest lower bounds of the day.
func boundedRates(random *rand.Rand, phi, change float64, bound func(block) float64) (baseline, present []float64) {
	s := newService(random, phi)
	baseline, blocks := s.knownGood(2)
	var bounds []float64
	for _, b := range blocks {
		bounds = append(bounds, bound(b))
	}
	slices.Sort(bounds)
	baseline = slices.Concat(bounds[max(0, len(bounds)-4):], baseline)
	return baseline, s.follow(change, watched)
}
