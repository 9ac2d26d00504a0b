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
