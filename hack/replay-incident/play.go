// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"slices"
	"sync"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/simulate"
)

// targets of the HPA rule that are tried: messages for each replica.
var targets = []int64{5, 10, 20, 50, 100, 200}

// followSeconds after an advice appeared, a person follows it.
const followSeconds = 300

// contestant makes a policy. Each run has a policy of its own.
type contestant struct {
	name   string
	policy func() simulate.Policy
}

// queueScalers are the ways to use QueueScaler that are compared.
func queueScalers() ([]contestant, error) {
	qs, err := simulate.ParseQueueScaler(simulate.IncidentQueueScaler)
	if err != nil {
		return nil, err
	}
	advise := func(name string, hidesInFlight bool) contestant {
		return contestant{name, func() simulate.Policy {
			return &simulate.QueueScaler{Label: name, Manifest: qs, HidesInFlight: hidesInFlight, FollowSeconds: followSeconds}
		}}
	}
	rollsBack := qs.DeepCopy()
	rollsBack.Spec.Rollout.OnRegression = capacityv1alpha1.OnRegressionRollBack
	return []contestant{
		advise(nameAdvise, true),
		advise(nameAdviseInFlight, false),
		{nameRollBack, func() simulate.Policy {
			return &simulate.QueueScaler{Label: nameRollBack, Manifest: rollsBack, HidesInFlight: true}
		}},
	}, nil
}

// Names of the contestants.
const (
	nameAdvise         = "queuescaler/advise"
	nameAdviseInFlight = "queuescaler/advise+in-flight"
	nameRollBack       = "queuescaler/roll-back"
)

// replay is one scenario and seed, played by everyone.
type replay struct {
	people, oracle, mean *simulate.Result
	hpa                  []*simulate.Result
	ours                 []*simulate.Result
}

func play(s *simulate.Scenario, seed uint64, contestants []contestant) *replay {
	r := &replay{hpa: make([]*simulate.Result, len(targets)), ours: make([]*simulate.Result, len(contestants))}
	var jobs []func()
	add := func(into **simulate.Result, p simulate.Policy) {
		jobs = append(jobs, func() { *into = simulate.Run(s, p, seed) })
	}
	for i, c := range contestants {
		add(&r.ours[i], c.policy())
	}
	add(&r.people, simulate.People{})
	add(&r.oracle, &simulate.Oracle{})
	add(&r.mean, &simulate.Oracle{MeanOnly: true})
	for i, target := range targets {
		add(&r.hpa[i], &simulate.HPA{Target: target})
	}
	together(jobs)
	return r
}

// best of the HPA rule's targets: with the fewest late messages, and of equals with the fewest pod-hours.
func (r *replay) best() *simulate.Result {
	return slices.MinFunc(r.hpa, func(a, b *simulate.Result) int {
		switch {
		case a.LateMessages != b.LateMessages:
			return int(min(max(a.LateMessages-b.LateMessages, -1), 1))
		case a.PodHours < b.PodHours:
			return -1
		}
		return 1
	})
}

// of is the result of a contestant.
func (r *replay) of(name string) *simulate.Result {
	i := slices.IndexFunc(r.ours, func(r *simulate.Result) bool { return r.Policy == name })
	return r.ours[i]
}

// together runs jobs, as many at a time as there are processors.
func together(jobs []func()) {
	var wait sync.WaitGroup
	next := make(chan func())
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for job := range next {
				job()
			}
		})
	}
	for _, job := range jobs {
		next <- job
	}
	close(next)
	wait.Wait()
}
