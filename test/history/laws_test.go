// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	us      = "system:serviceaccount:queuescaler-system:queuescaler"
	person  = "admin"
	kubelet = "system:node:worker-1"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// tale writes an audit log, a write each 10 s.
type tale struct {
	t    *testing.T
	log  bytes.Buffer
	now  time.Time
	gaps Gaps
	// replicas, image, uid and paused of the one Deployment.
	replicas int32
	image    string
	uid      types.UID
	paused   bool
	// qs is the QueueScaler, and pod the operator's that writes.
	qs  v1alpha1.QueueScaler
	pod string
}

// write is one whose request has the object that it leaves, unless a kubelet writes: that sends no labels.
func (l *tale) write(user, verb, resource, name string, object any) {
	l.t.Helper()
	var request any
	if user != kubelet {
		request = object
	}
	l.answer(http.StatusOK, user, verb, resource, name, request, object)
}

func (l *tale) answer(code int, user, verb, resource, name string, request, object any) {
	l.t.Helper()
	l.now = l.now.Add(10 * time.Second)
	resource, sub, _ := strings.Cut(resource, "/")
	ref := map[string]string{"resource": resource, "subresource": sub, "namespace": "shop", "name": name}
	who := map[string]any{"username": user}
	if user == us && l.pod != "" {
		who["extra"] = map[string][]string{"authentication.kubernetes.io/pod-name": {l.pod}}
	}
	line, err := json.Marshal(map[string]any{
		"stage": "ResponseComplete", "verb": verb, "user": who, "objectRef": ref,
		"responseStatus": map[string]int{"code": code}, "requestReceivedTimestamp": l.now.Format(time.RFC3339Nano),
		"requestObject": request, "responseObject": object,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	fmt.Fprintf(&l.log, "%s\n", line)
}

func (l *tale) template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: l.image}}},
	}
}

// target writes the Deployment with so many updated and available pods.
func (l *tale) target(user, verb string, updated int32) {
	d := appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", Generation: 1, UID: l.uid},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(l.replicas), Template: l.template(), Paused: l.paused},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: l.replicas, UpdatedReplicas: updated, AvailableReplicas: updated},
	}
	resource := "deployments"
	if verb == "status" {
		verb, resource = "update", "deployments/status"
	}
	l.write(user, verb, resource, "app", d)
}

func (l *tale) scale(user string, to int32) {
	l.replicas = to
	l.write(user, "update", "deployments/scale", "app", autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "app"}, Spec: autoscalingv1.ScaleSpec{Replicas: to}})
}

// replicaSet writes one that is new, or has so many pods.
func (l *tale) replicaSet(hash string, pods int32) {
	template := l.template()
	template.Labels["pod-template-hash"] = hash
	l.write("system:serviceaccount:kube-system:deployment-controller", "create", "replicasets", "", appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app-" + hash, Labels: map[string]string{"pod-template-hash": hash},
			OwnerReferences: []metav1.OwnerReference{{Name: "app", UID: l.uid, Controller: ptr.To(true)}}},
		Spec: appsv1.ReplicaSetSpec{Template: template, Replicas: &pods},
	})
}

// rollOut deploys an image, and has it complete.
func (l *tale) rollOut(image, hash string) {
	l.begin(image, hash)
	l.target("controller", "status", l.replicas)
}

// begin deploys an image that is not complete yet.
func (l *tale) begin(image, hash string) {
	l.image = image
	l.target(person, "update", 0)
	l.replicaSet(hash, 0)
}

func (l *tale) slot(user, verb, name, hash, role string) {
	l.write(user, verb, "pods", name, slotOf(name, hash, role))
}

func slotOf(name, hash, role string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-1", Labels: map[string]string{
		v1alpha1.LabelScaler: "app", v1alpha1.LabelSlot: name, v1alpha1.LabelRole: role, v1alpha1.LabelRevision: hash}}}
}

// sets is the operator's write that gives slot-x a role, and shows is one of its node in which the role is seen.
func (l *tale) sets(role string)  { l.slot(us, "patch", "slot-x", "a", role) }
func (l *tale) shows(role string) { l.slot(kubelet, "patch", "slot-x", "a", role) }

// updates is a write of the whole slot-x, as it was read.
func (l *tale) updates(role string) { l.slot("node-controller", "update", "slot-x", "a", role) }

// touches is the operator's write that has slot-x's node write the role file anew.
func (l *tale) touches(role string) {
	patch := []map[string]string{
		{"op": "test", "path": "/metadata/labels/capacity.queuescaler.io~1role", "value": role},
		{"op": "add", "path": "/metadata/annotations/capacity.queuescaler.io~1touched", "value": "1"},
	}
	l.answer(http.StatusOK, us, "patch", "pods", "slot-x", patch, slotOf("slot-x", "a", role))
}

func (l *tale) deletes(role string) {
	pod := slotOf("slot-x", "a", role)
	pod.DeletionTimestamp = &metav1.Time{Time: l.now}
	l.answer(http.StatusOK, "replicaset-controller", "delete", "pods", "slot-x", nil, pod)
}

// gap passes a time in which writes may have been made that are not in the log.
func (l *tale) gap() {
	l.now = l.now.Add(10 * time.Second)
	l.gaps = append(l.gaps, Interval{l.now, l.now.Add(5 * time.Second)})
}

// fails and refused are lends that were answered with an error of the server's own, and of the client's.
func (l *tale) fails()   { l.lends(http.StatusInternalServerError) }
func (l *tale) refused() { l.lends(http.StatusConflict) }

func (l *tale) lends(code int) {
	l.answer(code, us, "patch", "pods", "slot-x", slotOf("slot-x", "a", v1alpha1.RoleActive), metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Status: "Failure"})
}

// ready is a lent slot that is ready.
func (l *tale) ready(name string) {
	pod := slotOf(name, "a", v1alpha1.RoleStandby)
	l.write("replicaset-controller", "create", "pods", name, pod)
	pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	l.write(us, "patch", "pods", name, pod)
}

// latched is the Deployment that completed its rollout before, and scales.
func (l *tale) latched() {
	l.write("controller", "update", "deployments/status", "app", appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", Generation: 1},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(l.replicas), Template: l.template()},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 5, UpdatedReplicas: 5, AvailableReplicas: 4,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}}},
	})
}

// reports is a write of the QueueScaler's status.
func (l *tale) reports() { l.write(us, "patch", "queuescalers/status", l.qs.Name, l.qs) }

// changes is a person's change of the QueueScaler.
func (l *tale) changes(change func(*v1alpha1.QueueScaler)) {
	change(&l.qs)
	l.write(person, "update", "queuescalers", l.qs.Name, l.qs)
}

func scalerOf() v1alpha1.QueueScaler {
	return v1alpha1.QueueScaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"},
		Spec: v1alpha1.QueueScalerSpec{ScaleTargetRef: v1alpha1.ScaleTargetReference{Name: "app"}, MinReplicas: ptr.To(int32(2)), MaxReplicas: 10,
			Rollout: &v1alpha1.Rollout{OnRegression: v1alpha1.OnRegressionRollBack}},
	}
}

func (l *tale) progressing(reason string) {
	l.write("controller", "update", "deployments/status", "app", appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", Generation: 1, UID: l.uid},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(l.replicas), Template: l.template()},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: l.replicas + 1, UpdatedReplicas: 1, AvailableReplicas: l.replicas,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reason}}},
	})
}

// resized is the present template's ReplicaSet that a rollout gave so many pods.
func (l *tale) resized(hash string, pods int32) {
	l.write("deployment-controller", "update", "replicasets", "app-"+hash, appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app-" + hash, Labels: map[string]string{"pod-template-hash": hash},
			Annotations:     map[string]string{"deployment.kubernetes.io/desired-replicas": "4"},
			OwnerReferences: []metav1.OwnerReference{{Name: "app", UID: l.uid, Controller: ptr.To(true)}}},
		Spec: appsv1.ReplicaSetSpec{Template: l.template(), Replicas: &pods},
	})
}

func (l *tale) release(hash string) {
	l.changes(func(qs *v1alpha1.QueueScaler) {
		qs.Annotations = map[string]string{v1alpha1.AnnotationReleaseHold: hash}
	})
}

func (l *tale) policy(p v1alpha1.RolloutPolicy) {
	l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.Rollout.Policy = p })
}

// another QueueScaler, which is younger.
func (l *tale) another(name, target string, most int32) {
	qs := scalerOf()
	qs.Name, qs.CreationTimestamp, qs.Spec.ScaleTargetRef.Name, qs.Spec.MaxReplicas = name, metav1.Time{Time: l.now}, target, most
	l.write(person, "create", "queuescalers", "", qs)
}

// gone is the deletion of a QueueScaler.
func (l *tale) gone(name string) {
	l.write(person, "delete", "queuescalers", name, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Status: "Success"})
}

// lendsNew lends a slot of a revision.
func (l *tale) lendsNew(hash string) {
	l.slot("replicaset-controller", "create", "slot-y", hash, v1alpha1.RoleStandby)
	l.slot(us, "patch", "slot-y", hash, v1alpha1.RoleActive)
}

func (l *tale) lead(identity string) {
	l.write(us, "update", "leases", "lease", coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &identity}})
}

// began is a QueueScaler of 2 to 10 replicas, whose target is complete at 4 and runs revision a; who leads began 15 min ago.
func began(t *testing.T) *tale {
	l := &tale{t: t, now: noon, replicas: 4}
	l.lead("one")
	l.qs = scalerOf()
	l.write(person, "create", "queuescalers", "", l.qs)
	l.rollOut("app:1", "a")
	l.slot("replicaset-controller", "create", "slot-x", "a", v1alpha1.RoleStandby)
	l.now = l.now.Add(15 * time.Minute)
	return l
}

func TestLaws(t *testing.T) {
	for name, c := range map[string]struct {
		law  string // "" where none is broken
		tell func(*tale)
	}{
		"lends, scales up and down, returns": {"", func(l *tale) {
			l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleActive)
			l.scale(us, 8)
			l.target("controller", "status", 8)
			l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleDraining)
			l.scale(us, 4)
		}},
		"scales once the rollout is over":   {"", func(l *tale) { l.rollOut("app:2", "b"); l.scale(us, 8) }},
		"scales in the middle of a rollout": {LawHold, func(l *tale) { l.begin("app:2", "b"); l.scale(us, 8) }},
		"restores what a manifest lowered":  {"", func(l *tale) { l.replicas = 3; l.begin("app:2", "b"); l.scale(us, 4) }},
		"its own scaling is no rollout":     {"", func(l *tale) { l.scale(us, 6); l.target("controller", "status", 4); l.scale(us, 8) }},
		"a person scales in a rollout":      {"", func(l *tale) { l.begin("app:2", "b"); l.scale(person, 9) }},
		"more than max":                     {LawLimits, func(l *tale) { l.scale(us, 11) }},
		"less than min":                     {LawLimits, func(l *tale) { l.scale(us, 1) }},
		"lends above max": {LawLimits, func(l *tale) {
			l.scale(us, 10)
			l.target("controller", "status", 10)
			l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleActive)
		}},
		"lends as the last pod turns available": {"", func(l *tale) {
			l.scale(us, 10)
			l.target("controller", "status", 9)
			l.now = l.now.Add(9 * time.Second)
			l.target("controller", "status", 10)
			l.now = l.now.Add(-9 * time.Second)
			l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleActive)
		}},
		"scales down after it began to lead": {LawScaleDown, func(l *tale) { l.lead("two"); l.scale(us, 3) }},
		"scales down blindly":                {LawScaleDown, func(l *tale) { l.now = noon.Add(time.Hour); l.scale(us, 3) }},
		"scales up blindly":                  {"", func(l *tale) { l.now = noon.Add(time.Hour); l.scale(us, 5) }},
		"lends a revision that was never complete": {LawSlots, func(l *tale) {
			l.begin("app:2", "b")
			l.slot("replicaset-controller", "create", "slot-y", "b", v1alpha1.RoleStandby)
			l.slot(us, "patch", "slot-y", "b", v1alpha1.RoleActive)
		}},
		"a returned slot is lent again": {LawSlots, func(l *tale) {
			for _, role := range []string{v1alpha1.RoleActive, v1alpha1.RoleDraining, v1alpha1.RoleActive} {
				l.slot(us, "patch", "slot-x", "a", role)
			}
		}},
		"a slot is active, and nobody wrote it":        {LawSlots, func(l *tale) { l.shows(v1alpha1.RoleActive) }},
		"the lend is lost":                             {"", func(l *tale) { l.gap(); l.shows(v1alpha1.RoleActive) }},
		"the lend is lost, and the drain":              {"", func(l *tale) { l.gap(); l.shows(v1alpha1.RoleDraining) }},
		"the lend is lost, then it drains":             {"", func(l *tale) { l.gap(); l.sets(v1alpha1.RoleDraining) }},
		"the lend failed, and was made":                {"", func(l *tale) { l.fails(); l.shows(v1alpha1.RoleActive) }},
		"the lend was refused":                         {LawSlots, func(l *tale) { l.refused(); l.shows(v1alpha1.RoleActive) }},
		"a gap before the last write explains nothing": {LawSlots, func(l *tale) { l.gap(); l.shows(v1alpha1.RoleStandby); l.shows(v1alpha1.RoleActive) }},
		"from standby to draining":                     {LawSlots, func(l *tale) { l.sets(v1alpha1.RoleDraining) }},
		"a slot goes back in a gap":                    {LawSlots, func(l *tale) { l.sets(v1alpha1.RoleActive); l.gap(); l.shows(v1alpha1.RoleStandby) }},
		"a lost lend of a revision that was never complete": {LawSlots, func(l *tale) {
			l.begin("app:2", "b")
			l.slot("replicaset-controller", "create", "slot-y", "b", v1alpha1.RoleStandby)
			l.gap()
			l.target("controller", "status", 3)
			l.slot(kubelet, "patch", "slot-y", "b", v1alpha1.RoleActive)
		}},
		"the rollout's end is lost":                     {"", func(l *tale) { l.begin("app:2", "b"); l.gap(); l.scale(us, 8) }},
		"the rollout goes on after a gap":               {LawHold, func(l *tale) { l.begin("app:2", "b"); l.gap(); l.target("controller", "status", 3); l.scale(us, 8) }},
		"the rollout's end is lost, and then it scales": {"", func(l *tale) { l.begin("app:2", "b"); l.gap(); l.replicas = 6; l.latched(); l.scale(us, 8) }},
		"the scale before a rollout is lost": {"", func(l *tale) {
			l.gap()
			l.replicas = 6
			l.begin("app:2", "b")
			l.replicas = 3
			l.target(person, "update", 0)
			l.scale(us, 6)
		}},
		"a lost scale-up is no scale-down": {"", func(l *tale) { l.lead("two"); l.scale(us, 8); l.gap(); l.scale(us, 6) }},
		"a lost change of leader": {LawScaleDown, func(l *tale) {
			l.lead("one")
			l.gap()
			l.lead("two")
			l.now = l.now.Add(4 * time.Minute)
			l.target("controller", "status", 4)
			l.scale(us, 3)
		}},
		"a lost change of leader, long ago": {"", func(l *tale) {
			l.lead("one")
			l.gap()
			l.now = l.now.Add(2 * time.Minute)
			l.lead("two")
			l.now = l.now.Add(3 * time.Minute)
			l.target("controller", "status", 4)
			l.scale(us, 3)
		}},
		"a lost change of the limits":      {"", func(l *tale) { l.gap(); l.scale(us, 11) }},
		"limits that are seen after a gap": {LawLimits, func(l *tale) { l.gap(); l.reports(); l.scale(us, 11) }},
		"a pod that ended in a gap": {"", func(l *tale) {
			l.ready("slot-z")
			l.gap()
			l.scale(us, 9)
			l.target("controller", "status", 9)
			l.now = l.now.Add(2 * time.Minute)
			l.reports()
			l.sets(v1alpha1.RoleActive)
		}},
		"refused writes without bound": {LawBounded, func(l *tale) {
			for range 8 {
				l.now = l.now.Add(-9 * time.Second)
				l.refused()
			}
		}},
		// Holds.
		"scales up from 0 as a template is new": {"", func(l *tale) { l.scale(person, 0); l.begin("app:2", "b"); l.scale(us, 3) }},
		"scales on before the first pods are available": {LawHold, func(l *tale) {
			l.scale(person, 0)
			l.begin("app:2", "b")
			l.target("controller", "status", 0)
			l.scale(us, 3)
			l.scale(us, 5)
		}},
		"undone before a pod was made": {"", func(l *tale) { l.begin("app:2", "b"); l.image = "app:1"; l.target(person, "update", 0); l.scale(us, 8) }},
		"undone after pods were made": {LawHold, func(l *tale) {
			l.begin("app:2", "b")
			l.replicaSet("b", 1)
			l.image = "app:1"
			l.target(person, "update", 0)
			l.scale(us, 8)
		}},
		"undone, and complete":                    {"", func(l *tale) { l.begin("app:2", "b"); l.replicaSet("b", 1); l.rollOut("app:1", "a"); l.scale(us, 8) }},
		"rolled back by the operator, and scaled": {LawHold, func(l *tale) { l.rollOut("app:2", "b"); l.image = "app:1"; l.target(us, "patch", 0); l.scale(us, 8) }},
		"changed while paused, and scaled up":     {"", func(l *tale) { l.paused = true; l.begin("app:2", "b"); l.scale(us, 8) }},
		"changed while paused, and scaled down":   {LawHold, func(l *tale) { l.paused = true; l.begin("app:2", "b"); l.scale(us, 3) }},
		"changed while paused, and resumed": {LawHold, func(l *tale) {
			l.paused = true
			l.begin("app:2", "b")
			l.paused = false
			l.target(person, "update", 0)
			l.scale(us, 8)
		}},
		"paused in the middle": {LawHold, func(l *tale) {
			l.begin("app:2", "b")
			l.replicaSet("b", 1)
			l.paused = true
			l.target(person, "update", 1)
			l.scale(us, 8)
		}},
		"a person lowers in a rollout, and it is put back": {LawHold, func(l *tale) { l.begin("app:2", "b"); l.scale(person, 3); l.scale(us, 4) }},
		"a person raises in a rollout, and it is put back": {LawHold, func(l *tale) { l.begin("app:2", "b"); l.scale(person, 9); l.scale(us, 4) }},
		"restores above what was held":                     {LawHold, func(l *tale) { l.replicas = 3; l.begin("app:2", "b"); l.scale(us, 5) }},
		"restores though limits would have it lower": {"", func(l *tale) {
			l.scale(us, 8)
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.MaxReplicas = 6 })
			l.replicas = 3
			l.begin("app:2", "b")
			l.scale(us, 6)
		}},
		"a second stale manifest": {"", func(l *tale) {
			l.replicas = 3
			l.begin("app:2", "b")
			l.scale(us, 4)
			l.replicas = 3
			l.begin("app:3", "c")
			l.scale(us, 4)
		}},
		"a node is gone": {"", func(l *tale) { l.target("controller", "status", 2); l.scale(us, 8) }},
		"max is lowered in a rollout": {LawHold, func(l *tale) {
			l.begin("app:2", "b")
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.MaxReplicas = 3 })
			l.scale(us, 3)
		}},
		"the hold times out": {"", func(l *tale) { l.begin("app:2", "b"); l.now = l.now.Add(10 * time.Minute); l.scale(us, 8) }},
		"the hold times out earlier": {"", func(l *tale) {
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.Rollout.HoldTimeoutSeconds = 30 })
			l.begin("app:2", "b")
			l.now = l.now.Add(20 * time.Second)
			l.scale(us, 8)
		}},
		"the hold does not time out downwards": {LawHold, func(l *tale) { l.begin("app:2", "b"); l.now = l.now.Add(10 * time.Minute); l.scale(us, 3) }},
		"the hold of a stuck rollout does not time out": {LawHold, func(l *tale) {
			l.begin("app:2", "b")
			l.now = l.now.Add(10 * time.Minute)
			l.progressing("ProgressDeadlineExceeded")
			l.scale(us, 8)
		}},
		"the hold of a rollback does not time out": {LawHold, func(l *tale) {
			l.rollOut("app:2", "b")
			l.begin("app:1", "a")
			l.now = l.now.Add(10 * time.Minute)
			l.scale(us, 8)
		}},
		"a person ends the hold":         {"", func(l *tale) { l.begin("app:2", "b"); l.release("b"); l.scale(us, 8) }},
		"a person ended an earlier hold": {LawHold, func(l *tale) { l.begin("app:2", "b"); l.release("a"); l.scale(us, 8) }},
		"rollouts are ignored": {"", func(l *tale) {
			l.policy(v1alpha1.RolloutIgnore)
			l.begin("app:2", "b")
			l.progressing("ProgressDeadlineExceeded")
			l.scale(us, 8)
		}},
		"rollouts may be scaled up": {"", func(l *tale) { l.policy(v1alpha1.RolloutScaleUpOnly); l.begin("app:2", "b"); l.scale(us, 8) }},
		"rollouts may be scaled up, this one is stuck": {LawHold, func(l *tale) {
			l.policy(v1alpha1.RolloutScaleUpOnly)
			l.begin("app:2", "b")
			l.progressing("ProgressDeadlineExceeded")
			l.scale(us, 8)
		}},
		"another Deployment of the name is not complete": {LawHold, func(l *tale) { l.uid = "two"; l.target(person, "create", 0); l.scale(us, 8) }},
		"another Deployment of the name is complete": {"", func(l *tale) {
			l.uid = "two"
			l.target(person, "create", 0)
			l.target("controller", "status", 4)
			l.scale(us, 8)
		}},
		"changed back while paused, and scaled up": {"", func(l *tale) {
			l.rollOut("app:2", "b")
			l.paused = true
			l.begin("app:1", "a")
			l.scale(us, 8)
		}},
		"undone as the old pods ended, with Recreate": {LawHold, func(l *tale) {
			l.begin("app:2", "b")
			l.image = "app:1"
			l.resized("a", 0)
			l.target(person, "update", 0)
			l.scale(us, 8)
		}},
		// Who leads.
		"scales down long after it began to lead": {"", func(l *tale) { l.lead("two_1"); l.now = l.now.Add(5 * time.Minute); l.scale(us, 3) }},
		"one that led before writes once more": {"", func(l *tale) {
			l.lead("one_1")
			l.now = l.now.Add(10 * time.Minute)
			l.lead("two_1")
			l.pod = "one"
			l.scale(us, 3)
		}},
		"one that has just begun to lead writes": {LawScaleDown, func(l *tale) {
			l.lead("one_1")
			l.now = l.now.Add(10 * time.Minute)
			l.lead("two_1")
			l.pod = "two"
			l.scale(us, 3)
		}},
		"one that led before breaks a hold": {LawHold, func(l *tale) { l.lead("one_1"); l.lead("two_1"); l.pod = "one"; l.begin("app:2", "b"); l.scale(us, 8) }},
		"its process was killed": {LawScaleDown, func(l *tale) {
			l.pod = "one"
			l.lead("one_1")
			l.now = l.now.Add(10 * time.Minute)
			l.lead("one_2")
			l.scale(us, 3)
		}},
		// Other lost writes.
		"a rollout's end is lost, and a person scales": {"", func(l *tale) { l.begin("app:2", "b"); l.gap(); l.scale(person, 5); l.scale(us, 8) }},
		"rolls back after a lost scale":                {"", func(l *tale) { l.gap(); l.replicas = 7; l.target(us, "patch", 4) }},
		"a lost change of the spec":                    {"", func(l *tale) { l.gap(); l.qs.Spec.MaxReplicas = 7; l.write(us, "patch", "queuescalers", "app", l.qs) }},
		// QueueScalers.
		"max was lowered just now": {"", func(l *tale) {
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.MaxReplicas = 6 })
			l.now = l.now.Add(-9 * time.Second)
			l.scale(us, 8)
		}},
		"max was lowered": {LawLimits, func(l *tale) { l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.MaxReplicas = 6 }); l.scale(us, 8) }},
		"max was lowered as watches came back": {"", func(l *tale) {
			l.gap()
			l.target("controller", "status", 4)
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.MaxReplicas = 6 })
			l.scale(us, 8)
		}},
		"another one has another target": {LawLimits, func(l *tale) { l.another("aaa", "other", 99); l.scale(us, 11) }},
		"another one is younger":         {LawLimits, func(l *tale) { l.another("aaa", "app", 99); l.scale(us, 11) }},
		"the older one only tries out": {"", func(l *tale) {
			l.another("aaa", "app", 99)
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.Mode = v1alpha1.ModeDryRun })
			l.scale(us, 11)
		}},
		"another one took over": {"", func(l *tale) {
			l.another("aaa", "app", 99)
			l.gone("app")
			l.now = l.now.Add(time.Minute)
			l.scale(us, 11)
		}},
		"it was deleted":          {LawOwnObjects, func(l *tale) { l.gone("app"); l.scale(us, 8) }},
		"it was deleted just now": {"", func(l *tale) { l.gone("app"); l.now = l.now.Add(-9 * time.Second); l.scale(us, 8) }},
		"all were deleted with the namespace": {LawSlots, func(l *tale) {
			l.write("namespace-controller", "deletecollection", "queuescalers", "", map[string]string{"kind": "QueueScalerList"})
			l.sets(v1alpha1.RoleActive)
		}},
		"a report without bound": {LawBounded, func(l *tale) {
			for range 8 {
				l.now = l.now.Add(-9 * time.Second)
				l.reports()
			}
		}},
		// Soaking.
		"lends what soaked":             {"", func(l *tale) { l.rollOut("app:2", "b"); l.now = l.now.Add(10 * time.Minute); l.lendsNew("b") }},
		"lends what completed just now": {LawSlots, func(l *tale) { l.rollOut("app:2", "b"); l.now = l.now.Add(9 * time.Minute); l.lendsNew("b") }},
		"lends what soaks shorter": {"", func(l *tale) {
			l.changes(func(qs *v1alpha1.QueueScaler) { qs.Spec.Rollout.SoakSeconds = ptr.To(int32(60)) })
			l.rollOut("app:2", "b")
			l.now = l.now.Add(time.Minute)
			l.lendsNew("b")
		}},
		"lends what soaked before": {"", func(l *tale) { l.begin("app:2", "b"); l.lendsNew("a") }},
		"lends what was complete, but did not soak": {LawSlots, func(l *tale) {
			l.rollOut("app:2", "b")
			l.begin("app:3", "c")
			l.now = l.now.Add(20 * time.Minute)
			l.lendsNew("b")
		}},
		"lends what completed, perhaps, before a gap": {"", func(l *tale) {
			l.begin("app:2", "b")
			l.gap()
			l.now = l.now.Add(10 * time.Minute)
			l.replicas = 6
			l.latched()
			l.lendsNew("b")
		}},
		"lends what completed, perhaps, in a gap": {"", func(l *tale) {
			l.begin("app:2", "b")
			l.gap()
			l.now = l.now.Add(10 * time.Minute)
			l.begin("app:3", "c")
			l.lendsNew("b")
		}},
		"a gap during the soak":                          {LawSlots, func(l *tale) { l.rollOut("app:2", "b"); l.gap(); l.target("controller", "status", 4); l.lendsNew("b") }},
		"what soaked, of another Deployment of the name": {"", func(l *tale) { l.uid = "two"; l.rollOut("app:1", "a"); l.lendsNew("a") }},
		"loses the role":                                 {LawSlots, func(l *tale) { l.slot(person, "patch", "slot-x", "a", "") }},
		"rolls back":                                     {"", func(l *tale) { l.rollOut("app:2", "b"); l.image = "app:1"; l.target(us, "patch", 4) }},
		"rolls back, and sets replicas":                  {LawOwnObjects, func(l *tale) { l.replicas = 7; l.target(us, "patch", 4) }},
		"deletes the target's ReplicaSet": {LawOwnObjects, func(l *tale) {
			l.write(us, "delete", "replicasets", "app-a", metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Status: "Success"})
		}},
		"deletes the target": {LawOwnObjects, func(l *tale) {
			l.write(us, "delete", "deployments", "app", metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Status: "Success"})
		}},
		"ends a slot": {"", func(l *tale) {
			l.write(us, "create", "replicasets", "", appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "slot-x", Labels: map[string]string{v1alpha1.LabelSlot: "slot-x"}}})
			l.write(us, "delete", "replicasets", "slot-x", metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status"}, Status: "Success"})
		}},
		"changes the QueueScaler": {LawOwnObjects, func(l *tale) {
			l.write(us, "patch", "queuescalers", "app", v1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}, Spec: v1alpha1.QueueScalerSpec{
				ScaleTargetRef: v1alpha1.ScaleTargetReference{Name: "app"}, MaxReplicas: 99}})
		}},
		"patches a foreign pod":   {LawOwnObjects, func(l *tale) { l.write(us, "patch", "pods", "app-a-1", corev1.Pod{}) }},
		"deletes a pod of a node": {LawOwnObjects, func(l *tale) { l.write(us, "delete", "nodes", "node", corev1.Node{}) }},
		"writes without bound": {LawBounded, func(l *tale) {
			for range 8 {
				l.now = l.now.Add(-9 * time.Second)
				l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleStandby)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := began(t)
			c.tell(l)
			verdict, err := Judge(l.writes(), Circumstances{Operator: us, WritesPerMinute: 7, Gaps: l.gaps,
				Blind: map[string][]Interval{"shop": {{noon.Add(time.Hour), noon.Add(2 * time.Hour)}}}})
			if err != nil {
				t.Fatal(err)
			}
			found := verdict.Violations
			switch {
			case c.law == "" && len(found) > 0:
				t.Errorf("no law is broken, it says %v", found)
			case c.law != "" && (len(found) != 1 || found[0].Law != c.law):
				t.Errorf("it should say once that %q, it says %v", c.law, found)
			}
		})
	}
}

func (l *tale) writes() iter.Seq2[Write, error] { return read(l.log.String()) }

// read reads a log of one file.
func read(log string) iter.Seq2[Write, error] {
	return func(yield func(Write, error) bool) {
		var l Log
		var queue inOrder
		goOn, err := l.read(strings.NewReader(log), true, &queue, yield)
		if err != nil {
			yield(Write{}, err)
		} else if goOn {
			queue.drain(0, yield)
		}
	}
}

func TestBlindWithout(t *testing.T) {
	at := func(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }
	server := Interval{at(0), at(100)}
	for poll, from := range map[time.Duration]int{time.Second: 15, 5 * time.Second: 15, 15 * time.Second: 45} {
		blind := BlindWithout(server, poll)
		if !blind.From.Equal(at(from)) || !blind.To.Equal(at(100)) {
			t.Errorf("polled every %s: %v, want from second %d", poll, blind, from)
		}
		for second, want := range map[int]bool{from - 1: false, from + 1: false, from + 3: true, 99: true, 100: false} { // it takes 2 s to decide and write
			l := began(t)
			l.now = at(second).Add(time.Hour - 10*time.Second)
			l.scale(us, 3)
			later := Interval{blind.From.Add(time.Hour), blind.To.Add(time.Hour)}
			for namespace, broken := range map[string]bool{"shop": want, "elsewhere": false} {
				verdict, err := Judge(l.writes(), Circumstances{Operator: us, WritesPerMinute: 7, Blind: map[string][]Interval{namespace: {later}}})
				if err != nil || (len(verdict.Violations) > 0) != broken {
					t.Errorf("polled every %s, a scale-down in second %d, blind in %s: %v, %v", poll, second, namespace, verdict.Violations, err)
				}
			}
		}
	}
	if blind := BlindWithout(Interval{at(0), at(10)}, time.Second); blind.contains(at(5)) || blind.contains(at(15)) {
		t.Errorf("blind though readings stayed fresh: %v", blind)
	}
}
