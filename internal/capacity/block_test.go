// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// blocks are all that ended, whatever the number: they are fetched every half minute.
func (p *plant) blocks(seconds int) (all []Block) {
	for range seconds / 30 {
		p.run(30)
		all = append(all, p.e.Blocks()...)
	}
	return all
}

// burst puts messages into the queue at once.
func (p *plant) burst(n int64) { p.arrived, p.depth = p.arrived+n, p.depth+n }

func split(blocks []Block) (saturated, others []Block) {
	for _, b := range blocks {
		if b.Saturated {
			saturated = append(saturated, b)
		} else {
			others = append(others, b)
		}
	}
	return saturated, others
}

func TestABlockHasTheNumbersOfItsMinute(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 40, 62
	saturated, calm := split(p.blocks(600))
	if len(saturated) != 0 || len(calm) != 9 {
		t.Fatalf("%d saturated and %d other blocks of ten calm minutes, the first of which begins with its first reading", len(saturated), len(calm))
	}
	for _, b := range calm {
		if b.Revision != "a" || b.Replicas != 10 || b.Others != 0 || b.Young || b.Completed != 2400 || b.End.Sub(b.Start) != time.Minute ||
			math.Abs(b.Rate-4) > 1e-9 || math.Abs(b.Arrival-40) > 1e-9 || math.Abs(b.Throughput-40) > 1e-9 || b.Shares[0] != 1 {
			t.Errorf("got %+v", b)
		}
	}
	p.burst(20000)
	saturated, _ = split(p.blocks(300))
	if len(saturated) != 4 {
		t.Fatalf("%d saturated blocks of five minutes", len(saturated))
	}
	for _, b := range saturated {
		if math.Abs(b.Rate-6.2) > 1e-9 || b.Processing != 0 {
			t.Errorf("got %+v, want a rate of 6.2", b)
		}
	}
}

// A backlog that is gone after 70 s fills no minute that began before it, but a minute of its own.
func TestAShortBacklogFillsABlockWhereverItBegins(t *testing.T) {
	for offset := range 60 {
		p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
		p.arrive, p.serve = 40, 62
		p.run(100 + offset)
		p.e.Blocks()
		p.burst(20 + 70*22)
		all := p.blocks(300)
		saturated, calm := split(all)
		if len(saturated) != 1 || math.Abs(saturated[0].Rate-6.2) > 0.02 {
			t.Errorf("%d s into a block: %+v", offset, saturated)
		}
		if len(calm) < 2 {
			t.Errorf("%d s into a block: %d calm ones in the rest of five minutes", offset, len(calm))
		}
		for i := 1; i < len(all); i++ {
			if all[i].Start.Before(all[i-1].End) {
				t.Errorf("%d s into a block: one that begins %v overlaps the one before, which ends %v", offset, all[i].Start, all[i-1].End)
			}
		}
	}
}

func TestWhatDisturbsABlock(t *testing.T) {
	calm := Serving{Replicas: 10, Revision: "a"}
	for _, c := range []struct {
		name   string
		second Serving
		want   bool
	}{
		{"nothing", calm, true},
		{"pods that were young until now", Serving{Replicas: 10, Revision: "a", Young: true}, false},
		{"what another revision's slot completes is known better", Serving{Replicas: 10, Revision: "a", OthersRate: 3}, true},
		{"a rollout", Serving{Replicas: 10, Revision: "a", Disturbed: true}, false},
		{"scaling", Serving{Replicas: 11, Revision: "a"}, false},
		{"lending of another revision", Serving{Replicas: 10, Others: 1, Revision: "a"}, false},
		{"a new revision", Serving{Replicas: 10, Revision: "b"}, false},
		{"nobody is left", Serving{Revision: "a"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(one(), calm)
			p.arrive, p.serve = 60, 62
			p.burst(50000)
			var all []Block
			for range 20 {
				p.run(30)
				p.e.Serve(p.now, c.second)
				p.run(5)
				p.e.Serve(p.now, calm)
				all = append(all, p.e.Blocks()...)
			}
			if got := len(all) > 0; got != c.want {
				t.Errorf("%d blocks: %+v", len(all), all)
			}
		})
	}
}

// While pods are young there are blocks, and they say so. The first one afterwards does not.
func TestYoungBlocks(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 62
	p.burst(50000)
	p.run(30)
	p.e.Serve(p.now, Serving{Replicas: 10, Revision: "a", Young: true})
	p.run(100)
	p.e.Serve(p.now, Serving{Replicas: 10, Revision: "a"})
	p.run(130)
	var young []bool
	for _, b := range p.e.Blocks() {
		young = append(young, b.Young)
	}
	if !slices.Equal(young, []bool{true, true, false, false}) && !slices.Equal(young, []bool{true, false, false}) {
		t.Errorf("young: %v", young)
	}
}

// More replicas come into service before the minute is over: what was saturated for most of it counts.
func TestMostOfASaturatedMinuteIsABlock(t *testing.T) {
	for _, c := range []struct {
		name    string
		burst   int64
		seconds int
		want    int
	}{
		{"50 s", 50000, 50, 1},
		{"45 s", 50000, 45, 0},
		{"50 s that were not saturated", 0, 50, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
			p.arrive, p.serve = 60, 62
			p.burst(c.burst)
			p.run(c.seconds + 1) // the first reading begins it
			p.e.Serve(p.now, Serving{Replicas: 12, Revision: "a"})
			got := p.e.Blocks()
			if len(got) != c.want {
				t.Fatalf("%d blocks: %+v", len(got), got)
			}
			for _, b := range got {
				if !b.Saturated || b.Replicas != 10 || math.Abs(b.Rate-6.2) > 1e-9 {
					t.Errorf("got %+v", b)
				}
			}
		})
	}
}

// A reading may be older than the change that was seen before it came: RabbitMQ's statistics are up to 5 s old.
func TestABlockBeginsWithAReadingFromAfterTheChange(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 40, 62
	p.run(10)
	changed := p.now.Add(4 * time.Second)
	p.e.Serve(changed, Serving{Replicas: 12, Revision: "a"})
	p.run(70)
	if got := p.e.Blocks(); len(got) != 1 || !got[0].Start.Equal(changed) {
		t.Errorf("got %+v, want one that starts at %v", got, changed)
	}
}

func TestSlotsOfAnotherRevisionAreTakenOut(t *testing.T) {
	for _, c := range []struct{ othersRate, want float64 }{{10, 6.2}, {0, 0}, {1000, 0}} {
		p := newPlant(one(), Serving{Replicas: 10, Others: 3, OthersRate: c.othersRate, Revision: "b"})
		p.arrive, p.serve = 90, 92
		p.burst(50000)
		got, _ := split(p.blocks(120))
		if len(got) != 1 || math.Abs(got[0].Rate-c.want) > 1e-9 || got[0].Others != 3 || math.Abs(got[0].Throughput-92) > 1e-9 {
			t.Errorf("slots complete %v each: got %+v, want a rate of %v", c.othersRate, got, c.want)
		}
	}
}

func TestMessagesThatVanishAreNoEvidence(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.burst(50000)
	p.arrive, p.serve = 60, 62
	for range 10 {
		p.run(30)
		p.depth -= 2000 // a purge: the counters do not tell, and in flight stays what it was
	}
	if got := p.e.Blocks(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if got := p.blocks(150); len(got) != 2 {
		t.Errorf("%d blocks of the two and a half minutes after", len(got))
	}
}

// A purge raises completions that are not told but follow from the rest: that is no lower bound of what a replica can do.
func TestDerivedCompletionsAreNoEvidence(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.burst(50000)
	for range 200 {
		p.now = p.now.Add(time.Second)
		p.arrived, p.depth = p.arrived+60, max(0, p.depth-2000)
		p.e.Observe(0, queue.Reading{Time: p.now, Depth: p.depth, InFlight: new(int64(0)), ArrivedTotal: &p.arrived})
	}
	if got := p.e.Blocks(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if p.e.Queue(0, 0).Throughput == nil {
		t.Error("throughput is unknown, though it follows from the rest")
	}
}

func TestRepeatedDeliveriesAreNoEvidence(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  int
	}{{0.04, 1}, {0.06, 0}} {
		p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
		for i := range 70 {
			completed := int64(i * 100)
			r := reading(start.Add(time.Duration(i)*time.Second), 0, completed, completed)
			r.RedeliveredTotal = new(int64(float64(completed) * c.share))
			p.e.Observe(0, r)
		}
		if got := p.e.Blocks(); len(got) != c.want {
			t.Errorf("%v of the deliveries repeated: %d blocks, want %d", c.share, len(got), c.want)
		}
	}
}

// What is between two readings that are further apart than three polls is not known to have been undisturbed.
func TestBlocksAcrossGapsAndRestarts(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*plant)
		want int
	}{
		{"nothing", func(*plant) {}, 1},
		{"12 s without a reading", func(p *plant) { p.now = p.now.Add(12 * time.Second) }, 1},
		{"20 s without a reading", func(p *plant) { p.now = p.now.Add(20 * time.Second) }, 0},
		{"a restarted server", func(p *plant) { p.arrived, p.completed, p.depth = 0, 0, 0 }, 0},
		{"a duplicate and a late reading", func(p *plant) {
			p.read()
			p.e.Observe(0, reading(p.now.Add(-3*time.Second), 9999, p.arrived, p.completed))
		}, 1},
		{"another source", func(p *plant) { p.e.Restart(0) }, 0},
		{"another concurrency", func(p *plant) { p.e.Configure(Settings{Weights: []float64{1}, Concurrency: 4}) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
			p.arrive, p.serve = 40, 62
			p.run(40)
			c.then(p)
			p.run(50)
			if got := p.e.Blocks(); len(got) != c.want {
				t.Errorf("got %+v, want %d", got, c.want)
			}
		})
	}
}

func TestASaturatedBlockThatContradictsItself(t *testing.T) {
	for _, c := range []struct {
		name  string
		lag   float64 // seconds of throughput that show as a backlog
		after time.Duration
		want  bool
	}{
		{"with less to do the same replicas did more", 5, 0, false},
		{"more waits than any source's latency: they slowed down", 40, 0, true},
		{"it was hours ago", 5, 3 * time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
			p.arrive, p.serve = 80, 100
			p.run(300)
			p.arrive, p.serve = 60, 1000
			p.now = p.now.Add(c.after)
			p.run(30)
			p.serve = 60
			p.burst(int64(60 * c.lag))
			got, _ := split(p.blocks(120))
			if (len(got) > 0) != c.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A Kafka group that commits every 5 s shows lag with nothing waiting: here 2.5 s of its throughput at all times.
func TestTheSourcesLatencyIsNoBacklog(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 60
	p.burst(150)
	if got, _ := split(p.blocks(3600)); len(got) != 0 {
		t.Errorf("%d saturated blocks, of %+v", len(got), got[0])
	}
	p.burst(1000)
	if got, _ := split(p.blocks(120)); len(got) != 1 {
		t.Errorf("with a backlog beside it: %+v", got)
	}
}

// What waited for the consumers when they started is no latency of the source's: else a backlog of 15 s would be none for minutes.
func TestABacklogAtTheStartIsNoLatency(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 100
	p.burst(900)
	p.run(40)
	p.serve = 60
	p.burst(400)
	if got, _ := split(p.blocks(120)); len(got) == 0 {
		t.Error("a backlog of 7 s makes no saturated block")
	}
}

// Ten replicas that each need 100 s for a message complete 6 a minute, in no minute the same number.
func TestLongMessagesAreMeasuredForLonger(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.burst(5000)
	p.arrive = 0.1
	var rates []float64
	for second := range 7200 {
		p.serve = 0
		if second%100 == 0 {
			p.serve, p.completionDebt = 10, 0 // all at once
		}
		p.run(1)
		for _, b := range p.e.Blocks() {
			if b.Completed < blockMessages {
				t.Errorf("%d messages in a block", b.Completed)
			}
			rates = append(rates, b.Rate)
		}
	}
	if len(rates) < 50 || math.Abs(median(rates)-0.01) > 0.001 {
		t.Errorf("%d blocks, median %v, want 0.01", len(rates), median(rates))
	}
}

// servers is a queue whose replicas take messages one by one, each for its own time, and may hold more of them than they
// work on.
type servers struct {
	e        *Estimator
	random   *rand.Rand
	now      time.Time
	s        float64     // mean processing time
	prefetch int         // messages that one replica holds
	busy     [][]float64 // of each replica the messages it holds: seconds of work left
	waiting  int64
	arrived  int64
	done     int64
	silent   bool // one reading does not tell
}

func newServers(n int, s float64, prefetch int) *servers {
	v := &servers{e: NewEstimator(), random: rand.New(rand.NewPCG(1, uint64(n*1000+prefetch))), now: start, s: s, prefetch: prefetch, busy: make([][]float64, n)}
	v.e.Configure(one())
	v.e.Serve(start, Serving{Replicas: int32(n), Revision: "a"})
	return v
}

// second plays one second in steps of 10 ms, arrivals at random, and reads.
func (v *servers) second(arrive float64) {
	const step = 0.01
	for range 100 {
		for range v.poisson(arrive * step) {
			v.arrived, v.waiting = v.arrived+1, v.waiting+1
		}
		v.take()
		for i, held := range v.busy {
			for left := step; left > 0 && len(held) > 0; {
				worked := min(left, held[0])
				held[0] -= worked
				left -= worked
				if held[0] <= 1e-12 {
					held, v.done = held[1:], v.done+1
				}
			}
			v.busy[i] = held
		}
	}
	inFlight := int64(0)
	for _, held := range v.busy {
		inFlight += int64(len(held))
	}
	v.now = v.now.Add(time.Second)
	r := queue.Reading{Time: v.now, Depth: v.waiting, InFlight: &inFlight, ArrivedTotal: new(v.arrived), CompletedTotal: new(v.done)}
	if v.silent {
		r.InFlight, v.silent = nil, false
	}
	v.e.Observe(0, r)
}

// take gives each message that waits to anyone who has room for it, however busy.
func (v *servers) take() {
	for v.waiting > 0 {
		first, n := v.random.IntN(len(v.busy)), 0
		for n < len(v.busy) && len(v.busy[(first+n)%len(v.busy)]) >= v.prefetch {
			n++
		}
		if n == len(v.busy) {
			return
		}
		one := &v.busy[(first+n)%len(v.busy)]
		*one = append(*one, v.s*(0.5+v.random.Float64()))
		v.waiting--
	}
}

func (v *servers) poisson(mean float64) (n int) {
	for p := v.random.Float64(); p > math.Exp(-mean); p *= v.random.Float64() {
		n++
	}
	return n
}

func (v *servers) processing(seconds int, arrive func(second int) float64) (told []float64, blocks int) {
	for i := range seconds {
		v.second(arrive(i))
		for _, b := range v.e.Blocks() {
			blocks++
			if b.Processing > 0 {
				told = append(told, b.Processing)
			}
		}
	}
	return told, blocks
}

// A fleet at its target utilization, with c = 1, is where a slower revision has to show.
func TestProcessingTimeAtAnyUtilization(t *testing.T) {
	for _, utilization := range []float64{0.05, 0.3, 0.64, 0.8, 0.9} {
		v := newServers(20, 0.5, 1)
		got, blocks := v.processing(1800, func(int) float64 { return utilization * 20 / 0.5 })
		if len(got) < blocks*2/3 || len(got) < 20 || math.Abs(median(got)-0.5) > 0.02 {
			t.Errorf("at %v: %d of %d blocks tell, median %.3f s, want 0.5", utilization, len(got), blocks, median(got))
		}
	}
}

func TestWhatIsNoProcessingTime(t *testing.T) {
	steadily := func(rate float64) func(int) float64 { return func(int) float64 { return rate } }
	for _, c := range []struct {
		name   string
		fleet  *servers
		arrive func(int) float64
		before func(*servers, int)
	}{
		{"clients hold what they do not work on", newServers(20, 0.5, 32), steadily(0.97 * 40), nil},
		{"a reading does not tell", newServers(20, 0.5, 1), steadily(20), func(v *servers, i int) { v.silent = i%20 == 7 }},
		{"in flight grows all the time", newServers(200, 0.5, 1), func(i int) float64 { return float64(i%60) * 6 }, nil},
		{"another revision works too", newServers(20, 0.5, 1), steadily(20), func(v *servers, _ int) {
			v.e.Serve(v.now, Serving{Replicas: 18, Others: 2, OthersRate: 2, Revision: "a"})
		}},
		{"saturated", newServers(20, 0.5, 1), steadily(60), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var told []float64
			blocks := 0
			for i := range 900 {
				if c.before != nil {
					c.before(c.fleet, i)
				}
				c.fleet.second(c.arrive(i))
				for _, b := range c.fleet.e.Blocks() {
					if blocks++; b.Processing > 0 {
						told = append(told, b.Processing)
					}
				}
			}
			if blocks == 0 {
				t.Error("no blocks at all")
			}
			if len(told) > blocks/5 {
				t.Errorf("%d of %d blocks tell: %v", len(told), blocks, told)
			}
		})
	}
}

// With prefetch 32 the reading grows with utilization; up to half of it less than utilization does itself.
func TestProcessingTimeWithPrefetch(t *testing.T) {
	of := func(utilization float64) float64 {
		v := newServers(20, 0.5, 32)
		got, _ := v.processing(1800, func(int) float64 { return utilization * 20 / 0.5 })
		if len(got) < 15 {
			t.Fatalf("at %v only %d blocks tell", utilization, len(got))
		}
		return median(got)
	}
	low, high := of(0.4), of(0.44)
	if low < 0.49 || high > 1.1*low {
		t.Errorf("S reads %.3f s at 40 %% and %.3f s at 44 %%", low, high)
	}
}

// A block waits up to ten minutes for the hundred messages that tell S.
func TestFewMessagesTellProcessingTimeLater(t *testing.T) {
	v := newServers(5, 2, 1)
	got, blocks := v.processing(7200, func(int) float64 { return 0.4 })
	if len(got) < blocks/2 || len(got) < 10 || math.Abs(median(got)-2) > 0.2 {
		t.Errorf("%d of %d blocks tell, median %.2f s, want 2", len(got), blocks, median(got))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 62
	p.run(30 * 3600)
	each := cap(p.e.flows[0].points)*int(unsafe.Sizeof(point{})) + int(unsafe.Sizeof(flow{})+unsafe.Sizeof(part{}))
	rest := cap(p.e.latency.samples)*4 + cap(p.e.ended)*int(unsafe.Sizeof(Block{})+8) + int(unsafe.Sizeof(*p.e))
	t.Logf("after 30 hours at a reading a second: %d bytes for each queue, %d bytes beside them", each, rest)
	if len(p.e.ended) != kept || each > 9<<10 || rest > 8<<10 {
		t.Errorf("%d blocks wait; %d and %d bytes, want at most 9 KiB and 8 KiB", len(p.e.ended), each, rest)
	}
}

func BenchmarkObserve(b *testing.B) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 62
	p.run(3 * 3600)
	b.ReportAllocs()
	for b.Loop() {
		p.run(1)
	}
}

func BenchmarkQueue(b *testing.B) {
	p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
	p.arrive, p.serve = 60, 62
	p.run(300)
	b.ReportAllocs()
	for b.Loop() {
		p.e.Queue(0, 0)
	}
}

// 100 histories of up to 300 readings of two queues: whatever a server tells, no rate is negative, infinite or not a
// number; no block begins before the last change of who serves or is longer than one may be; and all blocks together
// complete no more messages than the counters ever moved up.
func TestRatesAreNeverAbsurd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := history2{e: NewEstimator(), at: start, changed: start}
		h.e.Configure(Settings{Weights: []float64{1, 3}, Concurrency: 1})
		sane := rapid.Bool().Draw(t, "sane")
		for range rapid.IntRange(1, 300).Draw(t, "readings") {
			if rapid.IntRange(0, 40).Draw(t, "change") == 0 {
				h.serve(t)
			}
			if sane {
				h.step(t)
			} else {
				h.nonsense(t)
			}
			h.check(t)
		}
	})
}

type history2 struct {
	e                         *Estimator
	at, changed               time.Time
	serving                   Serving
	depth, arrived, completed [2]int64
	moved, counted            float64
	last                      [2]*int64
}

func (h *history2) serve(t *rapid.T) {
	now := Serving{Replicas: int32(rapid.IntRange(0, 3).Draw(t, "n")), Others: int32(rapid.IntRange(0, 1).Draw(t, "others")),
		OthersRate: rapid.Float64Range(0, 10).Draw(t, "rate"), Revision: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "revision"),
		Disturbed: rapid.IntRange(0, 3).Draw(t, "disturbed") == 0, Young: rapid.Bool().Draw(t, "young")}
	if was := h.serving; now.Disturbed || was.Disturbed || now.Replicas != was.Replicas || now.Others != was.Others || now.Revision != was.Revision {
		h.changed = h.at
	}
	h.serving = now
	h.e.Serve(h.at, now)
}

// step is a reading of a queue that works, with a purge or a restart now and then.
func (h *history2) step(t *rapid.T) {
	h.at = h.at.Add(time.Duration(rapid.Int64Range(1e8, 6e9).Draw(t, "step")))
	i := rapid.IntRange(0, 1).Draw(t, "queue")
	in := rapid.Int64Range(0, 40).Draw(t, "in")
	out := rapid.Int64Range(0, min(h.depth[i]+in, 30)).Draw(t, "out")
	h.depth[i], h.arrived[i], h.completed[i] = h.depth[i]+in-out, h.arrived[i]+in, h.completed[i]+out
	switch rapid.IntRange(0, 60).Draw(t, "event") {
	case 0:
		h.depth[i] = 0
	case 1:
		h.arrived[i], h.completed[i], h.depth[i] = 0, 0, 0
	}
	h.observe(i, queue.Reading{Time: h.at, Depth: h.depth[i], InFlight: new(rapid.Int64Range(0, 3).Draw(t, "flight")),
		ArrivedTotal: new(h.arrived[i]), CompletedTotal: new(h.completed[i])})
}

func (h *history2) nonsense(t *rapid.T) {
	total := rapid.OneOf(rapid.Int64Range(-5, 1000), rapid.Int64())
	h.at = h.at.Add(time.Duration(rapid.OneOf(rapid.Int64Range(0, 3e9), rapid.Int64Range(-1e13, 1e13)).Draw(t, "step")))
	r := queue.Reading{Time: h.at, Depth: total.Draw(t, "depth")}
	if rapid.Bool().Draw(t, "counters") {
		r.ArrivedTotal, r.CompletedTotal = new(total.Draw(t, "arrived")), new(total.Draw(t, "completed"))
	}
	if rapid.Bool().Draw(t, "flight") {
		r.InFlight, r.RedeliveredTotal = new(total.Draw(t, "inFlight")), new(total.Draw(t, "redelivered"))
	}
	if rapid.Bool().Draw(t, "age") {
		r.OldestAge = new(time.Duration(total.Draw(t, "oldest")))
	}
	h.observe(rapid.IntRange(0, 1).Draw(t, "queue"), r)
}

func (h *history2) observe(i int, r queue.Reading) {
	h.e.Observe(i, r)
	if r.CompletedTotal != nil {
		if h.last[i] != nil {
			h.moved += max(0, float64(*r.CompletedTotal)-float64(*h.last[i]))
		}
		h.last[i] = r.CompletedTotal
	}
}

func (h *history2) check(t *rapid.T) {
	numbers := map[string]*float64{}
	for i := range 2 {
		q := h.e.Queue(i, 0)
		numbers["arrival"], numbers["fast"], numbers["slow"], numbers["throughput"], numbers["redelivered"] = q.Arrival, q.ArrivalFast, q.ArrivalSlow, q.Throughput, &q.Redelivered
		sound(t, numbers)
		if q.Redelivered > 1 {
			t.Fatalf("redelivered = %v", q.Redelivered)
		}
	}
	for _, b := range h.e.Blocks() {
		sound(t, map[string]*float64{"rate": &b.Rate, "λ": &b.Arrival, "X": &b.Throughput, "S": &b.Processing, "share 0": &b.Shares[0], "share 1": &b.Shares[1]})
		h.counted += float64(b.Completed)
		if b.Start.Before(h.changed) || b.Revision != h.serving.Revision || b.Replicas != h.serving.Replicas || b.Others != h.serving.Others || h.serving.Disturbed {
			t.Fatalf("%+v spans the change at %v to %+v", b, h.changed, h.serving)
		}
		if length := b.End.Sub(b.Start); length < DefaultBlock || b.Completed < blockMessages || math.Abs(b.Shares[0]+b.Shares[1]-1) > 1e-9 {
			t.Fatalf("%+v", b)
		}
	}
	if h.counted > h.moved {
		t.Fatalf("blocks have %v messages, the counters moved by %v", h.counted, h.moved)
	}
}

func sound(t *rapid.T, numbers map[string]*float64) {
	for name, v := range numbers {
		if v != nil && (*v < 0 || math.IsNaN(*v) || math.IsInf(*v, 0)) {
			t.Fatalf("%s = %v", name, *v)
		}
	}
}
