// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"fmt"
	"math"
	"time"
)

const (
	// calibrationBlocks are saturated blocks that measure a service rate, so that nothing is left to calibrate.
	calibrationBlocks = 6
	// calibrationQuiet is how long it has to be quiet before the rate that is tried is raised by calibrationStep. No rate
	// over calibrationMost times the estimate is tried.
	calibrationQuiet = 10 * time.Minute
	calibrationStep  = 1.05
	calibrationMost  = 1.5
	// quietDrain and abortDrain are shares of the objective's time: a backlog that is gone within the first is quiet, one that
	// is not within the second ends the trial.
	quietDrain, abortDrain = 0.1, 0.5
	// sized is the share of the present replicas that have to be asked for. Scaling down tolerates a tenth, and waits for the
	// highest recommendation of its window.
	sized = 0.8
	// overloadLeast and overloadMost are by how much a trial overloads replicas that do what is estimated. Within blockRoom of
	// that the backlog begins, and a block ends.
	overloadLeast, overloadMost = 1.02, 1.1
	blockRoom                   = 75 * time.Second
	// trialMost is how long a trial lasts: the scale-down window, a block, and the quiet that may come instead. After one that
	// ended with a backlog the next waits for trialsApart, and trialsCost times as long as a backlog stood which the replicas would
	// not work off: that is less than 0.05 % of the time, and blocks of different days have less noise in common.
	trialMost   = 20 * time.Minute
	trialsApart = 20 * time.Hour
	trialsCost  = 2500
)

// What a Calibration is doing.
const (
	// CalibrationWaiting: the rate that is tried stands until it has been quiet for long enough.
	CalibrationWaiting = "Waiting"
	// CalibrationPaused: it is not allowed now, and the estimate stands.
	CalibrationPaused = "Paused"
	// CalibrationRaised: a higher rate is tried from now on.
	CalibrationRaised = "Raised"
	// CalibrationAborted: the backlog grew too long, and the estimate stands.
	CalibrationAborted = "Aborted"
	// CalibrationOver: the rate is measured, or cannot be.
	CalibrationOver = "Over"
)

// CalibrationInput is what is known at one instant.
type CalibrationInput struct {
	// Allowed while the mode is Active, with at least one warm slot, above min, outside rollouts, holds and soaks, with
	// calibrate: Auto, and while no revision's rate was measured by six blocks.
	Allowed bool
	// Rate is the estimate of μ, calibration apart; Saturated is how many saturated blocks it was measured by. With one or more
	// the rate is their median, without any at least the highest rate that was seen.
	Rate      ServiceRate
	Saturated int
	// Utilization is ρ in (0, 1), Seconds T, and Concurrency c of the objective.
	Utilization, Seconds, Concurrency float64
	// Serving are the pods in service, Warm the slots that could be lent.
	Serving, Warm int32
	// Backlog in messages, Work the same in weighted messages. Arrival is λ in weighted messages/s; nil: unknown.
	Backlog, Work float64
	Arrival       *float64
}

// Calibration finds a service rate that no calm day would measure: a fleet that is right-sized for too low a rate is never
// saturated, and so keeps it for ever. While it is quiet and there are as few replicas as the rate asks for, a higher rate
// is tried, 5 % more every 10 min, for as long as that overloads nobody of whom the estimate is true.
//
// From there on it makes short trials. What is known by then is at least within reach: the estimate is the highest rate
// that was seen. From what the estimate asks for, a trial goes in a single step, for scaling down tolerates 10 %, to as many
// replicas as would complete up to 10 % more each. Either that is quiet, and the estimate rises; or a backlog grows slowly and fills a
// saturated block. Then the estimate is measured, the trial is over, and slots work the backlog off. Later trials overload
// the replicas by 2 to 10 % on purpose, one block each, until there are six. One growing backlog would not fill six: at 5 %
// it passes half the objective in 150 s, at 10 % in 75 s.
//
// A trial is over as soon as the backlog would take half the objective to work off with the replicas that its rate asks for
// (for T = 60 s and ρ = 0.8 that is 7.5 s of arrivals), or has stood for longer than a block takes. There is no saturated
// block without 60 s in which the backlog does not shrink, so that at the present capacity it would never be gone; but no
// message of it waits for more than those seconds of arrivals.
//
// The zero value has not begun.
type Calibration struct {
	// Rate is what is tried, in weighted messages/s of one replica; 0: the estimate stands.
	Rate float64
	// Since when it is tried, and Quiet since when it has been quiet with as few replicas as it asks for; zero: it is not.
	Since, Quiet time.Time
	// Trials is true from when on only short ones are made, none of them before NotBefore.
	Trials    bool
	NotBefore time.Time
	// Blocks there were when the rate was first tried.
	Blocks int
	// Reason and Message say what goes on.
	Reason, Message string

	factor float64
	// missed is how long there has been a backlog, since Since, that takes longer than the objective if the estimate is true.
	missed time.Duration
	at     time.Time
	// While it is quiet: the fewest pods in service, the highest λ, and the sum of how many.
	fewest    int32
	peak, sum float64
	seen      int
}

// Factor is what to multiply the estimate by, 1 to 1.5.
func (c Calibration) Factor() float64 { return max(1, c.factor) }

// Next is the calibration from now on.
func (c Calibration) Next(now time.Time, in CalibrationInput) Calibration {
	base := in.Rate.PerReplica
	switch {
	case in.Saturated >= calibrationBlocks:
		return c.rest().because(CalibrationOver, "%d saturated blocks measured %.3g/s per replica", in.Saturated, base)
	case !in.sensible():
		return c.rest().because(CalibrationPaused, "the rates are not known")
	case !in.Allowed:
		if c.Trials && c.Rate > 0 {
			c = c.later(now) // most likely slots are lent: it ended with a backlog
		}
		return c.rest().because(CalibrationPaused, "not now: a rollout, a hold, no warm slot, or no replica above min")
	}
	c = c.on(now, in)
	tried := c.rate(base)
	switch drain := in.drain(tried); {
	case c.Rate > 0 && in.Saturated > c.Blocks:
		c = c.later(now)
		return c.because(CalibrationWaiting, "a saturated block measured %.3g/s per replica", base)
	case c.Rate > 0 && drain > abortDrain*in.Seconds:
		c = c.later(now)
		return c.because(CalibrationAborted, "backlog %.0f would take %s of %.0f s at %.3g/s per replica", in.Backlog, seconds(drain), in.Seconds, tried)
	case c.Rate > 0 && c.missed > blockRoom:
		c = c.later(now)
		return c.because(CalibrationAborted, "backlog %.0f stands at %.3g/s per replica, and makes no block", in.Backlog, tried)
	case c.Trials && c.Rate > 0 && (c.quietFor(now) || now.Sub(c.Since) >= trialMost):
		return c.rest().because(CalibrationWaiting, "a trial of %.3g/s per replica ended without a backlog", tried)
	case c.quietFor(now):
		return c.raised(now, in)
	case c.Reason == CalibrationAborted && c.Quiet.IsZero():
		return c
	}
	return c.because(CalibrationWaiting, "%.3g/s per replica stands until it has been quiet for 10 min, with as few replicas as that asks for", tried)
}

// on notes since when it is quiet, and keeps the rate within its bounds.
func (c Calibration) on(now time.Time, in CalibrationInput) Calibration {
	base := in.Rate.PerReplica
	if in.Saturated > 0 {
		c.Trials = true
	}
	if c.Rate > 0 {
		c.Rate = min(max(c.Rate, base), calibrationMost*base)
	}
	c.factor = c.rate(base) / base
	if c.Rate > 0 && in.drain(base) > in.Seconds {
		c.missed += min(max(now.Sub(c.at), 0), blockRoom)
	}
	c.at = now
	if !in.quiet(c.rate(base)) {
		c.Quiet = time.Time{}
		return c
	}
	if c.Quiet.IsZero() || c.Quiet.After(now) || in.Serving < c.fewest {
		c.Quiet, c.fewest, c.peak, c.sum, c.seen = now, in.Serving, 0, 0, 0
	}
	c.peak, c.sum, c.seen = max(c.peak, *in.Arrival), c.sum+*in.Arrival, c.seen+1
	return c
}

// raised tries a higher rate: 5 % more, or in a trial the one that asks for as few replicas as it wants.
func (c Calibration) raised(now time.Time, in CalibrationInput) Calibration {
	base := in.Rate.PerReplica
	next := c.rate(base) * calibrationStep
	mean := c.sum / float64(c.seen)
	if c.Trials || mean/math.Ceil(mean/(next*in.Utilization)) > calibrationStep*base {
		n := in.overloaded(mean)
		c.Trials = c.Trials || n > 0
		switch {
		case now.Before(c.NotBefore):
			return c.because(CalibrationWaiting, "the next trial is at %s", c.NotBefore.UTC().Format(time.DateTime))
		case n < 1:
			return c.because(CalibrationWaiting, "no number of replicas is overloaded by so little as it may be")
		case n >= sized*float64(in.Serving):
			return c.rest().because(CalibrationWaiting, "no more steps, a trial goes to %.0f replicas from as many as the estimate asks for", n)
		}
		// What is asked for at the highest λ counts for scaling down.
		next = c.peak / (in.Utilization * n)
	}
	if next = min(next, calibrationMost*base); next <= c.rate(base) {
		return c.because(CalibrationWaiting, "%.3g/s per replica is the most that may be tried", next)
	}
	if c.Rate == 0 {
		c.Blocks = in.Saturated
	}
	c.Rate, c.Since, c.Quiet, c.factor, c.missed = next, now, time.Time{}, next/base, 0
	return c.because(CalibrationRaised, "it was quiet for 10 min: %.3g/s per replica is tried, %.0f%% above the estimate", next, 100*(c.factor-1))
}

// later gives up the rate that is tried, makes no more than short trials from now on, and none for some time.
func (c Calibration) later(now time.Time) Calibration {
	c.Trials, c.NotBefore = true, now.Add(max(trialsApart, trialsCost*c.missed))
	return c.rest()
}

// rest gives up the rate that is tried.
func (c Calibration) rest() Calibration {
	c.Rate, c.Since, c.Quiet, c.factor, c.missed = 0, time.Time{}, time.Time{}, 1, 0
	return c
}

func (c Calibration) because(reason, format string, args ...any) Calibration {
	c.Reason, c.Message = reason, fmt.Sprintf(format, args...)
	return c
}

// rate is what is tried, or the estimate.
func (c Calibration) rate(base float64) float64 {
	if c.Rate > 0 {
		return c.Rate
	}
	return base
}

func (c Calibration) quietFor(now time.Time) bool {
	return !c.Quiet.IsZero() && now.Sub(c.Quiet) >= calibrationQuiet
}

// sensible reports whether the numbers are there to divide by.
func (in CalibrationInput) sensible() bool {
	return in.Rate.PerReplica > 0 && !math.IsInf(in.Rate.PerReplica, 0) && in.Arrival != nil && *in.Arrival > 0 && in.Serving > 0 &&
		in.Utilization > 0 && in.Utilization < 1
}

// drain is the predicted drain time in seconds, work / (N·rate − λ).
func (in CalibrationInput) drain(rate float64) float64 {
	spare := float64(in.Serving)*rate - *in.Arrival
	switch {
	case in.Backlog <= float64(in.Serving)*in.Concurrency:
		return 0 // each waiting message is taken as soon as a replica has done one
	case spare <= 0:
		return math.Inf(1)
	}
	return in.Work / spare
}

// quiet: hardly anything waits, although there are as few replicas as the rate asks for.
func (in CalibrationInput) quiet(rate float64) bool {
	calm := in.Backlog <= 2*float64(in.Serving)*in.Concurrency || in.drain(rate) <= quietDrain*in.Seconds
	return calm && in.asked(rate) >= sized*float64(in.Serving)
}

// asked is the number of replicas that a rate asks for.
func (in CalibrationInput) asked(rate float64) float64 {
	return math.Ceil(*in.Arrival / (rate * in.Utilization))
}

// overloaded is the number of replicas for a trial: by the estimate they get a little more than they can do, but so little
// that a block ends before the backlog is too long, and that the warm slots can then work it off within the objective.
// Where the estimate is only a lower bound, it is the fewest of these; else the most, for the shortest backlog. 0: none is.
func (in CalibrationInput) overloaded(arrival float64) float64 {
	needed := arrival / in.Rate.PerReplica
	// arrival is the mean of the last ten minutes. What rises has risen by three times the difference when the trial ends.
	later := (arrival + 3*max(0, *in.Arrival-arrival)) / in.Rate.PerReplica
	// The longest backlog, and the shortest one of a saturated block, in seconds of arrivals.
	longest := abortDrain * in.Seconds * (1/in.Utilization - 1)
	begins := 2 * in.Concurrency / in.Rate.PerReplica
	fits := func(n float64) bool {
		grown := begins + blockRoom.Seconds()*(needed/n-1)
		return grown <= longest && n+float64(in.Warm) >= later*(1+grown/in.Seconds)
	}
	fewest, most := math.Ceil(needed/overloadMost), math.Floor(needed/overloadLeast)
	if in.Saturated > 0 {
		if most >= max(1, fewest) && fits(most) {
			return most
		}
		return 0
	}
	for n := max(1, fewest); n <= min(most, float64(in.Serving)); n++ {
		if fits(n) {
			return n
		}
	}
	return 0
}

// seconds for people.
func seconds(s float64) string {
	if math.IsInf(s, 0) {
		return "for ever"
	}
	return fmt.Sprintf("%.0f", s)
}
