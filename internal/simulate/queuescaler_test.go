// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/rollout"
)

func manifest(t *testing.T) *capacityv1alpha1.QueueScaler {
	t.Helper()
	qs, err := ParseQueueScaler(IncidentQueueScaler)
	if err != nil {
		t.Fatal(err)
	}
	return qs
}

// evening is the incident from an hour and a half before the deploy until an hour after it.
func evening(t *testing.T) *Scenario {
	t.Helper()
	s, err := Parse(Incident)
	if err != nil {
		t.Fatal(err)
	}
	deploy := s.Deploys[0].At
	s.Start, s.End = deploy.Add(-90*time.Minute), deploy.Add(time.Hour)
	s.Replicas = 36
	return s
}

// The objects that are made of the plant are what a cluster would show: the operator's own procedure finds a rollout in them
// when there is one, and never scaling in its place.
func TestTheOperatorSeesWhatThePlantDoes(t *testing.T) {
	qs := manifest(t)
	rapid.Check(t, func(t *rapid.T) {
		s := anyScenario(t)
		s.Replicas = max(s.Replicas, 1)
		s.Revisions = append(s.Revisions, Revision{Number: 99, PerReplica: 1, Inflation: 1}) // there is something to deploy
		w := newPlant(s, s.draw(1), 1)
		memory := rollout.Memory{}
		for i := range s.Seconds() {
			if i%50 == 49 && rapid.Bool().Draw(t, "scales") {
				w.scale(i, rapid.Int32Range(1, 40).Draw(t, "to"))
			}
			w.step(i)
			o := objectsOf(w, i, qs)
			var a rollout.Assessment
			a, memory = rollout.Assess(s.At(i), o.target, o.sets, memory)
			if a.InProgress() != w.fleet.rolling {
				t.Fatalf("second %d: %s (%s, row %d), and a rollout is in progress: %v", i, a.State, a.Message, a.Row, w.fleet.rolling)
			}
			if _, available := w.fleet.size(); a.Available != available || a.Wanted != w.fleet.wanted {
				t.Fatalf("second %d: %+v", i, a)
			}
		}
	})
}

func TestEqualRunsAreEqual(t *testing.T) {
	s := evening(t)
	s.End = s.Start.Add(20 * time.Minute)
	p := &QueueScaler{Label: "queuescaler", Manifest: manifest(t)}
	if diff := cmp.Diff(Run(s, p, 1), Run(s, p, 1)); diff != "" {
		t.Error(diff)
	}
}

// A person who follows the advice ends it: the revision is rolled back, its messages are worked off, and nothing is advised
// against the one that is back.
func TestAPersonFollowsTheAdvice(t *testing.T) {
	r := Run(evening(t), &QueueScaler{Label: "queuescaler", Manifest: manifest(t), FollowSeconds: 300}, 1)
	if len(r.Advice) != 1 || r.Advice[0].To != 6 || r.Advice[0].Against != 7 {
		t.Fatalf("advice %+v, want one to roll revision 7 back to 6", r.Advice)
	}
	if after := r.AfterRolloutSeconds; after == nil || *after > 15*60 {
		t.Errorf("advice %v s after the rollout's end, want at most 15 min", after)
	}
	if r.Rollbacks != 1 || r.LateMessages != 0 || r.Series.Revision[len(r.Series.Revision)-1] != 6 {
		t.Errorf("%d rollbacks, %d late, at the end revision %d", r.Rollbacks, r.LateMessages, r.Series.Revision[len(r.Series.Revision)-1])
	}
}

func TestNobodyFollowsTheAdvice(t *testing.T) {
	r := Run(evening(t), &QueueScaler{Label: "queuescaler", Manifest: manifest(t)}, 1)
	if len(r.Advice) == 0 || r.Rollbacks != 0 || r.Series.Revision[len(r.Series.Revision)-1] != 7 {
		t.Errorf("advice %+v, %d rollbacks", r.Advice, r.Rollbacks)
	}
}

func TestAManifestThatCannotBePlayed(t *testing.T) {
	for _, text := range []string{
		"kind: Deployment",
		"kind: QueueScaler\nspec: {maxReplicas: 4}",
		"kind: QueueScaler\nspec: {queues: [{name: a}], objective: {drain: {seconds: 60}}}",
		"kind: QueueScaler\nspec: {maxReplicas: 4, queues: [{name: a}, {name: b}], objective: {drain: {seconds: 60}}}",
		"kind: QueueScaler\nspec: {maxreplicas: 4}",
	} {
		if _, err := ParseQueueScaler([]byte(text)); err == nil {
			t.Errorf("taken for a QueueScaler that can be played: %s", text)
		}
	}
}
