// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import "math"

// Oracle knows the future: what arrives, how fast the replicas will be, and that a revision is bad, so that it is never
// deployed. It asks for each pod a cold start early, and keeps one that would be missed within a cold start.
//
// With MeanOnly it is a yardstick instead: the fewest pods whose service rate is the mean arrival rate at each second,
// there at once, with no headroom. Its pod-hours are what any policy would need at least; it takes what chance brings
// as backlog.
type Oracle struct {
	MeanOnly bool

	wanted []int32
}

// Name is "oracle", or "mean".
func (o *Oracle) Name() string {
	if o.MeanOnly {
		return "mean"
	}
	return "oracle"
}

func (o *Oracle) begin(w *Plant) {
	w.deploys = nil
	if o.MeanOnly {
		w.fleet.coldStart = 0
		o.wanted = make([]int32, len(w.draws.mean))
		r := &w.scenario.Revisions[0]
		for t, mean := range w.draws.mean {
			o.wanted[t] = w.bounded(int32(math.Ceil(mean*r.Inflation/r.PerReplica - 1e-9)))
		}
		return
	}
	o.wanted = highestAhead(o.needs(w), w.scenario.ColdStartSeconds+1)
}

// Act asks for the pods that will be needed.
func (o *Oracle) Act(t int, w *Plant) {
	w.scale(t, o.wanted[min(t+1, len(o.wanted)-1)])
}

func (w *Plant) bounded(n int32) int32 {
	return min(max(n, w.scenario.MinReplicas), w.scenario.MaxReplicas)
}

// needs are the fewest pods with which the objective is met in each second, if that many were there.
func (o *Oracle) needs(w *Plant) []int32 {
	s, r := w.scenario, &w.scenario.Revisions[0]
	needs := make([]int32, len(w.draws.mean))
	backlog := 0.0
	for t, mean := range w.draws.mean {
		arrives, demand := float64(w.draws.count[t])*r.Inflation, mean*r.Inflation
		n := w.bounded(int32(math.Ceil(demand/r.PerReplica - 1e-9)))
		var left float64
		for ; ; n++ {
			rate := w.crowded(r.PerReplica, n)
			left = max(0, backlog+arrives-w.limited(float64(n)*rate*float64(w.draws.service[t])))
			spare := w.limited(float64(n)*rate) - demand
			if left <= float64(int64(n)*s.Concurrency) || left <= spare*float64(s.ObjectiveSeconds) || n >= s.MaxReplicas {
				break
			}
		}
		needs[t], backlog = n, left
	}
	return needs
}

// highestAhead is the highest of the coming n values, at each place.
func highestAhead(values []int32, n int) []int32 {
	highest := make([]int32, len(values))
	var rising []int // indices of values that none after them exceeds, from the end
	for i := len(values) - 1; i >= 0; i-- {
		for len(rising) > 0 && values[rising[len(rising)-1]] <= values[i] {
			rising = rising[:len(rising)-1]
		}
		rising = append(rising, i)
		for rising[0] >= i+n {
			rising = rising[1:]
		}
		highest[i] = values[rising[0]]
	}
	return highest
}
