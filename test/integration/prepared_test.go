//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// waitsInInit has the simulated kubelet do what the gate's program does: the last init container ends when the pod is lent.
func waitsInInit(d *appsv1.Deployment) {
	d.Spec.Template.Annotations["localcluster.queuescaler.io/init-waits-for"] = capacityv1alpha1.LabelRole + "=" + capacityv1alpha1.RoleActive
	delete(d.Spec.Template.Annotations, capacityv1alpha1.AnnotationGate)
}

// The process takes longer to be ready than a slot may be unready that did work. A third slot is there to be lent instead,
// and must not be.
func TestPreparedSlotsBeginWhenTheyAreLent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := w.watchBegun()
	w.settled(deployment(2, readyAfter("15s"), waitsInInit), w.scaler(pool(3, capacityv1alpha1.GatePrepared)))
	warm := w.slots(capacityv1alpha1.RoleStandby)

	w.push(40)
	w.awaitLent(2)
	lent := w.slots(capacityv1alpha1.RoleActive)
	for _, name := range lent {
		if !slices.Contains(warm, name) {
			t.Errorf("lent is %s, warm were %v", name, warm)
		}
	}
	w.awaitReplicas(4)
	w.awaitSummary(capacityv1alpha1.SummaryLending)
	w.await("the lent slots' processes ready", func() (bool, string) {
		ready := w.readyPods()
		return slices.Contains(ready, lent[0]) && slices.Contains(ready, lent[1]), fmt.Sprintf("ready are %v", ready)
	})
	if now := w.slots(capacityv1alpha1.RoleActive); !slices.Equal(now, lent) {
		t.Errorf("lent are %v, and were %v: another one was lent while they began", now, lent)
	}

	w.awaitAvailable(4)
	w.awaitLent(0)
	w.awaitSettled(4, 3)
	for _, name := range w.slots("") {
		if slices.Contains(lent, name) {
			t.Errorf("slot pod %s worked, and is in the pool again", name)
		}
	}
	for _, complaint := range begun() {
		t.Error(complaint)
	}
}

func (w *world) readyPods() []string {
	w.Helper()
	var pods corev1.PodList
	if err := w.client.List(w.Context(), &pods, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	var names []string
	for i := range pods.Items {
		if podReady(&pods.Items[i]) {
			names = append(names, pods.Items[i].Name)
		}
	}
	return names
}

// watchBegun watches slots for containers of the application that run while the slot is idle.
func (w *world) watchBegun() (complaints func() []string) {
	w.Helper()
	watcher, err := w.client.Watch(w.Context(), &corev1.PodList{}, client.InNamespace(w.namespace), client.HasLabels{capacityv1alpha1.LabelScaler})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(watcher.Stop)
	var mu sync.Mutex
	var found []string
	idle, working := 0, 0
	go func() {
		for e := range watcher.ResultChan() {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			running := slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.State.Running != nil })
			mu.Lock()
			switch {
			case pod.Labels[capacityv1alpha1.LabelRole] != capacityv1alpha1.RoleStandby && running:
				working++
			case running:
				found = append(found, fmt.Sprintf("pod %s is idle, and its own containers run", pod.Name))
			default:
				idle++
			}
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		if idle == 0 || working == 0 {
			return []string{fmt.Sprintf("%d idle slots and %d working ones were seen", idle, working)}
		}
		return found
	}
}
