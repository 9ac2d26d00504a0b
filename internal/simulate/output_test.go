// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden table anew")

// eventful is an hour with a deploy that is rolled back by people.
func eventful(t *testing.T) *Scenario {
	t.Helper()
	s := small(t)
	s.Deploys = []Deploy{
		{At: s.Start.Add(15 * time.Minute), Revision: 2, Seconds: 60},
		{At: s.Start.Add(30 * time.Minute), Revision: 1, Seconds: 60, Reaction: true},
	}
	s.People = []Order{{At: s.Start.Add(20 * time.Minute), Replicas: 15, EverySeconds: 60}}
	return s
}

func TestTheTable(t *testing.T) {
	s := eventful(t)
	var results []*Result
	for _, p := range []Policy{Fixed{}, People{}, &HPA{Target: 100}, &Oracle{}, &Oracle{MeanOnly: true}} {
		results = append(results, Run(s, p, 1))
	}
	var out bytes.Buffer
	if err := WriteTable(&out, s, results); err != nil {
		t.Fatal(err)
	}
	WriteTimeline(&out, results[1])
	const golden = "testdata/table.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("run with -update to write it anew\n%s", diff)
	}
	for line := range strings.Lines(out.String()) {
		if len([]rune(line)) > 121 {
			t.Errorf("wider than 120 columns: %s", line)
		}
	}
}

func TestThePageNeedsNothingElse(t *testing.T) {
	s := eventful(t)
	s.Title = "a < b"
	results := []*Result{Run(s, People{}, 1), Run(s, &QueueScaler{Label: "queuescaler", Manifest: manifest(t)}, 1)}
	var out bytes.Buffer
	if err := WritePage(&out, s, results); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	if found := regexp.MustCompile(`(?i)(src|href)=|url\(|@import|<script|NaN|Inf`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	for _, part := range []string{"a &lt; b", "revision 2 rolls out", "queuescaler", "</html>"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 9999: "9999", 12345: "12k", 1234567: "1.23M", 11200000: "11.2M"} {
		if got := Amount(n); got != want {
			t.Errorf("Amount(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0s", 119: "119s", 120: "2m", 7199: "119m", 7200: "2h00m", -300: "-5m"} {
		if got := span(n); got != want {
			t.Errorf("span(%d) = %q, want %q", n, got, want)
		}
	}
}
