// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package consumers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var codeBlock = regexp.MustCompile("(?ms)^```(go|js|python)\n(.*?)^```$")

// The code in the docs is code that runs: each block is part of a program of these tests, or of the package's examples.
func TestDocsShowWhatRuns(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"*/*.go", "*/*.js", "*/*.py", "../../pkg/standby/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s (%v)", pattern, err)
		}
		for _, file := range files {
			sources = append(sources, read(t, file))
		}
	}
	blocks := codeBlock.FindAllStringSubmatch(read(t, "../../docs/consumers.md"), -1)
	if len(blocks) < 10 {
		t.Fatalf("found %d blocks of code", len(blocks))
	}
	for _, block := range blocks {
		found := false
		for _, source := range sources {
			found = found || strings.Contains(source, block[2])
		}
		if !found {
			t.Errorf("no program has this:\n%s", block[2])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
