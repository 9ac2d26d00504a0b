// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/test/setclock"
)

// TestWindow compares the window with one that remembers everything: never less safe, and no more than 1/60 later.
func TestWindow(t *testing.T) {
	const length = 300 * time.Second
	for seed := range uint64(50) {
		c := rand.New(rand.NewPCG(seed, 0))
		type sample struct {
			from, to time.Time
			value    int32
		}
		var w window
		var all []sample
		highestSince := func(since time.Time) (most int32) {
			for _, s := range all {
				if s.to.After(since) {
					most = max(most, s.value)
				}
			}
			return most
		}
		now, level := noon, 20.0
		for range 2000 {
			now = now.Add(time.Duration(1+c.IntN(3000)) * time.Millisecond)
			level = max(0, level+c.NormFloat64())
			value := int32(level)
			if n := len(all); n > 0 {
				all[n-1].to = now
			}
			all = append(all, sample{now, now, value})
			w = w.push(now, value, length, highest)
			least, most := max(value, highestSince(now.Add(-length))), highestSince(now.Add(-length-length/60-time.Millisecond))
			if got := w.extreme(); got < least || got > max(most, value) {
				t.Fatalf("seed %d: highest is %d, want %d to %d", seed, got, least, most)
			}
			if len(w) > maxEntries {
				t.Fatalf("%d entries", len(w))
			}
		}
	}
}

// TestWindowIsBounded: a value that falls all the time, so that every one counts for a while, at ten decisions a second.
func TestWindowIsBounded(t *testing.T) {
	var w window
	now, value := noon, int32(1_000_000)
	value0 := value
	for i := range 20_000 {
		now, value = now.Add(100*time.Millisecond), value-1
		w = w.push(now, value, 300*time.Second, highest)
		if len(w) > maxEntries {
			t.Fatalf("%d entries", len(w))
		}
		exact := min(value0-1, value+3000)
		if got := w.extreme(); got < exact || got > exact+51 {
			t.Fatalf("after %d: highest is %d, want %d to %d", i, got, exact, exact+51)
		}
	}
	for _, length := range []time.Duration{time.Hour, time.Minute, time.Hour, 10 * time.Second} {
		for range 20_000 {
			now, value = now.Add(100*time.Millisecond), value-1
			if w = w.push(now, value, length, highest); len(w) > maxEntries {
				t.Fatalf("%d entries", len(w))
			}
		}
	}
}

// TestWindowOfNothing: without a window only the present counts, however it changes length.
func TestWindowOfNothing(t *testing.T) {
	var w window
	w = w.push(noon, 20, time.Minute, highest)
	w = w.push(noon.Add(time.Second), 10, time.Minute, highest)
	if w = w.push(noon.Add(2*time.Second), 5, 0, highest); w.extreme() != 5 {
		t.Errorf("highest is %d, want 5", w.extreme())
	}
}

// TestRates: what policies allow, as the HorizontalPodAutoscaler of Kubernetes 1.37 computes it.
func TestRates(t *testing.T) {
	now := noon
	ago := func(s int) int64 { return now.Add(-time.Duration(s) * time.Second).UnixMilli() }
	pods := func(n int32, s int) RatePolicy { return RatePolicy{Value: n, Period: time.Duration(s) * time.Second} }
	percent := func(n int32, s int) RatePolicy { return RatePolicy{true, n, time.Duration(s) * time.Second} }
	for _, c := range []struct {
		name    string
		rules   Rules
		present int32
		steps   []step
		sign    int64
		want    int32
	}{
		{"no policy", Rules{}, 10, nil, +1, maxCount},
		{"no policy, down", Rules{}, 10, nil, -1, 0},
		{"disabled", Rules{Disabled: true}, 10, nil, +1, 10},
		{"pods", Rules{Policies: []RatePolicy{pods(4, 60)}}, 10, nil, +1, 14},
		{"pods used up", Rules{Policies: []RatePolicy{pods(4, 60)}}, 10, []step{{ago(30), 4, 0}}, +1, 10},
		{"pods of an earlier period", Rules{Policies: []RatePolicy{pods(4, 60)}}, 10, []step{{ago(60), 4, 0}}, +1, 14},
		{"what was removed counts", Rules{Policies: []RatePolicy{pods(4, 60)}}, 10, []step{{ago(30), 0, 3}}, +1, 17},
		{"percent is rounded up", Rules{Policies: []RatePolicy{percent(10, 60)}}, 1, nil, +1, 2},
		{"percent down is cut", Rules{Policies: []RatePolicy{percent(10, 60)}}, 11, nil, -1, 9},
		{"percent down of the start of the period", Rules{Policies: []RatePolicy{percent(50, 60)}}, 6, []step{{ago(10), 0, 4}}, -1, 5},
		{"percent above 100, down", Rules{Policies: []RatePolicy{percent(300, 60)}}, 6, nil, -1, 0},
		{"the largest change", Rules{Policies: []RatePolicy{pods(4, 60), percent(100, 60)}}, 10, nil, +1, 20},
		{"the smallest change", Rules{SelectMin: true, Policies: []RatePolicy{pods(4, 60), percent(100, 60)}}, 10, nil, +1, 14},
		{"the largest change, down", Rules{Policies: []RatePolicy{pods(4, 60), percent(10, 60)}}, 20, nil, -1, 16},
		{"the smallest change, down", Rules{SelectMin: true, Policies: []RatePolicy{pods(4, 60), percent(10, 60)}}, 20, nil, -1, 18},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.rules.furthest(now, c.present, c.steps, c.sign); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// TestRatesOverTime: 4 pods a minute from 10 replicas, whoever scales.
func TestRatesOverTime(t *testing.T) {
	p, o := chat(), calm()
	p.Behavior.ScaleUp.Policies = []RatePolicy{{Value: 4, Period: time.Minute}}
	o.Queues[0].Arrival = new(256.0) // 40 wanted
	var m Memory
	var got []int32
	for second := range 130 {
		var plan Plan
		plan, m = Decide(noon.Add(time.Duration(second)*time.Second), p, o, m)
		if plan.Replicas != nil {
			got = append(got, int32(second), *plan.Replicas)
			o.Target.Replicas = *plan.Replicas
		}
	}
	want := []int32{0, 16, 61, 20, 122, 24} // a step is seen one second after it was written
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// TestDoubling: without a service rate the target doubles once per start-up time, and stops when it gets on.
func TestDoubling(t *testing.T) {
	p, o := chat(), calm()
	o.Rate, o.Target.Replicas, o.Target.Available, o.Pool = ServiceRate{}, 4, 4, Pool{}
	o.Queues[0].Depth, o.Queues[0].Arrival, o.Queues[0].Throughput = 5000, new(100.0), new(30.0)
	var m Memory
	var got []int32
	for second := range 120 {
		now := noon.Add(time.Duration(second) * time.Second)
		var plan Plan
		plan, m = Decide(now, p, o, m)
		if plan.Replicas != nil {
			got = append(got, int32(second), *plan.Replicas)
			o.Target.Replicas, o.Target.Available = *plan.Replicas, *plan.Replicas
		}
		if o.Target.Replicas == 16 {
			o.Queues[0].Throughput = new(200.0)
		}
	}
	want := []int32{0, 8, 25, 16}
	if len(got) != 4 || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestDoublingIsHeld: a doubling that may not be written yet is still wanted, and does not grow meanwhile.
func TestDoublingIsHeld(t *testing.T) {
	p, o := chat(), calm()
	rolling(&o)
	p.Rollout.HoldTimeout = 0
	o.Rate, o.Queues[0].Depth, o.Queues[0].Arrival, o.Queues[0].Throughput = ServiceRate{}, 5000, new(100.0), new(30.0)
	var m Memory
	for second := range 300 {
		var plan Plan
		plan, m = Decide(noon.Add(time.Duration(second)*time.Second), p, o, m)
		if *plan.Desired != 24 || plan.Replicas != nil {
			t.Fatalf("after %d s: desired %d, replicas %v", second, *plan.Desired, show(plan.Replicas))
		}
	}
}

// TestClockJumps: a wall clock that jumps neither shortens nor prolongs a window.
func TestClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"none": 0, "forward": 5 * time.Hour, "back": -5 * time.Hour, "by years": -30 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			p, o := chat(), calm()
			var m Memory
			began := time.Now() // with a monotonic part; the wall clock's hour does not matter
			for second := range 400 {
				_, m = Decide(began.Add(time.Duration(second)*time.Second), p, o, m)
			}
			lull(&o)
			for second := range 310 {
				now := began.Add(time.Duration(400+second) * time.Second)
				if second >= 100 {
					now = setclock.Jump(now, jump)
				}
				var plan Plan
				plan, m = Decide(now, p, o, m)
				if plan.Replicas != nil {
					if second < 299 {
						t.Errorf("scaled down after %d s", second)
					}
					return
				}
			}
			t.Error("not scaled down after 310 s")
		})
	}
}

// TestClockGoesBackUnnoticed: times without a monotonic part, as from a recording.
func TestClockGoesBackUnnoticed(t *testing.T) {
	p, o := chat(), calm()
	m := watched(p, o)
	lull(&o)
	for second := range 310 {
		now := noon.Add(time.Duration(second) * time.Second)
		if second >= 100 {
			now = now.Add(-5 * time.Hour)
		}
		var plan Plan
		if plan, m = Decide(now, p, o, m); plan.Replicas != nil {
			if second < 290 {
				t.Errorf("scaled down after %d s", second)
			}
			return
		}
	}
	t.Error("not scaled down after 310 s")
}
