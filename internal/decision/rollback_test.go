// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// bad and good are what a rollback is from and to.
func badAndGood() (bad, good *revision.Record) {
	good = &revision.Record{Key: "six", Hash: "six", Number: 6, Completed: noon.Add(-9 * time.Hour), Standing: revision.KnownGood, Since: noon.Add(-8 * time.Hour)}
	bad = &revision.Record{Key: "seven", Hash: "seven", Number: 7, Completed: noon.Add(-time.Hour), Standing: revision.New,
		Verdict: revision.Regressed, Basis: revision.ServiceRate, Rates: []revision.Sample{{Value: 6, At: 40}}}
	return bad, good
}

// Whatever speaks against a rollback is said.
func TestRollbackIsRefusedWithItsReason(t *testing.T) {
	missed := scaling.Finding{Status: "False"}
	for _, c := range []struct {
		name   string
		change func(bad, good *revision.Record, seen *Observation)
		// objective that the decision found.
		objective scaling.Finding
		says      string
	}{
		{"nothing does", func(_, _ *revision.Record, _ *Observation) {}, missed, ""},
		{"the objective is met", func(_, _ *revision.Record, _ *Observation) {}, scaling.Finding{Status: "True"}, "the objective is met"},
		{"it was missed in four blocks", func(bad, _ *revision.Record, _ *Observation) { bad.Missed = 4 }, scaling.Finding{Status: "True"}, ""},
		{"it would be at the highest arrival rate", func(_, good *revision.Record, _ *Observation) { good.HighestArrival = 400 }, scaling.Finding{Status: "True"}, ""},
		{"the intent is stored, and the objective met since", func(bad, _ *revision.Record, seen *Observation) {
			bad.RolledBack = noon.Add(-time.Second)
			seen.QueueScaler.Status.Revisions = []capacityv1alpha1.RevisionStatus{{Key: "seven", RolledBackAt: StatusTime(bad.RolledBack)}}
		}, scaling.Finding{Status: "True"}, ""},
		{"the intent is old", func(bad, _ *revision.Record, _ *Observation) { bad.RolledBack = noon.Add(-time.Hour) }, missed, "somebody deployed it again"},
		{"processing time", func(bad, _ *revision.Record, _ *Observation) { bad.Basis = revision.ProcessingTime }, missed, "only a measured service rate"},
		{"arrivals", func(bad, _ *revision.Record, _ *Observation) { bad.Basis = revision.Arrivals }, missed, "only a measured service rate"},
		{"a provisional baseline", func(_, good *revision.Record, _ *Observation) { good.Standing = revision.Provisional }, missed, "only provisionally"},
		{"the baseline was rolled back", func(_, good *revision.Record, _ *Observation) { good.RolledBack = noon.Add(-2 * time.Hour) }, missed, "was rolled back itself"},
		{"another autoscaler", func(_, _ *revision.Record, seen *Observation) { seen.Conflict = "an HPA" }, missed, "another autoscaler"},
		{"dry run", func(_, _ *revision.Record, seen *Observation) {
			seen.QueueScaler.Spec.Mode = capacityv1alpha1.ModeDryRun
		}, missed, "spec.mode is DryRun"},
		{"Argo CD", func(_, _ *revision.Record, seen *Observation) {
			seen.Target.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x"}
		}, missed, "revert in Git"},
		{"Argo CD, and force", func(_, _ *revision.Record, seen *Observation) {
			seen.Target.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x", capacityv1alpha1.AnnotationForceRollback: "true"}
		}, missed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad, good := badAndGood()
			seen := &Observation{Now: noon, Target: &appsv1.Deployment{}, QueueScaler: &capacityv1alpha1.QueueScaler{}}
			seen.QueueScaler.Spec = capacityv1alpha1.QueueScalerSpec{MaxReplicas: 60, Mode: capacityv1alpha1.ModeActive,
				Rollout: &capacityv1alpha1.Rollout{OnRegression: capacityv1alpha1.OnRegressionRollBack}}
			c.change(bad, good, seen)
			seen.Assessment = rollout.Assessment{State: rollout.Stable, SettledHash: "seven"}
			s := &Memory{Ledger: revision.Restore([]*revision.Record{good, bad})}
			s.Ledger.Enter(noon, revision.Target{Hash: "seven", Number: 7, Settled: true})
			got := rollbackOf(seen, s, &scaling.Plan{ObjectiveMet: c.objective})
			if got == nil || got.To != good || (c.says == "") != (got.Refused == "") || !strings.Contains(got.Refused, c.says) {
				t.Errorf("got %+v, want a refusal that says %q", got, c.says)
			}
		})
	}
}
