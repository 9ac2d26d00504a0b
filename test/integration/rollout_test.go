//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// watchTarget keeps every version of the target that the API server tells of, from the present one on.
func (w *world) watchTarget() (versions func() []*appsv1.Deployment) {
	w.Helper()
	watcher, err := w.client.Watch(w.Context(), &appsv1.DeploymentList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(watcher.Stop)
	var mu sync.Mutex
	var seen []*appsv1.Deployment
	go func() {
		for e := range watcher.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok {
				mu.Lock()
				seen = append(seen, d)
				mu.Unlock()
			}
		}
	}()
	return func() []*appsv1.Deployment {
		mu.Lock()
		defer mu.Unlock()
		return append([]*appsv1.Deployment(nil), seen...)
	}
}

// complete: all pods that are wanted are of the present template, and available, and no others are left.
func complete(d *appsv1.Deployment) bool {
	n, s := *d.Spec.Replicas, d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n
}

// changedWhenComplete judges each change of spec.replicas by the version before it.
func changedWhenComplete(t *testing.T, versions []*appsv1.Deployment) {
	t.Helper()
	changes := 0
	for i := 1; i < len(versions); i++ {
		before, after := versions[i-1], versions[i]
		if *before.Spec.Replicas == *after.Spec.Replicas {
			continue
		}
		changes++
		if !complete(before) {
			t.Errorf("replicas went %d → %d while a rollout was in progress: %+v", *before.Spec.Replicas, *after.Spec.Replicas, before.Status)
		}
	}
	if changes == 0 {
		t.Error("no change of the replicas was seen")
	}
}

// onePodAtATime makes rollouts take a while.
func onePodAtATime(d *appsv1.Deployment) {
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	d.Spec.Strategy = appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &none},
	}
}

func (w *world) awaitMidRollout() {
	w.Helper()
	w.await("the middle of a rollout", func() (bool, string) {
		s := w.target().Status
		return s.UpdatedReplicas > 0 && s.UpdatedReplicas < s.Replicas, fmt.Sprintf("%+v", s)
	})
}

func TestBacklogInTheMiddleOfARollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(4, onePodAtATime), w.scaler(pool(2, capacityv1alpha1.GateFile), minimum(4)))
	versions := w.watchTarget()

	mark := shared.audit.mark(t)
	w.roll("example/worker:2", readyAfter("4s"))
	w.awaitMidRollout()
	w.push(100)
	w.awaitLent(2)
	w.awaitCondition(capacityv1alpha1.ConditionRolloutInProgress, metav1.ConditionTrue, string(capacityv1alpha1.RolloutRolling), "revision 2 rolling out", "of 4 updated")
	w.awaitSummary(capacityv1alpha1.SummaryHeld)
	w.await("a decision that tells of the hold", func() (bool, string) {
		d := w.qs().Status.Decision
		return strings.HasPrefix(d.Message, "10 wanted, 4 kept: revision 2 rolling out") && strings.Contains(d.Message, "2 slots lent, 0 left. Scale-up resumes at its end"), d.Message
	})
	if qs := w.qs(); !is(qs, capacityv1alpha1.ConditionReady, metav1.ConditionTrue) {
		t.Errorf("waiting out a rollout is normal, but Ready is %+v", qs.Status.Conditions)
	}

	w.awaitReplicas(10)
	w.awaitAvailable(10)
	changedWhenComplete(t, versions())
	if writes := operatorWrites(t, w.namespace, mark, auditEvent.scales); len(writes) != 1 {
		t.Errorf("one write of replicas is due, after the rollout; there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
	w.awaitLent(0)
	w.awaitSettled(10, 2)
	if n := w.qs().Status.Standby.Revision; n != 2 {
		t.Errorf("after the soak the pool runs revision %d, want 2", n)
	}
}

func TestCreatedInTheMiddleOfARollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(100)
	w.create(deployment(4, onePodAtATime))
	w.awaitAvailable(4)
	versions := w.watchTarget()
	w.roll("example/worker:2", readyAfter("4s"))
	w.awaitMidRollout()
	mark := shared.audit.mark(t)
	w.create(w.scaler(minimum(4)))
	w.awaitSummary(capacityv1alpha1.SummaryHeld)
	w.awaitReplicas(10)
	changedWhenComplete(t, versions())
	if writes := operatorWrites(t, w.namespace, mark, auditEvent.scales); len(writes) != 1 {
		t.Errorf("one write of replicas is due, there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
}

func TestPausedMidRollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(4, onePodAtATime), w.scaler(pool(2, capacityv1alpha1.GateFile), minimum(4)))
	versions := w.watchTarget()
	mark := shared.audit.mark(t)
	w.roll("example/worker:2", readyAfter("4s"))
	w.awaitMidRollout()
	w.changeTarget(func(d *appsv1.Deployment) { d.Spec.Paused = true })
	w.awaitCondition(capacityv1alpha1.ConditionRolloutInProgress, metav1.ConditionTrue, string(capacityv1alpha1.RolloutPausedMidRollout), "revision 2 paused mid-rollout")
	w.push(100)
	w.awaitLent(2)
	w.awaitSummary(capacityv1alpha1.SummaryHeld)
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)

	w.changeTarget(func(d *appsv1.Deployment) { d.Spec.Paused = false })
	w.awaitReplicas(10)
	changedWhenComplete(t, versions())
}

func TestStuckRolloutIsNeverFed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deadline := func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To(int32(10)) }
	w.settled(deployment(3, onePodAtATime, deadline), w.scaler(pool(2, capacityv1alpha1.GateFile), minimum(3), func(s *capacityv1alpha1.QueueScalerSpec) {
		s.Rollout.RollbackPlan, s.Rollout.HoldTimeoutSeconds = "page the cache team", 1
	}))
	mark := shared.audit.mark(t)
	w.roll("example/worker:2", func(d *appsv1.Deployment) { d.Spec.Template.Annotations[annotationBehavior] = "never-ready" })
	w.awaitSummary(capacityv1alpha1.SummaryStuck)
	w.push(100)
	w.awaitLent(2)
	const command = "kubectl rollout undo deployment/app --to-revision=1 -n "
	w.awaitCondition(capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionTrue, capacityv1alpha1.ReasonRolloutStuck, "revision 2 stuck", command+w.namespace, "page the cache team")
	w.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRolloutStuck, command)
	w.await("advice", func() (bool, string) {
		d := w.qs().Status.Diagnosis
		return d != nil && d.Cause == capacityv1alpha1.CauseRolloutStuck && d.Advice == "RollBack:1", fmt.Sprintf("%+v", d)
	})
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)
	if n := *w.target().Spec.Replicas; n != 3 {
		t.Fatalf("the stuck target has %d replicas, it had 3", n)
	}

	w.kubectl("rollout", "undo", "deployment/app", "--to-revision=1")
	w.awaitCondition(capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionFalse, capacityv1alpha1.ReasonNoRollbackAdvised)
	w.awaitReplicas(10)
}

func TestHoldIsReleasedByTheCommandItNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(3, onePodAtATime), w.scaler(minimum(3)))
	mark := shared.audit.mark(t)
	// A rollout that gets nowhere, long before its deadline.
	w.roll("example/worker:2", readyAfter("10m"))
	w.awaitMidRollout()
	w.push(100)
	w.awaitSummary(capacityv1alpha1.SummaryHeld)
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)
	named := regexp.MustCompile(`kubectl annotate (qs \S+ \S+=\S+)`).FindStringSubmatch(w.qs().Status.Decision.Message)
	if named == nil {
		t.Fatalf("the decision names no command: %s", w.qs().Status.Decision.Message)
	}
	w.kubectl(append([]string{"annotate"}, strings.Fields(named[1])...)...)
	w.awaitReplicas(10)
	w.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonHoldReleased, "released by annotation")
}
