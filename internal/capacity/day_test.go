// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// watch plays hours of a queue that is read every 10 s, λ being so much at each time.
func (p *plant) watch(from time.Time, hours float64, rate func(time.Time) float64) time.Time {
	for range int(hours * 360) {
		from = from.Add(10 * time.Second)
		p.arriveDebt += 10 * rate(from)
		in := int64(p.arriveDebt)
		p.arriveDebt -= float64(in)
		p.arrived, p.completed = p.arrived+in, p.completed+in
		p.e.Observe(0, reading(from, 0, p.arrived, p.completed))
	}
	return from
}

// daily is λ that goes with the time of the day.
func daily(at time.Time) float64 {
	return 40 + 30*math.Sin(2*math.Pi*float64(at.Unix()%86400)/86400)
}

// deployed plays a day and a half, a rollout of 5 minutes at a time that is no quarter of an hour, and what comes after it.
func deployed(t *testing.T, after func(time.Time) float64) (*plant, time.Time) {
	t.Helper()
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.e.Stay(start, "a")
	now := p.watch(start, 36, daily)
	if step := p.e.Step(now); step != (Step{}) {
		t.Errorf("nothing was deployed, and there is %+v", step)
	}
	p.e.Stay(now, "")
	now = p.watch(now, 1./12, after)
	p.e.Stay(now, "b")
	return p, now
}

func TestAStepAtTheDeploy(t *testing.T) {
	for factor, name := range map[float64]string{1: "the same as the day before", 1.35: "more", 0.5: "less"} {
		p, now := deployed(t, func(at time.Time) float64 { return factor * daily(at) })
		rate := func(at time.Time) float64 { return factor * daily(at) }
		if now = p.watch(now, 0.9, rate); p.e.Step(now) != (Step{}) {
			t.Errorf("%s: %+v before there was an hour of it", name, p.e.Step(now))
		}
		now = p.watch(now, 0.5, rate)
		for range 22 {
			if got := p.e.Step(now).Factor(); math.Abs(got-factor) > 0.01 {
				t.Errorf("%s: a step of %.3f, want %.2f", name, got, factor)
			}
			now = p.watch(now, 1, rate)
		}
		if now = p.watch(now, 1, rate); p.e.Step(now) != (Step{}) {
			t.Errorf("%s: %+v a day after the deploy, when the day before had it too", name, p.e.Step(now))
		}
	}
}

// A day with more of everything is no step: it was more before the rollout, too.
func TestABusyDayIsNoStep(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.e.Stay(start, "a")
	busy := start.Add(30 * time.Hour)
	rate := func(at time.Time) float64 {
		if at.After(busy) {
			return 1.5 * daily(at)
		}
		return daily(at)
	}
	now := p.watch(start, 36, rate)
	p.e.Stay(now, "b")
	now = p.watch(now, 1.5, rate)
	if got := p.e.Step(now); math.Abs(got.Factor()-1) > 0.01 || math.Abs(got.After-1.5) > 0.01 {
		t.Errorf("%+v", got)
	}
}

func TestWhereAStepIsNotKnown(t *testing.T) {
	few := func(time.Time) float64 { return 0.2 }
	for _, c := range []struct {
		name string
		play func() (*plant, time.Time)
	}{
		{"watched for less than a day", func() (*plant, time.Time) {
			p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
			p.e.Stay(start, "a")
			now := p.watch(start, 20, daily)
			p.e.Stay(now, "b")
			return p, p.watch(now, 2, daily)
		}},
		{"few messages", func() (*plant, time.Time) {
			p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
			p.e.Stay(start, "a")
			now := p.watch(start, 36, few)
			p.e.Stay(now, "b")
			return p, p.watch(now, 2, few)
		}},
		{"a quarter of an hour without readings", func() (*plant, time.Time) {
			p, now := deployed(t, daily)
			now = p.watch(now, 1, daily)
			return p, p.watch(now.Add(5*time.Minute), 0.5, daily)
		}},
		{"a rollout is in progress", func() (*plant, time.Time) {
			p, now := deployed(t, daily)
			now = p.watch(now, 2, daily)
			p.e.Stay(now, "")
			return p, now
		}},
		{"the queue is another one", func() (*plant, time.Time) {
			p, now := deployed(t, daily)
			now = p.watch(now, 2, daily)
			p.e.RestartDay()
			return p, now
		}},
	} {
		p, now := c.play()
		if got := p.e.Step(now).Factor(); got != 0 {
			t.Errorf("%s: a step of %.3f", c.name, got)
		}
	}
}

// A rollout that is broken off changes nothing: the revision that was there before is still compared from its own deploy on.
func TestARolloutThatIsBrokenOffIsNoDeploy(t *testing.T) {
	p, now := deployed(t, daily)
	now = p.watch(now, 2, daily)
	before := p.e.Step(now)
	p.e.Stay(now, "")
	p.e.Stay(now.Add(time.Second), "b")
	if got := p.e.Step(now.Add(time.Second)); got != before || got.Factor() == 0 {
		t.Errorf("%+v, and before %+v", got, before)
	}
}

// At any times, a clock that jumps included: a step is 0, or a finite number.
func TestAStepIsNeverAbsurd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
		now := start
		for range rapid.IntRange(1, 12).Draw(t, "spells") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(40*time.Hour), int64(40*time.Hour)).Draw(t, "jump")))
			p.e.Stay(now, rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key"))
			rate := rapid.Float64Range(0, 1e6).Draw(t, "rate")
			now = p.watch(now, rapid.Float64Range(0, 8).Draw(t, "hours"), func(time.Time) float64 { return rate })
			if f := p.e.Step(now).Factor(); f < 0 || math.IsInf(f, 0) || math.IsNaN(f) {
				t.Fatalf("a step of %v", f)
			}
		}
	})
}
