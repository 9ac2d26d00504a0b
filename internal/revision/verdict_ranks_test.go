// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// withU is a pair of samples of n and m values without ties whose U is u: so many times a value of y is below one of x.
func withU(n, m, u int) (x, y []float64) {
	for j := range m {
		y = append(y, float64(2*j+1))
	}
	for i := range n {
		above := min(m, max(0, u-(n-1-i)*m)) // the last ones take as many as they can
		x = append(x, float64(2*above)+float64(i+1)/float64(n+1)/2)
	}
	return x, y
}

// Critical values of the one-sided test as the usual tables have them (such as Milton's, JASA 59, 1964): the largest u with
// P(U <= u) <= α. -1: none.
func TestMannWhitneyCriticalValues(t *testing.T) {
	for _, c := range []struct{ n, m, at05, at025, at01, at005 int }{
		{3, 3, 0, -1, -1, -1},
		{4, 4, 1, 0, -1, -1},
		{4, 6, 3, 2, 1, 0},
		{4, 8, 5, 4, 2, 1},
		{5, 5, 4, 2, 1, 0},
		{5, 10, 11, 8, 6, 4},
		{6, 6, 7, 5, 3, 2},
		{6, 12, 17, 14, 11, 9},
		{8, 8, 15, 13, 9, 7},
		{8, 16, 36, 31, 26, 22},
		{8, 20, 47, 41, 34, 30},
		{10, 10, 27, 23, 19, 16},
		{20, 20, 138, 127, 114, 105},
	} {
		for alpha, want := range map[float64]int{0.05: c.at05, 0.025: c.at025, 0.01: c.at01, 0.005: c.at005} {
			got := -1
			for u := 0; u <= c.n*c.m; u++ {
				x, y := withU(c.n, c.m, u)
				if MannWhitney(x, y) > alpha {
					break
				}
				got = u
			}
			if got != want {
				t.Errorf("n %d, m %d, α %g: critical U is %d, want %d", c.n, c.m, alpha, got, want)
			}
		}
	}
}

// chosen is P by going through every way to choose len(x) of all values.
func chosen(x, y []float64) float64 {
	all := slices.Concat(x, y)
	rankSum := func(in func(i int) bool) (sum float64) {
		for i, v := range all {
			if !in(i) {
				continue
			}
			for _, other := range all {
				switch {
				case other < v:
					sum++
				case other == v:
					sum += 0.5
				}
			}
		}
		return sum
	}
	seen := rankSum(func(i int) bool { return i < len(x) })
	low, ways := 0, 0
	for set := range 1 << len(all) {
		size := 0
		for i := range all {
			size += set >> i & 1
		}
		if size != len(x) {
			continue
		}
		ways++
		if rankSum(func(i int) bool { return set>>i&1 == 1 }) <= seen {
			low++
		}
	}
	return float64(low) / float64(ways)
}

func TestMannWhitneyCountsTiesToo(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		draw := func(n int) (values []float64) {
			for range n {
				values = append(values, float64(random.IntN(6)))
			}
			return values
		}
		x, y := draw(1+random.IntN(5)), draw(1+random.IntN(6))
		if got, want := MannWhitney(x, y), chosen(x, y); math.Abs(got-want) > 1e-12 {
			t.Errorf("%v among %v: got %g, want %g", x, y, got, want)
		}
	}
}

// The two ways to count agree where both can, and the approximation with them where it takes over.
func TestMannWhitneyWaysAgree(t *testing.T) {
	for _, size := range [][2]int{{4, 6}, {8, 8}, {6, 40}, {8, 64}} {
		n, m := size[0], size[1]
		for u := 0; u <= n*m/2; u++ {
			x, y := withU(n, m, u)
			ranks, sum, _ := rank(x, y)
			a, b := countUntied(n, m, u), count(ranks, n, sum)
			if math.Abs(a-b) > 1e-9 {
				t.Fatalf("n %d, m %d, U %d: %g and %g", n, m, u, a, b)
			}
		}
	}
	for u := range 21 * 21 / 2 {
		x, y := withU(21, 21, u)
		ranks, sum, _ := rank(x, y)
		if exact, near := count(ranks, 21, sum), MannWhitney(x, y); math.Abs(exact-near) > 0.1*exact+0.0005 {
			t.Errorf("21 and 21, U %d: approximately %g, exactly %g", u, near, exact)
		}
	}
}

func TestMannWhitneyEdges(t *testing.T) {
	equal := slices.Repeat([]float64{3}, 30)
	for _, c := range []struct {
		x, y []float64
		want float64
	}{
		{nil, nil, 1}, {nil, equal, 1}, {equal, nil, 1},
		{equal, equal, 1}, {equal[:4], equal[:6], 1},
		{[]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8, 9, 10}, 1.0 / 210},
	} {
		if got := MannWhitney(c.x, c.y); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v among %v: got %g, want %g", c.x, c.y, got, c.want)
		}
	}
}

// The order of the values does not matter, and lower values never make it larger.
func TestLawMannWhitney(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := blocks(1, 64).Draw(t, "x"), blocks(1, 64).Draw(t, "y")
		p := MannWhitney(x, y)
		if p < 0 || p > 1 {
			t.Fatalf("p is %g", p)
		}
		shuffled := rapid.Permutation(x).Draw(t, "shuffled")
		if got := MannWhitney(shuffled, rapid.Permutation(y).Draw(t, "shuffled too")); got != p {
			t.Fatalf("shuffled %g, before %g", got, p)
		}
		x[rapid.IntRange(0, len(x)-1).Draw(t, "i")] *= 0.5
		// Where ties come or go, p is one among other ways to rank the values. Of few values those are far apart, so this is
		// checked near the levels that matter.
		if got := MannWhitney(x, y); p <= 0.1 && got > p+0.02 {
			t.Fatalf("lower %g, before %g", got, p)
		}
	})
}

func TestResemblance(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for _, c := range []struct {
		phi, least, most float64
		n                int
	}{
		{0, 0, 0.2, 64}, {0.5, 0.35, 0.6, 64}, {0.8, 0.6, 0.9, 64}, {0, 0.1, 0.5, 4}, {0.8, 0.15, 0.7, 4},
	} {
		sum, runs := 0.0, 300
		for range runs {
			series := func() (out []float64) {
				at := random.NormFloat64()
				for range c.n {
					out = append(out, at)
					at = c.phi*at + math.Sqrt(1-c.phi*c.phi)*random.NormFloat64()
				}
				return out
			}
			sum += resemblance(series(), series())
		}
		if got := sum / float64(runs); got < c.least || got > c.most {
			t.Errorf("φ %g over %d blocks: estimated %.2f, want %g to %g", c.phi, c.n, got, c.least, c.most)
		}
	}
	if v := inflation(slices.Repeat([]float64{1}, 8), slices.Repeat([]float64{1}, 8)); v < 1 || math.IsNaN(v) {
		t.Errorf("equal blocks inflate by %g", v)
	}
}
