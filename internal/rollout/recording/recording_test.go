// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/queuescaler/queuescaler/internal/rollout"
)

// said makes answers: a state from each time on.
func said(pairs ...any) []Answer {
	var out []Answer
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Answer{
			T:          pairs[i].(float64),
			Assessment: rollout.Assessment{State: pairs[i+1].(rollout.State)},
			Deadline:   5 * time.Second,
		})
	}
	return out
}

// Each case breaks or just keeps one of the tolerances.
func TestScore(t *testing.T) {
	change := []Segment{{From: 0, To: 10, State: "stable"}, {From: 10, To: 20, State: "rolling"}, {From: 20, To: 30, State: "settling", Also: "rollback"}, {From: 30, To: 40, State: "stable"}}
	scale := []Segment{{From: 0, To: 10, State: "stable"}, {From: 10, To: 20, State: "scaling"}}
	stuck := []Segment{{From: 0, To: 20, State: "rolling"}, {From: 20, To: 40, State: "stuck"}}
	const stable, scaling, rolling, settling, isStuck, back = rollout.Stable, rollout.Scaling, rollout.Rolling, rollout.Settling, rollout.Stuck, rollout.RollingBack
	for _, test := range []struct {
		name    string
		truth   []Segment
		answers []Answer
		ready   []float64
		want    []string
	}{
		{"right", change, said(0., stable, 10., rolling, 20., settling, 30., stable), nil, nil},
		{"as right", change, said(0., stable, 10., rolling, 20., back, 30., stable), nil, nil},
		{"1 s late and 1 s early", change, said(0., stable, 11., rolling, 19., settling, 31., stable), nil, nil},
		{"too late", change, said(0., stable, 11.1, rolling, 20., settling, 31.1, stable), nil,
			[]string{"1.100 s: said Stable (row 0) while Rolling", "1.100 s: said Settling (row 0) while Stable"}},
		{"as careful as the neighbor", change, said(0., stable, 10., rolling, 20., settling, 30., back, 31., stable), nil, nil},
		{"not as careful as the neighbor", change, said(0., stable, 10., settling, 10.5, rolling, 20., settling, 30., stable), nil,
			[]string{"0.500 s: said Settling (row 0) while Rolling"}},
		{"unsafe for an instant, far from a change", change, said(0., stable, 10., rolling, 15., stable, 15.01, rolling, 20., settling, 30., stable), nil,
			[]string{"0.010 s: said Stable (row 0) while Rolling"}},
		{"flicker of the same kind", change, said(0., stable, 5., scaling, 5.09, stable, 10., rolling, 15., settling, 15.09, rolling, 20., settling, 30., stable), nil, nil},
		{"more than a flicker", scale, said(0., stable, 5., scaling, 5.11, stable, 10., scaling), nil, []string{"0.110 s: said Scaling (row 0) while Stable"}},
		{"stuck, and no pod became ready for the whole deadline", stuck, said(0., rolling, 8., isStuck), []float64{2.9}, nil},
		{"stuck, although a pod became ready", stuck, said(0., rolling, 8., isStuck), []float64{3.1}, []string{"12.000 s: said Stuck (row 0) while Rolling"}},
		{"stuck although a pod became ready since", stuck, said(0., rolling, 8., isStuck), []float64{15}, []string{"12.000 s: said Stuck (row 0) while Rolling"}},
		{"stuck within a second of a change", change, said(0., stable, 10., rolling, 10.5, isStuck, 20., settling, 30., stable), []float64{9}, nil},
		{"stuck while nothing is in progress", scale, said(0., stable, 5., isStuck, 10., scaling), nil, []string{"5.000 s: said Stuck (row 0) while Stable"}},
		{"the last answer lasts to the end", scale, said(0., stable, 10., scaling, 15., rolling), nil, []string{"5.000 s: said Rolling (row 0) while Scaling"}},
		{"no answers", scale, nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := &Recording{Header: Header{Truth: test.truth}, Ready: test.ready}
			var got []string
			for _, w := range rec.Score(test.answers) {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWrong(t *testing.T) {
	for _, test := range []struct {
		said, truth      rollout.State
		unsafe, overhold bool
	}{
		{rollout.Stable, rollout.Stuck, true, false},
		{rollout.Scaling, rollout.PausedPending, true, false},
		{rollout.Rolling, rollout.Scaling, false, true},
		{rollout.Rolling, rollout.RollingBack, false, false},
		{rollout.Stable, rollout.Scaling, false, false},
	} {
		if w := (Wrong{Said: test.said, Truth: test.truth}); w.Unsafe() != test.unsafe || w.Overhold() != test.overhold {
			t.Errorf("%s while %s: unsafe %v, overhold %v", w.Said, w.Truth, w.Unsafe(), w.Overhold())
		}
	}
}

const header = `{"scenario":"s","truth":[{"from_t":1,"to_t":2,"state":"stable"}]}` + "\n"

// Without a .pods file the ReplicaSets tell when a pod became ready; with one, the pods do, and
// pods of slots do not count.
func TestReadyTimes(t *testing.T) {
	event := func(at, ready string) string {
		return `{"t":` + at + `,"op":"MODIFIED","kind":"ReplicaSet","object":{"metadata":{"uid":"u"},"status":{"replicas":2,"readyReplicas":` + ready + `}}}` + "\n"
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "r.jsonl")
	write(t, file, header+event("1", "0")+event("2", "1")+event("3", "1")+event("4", "2")+event("5", "1"))
	rec, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{2, 4}, rec.Ready); diff != "" {
		t.Error(diff)
	}
	write(t, filepath.Join(dir, "r.pods"), `{"T":1.5,"Name":"p","Ready":true}
{"T":1.6,"Name":"p","Ready":true}
{"T":1.7,"Name":"slot","Slot":"s","Ready":true}
{"T":1.8,"Name":"p","Ready":false}
{"T":1.9,"Name":"p","Ready":true}
{"T":2.0,"Name":"q","Ready":true,"Gone":true}
`)
	if rec, err = Read(file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{1.5, 1.9}, rec.Ready); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ name, content, want string }{
		{"empty", "", "no events"},
		{"not JSON", "hello\n", ":1: header:"},
		{"no truth", `{"scenario":"s"}`, `"truth" is missing`},
		{"unknown state", `{"truth":[{"state":"fine"}]}`, `truth[0]: unknown state "fine"`},
		{"no state", `{"truth":[{"from_t":1}]}`, `truth[0]: unknown state ""`},
		{"no events", header, "no events"},
		{"event not JSON", header + "{\n", ":2: "},
		{"kind", header + `{"op":"ADDED","kind":"Pod","object":{}}`, `:2: kind: "Pod" is neither`},
		{"op", header + `{"op":"BOOKMARK","kind":"Deployment","object":{}}`, `:2: op: "BOOKMARK" is none of`},
		{"object", header + `{"op":"ADDED","kind":"Deployment","object":{"spec":7}}`, `:2: object: `},
		{"null object", header + `{"op":"ADDED","kind":"Deployment"}`, `:2: object: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(dir, "r.jsonl")
			write(t, file, test.content)
			_, err := Read(file)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("%v, want the file and %q", err, test.want)
			}
		})
	}
	if _, err := Read(filepath.Join(dir, "missing.jsonl")); err == nil {
		t.Error("no error for a file that is missing")
	}
	write(t, filepath.Join(dir, "r.jsonl.gz"), "not gzip")
	if _, err := Read(filepath.Join(dir, "r.jsonl.gz")); err == nil {
		t.Error("no error for a .gz file that is none")
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
