// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/queuescaler/queuescaler/internal/simulate"
)

// ordinary days: no bad revision.
type ordinary struct {
	Runs int `json:"runs"`
	// Advice counts the runs with any advice to roll back.
	Advice int `json:"advice"`
	// Missed is the share of the time beyond the objective, OfMean the pod-hours as a share of those that keep up with the
	// mean, OfHPA as a share of the HPA rule's at its best target.
	Missed spread `json:"missed"`
	OfMean spread `json:"pod_hours_of_mean"`
	OfHPA  spread `json:"pod_hours_of_hpa"`
	Late   spread `json:"late_messages"`
}

func ordinaryDays(out io.Writer, s *simulate.Scenario, seed uint64, seeds int, c contestant) *ordinary {
	o := &ordinary{Runs: seeds}
	var missed, ofMean, ofHPA, late []float64
	for i := range seeds {
		r := play(s, seed+uint64(i), []contestant{c})
		ours := r.ours[0]
		if len(ours.Advice) > 0 {
			o.Advice++
		}
		missed = append(missed, float64(ours.SecondsBeyondObjective)/float64(s.Seconds()))
		ofMean = append(ofMean, ours.PodHours/r.mean.PodHours)
		ofHPA = append(ofHPA, ours.PodHours/r.best().PodHours)
		late = append(late, float64(ours.LateMessages))
	}
	o.Missed, o.OfMean, o.OfHPA, o.Late = spreadOf(missed), spreadOf(ofMean), spreadOf(ofHPA), spreadOf(late)
	fmt.Fprintf(out, "  median and worst: %.4f%% and %.4f%% of the time beyond the objective, pod-hours %.2f and %.2f of the mean's,\n"+
		"  %.2f and %.2f of the HPA rule's at its best target, %.0f and %.0f late; advice to roll back in %d of %d runs\n",
		100*o.Missed.Median, 100*o.Missed.Worst, o.OfMean.Median, o.OfMean.Worst, o.OfHPA.Median, o.OfHPA.Worst, o.Late.Median, o.Late.Worst, o.Advice, o.Runs)
	return o
}

func (o *ordinary) limits() []limit {
	return []limit{
		{"ordinary days: no advice", fmt.Sprintf("advice in %d of %d runs", o.Advice, o.Runs), o.Advice == 0},
		{"ordinary days: objective met for 99.9% of the time", fmt.Sprintf("missed for %.3f%% at worst", 100*o.Missed.Worst), o.Missed.Worst <= 0.001},
		{"ordinary days: pod-hours at most 1.45 of those that keep up with the mean", fmt.Sprintf("%.2f at worst", o.OfMean.Worst), o.OfMean.Worst <= 1.45},
		{"ordinary days: pod-hours at most 0.75 of the HPA rule's", fmt.Sprintf("%.2f at worst", o.OfHPA.Worst), o.OfHPA.Worst <= 0.75},
	}
}
