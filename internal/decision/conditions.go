// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// One function for each condition that Decide does not already find: data in, finding out.

func yes(reason, message string) scaling.Finding {
	return scaling.Finding{Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

func no(reason, message string) scaling.Finding {
	return scaling.Finding{Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

func unknown(reason, message string) scaling.Finding {
	return scaling.Finding{Status: metav1.ConditionUnknown, Reason: reason, Message: message}
}

// ready is False only where somebody has to do something: waiting out a rollout is normal.
func ready(seen *Observation, d *Decision, done *Outcome) scaling.Finding {
	switch {
	case seen.Target == nil || seen.Assessment.Missing:
		return no(d.Plan.Able.Reason, d.Plan.Able.Message)
	case seen.Conflict != "":
		return no(capacityv1alpha1.ReasonConflictingAutoscaler, seen.Conflict)
	case done.Err != nil:
		return no(done.Reason, done.Err.Error())
	}
	if sample := firstNotFresh(seen.Samples); sample != nil {
		if sample.Reason == capacityv1alpha1.ReasonWaitingForReadings {
			return unknown(sample.Reason, sample.Message)
		}
		return no(sample.Reason, queueMessage(seen, sample))
	}
	if isSuspended, until := Suspended(&seen.QueueScaler.Spec, seen.Now); isSuspended {
		if until.IsZero() {
			return yes(capacityv1alpha1.ReasonSuspended, "suspended until spec.mode is changed; nothing is written")
		}
		return yes(capacityv1alpha1.ReasonSuspended, fmt.Sprintf("suspended until %s; nothing is written", until.UTC().Format("2006-01-02 15:04:05 MST")))
	}
	if seen.QueueScaler.Spec.Mode == capacityv1alpha1.ModeDryRun {
		return yes(capacityv1alpha1.ReasonDryRun, "mode is DryRun: decisions are made and reported, nothing is written")
	}
	return yes(capacityv1alpha1.ReasonReady, "observing, deciding and acting")
}

func ableToScale(d *Decision, done *Outcome) scaling.Finding {
	if done.ScaleErr != nil {
		return no(capacityv1alpha1.ReasonScaleFailed, done.ScaleErr.Error())
	}
	return d.Plan.Able
}

// scalingActive names the queue that cannot be read, and what is kept meanwhile.
func scalingActive(seen *Observation, d *Decision) scaling.Finding {
	sample := firstNotFresh(seen.Samples)
	if sample == nil || d.Plan.Active.Reason == capacityv1alpha1.ReasonScalingDisabled {
		return d.Plan.Active
	}
	if sample.Reason == capacityv1alpha1.ReasonWaitingForReadings {
		return unknown(sample.Reason, sample.Message)
	}
	return no(sample.Reason, queueMessage(seen, sample))
}

// queueMessage adds to what the pool tells of a queue what that means here.
func queueMessage(seen *Observation, sample *queue.Sample) string {
	message := fmt.Sprintf("queue %s: %s.", sample.Name, strings.TrimSuffix(sample.Message, "."))
	if seen.Target != nil {
		message += fmt.Sprintf(" %d replicas kept: without fresh readings nothing scales down.", ReplicasOf(seen.Target))
	}
	if sample.ServerWide && sample.SharedBy > 0 {
		message += fmt.Sprintf(" %d other QueueScalers affected.", sample.SharedBy)
	}
	return message
}

func firstNotFresh(samples []queue.Sample) *queue.Sample {
	for i := range samples {
		if samples[i].Quality != queue.Fresh {
			return &samples[i]
		}
	}
	return nil
}

func rolloutInProgress(seen *Observation) scaling.Finding {
	switch a := seen.Assessment; {
	case a.Missing:
		return unknown(capacityv1alpha1.ReasonTargetMissing, "there is no target")
	case a.InProgress():
		return yes(string(a.State), a.Message)
	default:
		return no(capacityv1alpha1.ReasonNoRollout, a.Message)
	}
}

func standbyReady(seen *Observation, d *Decision) scaling.Finding {
	if !WantsPool(&seen.QueueScaler.Spec) {
		return no(capacityv1alpha1.ReasonStandbyDisabled, "spec.standby is not set: added capacity takes a whole start-up time")
	}
	if d.Pool.Ready {
		return yes(d.Pool.Reason, d.Pool.Message)
	}
	return no(d.Pool.Reason, d.Pool.Message)
}

// throughputRegressed is the verdict on the present revision.
func throughputRegressed(seen *Observation, d *Decision, s *Memory) scaling.Finding {
	r, baseline := s.Ledger.Present(), s.Ledger.Baseline()
	switch {
	case r == nil:
		return unknown(capacityv1alpha1.ReasonInsufficientData, "no revision of the target has completed its rollout since this is watched, or one is in progress")
	case r.Good():
		return no(capacityv1alpha1.ReasonNoRegression, fmt.Sprintf("%s is the known-good revision", nameOf(r)))
	case baseline == nil:
		return unknown(capacityv1alpha1.ReasonInsufficientData, fmt.Sprintf("there is no known-good revision to compare %s with", nameOf(r)))
	case r.Withdrawn:
		return no(capacityv1alpha1.ReasonFlagWithdrawn, fmt.Sprintf("after %s was rolled back the service rate stayed low: it is not the revision", nameOf(r)))
	}
	if r.Basis == revision.Arrivals {
		return arrivalsFinding(seen, d, s)
	}
	switch r.Verdict {
	case revision.Regressed:
		return yes(regressionReason(r), regressionText(seen, s, &d.Plan))
	case revision.NoRegression:
		return no(capacityv1alpha1.ReasonNoRegression, regressionText(seen, s, &d.Plan))
	case revision.Suspected:
		return unknown(capacityv1alpha1.ReasonSuspected, regressionText(seen, s, &d.Plan)+"; far more than that is suspect: failing fast looks fast")
	case revision.Inconclusive:
		return unknown(capacityv1alpha1.ReasonInconclusive, regressionText(seen, s, &d.Plan))
	}
	return unknown(capacityv1alpha1.ReasonInsufficientData, fmt.Sprintf("%s has %d saturated and %d quiet blocks of %s so far, of 4 or more that a first verdict takes; it is compared with %s",
		nameOf(r), len(r.Rates), len(r.Times), blockLength(s), nameOf(baseline)))
}

// blockLength is the length of one measurement, in words.
func blockLength(s *Memory) string {
	if s.Block == 0 || s.Block == capacity.DefaultBlock {
		return "a minute"
	}
	seconds := s.Block.Seconds()
	return decimal(&seconds) + " s"
}

// regressionReason is the word for what speaks against a revision.
func regressionReason(r *revision.Record) string {
	switch r.Basis {
	case revision.ProcessingTime:
		return capacityv1alpha1.ReasonProcessingTimeRegressed
	case revision.Arrivals:
		return capacityv1alpha1.ReasonArrivalsInflated
	}
	return capacityv1alpha1.ReasonServiceRateRegressed
}

// rollbackAdvised: a revision that regressed, or a stuck rollout whose new pods fail by themselves. What the cluster lacks
// never blames the revision.
func rollbackAdvised(seen *Observation, d *Decision, s *Memory) scaling.Finding {
	if regressed(s) {
		return yes(regressionReason(s.Ledger.Present()), regressionAdvice(seen, d, s))
	}
	if stuckByItself(seen) {
		return yes(capacityv1alpha1.ReasonRolloutStuck, stuckAdvice(seen))
	}
	return no(capacityv1alpha1.ReasonNoRollbackAdvised, "nothing speaks for a rollback")
}

// regressed: the present revision does less than the known-good one, or makes more work.
func regressed(s *Memory) bool {
	r := s.Ledger.Present()
	return r != nil && r.Verdict == revision.Regressed && r.Flagged() && s.Ledger.Baseline() != nil
}

func stuckByItself(seen *Observation) bool {
	return seen.Target != nil && seen.Assessment.State == rollout.Stuck && !seen.Trouble.Cluster
}

// regressionAdvice is the evidence, what to do about it, and the team's own plan.
func regressionAdvice(seen *Observation, d *Decision, s *Memory) string {
	command := rollbackCommand(seen, s.Ledger.Baseline())
	if change := s.Ledger.Present().Change; change != "" {
		command = fmt.Sprintf("Revert the marked change %q", Clip(change, 100))
	}
	outcome := ""
	switch b := d.Rollback; {
	case b == nil:
	case b.Refused != "":
		outcome = "Not rolled back automatically: " + b.Refused
	default:
		outcome = "It is being rolled back, as spec.rollout.onRegression asks"
	}
	return sentences(regressionText(seen, s, &d.Plan), outcome, command, planText(seen))
}

// stuckAdvice is how a stuck rollout is undone.
func stuckAdvice(seen *Observation) string {
	command := "Roll back: kubectl rollout undo deployment/" + seen.Target.Name + " -n " + seen.QueueScaler.Namespace
	if to := (&revision.Record{Hash: seen.Assessment.SettledHash}); to.Hash != "" && (numberInHistory(seen, to.Hash) > 0 || gitOwner(seen.Target) != "") {
		command = rollbackCommand(seen, to)
	}
	return sentences(seen.Assessment.Message, seen.Trouble.Message, command, planText(seen))
}

// RollbackPlan is the team's own plan: the QueueScaler's, or the Deployment's; empty where there is none.
func RollbackPlan(seen *Observation) string {
	if r := seen.QueueScaler.Spec.Rollout; r != nil && r.RollbackPlan != "" {
		return r.RollbackPlan
	}
	return Clip(seen.Target.Annotations[capacityv1alpha1.AnnotationRollbackPlan], 1024)
}
