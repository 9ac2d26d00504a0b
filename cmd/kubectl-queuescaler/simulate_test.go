// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scenario of a minute.
const scenario = `
name: minute
start: "2026-01-15T12:00:00Z"
end: "2026-01-15T12:01:00Z"
arrivals: {perSecond: [5]}
replicas: 2
maxReplicas: 4
revisions: [{number: 1, perReplica: 10}]
`

// command runs the plugin, and returns what it prints.
func command(args ...string) (string, error) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.Execute()
	return out.String(), err
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSimulateYourOwnScenario(t *testing.T) {
	path, page := file(t, "s.yaml", scenario), filepath.Join(t.TempDir(), "page.html")
	out, err := command("simulate", path, "-p", "fixed,hpa=10,queuescaler,oracle,mean,people", "--plot", page)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"minute", "fixed", "hpa 10", "queuescaler", "oracle", "mean", "people"} {
		if !strings.Contains(out, word) {
			t.Errorf("the table lacks %s:\n%s", word, out)
		}
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "</html>") {
		t.Errorf("no page: %v", err)
	}
}

func TestSimulateYourOwnArrivals(t *testing.T) {
	counts := file(t, "counts.csv", "second,messages\n"+strings.Repeat("0,7\n", 90))
	out, err := command("simulate", file(t, "s.yaml", scenario), "--arrivals", counts, "-p", "fixed", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Results []struct {
			Policy   string
			Messages int64
			Late     *int64 `json:"late_messages"`
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Results) != 1 || got.Results[0].Policy != "fixed" || got.Results[0].Messages < 7*88 || got.Results[0].Messages > 7*90 || got.Results[0].Late == nil {
		t.Errorf("got %s", out)
	}
}

// What is printed can be read again.
func TestPrintedScenarioAndManifest(t *testing.T) {
	text, err := command("simulate", "--print-scenario")
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "2019-01-16T03:00:00Z", "2019-01-14T12:02:00Z", 1)
	manifest, err := command("simulate", "--print-manifest")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := command("simulate", file(t, "s.yaml", text), "-f", file(t, "qs.yaml", manifest), "-p", "queuescaler"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWhatCannotBeSimulated(t *testing.T) {
	good := file(t, "s.yaml", scenario)
	for _, c := range []struct {
		says string
		args []string
	}{
		{"there are queuescaler", []string{good, "-p", "keda"}},
		{"only hpa takes a number", []string{good, "-p", "hpa"}},
		{"only hpa takes a number", []string{good, "-p", "fixed=3"}},
		{"at least 1", []string{good, "-p", "hpa=0"}},
		{"table or json", []string{good, "-p", "fixed", "-o", "yaml"}},
		{"no such file", []string{"missing.yaml"}},
		{"scenario", []string{file(t, "bad.yaml", "name: bad")}},
		{"line 2", []string{good, "--arrivals", file(t, "bad.csv", "1\nx\n")}},
		{"QueueScaler", []string{good, "-f", file(t, "bad.yaml", "kind: Deployment")}},
	} {
		if _, err := command(append([]string{"simulate"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want it to say %q", c.args, err, c.says)
		}
	}
}
