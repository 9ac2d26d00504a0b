// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/rollout/recording"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// kept are all recordings in testdata, by name.
var kept = sync.OnceValues(func() (map[string]*recording.Recording, error) {
	files, err := filepath.Glob("testdata/recordings/*.jsonl.gz")
	if err != nil {
		return nil, err
	}
	out := map[string]*recording.Recording{}
	for _, file := range files {
		rec, err := recording.Read(file)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(strings.TrimSuffix(file, ".jsonl.gz") + ".pods.gz"); err != nil {
			return nil, err
		}
		out[strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")] = rec
	}
	return out, nil
})

func recordings(t *testing.T) map[string]*recording.Recording {
	t.Helper()
	all, err := kept()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every event of every recording, and the same with caches that lag and with the memory lost. What
// is asserted is what was measured; the procedure this one was made from had 0, 2 and 11 wrong.
func TestRecordings(t *testing.T) {
	all := recordings(t)
	events := 0
	for _, rec := range all {
		events += len(rec.Events)
	}
	if len(all) != 77 || events != 5041 {
		t.Fatalf("%d recordings with %d events, want 77 with 5041", len(all), events)
	}

	const late = 300 * time.Millisecond
	for _, test := range []struct {
		name    string
		options recording.Options
		// at most so many pieces of wrong answers, and of those unsafe or held for nothing
		wrong, unsafe, overhold int
		// longest unsafe piece in seconds
		longest float64
	}{
		{"as recorded", recording.Options{}, 0, 0, 0, 0},
		{"ReplicaSets 0.3 s late", recording.Options{DelayReplicaSets: late}, 0, 0, 0, 0},
		// Unsafe: one write changed template and replicas, and the old ReplicaSet was resized
		// before the new one existed. A copy of the Deployment without that write shows scaling.
		{"Deployments 0.3 s late", recording.Options{DelayDeployments: late}, 7, 6, 0, 0.13},
		{"memory lost before every event", recording.Options{Forget: true}, 30, 0, 23, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var wrong, unsafe, overhold int
			for name, rec := range all {
				for _, w := range rec.Score(rec.Replay(test.options)) {
					wrong++
					if w.Overhold() {
						overhold++
					}
					if w.Unsafe() {
						unsafe++
						if seconds := w.To - w.From; seconds > test.longest+0.001 {
							t.Errorf("%s: unsafe for %.3f s, longer than %.2f s", name, seconds, test.longest)
						}
					}
					if test.wrong == 0 {
						t.Errorf("%s, %.3f s after its start: %s", name, w.From-rec.Header.Truth[0].From, w)
					}
				}
			}
			t.Logf("wrong %d, unsafe %d, overhold %d", wrong, unsafe, overhold)
			if wrong > test.wrong || unsafe > test.unsafe || overhold > test.overhold {
				t.Errorf("wrong %d, unsafe %d, overhold %d; want at most %d, %d, %d", wrong, unsafe, overhold, test.wrong, test.unsafe, test.overhold)
			}
		})
	}
}

// Every row of the procedure is used by some recording, except those listed with the reason.
func TestRecordingsReachEveryRow(t *testing.T) {
	reached := map[int]bool{
		1: true, // no recording outlives its Deployment; see TestRows
		2: true, // needs a look at a Deployment of 0 replicas before its first ReplicaSet; see TestRows
		6: true, // needs an API server that refuses a ReplicaSet; see TestRows
		8: true, // needs a template edited back to an earlier one while paused; see TestRows
	}
	for _, rec := range recordings(t) {
		for _, o := range []recording.Options{{}, {DelayDeployments: 300 * time.Millisecond}} {
			for _, a := range rec.Replay(o) {
				reached[a.Row] = true
			}
		}
	}
	for row := 1; row <= 21; row++ {
		if !reached[row] {
			t.Errorf("row %d is never reached", row)
		}
	}
}

// Golden traces: what a person would have read, from start to end. One line per change of state,
// reason or message.
func TestTraces(t *testing.T) {
	all := recordings(t)
	for _, name := range []string{"scale-up", "template", "template-and-scale-up-1", "scale-during-1", "stuck-scale-1", "stuck-healed",
		"undo-mid-1", "pause-mid-scale-1", "paused-edit-revert", "zero-template", "flip-flop-3", "taint-evict", "rs-deleted"} {
		t.Run(name, func(t *testing.T) {
			rec := all[name]
			if rec == nil {
				t.Fatal("no such recording")
			}
			got := trace(rec)
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func trace(rec *recording.Recording) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s: %s\n\n", rec.Header.Scenario, rec.Header.Description)
	start, last := rec.Events[0].T, ""
	for _, a := range rec.Replay(recording.Options{}) {
		line := fmt.Sprintf("%-16s %-24s %-22s %s", a.State, a.Reason, may(a.Permissions), a.Message)
		if line != last {
			fmt.Fprintf(&out, "%8.3f  %s\n", a.T-start, line)
		}
		last = line
	}
	return out.Bytes()
}

// may names what is permitted.
func may(p rollout.Permissions) string {
	var out []string
	for _, one := range []struct {
		yes  bool
		word string
	}{{p.ScaleUp, "up"}, {p.ScaleDown, "down"}, {p.Lend, "lend"}, {p.LendFirst, "first"}, {p.Restore, "restore"}} {
		if one.yes {
			out = append(out, one.word)
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, ",")
}
