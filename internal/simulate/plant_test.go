// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyScenario of a few minutes, with deploys of revisions that it knows.
func anyScenario(t *rapid.T) *Scenario {
	start := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	seconds := rapid.IntRange(60, 1500).Draw(t, "seconds")
	s := &Scenario{
		Name: "any", Start: start, End: start.Add(time.Duration(seconds) * time.Second),
		Arrivals:         Arrivals{PerSecond: rapid.SliceOfN(rapid.Float64Range(0, 300), 1, 20).Draw(t, "arrivals"), Poisson: rapid.Bool().Draw(t, "poisson")},
		Replicas:         rapid.Int32Range(0, 40).Draw(t, "replicas"),
		MinReplicas:      rapid.Int32Range(0, 5).Draw(t, "min"),
		MaxReplicas:      rapid.Int32Range(5, 60).Draw(t, "max"),
		ColdStartSeconds: rapid.IntRange(0, 200).Draw(t, "coldStart"),
		Concurrency:      rapid.Int64Range(1, 8).Draw(t, "concurrency"),
		ObjectiveSeconds: 60, LateSeconds: rapid.IntRange(1, 120).Draw(t, "late"),
		Limits: Limits{DownstreamPerSecond: rapid.SampledFrom([]float64{0, 50, 480}).Draw(t, "downstream"), CrowdedFrom: 20, CrowdedLossPercent: 1},
		Noise:  Noise{Deviation: 0.1, Seconds: 30},
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "revisions") {
		s.Revisions = append(s.Revisions, Revision{Number: int64(i + 1), PerReplica: rapid.Float64Range(0.01, 20).Draw(t, "rate"), Inflation: rapid.Float64Range(0.5, 2).Draw(t, "inflation")})
	}
	at := start
	for range rapid.IntRange(0, 3).Draw(t, "deploys") {
		at = at.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "after")) * time.Second)
		s.Deploys = append(s.Deploys, Deploy{At: at, Revision: rapid.Int64Range(1, int64(len(s.Revisions))).Draw(t, "to"), Seconds: rapid.IntRange(2, 400).Draw(t, "takes")})
	}
	if err := s.validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// erratic scales to anything at any time.
type erratic struct{ to []int32 }

func (erratic) Name() string { return "erratic" }

func (e erratic) Act(t int, w *Plant) {
	if t%37 == 0 {
		w.scale(t, e.to[(t/37)%len(e.to)])
	}
}

func TestNoMessageIsLostOrMadeUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyScenario(t)
		p := erratic{rapid.SliceOfN(rapid.Int32Range(0, 60), 1, 8).Draw(t, "scale")}
		w := newPlant(s, s.draw(1), 1)
		for i := range s.Seconds() {
			w.step(i)
			_, inService := w.counts()
			switch {
			case w.arrived != w.completed+w.queue.length:
				t.Fatalf("second %d: %d arrived, %d completed and %d there", i, w.arrived, w.completed, w.queue.length)
			case w.depth() < 0 || w.inFlight < 0 || w.inFlight > int64(inService)*s.Concurrency:
				t.Fatalf("second %d: %d wait, %d in flight at %d replicas", i, w.depth(), w.inFlight, inService)
			case w.throughput > 1 && w.throughput > w.capacity*2+1:
				t.Fatalf("second %d: %v completed, capacity %v", i, w.throughput, w.capacity)
			case w.age(i) < 0 || (w.depth() > 0) != (w.queue.length > w.inFlight):
				t.Fatalf("second %d: age %d", i, w.age(i))
			}
			p.Act(i, w)
		}
		if r := w.end(s.Seconds()); r.LateMessages > w.arrived {
			t.Fatalf("%d of %d messages late", r.LateMessages, w.arrived)
		}
	})
}

func TestARolloutKeepsToItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		replicas, takes := rapid.Int32Range(1, 80).Draw(t, "replicas"), rapid.IntRange(2, 300).Draw(t, "takes")
		f := newFleet(0, 1, replicas, 100)
		f.deploy(1, takes)
		for i := range 4 * takes {
			f.step(i)
			pods, available := f.size()
			if pods > replicas+f.surge() || available < replicas-replicas/4 {
				t.Fatalf("second %d: %d pods, %d available of %d", i, pods, available, replicas)
			}
		}
		if f.rolling || f.current.available != replicas || len(f.current.pods) != int(replicas) {
			t.Fatalf("after %d s: %+v", 4*takes, f.current)
		}
	})
}

func TestAFleetComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet(0, 1, rapid.Int32Range(0, 40).Draw(t, "replicas"), 60)
		for i := range 2000 {
			if i < 1000 && rapid.IntRange(0, 60).Draw(t, "event") == 0 {
				f.scale(i, rapid.Int32Range(0, 60).Draw(t, "to"))
				if rapid.Bool().Draw(t, "deploys") {
					f.deploy(rapid.IntRange(0, 2).Draw(t, "revision"), 120)
				}
			}
			f.step(i)
		}
		pods, available := f.size()
		if f.rolling || pods != f.wanted || available != f.wanted || f.current.available != f.wanted {
			t.Fatalf("wanted %d, %d pods, %d available, %d of the current revision, rolling %v", f.wanted, pods, available, f.current.available, f.rolling)
		}
	})
}

func TestMessagesLeaveInTheOrderOfTheirArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo
		var model []int // the second of each message's arrival
		for i := range rapid.IntRange(1, 60).Draw(t, "seconds") {
			n := rapid.IntRange(0, 20).Draw(t, "arrive")
			q.push(i, int64(n))
			model = append(model, slices.Repeat([]int{i}, n)...)
			k, since := rapid.IntRange(0, 30).Draw(t, "leave"), i-5
			gone := model[:min(k, len(model))]
			model = model[len(gone):]
			want := int64(0)
			for _, second := range gone {
				if second < since {
					want++
				}
			}
			if got := q.pop(int64(k), since); got != want {
				t.Fatalf("%d of those that left came before second %d, want %d", got, since, want)
			}
			oldest := -1
			if len(model) > 0 {
				oldest = model[0]
			}
			if q.oldest() != oldest || q.length != int64(len(model)) {
				t.Fatalf("oldest %d of %d, want %d of %d", q.oldest(), q.length, oldest, len(model))
			}
		}
	})
}

// By Little's law what is in flight is the rate of completions times the processing time, which is c/μ.
func TestInFlightTellsTheProcessingTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		growth  float64
		arrives float64
		want    float64
	}{
		{"at any load", 0, 100, 0.5},
		{"at another", 0, 30, 0.5},
		{"less on an idle replica, if processing grows with utilization", 20, 40, 0.5 * 1.04 / 1.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := small(t)
			s.Arrivals, s.Concurrency, s.ProcessingGrowthPercent = Arrivals{PerSecond: []float64{c.arrives}, Poisson: true}, 4, c.growth
			s.Revisions[0].PerReplica, s.Replicas, s.Noise = 8, 25, Noise{}
			w := newPlant(s, s.draw(1), 1)
			inFlight := 0.0
			for i := range s.Seconds() {
				w.step(i)
				inFlight += float64(w.inFlight)
			}
			if got := inFlight / float64(w.completed); got < 0.97*c.want || got > 1.03*c.want {
				t.Errorf("in-flight / throughput is %.3f s, want %.3f", got, c.want)
			}
		})
	}
}

func TestWhatLimitsThroughput(t *testing.T) {
	for _, c := range []struct {
		name     string
		limits   Limits
		replicas int32
		want     float64
	}{
		{"the replicas", Limits{}, 30, 300},
		{"the store downstream", Limits{DownstreamPerSecond: 200}, 30, 200},
		{"replicas in each other's way", Limits{CrowdedFrom: 20, CrowdedLossPercent: 1}, 30, 270},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := small(t)
			s.Arrivals, s.Replicas, s.Limits, s.Noise = Arrivals{PerSecond: []float64{1000}}, c.replicas, c.limits, Noise{}
			r := Run(s, Fixed{}, 1)
			if got := float64(r.Messages) / float64(s.Seconds()); got < 0.99*c.want || got > 1.01*c.want {
				t.Errorf("%.1f/s completed, want %.1f", got, c.want)
			}
		})
	}
}

// small is a scenario of an hour: a surge in its middle, and a revision that does less.
func small(t *testing.T) *Scenario {
	t.Helper()
	s, err := Parse([]byte(`
name: small
start: "2026-01-15T12:00:00Z"
end: "2026-01-15T13:00:00Z"
arrivals: {perSecond: [100]}
replicas: 12
minReplicas: 2
maxReplicas: 40
coldStartSeconds: 30
objectiveSeconds: 60
lateSeconds: 120
revisions: [{number: 1, perReplica: 10}, {number: 2, perReplica: 5}]
noise: {deviation: 0.02, seconds: 60}
`))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
