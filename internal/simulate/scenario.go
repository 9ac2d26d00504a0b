// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"time"

	"sigs.k8s.io/yaml"
)

// Incident is the built-in scenario: the incident that this project is measured by.
//
//go:embed incident.yaml
var Incident []byte

// Scenario is what happens, whatever the policy.
type Scenario struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	// Start and End bound the simulated time; whole seconds.
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`

	Arrivals Arrivals `json:"arrivals"`

	// Replicas at the start; MinReplicas and MaxReplicas bound the policies hpa and oracle.
	Replicas    int32 `json:"replicas"`
	MinReplicas int32 `json:"minReplicas"`
	MaxReplicas int32 `json:"maxReplicas"`
	// ColdStartSeconds until a pod that scaling adds is available; slots take as long.
	ColdStartSeconds int `json:"coldStartSeconds"`
	// Concurrency is how many messages one replica works on at once.
	Concurrency int64 `json:"concurrency"`
	// ObjectiveSeconds within which any backlog is to be worked off.
	ObjectiveSeconds int `json:"objectiveSeconds"`
	// LateSeconds is the age beyond which a message is late.
	LateSeconds int `json:"lateSeconds"`

	// Revisions that are ever deployed; the first runs at the start.
	Revisions []Revision `json:"revisions"`
	Limits    Limits     `json:"limits,omitempty"`
	Noise     Noise      `json:"noise,omitempty"`
	// ProcessingGrowthPercent by which processing takes longer on a busy replica than on an idle one.
	ProcessingGrowthPercent float64 `json:"processingGrowthPercent,omitempty"`

	Deploys []Deploy `json:"deploys,omitempty"`
	// People are what the policy people does to the number of replicas.
	People []Order `json:"people,omitempty"`
}

// Revision of the target.
type Revision struct {
	// Number as `kubectl rollout history` shows it.
	Number int64 `json:"number"`
	// PerReplica is the service rate: messages per second of one replica that always has work.
	PerReplica float64 `json:"perReplica"`
	// Inflation is how many messages one unit of user work makes; 0 means 1.
	Inflation float64 `json:"inflation,omitempty"`
}

// Limits are what more replicas do not overcome.
type Limits struct {
	// DownstreamPerSecond is what all replicas together complete at most; 0: no limit.
	DownstreamPerSecond float64 `json:"downstreamPerSecond,omitempty"`
	// CrowdedFrom is the number of replicas beyond which each one costs everyone CrowdedLossPercent of the service rate.
	CrowdedFrom        int32   `json:"crowdedFrom,omitempty"`
	CrowdedLossPercent float64 `json:"crowdedLossPercent,omitempty"`
}

// Noise of service rates, a first-order autoregression on their logarithm.
type Noise struct {
	// Deviation is its standard deviation, Seconds its correlation time.
	Deviation float64 `json:"deviation,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
}

// Deploy is a rollout.
type Deploy struct {
	At       time.Time `json:"at"`
	Revision int64     `json:"revision"`
	// Seconds that it takes in a fleet of usual size: two waves of pods, at 25 % surge and 25 % unavailable.
	Seconds int `json:"seconds"`
	// Reaction to the incident: left out once a rollback was made on advice.
	Reaction bool `json:"reaction,omitempty"`
}

// Order of people to change the number of replicas, one at a time.
type Order struct {
	At           time.Time `json:"at"`
	Replicas     int32     `json:"replicas"`
	EverySeconds int       `json:"everySeconds"`
}

// WithCounts replaces a scenario's arrivals by counts of each second. It then lasts as long as there are counts.
func WithCounts(counts []float64) func(*Scenario) {
	return func(s *Scenario) {
		s.Arrivals = Arrivals{PerSecond: counts}
		s.End = s.Start.Add(time.Duration(len(counts)) * time.Second)
	}
}

// Parse reads a scenario, changes it, and says what is wrong with it.
func Parse(text []byte, changes ...func(*Scenario)) (*Scenario, error) {
	s := &Scenario{Concurrency: 1, ColdStartSeconds: 60, ObjectiveSeconds: 60, LateSeconds: 120}
	if err := yaml.UnmarshalStrict(text, s); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	for _, change := range changes {
		change(s)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return s, nil
}

func (s *Scenario) validate() error {
	switch {
	case s.Seconds() < 60 || s.Seconds() > 100_000_000:
		return errors.New("end must be at least a minute and at most three years after start")
	case len(s.Revisions) == 0:
		return errors.New("revisions: name at least the one that runs at the start")
	case s.Replicas < 0 || s.MinReplicas < 0 || s.MaxReplicas < max(s.MinReplicas, 1) || s.MaxReplicas > 10_000:
		return errors.New("replicas and minReplicas must not be negative, maxReplicas at least minReplicas and at most 10000")
	case s.Concurrency < 1 || s.ObjectiveSeconds < 1 || s.LateSeconds < 1 || s.ColdStartSeconds < 0:
		return errors.New("concurrency, objectiveSeconds and lateSeconds must be at least 1, coldStartSeconds at least 0")
	case s.Noise.Deviation < 0 || s.Noise.Deviation > 1 || s.ProcessingGrowthPercent < 0 || s.ProcessingGrowthPercent > 1000:
		return errors.New("noise.deviation must be within 0 and 1, processingGrowthPercent within 0 and 1000")
	}
	if err := s.validateRevisions(); err != nil {
		return err
	}
	return s.Arrivals.validate()
}

func (s *Scenario) validateRevisions() error {
	known := map[int64]bool{}
	for i := range s.Revisions {
		r := &s.Revisions[i]
		if r.Inflation == 0 {
			r.Inflation = 1
		}
		if !(r.PerReplica > 0) || !(r.Inflation > 0) || math.IsInf(r.PerReplica*r.Inflation, 0) || r.Number < 1 || known[r.Number] {
			return fmt.Errorf("revision %d: number must be its own, perReplica and inflation above 0", r.Number)
		}
		known[r.Number] = true
	}
	for _, d := range s.Deploys {
		if !known[d.Revision] || d.Seconds < 2 || d.At.Before(s.Start) {
			return fmt.Errorf("deploy of revision %d at %s: the revision must be known, the time within the scenario, and seconds at least 2",
				d.Revision, d.At.Format(time.RFC3339))
		}
	}
	return nil
}

// Seconds that the scenario lasts.
func (s *Scenario) Seconds() int { return int(s.End.Sub(s.Start) / time.Second) }

// At is the time of a step.
func (s *Scenario) At(t int) time.Time { return s.Start.Add(time.Duration(t) * time.Second) }

// step is the step of a time.
func (s *Scenario) step(at time.Time) int { return int(at.Sub(s.Start) / time.Second) }

// revision by its number; the index in Revisions.
func (s *Scenario) revision(number int64) int {
	for i := range s.Revisions {
		if s.Revisions[i].Number == number {
			return i
		}
	}
	return -1
}

// Scaled is the scenario with other service rates and another limit downstream, as factors of the present ones.
func (s *Scenario) Scaled(rates, downstream float64) *Scenario {
	scaled := *s
	scaled.Revisions = make([]Revision, len(s.Revisions))
	for i, r := range s.Revisions {
		r.PerReplica *= rates
		scaled.Revisions[i] = r
	}
	scaled.Limits.DownstreamPerSecond *= downstream
	return &scaled
}

// Ordinary is the scenario without any deploy, and without what people did: ordinary days.
func (s *Scenario) Ordinary() *Scenario {
	ordinary := *s
	ordinary.Name, ordinary.Deploys, ordinary.People = "ordinary", nil, nil
	return &ordinary
}
