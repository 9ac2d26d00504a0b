// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/rollout/recording"
)

// One assessment of a Deployment that is stable, with the ten old ReplicaSets that Kubernetes keeps.
func BenchmarkAssess(b *testing.B) {
	rec, err := recording.Read("testdata/recordings/template.jsonl.gz")
	if err != nil {
		b.Fatal(err)
	}
	var d *appsv1.Deployment
	byName := map[string]*appsv1.ReplicaSet{}
	for _, e := range rec.Events {
		if e.Deployment != nil {
			d = e.Deployment
		} else {
			byName[e.ReplicaSet.Name] = e.ReplicaSet
		}
	}
	var rss []*appsv1.ReplicaSet
	for _, rs := range byName {
		rss = append(rss, rs)
		for i := range 9 {
			if rs.Spec.Template.Labels["rev"] == "a" {
				old := rs.DeepCopy()
				old.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("image:%d", i)
				rss = append(rss, old)
			}
		}
	}
	_, m := rollout.Assess(noon, d, rss, rollout.Memory{})
	for b.Loop() {
		a, _ := rollout.Assess(noon, d, rss, m)
		if a.State != rollout.Stable {
			b.Fatal(a.Message)
		}
	}
}
