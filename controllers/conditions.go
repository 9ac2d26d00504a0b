// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

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
func ready(seen *observed, d *decided, done *acted) scaling.Finding {
	switch {
	case seen.target == nil || seen.assessment.Missing:
		return no(d.plan.Able.Reason, d.plan.Able.Message)
	case seen.conflict != "":
		return no(capacityv1alpha1.ReasonConflictingAutoscaler, seen.conflict)
	case done.err != nil:
		return no(done.reason, done.err.Error())
	}
	if sample := firstNotFresh(seen.samples); sample != nil {
		if sample.Reason == capacityv1alpha1.ReasonWaitingForReadings {
			return unknown(sample.Reason, sample.Message)
		}
		return no(sample.Reason, queueMessage(seen, sample))
	}
	if isSuspended, until := suspended(&seen.qs.Spec, seen.now); isSuspended {
		if until.IsZero() {
			return yes(capacityv1alpha1.ReasonSuspended, "suspended until spec.mode is changed; nothing is written")
		}
		return yes(capacityv1alpha1.ReasonSuspended, fmt.Sprintf("suspended until %s; nothing is written", until.UTC().Format("2006-01-02 15:04:05 MST")))
	}
	if seen.qs.Spec.Mode == capacityv1alpha1.ModeDryRun {
		return yes(capacityv1alpha1.ReasonDryRun, "mode is DryRun: decisions are made and reported, nothing is written")
	}
	return yes(capacityv1alpha1.ReasonReady, "observing, deciding and acting")
}

func ableToScale(d *decided, done *acted) scaling.Finding {
	if done.scaleErr != nil {
		return no(capacityv1alpha1.ReasonScaleFailed, done.scaleErr.Error())
	}
	return d.plan.Able
}

// scalingActive names the queue that cannot be read, and what is kept meanwhile.
func scalingActive(seen *observed, d *decided) scaling.Finding {
	sample := firstNotFresh(seen.samples)
	if sample == nil || d.plan.Active.Reason == capacityv1alpha1.ReasonScalingDisabled {
		return d.plan.Active
	}
	if sample.Reason == capacityv1alpha1.ReasonWaitingForReadings {
		return unknown(sample.Reason, sample.Message)
	}
	return no(sample.Reason, queueMessage(seen, sample))
}

// queueMessage adds to what the pool tells of a queue what that means here.
func queueMessage(seen *observed, sample *queue.Sample) string {
	message := fmt.Sprintf("queue %s: %s.", sample.Name, strings.TrimSuffix(sample.Message, "."))
	if seen.target != nil {
		message += fmt.Sprintf(" %d replicas kept: without fresh readings nothing scales down.", replicasOf(seen.target))
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

func rolloutInProgress(seen *observed) scaling.Finding {
	switch a := seen.assessment; {
	case a.Missing:
		return unknown(capacityv1alpha1.ReasonTargetMissing, "there is no target")
	case a.InProgress():
		return yes(string(a.State), a.Message)
	default:
		return no(capacityv1alpha1.ReasonNoRollout, a.Message)
	}
}

func standbyReady(seen *observed, d *decided) scaling.Finding {
	if !wantsPool(&seen.qs.Spec) {
		return no(capacityv1alpha1.ReasonStandbyDisabled, "spec.standby is not set: added capacity takes a whole start-up time")
	}
	if d.pool.Ready {
		return yes(d.pool.Reason, d.pool.Message)
	}
	return no(d.pool.Reason, d.pool.Message)
}

// rollbackAdvised: a stuck rollout whose new pods fail by themselves. What the cluster lacks never blames the revision.
func rollbackAdvised(seen *observed) scaling.Finding {
	if seen.target == nil || seen.assessment.State != rollout.Stuck || seen.trouble.Cluster {
		return no(capacityv1alpha1.ReasonNoRollbackAdvised, "nothing speaks for a rollback")
	}
	to := revisionNumber(seen, seen.assessment.SettledHash)
	return yes(capacityv1alpha1.ReasonRolloutStuck, rollbackMessage(seen, to))
}

func rollbackMessage(seen *observed, to int64) string {
	message := seen.assessment.Message
	if seen.trouble.Message != "" {
		message += "; " + seen.trouble.Message
	}
	command := "kubectl rollout undo deployment/" + seen.target.Name
	if to > 0 {
		command += fmt.Sprintf(" --to-revision=%d", to)
	}
	message += ". Roll back: " + command + fmt.Sprintf(" -n %s", seen.qs.Namespace)
	if plan := rollbackPlan(seen); plan != "" {
		return message + ". Rollback plan: " + plan
	}
	return message + ". No rollback plan is written down: set spec.rollout.rollbackPlan"
}

func rollbackPlan(seen *observed) string {
	if r := seen.qs.Spec.Rollout; r != nil && r.RollbackPlan != "" {
		return r.RollbackPlan
	}
	return clip(seen.target.Annotations[capacityv1alpha1.AnnotationRollbackPlan], 1024)
}
