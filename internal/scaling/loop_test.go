// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"slices"
	"testing"
	"time"
)

// TestBurstIsDrained closes the loop: a burst onto a fleet whose pods take 25 s is drained within the objective, with one
// step up and few down, although λ is told wrong by up to 8 % all the time.
func TestBurstIsDrained(t *testing.T) {
	w := newPlant(chat(), 12, 3)
	w.arrival, w.noise = 70, 0.08
	w.seconds(400)
	if len(w.writes) != 0 {
		t.Fatalf("wrote %v while calm", w.writes)
	}
	w.backlog += 3000
	began := w.now
	for w.backlog > 0 {
		w.second()
		if w.now.Sub(began) > 5*time.Minute {
			t.Fatalf("backlog %.0f after 5 min", w.backlog)
		}
	}
	// The first pods are there after the cold start; what they miss meanwhile the slots do.
	if took := w.now.Sub(began).Seconds(); took > w.policy.Drain.Seconds+coldStart.Seconds()/2 {
		t.Errorf("drained after %.0f s", took)
	}
	w.seconds(1000)
	if len(w.writes) == 0 || w.replicas > 13 || w.lent != 0 || w.warm() != 3 {
		t.Errorf("ended at %d replicas, %d lent, %d warm, writes %v", w.replicas, w.lent, w.warm(), w.writes)
	}
	top := slices.Index(w.writes, slices.Max(w.writes))
	if up, down := w.writes[:top+1], w.writes[top:]; len(w.writes) > 4 || !slices.IsSorted(up) || !slices.IsSortedFunc(down, func(a, b int32) int { return int(b - a) }) {
		t.Errorf("it oscillates: %v", w.writes)
	}
}

// TestSurgeSettles: a lasting surge is followed in at most two steps, and nothing is written in the hour after.
func TestSurgeSettles(t *testing.T) {
	w := newPlant(chat(), 12, 3)
	w.arrival, w.noise = 70, 0.08
	w.seconds(400)
	w.arrival = 180
	w.seconds(1000)
	settled := len(w.writes)
	w.seconds(3600)
	if settled > 4 || len(w.writes) != settled || w.plan.ObjectiveMet.Status != yes || w.replicas < 28 || w.replicas > 32 {
		t.Errorf("%d replicas after writes %v, %d of them late; %+v", w.replicas, w.writes, len(w.writes)-settled, w.plan.ObjectiveMet)
	}
}

// TestBurstsDoNotChurn: a burst every minute lends and returns no slot again and again.
func TestBurstsDoNotChurn(t *testing.T) {
	w := newPlant(chat(), 12, 3)
	w.arrival = 70
	w.seconds(400)
	returned, before := 0, w.lent
	for range 20 {
		w.backlog += 2400
		for range 60 {
			w.second()
			if w.lent < before {
				returned++
			}
			before = w.lent
		}
	}
	if returned > 2 {
		t.Errorf("slots were returned %d times in 20 bursts", returned)
	}
}

func BenchmarkDecide(b *testing.B) {
	p, o := chat(), calm()
	m := watched(p, o)
	now := noon
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		_, m = Decide(now, p, o, m)
	}
}

// BenchmarkDecideNoisy decides upon a load that is never the same, during a rollout.
func BenchmarkDecideNoisy(b *testing.B) {
	w := newPlant(chat(), 12, 3)
	w.arrival, w.noise, w.mode, w.mayUp = 150, 0.3, "Rolling", false
	w.seconds(1000)
	observations := make([]Observation, 64)
	for i := range observations {
		w.second()
		observations[i] = w.observe()
	}
	m, now := w.memory, w.now
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Second)
		_, m = Decide(now, w.policy, observations[i%len(observations)], m)
	}
}
