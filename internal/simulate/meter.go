// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"math"
	"time"
)

// Result is what came of one policy.
type Result struct {
	Policy string `json:"policy"`
	Seed   uint64 `json:"seed"`
	// Ours is true for the policy queuescaler.
	Ours bool `json:"-"`
	// Messages completed, and those that were late: older than the bound when they were completed, or still there at the end.
	Messages     int64 `json:"messages"`
	LateMessages int64 `json:"late_messages"`
	// SecondsBeyondObjective in which more waited than the replicas work on at once, and at the present capacity it would
	// take longer than the objective to work that off: backlog / (capacity − λ), with what the plant knows of both.
	SecondsBeyondObjective int   `json:"seconds_beyond_objective"`
	PeakBacklog            int64 `json:"peak_backlog"`
	PeakAgeSeconds         int   `json:"peak_age_s"`
	// PodHours of all pods: starting, serving, standby.
	PodHours     float64 `json:"pod_hours"`
	ScaleActions int     `json:"scale_actions"`
	// SlotsLent counts how often a standby slot was put in service.
	SlotsLent int `json:"slots_lent"`
	Rollbacks int `json:"rollbacks"`

	// Advice is every advice to roll back, in order. The fields before it are of the first one.
	FirstAdvice
	Advice []Advice `json:"advice"`
	// KnownGood are the revisions that came to be known-good, in order.
	KnownGood []int64 `json:"known_good,omitempty"`

	Elasticity Elasticity `json:"elasticity"`
	Timeline   []Remark   `json:"timeline"`
	Series     *Series    `json:"-"`
}

// FirstAdvice is the first advice to roll back; nothing in it is set without one.
type FirstAdvice struct {
	// AfterRolloutSeconds is from the end of the rollout of the revision that it was about, AfterSaturatedSeconds from the
	// end of that revision's first saturated minute; null where that had not been yet.
	AfterRolloutSeconds   *int `json:"advice_after_rollout_s"`
	AfterSaturatedSeconds *int `json:"advice_after_first_saturated_minute_s"`
	// To is the revision that was to be rolled back to.
	To *int64 `json:"advised_revision"`
}

// Advice to roll back.
type Advice struct {
	At time.Time `json:"at"`
	// To and Against are the revisions that were to be rolled back to, and rolled back.
	To      int64 `json:"to"`
	Against int64 `json:"against"`
}

// Elasticity are the SPEC Research Group's metrics: N. Herbst et al., "Quantifying Cloud Performance and Dependability:
// Taxonomy, Metric Design, and Emerging Challenges", ACM ToMPECS 3(4), 2018, section 3.2. With demand d, the fewest replicas
// whose service rate is the arrival rate, and supply s, the replicas in service, over the time T:
//
//	UnderAccuracy   100/T · Σ max(d−s, 0)/d     OverAccuracy   100/T · Σ max(s−d, 0)/d
//	UnderShare      100/T · Σ [d > s]           OverShare      100/T · Σ [s > d]
//
// All in percent, and 0 is best.
type Elasticity struct {
	UnderAccuracy float64 `json:"under_accuracy_percent"`
	OverAccuracy  float64 `json:"over_accuracy_percent"`
	UnderShare    float64 `json:"under_share_percent"`
	OverShare     float64 `json:"over_share_percent"`
}

// Kinds of Remark.
const (
	RemarkRollout   = "rollout"
	RemarkComplete  = "complete"
	RemarkSaturated = "saturated"
	RemarkVerdict   = "verdict"
	RemarkAdvice    = "advice"
	RemarkRollback  = "rollback"
)

// Remark is something that happened.
type Remark struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

// Series are samples for a picture, one for each interval of Every seconds.
type Series struct {
	Every int
	// Work is user work per second on the average; Backlog and Drain are the most of the interval, Drain in seconds (+Inf:
	// never); InService, Pods, Lent and Needed are pods at its end, Needed the fewest whose service rate is the arrival rate.
	Work, Backlog, Drain, InService, Pods, Lent, Needed []float64
	// Rolling is true where a rollout was in progress; Revision is the number of the current one.
	Rolling  []bool
	Revision []int64
}

// samples are how many intervals a picture has at most.
const samples = 1200

// meter measures while the plant runs.
type meter struct {
	result     Result
	podSeconds int64
	// saturatedFor seconds in a row every replica had work, outside a rollout.
	saturatedFor int
	// completed and saturated are, of each revision, the second in which its rollout was complete, and the end of its first
	// saturated minute; -1: not yet.
	completed, saturated []int
	wasRolling           bool
}

func newMeter(s *Scenario) meter {
	m := meter{completed: make([]int, len(s.Revisions)), saturated: make([]int, len(s.Revisions))}
	for i := range s.Revisions {
		m.completed[i], m.saturated[i] = -1, -1
	}
	m.completed[0] = 0
	m.result.Series = &Series{Every: max(1, (s.Seconds()+samples-1)/samples)}
	return m
}

func (w *Plant) remark(t int, kind, text string) {
	w.meter.result.Timeline = append(w.meter.result.Timeline, Remark{w.scenario.At(t), kind, text})
}

// measure takes second t into account.
func (w *Plant) measure(t int, s serving) {
	m, r := &w.meter, &w.meter.result
	pods, inService := w.counts()
	m.podSeconds += int64(pods)
	backlog := w.depth()
	r.PeakBacklog = max(r.PeakBacklog, backlog)
	r.PeakAgeSeconds = max(r.PeakAgeSeconds, w.age(t))
	drain := w.drain(s)
	if drain > float64(w.scenario.ObjectiveSeconds) {
		r.SecondsBeyondObjective++
	}
	needed := 0.0
	if s.rate > 0 && w.demand > 0 {
		needed = math.Ceil(w.demand/s.rate - 1e-9)
		r.Elasticity.add(needed, float64(inService))
	}
	w.watch(t)
	m.sample(t, w, drain, float64(pods), float64(inService), needed)
}

// drain is how long it takes to work off what waits, in seconds. What the replicas take at once is no backlog.
func (w *Plant) drain(s serving) float64 {
	waiting := float64(w.depth())
	switch {
	case waiting <= float64(int64(s.replicas)*w.scenario.Concurrency):
		return 0
	case w.capacity <= w.demand:
		return math.Inf(1)
	}
	return waiting / (w.capacity - w.demand)
}

func (e *Elasticity) add(demand, supply float64) {
	switch {
	case supply < demand:
		e.UnderAccuracy += (demand - supply) / demand
		e.UnderShare++
	case supply > demand:
		e.OverAccuracy += (supply - demand) / demand
		e.OverShare++
	}
}

// watch notes when a rollout was complete, and a revision's first saturated minute.
func (w *Plant) watch(t int) {
	m, current := &w.meter, w.fleet.current.revision
	if m.wasRolling && !w.fleet.rolling {
		m.completed[current] = t
		w.remark(t, RemarkComplete, fmt.Sprintf("revision %d is complete", w.scenario.Revisions[current].Number))
	}
	m.wasRolling = w.fleet.rolling
	if !w.saturated || w.fleet.rolling {
		m.saturatedFor = 0
		return
	}
	m.saturatedFor++
	if m.saturatedFor >= 60 && m.saturated[current] < 0 {
		m.saturated[current] = t
		w.remark(t, RemarkSaturated, fmt.Sprintf("first saturated minute of revision %d", w.scenario.Revisions[current].Number))
	}
}

// advised notes an advice to roll back to the revision of a number.
func (w *Plant) advised(t int, to int64) {
	r, current := &w.meter.result, w.fleet.current.revision
	if revision := w.fleet.withNumber(to); revision >= 0 {
		to = w.scenario.Revisions[revision].Number // it may have got another number since
	}
	r.Advice = append(r.Advice, Advice{w.scenario.At(t), to, w.scenario.Revisions[current].Number})
	if r.FirstAdvice.To != nil {
		return
	}
	r.FirstAdvice.To = &to
	if done := w.meter.completed[current]; done >= 0 {
		r.AfterRolloutSeconds = new(t - done)
	}
	if saturated := w.meter.saturated[current]; saturated >= 0 {
		r.AfterSaturatedSeconds = new(t - saturated)
	}
}

func (m *meter) sample(t int, w *Plant, drain, pods, inService, needed float64) {
	s := m.result.Series
	i := t / s.Every
	if t%s.Every == 0 {
		for _, values := range []*[]float64{&s.Work, &s.Backlog, &s.Drain, &s.InService, &s.Pods, &s.Lent, &s.Needed} {
			*values = append(*values, 0)
		}
		s.Rolling, s.Revision = append(s.Rolling, false), append(s.Revision, 0)
	}
	_, available := w.fleet.size()
	s.Work[i] += w.draws.mean[t] / float64(s.Every)
	s.Backlog[i] = max(s.Backlog[i], float64(w.depth()))
	s.Drain[i] = max(s.Drain[i], drain)
	s.InService[i], s.Pods[i], s.Lent[i], s.Needed[i] = inService, pods, inService-float64(available), needed
	s.Rolling[i] = s.Rolling[i] || w.fleet.rolling
	s.Revision[i] = w.scenario.Revisions[w.fleet.current.revision].Number
}

// end completes the result after the last second, t of them in all.
func (w *Plant) end(t int) *Result {
	r := w.meter.result
	r.Messages = w.completed
	r.LateMessages += w.queue.before(t - w.scenario.LateSeconds)
	r.PodHours = float64(w.meter.podSeconds) / 3600
	e := &r.Elasticity
	for _, sum := range []*float64{&e.UnderAccuracy, &e.OverAccuracy, &e.UnderShare, &e.OverShare} {
		*sum *= 100 / float64(t)
	}
	return &r
}
