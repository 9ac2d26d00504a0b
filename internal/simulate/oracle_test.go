// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestHighestAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int32Range(0, 9), 1, 50).Draw(t, "values")
		n := rapid.IntRange(1, 10).Draw(t, "n")
		for i, got := range highestAhead(values, n) {
			if want := slices.Max(values[i:min(i+n, len(values))]); got != want {
				t.Fatalf("at %d of %v: %d, want %d", i, values, got, want)
			}
		}
	})
}

// Nobody who meets the objective needs far fewer pods than the oracle, and the oracle meets it.
func TestTheOracleMeetsTheObjective(t *testing.T) {
	s, err := Parse(Incident)
	if err != nil {
		t.Fatal(err)
	}
	s = s.Ordinary()
	oracle, mean := Run(s, &Oracle{}, 1), Run(s, &Oracle{MeanOnly: true}, 1)
	if oracle.SecondsBeyondObjective > 10 || oracle.LateMessages > 0 {
		t.Errorf("%d s beyond the objective, %d late", oracle.SecondsBeyondObjective, oracle.LateMessages)
	}
	if oracle.PodHours < mean.PodHours || oracle.PodHours > 1.05*mean.PodHours {
		t.Errorf("%.0f pod-hours, those that keep up with the mean are %.0f", oracle.PodHours, mean.PodHours)
	}
	// An independent model of the same plant has 792.
	if mean.PodHours < 780 || mean.PodHours > 805 {
		t.Errorf("the fewest pods that keep up with the mean are %.0f pod-hours, want about 792", mean.PodHours)
	}
}
