// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics is what the operator exports beside controller-runtime's own metrics. Series of a QueueScaler are
// deleted when it goes. What is not known has no series: absence is never zero.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// Metrics of all QueueScalers.
type Metrics struct {
	backlog, arrival, throughput, drain   *prometheus.GaugeVec
	desired, target, available, slots     *prometheus.GaugeVec
	rollout, held, fresh                  *prometheus.GaugeVec
	serviceRate, regressed, advised       *prometheus.GaugeVec
	scaleWrites, slotsLent, slotsReturned *prometheus.CounterVec
	rollbacks                             *prometheus.CounterVec
	reaction                              prometheus.Histogram
}

const prefix = "queuescaler_"

// New returns metrics registered with r.
func New(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, append([]string{"namespace", "queuescaler"}, labels...))
		r.MustRegister(g)
		return g
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, append([]string{"namespace", "queuescaler"}, labels...))
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		backlog:       gauge("backlog_messages", "Messages waiting, all queues together. No series while no reading is fresh."),
		arrival:       gauge("arrival_messages_per_second", "Messages entering per second."),
		throughput:    gauge("throughput_messages_per_second", "Messages completed per second by all replicas."),
		drain:         gauge("drain_seconds", "Time until the backlog is gone at the present capacity. +Inf while arrivals exceed it."),
		desired:       gauge("desired_replicas", "Replicas that are wanted, after stabilization and limits, and holds apart."),
		target:        gauge("target_replicas", "spec.replicas of the target."),
		available:     gauge("available_replicas", "Available pods of the target, lent slots not included."),
		slots:         gauge("standby_slots", "Standby slots by state: warm, lent, starting.", "state"),
		rollout:       gauge("rollout_in_progress", "1 while a rollout of the target is in progress, else 0."),
		held:          gauge("held", "1 while the target's replicas are wanted to change and are left alone, else 0."),
		fresh:         gauge("queue_reading_fresh", "1 while the newest reading of the queue may be decided upon, else 0.", "queue"),
		serviceRate:   gauge("service_rate_messages_per_second", "What one replica of the present revision completes per second while it always has work, as it is decided by."),
		regressed:     gauge("throughput_regressed", "1 while the present revision does less per replica than the known-good one did, else 0."),
		advised:       gauge("rollback_advised", "1 while a rollback is advised, else 0."),
		scaleWrites:   counter("scale_writes_total", "Writes of the target's replicas.", "direction"),
		slotsLent:     counter("slots_lent_total", "Slots put in service."),
		rollbacks:     counter("rollbacks_total", "Times that the target's template was patched back to the known-good revision's."),
		slotsReturned: counter("slots_returned_total", "Slots taken out of service."),
		reaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    prefix + "reaction_seconds",
			Help:    "Time from the reading that showed a backlog to the write that lent slots or scaled the target.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	r.MustRegister(m.reaction)
	return m
}

// Snapshot is what is exported of one QueueScaler. nil is unknown.
type Snapshot struct {
	Backlog, Arrival, Throughput, Drain *float64
	Desired                             *int32
	Target, Available                   int32
	Warm, Lent, Starting                *int32
	RolloutInProgress, Held             bool
	// ServiceRate is μ, messages/s of one replica.
	ServiceRate        *float64
	Regressed, Advised bool
	// Fresh tells of each queue whether its newest reading may be decided upon.
	Fresh map[string]bool
}

// Set exports a snapshot.
func (m *Metrics) Set(key types.NamespacedName, s Snapshot) {
	optional(m.backlog, key, s.Backlog)
	optional(m.arrival, key, s.Arrival)
	optional(m.throughput, key, s.Throughput)
	optional(m.drain, key, s.Drain)
	optional(m.desired, key, s.Desired)
	m.target.WithLabelValues(key.Namespace, key.Name).Set(float64(s.Target))
	m.available.WithLabelValues(key.Namespace, key.Name).Set(float64(s.Available))
	optional(m.slots, key, s.Warm, "warm")
	optional(m.slots, key, s.Lent, "lent")
	optional(m.slots, key, s.Starting, "starting")
	m.rollout.WithLabelValues(key.Namespace, key.Name).Set(flag(s.RolloutInProgress))
	m.held.WithLabelValues(key.Namespace, key.Name).Set(flag(s.Held))
	optional(m.serviceRate, key, s.ServiceRate)
	m.regressed.WithLabelValues(key.Namespace, key.Name).Set(flag(s.Regressed))
	m.advised.WithLabelValues(key.Namespace, key.Name).Set(flag(s.Advised))
	m.fresh.DeletePartialMatch(labelsOf(key))
	for queue, fresh := range s.Fresh {
		m.fresh.WithLabelValues(key.Namespace, key.Name, queue).Set(flag(fresh))
	}
}

// Scaled counts a write of the target's replicas.
func (m *Metrics) Scaled(key types.NamespacedName, from, to int32) {
	direction := "up"
	if to < from {
		direction = "down"
	}
	m.scaleWrites.WithLabelValues(key.Namespace, key.Name, direction).Inc()
}

// SlotsLent counts slots put in service.
func (m *Metrics) SlotsLent(key types.NamespacedName, n int) {
	m.slotsLent.WithLabelValues(key.Namespace, key.Name).Add(float64(n))
}

// SlotsReturned counts slots taken out of service.
func (m *Metrics) SlotsReturned(key types.NamespacedName, n int) {
	m.slotsReturned.WithLabelValues(key.Namespace, key.Name).Add(float64(n))
}

// RolledBack counts a rollback.
func (m *Metrics) RolledBack(key types.NamespacedName) {
	m.rollbacks.WithLabelValues(key.Namespace, key.Name).Inc()
}

// Reacted observes the time from a reading to the write that it caused, in seconds.
func (m *Metrics) Reacted(seconds float64) { m.reaction.Observe(seconds) }

// Forget deletes every series of a QueueScaler that is gone.
func (m *Metrics) Forget(key types.NamespacedName) {
	for _, g := range []*prometheus.GaugeVec{m.backlog, m.arrival, m.throughput, m.drain, m.desired, m.target, m.available,
		m.slots, m.rollout, m.held, m.fresh, m.serviceRate, m.regressed, m.advised} {
		g.DeletePartialMatch(labelsOf(key))
	}
	for _, c := range []*prometheus.CounterVec{m.scaleWrites, m.slotsLent, m.slotsReturned, m.rollbacks} {
		c.DeletePartialMatch(labelsOf(key))
	}
}

func optional[N int32 | float64](g *prometheus.GaugeVec, key types.NamespacedName, value *N, more ...string) {
	labels := append([]string{key.Namespace, key.Name}, more...)
	if value == nil {
		g.DeleteLabelValues(labels...)
		return
	}
	g.WithLabelValues(labels...).Set(float64(*value))
}

func labelsOf(key types.NamespacedName) prometheus.Labels {
	return prometheus.Labels{"namespace": key.Namespace, "queuescaler": key.Name}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
