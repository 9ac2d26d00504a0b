// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// seconds one message takes on an idle replica.
	seconds = 0.1
	// grown is how much longer it takes on a busy one: S grows by 20 % with utilization.
	grown = 0.2
	// drift is how far the mix of messages moves S over the day, to either side.
	drift = 0.1
	// equal is how far apart X/N may be of blocks that are compared.
	equal = 0.1
)

// processing is the plant of the processing times: a fleet that is hardly used, at any time of the day. Every minute is a block;
// it is evidence if the fleet stayed and X/N is within equal of what it was at the deploy.
type processing struct {
	random *rand.Rand
	noise  *noise
	change float64
	minute int
	phase  float64 // of the mix, in days
	load   float64
	fleet  float64
}

// next is one minute: S, X/N, and whether the fleet stayed.
func (p *processing) next() (s, perReplica float64, ok bool) {
	p.minute++
	today := float64(p.minute) / day
	demand := p.load * (220 - 180*math.Cos(2*math.Pi*today)) * math.Exp(0.03*p.random.NormFloat64())
	ok = true
	if used := demand / p.fleet / messagesPerSecond; used < 0.24 || used > 0.36 {
		p.fleet, ok = math.Ceil(demand/messagesPerSecond/0.3), false
	}
	perReplica = demand / p.fleet
	busy := perReplica / (messagesPerSecond * (1 + p.change))
	s = seconds / (1 + p.change) * (1 + grown*busy) * math.Exp(drift*math.Sin(2*math.Pi*(today+p.phase)))
	return s / p.noise.after(1), perReplica, ok
}

func processingTimes(random *rand.Rand, phi, change float64, known, blocks int) (baseline, present []float64) {
	p := &processing{random: random, noise: newNoise(random, phi), minute: random.IntN(day),
		phase: random.Float64(), load: math.Exp(0.1 * random.NormFloat64()), fleet: 1}
	var times, used []float64
	for range day / 2 {
		if s, x, ok := p.next(); ok {
			times, used = append(times, s), append(used, x)
		}
	}
	at := used[len(used)-1]
	for i := len(used) - 1; i >= 0 && len(baseline) < known; i-- {
		if math.Abs(used[i]/at-1) <= equal {
			baseline = append(baseline, times[i])
		}
	}
	slices.Reverse(baseline)
	for range settles {
		p.next()
	}
	p.change = change
	for len(present) < blocks {
		if s, x, ok := p.next(); ok && math.Abs(x/at-1) <= equal {
			present = append(present, s)
		}
	}
	return baseline, present
}
