// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// FuzzTemplate makes slots of arbitrary pod templates amid arbitrary objects: garbage with all fields set, and selectors of
// few labels, so that they meet. Its seeds alone are 300 templates.
func FuzzTemplate(f *testing.F) {
	for seed := range int64(300) {
		f.Add(seed, byte(seed%3), seed%5 == 0)
	}
	f.Fuzz(func(t *testing.T, seed int64, gate byte, override bool) {
		filler := randfill.NewWithSeed(seed).NilChance(0.6).NumElements(0, 3).MaxDepth(12).Funcs(
			func(s *map[string]string, c randfill.Continue) {
				*s = map[string]string{}
				for range c.Intn(4) {
					(*s)[word(c)] = word(c)
				}
			},
			func(r *metav1.LabelSelectorRequirement, c randfill.Continue) {
				r.Key = word(c)
				r.Operator = metav1.LabelSelectorOperator([]string{"In", "NotIn", "Exists", "DoesNotExist", "garbage"}[c.Intn(5)])
				if c.Bool() {
					r.Values = []string{word(c)}
				}
			},
			func(r *corev1.ObjectFieldSelector, c randfill.Continue) {
				r.FieldPath = []string{"metadata.labels", "metadata.labels['a']", "metadata.labels['", "metadata.labels['pod-template-hash']", "spec.nodeName"}[c.Intn(5)]
			},
		)
		in := TemplateInput{Namespace: "chat", Scaler: "availability", Gate: v1alpha1.GateService, Revision: "6d5f8c", Template: &corev1.PodTemplateSpec{}}
		filler.Fill(in.Template)
		filler.Fill(&in.Surroundings.ClaimModes)
		in.Surroundings.Services, in.Surroundings.Budgets, in.Surroundings.NetworkPolicies = make([]corev1.Service, 3), make([]policyv1.PodDisruptionBudget, 2), make([]networkingv1.NetworkPolicy, 2)
		for i := range in.Surroundings.Services {
			filler.Fill(&in.Surroundings.Services[i])
		}
		for i := range in.Surroundings.Budgets {
			filler.Fill(&in.Surroundings.Budgets[i])
			filler.Fill(&in.Surroundings.NetworkPolicies[i])
		}
		// Most garbage is refused for the same few reasons; without them more is rewritten.
		in.Template.Spec.ReadinessGates, in.Template.Spec.HostNetwork = nil, false
		switch gate % 3 {
		case 1:
			in.Gate, in.GateImage = v1alpha1.GatePrepared, "queuescaler:1"
		case 2:
			in.Gate = v1alpha1.GateFile
			in.Template.Annotations = maps.Clone(in.Template.Annotations)
			if in.Template.Annotations == nil {
				in.Template.Annotations = map[string]string{}
			}
			in.Template.Annotations[v1alpha1.AnnotationGate] = "file"
		}
		if override {
			in.WithholdLabels = []string{"a", "b"}
		}
		before := in.Template.DeepCopy()
		slot, refusal := Template(in)
		if (slot == nil) == (refusal == nil) {
			t.Fatal("neither a template nor a refusal, or both")
		}
		if diff := cmp.Diff(before, in.Template); diff != "" {
			t.Fatalf("the input was changed:\n%s", diff)
		}
		if refusal != nil {
			if refusal.Reason == "" || refusal.Message == "" {
				t.Fatalf("refused with %+v", refusal)
			}
			return
		}
		assertIdleLabels(t, &in, slot)
		if again, _ := Template(in); again == nil || again.Digest != slot.Digest {
			t.Fatal("the same input gave another digest")
		}
		ConfigRefs(&slot.Template)
	})
}

// word is one of few, so that selectors and labels meet.
func word(c randfill.Continue) string {
	return []string{"a", "b", "c", "d", "pod-template-hash", v1alpha1.LabelServing, v1alpha1.LabelRole, "true"}[c.Intn(8)]
}

func BenchmarkTemplate(b *testing.B) {
	in := TemplateInput{Namespace: "chat", Scaler: "availability", Gate: v1alpha1.GateService, Revision: "6d5f8c", Template: &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "tier": "front", "pod-template-hash": "6d5f8c"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app", Env: make([]corev1.EnvVar, 20)}}},
	}}
	for _, name := range []string{"app", "tier", "other", "more"} {
		in.Surroundings.Services = append(in.Surroundings.Services, corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{name: "web"}}})
	}
	for b.Loop() {
		if _, refusal := Template(in); refusal != nil {
			b.Fatal(refusal)
		}
	}
}

func BenchmarkPlanAtRest(b *testing.B) {
	in, warm := aPool()
	slots := []Slot{named(warm, "a", nil), named(warm, "b", nil), named(warm, "c", nil)}
	for b.Loop() {
		if plan := Plan(noon, in, slots); len(plan.Actions) > 0 {
			b.Fatal(plan)
		}
	}
}
