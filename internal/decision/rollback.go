// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// rollbackTries is how long a rollback whose intent is stored is tried. A revision that still runs later was left there, or put
// there again, by somebody.
const rollbackTries = 10 * time.Minute

// Rollback is what follows from a regression where it is to be rolled back.
type Rollback struct {
	// From is the revision that regressed, To the known-good one to go back to.
	From, To *revision.Record
	// Refused says why it is not done; empty: it is.
	Refused string
	// Stored: the intent is in status, so that it may be carried out.
	Stored bool
}

// rollbackOf says whether the present revision is to be rolled back by the operator itself; nil: nothing asks for it.
func rollbackOf(seen *Observation, s *Memory, plan *scaling.Plan) *Rollback {
	r := seen.QueueScaler.Spec.Rollout
	from := s.Ledger.Present()
	if r == nil || r.OnRegression != capacityv1alpha1.OnRegressionRollBack || from == nil || from.Verdict != revision.Regressed || !from.Flagged() {
		return nil
	}
	b := &Rollback{From: from, To: s.Ledger.Baseline(), Stored: rolledBackAt(seen.QueueScaler, from.Key)}
	b.Refused = b.refusal(seen, s, plan)
	return b
}

// refusal is the first thing that speaks against the rollback.
func (b *Rollback) refusal(seen *Observation, s *Memory, plan *scaling.Plan) string {
	switch {
	case b.To == nil:
		return "there is no known-good revision to go back to"
	case b.From.Basis == revision.Arrivals:
		return "only a measured service rate is acted on, and it is arrivals that tell: its replicas may do as much as any"
	case b.From.Basis != revision.ServiceRate:
		return "only a measured service rate is acted on, and so far the processing time tells"
	case b.From.Change != "":
		return "the change has no template of its own: revert the marked change"
	case b.To.Standing != revision.KnownGood:
		return fmt.Sprintf("%s is known-good only provisionally: it was the first one seen", nameOf(b.To))
	case b.To.Hash == b.From.Hash:
		return fmt.Sprintf("%s has the same template", nameOf(b.To))
	case !b.To.RolledBack.IsZero():
		return fmt.Sprintf("%s was rolled back itself", nameOf(b.To))
	case b.From.DeployedAgain(), !b.From.RolledBack.IsZero() && seen.Now.Sub(b.From.RolledBack) > rollbackTries:
		return fmt.Sprintf("%s was to be rolled back at %s already, and either that could not be done or somebody deployed it again", nameOf(b.From), b.From.RolledBack.UTC().Format("2006-01-02 15:04 MST"))
	case seen.Conflict != "":
		return "another autoscaler acts on the target"
	case Frozen(seen) != "":
		return "spec.mode is " + string(seen.QueueScaler.Spec.Mode)
	}
	if owner := gitOwner(seen.Target); owner != "" && seen.Target.Annotations[capacityv1alpha1.AnnotationForceRollback] != "true" {
		return fmt.Sprintf("%s owns the object and would undo it: revert in Git (to have it done all the same: kubectl annotate deployment %s %s=true -n %s)",
			owner, seen.Target.Name, capacityv1alpha1.AnnotationForceRollback, seen.QueueScaler.Namespace)
	}
	// An intent that was stored is carried out: it is not by chance that the objective was missed, nor the end of it that it is met now.
	if !b.Stored && !b.threatened(seen, s, plan) {
		return "the objective is met, has been since it runs, and would be at the highest arrival rate that was seen"
	}
	return ""
}

// missedBlocks at whose end the objective was missed are no accident: as many as the first look at a revision takes.
const missedBlocks = 4

// threatened: the objective is missed, or was for some minutes since the revision runs (that it is met again is then the work of slots
// and further replicas, and the next rise of arrivals may find none left), or would be at the highest arrival rate of the ledger even
// with all replicas that are allowed.
func (b *Rollback) threatened(seen *Observation, s *Memory, plan *scaling.Plan) bool {
	if plan.ObjectiveMet.Status == "False" || b.From.Missed >= missedBlocks {
		return true
	}
	highest := 0.0
	for _, r := range s.Ledger.Records() {
		highest = max(highest, r.HighestArrival)
	}
	return b.From.Rate() > 0 && highest/b.From.Rate() > float64(seen.QueueScaler.Spec.MaxReplicas)
}

// rolledBackAt reports whether status says that this revision is to be rolled back, or was.
func rolledBackAt(qs *capacityv1alpha1.QueueScaler, key string) bool {
	for i := range qs.Status.Revisions {
		if qs.Status.Revisions[i].Key == key {
			return qs.Status.Revisions[i].RolledBackAt != nil
		}
	}
	return false
}

// gitOwner is the tool that keeps the target as Git or a chart has it; empty where none is known to.
func gitOwner(d *appsv1.Deployment) string {
	for _, mark := range []struct{ key, owner string }{
		{"argocd.argoproj.io/tracking-id", "Argo CD"},
		{"argocd.argoproj.io/instance", "Argo CD"},
		{"kustomize.toolkit.fluxcd.io/name", "Flux"},
		{"helm.toolkit.fluxcd.io/name", "Flux"},
		{"meta.helm.sh/release-name", "Helm"},
	} {
		if d.Annotations[mark.key] != "" || d.Labels[mark.key] != "" {
			return mark.owner
		}
	}
	if d.Labels["app.kubernetes.io/managed-by"] == "Helm" {
		return "Helm"
	}
	return ""
}

// nameOf names a revision for people.
func nameOf(r *revision.Record) string {
	name := "revision " + r.Hash
	if r.Number > 0 {
		name = fmt.Sprintf("revision %d", r.Number)
	}
	if r.Change != "" {
		name = fmt.Sprintf("%s with the change %q", name, Clip(r.Change, 60))
	}
	return name
}

// rollbackCommand is what a person does to go back to a revision.
func rollbackCommand(seen *Observation, to *revision.Record) string {
	d := seen.Target
	if owner := gitOwner(d); owner != "" {
		return fmt.Sprintf("Roll back: revert in Git, %s owns deployment/%s", owner, d.Name)
	}
	if n := numberInHistory(seen, to.Hash); n > 0 {
		return fmt.Sprintf("Roll back: kubectl rollout undo deployment/%s --to-revision=%d -n %s", d.Name, n, seen.QueueScaler.Namespace)
	}
	kept := standby.RevisionName(seen.QueueScaler.Name, to.Hash)
	return fmt.Sprintf("Roll back (the Deployment's history has lost the revision, controllerrevision/%[2]s keeps it): "+
		`kubectl patch deployment %[1]s -n %[3]s --type=json -p "[{\"op\":\"replace\",\"path\":\"/spec/template\",\"value\":$(kubectl get controllerrevision %[2]s -n %[3]s -o jsonpath='{.data.template}')}]"`,
		d.Name, kept, seen.QueueScaler.Namespace)
}

// planText quotes the team's own rollback plan, or says that there is none.
func planText(seen *Observation) string {
	if plan := RollbackPlan(seen); plan != "" {
		return "Rollback plan: " + plan
	}
	return "No rollback plan is written down: set spec.rollout.rollbackPlan"
}

// regressionText is the evidence against the present revision in numbers.
func regressionText(seen *Observation, s *Memory, plan *scaling.Plan) string {
	r, baseline, c := s.Ledger.Present(), s.Ledger.Baseline(), s.Ledger.Comparison()
	text := fmt.Sprintf("%s completes %s msg/s per replica, %s did %s", nameOf(r), decimal(&c.Present), nameOf(baseline), decimal(&c.Baseline))
	switch r.Basis {
	case revision.ProcessingTime:
		text = fmt.Sprintf("%s takes %s s for a message, %s took %s", nameOf(r), known(c.Present), nameOf(baseline), known(c.Baseline))
	case revision.Arrivals:
		text = fmt.Sprintf("%s makes %s messages per unit of %s, %s made %s", nameOf(r), known(c.Present), seen.QueueScaler.Spec.Driver.Name, nameOf(baseline), known(c.Baseline))
	}
	text += fmt.Sprintf(" (%s%.0f %%, %d of %d blocks)", sign(c.Change), 100*abs(c.Change), c.Worse, c.Blocks)
	if r.Basis == revision.Arrivals {
		text += moreWorkText(r)
	}
	if wanted := plan.Recommended; wanted != nil && *wanted > seen.QueueScaler.Spec.MaxReplicas {
		text += fmt.Sprintf("; %d replicas would be needed, max is %d", *wanted, seen.QueueScaler.Spec.MaxReplicas)
	}
	return text
}

func sign(v float64) string {
	if v < 0 {
		return "−"
	}
	return "+"
}

func abs(v float64) float64 { return max(v, -v) }

// sentences joins parts into sentences.
func sentences(parts ...string) string {
	var out []string
	for _, part := range parts {
		if part != "" {
			out = append(out, strings.TrimSuffix(part, "."))
		}
	}
	return strings.Join(out, ". ") + "."
}

// numberInHistory is the revision number by which the Deployment's own history knows a revision; 0 where it does not.
func numberInHistory(seen *Observation, hash string) int64 {
	for _, rs := range seen.ReplicaSets {
		if hash != "" && rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash {
			return numberOf(rs)
		}
	}
	return 0
}

// RollbackMessage says what was rolled back, to what, and why.
func RollbackMessage(seen *Observation, s *Memory, d *Decision) string {
	return sentences(fmt.Sprintf("Rolled back to %s: %s", nameOf(d.Rollback.To), regressionText(seen, s, &d.Plan)), planText(seen))
}
