// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
)

const (
	// fewest and most blocks the known-good has.
	fewest, most = 6, 64
	// watched are the blocks of the revision on watch; long those of the long watch.
	watched, long = 64, 1024
)

// scenario makes the blocks of a known-good revision and of the one that follows it, oldest first.
type scenario struct {
	kind, title string
	moreIsWorse bool
	generate    func(random *rand.Rand, phi, change float64) (baseline, present []float64)
}

var (
	serviceRate = scenario{"ServiceRate", "Service rate over saturated blocks", false,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return serviceRates(random, phi, change, knownBlocks(random), watched)
		}}
	processingTime = scenario{"ProcessingTime", "Processing time over unsaturated blocks", true,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return processingTimes(random, phi, change, knownBlocks(random), watched)
		}}
)

// stress are harder than what limits are set for.
var stress = []scenario{
	{"ServiceRate, shortest baseline", "service rate, the known-good has 6 blocks only", false,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return serviceRates(random, phi, change, fewest, watched)
		}},
	{"ServiceRate, highest unsaturated", "service rate, the known-good has 2 saturated blocks and its 4 highest unsaturated X/N of the day", false,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return boundedRates(random, phi, change, func(b block) float64 { return b.rate })
		}},
	{"ServiceRate, highest demand met", "service rate, the same, with the smaller of X/N and λ/N", false,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return boundedRates(random, phi, change, func(b block) float64 { return min(b.rate, b.demanded) })
		}},
	{"ServiceRate, one clump", "service rate, all blocks in one clump without a pause", false, oneClump},
	{"ServiceRate, long watch", "service rate, watched to 1,024 blocks", false,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return serviceRates(random, phi, change, knownBlocks(random), long)
		}},
	{"ProcessingTime, long watch", "processing time, watched to 1,024 blocks", true,
		func(random *rand.Rand, phi, change float64) (baseline, present []float64) {
			return processingTimes(random, phi, change, knownBlocks(random), long)
		}},
}

func knownBlocks(random *rand.Rand) int {
	return int(math.Round(fewest * math.Exp(random.Float64()*math.Log(float64(most)/fewest))))
}

// oneClump has no plant: every minute is a block.
func oneClump(random *rand.Rand, phi, change float64) (baseline, present []float64) {
	n := newNoise(random, phi)
	for range knownBlocks(random) {
		baseline = append(baseline, messagesPerSecond*n.after(1))
	}
	for range watched {
		present = append(present, messagesPerSecond*(1+change)*n.after(1))
	}
	return baseline, present
}
