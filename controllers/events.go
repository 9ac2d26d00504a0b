// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// event is something to tell the people who watch a QueueScaler. Events are sent after the status was written.
type event struct {
	kind, reason, action, message string
}

// rescaled takes a message that begins with the numbers, as Decide's do.
func rescaled(message string) event {
	return event{corev1.EventTypeNormal, capacityv1alpha1.ReasonSucceededRescale, "Scale", "Deployment " + message}
}

func rescaleFailed(from, to int32, err error) event {
	return event{corev1.EventTypeWarning, capacityv1alpha1.ReasonScaleFailed, "Scale",
		fmt.Sprintf("Deployment could not be scaled %d → %d: %v", from, to, err)}
}

func slotsLent(message string) event {
	return event{corev1.EventTypeNormal, capacityv1alpha1.ReasonSlotsLent, "Lend", message}
}

func slotsReturned(message string) event {
	return event{corev1.EventTypeNormal, capacityv1alpha1.ReasonSlotsReturned, "Return", message}
}

func replicasAdopted(from, to int32, manager string) event {
	return event{corev1.EventTypeNormal, capacityv1alpha1.ReasonReplicasAdopted, "Adopt",
		fmt.Sprintf("%s set the replicas %d → %d; deciding anew from there", manager, from, to)}
}

func replicasRestored(from, to int32, manager string) event {
	return event{corev1.EventTypeWarning, capacityv1alpha1.ReasonReplicasRestored, "Restore",
		fmt.Sprintf("%s lowered the replicas to %d together with a new template; restored to %d. Take spec.replicas out of the manifest", manager, from, to)}
}

func holdReleased(reason, message string) event {
	return event{corev1.EventTypeWarning, reason, "Release", message}
}

func rolledBack(message string) event {
	return event{corev1.EventTypeWarning, capacityv1alpha1.ReasonRolledBack, "RollBack", message}
}

func rollbackFailed(err error) event {
	return event{corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackFailed, "RollBack", fmt.Sprintf("the target's template could not be patched back: %v", err)}
}

func rollbackRefused(message string) event {
	return event{corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackRefused, "RollBack", message}
}

func noRollbackPlan() event {
	return event{corev1.EventTypeNormal, capacityv1alpha1.ReasonNoRollbackPlan, "Report",
		"A rollout began, and no rollback plan is written down: set spec.rollout.rollbackPlan, or annotate the Deployment with " + capacityv1alpha1.AnnotationRollbackPlan}
}

// turned is a condition that changed its status. Events that differ in the message alone count as one that is repeated, and the
// later message is lost: so the condition is the action, as two of them may turn for one reason.
func turned(kind string, c *metav1.Condition) event {
	return event{kind, c.Reason, c.Type, c.Type + ": " + c.Message}
}
