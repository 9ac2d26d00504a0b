// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

var midnight = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

// day is a fleet that scales itself: arrivals at random, a queue in order, pods that need 180 s until available, and three
// slots. What decides is what ships; only the ledger is the median of the saturated blocks.
type day struct {
	random *rand.Rand
	now    time.Time
	arrive func(second int) float64
	mu     float64 // what a pod completes
	prior  float64
	policy scaling.Policy
	off    bool // no calibration

	estimator   *capacity.Estimator
	calibration capacity.Calibration
	memory      scaling.Memory
	measured    []float64
	atLeast     float64

	waiting            []int64 // messages of each second, the oldest first
	oldest             int     // second that waiting begins with
	depth              int64
	arrived, completed int64
	debt               float64
	replicas           int32
	pods               []int // second from which each is available
	lent               int32
	slots              []int // second from which each is warm, if it is not lent

	beyond     int // seconds in which the backlog would not be worked off within the objective, at the true rate
	missed     int // the same by status
	oldestEver int // age in seconds
	podSeconds int
}

func newDay(seed uint64, mu, prior float64, arrive func(int) float64) *day {
	d := &day{random: rand.New(rand.NewPCG(seed, 1)), now: midnight, arrive: arrive, mu: mu, prior: prior, estimator: capacity.NewEstimator()}
	d.policy = scaling.Policy{Min: 2, Max: 100, Behavior: scaling.DefaultBehavior(), Rollout: scaling.RolloutPolicy{Mode: scaling.Hold, HoldTimeout: 600 * time.Second},
		Drain: &scaling.Drain{Seconds: 60, Utilization: 0.8, Concurrency: 1, Prior: prior}}
	d.estimator.Configure(capacity.Settings{Weights: []float64{1}, Concurrency: 1})
	d.replicas = int32(math.Ceil(arrive(0) / (prior * 0.8)))
	d.pods, d.slots = make([]int, d.replicas), make([]int, 3)
	return d
}

func (d *day) available(second int) (n int32) {
	for _, at := range d.pods {
		if at <= second {
			n++
		}
	}
	return n
}

func (d *day) warm(second int) (n int32) {
	for _, at := range d.slots[d.lent:] {
		if at <= second {
			n++
		}
	}
	return n
}

func (d *day) poisson(mean float64) int64 {
	return int64(max(0, math.Round(mean+math.Sqrt(mean)*d.random.NormFloat64())))
}

// work plays one second of the queue.
func (d *day) work(second int) {
	in := d.poisson(d.arrive(second))
	d.waiting, d.arrived, d.depth = append(d.waiting, in), d.arrived+in, d.depth+in
	able := d.debt + float64(d.available(second)+d.lent)*d.mu*(1+0.02*d.random.NormFloat64())
	out := min(int64(able), d.depth)
	d.debt = min(able-float64(out), 1)
	d.completed, d.depth = d.completed+out, d.depth-out
	for len(d.waiting) > 0 && d.waiting[0] <= out {
		out -= d.waiting[0]
		d.waiting, d.oldest = d.waiting[1:], d.oldest+1
	}
	if out > 0 {
		d.waiting[0] -= out
	}
}

func (d *day) learn(second int) scaling.ServiceRate {
	serving := d.available(second) + d.lent
	d.estimator.Serve(d.now, capacity.Serving{Replicas: serving, Revision: "6", Disturbed: d.available(second) < d.replicas})
	d.estimator.Observe(0, queue.Reading{Time: d.now, Depth: d.depth, InFlight: new(min(d.depth, int64(serving))),
		ArrivedTotal: new(d.arrived), CompletedTotal: new(d.completed)})
	for _, b := range d.estimator.Blocks() {
		if b.Saturated {
			d.measured = append(d.measured, b.Rate)
		} else {
			d.atLeast = max(d.atLeast, b.Rate)
		}
	}
	switch {
	case len(d.measured) > 0:
		recent := slices.Sorted(slices.Values(d.measured[max(0, len(d.measured)-9):]))
		return scaling.ServiceRate{PerReplica: (recent[(len(recent)-1)/2] + recent[len(recent)/2]) / 2, Known: capacity.Measured}
	case d.atLeast > d.prior:
		return scaling.ServiceRate{PerReplica: d.atLeast, Known: capacity.AtLeast}
	}
	return scaling.ServiceRate{PerReplica: d.prior, Known: capacity.Given}
}

// second plays one second: work, learn, calibrate, decide, act.
func (d *day) second(second int) {
	d.now = d.now.Add(time.Second)
	d.work(second)
	rate := d.learn(second)
	estimate := d.estimator.Queue(0, 0)
	serving := d.available(second) + d.lent
	settled := d.available(second) == d.replicas
	d.calibration = d.calibration.Next(d.now, capacity.CalibrationInput{
		Allowed: !d.off && d.warm(second) > 0 && d.replicas > d.policy.Min, Rate: rate, Saturated: len(d.measured),
		Utilization: 0.8, Seconds: 60, Concurrency: 1, Serving: serving, Warm: d.warm(second), Backlog: float64(d.depth), Work: float64(d.depth), Arrival: estimate.Arrival})
	rate.PerReplica *= d.calibration.Factor()
	state := "Stable"
	if !settled {
		state = "Scaling"
	}
	plan, memory := scaling.Decide(d.now, d.policy, scaling.Observation{
		Name: "availability", Rate: rate,
		Target:  scaling.Target{Found: true, Replicas: d.replicas, Available: d.available(second), StartUp: 180 * time.Second, SettledOnce: true},
		Rollout: scaling.Rollout{State: state, MayScaleUp: true, MayScaleDown: settled, MayLend: true},
		Pool:    scaling.Pool{Warm: d.warm(second), Lent: d.lent, StartUp: 180 * time.Second},
		Queues: []scaling.Queue{{Name: "status-changes", Weight: 1, Fresh: true, Depth: d.depth, InFlight: new(int64(0)),
			Arrival: estimate.Arrival, Throughput: estimate.Throughput}}}, d.memory)
	d.memory = memory
	d.note(second, serving, plan)
	d.act(second, plan)
}

func (d *day) act(second int, plan scaling.Plan) {
	for ; d.lent > plan.Lent; d.lent-- {
		d.slots[d.lent-1] = second + 180
	}
	d.lent = min(plan.Lent, 3)
	if plan.Replicas == nil || *plan.Replicas == d.replicas {
		return
	}
	d.replicas = *plan.Replicas
	for int32(len(d.pods)) < d.replicas {
		d.pods = append(d.pods, second+180)
	}
	d.pods = d.pods[:d.replicas]
}

func (d *day) note(second int, serving int32, plan scaling.Plan) {
	d.podSeconds += int(d.replicas) + 3
	if d.depth > 0 {
		d.oldestEver = max(d.oldestEver, second-d.oldest)
	}
	if plan.ObjectiveMet.Status == "False" {
		d.missed++
	}
	if spare := float64(serving)*d.mu - d.arrive(second); d.depth > int64(serving) && (spare <= 0 || float64(d.depth)/spare > 60) {
		d.beyond++
	}
}

func (d *day) run(seconds int) *day {
	for i := range seconds {
		d.second(i)
	}
	return d
}

func flat(rate float64) func(int) float64 { return func(int) float64 { return rate } }

// daily swings by a share around a rate once a day.
func daily(rate, share float64) func(int) float64 {
	return func(second int) float64 { return rate * (1 + share*math.Sin(2*math.Pi*float64(second)/86400)) }
}

// incident is the curve of a day at full height.
func incident(second int) float64 {
	return 40 + 360*math.Pow(max(0, math.Sin(math.Pi*(float64(second)/3600-2)/17)), 1.2)
}

// From a prior 20 % too low, a day brings the estimate to within 4 % of the true rate. No message waits for more than a
// tenth of the objective, and a backlog stands for less than 0.2 % of the day. Where the prior is 20 % too high, there are too few
// replicas to begin with; once that is measured, the missing ones are cold, and the backlog stands until they are warm.
func TestCalibrationFindsTheTrueRateInADay(t *testing.T) {
	for _, c := range []struct {
		name   string
		seed   uint64
		prior  float64
		arrive func(int) float64
		pods   float64 // of those without calibration
		// age of the oldest message, and time beyond the objective more than without calibration, really and by status, in seconds.
		age, beyond, missed int
	}{
		{"even", 1, 8, flat(200), 0.9, 6, 172, 12},
		{"even, other arrivals", 2, 8, flat(200), 0.9, 6, 172, 12},
		{"a day and a night", 1, 8, daily(200, 0.2), 0.9, 6, 172, 12},
		{"the incident's day", 1, 8, incident, 0.9, 6, 172, 12},
		{"the prior is right", 1, 10, daily(200, 0.2), 1.02, 6, 172, 12},
		{"the prior is too high", 1, 12, daily(200, 0.2), 1.2, 10, 260, 180 + 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDay(c.seed, 10, c.prior, c.arrive).run(86400)
			off := newDay(c.seed, 10, c.prior, c.arrive)
			off.off = true
			off.run(86400)
			pods, rate := float64(d.podSeconds)/float64(off.podSeconds), d.learn(86400)
			t.Logf("%.2f/s (%s by %d blocks), pods %.3f, oldest message %d s, %d s beyond the objective (%d s by status); off: %d s (%d s)",
				rate.PerReplica, rate.Known, len(d.measured), pods, d.oldestEver, d.beyond, d.missed, off.beyond, off.missed)
			if math.Abs(rate.PerReplica-10) > 0.4 {
				t.Errorf("%+v after a day, want 10", rate)
			}
			if d.oldestEver > c.age || d.beyond-off.beyond > c.beyond || d.missed-off.missed > c.missed || pods > c.pods {
				t.Errorf("oldest message %d s, %d s beyond the objective, %d s by status, pods %.3f", d.oldestEver, d.beyond-off.beyond, d.missed-off.missed, pods)
			}
		})
	}
}

// Six trials give six blocks, and then it is over. The hours between trials are left out.
func TestSixSaturatedBlocksEndCalibration(t *testing.T) {
	d := newDay(1, 10, 8, flat(200))
	seconds := 0
	for ; d.calibration.Reason != capacity.CalibrationOver; seconds++ {
		if seconds > 86400 {
			t.Fatalf("%d blocks after a day of trials; %s: %s", len(d.measured), d.calibration.Reason, d.calibration.Message)
		}
		d.second(seconds)
		d.calibration.NotBefore = time.Time{}
	}
	rate := d.learn(seconds)
	t.Logf("over after %.1f h, without those between trials: %.2f/s, oldest message %d s, %d s beyond the objective", float64(seconds)/3600, rate.PerReplica, d.oldestEver, d.beyond)
	if len(d.measured) != 6 || math.Abs(rate.PerReplica-10) > 0.2 || rate.Known != capacity.Measured || d.calibration.Factor() != 1 || d.oldestEver > 6 {
		t.Errorf("%+v by %d blocks, factor %v, oldest message %d s", rate, len(d.measured), d.calibration.Factor(), d.oldestEver)
	}
}

// calmInput is a fleet of 25 at its target, whose rate is taken for 8.
func calmInput() capacity.CalibrationInput {
	return capacity.CalibrationInput{Allowed: true, Rate: capacity.ServiceRate{PerReplica: 8, Known: capacity.Given}, Utilization: 0.8,
		Seconds: 60, Concurrency: 1, Serving: 32, Warm: 3, Arrival: new(200.0)}
}

// after plays seconds of the same.
func after(c capacity.Calibration, from, seconds int, in capacity.CalibrationInput) capacity.Calibration {
	for i := range seconds {
		c = c.Next(midnight.Add(time.Duration(from+i)*time.Second), in)
	}
	return c
}

func TestWhenCalibrationRaises(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds int
		change  func(*capacity.CalibrationInput)
		factor  float64
		reason  string
	}{
		{"quiet for less than ten minutes", 600, func(*capacity.CalibrationInput) {}, 1, capacity.CalibrationWaiting},
		{"quiet for ten minutes", 602, func(*capacity.CalibrationInput) {}, 1.05, capacity.CalibrationWaiting},
		{"for twenty", 1203, func(*capacity.CalibrationInput) {}, 1.1025, capacity.CalibrationWaiting},
		{"not allowed", 3600, func(in *capacity.CalibrationInput) { in.Allowed = false }, 1, capacity.CalibrationPaused},
		{"λ unknown", 3600, func(in *capacity.CalibrationInput) { in.Arrival = nil }, 1, capacity.CalibrationPaused},
		{"μ unknown", 3600, func(in *capacity.CalibrationInput) { in.Rate = capacity.ServiceRate{} }, 1, capacity.CalibrationPaused},
		{"far more replicas than it asks for", 3600, func(in *capacity.CalibrationInput) { in.Serving = 60 }, 1, capacity.CalibrationWaiting},
		{"a backlog that is not gone soon", 3600, func(in *capacity.CalibrationInput) { in.Backlog, in.Work = 500, 500 }, 1, capacity.CalibrationWaiting},
		{"a backlog that is", 700, func(in *capacity.CalibrationInput) { in.Backlog, in.Work = 200, 200 }, 1.05, capacity.CalibrationWaiting},
		{"measured", 3600, func(in *capacity.CalibrationInput) { in.Saturated = 6 }, 1, capacity.CalibrationOver},
		// 10.7/s asks for 24 replicas, which do not complete over 8·1.05/s each; 11.3/s would ask for 23, which do.
		{"as far as steps go, and no slots for a trial", 10 * 3600, func(in *capacity.CalibrationInput) { in.Serving, in.Warm = 25, 0 }, math.Pow(1.05, 6), capacity.CalibrationWaiting},
		{"as far as steps go, and a trial of 23", 7*601 + 100, func(in *capacity.CalibrationInput) { in.Serving, in.Warm = 30, 5 }, 200 / (0.8 * 23) / 8, capacity.CalibrationWaiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := calmInput()
			c.change(&in)
			got := after(capacity.Calibration{}, 0, c.seconds, in)
			if math.Abs(got.Factor()-c.factor) > 1e-9 || got.Reason != c.reason {
				t.Errorf("factor %v, want %v; %s: %s", got.Factor(), c.factor, got.Reason, got.Message)
			}
		})
	}
}

// What was quiet with more pods says nothing of fewer.
func TestFewerPodsHaveToBeQuietForTenMinutes(t *testing.T) {
	more, in := calmInput(), calmInput()
	more.Serving = 36
	c := after(capacity.Calibration{}, 0, 500, more)
	if got := after(c, 500, 600, in); got.Factor() != 1 {
		t.Errorf("raised %v after 500 s with 36 pods and 600 s with 32", got.Factor())
	}
	if got := after(after(c, 500, 50, in), 550, 560, more); got.Factor() == 1 {
		t.Error("not raised after 10 min with 32 pods or more")
	}
}

func TestWhatEndsATrial(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds int
		change  func(*capacity.CalibrationInput)
		reason  string
		later   bool
	}{
		{"a backlog that would take half the objective", 1, func(in *capacity.CalibrationInput) { in.Backlog, in.Work = 3000, 3000 }, capacity.CalibrationAborted, true},
		{"more arrives than it completes", 1, func(in *capacity.CalibrationInput) { in.Backlog, in.Work, in.Arrival = 100, 100, new(300.0) }, capacity.CalibrationAborted, true},
		{"a backlog that stands", 80, func(in *capacity.CalibrationInput) { in.Backlog, in.Work, in.Serving = 100, 100, 25 }, capacity.CalibrationAborted, true},
		{"a saturated block", 1, func(in *capacity.CalibrationInput) { in.Saturated = 1 }, capacity.CalibrationWaiting, true},
		{"a rollout", 1, func(in *capacity.CalibrationInput) { in.Allowed = false }, capacity.CalibrationPaused, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := calmInput()
			tried := after(capacity.Calibration{}, 0, 700, in)
			if tried.Factor() <= 1 {
				t.Fatalf("nothing is tried: %+v", tried)
			}
			c.change(&in)
			got := after(tried, 700, c.seconds, in)
			if got.Factor() != 1 || got.Reason != c.reason || got.NotBefore.IsZero() == c.later {
				t.Errorf("factor %v, %s: %s, next trial not before %v", got.Factor(), got.Reason, got.Message, got.NotBefore)
			}
		})
	}
}

// Whatever is observed, the factor stays within 1 and 1.5 and is 1 where it is not allowed; it rises only after ten minutes
// in which every look was quiet.
func TestLawsOfCalibration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c capacity.Calibration
		now, loud := midnight, midnight.Add(-time.Hour)
		nonsense := rapid.Bool().Draw(t, "nonsense")
		for range rapid.IntRange(1, 200).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 4e11).Draw(t, "step")))
			in := calmInput()
			switch unlike := rapid.IntRange(0, 5).Draw(t, "unlike") == 0; {
			case unlike && nonsense:
				in = anyInput(t)
			case unlike:
				in.Backlog, in.Work, loud = 1e5, 1e5, now
			}
			before := c.Rate
			c = c.Next(now, in)
			if f := c.Factor(); !(f >= 1 && f <= 1.5+1e-9) || (!in.Allowed && f != 1) {
				t.Fatalf("factor %v of %+v", f, in)
			}
			if c.Reason == capacity.CalibrationRaised && (c.Rate <= before || !nonsense && now.Sub(loud) < 10*time.Minute) {
				t.Fatalf("raised from %v to %v, %v after it was loud", before, c.Rate, now.Sub(loud))
			}
		}
	})
}

func anyInput(t *rapid.T) capacity.CalibrationInput {
	return capacity.CalibrationInput{Allowed: rapid.Bool().Draw(t, "allowed"), Rate: capacity.ServiceRate{PerReplica: rapid.Float64().Draw(t, "rate")},
		Saturated: rapid.IntRange(0, 7).Draw(t, "saturated"), Utilization: rapid.Float64Range(-0.1, 1.1).Draw(t, "utilization"),
		Seconds: rapid.Float64Range(0, 1e5).Draw(t, "seconds"), Concurrency: rapid.Float64Range(1, 1e3).Draw(t, "concurrency"),
		Serving: rapid.Int32Range(0, 1e5).Draw(t, "serving"), Warm: rapid.Int32Range(0, 50).Draw(t, "warm"), Backlog: 1e4, Work: 1e4,
		Arrival: new(rapid.Float64().Draw(t, "arrival"))}
}

func BenchmarkCalibration(b *testing.B) {
	in := calmInput()
	var c capacity.Calibration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c = c.Next(midnight.Add(time.Duration(i)*time.Second), in)
	}
}
