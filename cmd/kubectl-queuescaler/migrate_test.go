// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const authentication = `apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: redis}
spec:
  secretTargetRef:
  - {parameter: password, name: redis-reader, key: password}`

const object = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: jobs}
spec:
  scaleTargetRef: {name: jobs}
  minReplicaCount: 1
  triggers:
  - type: redis
    metadata: {address: "redis:6379", listName: jobs, listLength: "20"}
    authenticationRef: {name: redis}`

// Files are documents of their own, and a refusal is an error beside what could be made.
func TestMigrate(t *testing.T) {
	cron := strings.Replace(strings.Replace(object, "type: redis", "type: cron", 1), "name: jobs}", "name: nightly}", 1)
	out, err := command("migrate", file(t, "auth.yaml", authentication), file(t, "jobs.yaml", object))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: QueueScaler", "mode: DryRun", "name: redis-reader", "perReplica: 20", "url: redis://redis:6379/0"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "To do") {
		t.Errorf("there is nothing to do by hand:\n%s", out)
	}
	out, err = command("migrate", file(t, "both.yaml", object+"\n---\n"+cron))
	if err == nil || !strings.Contains(err.Error(), "nightly is not migrated") || !strings.Contains(out, "kind: QueueScaler") {
		t.Errorf("%v:\n%s", err, out)
	}
	if _, err := command("migrate", "missing.yaml"); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}
