// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// limit is what is asked of a cell of the service rates: the share of runs that are found Regressed, from least to most, and
// half of them within so many blocks; 0: whenever.
type limit struct {
	phi, change float64
	least, most float64
	within      int
}

var limits = []limit{
	{0, 0, 0, 0.01, 0},
	{0.5, 0, 0, 0.02, 0},
	{0.8, 0, 0, 0.05, 0},
	{0, -0.35, 0.97, 1, 8},
	{0.5, -0.35, 0.93, 1, 8},
	{0, -0.60, 0, 1, 4},
	{0.5, -0.60, 0, 1, 4},
}

// printLimits reports whether all held. A limit on a share holds if the 99 % interval touches it.
func printLimits(cells []cell) bool {
	all := true
	say := func(held bool, format string, args ...any) {
		word := "held  "
		if !held {
			word, all = "MISSED", false
		}
		fmt.Printf("  %s  %s\n", word, fmt.Sprintf(format, args...))
	}
	fmt.Println("\nLimits (a share holds if its 99 % interval touches the limit)")
	for _, l := range limits {
		c := find(cells, serviceRate.kind, l.phi, l.change)
		low, high := c.interval()
		name := fmt.Sprintf("service rate, φ %.1f, change %.0f %%: ", l.phi, 100*l.change)
		if l.most < 1 {
			say(low <= l.most, "%sRegressed in at most %.0f %% of the runs: %.2f %%", name, 100*l.most, c.percent(c.Regressed))
		}
		if l.least > 0 {
			say(high >= l.least, "%sfound in at least %.0f %% of the runs: %.2f %%", name, 100*l.least, c.percent(c.Regressed))
		}
		if l.within > 0 {
			say(c.MedianBlocks != nil && *c.MedianBlocks <= l.within, "%smedian within %d blocks: %s", name, l.within, c.median())
		}
	}
	for _, phi := range phis {
		times, rates := find(cells, processingTime.kind, phi, 0), find(cells, serviceRate.kind, phi, 0)
		low, _ := times.interval()
		_, high := rates.interval()
		say(low <= high, "processing time, φ %.1f, no change: no more often Regressed than by service rate: %.2f %%, %.2f %%",
			phi, times.percent(times.Regressed), rates.percent(rates.Regressed))
	}
	return all
}
