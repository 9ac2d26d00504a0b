// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	us     = "system:serviceaccount:queuescaler-system:queuescaler"
	person = "admin"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// tale writes an audit log, a write each 10 s.
type tale struct {
	t   *testing.T
	log bytes.Buffer
	now time.Time
	// replicas and image of the one Deployment.
	replicas int32
	image    string
}

func (l *tale) write(user, verb, resource, name string, object any) {
	l.t.Helper()
	l.now = l.now.Add(10 * time.Second)
	resource, sub, _ := strings.Cut(resource, "/")
	body, err := json.Marshal(object)
	if err != nil {
		l.t.Fatal(err)
	}
	ref := map[string]string{"resource": resource, "subresource": sub, "namespace": "shop", "name": name}
	line, err := json.Marshal(map[string]any{
		"stage": "ResponseComplete", "verb": verb, "user": map[string]string{"username": user}, "objectRef": ref,
		"responseStatus": map[string]int{"code": 200}, "requestReceivedTimestamp": l.now.Format(time.RFC3339Nano), "responseObject": json.RawMessage(body),
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
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", Generation: 1},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(l.replicas), Template: l.template()},
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

func (l *tale) replicaSet(hash string) {
	template := l.template()
	template.Labels["pod-template-hash"] = hash
	l.write("system:serviceaccount:kube-system:deployment-controller", "create", "replicasets", "", appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app-" + hash, Labels: map[string]string{"pod-template-hash": hash}},
		Spec:       appsv1.ReplicaSetSpec{Template: template},
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
	l.replicaSet(hash)
}

func (l *tale) slot(user, verb, name, hash, role string) {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-1", Labels: map[string]string{
		v1alpha1.LabelScaler: "app", v1alpha1.LabelSlot: name, v1alpha1.LabelRole: role, v1alpha1.LabelRevision: hash}}}
	l.write(user, verb, "pods", name, pod)
}

func (l *tale) lead(identity string) {
	l.write(us, "update", "leases", "lease", coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &identity}})
}

// began is a QueueScaler of 2 to 10 replicas, whose target is complete at 4 and runs revision a; who leads began 15 min ago.
func began(t *testing.T) *tale {
	l := &tale{t: t, now: noon, replicas: 4}
	l.lead("one")
	l.write(person, "create", "queuescalers", "", v1alpha1.QueueScaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"},
		Spec: v1alpha1.QueueScalerSpec{ScaleTargetRef: v1alpha1.ScaleTargetReference{Name: "app"}, MinReplicas: ptr.To(int32(2)), MaxReplicas: 10,
			Rollout: &v1alpha1.Rollout{OnRegression: v1alpha1.OnRegressionRollBack}},
	})
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
		"loses the role":                {LawSlots, func(l *tale) { l.slot(person, "patch", "slot-x", "a", "") }},
		"rolls back":                    {"", func(l *tale) { l.rollOut("app:2", "b"); l.image = "app:1"; l.target(us, "patch", 4) }},
		"rolls back, and sets replicas": {LawOwnObjects, func(l *tale) { l.replicas = 7; l.target(us, "patch", 4) }},
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
			writes, err := read(&l.log, nil)
			if err != nil {
				t.Fatal(err)
			}
			found, err := Judge(writes, Circumstances{Operator: us, WritesPerMinute: 7,
				Blind: map[string][]Interval{"shop": {{noon.Add(time.Hour), noon.Add(2 * time.Hour)}}}})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.law == "" && len(found) > 0:
				t.Errorf("no law is broken, it says %v", found)
			case c.law != "" && (len(found) != 1 || found[0].Law != c.law):
				t.Errorf("it should say once that %q, it says %v", c.law, found)
			}
		})
	}
}

func TestReadTakesSuccessfulWritesOnly(t *testing.T) {
	log := `{"stage":"ResponseComplete","verb":"update","responseStatus":{"code":409},"objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"get","responseStatus":{"code":200},"objectRef":{"resource":"pods"}}
{"stage":"ResponseStarted","verb":"patch","responseStatus":{"code":200},"objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"patch","responseStatus":{"code":200},"objectRef":{"resource":"pods","subresource":"status","namespace":"a","name":"b"}}
{"stage":"ResponseComplete","verb":"pat`
	writes, err := read(bytes.NewBufferString(log), nil)
	if err != nil || len(writes) != 1 || writes[0].Resource != "pods/status" || key(writes[0]) != "a/b" {
		t.Errorf("read %v, %v", writes, err)
	}
	if _, err := read(bytes.NewBufferString("no JSON\n"), nil); err == nil {
		t.Error("a line that is no JSON is no error")
	}
}

func TestLent(t *testing.T) {
	l := began(t)
	l.slot("replicaset-controller", "create", "slot-x", "a", v1alpha1.RoleStandby)
	l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleActive)
	from := l.now
	l.slot("kubelet", "patch", "slot-x", "a", v1alpha1.RoleActive)
	l.slot(us, "patch", "slot-x", "a", v1alpha1.RoleDraining)
	to := l.now
	writes, err := read(&l.log, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := Lent(writes, "shop")["uid-1"]; len(got) != 1 || !got[0].From.Equal(from) || !got[0].To.Equal(to) {
		t.Errorf("lent %v, want from %s to %s", got, from, to)
	}
	if got := Lent(writes[len(writes)-2:], "shop")["uid-1"]; len(got) != 1 || !got[0].To.Equal(to) {
		t.Errorf("lent %v where the log begins in the middle, want until %s", got, to)
	}
	if got := Lent(writes, "elsewhere"); len(got) != 0 {
		t.Errorf("slots of another namespace: %v", got)
	}
}
