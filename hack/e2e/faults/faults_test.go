// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const length = 2 * time.Minute

// told is a plan without what cannot be compared, with the first choice that each injection makes.
func told(seed uint64, round int) (out []string) {
	for _, in := range Plan(seed, round, length) {
		out = append(out, strings.Join([]string{string(in.Fault), in.At.String(), in.Lasts.String(), fmt.Sprint(in.Choice.Int64())}, " "))
	}
	return out
}

func TestAPlanIsThatOfItsSeedAndRound(t *testing.T) {
	if diff := cmp.Diff(told(1, 2), told(1, 2)); diff != "" {
		t.Errorf("the same seed and round give another plan:\n%s", diff)
	}
	if cmp.Equal(told(1, 2), told(1, 3)) || cmp.Equal(told(1, 2), told(2, 2)) {
		t.Error("another round, or another seed, gives the same plan")
	}
}

func TestEveryFaultHappensAndEnds(t *testing.T) {
	const rounds = 50
	inAll := map[Fault]int{}
	for round := range rounds {
		times := map[Fault]int{}
		last := time.Duration(0)
		for _, in := range Plan(7, round, length) {
			times[in.Fault]++
			if in.At < last || in.At+in.Lasts > length {
				t.Errorf("round %d: %s from %s for %s, after one at %s", round, in.Fault, in.At, in.Lasts, last)
			}
			last = in.At
		}
		for _, entry := range Schedule {
			inAll[entry.Fault] += times[entry.Fault]
		}
	}
	for _, entry := range Schedule {
		if want := rounds / entry.Every * entry.Times; inAll[entry.Fault] != want {
			t.Errorf("%s %d times in %d rounds, want %d", entry.Fault, inAll[entry.Fault], rounds, want)
		}
	}
}

func TestResultsAddUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.jsonl")
	if none, err := Read(file); err != nil || len(none) > 0 {
		t.Fatalf("a file that is not there: %+v, %v", none, err)
	}
	for i, round := range []Round{
		{Round: 0, Faults: map[Fault]int{EtcdKilled: 1}, ConvergedIn: 40, Messages: Messages{Sent: 10, Completed: 10, Redelivered: 2, Unfinished: 2}, Writes: 60, Operator: 20},
		{Round: 1, Faults: map[Fault]int{EtcdKilled: 1, PodDeleted: 1}, ConvergedIn: 60, Messages: Messages{Sent: 5, Completed: 4, Lost: 1}, Writes: 40, Operator: 10,
			Violations: []string{strings.Repeat("long ", 1<<16)}, Failed: true},
	} {
		if err := Append(file, round); err != nil {
			t.Fatal(i, err)
		}
	}
	all, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := all.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| etcd killed | 2 |", "| pod deleted | 1 |", "| operator killed | 0 |",
		"confirmed | 15 |", "| completed | 14 |", "| - lost | 1 |", "| redelivered | 2 |",
		"mean | 50 s |", "slowest | 60 s |", "| writes in the audit log | 100 |", "| - by the operator | 30 |", "| - that break a law | 1 |", "| rounds that failed | 1 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the results do not have %q:\n%s", want, out.String())
		}
	}
	if got := strings.Join(all.Missing(), "; "); got != fmt.Sprintf("all faults: 3 times of %d", len(Plan(0, 0, length))*2) {
		t.Errorf("missing: %s", got)
	}
}

func TestAFaultThatIsKeptFromHappening(t *testing.T) {
	var all Results
	for round := range 8 {
		faults := map[Fault]int{}
		for _, in := range Plan(1, round, length) {
			if in.Fault != EtcdKilled || round == 0 {
				faults[in.Fault]++
			}
		}
		all = append(all, Round{Seed: 1, Round: round, Faults: faults})
	}
	if got := strings.Join(all.Missing(), "; "); got != "etcd killed: 1 times of 8" {
		t.Errorf("missing: %s", got)
	}
}
