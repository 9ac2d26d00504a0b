// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The figures make sense, and the last line is what says them to programs. How good they are is for the benchmark.
func TestBenchReaders(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), config{queues: 20, seconds: 2 * time.Second, kinds: []string{"redis"}}, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	decoder := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	decoder.DisallowUnknownFields()
	var r result
	if err := decoder.Decode(&r); err != nil || len(r.Servers) != 1 {
		t.Fatalf("%v, with %d servers; the last line is\n%s", err, len(r.Servers), lines[len(lines)-1])
	}
	f := r.Servers[0]
	if f.Kind != "redis" || f.Queues != 20 || f.Connections != 1 {
		t.Errorf("%+v, want 20 queues of redis over one connection", f)
	}
	if f.Readings <= 0 || f.Readings > 60 || f.Requests <= 0 || f.CPU <= 0 || f.AgeP99 <= 0 {
		t.Errorf("%+v, want something measured", f)
	}
	for _, line := range lines[:len(lines)-1] {
		if len(line) > 120 {
			t.Errorf("%d characters in %q", len(line), line)
		}
	}
}

func TestUnknownServer(t *testing.T) {
	if err := run(t.Context(), config{queues: 1, seconds: time.Second, kinds: []string{"abacus"}}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `no server "abacus"`) {
		t.Error(err)
	}
}
