// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"math"
	"slices"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

// measuredBlocks are the saturated ones that the median is taken over.
const measuredBlocks = 9

// rates remember what a pod of the present revision was seen to do, and what one of an earlier revision was measured to do.
type rates struct {
	revision  string
	measured  []float64 // of the newest saturated blocks of this revision
	atLeast   float64   // the highest of its other blocks
	inherited float64
}

// learn takes in blocks, oldest first. revision is the present one.
func (r *rates) learn(revision string, blocks []capacity.Block) {
	if revision != "" && revision != r.revision {
		r.inherited = or(median(r.measured), r.inherited)
		r.revision, r.measured, r.atLeast = revision, nil, 0
	}
	for i := range blocks {
		switch b := &blocks[i]; {
		case b.Revision != r.revision || b.Rate <= 0:
		case b.Saturated:
			r.measured = append(r.measured, b.Rate)
			r.measured = r.measured[max(0, len(r.measured)-measuredBlocks):]
		default:
			r.atLeast = max(r.atLeast, b.Rate)
		}
	}
}

// service is the median over the saturated blocks of the present revision; before there is one, what an earlier revision
// did, or the prior, unless this one was seen to do more.
func (r *rates) service(prior float64) capacity.ServiceRate {
	given := or(r.inherited, prior)
	switch {
	case len(r.measured) > 0:
		return capacity.ServiceRate{PerReplica: median(r.measured), Known: capacity.Measured}
	case r.atLeast > given:
		return capacity.ServiceRate{PerReplica: r.atLeast, Known: capacity.AtLeast}
	case given > 0 && !math.IsInf(given, 0):
		return capacity.ServiceRate{PerReplica: given, Known: capacity.Given}
	}
	return capacity.ServiceRate{}
}

// median is 0 where there are no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
