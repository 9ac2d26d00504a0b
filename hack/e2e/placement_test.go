//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
)

// TestPlacement has slots live with what else decides about pods: budgets, network policies, quotas, the scheduler. They wait most of the
// time, and do so together.
func TestPlacement(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"Budget": testBudget, "NetworkPolicy": testNetworkPolicy, "Quota": testQuota, "FullNode": testFullNode, "AntiAffinity": testAntiAffinity,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// shortWarmUp lets a condition between the start of a pod and its being ready be seen.
const shortWarmUp = 3 * time.Second

var appLabels = map[string]string{"app": app}

// awaitStandby waits until StandbyReady has a reason, and a message that says all of this.
func (s *shop) awaitStandby(ready metav1.ConditionStatus, reason string, says ...string) {
	s.Helper()
	var c metav1.Condition
	s.await("StandbyReady "+reason, func() (bool, string) {
		c = ptr.Deref(meta.FindStatusCondition(s.qs().Status.Conditions, v1alpha1.ConditionStandbyReady), metav1.Condition{})
		missing := slices.ContainsFunc(says, func(part string) bool { return !strings.Contains(c.Message, part) })
		return c.Status == ready && c.Reason == reason && !missing, fmt.Sprintf("%s %s: %s; want %q", c.Status, c.Reason, c.Message, says)
	})
	s.Logf("StandbyReady=%s %s: %s", c.Status, c.Reason, c.Message)
}

// awaitWarm waits until the whole pool is warm, each of its pods as it is to be.
func (s *shop) awaitWarm(is func(*corev1.Pod) bool) {
	s.Helper()
	s.awaitStandby(metav1.ConditionTrue, v1alpha1.ReasonSlotsWarm)
	s.await("the pool as it is to be", func() (bool, string) {
		idle := s.idleSlots()
		fit := 0
		for _, p := range idle {
			if podReady(p) && is(p) {
				fit++
			}
		}
		return len(idle) == int(s.slots) && fit == len(idle), fmt.Sprintf("%d of %d slots", fit, len(idle))
	})
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func anyPod(*corev1.Pod) bool { return true }

// idleSlots are the pods of slots that are not in service, by UID.
func (s *shop) idleSlots() map[string]*corev1.Pod {
	s.Helper()
	return s.pods(func(p *corev1.Pod) bool {
		return isSlot(p) && p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleStandby && p.DeletionTimestamp == nil
	})
}

func anyOf(pods map[string]*corev1.Pod) *corev1.Pod {
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		return pods[uid]
	}
	return nil
}

// ownPods are the target's.
func (s *shop) ownPods() map[string]*corev1.Pod {
	s.Helper()
	return s.pods(func(p *corev1.Pod) bool { return !isSlot(p) && p.Labels["app"] == app && p.DeletionTimestamp == nil })
}

// change makes a change of an object named app, by a merge patch.
func change[T client.Object](s *shop, o T, f func(T)) {
	s.Helper()
	s.get(o)
	before := o.DeepCopyObject().(client.Object)
	f(o)
	if err := shared.client.Patch(s.Context(), o, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// atLeast sets the target's least number of replicas, without any backlog.
func (s *shop) atLeast(n int32) {
	s.Helper()
	change(s, &v1alpha1.QueueScaler{}, func(qs *v1alpha1.QueueScaler) { qs.Spec.MinReplicas = &n })
}

// awaitTarget waits until the target has this number of replicas, all of them available.
func (s *shop) awaitTarget(n int32) {
	s.Helper()
	s.await(fmt.Sprintf("%d replicas available", n), func() (bool, string) {
		d := s.target()
		return *d.Spec.Replicas == n && complete(d), fmt.Sprintf("%d wanted, %+v", *d.Spec.Replicas, d.Status)
	})
}

func evict(s *shop, p *corev1.Pod) error {
	return shared.client.SubResource("eviction").Create(s.Context(), p, &policyv1.Eviction{})
}

// awaitBudget waits until the budget app counts the target's pods and the lent slots, and permits this number of evictions.
func (s *shop) awaitBudget(lent int, allowed int32) {
	s.Helper()
	s.await("the budget's count", func() (bool, string) {
		var b policyv1.PodDisruptionBudget
		s.get(&b)
		d, n := s.target(), len(s.lentSlots())
		exact := b.Status.ObservedGeneration == b.Generation && b.Status.ExpectedPods == *d.Spec.Replicas+int32(n) &&
			b.Status.CurrentHealthy == d.Status.AvailableReplicas+int32(n)
		return exact && n == lent && b.Status.DisruptionsAllowed == allowed,
			fmt.Sprintf("%+v beside %d replicas, %d available, and %d lent slots", b.Status, *d.Spec.Replicas, d.Status.AvailableReplicas, n)
	})
}

// testBudget: a budget counts lent slots and no idle ones, whatever it says; one that counts everything is refused until it has the
// selector that the message asks for.
func testBudget(t *testing.T) {
	s := newShop(t, brokers.Redis, burst)
	budget := func(name string, selector metav1.LabelSelector) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(0)), Selector: &selector}}
	}
	s.create(budget(app, metav1.LabelSelector{MatchLabels: appLabels}))
	s.open(s.consumer(true, args("-warm-up="+shortWarmUp.String())), s.scaler(2, v1alpha1.GateFile, func(spec *v1alpha1.QueueScalerSpec) {
		spec.MaxReplicas = 8 // at max, slots return at once
	}))
	s.awaitBudget(0, 0)
	if err := evict(s, anyOf(s.ownPods())); !apierrors.IsTooManyRequests(err) {
		t.Errorf("an eviction of the target's only pod: %v", err)
	}
	evicted := anyOf(s.idleSlots())
	if err := evict(s, evicted); err != nil {
		t.Errorf("an idle slot is kept by a budget: %v", err)
	}

	everything := budget("everything", metav1.LabelSelector{})
	s.create(everything)
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonNothingToWithhold, "PodDisruptionBudget everything selects every pod",
		v1alpha1.LabelRole+" NotIn ("+v1alpha1.RoleStandby+")")
	s.await("no idle slot that it counts", func() (bool, string) { n := len(s.idleSlots()); return n == 0, fmt.Sprint(n) })
	remedy := everything.DeepCopy()
	remedy.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{
		{Key: v1alpha1.LabelRole, Operator: metav1.LabelSelectorOpNotIn, Values: []string{v1alpha1.RoleStandby}}}
	if err := shared.client.Patch(t.Context(), remedy, client.MergeFrom(everything)); err != nil {
		t.Fatal(err)
	}
	s.awaitWarm(func(p *corev1.Pod) bool { return p.UID != evicted.UID })
	if err := shared.client.Delete(t.Context(), everything); err != nil { // two budgets over one pod let nobody evict it
		t.Fatal(err)
	}

	s.send(burst, 0)
	s.awaitBudget(2, 0)
	lent := anyOf(s.pods(func(p *corev1.Pod) bool { return slices.Contains(s.lentSlots(), string(p.UID)) }))
	if err := evict(s, lent); !apierrors.IsTooManyRequests(err) {
		t.Errorf("an eviction of a lent slot that the budget forbids: %v", err)
	}
	s.awaitDone()
	change(s, &policyv1.PodDisruptionBudget{}, func(b *policyv1.PodDisruptionBudget) { b.Spec.MaxUnavailable = ptr.To(intstr.FromInt32(1)) })
	s.awaitBudget(2, 1)
	if err := evict(s, lent); err != nil {
		t.Errorf("an eviction of a lent slot that the budget permits: %v", err)
	}
	s.tookOnlyWhatItMay()
}

// testNetworkPolicy: a policy that goes by a label by which a Service finds the pods is refused, until there is the label that the message
// asks for. Then the policy isolates idle slots as it isolates the target's pods.
func testNetworkPolicy(t *testing.T) {
	s := newShop(t, brokers.Redis, 1)
	selector := func(labels map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 8080}}}}
	}
	s.create(selector(appLabels))
	s.create(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "isolate"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: appLabels}}})
	s.prepare(s.service(args("-warm-up="+shortWarmUp.String())), s.scaler(2, v1alpha1.GateService))
	const label = v1alpha1.LabelServing
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonNetworkPolicySelectsLabel, "NetworkPolicy isolate selects on app", label+`: "true"`,
		"into the template and into the selectors of the Services")
	if n := len(s.pods(isSlot)); n > 0 {
		t.Errorf("%d slots were made, and would not be isolated", n)
	}

	// First the template, then the selectors, as docs/standby.md has it.
	change(s, &appsv1.Deployment{}, func(d *appsv1.Deployment) { d.Spec.Template.Labels[label] = "true" })
	s.awaitTarget(1)
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonNothingToWithhold, "Service "+app, `Add `+label+`: "true" to its selector`)
	change(s, &corev1.Service{}, func(svc *corev1.Service) { svc.Spec.Selector[label] = "true" })
	s.awaitWarm(func(p *corev1.Pod) bool { return p.Labels["app"] == app && p.Labels[label] == "" })
	s.await("the target's pod, and no slot, behind the Service", func() (bool, string) {
		var list discoveryv1.EndpointSliceList
		if err := shared.client.List(t.Context(), &list, client.InNamespace(s.namespace)); err != nil {
			return false, err.Error()
		}
		var behind []string
		for _, some := range list.Items {
			for _, e := range some.Endpoints {
				behind = append(behind, string(e.TargetRef.UID))
			}
		}
		return slices.Equal(behind, slices.Collect(maps.Keys(s.ownPods()))), fmt.Sprint(behind)
	})
}

// testQuota: where a quota leaves no room, idle slots give way to the target's pods, and are not made again at once.
func testQuota(t *testing.T) {
	s := newShop(t, brokers.Redis, 1)
	room := func(pods int64) corev1.ResourceQuotaSpec {
		return corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI)}}
	}
	s.create(&corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: room(4)})
	s.open(s.consumer(true, args("-warm-up="+shortWarmUp.String())), s.scaler(3, v1alpha1.GateFile))
	before := s.slotNames()

	// One slot is lent in the place of the pod that cannot be created; the other two give way to it.
	s.atLeast(2)
	s.awaitTarget(2)
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonReleasedUnderPressure, "slots gave way to pods of the target", "made again at", "0 of 3 slots warm, 1 lent")
	refill := s.qs().Status.Standby.RefillAfter
	if in := time.Until(refill.Time); in < 4*time.Minute || in > 5*time.Minute {
		t.Errorf("slots are made again in %v", in)
	}

	// And so it stays while pods of the target lack room.
	change(s, &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) { q.Spec = room(3) })
	s.atLeast(3)
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonReleasedUnderPressure, "a ResourceQuota keeps pods of the target from being created: raise it", "1 lent")
	if n := len(s.ownPods()); n != 2 {
		t.Errorf("the quota admits %d pods of the target", n)
	}
	change(s, &corev1.ResourceQuota{}, func(q *corev1.ResourceQuota) { q.Spec = room(10) })
	s.awaitTarget(3)
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonReleasedUnderPressure, "slots gave way to pods of the target")
	for _, name := range s.slotNames() {
		if !slices.Contains(before, name) {
			t.Errorf("slot %s was made before %s", name, refill)
		}
	}
}

// slotNames are those of the slots' ReplicaSets.
func (s *shop) slotNames() (names []string) {
	s.Helper()
	var list appsv1.ReplicaSetList
	if err := shared.client.List(s.Context(), &list, client.InNamespace(s.namespace), client.HasLabels{v1alpha1.LabelSlot}); err != nil {
		s.Fatal(err)
	}
	for _, rs := range list.Items {
		names = append(names, rs.Name)
	}
	return names
}

// seat is a resource that the node is given so little of that it is full, without any pod of others being concerned.
const seat = "e2e.queuescaler.io/seat"

// testFullNode: a slot has its target's priority; a pod with a higher one takes an idle slot's place, and the slot is back when there is room; a
// pod of the target's takes it too.
func testFullNode(t *testing.T) {
	s := newShop(t, brokers.Redis, 1)
	s.giveSeats(3)
	usual, urgent := s.priorityClass("usual", 1000), s.priorityClass("urgent", 2000)
	sits := func(class string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			spec := &d.Spec.Template.Spec
			spec.PriorityClassName = class
			spec.Containers[0].Resources.Limits = corev1.ResourceList{seat: resource.MustParse("1")}
		}
	}
	s.open(s.consumer(true, sits(usual), args("-warm-up="+shortWarmUp.String())), s.scaler(2, v1alpha1.GateFile))
	own := slices.Collect(maps.Keys(s.ownPods()))
	for _, p := range s.idleSlots() {
		if p.Spec.PriorityClassName != usual || ptr.Deref(p.Spec.Priority, 0) != 1000 {
			t.Errorf("slot %s has priority class %q, %d", p.Name, p.Spec.PriorityClassName, ptr.Deref(p.Spec.Priority, 0))
		}
	}

	template := s.consumer(true, sits(urgent)).Spec.Template
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: urgent, Labels: map[string]string{"app": "other"}}, Spec: template.Spec}
	s.create(other)
	s.await("the urgent pod in a slot's place", func() (bool, string) {
		pods := s.pods(func(p *corev1.Pod) bool { return p.UID == other.UID && podReady(p) })
		return len(pods) == 1, fmt.Sprint(len(pods))
	})
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonSlotsUnschedulable, "1 slot has no node, pod "+app+"-standby-", "Add nodes or lower standby.replicas", "1 of 2 slots warm")
	if now := slices.Collect(maps.Keys(s.ownPods())); !slices.Equal(now, own) {
		t.Errorf("the target had pod %v, and has %v", own, now)
	}
	if err := shared.client.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.awaitWarm(anyPod)

	// One slot is lent in the place of the pod that has no node; the other gives way to it.
	s.atLeast(2)
	s.awaitTarget(2)
	s.awaitStandby(metav1.ConditionFalse, v1alpha1.ReasonReleasedUnderPressure, "slots gave way to pods of the target", "0 of 2 slots warm, 1 lent")
}

// giveSeats has the node offer n seats until the test ends.
func (s *shop) giveSeats(n int64) {
	s.Helper()
	seats := func(ctx context.Context, n *resource.Quantity) error {
		var node corev1.Node
		if err := shared.client.Get(ctx, client.ObjectKey{Name: realNode}, &node); err != nil {
			return err
		}
		before := node.DeepCopy()
		for _, list := range []corev1.ResourceList{node.Status.Capacity, node.Status.Allocatable} {
			delete(list, seat)
			if n != nil {
				list[seat] = *n
			}
		}
		return shared.client.Status().Patch(ctx, &node, client.MergeFrom(before))
	}
	if err := seats(s.Context(), resource.NewQuantity(n, resource.DecimalSI)); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := seats(context.Background(), nil); err != nil {
			s.Error(err)
		}
	})
}

// priorityClass makes one until the test ends, and returns its name.
func (s *shop) priorityClass(name string, value int32) string {
	s.Helper()
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-" + name}, Value: value}
	if err := shared.client.Create(s.Context(), class); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := shared.client.Delete(context.Background(), class); err != nil {
			s.Error(err)
		}
	})
	return class.Name
}

// testAntiAffinity: pods of the target that must not share a node share theirs with idle slots, which are spread over the nodes as they are.
// One node is simulated.
func testAntiAffinity(t *testing.T) {
	ofTarget := &metav1.LabelSelector{MatchLabels: appLabels}
	apart := func(d *appsv1.Deployment) {
		d.Spec.Replicas = ptr.To(int32(2))
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(0)), MaxUnavailable: ptr.To(intstr.FromInt32(1))}
		spec := &d.Spec.Template.Spec
		spec.Tolerations = []corev1.Toleration{{Key: simulatedNode, Operator: corev1.TolerationOpExists}}
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: ofTarget}}}}
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: ofTarget, MatchLabelKeys: []string{appsv1.DefaultDeploymentUniqueLabelKey}}}
	}
	s := newShop(t, brokers.Redis, 1)
	s.create(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: ofTarget}})
	s.open(s.consumer(true, apart, args("-warm-up="+shortWarmUp.String())), s.scaler(2, v1alpha1.GateFile, func(spec *v1alpha1.QueueScalerSpec) {
		spec.MinReplicas, spec.MaxReplicas = ptr.To(int32(2)), 2
	}))
	ofSlots := &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelScaler: app}}
	prefers := func(selector *metav1.LabelSelector) corev1.WeightedPodAffinityTerm {
		return corev1.WeightedPodAffinityTerm{Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: selector}}
	}
	wanted := &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{prefers(ofTarget), prefers(ofSlots)}}
	nodes := map[string]bool{}
	for _, p := range s.idleSlots() {
		nodes[p.Spec.NodeName] = true
		if got := p.Spec.Affinity.PodAntiAffinity; !apiequality.Semantic.DeepEqual(got, wanted) {
			t.Errorf("anti-affinity of slot %s: %+v", p.Name, got)
		}
		if c := p.Spec.TopologySpreadConstraints; len(c) != 1 || !apiequality.Semantic.DeepEqual(c[0].LabelSelector, ofSlots) || len(c[0].MatchLabelKeys) > 0 {
			t.Errorf("spread of slot %s: %+v", p.Name, c)
		}
	}
	if len(nodes) != 2 {
		t.Errorf("the slots are on %v, and not spread", nodes)
	}

	// A rollout needs the nodes on which idle slots are.
	change(s, &appsv1.Deployment{}, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Args = append(d.Spec.Template.Spec.Containers[0].Args, "-work=90ms")
	})
	s.awaitTarget(2)
	var events corev1.EventList
	if err := shared.client.List(t.Context(), &events, client.InNamespace(s.namespace)); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Reason == v1alpha1.ReasonReleasedUnderPressure {
			t.Errorf("slots kept pods of the target off their nodes: %s", e.Message)
		}
	}
	s.awaitStandby(metav1.ConditionTrue, v1alpha1.ReasonSlotsWarm)
}
