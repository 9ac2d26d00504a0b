// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	slots "github.com/queuescaler/queuescaler/internal/standby"
)

const (
	hardened   = "allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}"
	nonRoot    = "runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}"
	guaranteed = "resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}"
)

// A slot of gate Prepared is admitted where the target's pods are, and has their QoS class. The API server says both.
func TestPreparedPodsAreAdmittedAsTheirTargets(t *testing.T) {
	clients, err := kubernetes.NewForConfig(shared.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	namespace := warningNamespace(t)
	for _, test := range []struct {
		name, spec string
		refused    bool
		qos        corev1.PodQOSClass
	}{
		{"as the pod says", "{securityContext: {" + nonRoot + "}, containers: [{name: app, image: a, securityContext: {" + hardened + "}}]}",
			false, corev1.PodQOSBestEffort},
		{"as each container says", "containers: [{name: app, image: a, " + guaranteed + ", securityContext: {" + nonRoot + ", " + hardened + "}}]",
			false, corev1.PodQOSGuaranteed},
		{"with init containers and sidecars", "{securityContext: {" + nonRoot + ", runAsUser: 1000, fsGroup: 2000}, initContainers: [" +
			"{name: init, image: b, " + guaranteed + ", securityContext: {" + hardened + "}}," +
			"{name: proxy, image: c, restartPolicy: Always, " + guaranteed + ", securityContext: {" + hardened + "}}]," +
			"containers: [{name: app, image: a, " + guaranteed + ", securityContext: {" + hardened + ", readOnlyRootFilesystem: true}}," +
			"{name: side, image: d, " + guaranteed + ", securityContext: {" + hardened + "}}]}", false, corev1.PodQOSGuaranteed},
		{"of which one requests something", "{securityContext: {" + nonRoot + "}, containers: [{name: app, image: a, securityContext: {" + hardened + "}}," +
			"{name: side, image: b, resources: {requests: {cpu: 10m}}, securityContext: {" + hardened + "}}]}", false, corev1.PodQOSBurstable},
		{"that may be root", "containers: [{name: app, image: a, securityContext: {" + hardened + "}}]", true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			template := corev1.PodTemplateSpec{}
			if err := yaml.UnmarshalStrict([]byte(test.spec), &template.Spec); err != nil {
				t.Fatal(err)
			}
			slot, refusal := slots.Template(slots.TemplateInput{
				Namespace: namespace, Scaler: "worker", Gate: capacityv1alpha1.GatePrepared, GateImage: "queuescaler", Revision: "6d5f8c", Template: &template,
			})
			if refusal != nil {
				t.Fatal(refusal.Message)
			}
			for name, spec := range map[string]corev1.PodSpec{"target": template.Spec, "slot": slot.Template.Spec} {
				made, err := clients.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec},
					metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
				switch {
				case test.refused:
					if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
						t.Errorf("%s: want it refused by the restricted level, got %v", name, err)
					}
				case err != nil:
					t.Errorf("%s: %v", name, err)
				case made.Status.QOSClass != test.qos:
					t.Errorf("%s: QoS class %s, want %s", name, made.Status.QOSClass, test.qos)
				}
			}
		})
	}
}
