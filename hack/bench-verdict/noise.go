// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
)

const (
	// spread is the standard deviation of the noise on the log.
	spread = 0.2
	// A burst of trouble halves the rate of so many blocks.
	bursts, burst = 0.05, 0.5
)

// noise is AR(1) on the log, from one minute to the next, at its stationary spread, with half-rate bursts.
type noise struct {
	random *rand.Rand
	phi    float64
	at     float64
}

func newNoise(random *rand.Rand, phi float64) *noise {
	return &noise{random, phi, spread * random.NormFloat64()}
}

// after goes on by so many minutes, and gives the factor of that minute.
func (n *noise) after(minutes int) float64 {
	carried := n.phi
	if minutes > 1 {
		carried = math.Pow(n.phi, float64(minutes))
	}
	n.at = carried*n.at + spread*math.Sqrt(1-carried*carried)*n.random.NormFloat64()
	factor := math.Exp(n.at)
	if n.random.Float64() < bursts {
		factor *= burst
	}
	return factor
}
