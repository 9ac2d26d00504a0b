// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

func TestKeptTemplate(t *testing.T) {
	owner := &v1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "availability", UID: "u"}}
	rs := decode[appsv1.ReplicaSet](t, `
metadata: {name: web-6d5f8c, labels: {app: web, pod-template-hash: 6d5f8c}, annotations: {deployment.kubernetes.io/revision: "6"}}
spec: {template: {metadata: {labels: {app: web, pod-template-hash: 6d5f8c}}, spec: {containers: [{name: app, image: app}]}}}
`)
	cr, err := Revision(owner, &rs)
	if err != nil {
		t.Fatal(err)
	}
	wantLabels := map[string]string{v1alpha1.LabelScaler: "availability", v1alpha1.LabelRevision: "6d5f8c"}
	if diff := cmp.Diff(wantLabels, cr.Labels); diff != "" {
		t.Errorf("labels, the app's must not be among them (-want +got):\n%s", diff)
	}
	if cr.Name != "availability-6d5f8c" || cr.Namespace != "chat" || !metav1.IsControlledBy(cr, owner) {
		t.Errorf("kept as %s/%s of %v", cr.Namespace, cr.Name, cr.OwnerReferences)
	}
	template, number, err := TemplateOf(cr)
	if err != nil || number != 6 {
		t.Errorf("revision %d, error %v", number, err)
	}
	want := decode[corev1.PodTemplateSpec](t, "{metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: app}]}}")
	if diff := cmp.Diff(want, template); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	if rs.Spec.Template.Labels["pod-template-hash"] == "" {
		t.Error("the ReplicaSet was changed")
	}
	delete(rs.Labels, "pod-template-hash")
	if _, err := Revision(owner, &rs); err == nil {
		t.Error("a ReplicaSet without hash was kept")
	}
}

func TestTemplateOfGarbage(t *testing.T) {
	for _, raw := range []string{"", "{", "null", `{"template":{}}`, `{"template":7}`} {
		cr := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Data: runtime.RawExtension{Raw: []byte(raw)}}
		if _, _, err := TemplateOf(cr); err == nil || !strings.Contains(err.Error(), "ControllerRevision x") {
			t.Errorf("%q: error %v, want one that names the ControllerRevision", raw, err)
		}
	}
}

func TestNamesFit(t *testing.T) {
	for _, scaler := range []string{"a", "availability", strings.Repeat("a", 63), strings.Repeat("a", 46) + ".b.c-d", strings.Repeat("a.", 31)} {
		for _, name := range []string{
			RevisionName(scaler, "6d5f8c7b9"),
			Plan(time.Unix(0, 0), PoolInput{Scaler: scaler, Replicas: 1, Revision: "a", Template: &SlotTemplate{}}, nil).Pending[0],
		} {
			if len(name) > 63 || strings.Contains(name, ".-") || strings.Contains(name, "--") {
				t.Errorf("name %q of %q", name, scaler)
			}
		}
	}
}

func TestSuperfluous(t *testing.T) {
	var revisions []*appsv1.ControllerRevision
	for i := range 13 {
		revisions = append(revisions, &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("r%02d", i), CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0)),
			Labels: map[string]string{v1alpha1.LabelRevision: fmt.Sprintf("h%02d", i)}}})
	}
	slices.Reverse(revisions)
	var got []string
	for _, cr := range Superfluous(revisions, "h00", "h02") {
		got = append(got, cr.Name)
	}
	if diff := cmp.Diff([]string{"r01", "r03", "r04"}, got); diff != "" {
		t.Errorf("superfluous (-want +got):\n%s", diff)
	}
	if few := Superfluous(revisions[:10]); len(few) != 0 {
		t.Errorf("%d of 10 superfluous", len(few))
	}
}

func TestConfigRefs(t *testing.T) {
	template := decode[corev1.PodTemplateSpec](t, `
spec:
  initContainers:
  - {name: init, envFrom: [{secretRef: {name: s-init}}]}
  containers:
  - name: app
    envFrom: [{configMapRef: {name: c-from}}]
    env:
    - {name: A, value: b}
    - {name: C, valueFrom: {configMapKeyRef: {name: c-env, key: k}}}
    - {name: S, valueFrom: {secretKeyRef: {name: s-env, key: k}}}
    - {name: F, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  volumes:
  - {name: a, configMap: {name: c-from}}
  - {name: b, secret: {secretName: s-vol}}
  - {name: c, projected: {sources: [{configMap: {name: c-proj}}, {secret: {name: s-proj}}, {serviceAccountToken: {path: t}}]}}
  - {name: d, emptyDir: {}}
`)
	want := []Ref{{"ConfigMap", "c-env"}, {"ConfigMap", "c-from"}, {"ConfigMap", "c-proj"},
		{"Secret", "s-env"}, {"Secret", "s-init"}, {"Secret", "s-proj"}, {"Secret", "s-vol"}}
	if diff := cmp.Diff(want, ConfigRefs(&template)); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
}

func TestConfigDigest(t *testing.T) {
	a, b := Ref{"ConfigMap", "a"}, Ref{"Secret", "b"}
	base := map[Ref]map[string][]byte{a: {"k": []byte("v"), "l": []byte("w")}, b: nil}
	same := ConfigDigest(base)
	if again := ConfigDigest(map[Ref]map[string][]byte{b: nil, a: {"l": []byte("w"), "k": []byte("v")}}); again != same {
		t.Errorf("the same data gives %s and %s", same, again)
	}
	if ConfigDigest(nil) != "" {
		t.Error("no data has a digest")
	}
	for name, other := range map[string]map[Ref]map[string][]byte{
		"another value":          {a: {"k": []byte("x"), "l": []byte("w")}, b: nil},
		"another key":            {a: {"k": []byte("v"), "m": []byte("w")}, b: nil},
		"a boundary moved":       {a: {"kv": []byte(""), "l": []byte("w")}, b: nil},
		"an empty one, not none": {a: {"k": []byte("v"), "l": []byte("w")}, b: {}},
		"a value elsewhere":      {a: {"k": []byte("v")}, b: {"l": []byte("w")}},
	} {
		if ConfigDigest(other) == same {
			t.Errorf("%s has the same digest", name)
		}
	}
	cm := &corev1.ConfigMap{Data: map[string]string{"k": "v"}, BinaryData: map[string][]byte{"b": {1}}}
	if diff := cmp.Diff(map[string][]byte{"k": []byte("v"), "b": {1}}, ConfigMapData(cm)); diff != "" {
		t.Errorf("data of a ConfigMap (-want +got):\n%s", diff)
	}
}
