// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import "math"

const (
	// usual is φ where nothing is known of it, and counts as much as usualBlocks that were seen.
	usual, usualBlocks = 0.25, 8
	// mostPhi bounds the estimate: at 1 nothing could ever be found.
	mostPhi = 0.9
)

// inflation is v of the package comment, for samples in the order in which they were seen.
func inflation(x, y []float64) float64 {
	n, m := len(x), len(y)
	phi := resemblance(x, y)
	return (varianceOfMean(n, phi) + varianceOfMean(m, phi)) / (1/float64(n) + 1/float64(m))
}

// resemblance estimates φ, the correlation of a block with the one before. It is taken from ranks within each sample, so that a
// single burst counts little, mended for the bias of small samples (Kendall: the estimate from n blocks is too small by
// (1+4φ)/n), kept within [0, mostPhi], and drawn towards the usual one the fewer blocks there are.
func resemblance(x, y []float64) float64 {
	blocks := float64(len(x) + len(y))
	seen := (float64(len(x))*fromOneToNext(x) + float64(len(y))*fromOneToNext(y)) / blocks
	seen = (seen + 2/blocks) / (1 - min(0.5, 8/blocks))
	seen = min(max(0, seen), mostPhi)
	return (seen*blocks + usual*usualBlocks) / (blocks + usualBlocks)
}

// fromOneToNext is the correlation of neighbours' ranks; 0 where all values are equal.
func fromOneToNext(values []float64) float64 {
	products, squares, last := 0.0, 0.0, 0.0
	for _, v := range values {
		rank := 0.0 // twice the rank, from the middle
		for _, other := range values {
			switch {
			case other < v:
				rank++
			case other > v:
				rank--
			}
		}
		products += rank * last
		squares += rank * rank
		last = rank
	}
	if squares == 0 {
		return 0
	}
	return products / squares
}

// varianceOfMean is f of the package comment: that of the mean of n blocks of AR(1) noise with variance 1.
func varianceOfMean(n int, phi float64) float64 {
	sum, power := 1.0, 1.0
	for k := 1; k < n; k++ {
		power *= phi
		sum += 2 * (1 - float64(k)/float64(n)) * power
	}
	return sum / float64(n)
}

// deflate is p with its z value divided by √v. What speaks against it anyway is left.
func deflate(p, v float64) float64 {
	if p >= 0.5 {
		return p
	}
	return below(math.Sqrt2 * math.Erfinv(2*p-1) / math.Sqrt(v))
}
