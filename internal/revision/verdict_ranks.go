// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"math"
	"slices"
)

// exactUpTo is the size of the smaller sample up to which probabilities are counted out, if the larger is no more than
// exactWith; beyond, the normal approximation is off by less than a tenth where it matters.
const (
	exactUpTo = 20
	exactWith = 64
)

// MannWhitney is the probability that values of x would rank as low among those of y as they do, or lower, if both came from
// one distribution: the one-sided Mann–Whitney test, with midranks for ties. 1 where a sample is empty.
//
// Small samples are counted out, ties included, given the ranks that were seen: the share of the ways to choose len(x) of
// all ranks with no higher a sum. Larger ones go by the normal approximation, corrected for ties and continuity.
func MannWhitney(x, y []float64) float64 {
	if len(x) == 0 || len(y) == 0 {
		return 1
	}
	ranks, sum, tied := rank(x, y)
	n, m := len(x), len(y)
	switch {
	case max(n, m) > exactWith || min(n, m) > exactUpTo:
		return approximate(n, m, sum, tied)
	case tied == 0:
		return countUntied(n, m, (sum-n*(n+1))/2)
	}
	return count(ranks, n, sum)
}

// equal logarithms differ by no more: a value and its share of 80 % of another are compared, and rounding must not decide.
const equal = 1e-9

// rank gives the doubled midranks of all values, in ascending order, and the sum of those of x. tied is Σ(t³−t) over the
// groups of t equal values.
func rank(x, y []float64) (ranks []int, sum int, tied float64) {
	type value struct {
		of  float64
		inX bool
	}
	all := make([]value, 0, len(x)+len(y))
	for _, v := range x {
		all = append(all, value{v, true})
	}
	for _, v := range y {
		all = append(all, value{v, false})
	}
	slices.SortFunc(all, func(a, b value) int {
		switch {
		case a.of < b.of:
			return -1
		case a.of > b.of:
			return 1
		}
		return 0
	})
	ranks = make([]int, len(all))
	for from := 0; from < len(all); {
		to := from
		for ; to < len(all) && all[to].of <= all[from].of+equal; to++ {
			ranks[to] = to
		}
		for i := from; i < to; i++ {
			ranks[i] = from + to + 1 // twice the mean of from+1 ... to
			if all[i].inX {
				sum += ranks[i]
			}
		}
		t := float64(to - from)
		tied += t*t*t - t
		from = to
	}
	return ranks, sum, tied
}

// countUntied is P(U <= u) of samples of n and m without ties. The number of ways to reach each U are the coefficients of
// the Gaussian binomial, the product of (1−q^(m+i))/(1−q^i) over i = 1 ... n.
func countUntied(n, m, u int) float64 {
	if n > m {
		n, m = m, n // U of x among y has the distribution of U of y among x
	}
	ways := make([]float64, min(u, n*m)+1)
	ways[0] = 1
	for i := 1; i <= n; i++ {
		for k := len(ways) - 1; k >= m+i; k-- {
			ways[k] -= ways[k-m-i]
		}
		for k := i; k < len(ways); k++ {
			ways[k] += ways[k-i]
		}
	}
	reached, all := 0.0, 1.0
	for _, w := range ways {
		reached += w
	}
	for i := 1; i <= n; i++ {
		all *= float64(m+i) / float64(i)
	}
	return min(1, reached/all)
}

// count is the share of the ways to choose n of the ranks whose sum is at most sum.
func count(ranks []int, n, sum int) float64 {
	// ways[k][s] is the number of ways to choose k of the ranks so far that add up to s.
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, sum+1)
	}
	ways[0][0] = 1
	for i, r := range ranks {
		for k := min(i+1, n); k >= 1; k-- {
			for s := sum; s >= r; s-- {
				ways[k][s] += ways[k-1][s-r]
			}
		}
	}
	reached, all := 0.0, 1.0
	for _, w := range ways[n] {
		reached += w
	}
	for i := 1; i <= n; i++ {
		all *= float64(len(ranks)-n+i) / float64(i)
	}
	return min(1, reached/all)
}

// approximate is the normal approximation of P(rank sum <= sum); sum and the ranks in it are doubled.
func approximate(n, m, sum int, tied float64) float64 {
	a, b := float64(n), float64(m)
	all := a + b
	variance := a * b / 12 * (all + 1 - tied/(all*(all-1)))
	if variance <= 0 {
		return 1 // all values are equal
	}
	u := float64(sum-n*(n+1)) / 2
	return below((u + 0.5 - a*b/2) / math.Sqrt(variance))
}

// below is the standard normal distribution function.
func below(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
