// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
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

// rollbackAdvised: a stuck rollout whose new pods fail by themselves. What the cluster lacks never blames the revision.
func rollbackAdvised(seen *Observation) scaling.Finding {
	if seen.Target == nil || seen.Assessment.State != rollout.Stuck || seen.Trouble.Cluster {
		return no(capacityv1alpha1.ReasonNoRollbackAdvised, "nothing speaks for a rollback")
	}
	to := RevisionNumber(seen, seen.Assessment.SettledHash)
	return yes(capacityv1alpha1.ReasonRolloutStuck, rollbackMessage(seen, to))
}

func rollbackMessage(seen *Observation, to int64) string {
	message := seen.Assessment.Message
	if seen.Trouble.Message != "" {
		message += "; " + seen.Trouble.Message
	}
	command := "kubectl rollout undo deployment/" + seen.Target.Name
	if to > 0 {
		command += fmt.Sprintf(" --to-revision=%d", to)
	}
	message += ". Roll back: " + command + fmt.Sprintf(" -n %s", seen.QueueScaler.Namespace)
	if plan := rollbackPlan(seen); plan != "" {
		return message + ". Rollback plan: " + plan
	}
	return message + ". No rollback plan is written down: set spec.rollout.rollbackPlan"
}

func rollbackPlan(seen *Observation) string {
	if r := seen.QueueScaler.Spec.Rollout; r != nil && r.RollbackPlan != "" {
		return r.RollbackPlan
	}
	return Clip(seen.Target.Annotations[capacityv1alpha1.AnnotationRollbackPlan], 1024)
}
