// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

// ScaledObjects as people write them, what becomes of them, and what is said about them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			results, refused := Manifests(bytes.NewReader(in))
			var out bytes.Buffer
			if err := Write(&out, results); err != nil {
				t.Fatal(err)
			}
			if refused != nil {
				out.WriteString("\nError: " + refused.Error() + "\n")
			}
			if strings.Contains(out.String(), "hunter2") {
				t.Error("a password is printed")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
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
				t.Error(diff)
			}
		})
	}
}

func TestNothingToMigrate(t *testing.T) {
	for _, in := range []string{"", "kind: Deployment\napiVersion: apps/v1\n", "---\n---\n"} {
		if _, err := Manifests(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), "no ScaledObject") {
			t.Errorf("%q: %v", in, err)
		}
	}
	if _, err := Manifests(strings.NewReader("a: [")); err == nil || !strings.Contains(err.Error(), "not YAML") {
		t.Errorf("broken YAML: %v", err)
	}
	_, err := Manifests(strings.NewReader("apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {}\n"))
	if refusal := (*Refusal)(nil); !errors.As(err, &refusal) || refusal.Object != "x" || len(refusal.Reasons) != 2 {
		t.Errorf("an empty one: %v", err)
	}
}

// Targets are brought to one measure by weights, or refused: never a number that overflowed.
func TestTargets(t *testing.T) {
	for _, c := range []struct {
		targets    []int64
		perReplica int64
		weights    []int32
	}{
		{[]int64{7}, 7, []int32{0}},
		{[]int64{10, 15}, 30, []int32{3, 2}},
		{[]int64{1, 1000}, 1000, []int32{1000, 0}},
		{[]int64{1, 1001}, 0, nil},
		{[]int64{999_999_937, 999_999_929, 999_999_893, 999_999_883}, 0, nil},
		{[]int64{1_000_000_000, 500_000_000}, 1_000_000_000, []int32{0, 2}},
		{[]int64{1_000_000_000, 750_000_000}, 0, nil},
	} {
		m := &migration{qs: &capacityv1alpha1.QueueScaler{}}
		m.qs.Spec.Queues = make([]capacityv1alpha1.Queue, len(c.targets))
		m.objective(c.targets)
		if got := m.qs.Spec.Objective.Backlog.PerReplica; got != c.perReplica || (got == 0) != (len(m.reasons) == 1) {
			t.Errorf("%v: %d for each replica, refused with %q; want %d", c.targets, got, m.reasons, c.perReplica)
		}
		for i, want := range c.weights {
			if got := m.qs.Spec.Queues[i].Weight; got != want {
				t.Errorf("%v: weight %d, want %d", c.targets, got, want)
			}
		}
	}
}

// Whatever is put in, there is no panic, and what comes out is a manifest or a reason.
func FuzzManifests(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		results, err := Manifests(bytes.NewReader(in))
		if len(results) == 0 && err == nil {
			t.Error("neither a manifest nor a reason")
		}
		if err := Write(new(bytes.Buffer), results); err != nil {
			t.Error(err)
		}
	})
}
