//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

func mode(m capacityv1alpha1.Mode) func(*capacityv1alpha1.QueueScalerSpec) {
	return func(s *capacityv1alpha1.QueueScalerSpec) { s.Mode = m }
}

// besidesReporting are writes other than of status and events.
func besidesReporting(e auditEvent) bool {
	return e.ObjectRef.Resource != "events" && e.ObjectRef.Subresource != "status"
}

func (w *world) awaitDesired(n int32) {
	w.Helper()
	w.await(fmt.Sprintf("%d desired", n), func() (bool, string) {
		got := ptr.Deref(w.qs().Status.DesiredReplicas, -1)
		return got == n, fmt.Sprint(got)
	})
}

func TestDryRunDecidesAndWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mark := shared.audit.mark(t)
	w.create(deployment(2))
	w.create(w.scaler(pool(2, capacityv1alpha1.GateFile), mode(capacityv1alpha1.ModeDryRun)))
	w.awaitSettled(2, 0)
	w.push(100)
	w.awaitDesired(10)
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonDryRun, "nothing is written")
	w.awaitLooked()
	w.wroteNothing(mark)
	w.changeQS(func(qs *capacityv1alpha1.QueueScaler) { qs.Spec.Mode = capacityv1alpha1.ModeActive })
	w.awaitReplicas(10)
}

func (w *world) wroteNothing(mark int64) {
	w.Helper()
	if writes := operatorWrites(w, w.namespace, mark, besidesReporting); len(writes) > 0 {
		w.Errorf("nothing but status and events may be written, there was:\n%s", strings.Join(writes, "\n"))
	}
}

func TestSuspendedLeavesEverythingAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(2, readyAfter("6s")), w.scaler(pool(2, capacityv1alpha1.GateFile)))
	w.push(50)
	w.awaitLent(2)
	w.awaitReplicas(5)
	w.changeQS(func(qs *capacityv1alpha1.QueueScaler) { qs.Spec.Mode = capacityv1alpha1.ModeSuspended })
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonSuspended, "suspended until spec.mode is changed")
	w.awaitSummaryOneOf(capacityv1alpha1.SummarySuspended, capacityv1alpha1.SummaryLending, capacityv1alpha1.SummaryHeld)
	mark := shared.audit.mark(t)
	w.push(150)
	w.awaitAvailable(5)
	w.awaitDesired(20)
	w.awaitLooked()
	w.wroteNothing(mark)
	if lent := w.slots(capacityv1alpha1.RoleActive); len(lent) != 2 {
		t.Errorf("lent slots are left as they are, but are %v", lent)
	}
	soon := metav1.NewTime(time.Now().Add(5 * time.Second))
	w.changeQS(func(qs *capacityv1alpha1.QueueScaler) { qs.Spec.SuspendUntil = &soon })
	w.awaitReplicas(20)
	for _, e := range w.scaleWritesSince(mark) {
		if at, err := time.Parse(time.RFC3339Nano, e.RequestReceivedTimestamp); err != nil || at.Before(soon.Truncate(time.Second)) {
			t.Errorf("scaled before suspendUntil %s: %s %v", soon, e, err)
		}
	}
}

func (w *world) awaitSummaryOneOf(words ...capacityv1alpha1.Summary) {
	w.Helper()
	w.await(fmt.Sprint("STATUS one of ", words), func() (bool, string) {
		got := w.qs().Status.Summary
		for _, word := range words {
			if got == word {
				return true, ""
			}
		}
		return false, string(got)
	})
}

// scaleWritesSince are the operator's writes of replicas in the namespace.
func (w *world) scaleWritesSince(mark int64) []auditEvent {
	w.Helper()
	events, err := shared.audit.since(mark)
	if err != nil {
		w.Fatal(err)
	}
	var out []auditEvent
	for _, e := range events {
		if e.ours() && e.ObjectRef.Namespace == w.namespace && e.scales() {
			out = append(out, e)
		}
	}
	return out
}

// Deleted while slots are lent in the middle of a rollout: the target makes up for them after the rollout, and the slots go
// when it has.
func TestDeletedWhileSlotsAreLent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(3, onePodAtATime), w.scaler(pool(2, capacityv1alpha1.GateFile), minimum(3)))
	w.roll("example/worker:2", readyAfter("4s"))
	w.awaitMidRollout()
	w.push(100)
	w.awaitLent(2)
	w.awaitDesired(10)
	versions := w.watchTarget()
	mark := shared.audit.mark(t)
	qs := w.qs()
	w.delete(qs)
	w.await("the QueueScaler is gone", func() (bool, string) {
		var now capacityv1alpha1.QueueScaler
		err := w.client.Get(t.Context(), client.ObjectKeyFromObject(qs), &now)
		if err == nil && now.DeletionTimestamp == nil {
			t.Fatal("it is not even being deleted")
		}
		if lent := w.slots(capacityv1alpha1.RoleActive); err == nil && len(lent) != 2 && w.target().Status.AvailableReplicas < 10 {
			t.Errorf("lent slots %v are left while the target has %d available", lent, w.target().Status.AvailableReplicas)
		}
		return apierrors.IsNotFound(err), fmt.Sprintf("%+v %v", now.ObjectMeta, err)
	})
	if d := w.target(); *d.Spec.Replicas != 10 || d.Status.AvailableReplicas != 10 {
		t.Errorf("it went before the target made up for its slots: %d replicas, %d available", *d.Spec.Replicas, d.Status.AvailableReplicas)
	}
	if writes := w.scaleWritesSince(mark); len(writes) != 1 {
		t.Errorf("one write of replicas was due, there were %v", writes)
	}
	changedWhenComplete(t, versions())
	w.await("its slots are gone", func() (bool, string) {
		var sets appsv1.ReplicaSetList
		if err := w.client.List(t.Context(), &sets, client.InNamespace(w.namespace), client.HasLabels{capacityv1alpha1.LabelSlot}); err != nil {
			return false, err.Error()
		}
		return len(sets.Items) == 0 && len(w.slots("")) == 0, fmt.Sprint(len(sets.Items), w.slots(""))
	})
}

func TestGateNotDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	undeclared := func(d *appsv1.Deployment) { delete(d.Spec.Template.Annotations, capacityv1alpha1.AnnotationGate) }
	w.create(deployment(2, undeclared))
	w.create(w.scaler(pool(2, capacityv1alpha1.GateFile)))
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionFalse, capacityv1alpha1.ReasonGateNotDeclared, capacityv1alpha1.AnnotationGate)
	if slots := w.slots(""); len(slots) > 0 {
		t.Errorf("slots %v were made of an app that would consume at once", slots)
	}
	w.push(100)
	w.awaitReplicas(10)
	w.changeTarget(func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{capacityv1alpha1.AnnotationGate: "file"}
	})
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionTrue, capacityv1alpha1.ReasonSlotsWarm)
}

func TestAClaimForManyPermitsThePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.claim("data")
	w.create(deployment(2, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Volumes = claimed("data") }))
	w.create(w.scaler(pool(2, capacityv1alpha1.GateFile)))
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionTrue, capacityv1alpha1.ReasonSlotsWarm)
}

func TestBudgetOfEverythingRefusesThePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "all"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{}},
	}
	w.create(budget)
	w.create(deployment(2))
	w.create(w.scaler(pool(2, capacityv1alpha1.GateFile)))
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionFalse, capacityv1alpha1.ReasonNothingToWithhold, "PodDisruptionBudget all")
	if slots := w.slots(""); len(slots) > 0 {
		t.Errorf("slots %v were made, and the budget counts them", slots)
	}
	w.delete(budget)
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionTrue, capacityv1alpha1.ReasonSlotsWarm)
}

func TestNetworkPolicyOnAWithheldLabelRefusesThePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}},
	})
	netpol := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "isolate"},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}
	w.create(netpol)
	w.create(deployment(2))
	w.create(w.scaler(pool(2, capacityv1alpha1.GateService)))
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionFalse, capacityv1alpha1.ReasonNetworkPolicySelectsLabel, "isolate", capacityv1alpha1.LabelServing)
	if slots := w.slots(""); len(slots) > 0 {
		t.Errorf("slots %v were made, and would run unisolated", slots)
	}
	w.delete(netpol)
	w.awaitCondition(capacityv1alpha1.ConditionStandbyReady, metav1.ConditionTrue, capacityv1alpha1.ReasonSlotsWarm)
}

// idleFor is how long an idle scaler is watched.
const idleFor = time.Minute

func TestIdleScalerWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(2), w.scaler(pool(2, capacityv1alpha1.GateFile)))
	anything := func(auditEvent) bool { return true }
	var mark int64
	quietSince := time.Time{}
	// The last statuses of the beginning: at rest is who has written nothing for 15 s.
	w.await("rest", func() (bool, string) {
		if writes := operatorWrites(t, w.namespace, mark, anything); len(writes) > 0 || quietSince.IsZero() {
			mark, quietSince = shared.audit.mark(t), time.Now()
			return false, strings.Join(writes, "\n")
		}
		return time.Since(quietSince) > 15*time.Second, "no rest"
	})
	began := time.Now()
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, 2*idleFor, true, func(context.Context) (bool, error) {
		if writes := operatorWrites(t, w.namespace, mark, anything); len(writes) > 0 {
			return false, fmt.Errorf("an idle scaler writes:\n%s", strings.Join(writes, "\n"))
		}
		return time.Since(began) >= idleFor, nil
	})
	if err != nil {
		t.Error(err)
	}
	// It was idle, not dead.
	w.push(100)
	w.awaitReplicas(10)
}
