// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench-verdict measures how often the verdict on a revision is a false alarm, and how soon it finds a real change: by
// simulation, over many runs from a seed, beside the plain test that it improves on. It prints tables with the 99 % interval
// of each rate, whether the limits held, and last one JSON object. It fails if a limit is missed.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
)

// stressed is the share of the runs, 1 in so many, that scenarios without a limit get.
const stressed = 8

var (
	// phis are how much a minute's noise resembles that of the minute before.
	phis = []float64{0, 0.5, 0.8}
	// changes are what the revision on watch does, relative to the known-good one, less 1.
	changes = []float64{0, -0.10, -0.20, -0.35, -0.60}
)

func main() {
	runs := flag.Int("runs", 20000, "runs of each cell")
	seed := flag.Uint64("seed", 1, "seed of all runs")
	flag.Parse()
	if *runs < 1 {
		fmt.Fprintln(os.Stderr, "bench-verdict: -runs must be at least 1")
		os.Exit(2)
	}
	if !bench(*runs, *seed) {
		os.Exit(1)
	}
}

// bench prints everything, and reports whether all limits held.
func bench(runs int, seed uint64) bool {
	fmt.Printf("%d runs of each cell, seed %d. Noise: AR(1) φ from one minute to the next, sd %g on the log; %.0f %% of the blocks at half the rate.\n",
		runs, seed, spread, 100*bursts)
	fmt.Printf("The known-good has %d to %d blocks (even on the log), the revision on watch is watched to %d.\n", fewest, most, watched)
	var cells, plain []cell
	for _, s := range []scenario{serviceRate, processingTime} {
		found := measure(s, []test{shipped, section7}, changes, runs, seed)
		printTable(s.title+": "+shipped.title, found[0])
		printTable(s.title+": "+section7.title, found[1])
		cells, plain = append(cells, found[0]...), append(plain, found[1]...)
	}
	var stresses []cell
	for _, s := range stress {
		found := measure(s, []test{shipped}, []float64{0, -0.35}, max(1, runs/stressed), seed)
		printTable("No limit, "+s.title, found[0])
		stresses = append(stresses, found[0]...)
	}
	held := printLimits(cells)
	out, err := json.Marshal(map[string][]cell{"cells": cells, "plain_test": plain, "stress": stresses})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-verdict:", err)
		return false
	}
	fmt.Println(string(out))
	return held
}

// measure gives the cells of one scenario, of each test.
func measure(s scenario, tests []test, changes []float64, runs int, seed uint64) [][]cell {
	cells := make([][]cell, len(tests))
	for _, phi := range phis {
		for _, change := range changes {
			for i, c := range measureCell(s, tests, phi, change, runs, seed) {
				cells[i] = append(cells[i], c)
			}
		}
	}
	return cells
}

// find gives the cell of a kind, φ and change.
func find(cells []cell, kind string, phi, change float64) cell {
	i := slices.IndexFunc(cells, func(c cell) bool { return c.Kind == kind && c.Phi == phi && c.Change == change })
	return cells[i]
}
