// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

func TestFixedGroupInstanceIsDropped(t *testing.T) {
	in := TemplateInput{Namespace: "chat", Scaler: "billing", Gate: v1alpha1.GateFile, Revision: "6d5f8c"}
	template := decode[corev1.PodTemplateSpec](t, `
metadata:
  labels: {app: billing}
  annotations: {capacity.queuescaler.io/gate: file}
spec:
  initContainers:
  - {name: check, image: check, env: [{name: GROUP_INSTANCE_ID, value: billing-1}]}
  containers:
  - name: worker
    image: worker
    command: [java, -Dgroup.instance.id=billing-1, -Dspring.kafka.consumer.properties.group.instance.id=$(POD_NAME), -jar, app.jar]
    args: [--spring.kafka.consumer.properties.group-instance-id=billing-1, --group.id=billing, "say group.instance.id=1", group.instance.id]
    env:
    - {name: KAFKA_GROUP_ID, value: billing}
    - {name: KAFKA_GROUP_INSTANCE_ID, value: billing-1}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: SPRING_KAFKA_CONSUMER_PROPERTIES_GROUP_INSTANCE_ID, valueFrom: {configMapKeyRef: {name: kafka, key: instance}}}
    - {name: APP_KAFKA_GROUPINSTANCEID, value: billing-$(POD_NAME)}
    - {name: OTHER_GROUP_INSTANCE_ID, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
`)
	in.Template = &template
	before := template.DeepCopy()
	slot, refusal := Template(in)
	if refusal != nil {
		t.Fatal(refusal.Message)
	}
	var got []string
	for _, c := range allContainers(&slot.Template.Spec) {
		for _, e := range c.Env {
			got = append(got, e.Name)
		}
		got = append(append(got, c.Command...), c.Args...)
	}
	want := []string{
		"KAFKA_GROUP_ID", "POD_NAME", "APP_KAFKA_GROUPINSTANCEID", "OTHER_GROUP_INSTANCE_ID",
		"java", "-Dspring.kafka.consumer.properties.group.instance.id=$(POD_NAME)", "-jar", "app.jar",
		"--group.id=billing", "say group.instance.id=1", "group.instance.id",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("of environment and arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, &template); diff != "" {
		t.Errorf("the target's template was changed:\n%s", diff)
	}
}

// What a value refers to is looked at: only the pod's own fields make an id of its own. An argument that names a variable which is dropped
// goes with it, or it would be the same text for all slots.
func TestGroupInstanceOfOtherVariables(t *testing.T) {
	fixed := func(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }
	pod := corev1.EnvVar{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}
	secret := corev1.EnvVar{Name: "ID", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "id"}}}
	const id, arg = "GROUP_INSTANCE_ID", "--group.instance.id=$(GROUP_INSTANCE_ID)"
	for _, c := range []struct {
		name  string
		env   []corev1.EnvVar
		stays bool
	}{
		{"fixed", []corev1.EnvVar{fixed(id, "a")}, false},
		{"fixed by another", []corev1.EnvVar{fixed("ID", "a"), fixed(id, "$(ID)")}, false},
		{"of a Secret", []corev1.EnvVar{secret, fixed(id, "$(ID)")}, false},
		{"of nothing", []corev1.EnvVar{fixed(id, "$(ELSEWHERE)")}, false},
		{"of itself", []corev1.EnvVar{fixed(id, "$("+id+")")}, false},
		{"escaped", []corev1.EnvVar{pod, fixed(id, "$$(POD_NAME)")}, false},
		{"of a later one, which the kubelet leaves as it is", []corev1.EnvVar{fixed(id, "$(POD_NAME)"), pod}, false},
		{"fixed in the end", []corev1.EnvVar{pod, fixed(id, "$(POD_NAME)"), fixed(id, "a")}, false},
		{"the pod's", []corev1.EnvVar{pod, fixed(id, "$(POD_NAME)")}, true},
		{"the pod's by others", []corev1.EnvVar{pod, fixed("A", "$(POD_NAME)"), fixed("B", "b$$$(A)"), fixed(id, "$(ID)$(B)")}, true},
	} {
		spec := &corev1.PodSpec{Containers: []corev1.Container{{Env: c.env, Args: []string{arg}}}}
		dropGroupInstance(spec)
		container := &spec.Containers[0]
		has := slices.ContainsFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == id })
		if has != c.stays || (len(container.Args) > 0) != c.stays {
			t.Errorf("%s: variables %v, arguments %v", c.name, container.Env, container.Args)
		}
	}
}
