// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// midnight begins every simulated story.
var midnight = time.Date(2026, 1, 15, 14, 0, 0, 0, time.UTC)

const (
	coldStart = 25 * time.Second
	slotStart = 40 * time.Second
)

// plant is a queue and a target, one step a second: messages wait in order, each serving pod completes rate of them.
type plant struct {
	policy Policy
	memory Memory
	now    time.Time

	// What a story changes.
	arrival  float64
	noise    float64 // λ is told wrong by up to this share, up and down in turns
	rate     float64
	fresh    bool
	mode     string // of the rollout
	mayUp    bool
	stable   time.Time
	foreign0 bool
	pool     int32
	// regressed: pods of the target do less than slots.
	regressed *Regressed
	// downstream is the most that all pods complete, messages/s; 0: no limit.
	downstream float64
	// partitions is how many pods can work at once; 0: any number.
	partitions int64
	cold       time.Duration
	// blind: nothing is told of blocks. measures: the rate is that of the last saturated block.
	blind, measures bool

	backlog   float64
	completed float64
	done      float64 // completed since the beginning
	waited    float64 // message-seconds in the queue
	told      float64
	forming   forming
	block     *Saturation
	quiet     time.Time
	replicas  int32
	pods      []time.Time // when each is available
	lent      int32
	warming   []time.Time
	writes    []int32
	plan      Plan
}

func newPlant(p Policy, replicas, pool int32) *plant {
	w := &plant{policy: p, now: midnight, rate: 8, told: 8, cold: coldStart, fresh: true, mode: "Stable", mayUp: true, stable: midnight, pool: pool, replicas: replicas}
	for range replicas {
		w.pods = append(w.pods, midnight)
	}
	return w
}

func (w *plant) available() int32 {
	n := int32(0)
	for _, ready := range w.pods {
		if !ready.After(w.now) {
			n++
		}
	}
	return n
}

// warm slots: those that are neither lent nor starting.
func (w *plant) warm() int32 {
	w.warming = slices.DeleteFunc(w.warming, func(ready time.Time) bool { return !ready.After(w.now) })
	return w.pool - w.lent - int32(len(w.warming))
}

// work plays the second before now.
func (w *plant) work() {
	w.backlog += w.arrival
	w.completed = min(w.backlog, w.capacity())
	w.backlog -= w.completed
	w.done += w.completed
	w.waited += w.backlog
	w.measure()
	if w.backlog < 1e-9 {
		w.backlog = 0
	}
	if w.backlog == 0 && w.arrival == 0 && w.completed == 0 {
		if w.quiet.IsZero() {
			w.quiet = w.now
		}
	} else {
		w.quiet = time.Time{}
	}
}

func (w *plant) capacity() float64 {
	slot := w.rate
	if w.regressed != nil {
		slot = w.regressed.Slot
	}
	all := float64(w.available())*w.rate + float64(w.lent)*slot
	if w.partitions > 0 {
		all = min(all, float64(w.partitions)*max(w.rate, slot))
	}
	if w.downstream > 0 {
		return min(all, w.downstream)
	}
	return all
}

// forming is a block that is not complete yet.
type forming struct {
	start     time.Time
	serving   int32
	done      float64
	saturated bool
}

// measure makes blocks of 60 s in which nothing changed but the queue.
func (w *plant) measure() {
	f := &w.forming
	n := w.available() + w.lent
	if w.available() < w.replicas || w.mode != "Stable" || n != f.serving || f.start.IsZero() {
		*f = forming{start: w.now, serving: n, done: w.done, saturated: true}
		return
	}
	f.saturated = f.saturated && w.backlog >= 2*float64(n)
	if w.now.Sub(f.start) < time.Minute {
		return
	}
	w.block = &Saturation{Start: f.start, End: w.now, Serving: n, Throughput: (w.done - f.done) / 60, Saturated: f.saturated}
	// What the pods of an ineffective step complete says nothing about what a pod can do.
	e, judged := w.memory.Verification().observed(w.now, *w.block).Effect()
	if w.measures && f.saturated && n > 0 && (w.blind || !judged || e >= 0.5) {
		w.told = w.block.Throughput / float64(n)
	}
	*f = forming{start: w.now, serving: n, done: w.done, saturated: true}
}

func (w *plant) observe() Observation {
	told := w.arrival * (1 + w.noise*math.Sin(float64(w.now.Unix())))
	x, inFlight := w.completed, int64(math.Ceil(w.completed/w.rate))
	inProgress := w.mode != "Stable" && w.mode != "Scaling"
	stable := w.stable
	if !inProgress {
		stable = time.Time{}
	}
	state := w.mode
	if state == "Stable" && w.available() < w.replicas {
		state = "Scaling"
	}
	rate := ServiceRate{PerReplica: w.told, Known: Given}
	if w.measures {
		rate.Known = Measured
	}
	block := w.block
	if w.blind {
		block = nil
	}
	if w.regressed != nil {
		rate = ServiceRate{PerReplica: w.regressed.Present, Known: Measured}
	}
	return Observation{
		Name: "availability",
		Target: Target{Found: true, Replicas: w.replicas, Available: w.available(), StartUp: w.cold, SettledOnce: true,
			ForeignZero: w.foreign0, OwnZero: w.replicas == 0 && !w.foreign0},
		Rollout: Rollout{State: state, InProgress: inProgress, MayScaleUp: w.mayUp, MayScaleDown: state == "Stable", MayLend: true,
			Progressing: w.mode == "Rolling", Hash: "6d5f8c", LastStable: stable, Message: "revision 7 " + strings.ToLower(w.mode)},
		Queues: []Queue{{Name: "status-changes", Weight: 1, Fresh: w.fresh, MostConsumers: w.partitions, Problem: "nats://q:4222 refused", Depth: int64(math.Ceil(w.backlog)),
			InFlight: &inFlight, Arrival: &told, Throughput: &x, QuietSince: w.quiet}},
		Rate:      rate,
		Pool:      Pool{Warm: w.warm(), Lent: w.lent, Coming: int32(len(w.warming)), StartUp: slotStart},
		Regressed: w.regressed,
		Block:     block,
	}
}

// second plays one second: work, decide, act.
func (w *plant) second() {
	w.now = w.now.Add(time.Second)
	w.work()
	o := w.observe()
	w.plan, w.memory = Decide(w.now, w.policy, o, w.memory)
	w.act()
}

func (w *plant) act() {
	for returned := w.lent - w.plan.Lent; returned > 0; returned-- {
		w.warming = append(w.warming, w.now.Add(slotStart))
	}
	w.lent = w.plan.Lent
	if w.plan.Replicas != nil {
		w.writes = append(w.writes, *w.plan.Replicas)
		w.scaleTo(*w.plan.Replicas)
	}
}

func (w *plant) scaleTo(n int32) {
	w.replicas = n
	for int32(len(w.pods)) < n {
		w.pods = append(w.pods, w.now.Add(w.cold))
	}
	w.pods = w.pods[:n]
}

func (w *plant) seconds(n int) {
	for range n {
		w.second()
	}
}

// tracer writes down what changes in a story.
type tracer struct {
	*plant
	text strings.Builder
	last string
}

func (t *tracer) note(format string, args ...any) {
	fmt.Fprintf(&t.text, "%s  -- %s\n", t.clock(), fmt.Sprintf(format, args...))
}

func (t *tracer) clock() string {
	s := int(t.now.Sub(midnight).Seconds())
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// run plays n seconds, and writes a line whenever something but the numbers in the message changes.
func (t *tracer) run(n int) {
	for range n {
		before := t.replicas
		t.second()
		p := t.plan
		desired, released := "-", ""
		if p.Desired != nil {
			desired = fmt.Sprint(*p.Desired)
		}
		if p.Released != nil {
			released = p.Released.Reason
		}
		key := fmt.Sprint(p.Held || p.Replicas == nil, t.replicas, p.Lent, p.Reason, p.Held, released, p.ObjectiveMet.Status, p.Active.Reason)
		if key == t.last {
			continue
		}
		t.last = key
		fmt.Fprintf(&t.text, "%s  backlog %4.0f  λ %3.0f  desired %2s  replicas %2d → %-2d  available %2d  lent %d  warm %d  met %-7s  %s\n",
			t.clock(), t.backlog, t.arrival, desired, before, t.replicas, t.available(), p.Lent, t.warm(), p.ObjectiveMet.Status, p.Reason)
		fmt.Fprintf(&t.text, "         %s\n", p.Message)
		if p.Released != nil {
			fmt.Fprintf(&t.text, "         %s: %s\n", p.Released.Reason, p.Released.Message)
		}
		if p.Active.Status != yes {
			fmt.Fprintf(&t.text, "         ScalingActive=%s %s: %s\n", p.Active.Status, p.Active.Reason, p.Active.Message)
		}
	}
}
