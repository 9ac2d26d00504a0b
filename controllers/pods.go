// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// podsEvery is how often the pods of one target are listed at most, while some are unavailable.
const podsEvery = 10 * time.Second

// podTrouble is what keeps pods of the target from becoming available.
type podTrouble struct {
	// Unschedulable is since when a pod has been unschedulable, the longest; zero if none is.
	Unschedulable time.Time
	// Cluster is true where something other than the revision is at fault: scheduling, quota, image pull.
	Cluster bool
	// CannotCreate is true where pods cannot even be created, as with a quota.
	CannotCreate bool
	// Message names one pod, how many are like it, and the reason; empty without trouble.
	Message string
}

// podTrouble lists the target's pods live, because only slots are cached, and only while some are unavailable.
func (r *QueueScalerReconciler) podTrouble(ctx context.Context, now time.Time, d *appsv1.Deployment, s *scaler) (podTrouble, error) {
	if d.Status.UnavailableReplicas == 0 && d.Status.AvailableReplicas >= replicasOf(d) {
		s.trouble, s.troubleAt = podTrouble{}, time.Time{}
		return s.trouble, nil
	}
	if !s.troubleAt.IsZero() && now.Sub(s.troubleAt) < podsEvery && now.After(s.troubleAt) {
		return s.trouble, nil
	}
	pods, err := r.targetPods(ctx, d)
	if err != nil {
		return podTrouble{}, err
	}
	s.trouble, s.troubleAt = troubleOf(d, pods), now
	return s.trouble, nil
}

// targetPods lists the target's pods live, at most 500 of them, without slots.
func (r *QueueScalerReconciler) targetPods(ctx context.Context, d *appsv1.Deployment) ([]corev1.Pod, error) {
	selector, err := notSlots(d)
	if err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := r.APIReader.List(ctx, &pods, client.InNamespace(d.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(500)); err != nil {
		return nil, fmt.Errorf("list pods of deployment %s: %w", d.Name, err)
	}
	return pods.Items, nil
}

func notSlots(d *appsv1.Deployment) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of deployment %s: %w", d.Name, err)
	}
	slotless, err := labels.NewRequirement(capacityv1alpha1.LabelSlot, selection.DoesNotExist, nil)
	if err != nil {
		return nil, err
	}
	return selector.Add(*slotless), nil
}

// troubleOf reads the pods' own conditions and the Deployment's: first what the cluster lacks, then what fails by itself.
func troubleOf(d *appsv1.Deployment, all []corev1.Pod) podTrouble {
	var t podTrouble
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			t = podTrouble{Cluster: true, CannotCreate: true, Message: fmt.Sprintf("pods cannot be created: %s", c.Message)}
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

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}
