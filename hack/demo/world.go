// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// view is what the demo sees in the cluster, from watches of its own.
type view struct {
	pods   map[types.UID]*corev1.Pod
	target *appsv1.Deployment
	scaler *v1alpha1.QueueScaler
}

// world keeps the view up to date, and tells who listens.
type world struct {
	onPod      func(*corev1.Pod)
	onPodEnded func(*corev1.Pod)
	onEvent    func(*eventsv1.Event)
	onScaler   func(*v1alpha1.QueueScaler)

	mu      sync.Mutex
	view    view
	events  map[types.UID]bool // that were passed on
	changed chan struct{}      // closed at every change
}

func newWorld() *world {
	return &world{view: view{pods: map[types.UID]*corev1.Pod{}}, events: map[types.UID]bool{}, changed: make(chan struct{})}
}

// watch starts the watches, which end with ctx, and waits for their first lists.
func (w *world) watch(ctx context.Context, client kubernetes.Interface, dyn dynamic.Interface, namespace string) error {
	typed := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	untyped := dynamicinformer.NewFilteredDynamicSharedInformerFactory(dyn, 0, namespace, nil)
	watches := []struct {
		informer cache.SharedIndexInformer
		change   func(object any)
		remove   func(object any)
	}{
		{typed.Core().V1().Pods().Informer(), func(o any) { w.podSeen(o.(*corev1.Pod)) }, func(o any) { w.podEnded(o.(*corev1.Pod)) }},
		{typed.Apps().V1().Deployments().Informer(), func(o any) { w.targetSeen(o.(*appsv1.Deployment)) }, nil},
		{typed.Events().V1().Events().Informer(), func(o any) { w.eventSeen(o.(*eventsv1.Event)) }, nil},
		{untyped.ForResource(v1alpha1.GroupVersion.WithResource("queuescalers")).Informer(), func(o any) { w.scalerSeen(o.(*unstructured.Unstructured)) }, nil},
	}
	for _, x := range watches {
		_, err := x.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    x.change,
			UpdateFunc: func(_, o any) { x.change(o) },
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				if x.remove != nil {
					x.remove(o)
				}
			},
		})
		if err != nil {
			return err
		}
	}
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	for _, x := range watches {
		if !cache.WaitForCacheSync(ctx.Done(), x.informer.HasSynced) {
			return fmt.Errorf("watch the cluster: %w", ctx.Err())
		}
	}
	return nil
}

func (w *world) update(change func(*view)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.view)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) podSeen(pod *corev1.Pod) {
	w.onPod(pod)
	w.update(func(v *view) { v.pods[pod.UID] = pod })
}

func (w *world) podEnded(pod *corev1.Pod) {
	w.onPodEnded(pod)
	w.update(func(v *view) { delete(v.pods, pod.UID) })
}

// eventSeen passes each event on once; later changes only count its repetitions.
func (w *world) eventSeen(e *eventsv1.Event) {
	w.mu.Lock()
	known := w.events[e.UID]
	w.events[e.UID] = true
	w.mu.Unlock()
	if !known {
		w.onEvent(e)
	}
}

func (w *world) targetSeen(d *appsv1.Deployment) { w.update(func(v *view) { v.target = d }) }

func (w *world) scalerSeen(o *unstructured.Unstructured) {
	qs := &v1alpha1.QueueScaler{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, qs); err != nil {
		return // the API server validated it: not of this version
	}
	w.update(func(v *view) { v.scaler = qs })
	w.onScaler(qs)
}

// look calls f with the present view, which f must not keep.
func (w *world) look(f func(*view)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.view)
}

// await waits until the view is as wanted. what says for an error what was waited for.
func (w *world) await(ctx context.Context, what string, within time.Duration, wanted func(*view) bool) error {
	timeout := time.After(within)
	for {
		w.mu.Lock()
		ok, changed := wanted(&w.view), w.changed
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("waited %d s in vain for %s", int(within.Seconds()), what)
		case <-changed:
		}
	}
}

// count returns the number of pods that are not being deleted and fit.
func (v *view) count(fits func(*corev1.Pod) bool) int {
	n := 0
	for _, pod := range v.pods {
		if pod.DeletionTimestamp == nil && fits(pod) {
			n++
		}
	}
	return n
}

// warm slots are ready and idle, by their pods' own labels.
func (v *view) warm() int {
	return v.count(func(p *corev1.Pod) bool {
		return isSlot(p) && ready(p) && p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleStandby
	})
}

// lent slots are in service, by their pods' own labels.
func (v *view) lent() int {
	return v.count(func(p *corev1.Pod) bool { return isSlot(p) && p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive })
}

// bad are the Deployment's ready pods of the revision that does less.
func (v *view) bad() int {
	return v.count(func(p *corev1.Pod) bool { return !isSlot(p) && ready(p) && runsBad(p) })
}

// revision is what the operator published of the revision with this number; nil: nothing.
func (v *view) revision(number int64) *v1alpha1.RevisionStatus {
	if v.scaler == nil {
		return nil
	}
	for i := range v.scaler.Status.Revisions {
		if r := &v.scaler.Status.Revisions[i]; r.Revision == number {
			return r
		}
	}
	return nil
}

// condition is the status that the operator published of a condition; Unknown while it has not.
func (v *view) condition(kind string) metav1.ConditionStatus {
	if v.scaler != nil {
		for _, c := range v.scaler.Status.Conditions {
			if c.Type == kind {
				return c.Status
			}
		}
	}
	return metav1.ConditionUnknown
}

// diagnosis is what the operator published; the zero value while it has not.
func (v *view) diagnosis() v1alpha1.Diagnosis {
	if v.scaler == nil || v.scaler.Status.Diagnosis == nil {
		return v1alpha1.Diagnosis{}
	}
	return *v.scaler.Status.Diagnosis
}

// poolWarm is true when all slots are warm, by their pods and by what the operator publishes.
func (v *view) poolWarm() bool {
	if v.warm() != wantedSlots || v.lent() > 0 || v.scaler == nil || v.scaler.Status.Standby == nil {
		return false
	}
	published := v.scaler.Status.Standby.Warm
	return published != nil && *published == wantedSlots
}

func (v *view) replicas() int {
	if v.target == nil || v.target.Spec.Replicas == nil {
		return 0
	}
	return int(*v.target.Spec.Replicas)
}

func (v *view) available() int {
	if v.target == nil {
		return 0
	}
	return int(v.target.Status.AvailableReplicas)
}

// complete is what `kubectl rollout status` waits for.
func (v *view) complete() bool {
	d := v.target
	if d == nil || d.Status.ObservedGeneration < d.Generation {
		return false
	}
	n, s := int32(v.replicas()), d.Status
	return s.Replicas == n && s.UpdatedReplicas == n && s.AvailableReplicas == n
}

func (v *view) summary() v1alpha1.Summary {
	if v.scaler == nil {
		return ""
	}
	return v.scaler.Status.Summary
}

// desired is the number that the operator published; 0 while it has not.
func (v *view) desired() int {
	if v.scaler == nil || v.scaler.Status.DesiredReplicas == nil {
		return 0
	}
	return int(*v.scaler.Status.DesiredReplicas)
}

// scalerSays is what the operator publishes about itself, for an error.
func (v *view) scalerSays() string {
	if v.scaler == nil || len(v.scaler.Status.Conditions) == 0 {
		return "The QueueScaler has no status: the operator has not looked at it."
	}
	text := fmt.Sprintf("The QueueScaler says %s:", v.scaler.Status.Summary)
	for _, c := range v.scaler.Status.Conditions {
		if c.Status != metav1.ConditionTrue || c.Type == v1alpha1.ConditionRolloutInProgress {
			text += fmt.Sprintf("\n    %s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return text
}
