// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

func TestAccepted(t *testing.T) {
	clients := clientsOf(t, shared.Namespace(t))
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			object := changed(t, test.change)
			if err := try(t, clients[object.GetKind()], object); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	clients := clientsOf(t, shared.Namespace(t))
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			object := changed(t, test.change)
			err := try(t, clients[object.GetKind()], object)
			if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
				t.Fatalf("want it refused as invalid, got: %v", err)
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error says\n  %v\nand not\n  %s", err, part)
				}
			}
		})
	}
}

// Every rule in CEL is known by its message. A rule that no case breaks is a rule that may not work.
func TestEveryRuleIsTested(t *testing.T) {
	said := map[string]bool{immutableTarget: true}
	for _, test := range refused {
		for _, part := range test.says {
			said[part] = true
		}
	}
	rules := 0
	walkAll(t, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		for _, rule := range schema.XValidations {
			rules++
			if !said[rule.Message] {
				t.Errorf("no case breaks the rule of %s: %s", path, rule.Message)
			}
		}
	})
	if rules < 20 {
		t.Errorf("found only %d rules: does this test still look at the right place?", rules)
	}
}

// walkAll visits the schemas of both kinds.
func walkAll(t *testing.T, visit func(path string, schema *apiextensionsv1.JSONSchemaProps)) {
	t.Helper()
	for _, kind := range []string{"queuescalers", "queueservers"} {
		data, err := os.ReadFile("../../config/crd/bases/capacity.queuescaler.io_" + kind + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			t.Fatal(err)
		}
		walk(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, "", visit)
	}
}

// walk visits a schema and all below it.
func walk(schema *apiextensionsv1.JSONSchemaProps, path string, visit func(string, *apiextensionsv1.JSONSchemaProps)) {
	visit(path, schema)
	for name, property := range schema.Properties {
		walk(&property, strings.TrimPrefix(path+"."+name, "."), visit)
	}
	if schema.Items != nil {
		walk(schema.Items.Schema, path+"[]", visit)
	}
}

func TestEveryFieldIsDescribedAndBounded(t *testing.T) {
	walkAll(t, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		if schema.Description == "" && path != "metadata" && !strings.HasSuffix(path, "[]") {
			t.Errorf("%s has no description", path)
		}
		if path == "" || !strings.HasPrefix(path, "spec") && !strings.HasPrefix(path, "status") || strings.HasPrefix(path, "status.conditions[]") {
			return // the object's own fields and metav1.Condition have the bounds of the API machinery
		}
		switch schema.Type {
		case "string":
			if schema.MaxLength == nil && len(schema.Enum) == 0 && schema.Format != "date-time" {
				t.Errorf("%s may be of any length", path)
			}
		case "array":
			if schema.MaxItems == nil || schema.XListType == nil {
				t.Errorf("%s may have any number of items, or its merge is not defined", path)
			}
		case "integer":
			if schema.Minimum == nil {
				t.Errorf("%s has no minimum", path)
			}
		case "number":
			t.Errorf("%s is a floating-point number", path)
		}
	})
}

func TestDefaultsAreVisible(t *testing.T) {
	client := queueScalers(t, shared.Namespace(t))
	object := changed(t, "spec: {standby: {replicas: 1, gate: File}, fallback: {minReplicas: 2}}")
	stored, err := client.Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `
scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: worker}
minReplicas: 1
maxReplicas: 10
queues:
- name: jobs
  weight: 1
  natsJetStream: {url: "nats://nats.chat:4222", stream: JOBS, consumer: workers}
objective: {drain: {seconds: 60, targetUtilizationPercent: 80, concurrency: 1, calibrate: Auto}}
standby: {replicas: 1, gate: File, drainSeconds: 0, knownGoodReplicas: 1}
rollout: {policy: Hold, lending: Allow, holdTimeoutSeconds: 600, soakSeconds: 600, onRegression: Advise}
fallback: {afterSeconds: 120, minReplicas: 2}
mode: Active
`)
	got, err := yaml.Marshal(stored.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, parse(t, string(got))); diff != "" {
		t.Errorf("what is stored (-want +got):\n%s", diff)
	}
}

const immutableTarget = "scaleTargetRef cannot be changed; delete this QueueScaler and create another for the new target"

func TestTargetIsImmutable(t *testing.T) {
	client := queueScalers(t, shared.Namespace(t))
	if _, err := client.Create(t.Context(), changed(t, "{}"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := func(body string) error {
		_, err := client.Patch(t.Context(), "worker", types.MergePatchType, []byte(body), metav1.PatchOptions{})
		return err
	}
	err := patch(`{"spec":{"scaleTargetRef":{"name":"other"}}}`)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), immutableTarget) {
		t.Errorf("another target: %v", err)
	}
	if err := patch(`{"spec":{"scaleTargetRef":{"name":"worker","kind":"Deployment"},"maxReplicas":20}}`); err != nil {
		t.Errorf("the same target and another maxReplicas: %v", err)
	}
}
