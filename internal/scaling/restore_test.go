// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestForeignWrites plays writes of others, "minute from→to[t]" with t for a new template, and says what follows.
func TestForeignWrites(t *testing.T) {
	for _, c := range []struct{ name, writes, want string }{
		{"a plain number is adopted", "0 12→20", "adopted"},
		{"so is a lowering without a new template", "0 40→4", "adopted"},
		{"a lowering with a new template is restored", "0 40→4t", "restored 40"},
		{"up to max", "0 60→4t", "restored 40"},
		{"unless max is no more than it", "0 60→40t", "adopted"},
		{"a zero is never restored", "0 40→0t", "adopted"},
		{"a raise is not restored", "0 4→40t", "adopted"},
		{"once per rollout", "0 40→4t; 1 40→4", "restored 40; left alone for 10m0s"},
		{"raising after it was restored is adopted", "0 40→4t; 1 40→45", "restored 40; adopted"},
		{"a third write in 10 min is left alone", "0 12→20; 5 20→12; 9 12→20", "adopted; adopted; left alone for 10m0s"},
		{"not if they are spread out", "0 12→20; 5 20→12; 10 12→20", "adopted; adopted; adopted"},
		{"then for 20, then for 40, and for 40 again",
			"0 1→2; 1 2→1; 2 1→2; 12 2→1; 13 1→2; 14 2→1; 34 1→2; 35 2→1; 36 1→2; 76 2→1; 77 1→2; 78 2→1",
			"adopted; adopted; left alone for 10m0s; adopted; adopted; left alone for 20m0s; adopted; adopted; left alone for 40m0s; adopted; adopted; left alone for 40m0s"},
		{"after 40 min of peace it begins anew", "0 1→2; 1 2→1; 2 1→2; 53 2→1; 54 1→2; 55 2→1",
			"adopted; adopted; left alone for 10m0s; adopted; adopted; left alone for 10m0s"},
		{"nothing is restored while left alone", "0 1→2; 1 2→1; 2 1→2; 5 40→4t", "adopted; adopted; left alone for 10m0s; left alone for 7m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			var contest Contest
			restored := false
			for _, w := range strings.Split(c.writes, "; ") {
				var minute int
				f := ForeignWrite{By: "argocd"}
				if _, err := fmt.Sscanf(strings.TrimSuffix(w, "t"), "%d %d→%d", &minute, &f.From, &f.To); err != nil {
					t.Fatal(err)
				}
				f.WithTemplate = strings.HasSuffix(w, "t")
				now := noon.Add(time.Duration(minute) * time.Minute)
				var back *int32
				back, contest = OnForeignWrite(now, chat(), f, restored, contest)
				switch {
				case back != nil:
					got, restored = append(got, fmt.Sprintf("restored %d", *back)), true
				case now.Before(contest.Until):
					got = append(got, fmt.Sprintf("left alone for %s", contest.Until.Sub(now)))
				default:
					got = append(got, "adopted")
				}
				if contest.By != "argocd" || len(contest.writes) >= contestWrites {
					t.Errorf("contest %+v", contest)
				}
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), c.want)
			}
		})
	}
}

// TestContestAndClock: a clock that goes back by a day does not leave the replicas alone for a day.
func TestContestAndClock(t *testing.T) {
	var c Contest
	for i := range 3 {
		_, c = OnForeignWrite(noon.Add(time.Duration(i)*time.Minute), chat(), ForeignWrite{From: 1, To: 2}, false, c)
	}
	yesterday := noon.Add(-24 * time.Hour)
	if _, c = OnForeignWrite(yesterday, chat(), ForeignWrite{From: 1, To: 2}, false, c); !c.Until.IsZero() || len(c.writes) != 1 {
		t.Errorf("contest %+v", c)
	}
}
