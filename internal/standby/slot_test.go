// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// onePod is a world with one slot, whose pod is warm.
func onePod(t *testing.T, gate v1alpha1.Gate) (*world, *appsv1.ReplicaSet, *corev1.Pod) {
	t.Helper()
	w := newWorld(t.Fatalf, gate)
	w.in.Replicas = 1
	w.templates["aaa"].Annotations[karpenterDoNotDisrupt] = "true"
	w.calm(20 * time.Second)
	for _, rs := range w.rss {
		for _, pod := range w.pods {
			return w, rs, pod
		}
	}
	t.Fatal("no slot was made")
	return nil, nil, nil
}

func (w *world) observe() []Slot {
	w.sync(true, true)
	return Observe(w.clock(), w.owner.Name, w.owner.UID, w.cachedRSs, w.cachedPods)
}

func (w *world) slot(t *testing.T) Slot {
	t.Helper()
	slots := w.observe()
	if len(slots) != 1 {
		t.Fatalf("%d slots observed, want 1", len(slots))
	}
	return slots[0]
}

func TestObserveStates(t *testing.T) {
	waiting := func(reason string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{RestartCount: 1, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
	for _, test := range []struct {
		name   string
		change func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod)
		state  State
		is     func(s *Slot) bool
	}{
		{"warm", func(*world, *appsv1.ReplicaSet, *corev1.Pod) {}, Warm,
			func(s *Slot) bool {
				return s.Ready && s.StartUp > 0 && s.Revision == "aaa" && s.TemplateDigest != "" && !s.Tampered
			}},
		{"not ready", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) { w.setReady(pod, false) }, Starting,
			func(s *Slot) bool { return !s.Ready && !s.UnreadySince.IsZero() }},
		{"ready, and not yet for minReadySeconds", func(_ *world, rs *appsv1.ReplicaSet, _ *corev1.Pod) {
			rs.Spec.MinReadySeconds, rs.Status.AvailableReplicas = 10, 0
		}, Starting, func(s *Slot) bool { return s.Ready }},
		{"ready for minReadySeconds", func(_ *world, rs *appsv1.ReplicaSet, _ *corev1.Pod) { rs.Spec.MinReadySeconds = 10 }, Warm,
			func(s *Slot) bool { return s.Ready }},
		{"its pod ends, and another is to come", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) { w.deletePod(pod) }, Starting,
			func(s *Slot) bool { return s.Pod == "" && s.Remaining == 1 && s.Revision == "aaa" }},
		{"evicted", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }, Starting,
			func(s *Slot) bool { return s.Pod == "" && s.Remaining == 0 }},
		{"a terminating lent pod beside a new one", func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
			w.deletePod(pod)
			w.createPod(rs)
		}, Starting, func(s *Slot) bool {
			return s.Pod != "" && s.Remaining == 2 && s.Labels[v1alpha1.LabelRole] == v1alpha1.RoleStandby
		}},
		{"of two pods the lent one counts", func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod) {
			w.createPod(rs)
			for _, p := range w.pods {
				if p != pod {
					p.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
				}
			}
		}, Lent, func(s *Slot) bool { return s.Remaining == 2 }},
		{"lent", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
			pod.Annotations[v1alpha1.AnnotationLentAt] = "2026-11-02T08:01:00.500Z"
			pod.Annotations[v1alpha1.AnnotationTouched] = "1"
		}, Lent, func(s *Slot) bool {
			return s.LentSince.Equal(time.Date(2026, 11, 2, 8, 1, 0, 500e6, time.UTC)) && s.Touches == 1
		}},
		{"lent, with marks that make no sense", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
			pod.Annotations[v1alpha1.AnnotationLentAt], pod.Annotations[v1alpha1.AnnotationTouched] = "yesterday", "often"
		}, Lent, func(s *Slot) bool { return s.LentSince.IsZero() && s.Touches == 0 }},
		{"draining", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleDraining
		}, Draining,
			func(*Slot) bool { return true }},
		{"a role we never write", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) { delete(pod.Labels, v1alpha1.LabelRole) }, Warm,
			func(s *Slot) bool { return s.Tampered }},
		{"what lending puts back is lost", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			delete(pod.Annotations, v1alpha1.AnnotationOnLend)
		}, Warm,
			func(s *Slot) bool { return s.Tampered }},
		{"ending", func(_ *world, rs *appsv1.ReplicaSet, _ *corev1.Pod) { rs.Spec.Replicas = ptr.To[int32](0) }, Ending,
			func(s *Slot) bool { return !s.Gone && s.Remaining == 1 }},
		{"ended, and its controller has not seen it", func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod) {
			rs.Spec.Replicas, rs.Generation = ptr.To[int32](0), rs.Generation+1
			delete(w.pods, pod.Name)
		}, Ending, func(s *Slot) bool { return !s.Gone }},
		{"ended", func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod) {
			rs.Spec.Replicas = ptr.To[int32](0)
			delete(w.pods, pod.Name)
			w.replicaSetStatus(rs)
		}, Ending, func(s *Slot) bool { return s.Gone }},
		{"its node does not answer", func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod) {
			rs.Spec.Replicas = ptr.To[int32](0)
			pod.DeletionTimestamp = ptr.To(metav1.NewTime(w.now.Add(-time.Minute)))
		}, Ending, func(s *Slot) bool { return s.Overdue && !s.Gone }},
		{"its ReplicaSet is being deleted", func(w *world, rs *appsv1.ReplicaSet, _ *corev1.Pod) {
			rs.DeletionTimestamp = ptr.To(metav1.NewTime(w.now))
		}, Ending, func(s *Slot) bool { return s.Deleting }},
		{"crashes", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			w.setReady(pod, false)
			pod.Status.ContainerStatuses = waiting("CrashLoopBackOff")
		}, Starting, func(s *Slot) bool { return s.Failing == "CrashLoopBackOff" }},
		{"its init container cannot pull", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			w.setReady(pod, false)
			pod.Status.InitContainerStatuses = waiting("ImagePullBackOff")
		}, Starting, func(s *Slot) bool { return s.Failing == "ImagePullBackOff" }},
		{"its container is being made", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			w.setReady(pod, false)
			pod.Status.ContainerStatuses = waiting("ContainerCreating")
		}, Starting, func(s *Slot) bool { return s.Failing == "" }},
		{"quota", func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod) {
			delete(w.pods, pod.Name)
			rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
		}, Starting, func(s *Slot) bool { return s.CreateFailed && s.Failing == "exceeded quota" }},
		{"restarted, so that its start-up time is not known", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
		}, Warm, func(s *Slot) bool { return s.StartUp == 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, rs, pod := onePod(t, v1alpha1.GateService)
			test.change(w, rs, pod)
			s := w.slot(t)
			if s.State != test.state || !test.is(&s) {
				t.Errorf("state %s, want %s: %+v", s.State, test.state, s)
			}
		})
	}
}

func TestObserveLeavesOthersAlone(t *testing.T) {
	w, rs, _ := onePod(t, v1alpha1.GateService)
	for name, change := range map[string]func(*appsv1.ReplicaSet){
		"owned by nobody":               func(rs *appsv1.ReplicaSet) { rs.OwnerReferences = nil },
		"owned by another":              func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].UID = "another" },
		"of an earlier one of the name": func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].UID = "earlier" },
		"without our label":             func(rs *appsv1.ReplicaSet) { delete(rs.Labels, v1alpha1.LabelScaler) },
		"a copy under another name":     func(rs *appsv1.ReplicaSet) { rs.Name = "copy" },
	} {
		other := rs.DeepCopy()
		change(other)
		if slots := Observe(w.now, w.owner.Name, w.owner.UID, []*appsv1.ReplicaSet{other}, w.cachedPods); len(slots) != 0 {
			t.Errorf("a ReplicaSet %s is taken for a slot: %+v", name, slots)
		}
	}
	orphan := w.cachedPods[0].DeepCopy()
	orphan.OwnerReferences = nil
	if slots := Observe(w.now, w.owner.Name, w.owner.UID, []*appsv1.ReplicaSet{rs}, []*corev1.Pod{orphan}); len(slots) != 1 || slots[0].Pod != "" {
		t.Errorf("a pod that no ReplicaSet controls is taken for a slot's: %+v", slots)
	}
}

func TestGateIsSeenOnTheSlot(t *testing.T) {
	for _, gate := range []v1alpha1.Gate{v1alpha1.GateService, v1alpha1.GateFile, v1alpha1.GatePrepared} {
		w, _, _ := onePod(t, gate)
		if s := w.slot(t); s.Gate != gate {
			t.Errorf("gate %s, want %s", s.Gate, gate)
		}
	}
}

// TestPatches goes once through a slot's life with the library by which the apiserver applies JSON patches.
func TestPatches(t *testing.T) {
	w, rs, pod := onePod(t, v1alpha1.GateService)
	idle := w.slot(t)
	if pod.Labels["app"] != "" || pod.Annotations[karpenterDoNotDisrupt] != "" {
		t.Fatalf("an idle pod has %v, %v", pod.Labels, pod.Annotations)
	}
	if apply(w, pod, DrainPatch(&idle, w.now)) || apply(w, pod, TouchPatch(&idle, 1)) {
		t.Error("an idle pod was drained or touched")
	}
	other := idle
	other.PodUID = "another"
	if apply(w, pod, LendPatch(&other, w.now)) {
		t.Error("another pod of the name was lent")
	}
	ending := pod.DeepCopy()
	ending.DeletionTimestamp = ptr.To(metav1.NewTime(w.now))
	if apply(w, ending, LendPatch(&idle, w.now)) {
		t.Error("a pod that is being deleted was lent")
	}

	if !apply(w, pod, LendPatch(&idle, w.now)) {
		t.Fatal("a warm slot could not be lent")
	}
	want := map[string]string{
		"app": "web", "tier": "front", v1alpha1.LabelRole: v1alpha1.RoleActive, v1alpha1.LabelRevision: "aaa",
		v1alpha1.LabelScaler: "availability", v1alpha1.LabelSlot: rs.Name,
	}
	if diff := cmp.Diff(want, pod.Labels); diff != "" {
		t.Errorf("labels of a lent pod (-want +got):\n%s", diff)
	}
	if pod.Annotations[karpenterDoNotDisrupt] != "true" {
		t.Error("a lent pod has no do-not-disrupt")
	}
	lent := w.slot(t)
	if lent.State != Lent || !lent.LentSince.Equal(w.now) {
		t.Errorf("lent %v since %v, want since %v", lent.State, lent.LentSince, w.now)
	}
	if apply(w, pod, LendPatch(&idle, w.now)) {
		t.Error("a lent pod was lent again")
	}
	if !apply(w, pod, TouchPatch(&lent, 2)) || w.slot(t).Touches != 2 {
		t.Error("a lent pod could not be touched")
	}
	if !apply(w, pod, DrainPatch(&lent, w.now)) || w.slot(t).State != Draining {
		t.Error("a lent pod could not be drained")
	}
	if apply(w, pod, TouchPatch(&lent, 2)) {
		t.Error("a draining pod was touched")
	}
	stranger := lent
	stranger.ReplicaSetUID = "another"
	if apply(w, rs, EndPatch(&stranger)) {
		t.Error("another ReplicaSet of the name was set to 0")
	}
	if !apply(w, rs, EndPatch(&lent)) || *rs.Spec.Replicas != 0 {
		t.Error("the ReplicaSet could not be set to 0")
	}
}

func TestPatchEscapesKeys(t *testing.T) {
	s := Slot{PodUID: "u", OnLend: OnLend{Labels: map[string]string{"a/b~c": "d"}}}
	if got := string(LendPatch(&s, time.Time{})); !strings.Contains(got, `"/metadata/labels/a~1b~0c"`) {
		t.Errorf("patch %s", got)
	}
}

func TestReplicaSet(t *testing.T) {
	in := templateInput(t, withLabels("{app: web, tier: front, pod-template-hash: 6d5f8c}"))
	in.MinReadySeconds = 7
	in.Surroundings = surroundings(t, service("s", "{app: web}"))
	template, refusal := Template(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	before, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	owner := &v1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "availability", UID: "u"}}
	got := ReplicaSet(owner, "availability-standby-x", template, "c0ffee")
	want := decode[appsv1.ReplicaSet](t, `
metadata:
  namespace: chat
  name: availability-standby-x
  labels:
    capacity.queuescaler.io/queuescaler: availability
    capacity.queuescaler.io/slot: availability-standby-x
    capacity.queuescaler.io/revision: 6d5f8c
  ownerReferences:
  - {apiVersion: capacity.queuescaler.io/v1alpha1, kind: QueueScaler, name: availability, uid: u, controller: true, blockOwnerDeletion: true}
spec:
  replicas: 1
  minReadySeconds: 7
  selector: {matchLabels: {capacity.queuescaler.io/slot: availability-standby-x}}
  template:
    metadata:
      labels:
        tier: front
        capacity.queuescaler.io/queuescaler: availability
        capacity.queuescaler.io/slot: availability-standby-x
        capacity.queuescaler.io/role: standby
        capacity.queuescaler.io/revision: 6d5f8c
      annotations:
        capacity.queuescaler.io/on-lend: '{"labels":{"app":"web"}}'
        capacity.queuescaler.io/template-digest: `+template.Digest+`
        capacity.queuescaler.io/config-digest: c0ffee
    spec: {containers: [{name: app, image: app}]}
`)
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("ReplicaSet (-want +got):\n%s", diff)
	}
	if after, _ := json.Marshal(template); string(after) != string(before) {
		t.Error("the pool's template was changed by making a slot")
	}
}
