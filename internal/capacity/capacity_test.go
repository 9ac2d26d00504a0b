// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/internal/queue"
)

var start = time.Date(2026, 1, 15, 14, 37, 0, 0, time.UTC)

// plant is one queue with counters, read once a second.
type plant struct {
	e                          *Estimator
	now                        time.Time
	depth, arrived, completed  int64
	arrive, serve              float64
	arriveDebt, completionDebt float64
	// tell adds to what a reading tells; nil: nothing.
	tell func(*queue.Reading)
}

func newPlant(s Settings, serving Serving) *plant {
	p := &plant{e: NewEstimator(), now: start}
	p.e.Configure(s)
	p.e.Serve(start, serving)
	return p
}

// run plays n seconds: messages arrive at a steady rate, and are completed as long as any wait.
func (p *plant) run(n int) {
	for range n {
		p.now = p.now.Add(time.Second)
		p.arriveDebt += p.arrive
		in := int64(p.arriveDebt)
		p.arriveDebt -= float64(in)
		p.completionDebt = min(p.completionDebt+p.serve, float64(p.depth+in)+1)
		out := min(int64(p.completionDebt), p.depth+in)
		p.completionDebt -= float64(out)
		p.arrived, p.completed, p.depth = p.arrived+in, p.completed+out, p.depth+in-out
		p.read()
	}
}

func (p *plant) read() {
	r := reading(p.now, p.depth, p.arrived, p.completed)
	r.InFlight = new(int64)
	if p.tell != nil {
		p.tell(&r)
	}
	p.e.Observe(0, r)
}

func reading(at time.Time, depth, arrived, completed int64) queue.Reading {
	inFlight := arrived - completed - depth
	return queue.Reading{Time: at, Depth: depth, InFlight: &inFlight, ArrivedTotal: &arrived, CompletedTotal: &completed}
}

func one() Settings { return Settings{Weights: []float64{1}, Concurrency: 1} }

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 0.02*want+0.2 {
		t.Errorf("%s: got %v, want about %v", what, got, want)
	}
}

func TestRatesOfASteadyFlow(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 80, 120
	p.run(90)
	e := p.e.Queue(0, 0)
	near(t, "fast", e.ArrivalFast, 80)
	near(t, "slow", e.ArrivalSlow, 80)
	near(t, "throughput", e.Throughput, 80)
}

func TestABurstIsNotAnArrivalRate(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 20, 120
	p.run(80)
	p.arrived, p.depth = p.arrived+5000, p.depth+5000
	p.run(3)
	e := p.e.Queue(0, 0)
	near(t, "fast", e.ArrivalFast, 20)
	near(t, "slow, which leaves the largest sub-window out", e.ArrivalSlow, 20)
}

// What random arrivals do by chance counts neither way; a surge does, within seconds.
func TestNoiseIsNoSurge(t *testing.T) {
	for _, rate := range []float64{4, 40, 400} {
		random := rand.New(rand.NewPCG(1, 1))
		e, arrived := NewEstimator(), int64(0)
		e.Configure(one())
		e.Serve(start, Serving{Replicas: 4, Revision: "a"})
		second := func(i int, rate float64) Estimate {
			for at := random.ExpFloat64() / rate; at < 1; at += random.ExpFloat64() / rate {
				arrived++
			}
			e.Observe(0, reading(start.Add(time.Duration(i)*time.Second), 0, arrived, arrived))
			return e.Queue(0, 0)
		}
		raised, seconds := 0, 20_000
		for i := range seconds {
			if got := second(i, rate); got.ArrivalSlow != nil && *got.Arrival > *got.ArrivalSlow {
				raised++
			}
		}
		if share := float64(raised) / float64(seconds); share > 0.002 {
			t.Errorf("%v/s: noise counts as a surge for %.2f%% of the time", rate, 100*share)
		}
		after := 0
		for ; after < 60; after++ {
			if *second(seconds+after, 3*rate).Arrival > 2*rate {
				break
			}
		}
		if after >= 20 {
			t.Errorf("%v/s: three times as much was seen after %d s", rate, after)
		}
	}
}

func TestWhatIsNotToldIsUnknown(t *testing.T) {
	depth := func(at time.Time, n int64) queue.Reading { return queue.Reading{Time: at, Depth: n} }
	e := NewEstimator()
	e.Configure(one())
	e.Serve(start, Serving{Replicas: 4, Revision: "a"})
	for i := range 200 {
		e.Observe(0, depth(start.Add(time.Duration(i)*time.Second), int64(100+i)))
	}
	if got := e.Queue(0, 0); got.Arrival != nil || got.Throughput != nil {
		t.Errorf("from depth alone: %+v", got)
	}
	if got := e.Blocks(); got != nil {
		t.Errorf("blocks from depth alone: %+v", got)
	}
}

func TestArrivalFromDepthAndAge(t *testing.T) {
	e := NewEstimator()
	e.Configure(one())
	observe := func(second int, depth int64, age time.Duration) {
		e.Observe(0, queue.Reading{Time: start.Add(time.Duration(second) * time.Second), Depth: depth, OldestAge: &age})
	}
	observe(0, 100, 5*time.Second)
	observe(1, 120, 6*time.Second)
	near(t, "depth/age", e.Queue(0, 0).Arrival, 20)
	observe(2, 90, 7*time.Second)
	if got := e.Queue(0, 0).Arrival; got != nil {
		t.Errorf("age rises while the backlog falls, as with a poison message at the head: got %v, want unknown", *got)
	}
}

func TestCountersThatGoBackwardsRestartTheEstimate(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 80, 120
	p.run(90)
	p.arrived, p.completed, p.depth = 0, 0, 0
	p.run(1)
	if got := p.e.Queue(0, 0); got.Arrival != nil || got.Throughput != nil {
		t.Errorf("right after the restart: %+v", got)
	}
	p.run(30)
	near(t, "fast", p.e.Queue(0, 0).ArrivalFast, 80)
}

func TestLateDuplicateAndDistantReadings(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 80, 120
	p.run(60)
	want := *p.e.Queue(0, 0).ArrivalFast
	p.read()
	p.e.Observe(0, reading(p.now.Add(-3*time.Second), 9999, p.arrived, p.completed))
	if got := *p.e.Queue(0, 0).ArrivalFast; got != want {
		t.Errorf("a duplicate and a late reading changed λ from %v to %v", want, got)
	}
	p.now = p.now.Add(time.Hour)
	p.read()
	if got := p.e.Queue(0, 0).Arrival; got != nil {
		t.Errorf("after an hour without readings λ is %v, want unknown", *got)
	}
}

func TestTheSlowestPollsTellRates(t *testing.T) {
	e := NewEstimator()
	e.Configure(one())
	for i := range int64(10) {
		e.Observe(0, reading(start.Add(time.Duration(i)*305*time.Second), 0, i*6100, i*6100))
	}
	near(t, "λ", e.Queue(0, 0).Arrival, 20)
}

func TestNobodyKnowsWhatIsInFlight(t *testing.T) {
	e := NewEstimator()
	e.Configure(one())
	for i := range 600 {
		e.Observe(0, queue.Reading{Time: start.Add(time.Duration(i) * time.Second)})
	}
	if got := e.Queue(0, 0).QuietSince; !got.IsZero() {
		t.Errorf("quiet since %v, from an empty list alone", got)
	}
}

func TestFewRepeatedDeliveriesSayNothing(t *testing.T) {
	for _, c := range []struct {
		completed, again int64
		want             float64
	}{{3, 1, 0}, {100, 30, 0.3}, {0, 30, 1}, {100, 0, 0}} {
		e := NewEstimator()
		e.Configure(one())
		for i, n := range []int64{0, 1} {
			r := reading(start.Add(time.Duration(i)*10*time.Second), 0, n*c.completed, n*c.completed)
			r.RedeliveredTotal = new(n * c.again)
			e.Observe(0, r)
		}
		if got := e.Queue(0, 0).Redelivered; got != c.want {
			t.Errorf("%d repeated of %d completed: %v, want %v", c.again, c.completed, got, c.want)
		}
	}
}

// After a restart RabbitMQ calls each delivery of what it kept a repeated one; only those that completed nothing are.
func TestDeliveriesThatCompleteAreNotRepeated(t *testing.T) {
	for _, c := range []struct {
		name                                  string
		delivered, completed, again, inFlight int64
		want                                  float64
	}{
		{"all flagged, all completed", 100, 100, 100, 0, 0},
		{"all flagged, some in hand", 105, 100, 105, 5, 0},
		{"all flagged, a third returned", 130, 100, 130, 0, 0.3},
		{"returned to another queue", 130, 100, 0, 0, 0},
		{"delivered again and again", 1000, 10, 990, 0, 1},
	} {
		e := NewEstimator()
		e.Configure(one())
		for i, n := range []int64{0, 1} {
			r := reading(start.Add(time.Duration(i)*10*time.Second), 0, n*c.completed, n*c.completed)
			r.RedeliveredTotal, r.DeliveredTotal, r.InFlight = new(n*c.again), new(n*c.delivered), new(n*c.inFlight)
			e.Observe(0, r)
		}
		if got := e.Queue(0, 0).Redelivered; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestQuietSince(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 1, Revision: "a"})
	p.arrive, p.serve = 1, 8
	p.run(10)
	if got := p.e.Queue(0, 0).QuietSince; !got.IsZero() {
		t.Errorf("while messages arrive: quiet since %v", got)
	}
	p.arrive = 0
	p.run(100)
	if got, want := p.e.Queue(0, 0).QuietSince, start.Add(11*time.Second); !got.Equal(want) {
		t.Errorf("quiet since %v, want %v", got, want)
	}
}
