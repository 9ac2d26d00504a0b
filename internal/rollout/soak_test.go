// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSoak(t *testing.T) {
	start := time.Date(2026, 1, 14, 20, 0, 0, 0, time.UTC)
	settled := func(hash string) Assessment {
		return Assessment{State: Stable, New: Revision{Name: "app-" + hash, Hash: hash}, SettledHash: hash}
	}
	rolling := func(hash, old string) Assessment {
		return Assessment{State: Rolling, New: Revision{Name: "app-" + hash, Hash: hash}, SettledHash: old}
	}
	completed := func(hash string, at time.Time) *appsv1.Deployment {
		return &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable",
			Message: `ReplicaSet "app-` + hash + `" has successfully progressed.`, LastUpdateTime: metav1.NewTime(at),
		}}}}
	}
	type step struct {
		after time.Duration
		a     Assessment
		d     *appsv1.Deployment
	}
	for _, c := range []struct {
		name  string
		steps []step
		want  Soak
	}{
		{"a target that completed long ago has soaked at first sight",
			[]step{{0, settled("a"), completed("a", start.Add(-time.Hour))}},
			Soak{"a", start.Add(-time.Hour), "a"}},
		{"the condition of another ReplicaSet proves nothing",
			[]step{{0, settled("a"), completed("b", start.Add(-time.Hour))}},
			Soak{"a", start, ""}},
		{"a later rollout soaks from when it was seen to complete",
			[]step{{0, settled("a"), completed("a", start.Add(-time.Hour))}, {time.Minute, rolling("b", "a"), completed("a", start)},
				{2 * time.Minute, settled("b"), completed("b", start)}},
			Soak{"b", start.Add(2 * time.Minute), "a"}},
		{"and is soaked after the soak time",
			[]step{{0, settled("a"), completed("a", start.Add(-time.Hour))}, {2 * time.Minute, settled("b"), completed("b", start)},
				{12 * time.Minute, settled("b"), completed("b", start)}},
			Soak{"b", start.Add(2 * time.Minute), "b"}},
		{"a revision that is rolled out again begins anew",
			[]step{{0, settled("a"), completed("a", start)}, {time.Minute, rolling("b", "a"), completed("a", start)},
				{2 * time.Minute, settled("a"), completed("a", start)}},
			Soak{"a", start.Add(2 * time.Minute), ""}},
		{"a clock that is set back begins the soak anew, and does not make it last that much longer",
			[]step{{0, settled("a"), completed("a", start.Add(-time.Hour))}, {2 * time.Minute, settled("b"), completed("b", start)},
				{-5 * time.Hour, settled("b"), completed("b", start)}, {-5*time.Hour + 10*time.Minute, settled("b"), completed("b", start)}},
			Soak{"b", start.Add(-5 * time.Hour), "b"}},
		{"a missing target changes nothing",
			[]step{{0, settled("a"), completed("a", start.Add(-time.Hour))}, {time.Minute, Assessment{Missing: true}, nil}},
			Soak{"a", start.Add(-time.Hour), "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Soak
			for _, step := range c.steps {
				s = s.Next(start.Add(step.after), step.a, step.d, 10*time.Minute)
			}
			if diff := cmp.Diff(c.want, s); diff != "" {
				t.Error(diff)
			}
		})
	}
}
