//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

func TestTargetMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(100)
	w.create(w.scaler())
	w.awaitCondition(capacityv1alpha1.ConditionAbleToScale, metav1.ConditionFalse, capacityv1alpha1.ReasonTargetMissing)
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionFalse, capacityv1alpha1.ReasonTargetMissing)
	w.awaitSummary(capacityv1alpha1.SummaryNoData)
	w.create(deployment(2))
	w.awaitReplicas(10)
	w.awaitCondition(capacityv1alpha1.ConditionAbleToScale, metav1.ConditionTrue, capacityv1alpha1.ReasonReadyForNewScale)
}

func TestTargetOfAnHPA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(3), w.scaler(pool(2, capacityv1alpha1.GateFile)))
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "other"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			MinReplicas:    ptr.To(int32(1)), MaxReplicas: 20,
		},
	}
	w.create(hpa)
	w.conflict(app, "HorizontalPodAutoscaler other scales deployment/app too", "kubectl delete hpa other")
	mark := shared.audit.mark(t)
	w.push(100)
	w.await("the backlog in the status of one that decides nothing", func() (bool, string) {
		b := w.qs().Status.Backlog
		return b != nil && ptr.Deref(b.Messages, 0) == 100, fmt.Sprintf("%+v", b)
	})
	w.await("no slots", func() (bool, string) { return len(w.slots("")) == 0, fmt.Sprint(w.slots("")) })
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)
	w.delete(hpa)
	w.awaitReplicas(10)
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonReady)
}

func (w *world) conflict(name string, words ...string) {
	w.Helper()
	w.awaitConditionOf(name, capacityv1alpha1.ConditionReady, metav1.ConditionFalse, capacityv1alpha1.ReasonConflictingAutoscaler, words...)
	w.awaitConditionOf(name, capacityv1alpha1.ConditionAbleToScale, metav1.ConditionFalse, capacityv1alpha1.ReasonConflictingAutoscaler, words...)
	w.await("STATUS Conflict", func() (bool, string) {
		var qs capacityv1alpha1.QueueScaler
		err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &qs)
		return err == nil && qs.Status.Summary == capacityv1alpha1.SummaryConflict, fmt.Sprint(qs.Status.Summary, err)
	})
}

func TestSecondQueueScaler(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(3), w.scaler())
	second := w.scaler(pool(2, capacityv1alpha1.GateFile))
	second.Name = "second"
	w.create(second)
	w.conflict("second", "QueueScaler app is older and scales deployment/app")
	w.push(100)
	w.awaitReplicas(10) // by the first
	var pods corev1.PodList
	if err := w.client.List(t.Context(), &pods, client.InNamespace(w.namespace), client.HasLabels{capacityv1alpha1.LabelSlot}); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) > 0 {
		t.Errorf("one that does not act owns %d slots", len(pods.Items))
	}
	w.delete(w.qs())
	w.awaitConditionOf("second", capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonReady)
	w.await("the second has a pool now", func() (bool, string) {
		var qs capacityv1alpha1.QueueScaler
		err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "second"}, &qs)
		return err == nil && qs.Status.Standby != nil && ptr.Deref(qs.Status.Standby.Warm, 0) == 2, fmt.Sprint(qs.Status.Standby, err)
	})
}

func TestNamespaceDeletedWhileSlotsAreLent(t *testing.T) {
	t.Parallel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "deleted-"}}
	if err := shared.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w := worldIn(t, ns.Name)
	w.settled(deployment(2, readyAfter("10s")), w.scaler(pool(2, capacityv1alpha1.GateFile)))
	w.push(100)
	w.awaitLent(2)
	if err := w.client.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w.await("the namespace is gone", func() (bool, string) {
		err := w.client.Get(t.Context(), client.ObjectKeyFromObject(ns), ns)
		return apierrors.IsNotFound(err), fmt.Sprintf("%+v %v", ns.Status, err)
	})
}

func TestSetToZeroByAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(2, readyAfter("10s")), w.scaler(pool(2, capacityv1alpha1.GateFile)))
	w.push(100)
	w.awaitLent(2)
	w.awaitReplicas(10)
	mark := shared.audit.mark(t)
	w.kubectl("scale", "deployment/app", "--replicas=0")
	w.awaitCondition(capacityv1alpha1.ConditionScalingActive, metav1.ConditionFalse, capacityv1alpha1.ReasonScalingDisabled, "somebody else set the target to 0 replicas", "scale it to 1 or more")
	w.awaitLent(0)
	w.push(100)
	w.await("the larger backlog in the status", func() (bool, string) {
		b := w.qs().Status.Backlog
		return b != nil && ptr.Deref(b.Messages, 0) == 200, fmt.Sprintf("%+v", b)
	})
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)
	w.await("no slot is left", func() (bool, string) {
		idle, lent := w.slots(capacityv1alpha1.RoleStandby), w.slots(capacityv1alpha1.RoleActive)
		if len(lent) > 0 {
			t.Errorf("slots %v were lent for a target that is switched off", lent)
		}
		return len(idle)+len(lent) == 0, fmt.Sprint(idle, lent)
	})
	w.kubectl("scale", "deployment/app", "--replicas=2")
	w.awaitReplicas(20)
	w.awaitCondition(capacityv1alpha1.ConditionScalingActive, metav1.ConditionTrue, capacityv1alpha1.ReasonReadingsFresh)
}

func TestForeignWriteIsAdoptedAndContestedTheThirdTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(60)
	w.settled(deployment(6), w.scaler())
	w.kubectl("scale", "deployment/app", "--replicas=3")
	w.awaitEvent(corev1.EventTypeNormal, capacityv1alpha1.ReasonReplicasAdopted, "6 → 3", "kubectl")
	w.awaitReplicas(6)
	w.kubectl("scale", "deployment/app", "--replicas=4")
	w.awaitEvent(corev1.EventTypeNormal, capacityv1alpha1.ReasonReplicasAdopted, "6 → 4")
	w.awaitReplicas(6)
	mark := shared.audit.mark(t)
	w.kubectl("scale", "deployment/app", "--replicas=2")
	w.awaitCondition(capacityv1alpha1.ConditionAbleToScale, metav1.ConditionFalse, capacityv1alpha1.ReasonReplicasContested, "kubectl", "take replicas out of its manifest", "ignoreDifferences")
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)
	if n := *w.target().Spec.Replicas; n != 2 {
		t.Errorf("contested replicas are left alone, but are %d", n)
	}
}

// manifest is one write of template and replicas, as `kubectl apply` of a manifest with a stale number makes.
func (w *world) manifest(image string, replicas int32) {
	w.Helper()
	w.changeTarget(func(d *appsv1.Deployment) {
		d.Spec.Replicas = &replicas
		d.Spec.Template.Spec.Containers[0].Image = image
	})
}

func TestStaleManifestIsUndoneOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(100)
	w.settled(deployment(10), w.scaler())
	mark := shared.audit.mark(t)
	w.manifest("example/worker:2", 3)
	w.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonReplicasRestored, "lowered the replicas to 3 together with a new template; restored to 10", "test")
	w.awaitReplicas(10)
	w.awaitSettled(10, 0)
	if writes := operatorWrites(t, w.namespace, mark, auditEvent.scales); len(writes) != 1 {
		t.Errorf("once restored is one write, there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
	if image := w.target().Spec.Template.Spec.Containers[0].Image; image != "example/worker:2" {
		t.Errorf("the template is the user's, and has image %s", image)
	}
}

// A policy of the cluster forbids to scale: users see its message, and the event counts up while the operator tries again.
func TestAPolicyForbidsToScale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(2), w.scaler())
	forbid := w.forbidScaling("replicas are frozen until the audit is over")
	w.push(100)
	w.awaitCondition(capacityv1alpha1.ConditionAbleToScale, metav1.ConditionFalse, capacityv1alpha1.ReasonScaleFailed, "replicas are frozen until the audit is over")
	w.await("an event that counts", func() (bool, string) {
		var list eventsv1.EventList
		if err := w.client.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return false, err.Error()
		}
		counts := slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Reason == capacityv1alpha1.ReasonScaleFailed && e.Type == corev1.EventTypeWarning && e.Series != nil && e.Series.Count > 1
		})
		return counts, fmt.Sprintf("%d events, none of them does", len(list.Items))
	})
	w.awaitReplicas(2)
	if err := w.client.Delete(t.Context(), forbid); err != nil {
		t.Fatal(err)
	}
	w.awaitReplicas(10)
	w.awaitCondition(capacityv1alpha1.ConditionAbleToScale, metav1.ConditionTrue, capacityv1alpha1.ReasonReadyForNewScale)
}

// forbidScaling has a policy deny every write of a scale in the namespace with the message, and returns what puts it in force.
func (w *world) forbidScaling(message string) *admissionv1.ValidatingAdmissionPolicyBinding {
	w.Helper()
	meta := metav1.ObjectMeta{Name: w.namespace}
	w.createForCluster(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments/scale"}},
		}}}},
		Validations: []admissionv1.Validation{{Expression: "false", Message: message}},
	}})
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: meta.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}}},
	}}
	w.createForCluster(binding)
	w.await("the policy is in force", func() (bool, string) {
		d := w.target()
		scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: *d.Spec.Replicas}}
		err := w.client.SubResource("scale").Update(w.Context(), d, client.WithSubResourceBody(scale), client.DryRunAll)
		return apierrors.IsInvalid(err), fmt.Sprint(err)
	})
	return binding
}
