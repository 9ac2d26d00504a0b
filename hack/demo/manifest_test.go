// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// The story and the manifest have to fit each other.
func TestManifestFitsTheStory(t *testing.T) {
	documents := strings.Split(manifest, "\n---\n")
	if len(documents) != 2 {
		t.Fatalf("%d documents, want a Deployment and a QueueScaler", len(documents))
	}
	var d appsv1.Deployment
	var qs v1alpha1.QueueScaler
	if err := yaml.UnmarshalStrict([]byte(documents[0]), &d); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(documents[1]), &qs); err != nil {
		t.Fatal(err)
	}
	drain := qs.Spec.Objective.Drain
	rate, err := strconv.ParseFloat(drain.MessagesPerSecondPerReplica, 64)
	if err != nil {
		t.Fatal(err)
	}
	q := qs.Spec.Queues[0].NATSJetStream
	got := []any{d.Name, d.Namespace, *d.Spec.Replicas, *qs.Spec.MinReplicas, qs.Spec.MaxReplicas, qs.Spec.Standby.Replicas, drain.Seconds, rate,
		d.Spec.Template.Annotations[v1alpha1.AnnotationGate], q.URL, q.Stream, q.Consumer}
	want := []any{appName, namespace, int32(minReplicas), int32(minReplicas), int32(maxReplicas), int32(wantedSlots), int32(drainSeconds), float64(perPod),
		"file", "$NATS_URL", streamName, consumerName}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %v in the manifest, %v in the story", i, got[i], want[i])
		}
	}
	for _, load := range []struct{ rate, backlog float64 }{{calmRate, burst}, {busyRate, rolloutBurst}} {
		needed := math.Ceil(load.rate/perPod + load.backlog/(drainSeconds*perPod))
		if needed != maxReplicas {
			t.Errorf("%v messages at %v/s need %v pods, want the maximum, so that slots go back at once", load.backlog, load.rate, needed)
		}
	}
	if busyRate <= minReplicas*perPod || busyRate >= (minReplicas+wantedSlots)*perPod {
		t.Error("during the rollout the pods must not suffice without slots, and must with them")
	}
	if busyRate <= maxReplicas*badPerPod || busyRate >= maxReplicas*perPod {
		t.Error("all pods of the bad revision must not suffice, and those of the good one must")
	}
	if wanted := math.Ceil(busyRate / (perPod * 0.8)); wanted != maxReplicas {
		t.Errorf("without a backlog %v pods are wanted: the number of pods must stay while they are measured", wanted)
	}
	// So the first revision is measured with all pods, and those after it can be compared.
	if window := *qs.Spec.Behavior.ScaleDown.StabilizationWindowSeconds; window <= podReadySeconds+2*int32(evidenceBlock.Seconds()) {
		t.Errorf("pods are taken away %d s after a backlog, and are young until then", window)
	}
}
