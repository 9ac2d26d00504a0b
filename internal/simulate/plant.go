// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Plant is the queue and the pods that work it off, at one second after another.
type Plant struct {
	scenario *Scenario
	draws    *draws
	random   *rand.Rand
	fleet    *fleet
	slots    []*slot

	// queue holds what waits and what is in flight; the latter is its head.
	queue    fifo
	inFlight int64
	// arrived and completed count messages since the start, units the user work that they are made of.
	arrived, completed, units int64

	// Of the present second: user work per second on the average, as messages; what all replicas can complete, noise apart;
	// what is completed; whether every replica always had work.
	demand, capacity, throughput float64
	saturated                    bool

	// arriving, working and flying carry fractions of messages from second to second.
	arriving, working, flying float64

	// deploys are still to come; rolledBack is true once a rollback was made on advice.
	deploys    []Deploy
	rolledBack bool
	meter      meter
}

func newPlant(s *Scenario, d *draws, seed uint64) *Plant {
	return &Plant{
		scenario: s, draws: d, random: rand.New(rand.NewPCG(seed, 3)),
		fleet:   newFleet(0, s.Revisions[0].Number, s.Replicas, s.ColdStartSeconds),
		deploys: slices.Clone(s.Deploys),
		meter:   newMeter(s),
	}
}

// step plays second t: pods become available, messages arrive, messages are completed.
func (w *Plant) step(t int) {
	w.deploy(t)
	w.fleet.step(t)
	for _, s := range w.slots {
		if s.state == slotStarting && s.pod.ready <= t {
			s.state = slotWarm
			w.fleet.changes++
		}
	}
	s := w.serve()
	w.work(t, s)
	w.measure(t, s)
}

// deploy begins the rollouts that are due.
func (w *Plant) deploy(t int) {
	for len(w.deploys) > 0 && t >= w.scenario.step(w.deploys[0].At) {
		d := w.deploys[0]
		w.deploys = w.deploys[1:]
		if d.Reaction && w.rolledBack {
			continue
		}
		w.rollOut(t, w.scenario.revision(d.Revision), d.Seconds)
	}
}

// rollBack rolls out an earlier revision again. It reports whether there was anything to do.
func (w *Plant) rollBack(t, revision int) bool {
	if revision < 0 || revision == w.fleet.current.revision {
		return false
	}
	w.rolledBack = true
	w.meter.result.Rollbacks++
	w.rollOut(t, revision, w.rolloutSeconds())
	return true
}

// rolloutSeconds of a rollback: as long as the first deploy took.
func (w *Plant) rolloutSeconds() int {
	if len(w.scenario.Deploys) == 0 {
		return 2 * w.scenario.ColdStartSeconds
	}
	return w.scenario.Deploys[0].Seconds
}

func (w *Plant) rollOut(t, revision, seconds int) {
	w.fleet.deploy(revision, seconds)
	w.remark(t, RemarkRollout, fmt.Sprintf("revision %d rolls out", w.scenario.Revisions[revision].Number))
}

// serving is who works: how many replicas, their service rate on the average, and what they make of user work.
type serving struct {
	replicas        int32
	rate, inflation float64
}

// serve says who works now.
func (w *Plant) serve() serving {
	var s serving
	add := func(revision int, n int32) {
		r := &w.scenario.Revisions[revision]
		s.replicas += n
		s.rate += float64(n) * r.PerReplica
		s.inflation += float64(n) * r.Inflation
	}
	for _, set := range w.fleet.sets {
		add(set.revision, set.available)
	}
	for _, slot := range w.slots {
		if slot.state == slotLent {
			add(slot.revision, 1)
		}
	}
	if s.replicas == 0 {
		r := &w.scenario.Revisions[w.fleet.current.revision]
		return serving{rate: r.PerReplica, inflation: r.Inflation}
	}
	s.rate = w.crowded(s.rate/float64(s.replicas), s.replicas)
	s.inflation /= float64(s.replicas)
	return s
}

// crowded is the service rate of one among so many replicas.
func (w *Plant) crowded(rate float64, replicas int32) float64 {
	if l := &w.scenario.Limits; l.CrowdedFrom > 0 && replicas > l.CrowdedFrom {
		return rate * max(0, 1-l.CrowdedLossPercent/100*float64(replicas-l.CrowdedFrom))
	}
	return rate
}

// limited is a rate that the store downstream allows.
func (w *Plant) limited(rate float64) float64 {
	if limit := w.scenario.Limits.DownstreamPerSecond; limit > 0 {
		return min(rate, limit)
	}
	return rate
}

// work lets messages arrive and be completed in second t.
//
// In-flight messages are busy replicas × concurrency: by Little's law the rate of completions times the processing time,
// at most what all replicas hold. The rest of what is there waits.
func (w *Plant) work(t int, s serving) {
	w.demand = w.draws.mean[t] * s.inflation
	w.units += int64(w.draws.count[t])
	w.arriving += float64(w.draws.count[t]) * s.inflation
	arrives := int64(w.arriving)
	w.arriving -= float64(arrives)
	w.arrived += arrives
	w.queue.push(t, arrives)

	w.capacity = w.limited(s.rate * float64(s.replicas))
	holds := int64(s.replicas) * w.scenario.Concurrency
	can := w.limited(s.rate*float64(s.replicas)*float64(w.draws.service[t])) + w.working
	staying := min(w.inProcess(t, float64(arrives), s), holds, w.queue.length)
	completes := min(w.queue.length-staying, int64(can))
	w.saturated = s.replicas > 0 && w.queue.length-staying > int64(can)
	w.working = 0
	if w.saturated {
		w.working = can - float64(completes)
	}
	w.throughput = float64(completes)
	w.meter.result.LateMessages += w.queue.pop(completes, t-w.scenario.LateSeconds)
	w.completed += completes
	w.inFlight = staying
	if w.saturated {
		w.inFlight = min(holds, w.queue.length)
	}
}

// inProcess is how many messages are being processed at one instant of a second in which none waits.
func (w *Plant) inProcess(t int, arrivals float64, s serving) int64 {
	if s.replicas == 0 || s.rate <= 0 {
		return 0
	}
	busy := min(1, arrivals/(s.rate*float64(s.replicas)))
	growth := w.scenario.ProcessingGrowthPercent / 100
	// Of a replica that always has work, a message takes c/μ; of an idle one less, if processing grows with utilization.
	seconds := float64(w.scenario.Concurrency) / s.rate * (1 + growth*busy) / (1 + growth) / float64(w.draws.service[t])
	mean := arrivals * seconds
	if w.scenario.Arrivals.Poisson {
		return int64(poisson(w.random, mean))
	}
	w.flying += mean
	n := int64(w.flying)
	w.flying -= float64(n)
	return n
}

// depth is what waits.
func (w *Plant) depth() int64 { return w.queue.length - w.inFlight }

// age of the oldest message that waits, in seconds; 0 if none does.
func (w *Plant) age(t int) int {
	if w.depth() == 0 {
		return 0
	}
	return t - w.queue.oldest()
}

// counts of pods: those that exist (starting ones and slots included), and those in service.
func (w *Plant) counts() (pods, inService int32) {
	pods, inService = w.fleet.size()
	for _, s := range w.slots {
		if s.state != slotEnding {
			pods++
		}
		if s.state == slotLent {
			inService++
		}
	}
	return pods, inService
}

// scale sets the target's replicas.
func (w *Plant) scale(t int, replicas int32) {
	if replicas != w.fleet.wanted {
		w.meter.result.ScaleActions++
		w.fleet.scale(t, replicas)
	}
}
