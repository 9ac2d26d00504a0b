// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// HasDriver reports whether something counts the user work.
func HasDriver(spec *capacityv1alpha1.QueueScalerSpec) bool { return spec.Driver.Name != "" }

// Sources are what is read: the queues, and after them the driver. Its name there is one that no queue can have.
func Sources(spec *capacityv1alpha1.QueueScalerSpec) []capacityv1alpha1.Queue {
	if !HasDriver(spec) {
		return spec.Queues
	}
	d := &spec.Driver
	return append(slices.Clone(spec.Queues), capacityv1alpha1.Queue{
		Name: "driver/" + d.Name, PollSeconds: d.PollSeconds, QueueSource: d.QueueSource,
	})
}

// TakeSamples takes in the newest readings of Sources.
func (seen *Observation) TakeSamples(samples []queue.Sample) {
	if n := len(seen.QueueScaler.Spec.Queues); HasDriver(&seen.QueueScaler.Spec) && n < len(samples) {
		samples, seen.Driver = samples[:n], &samples[n]
	}
	seen.Samples = samples
}

// learnSources notices that other sources are read than before, whose past says nothing about them.
func (s *Memory) learnSources(seen *Observation) {
	spec := &seen.QueueScaler.Spec
	sources := seen.QueueServers
	for i := range spec.Queues {
		sources += digest(&spec.Queues[i].QueueSource)
	}
	driver := ""
	if HasDriver(spec) {
		driver = digest(&spec.Driver.QueueSource) + seen.QueueServers
	}
	if sources != s.sources {
		s.Capacity.RestartDay()
	}
	if driver != s.driver {
		s.Capacity.RestartDriver()
		for i := range s.blocks {
			s.blocks[i].Driver = 0
		}
	}
	s.sources, s.driver = sources, driver
}

// digest identifies a source.
func digest(source *capacityv1alpha1.QueueSource) string {
	text, err := json.Marshal(source)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// learnDriver takes in what the driver told, or without one what the deploy did to arrivals. It returns the readings of the queues.
func (s *Memory) learnDriver(seen *Observation, readings [][]queue.Reading) [][]queue.Reading {
	s.Capacity.Stay(seen.Now, s.Ledger.PresentKey())
	s.Ledger.Drive(s.driver, seen.Now)
	if !HasDriver(&seen.QueueScaler.Spec) {
		s.Ledger.Step(s.Capacity.Step(seen.Now).Factor(), seen.Now)
		return readings
	}
	s.Ledger.Step(0, seen.Now)
	n := len(seen.QueueScaler.Spec.Queues)
	if len(readings) <= n {
		return readings
	}
	for _, reading := range readings[n] {
		s.Capacity.ObserveDriver(reading)
	}
	return readings[:n]
}

// driverStatus tells whether the driver can be read; nil where there is none.
func driverStatus(seen *Observation) *capacityv1alpha1.DriverStatus {
	sample := seen.Driver
	switch {
	case sample == nil:
		return nil
	case sample.Quality != queue.Fresh:
		return &capacityv1alpha1.DriverStatus{Reason: sample.Reason,
			Message: Clip(sentences(sample.Message, "Until it is read, arrivals are not compared; all else goes on"), 1024)}
	case sample.Reading.ArrivedTotal == nil:
		return &capacityv1alpha1.DriverStatus{Reason: capacityv1alpha1.ReasonArrivalRateUnknown,
			Message: "it is read, and does not tell how much arrived: arrivals are not compared"}
	}
	return &capacityv1alpha1.DriverStatus{Reason: sample.Reason, Message: Clip(sample.Message, 1024)}
}

// moreWorkText says what is known of the replicas of a revision that makes more work.
func moreWorkText(r *revision.Record) string {
	if r.RateWatch.Verdict == revision.NoRegression {
		return ": the revision makes more work, its replicas are not slower"
	}
	return ": the revision makes more work; that its replicas are slower was not found"
}

// arrivalsFinding is the condition ThroughputRegressed of a revision against which arrivals speak: they say nothing about throughput.
func arrivalsFinding(seen *Observation, d *Decision, s *Memory) scaling.Finding {
	r := s.Ledger.Present()
	switch {
	case r.Verdict == revision.Suspected:
		return unknown(capacityv1alpha1.ReasonSuspected, suspicionText(seen, s))
	case r.RateWatch.Verdict == revision.NoRegression:
		return no(capacityv1alpha1.ReasonArrivalsInflated, regressionText(seen, s, &d.Plan))
	}
	return unknown(capacityv1alpha1.ReasonArrivalsInflated, regressionText(seen, s, &d.Plan))
}

// suspectedByArrivals: without a driver, more arrives since the deploy.
func suspectedByArrivals(s *Memory) bool {
	r := s.Ledger.Present()
	return r != nil && r.Verdict == revision.Suspected && r.Basis == revision.Arrivals && r.Flagged()
}

// suspicionText is what speaks for a revision that makes more work, without a driver.
func suspicionText(seen *Observation, s *Memory) string {
	step := s.Capacity.Step(seen.Now)
	return fmt.Sprintf("since %s was deployed, %.2f times as many messages arrive as at the same time of the day before, and in the hour before the rollout %.2f times as many did (%s%.0f %%). "+
		"That may be the day, or the revision makes more work: to tell, set spec.driver to a counter of user work",
		nameOf(s.Ledger.Present()), step.After, step.Before, sign(step.Factor()-1), 100*abs(step.Factor()-1))
}

// inflated: arrivals have a rollback advised.
func inflated(d *capacityv1alpha1.Diagnosis) bool {
	return d.Cause == capacityv1alpha1.CauseArrivalsInflated && strings.HasPrefix(d.Advice, capacityv1alpha1.AdviceRollBack)
}
