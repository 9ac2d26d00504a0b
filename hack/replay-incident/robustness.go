// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/queuescaler/queuescaler/internal/simulate"
)

// variant of the scenario: factors of all service rates, and of the limit downstream.
type variant struct {
	name              string
	rates, downstream float64
}

var variants = []variant{
	{"as it is", 1, 1},
	{"rates -20%", 0.8, 1},
	{"rates +20%", 1.2, 1},
	{"downstream -20%", 1, 0.8},
	{"downstream +20%", 1, 1.2},
}

// spread is the median and the worst of all seeds.
type spread struct {
	Median float64 `json:"median"`
	Worst  float64 `json:"worst"`
}

func spreadOf(values []float64) spread {
	slices.Sort(values)
	return spread{values[len(values)/2], values[len(values)-1]}
}

// summary of one variant and policy over all seeds. Worst is the highest of each.
type summary struct {
	Variant string `json:"variant"`
	Policy  string `json:"policy"`
	Late    spread `json:"late_messages"`
	// Of are the late messages as a share of those under people, and under the HPA rule at its best target; PodHours those
	// as a share of the latter's.
	OfPeople spread `json:"late_of_people"`
	OfHPA    spread `json:"late_of_hpa"`
	PodHours spread `json:"pod_hours_of_hpa"`
	// AdviceAfterRollout is in seconds, of the runs with advice. Advised counts the runs whose first advice is the right one,
	// Wrong those with any other.
	AdviceAfterRollout spread `json:"advice_after_rollout_s"`
	Advised            int    `json:"advised"`
	Wrong              int    `json:"wrong"`
	Runs               int    `json:"runs"`
}

func robustness(out io.Writer, s *simulate.Scenario, seed uint64, seeds int, contestants []contestant) []summary {
	var summaries []summary
	fmt.Fprintf(out, "%-16s %-28s %-13s %-15s %-15s %-11s %-12s %s\n", "", "median/worst", "LATE", "OF PEOPLE'S", "OF THE HPA'S", "POD-HOURS", "ADVICE", "RIGHT, WRONG")
	for _, v := range variants {
		var replays []*replay
		for i := range seeds {
			replays = append(replays, play(s.Scaled(v.rates, v.downstream), seed+uint64(i), contestants))
		}
		for i, c := range contestants {
			sum := summarize(v.name, c.name, i, replays)
			fmt.Fprintln(out, sum)
			summaries = append(summaries, sum)
		}
	}
	return summaries
}

// String is one line of the table.
func (s summary) String() string {
	pair := func(format string, p spread) string { return fmt.Sprintf(format+"/"+format, p.Median, p.Worst) }
	amounts := fmt.Sprintf("%s/%s", simulate.Amount(int64(s.Late.Median)), simulate.Amount(int64(s.Late.Worst)))
	return fmt.Sprintf("%-16s %-28s %-13s %-15s %-15s %-11s %-12s %d, %d of %d", s.Variant, s.Policy, amounts, pair("%.4f", s.OfPeople), pair("%.4f", s.OfHPA),
		pair("%.2f", s.PodHours), pair("%.0fs", s.AdviceAfterRollout), s.Advised, s.Wrong, s.Runs)
}

func summarize(variant, policy string, i int, replays []*replay) summary {
	sum := summary{Variant: variant, Policy: policy, Runs: len(replays)}
	var late, ofPeople, ofHPA, pods, advice []float64
	for _, r := range replays {
		ours, best := r.ours[i], r.best()
		late = append(late, float64(ours.LateMessages))
		ofPeople = append(ofPeople, share(ours.LateMessages, r.people.LateMessages))
		ofHPA = append(ofHPA, share(ours.LateMessages, best.LateMessages))
		pods = append(pods, ours.PodHours/best.PodHours)
		if wrong(ours) > 0 {
			sum.Wrong++
		}
		if len(ours.Advice) > 0 && ours.Advice[0].To == 6 && ours.Advice[0].Against == 7 {
			sum.Advised++
			if after := ours.AfterRolloutSeconds; after != nil {
				advice = append(advice, float64(*after))
			}
		}
	}
	sum.Late, sum.OfPeople, sum.OfHPA, sum.PodHours = spreadOf(late), spreadOf(ofPeople), spreadOf(ofHPA), spreadOf(pods)
	if len(advice) > 0 {
		sum.AdviceAfterRollout = spreadOf(advice)
	}
	return sum
}

// share of late messages; of none it is as many as there are.
func share(ours, other int64) float64 { return float64(ours) / float64(max(other, 1)) }
