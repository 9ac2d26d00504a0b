// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/queuescaler/queuescaler/test/cluster"
)

// minimal is the spec that fragments of the docs are put into.
const minimal = `
scaleTargetRef: {name: workers}
maxReplicas: 10
queues: [{name: jobs, redis: {url: "redis://r", list: {keys: [jobs]}}}]
objective: {drain: {seconds: 60}}
`

// foreign are groups that the local cluster does not have.
var foreign = []string{"argoproj.io/", "kustomize.config.k8s.io/"}

// TestManifestsAreValid has a real API server check every YAML block: whole objects as they are, parts of a spec within a
// minimal one. A block that is neither is an error, unless it holds rules of Prometheus.
func TestManifestsAreValid(t *testing.T) {
	shared, err := cluster.Start(cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shared.Stop)
	if _, _, err := shared.Kubectl(t.Context(), "apply", "--server-side", "-k", filepath.Join(root, "config/crd")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := shared.Kubectl(t.Context(), "wait", "--for=condition=Established", "crd/queuescalers.capacity.queuescaler.io", "crd/queueservers.capacity.queuescaler.io"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chat", "team-a"} { // those that examples name
		if _, _, err := shared.Kubectl(t.Context(), "create", "namespace", name); err != nil {
			t.Fatal(err)
		}
	}
	scalers := 0
	for name, page := range pages(t) {
		for i, block := range blocks(page, "yaml") {
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				for _, document := range strings.Split(block, "\n---\n") {
					manifest := manifestOf(t, document)
					if strings.Contains(manifest, "kind: QueueScaler") {
						scalers++
					}
					checkManifest(t, shared, manifest)
				}
			})
		}
	}
	if scalers < 5 {
		t.Errorf("found %d QueueScalers in the docs only", scalers)
	}
}

// manifestOf is the object that a YAML document is or is a part of; empty where there is nothing to check.
func manifestOf(t *testing.T, document string) string {
	t.Helper()
	var object map[string]any
	if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
		t.Fatal(err)
	}
	if version, ok := object["apiVersion"].(string); ok {
		for _, group := range foreign {
			if strings.HasPrefix(version, group) {
				return ""
			}
		}
		return document
	}
	if _, rules := object["groups"]; rules && len(object) == 1 {
		return ""
	}
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(minimal), &spec); err != nil {
		t.Fatal(err)
	}
	for field, value := range object {
		spec[field] = value
	}
	whole, err := yaml.Marshal(map[string]any{
		"apiVersion": "capacity.queuescaler.io/v1alpha1", "kind": "QueueScaler",
		"metadata": map[string]any{"name": "fragment"}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(whole)
}

func checkManifest(t *testing.T, c *cluster.Cluster, manifest string) {
	t.Helper()
	if manifest == "" {
		return
	}
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := c.Kubectl(t.Context(), "create", "--dry-run=server", "--validate=strict", "-f", file)
	if err != nil || stderr != "" {
		t.Errorf("%v%s\n%s", err, stderr, manifest)
	}
}
