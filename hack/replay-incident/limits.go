// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/queuescaler/queuescaler/internal/simulate"
)

// limit is a number to reach, and whether it was.
type limit struct {
	Name     string `json:"name"`
	Measured string `json:"measured"`
	Held     bool   `json:"held"`
}

// String is one line of the list.
func (l limit) String() string {
	word := "missed"
	if l.Held {
		word = "held"
	}
	return fmt.Sprintf("%-6s  %s: %s", word, l.Name, l.Measured)
}

const (
	// byInFlight and bySaturation bound the time to the advice, in seconds: after the end of the rollout where the queue tells
	// what is in flight, and after the first saturated minute where it does not.
	byInFlight, bySaturation = 15 * 60, 10 * 60
	// fewer is how many times fewer messages must be late than elsewhere, podHours the share of the HPA's that may be used.
	fewer, podHours = 100, 0.8
)

// limitsOf compares a replay with the numbers to reach.
func limitsOf(r *replay) []limit {
	limits := []limit{
		adviceLimit("advice within 15 min of the rollout's end, in-flight told", r.of(nameAdviseInFlight),
			r.of(nameAdviseInFlight).AfterRolloutSeconds, byInFlight),
		adviceLimit("advice within 10 min of the first saturated minute", r.of(nameAdvise),
			r.of(nameAdvise).AfterSaturatedSeconds, bySaturation),
	}
	best := r.best()
	for _, ours := range r.ours {
		limits = append(limits,
			lateLimit(ours, r.people), lateLimit(ours, best),
			limit{
				Name:     fmt.Sprintf("%s: pod-hours at most %.1f of %s", ours.Policy, podHours, best.Policy),
				Measured: fmt.Sprintf("%.0f of %.0f, %.2f", ours.PodHours, best.PodHours, ours.PodHours/best.PodHours),
				Held:     ours.PodHours <= podHours*best.PodHours,
			},
			limit{
				Name:     ours.Policy + ": never advises against revision 6, nor to roll back to another one",
				Measured: fmt.Sprintf("%d of %d advices wrong", wrong(ours), len(ours.Advice)),
				Held:     wrong(ours) == 0,
			},
			limit{
				Name:     ours.Policy + ": revision 7 never becomes known-good",
				Measured: fmt.Sprintf("known-good were %v", ours.KnownGood),
				Held:     !slices.Contains(ours.KnownGood, 7),
			})
	}
	return limits
}

// wrong counts advices to roll revision 6 back, or anything to another one.
func wrong(r *simulate.Result) (n int) {
	for _, a := range r.Advice {
		if a.To != 6 || a.Against == 6 {
			n++
		}
	}
	return n
}

func adviceLimit(name string, r *simulate.Result, after *int, within int) limit {
	l := limit{Name: name, Measured: "no advice"}
	if len(r.Advice) == 0 {
		return l
	}
	first := r.Advice[0]
	l.Measured = fmt.Sprintf("revision %d, before it", first.To)
	if after != nil {
		l.Measured = fmt.Sprintf("revision %d after %d s", first.To, *after)
	}
	l.Held = first.To == 6 && first.Against == 7 && (after == nil || *after <= within)
	return l
}

func lateLimit(ours, other *simulate.Result) limit {
	return limit{
		Name:     fmt.Sprintf("%s: %d times fewer late messages than %s", ours.Policy, fewer, other.Policy),
		Measured: fmt.Sprintf("%d and %d", ours.LateMessages, other.LateMessages),
		Held:     ours.LateMessages*fewer <= other.LateMessages,
	}
}
