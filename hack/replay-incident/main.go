// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command replay-incident plays the incident that QueueScaler is measured by: what people did, what a HorizontalPodAutoscaler
// would have done, and what the operator's own code does. It prints a table, the verdict and the advice with their times, and
// how all of this stands up to other seeds, other service rates and another limit downstream. It writes a page and a JSON file.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/queuescaler/queuescaler/internal/simulate"
)

func main() {
	out := flag.String("out", "out", "directory for replay-incident.html and replay-incident.json")
	seed := flag.Uint64("seed", 1, "first seed")
	seeds := flag.Int("seeds", 10, "number of seeds; 1 leaves the other service rates and the ordinary days out")
	flag.Parse()
	if err := run(*out, *seed, *seeds); err != nil {
		fmt.Fprintln(os.Stderr, "replay-incident:", err)
		os.Exit(1)
	}
}

// report is the JSON file.
type report struct {
	Scenario string             `json:"scenario"`
	Seed     uint64             `json:"seed"`
	Policies []*simulate.Result `json:"policies"`
	// HPA has a result for each target; the best one is among Policies.
	HPA        []*simulate.Result `json:"hpa_targets"`
	Robustness []summary          `json:"robustness,omitempty"`
	Ordinary   *ordinary          `json:"ordinary_days,omitempty"`
	Limits     []limit            `json:"limits"`
}

func run(dir string, seed uint64, seeds int) error {
	debug.SetGCPercent(800) // what the operator's code allocates at each look lives for microseconds
	incident, err := simulate.Parse(simulate.Incident)
	if err != nil {
		return err
	}
	contestants, err := queueScalers()
	if err != nil {
		return err
	}
	replay := play(incident, seed, contestants)
	r := &report{Scenario: incident.Name, Seed: seed, HPA: replay.hpa}
	r.Policies = append([]*simulate.Result{replay.people, replay.best()}, replay.ours...)
	r.Policies = append(r.Policies, replay.oracle)

	if err := simulate.WriteTable(os.Stdout, incident, r.Policies); err != nil {
		return err
	}
	writeTargets(os.Stdout, replay.hpa)
	for _, result := range replay.ours {
		fmt.Println()
		simulate.WriteTimeline(os.Stdout, result)
	}
	r.Limits = limitsOf(replay)
	if seeds > 1 {
		fmt.Printf("\n%d seeds, each with these service rates and limit downstream, and with either 20%% lower and higher:\n", seeds)
		r.Robustness = robustness(os.Stdout, incident, seed, seeds, contestants)
		fmt.Printf("\nOrdinary days: the same curve, revision %d throughout, %d seeds:\n", incident.Revisions[0].Number, seeds)
		r.Ordinary = ordinaryDays(os.Stdout, incident.Ordinary(), seed, seeds, contestants[0])
		r.Limits = append(r.Limits, r.Ordinary.limits()...)
	}
	fmt.Println()
	missed := 0
	for _, l := range r.Limits {
		fmt.Println(l)
		if !l.Held {
			missed++
		}
	}
	if err := write(dir, incident, r); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d limits are missed", missed, len(r.Limits))
	}
	return nil
}

// writeTargets shows why one target of the HPA is called the best.
func writeTargets(out io.Writer, results []*simulate.Result) {
	fmt.Fprintf(out, "\nThe HPA rule by its target, messages for each replica:\n")
	for _, r := range results {
		fmt.Fprintf(out, "  %-8s %8d late  %6.0f pod-hours\n", r.Policy, r.LateMessages, r.PodHours)
	}
}

func write(dir string, s *simulate.Scenario, r *report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	page, err := os.Create(filepath.Join(dir, "replay-incident.html"))
	if err != nil {
		return err
	}
	if err := errors.Join(simulate.WritePage(page, s, r.Policies), page.Close()); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "replay-incident.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("\nSee %s\n", filepath.Join(dir, "replay-incident.html"))
	return nil
}
