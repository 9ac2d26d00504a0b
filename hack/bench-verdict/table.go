// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
)

// z99 is the standard normal quantile of a two-sided 99 % interval.
const z99 = 2.5758293035489

// interval is Wilson's 99 % interval of the share of runs that were found Regressed.
func (c cell) interval() (low, high float64) {
	n := float64(c.Runs)
	p := float64(c.Regressed) / n
	middle := p + z99*z99/(2*n)
	half := z99 * math.Sqrt(p*(1-p)/n+z99*z99/(4*n*n))
	return max(0, (middle-half)/(1+z99*z99/n)), min(1, (middle+half)/(1+z99*z99/n))
}

func printTable(title string, cells []cell) {
	fmt.Printf("\n%s\n", title)
	fmt.Println("    φ  change  Regressed  99 % interval     median blocks  at the end: NoRegression  Suspected")
	for _, c := range cells {
		low, high := c.interval()
		fmt.Printf("  %.1f   %4.0f %%   %6.2f %%  %6.2f – %6.2f %%  %13s               %6.2f %%    %6.2f %%\n",
			c.Phi, 100*c.Change, c.percent(c.Regressed), 100*low, 100*high, c.median(),
			c.percent(c.NoRegression), c.percent(c.Suspected))
	}
}

func (c cell) percent(runs int) float64 { return 100 * float64(runs) / float64(c.Runs) }

func (c cell) median() string {
	if c.MedianBlocks == nil {
		return "–"
	}
	return strconv.Itoa(*c.MedianBlocks)
}
