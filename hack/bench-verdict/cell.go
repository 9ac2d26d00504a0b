// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/queuescaler/queuescaler/internal/revision"
)

// cell is what came of all runs with one scenario, test, φ and change.
type cell struct {
	Kind   string  `json:"kind"`
	Test   string  `json:"test"`
	Phi    float64 `json:"phi"`
	Change float64 `json:"change"`
	Runs   int     `json:"runs"`
	// Regressed is the number of runs in which some look said so; the others are what the last look left.
	Regressed    int `json:"regressed"`
	NoRegression int `json:"no_regression"`
	Suspected    int `json:"suspected"`
	// MedianBlocks is at how many blocks half of all runs were found Regressed; absent if fewer ever were.
	MedianBlocks *int `json:"median_blocks"`
}

// outcome of one run: at how many blocks it was first Regressed (0: never), and the verdict at the end.
type outcome struct {
	regressedAt int
	last        revision.Verdict
}

// measureCell runs all tests on the same blocks, in parallel. As every run has a seed of its own, the result is the same on any
// machine.
func measureCell(s scenario, tests []test, phi, change float64, runs int, seed uint64) []cell {
	workers := runtime.GOMAXPROCS(0)
	outcomes := make([][]outcome, len(tests))
	for i := range outcomes {
		outcomes[i] = make([]outcome, runs)
	}
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for run := worker; run < runs; run += workers {
				random := rand.New(rand.NewPCG(seed, uint64(run)<<8|uint64(100*phi)))
				baseline, present := s.generate(random, phi, change)
				for i, t := range tests {
					outcomes[i][run] = follow(t, revision.Evidence{Baseline: baseline, Present: present, MoreIsWorse: s.moreIsWorse})
				}
			}
		})
	}
	wait.Wait()
	cells := make([]cell, len(tests))
	for i, t := range tests {
		cells[i] = count(cell{Kind: s.kind, Test: t.name, Phi: phi, Change: change, Runs: runs}, outcomes[i])
	}
	return cells
}

func count(c cell, outcomes []outcome) cell {
	var at []int
	for _, o := range outcomes {
		if o.regressedAt > 0 {
			at = append(at, o.regressedAt)
		}
		switch o.last {
		case revision.NoRegression:
			c.NoRegression++
		case revision.Suspected:
			c.Suspected++
		}
	}
	c.Regressed = len(at)
	if 2*len(at) > len(outcomes) {
		slices.Sort(at)
		c.MedianBlocks = new(at[len(outcomes)/2])
	}
	return c
}
