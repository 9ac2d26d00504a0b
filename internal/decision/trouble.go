// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// PodTrouble is what keeps pods of the target from becoming available.
type PodTrouble struct {
	// Unschedulable is since when a pod has been unschedulable, the longest; zero if none is.
	Unschedulable time.Time
	// Cluster is true where something other than the revision is at fault: scheduling, quota, image pull.
	Cluster bool
	// QuotaExceeded is true where a ResourceQuota keeps pods from being created: then fewer other pods help. Against what else
	// forbids them, such as the pod security level, they do not.
	QuotaExceeded bool
	// Message names one pod, how many are like it, and the reason; empty without trouble.
	Message string
}

// exceededQuota is how the API server begins to say that a ResourceQuota leaves no room; it says so in words only.
const exceededQuota = "exceeded quota: "

// TroubleOf reads the pods' own conditions and the Deployment's: first what the cluster lacks, then what fails by itself.
func TroubleOf(d *appsv1.Deployment, all []corev1.Pod) PodTrouble {
	var t PodTrouble
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			t = PodTrouble{
				Cluster: true, QuotaExceeded: strings.Contains(c.Message, exceededQuota),
				Message: fmt.Sprintf("pods cannot be created: %s", c.Message),
			}
		}
	}
	unschedulable, pulling, crashing := 0, 0, 0
	var clusterMessage, ownMessage string
	for i := range all {
		pod := &all[i]
		if since, why := unschedulableSince(pod); !since.IsZero() {
			unschedulable++
			if t.Unschedulable.IsZero() || since.Before(t.Unschedulable) {
				t.Unschedulable = since
			}
			clusterMessage = pods(unschedulable, "cannot be scheduled", pod.Name, why)
		}
		switch reason := waitingReason(pod); reason {
		case "ImagePullBackOff", "ErrImagePull", "InvalidImageName":
			pulling++
			clusterMessage = pods(pulling, "cannot pull the image", pod.Name, reason)
		case "CrashLoopBackOff", "CreateContainerConfigError", "RunContainerError", "CreateContainerError":
			crashing++
			ownMessage = pods(crashing, "cannot run", pod.Name, reason)
		}
	}
	if t.Message == "" && clusterMessage != "" {
		t.Cluster, t.Message = true, clusterMessage
	}
	if t.Message == "" {
		t.Message = ownMessage
	}
	return t
}

// pods says what n of them have in common, and names one.
func pods(n int, trouble, name, why string) string {
	if n == 1 {
		return fmt.Sprintf("pod %s %s: %s", name, trouble, why)
	}
	return fmt.Sprintf("%d pods %s, one is %s: %s", n, trouble, name, why)
}

func unschedulableSince(pod *corev1.Pod) (time.Time, string) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.LastTransitionTime.Time, c.Message
		}
	}
	return time.Time{}, ""
}

func waitingReason(pod *corev1.Pod) string {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, c := range statuses {
			if c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing" {
				return c.State.Waiting.Reason
			}
		}
	}
	return ""
}

// ReplicasOf is how many replicas a Deployment asks for.
func ReplicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}
