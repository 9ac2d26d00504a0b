// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

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
}

func newPlant(s Settings, serving Serving) *plant {
	p := &plant{e: NewEstimator(0), now: start}
	p.e.Configure(s)
	p.e.Serve(serving)
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
	p.e.Observe(0, r)
}

func reading(at time.Time, depth, arrived, completed int64) queue.Reading {
	inFlight := arrived - completed - depth
	return queue.Reading{Time: at, Depth: depth, InFlight: &inFlight, ArrivedTotal: &arrived, CompletedTotal: &completed}
}

func one(prior float64) Settings {
	return Settings{Weights: []float64{1}, Concurrency: 1, Prior: prior}
}

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 0.02*want+0.2 {
		t.Errorf("%s: got %v, want about %v", what, got, want)
	}
}

func TestRatesOfASteadyFlow(t *testing.T) {
	p := newPlant(one(10), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 80, 120
	p.run(90)
	e := p.e.Queue(0)
	near(t, "fast", e.ArrivalFast, 80)
	near(t, "slow", e.ArrivalSlow, 80)
	near(t, "throughput", e.Throughput, 80)
}

func TestABurstIsNotAnArrivalRate(t *testing.T) {
	p := newPlant(one(10), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 20, 120
	p.run(80)
	p.arrived, p.depth = p.arrived+5000, p.depth+5000
	p.run(3)
	e := p.e.Queue(0)
	near(t, "fast", e.ArrivalFast, 20)
	near(t, "slow, which leaves the largest sub-window out", e.ArrivalSlow, 20)
}

func TestWhatIsNotToldIsUnknown(t *testing.T) {
	depth := func(at time.Time, n int64) queue.Reading { return queue.Reading{Time: at, Depth: n} }
	e := NewEstimator(0)
	e.Configure(one(0))
	e.Serve(Serving{Replicas: 4, Revision: "a"})
	for i := range 200 {
		e.Observe(0, depth(start.Add(time.Duration(i)*time.Second), int64(100+i)))
	}
	if got := e.Queue(0); got.Arrival != nil || got.Throughput != nil {
		t.Errorf("from depth alone: %+v", got)
	}
	if got := e.ServiceRate(); got != (ServiceRate{}) {
		t.Errorf("service rate from depth alone and no prior: %+v", got)
	}
}

func TestArrivalFromDepthAndAge(t *testing.T) {
	e := NewEstimator(0)
	e.Configure(one(0))
	observe := func(second int, depth int64, age time.Duration) {
		e.Observe(0, queue.Reading{Time: start.Add(time.Duration(second) * time.Second), Depth: depth, OldestAge: &age})
	}
	observe(0, 100, 5*time.Second)
	observe(1, 120, 6*time.Second)
	near(t, "depth/age", e.Queue(0).Arrival, 20)
	observe(2, 90, 7*time.Second)
	if got := e.Queue(0).Arrival; got != nil {
		t.Errorf("age rises while the backlog falls, as with a poison message at the head: got %v, want unknown", *got)
	}
}

func TestCountersThatGoBackwardsRestartTheEstimate(t *testing.T) {
	p := newPlant(one(10), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 80, 120
	p.run(90)
	p.arrived, p.completed, p.depth = 0, 0, 0
	p.run(1)
	if got := p.e.Queue(0); got.Arrival != nil || got.Throughput != nil {
		t.Errorf("right after the restart: %+v", got)
	}
	p.run(30)
	near(t, "fast", p.e.Queue(0).ArrivalFast, 80)
}

func TestLateDuplicateAndDistantReadings(t *testing.T) {
	p := newPlant(one(10), Serving{Replicas: 12, Revision: "a"})
	p.arrive, p.serve = 80, 120
	p.run(60)
	want := *p.e.Queue(0).ArrivalFast
	p.read()
	p.e.Observe(0, reading(p.now.Add(-3*time.Second), 9999, p.arrived, p.completed))
	if got := *p.e.Queue(0).ArrivalFast; got != want {
		t.Errorf("a duplicate and a late reading changed λ from %v to %v", want, got)
	}
	p.now = p.now.Add(time.Hour)
	p.read()
	if got := p.e.Queue(0).Arrival; got != nil {
		t.Errorf("after an hour without readings λ is %v, want unknown", *got)
	}
}

func TestServiceRateIsMeasuredOverSaturatedBlocks(t *testing.T) {
	p := newPlant(one(8), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 40, 62
	p.run(200)
	if got := p.e.ServiceRate(); got != (ServiceRate{8, Given}) {
		t.Errorf("unsaturated throughput below the prior: %+v", got)
	}
	p.depth, p.arrived, p.arrive = p.depth+20000, p.arrived+20000, 60
	p.run(200)
	got := p.e.ServiceRate()
	near(t, "measured", &got.PerReplica, 6.2)
	if got.Known != Measured {
		t.Errorf("known: %s", got.Known)
	}
	p.e.Serve(Serving{Replicas: 10, Revision: "b"})
	if inherited := p.e.ServiceRate(); inherited.Known != Given || inherited.PerReplica != got.PerReplica {
		t.Errorf("a new revision starts from what the last one did: got %+v, want %+v, Given", inherited, got.PerReplica)
	}
}

func TestUnsaturatedThroughputIsALowerBound(t *testing.T) {
	p := newPlant(one(2), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 40, 80
	p.run(200)
	got := p.e.ServiceRate()
	near(t, "at least", &got.PerReplica, 4)
	if got.Known != AtLeast {
		t.Errorf("known: %s", got.Known)
	}
}

func TestADisturbedMinuteIsNoEvidence(t *testing.T) {
	p := newPlant(one(8), Serving{Replicas: 10, Revision: "a"})
	p.depth, p.arrived, p.arrive, p.serve = 50000, 50000, 60, 62
	for range 20 {
		p.run(30)
		p.e.Serve(Serving{Replicas: 10, Revision: "a", Disturbed: true})
		p.run(5)
		p.e.Serve(Serving{Replicas: 10, Revision: "a"})
	}
	if got := p.e.ServiceRate(); got != (ServiceRate{8, Given}) {
		t.Errorf("got %+v, want the prior", got)
	}
}

func TestMessagesThatVanishAreNoEvidence(t *testing.T) {
	p := newPlant(one(8), Serving{Replicas: 10, Revision: "a"})
	p.depth, p.arrived, p.arrive, p.serve = 50000, 50000, 60, 62
	var vanished int64
	for range 10 {
		p.run(30)
		p.depth, vanished = p.depth-2000, vanished+2000 // a purge: the counters do not tell, and in flight stays what it was
		if got := p.e.ServiceRate(); got.Known != Given {
			t.Fatalf("after %d messages vanished: got %+v, want the prior", vanished, got)
		}
	}
}

// A purge raises completions that are not told but follow from the rest: that is no lower bound of what a replica can do.
func TestDerivedCompletionsAreNoEvidence(t *testing.T) {
	p := newPlant(one(8), Serving{Replicas: 10, Revision: "a"})
	p.depth, p.arrived = 50000, 50000
	for range 200 {
		p.now = p.now.Add(time.Second)
		p.arrived, p.depth = p.arrived+60, max(0, p.depth-2000)
		p.e.Observe(0, queue.Reading{Time: p.now, Depth: p.depth, InFlight: new(int64(0)), ArrivedTotal: &p.arrived})
	}
	if got := p.e.ServiceRate(); got.Known != Given {
		t.Errorf("got %+v, want the prior", got)
	}
	if p.e.Queue(0).Throughput == nil {
		t.Error("throughput is unknown, though it follows from the rest")
	}
}

// Ten replicas that each need 100 s for a message complete 6 a minute, in no minute the same number.
func TestLongMessagesAreMeasuredForLonger(t *testing.T) {
	p := newPlant(one(1), Serving{Replicas: 10, Revision: "a"})
	p.depth, p.arrived, p.arrive = 5000, 5000, 0.1
	for second := range 7200 {
		p.serve = 0
		if second%100 == 0 {
			p.serve, p.completionDebt = 10, 0 // all at once
		}
		p.run(1)
	}
	got := p.e.ServiceRate()
	if got.Known != Measured || math.Abs(got.PerReplica-0.01) > 0.003 {
		t.Errorf("got %+v, want about 0.01, Measured", got)
	}
}

func TestTheSlowestPollsTellRates(t *testing.T) {
	e := NewEstimator(0)
	e.Configure(one(0))
	for i := range int64(10) {
		e.Observe(0, reading(start.Add(time.Duration(i)*305*time.Second), 0, i*6100, i*6100))
	}
	near(t, "λ", e.Queue(0).Arrival, 20)
}

func TestNobodyKnowsWhatIsInFlight(t *testing.T) {
	e := NewEstimator(0)
	e.Configure(one(0))
	for i := range 600 {
		e.Observe(0, queue.Reading{Time: start.Add(time.Duration(i) * time.Second)})
	}
	if got := e.Queue(0).QuietSince; !got.IsZero() {
		t.Errorf("quiet since %v, from an empty list alone", got)
	}
}

func TestFewRepeatedDeliveriesSayNothing(t *testing.T) {
	for _, c := range []struct {
		completed, again int64
		want             float64
	}{{3, 1, 0}, {100, 30, 0.3}, {0, 30, 1}, {100, 0, 0}} {
		e := NewEstimator(0)
		e.Configure(one(0))
		for i, n := range []int64{0, 1} {
			r := reading(start.Add(time.Duration(i)*10*time.Second), 0, n*c.completed, n*c.completed)
			r.RedeliveredTotal = new(n * c.again)
			e.Observe(0, r)
		}
		if got := e.Queue(0).Redelivered; got != c.want {
			t.Errorf("%d repeated of %d completed: %v, want %v", c.again, c.completed, got, c.want)
		}
	}
}

func TestQuietSince(t *testing.T) {
	p := newPlant(one(8), Serving{Replicas: 1, Revision: "a"})
	p.arrive, p.serve = 1, 8
	p.run(10)
	if got := p.e.Queue(0).QuietSince; !got.IsZero() {
		t.Errorf("while messages arrive: quiet since %v", got)
	}
	p.arrive = 0
	p.run(100)
	if got, want := p.e.Queue(0).QuietSince, start.Add(11*time.Second); !got.Equal(want) {
		t.Errorf("quiet since %v, want %v", got, want)
	}
}

// 100 checks of up to 100 readings each: whatever a server tells, no rate is negative, infinite or not a number, and none
// is higher than the counters ever moved between two readings.
func TestRatesAreNeverAbsurd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := NewEstimator(0)
		e.Configure(Settings{Weights: []float64{1, 3}, Concurrency: 1, Prior: rapid.Float64Range(0, 100).Draw(t, "prior")})
		at := start
		total := rapid.OneOf(rapid.Int64Range(-5, 1000), rapid.Int64())
		for range rapid.IntRange(1, 100).Draw(t, "readings") {
			at = at.Add(time.Duration(rapid.OneOf(rapid.Int64Range(0, 3e9), rapid.Int64Range(-1e13, 1e13)).Draw(t, "step")))
			r := queue.Reading{Time: at, Depth: total.Draw(t, "depth")}
			if rapid.Bool().Draw(t, "counters") {
				r.ArrivedTotal, r.CompletedTotal = new(total.Draw(t, "arrived")), new(total.Draw(t, "completed"))
			}
			if rapid.Bool().Draw(t, "flight") {
				r.InFlight, r.RedeliveredTotal = new(total.Draw(t, "inFlight")), new(total.Draw(t, "redelivered"))
			}
			if rapid.Bool().Draw(t, "age") {
				r.OldestAge = new(time.Duration(total.Draw(t, "oldest")))
			}
			i := rapid.IntRange(0, 1).Draw(t, "queue")
			e.Observe(i, r)
			e.Serve(Serving{Replicas: int32(rapid.IntRange(0, 3).Draw(t, "n")), Revision: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "rev"), Disturbed: rapid.Bool().Draw(t, "disturbed")})
			got := e.Queue(i)
			for name, v := range map[string]*float64{"arrival": got.Arrival, "fast": got.ArrivalFast, "slow": got.ArrivalSlow, "throughput": got.Throughput, "redelivered": &got.Redelivered, "rate": new(e.ServiceRate().PerReplica)} {
				if v != nil && (*v < 0 || math.IsNaN(*v) || math.IsInf(*v, 0)) {
					t.Fatalf("%s = %v", name, *v)
				}
			}
			if got.Redelivered > 1 {
				t.Fatalf("redelivered = %v", got.Redelivered)
			}
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	p := newPlant(one(8), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 62
	p.run(30 * 3600)
	points := cap(p.e.flows[0].points) * int(unsafe.Sizeof(point{}))
	rest := cap(p.e.latency)*4 + cap(p.e.measured)*8 + cap(p.e.start)*int(unsafe.Sizeof(point{})) + int(unsafe.Sizeof(*p.e))
	t.Logf("after 30 hours at a reading a second: %d bytes for each queue, %d bytes beside them", points, rest)
	if points > 16<<10 || rest > 4<<10 {
		t.Errorf("%d and %d bytes, want at most 16 KiB and 4 KiB", points, rest)
	}
}

func BenchmarkObserve(b *testing.B) {
	p := newPlant(one(8), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 62
	p.run(100)
	b.ReportAllocs()
	for b.Loop() {
		p.run(1)
		p.e.Queue(0)
	}
}
