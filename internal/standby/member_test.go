// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
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
