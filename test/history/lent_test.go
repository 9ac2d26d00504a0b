// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"slices"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

func TestLent(t *testing.T) {
	const standby, active, draining = v1alpha1.RoleStandby, v1alpha1.RoleActive, v1alpha1.RoleDraining
	// Each write is 10 s after the one before, and the first one of these is at second 0.
	for name, c := range map[string]struct {
		tell func(*tale)
		gap  [2]int // seconds; none if both are 0
		want [][2]int
	}{
		"never":                        {func(l *tale) { l.shows(standby); l.shows(standby) }, [2]int{}, nil},
		"still":                        {func(l *tale) { l.sets(active) }, [2]int{}, [][2]int{{0, -1}}},
		"from lend to drain":           {func(l *tale) { l.sets(active); l.shows(active); l.sets(draining) }, [2]int{}, [][2]int{{0, 20}}},
		"the log begins in the middle": {func(l *tale) { l.shows(active); l.sets(draining) }, [2]int{}, [][2]int{{0, 10}}},
		"the lend is lost":             {func(l *tale) { l.shows(standby); l.shows(active); l.sets(draining) }, [2]int{4, 5}, [][2]int{{0, 20}}},
		"the lend is lost, and the operator shows it":                           {func(l *tale) { l.shows(standby); l.touches(active) }, [2]int{4, 5}, [][2]int{{0, -1}}},
		"the lend is made and answered with an error, and a whole pod shows it": {func(l *tale) { l.shows(standby); l.fails(); l.updates(active) }, [2]int{}, [][2]int{{0, -1}}},
		"a gap beside the lend":                                                 {func(l *tale) { l.shows(standby); l.sets(active) }, [2]int{4, 5}, [][2]int{{10, -1}}},
		"a gap elsewhere":                                                       {func(l *tale) { l.shows(standby); l.shows(active) }, [2]int{14, 15}, [][2]int{{10, -1}}},
		"the drain is lost":                                                     {func(l *tale) { l.sets(active); l.shows(draining) }, [2]int{4, 5}, [][2]int{{0, 10}}},
		"both are lost":                                                         {func(l *tale) { l.shows(standby); l.shows(draining) }, [2]int{4, 5}, [][2]int{{0, 10}}},
		"the lend is lost, and the pod is deleted":                              {func(l *tale) { l.shows(standby); l.deletes(active) }, [2]int{4, 5}, [][2]int{{0, 10}}},
		"deleted": {func(l *tale) { l.sets(active); l.deletes(active) }, [2]int{}, [][2]int{{0, 10}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &tale{t: t, now: noon.Add(-10 * time.Second)}
			c.tell(l)
			at := func(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }
			var gaps Gaps
			if c.gap != [2]int{} {
				gaps = Gaps{{at(c.gap[0]), at(c.gap[1])}}
			}
			lent, err := Lent(l.writes(), "shop", gaps)
			if err != nil {
				t.Fatal(err)
			}
			got, known := lent["uid-1"]
			if !known {
				t.Fatal("the slot is not known")
			}
			var want []Interval
			for _, w := range c.want {
				span := Interval{at(w[0]), at(w[1])}
				if w[1] < 0 {
					span.To = span.To.Add(forever)
				}
				want = append(want, span)
			}
			same := func(a, b Interval) bool {
				return a.From.Equal(b.From) && (a.To.Equal(b.To) || a.To.After(noon.Add(forever/2)) && b.To.After(noon.Add(forever/2)))
			}
			if !slices.EqualFunc(got, want, same) {
				t.Errorf("lent %v, want %v", got, want)
			}
			if elsewhere, err := Lent(l.writes(), "elsewhere", gaps); err != nil || len(elsewhere) != 0 {
				t.Errorf("slots of another namespace: %v, %v", elsewhere, err)
			}
		})
	}
}
