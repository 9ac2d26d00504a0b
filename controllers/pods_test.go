// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// A pod with required anti-affinity waits for the one in whose place it comes, which is no reason to end slots once it has a node. Its pods are
// listed every 10 s, and slots give way to what has been unschedulable for as long.
func TestSlotsGiveWayOnlyToPodsThatStillHaveNoNode(t *testing.T) {
	unschedulable := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, LastTransitionTime: metav1.NewTime(noon)}
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}
	d := &appsv1.Deployment{
		Spec:   appsv1.DeploymentSpec{Replicas: ptr.To(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}}},
		Status: appsv1.DeploymentStatus{Replicas: 1, UnavailableReplicas: 1},
	}
	for _, c := range []struct {
		name  string
		later corev1.PodCondition
		since time.Time
		lists int
	}{
		{"it has a node meanwhile", scheduled, time.Time{}, 2},
		{"it still has none", unschedulable, noon, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			condition, lists := unschedulable, 0
			r := &QueueScalerReconciler{APIReader: interceptor.NewClient(nil, interceptor.Funcs{
				List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
					lists++
					list.(*corev1.PodList).Items = []corev1.Pod{{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{condition}}}}
					return nil
				},
			})}
			memory := &scaler{}
			at := func(after time.Duration) time.Time {
				trouble, err := r.podTrouble(t.Context(), noon.Add(after), d, memory)
				if err != nil {
					t.Fatal(err)
				}
				return trouble.Unschedulable
			}
			at(900 * time.Millisecond)
			condition = c.later
			if since := at(9 * time.Second); !since.Equal(noon) || lists != 1 {
				t.Errorf("after 9 s: unschedulable since %s, pods listed %d times, want %s, once", since, lists, noon)
			}
			for _, after := range []time.Duration{10 * time.Second, 10500 * time.Millisecond, 19 * time.Second} {
				if since := at(after); !since.Equal(c.since) || lists != c.lists {
					t.Errorf("after %s: unschedulable since %s, pods listed %d times, want %s, %d times", after, since, lists, c.since, c.lists)
				}
			}
		})
	}
}
