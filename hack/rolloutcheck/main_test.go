// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kept = "../../internal/rollout/testdata/recordings/"

func check(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestRight(t *testing.T) {
	file, other := kept+"template.jsonl.gz", kept+"scale-up.jsonl.gz"
	code, out, errs := check(file, other)
	want := `{"file":"` + file + `","events":67,"wrong":0,"unsafe":0,"overhold":0}` + "\n" +
		`{"file":"` + other + `","events":28,"wrong":0,"unsafe":0,"overhold":0}` + "\n"
	if code != 0 || out != want || errs != "" {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestWrong(t *testing.T) {
	file := kept + "template-and-scale-down-2.jsonl.gz"
	code, out, errs := check("-delay-deploy", "0.3s", "-v", file)
	if want := `{"file":"` + file + `","events":66,"wrong":1,"unsafe":1,"overhold":0}` + "\n"; code != 1 || out != want {
		t.Errorf("exit %d\n%s", code, out)
	}
	if !strings.Contains(errs, "said Scaling (row 17) while Rolling") {
		t.Errorf("-v does not explain: %s", errs)
	}
}

func TestUnreadable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.jsonl")
	if err := os.WriteFile(file, []byte("{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{file}, {file + ".missing"}, {}, {"-no-such-flag", file}} {
		code, out, errs := check(args...)
		if code != 2 || out != "" || errs == "" {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, out, errs)
		}
	}
}
