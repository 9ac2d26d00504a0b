//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
)

// longWarmUp keeps slots lent for a while: until the target's own new pods have warmed up.
const longWarmUp = 40 * time.Second

// lending opens a shop with two slots and sends a backlog that lends both.
func lending(t *testing.T, change ...func(*appsv1.Deployment)) *shop {
	t.Helper()
	s := newShop(t, brokers.Redis, 2*burst)
	s.open(s.consumer(true, append(change, args("-warm-up="+longWarmUp.String()))...), s.scaler(2, v1alpha1.GateFile, func(spec *v1alpha1.QueueScalerSpec) {
		spec.MaxReplicas = 8 // at max, slots return at once
	}))
	s.send(burst, 0)
	s.await("both slots lent, and the target scaled", func() (bool, string) {
		lent, n := s.lentSlots(), *s.target().Spec.Replicas
		return len(lent) == 2 && n > 1, fmt.Sprintf("%d lent, %d replicas", len(lent), n)
	})
	return s
}

// lentSlots are the UIDs of slots in service.
func (s *shop) lentSlots() []string {
	s.Helper()
	return slices.Sorted(maps.Keys(s.pods(func(p *corev1.Pod) bool {
		return isSlot(p) && p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive && p.DeletionTimestamp == nil
	})))
}

// noPanicSoFar looks into the operator's logs before its pods go.
func noPanicSoFar(t *testing.T) {
	t.Helper()
	if err := noPanic(); err != nil {
		t.Error(err)
	}
}

func mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	out, err := kubectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestUpgrade puts a new version of the operator in place while slots are lent.
func TestUpgrade(t *testing.T) {
	s := lending(t)
	lent, replicas := s.lentSlots(), *s.target().Spec.Replicas
	noPanicSoFar(t)
	mustKubectl(t, "-n", operatorNamespace, "rollout", "restart", "deployment/queuescaler")
	mustKubectl(t, "-n", operatorNamespace, "rollout", "status", "deployment/queuescaler", "--timeout=2m")
	if now := s.lentSlots(); !slices.Equal(now, lent) {
		t.Errorf("slots %v were lent before, %v after", lent, now)
	}
	if now := *s.target().Spec.Replicas; now < replicas {
		t.Errorf("replicas went from %d to %d", replicas, now)
	}
	s.awaitDone()
	s.awaitCalm()
	s.tookOnlyWhatItMay()
}

// TestRemovedInTheWrongOrder deletes the operator first and its objects then: the documented patch frees what waits for it.
func TestRemovedInTheWrongOrder(t *testing.T) {
	s := lending(t)
	replicas := *s.target().Spec.Replicas
	noPanicSoFar(t)
	mustKubectl(t, "delete", "-k", filepath.Join(shared.root, "config", "manager"), "--wait=true")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := install(ctx); err != nil {
			t.Fatal(err)
		}
	})
	mustKubectl(t, "-n", s.namespace, "delete", "queuescaler", app, "--wait=false")
	if qs := s.qs(); qs.DeletionTimestamp == nil || len(qs.Finalizers) == 0 {
		t.Errorf("with slots lent it should wait for the operator: deleted %v, finalizers %v", qs.DeletionTimestamp, qs.Finalizers)
	}
	mustKubectl(t, "-n", s.namespace, "patch", "queuescaler", app, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	s.await("everything of it gone", func() (bool, string) {
		err := shared.client.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: app}, &v1alpha1.QueueScaler{})
		slots := s.pods(isSlot)
		return apierrors.IsNotFound(err) && len(slots) == 0, fmt.Sprintf("%v, %d slots", err, len(slots))
	})
	if now := *s.target().Spec.Replicas; now != replicas {
		t.Errorf("replicas went from %d to %d", replicas, now)
	}
	s.awaitDone()
	s.tookOnlyWhatItMay()
}

// TestDrain drains the node while slots are lent, with a budget that lets one pod go at a time. Replacements run on a simulated node.
func TestDrain(t *testing.T) {
	tolerant := func(d *appsv1.Deployment) {
		d.Spec.Replicas = ptr.To(int32(2))
		d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: simulatedNode, Operator: corev1.TolerationOpExists}}
		d.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: corev1.NodeSelectorTerm{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{realNode}}}}}},
		}}
	}
	s := newShop(t, brokers.Redis, 2*burst)
	s.create(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}})
	s.open(s.consumer(true, tolerant, args("-warm-up=15s")), s.scaler(2, v1alpha1.GateFile, func(spec *v1alpha1.QueueScalerSpec) { spec.MinReplicas = ptr.To(int32(2)) }))
	s.send(burst, 0)
	s.await("slots lent", func() (bool, string) { n := len(s.lentSlots()); return n > 0, fmt.Sprint(n) })
	t.Cleanup(func() {
		if _, err := kubectl(context.Background(), "uncordon", realNode); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	mustKubectl(t, "drain", realNode, "--pod-selector=app.kubernetes.io/name!=queuescaler", "--delete-emptydir-data", "--force", "--timeout=3m")
	t.Logf("drained in %.0f s", time.Since(began).Seconds())
	if left := s.pods(func(p *corev1.Pod) bool { return p.Spec.NodeName == realNode && p.DeletionTimestamp == nil }); len(left) > 0 {
		t.Errorf("%d pods are still on the node", len(left))
	}
}

// realNode is the name of the node that runs containers, simulatedNode the taint of the other.
const realNode, simulatedNode = "worker-1", "localcluster.queuescaler.io/simulated"

// TestNoRequestFails has slots lent and returned at full load, and the same Deployment scaled down by hand: neither may fail a request.
func TestNoRequestFails(t *testing.T) {
	const requests = 12000
	s := newShop(t, brokers.Redis, requests)
	d := s.dispatch(6)
	s.open(s.service(args("-warm-up=5s", "-work=30ms")), s.scaler(2, v1alpha1.GateService))
	failed := func(what string, from int) int {
		n := len(d.Failures()) - from
		fmt.Printf("%-45s %5d requests, %d failed\n", what, len(d.Outcomes()), n)
		return n
	}
	// The pool's slots are lent for a minute, and return under load.
	for range 2 {
		s.send(burst*2, 0)
		s.await("slots lent", func() (bool, string) { n := len(s.lentSlots()); return n > 0, fmt.Sprint(n) })
		s.await("slots returned, under load", func() (bool, string) {
			if s.book.Completed()+50 > int(s.next) && int(s.next)+100 < requests {
				s.send(100, 0)
			}
			n := len(s.lentSlots())
			return n == 0, fmt.Sprint(n)
		})
		s.awaitDone()
		s.awaitCalm()
	}
	lending := failed("slots lent and returned under load:", 0)

	// The same by hand, without a QueueScaler.
	mustKubectl(t, "-n", s.namespace, "delete", "queuescaler", app)
	before := len(d.Failures())
	for _, n := range []string{"3", "1"} {
		mustKubectl(t, "-n", s.namespace, "scale", "deployment", app, "--replicas="+n)
		s.await(n+" replicas, under load", func() (bool, string) {
			if s.book.Completed()+50 > int(s.next) && int(s.next)+100 < requests {
				s.send(100, 0)
			}
			target := s.target()
			done := target.Status.Replicas == *target.Spec.Replicas && target.Status.AvailableReplicas == *target.Spec.Replicas
			return done && len(s.pods(func(*corev1.Pod) bool { return true })) == int(*target.Spec.Replicas), fmt.Sprintf("%+v", target.Status)
		})
	}
	s.awaitDone()
	byHand := failed("an ordinary scale-down under load:", before)
	if lending > byHand {
		t.Errorf("lending and returning failed %d requests, an ordinary scale-down %d: %v", lending, byHand, d.Failures()[:min(lending, 5)])
	}
	s.tookOnlyWhatItMay()
}
