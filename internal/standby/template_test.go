// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// object is any of those that are passed to slots' templates.
func surroundings(t *testing.T, objects ...string) Surroundings {
	t.Helper()
	var s Surroundings
	for _, text := range objects {
		switch kind := decode[map[string]any](t, text)["kind"]; kind {
		case "Service":
			s.Services = append(s.Services, decode[corev1.Service](t, text))
		case "PodDisruptionBudget":
			s.Budgets = append(s.Budgets, decode[policyv1.PodDisruptionBudget](t, text))
		case "NetworkPolicy":
			s.NetworkPolicies = append(s.NetworkPolicies, decode[networkingv1.NetworkPolicy](t, text))
		default:
			t.Fatalf("unknown kind %v", kind)
		}
	}
	return s
}

func service(name, selector string) string {
	return fmt.Sprintf("{kind: Service, metadata: {name: %s}, spec: {selector: %s}}", name, selector)
}

func budget(name, selector string) string {
	return fmt.Sprintf("{kind: PodDisruptionBudget, metadata: {name: %s}, spec: {selector: %s}}", name, selector)
}

func policy(name, spec string) string {
	return fmt.Sprintf("{kind: NetworkPolicy, metadata: {name: %s, namespace: chat}, spec: %s}", name, spec)
}

const twoLabels = "{app: web, tier: front}"

func templateInput(t *testing.T, template string) TemplateInput {
	t.Helper()
	pod := decode[corev1.PodTemplateSpec](t, template)
	return TemplateInput{
		Namespace: "chat", Scaler: "availability", Gate: v1alpha1.GateService, Revision: "6d5f8c", Template: &pod,
	}
}

func withLabels(labels string) string {
	return fmt.Sprintf("{metadata: {labels: %s}, spec: {containers: [{name: app, image: app}]}}", labels)
}

func TestWithheldLabels(t *testing.T) {
	serving := "{app: web, capacity.queuescaler.io/serving: 'true'}"
	for _, test := range []struct {
		name     string
		labels   string
		gate     v1alpha1.Gate
		override []string
		objects  []string
		want     string // keys, or reason
	}{
		{name: "nothing selects", want: ""},
		{name: "one Service", objects: []string{service("s", "{app: web}")}, want: "app"},
		{name: "a Service of others", objects: []string{service("s", "{app: other}")}, want: ""},
		{name: "a Service without selector", objects: []string{service("s", "{}")}, want: ""},
		{name: "an ExternalName Service", objects: []string{
			"{kind: Service, metadata: {name: s}, spec: {type: ExternalName, selector: {app: web}}}"}, want: ""},
		{name: "one label for two Services", objects: []string{service("a", "{app: web, tier: front}"), service("b", "{tier: front}")}, want: "tier"},
		{name: "the first of equals", objects: []string{service("a", twoLabels)}, want: "app"},
		{name: "two Services need two", objects: []string{service("a", "{app: web}"), service("b", "{tier: front}")}, want: "app tier"},
		{name: "Service and budget", objects: []string{service("a", twoLabels), budget("b", "{matchLabels: {tier: front}}")}, want: "tier"},
		{name: "a budget by expression", objects: []string{budget("b", "{matchExpressions: [{key: app, operator: Exists}]}")}, want: "app"},
		{name: "gate File ignores Services", gate: v1alpha1.GateFile, objects: []string{service("metrics", "{app: web}")}, want: ""},
		{name: "gate File heeds budgets", gate: v1alpha1.GateFile, objects: []string{
			service("metrics", "{app: web}"), budget("b", "{matchLabels: {tier: front}}")}, want: "tier"},
		{name: "gate Prepared ignores Services", gate: v1alpha1.GatePrepared, objects: []string{service("metrics", "{app: web}")}, want: ""},
		{name: "gate Prepared heeds budgets", gate: v1alpha1.GatePrepared, objects: []string{
			service("metrics", "{app: web}"), budget("b", "{matchLabels: {tier: front}}")}, want: "tier"},
		{name: "a budget of idle slots aware", objects: []string{
			budget("b", "{matchLabels: {app: web}, matchExpressions: [{key: capacity.queuescaler.io/role, operator: NotIn, values: [standby]}]}")}, want: ""},
		{name: "a budget with null selector", objects: []string{"{kind: PodDisruptionBudget, metadata: {name: b}, spec: {}}"}, want: ""},
		{name: "a budget with empty selector", objects: []string{budget("b", "{}")}, want: v1alpha1.ReasonNothingToWithhold},
		{name: "a budget over what lacks a label", objects: []string{
			budget("b", "{matchExpressions: [{key: batch, operator: DoesNotExist}]}")}, want: v1alpha1.ReasonNothingToWithhold},
		{name: "withholding exposes to another budget", objects: []string{
			service("a", twoLabels), budget("b", "{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}")}, want: "tier"},
		{name: "a Service over slots", objects: []string{service("s", "{capacity.queuescaler.io/queuescaler: availability}")}, want: v1alpha1.ReasonNothingToWithhold},

		{name: "the serving label alone", labels: serving, objects: []string{
			service("s", "{app: web, capacity.queuescaler.io/serving: 'true'}")}, want: v1alpha1.LabelServing},
		{name: "the serving label, not selected on", labels: serving, objects: []string{service("s", "{app: web}")}, want: v1alpha1.ReasonNothingToWithhold},
		{name: "the serving label with gate File", labels: serving, gate: v1alpha1.GateFile, want: v1alpha1.LabelServing},
		{name: "override", override: []string{"tier", "app", "absent"}, objects: []string{service("a", "{app: web}")}, want: "app tier"},
		{name: "override over the serving label", labels: serving, override: []string{"app"}, objects: []string{service("a", "{app: web}")}, want: "app"},
		{name: "override that does not do", override: []string{"tier"}, objects: []string{service("a", "{app: web}")}, want: v1alpha1.ReasonNothingToWithhold},
		{name: "override with our own label", override: []string{v1alpha1.LabelSlot}, want: ""},

		{name: "subject of a NetworkPolicy", objects: []string{
			service("a", "{app: web}"), policy("isolate", "{podSelector: {matchLabels: {app: web}}}")}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
		{name: "subject by expression", objects: []string{
			service("a", "{app: web}"), policy("isolate", "{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, api]}]}}")}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
		{name: "another label avoids the NetworkPolicy", objects: []string{
			service("a", twoLabels), policy("isolate", "{podSelector: {matchLabels: {app: web}}}")}, want: "tier"},
		{name: "a NetworkPolicy over others", objects: []string{
			service("a", "{app: web}"), policy("other", "{podSelector: {matchLabels: {app: db}}}")}, want: "app"},
		{name: "a NetworkPolicy over all", objects: []string{
			service("a", "{app: web}"), policy("all", "{podSelector: {}}")}, want: "app"},
		{name: "ingress peer", objects: []string{service("a", "{app: web}"),
			policy("db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}")}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
		{name: "egress peer", objects: []string{service("a", "{app: web}"),
			policy("proxy", "{podSelector: {matchLabels: {app: proxy}}, egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}")}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
		{name: "peer of another namespace by name", objects: []string{service("a", "{app: web}"),
			policy("db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}, podSelector: {matchLabels: {app: web}}}]}]}")}, want: "app"},
		{name: "peer of unknown namespaces", objects: []string{service("a", "{app: web}"),
			policy("db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: web}}}]}]}")}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
		{name: "another namespace's NetworkPolicy names us as peer", objects: []string{service("a", "{app: web}"),
			"{kind: NetworkPolicy, metadata: {name: redis, namespace: data}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: chat}}, podSelector: {matchLabels: {app: web}}}]}]}}"}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
		{name: "another namespace's own subject", objects: []string{service("a", "{app: web}"),
			"{kind: NetworkPolicy, metadata: {name: redis, namespace: data}, spec: {podSelector: {matchLabels: {app: web}}}}"}, want: "app"},
		{name: "the serving label avoids the NetworkPolicy", labels: serving, objects: []string{
			service("s", "{app: web, capacity.queuescaler.io/serving: 'true'}"), policy("isolate", "{podSelector: {matchLabels: {app: web}}}")}, want: v1alpha1.LabelServing},
		{name: "override into a NetworkPolicy", override: []string{"app"}, objects: []string{
			policy("isolate", "{podSelector: {matchLabels: {app: web}}}")}, want: v1alpha1.ReasonNetworkPolicySelectsLabel},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.labels == "" {
				test.labels = "{app: web, tier: front, pod-template-hash: 6d5f8c}"
			}
			in := templateInput(t, withLabels(test.labels))
			in.Template.Annotations = map[string]string{v1alpha1.AnnotationGate: "file"}
			in.WithholdLabels, in.Surroundings = test.override, surroundings(t, test.objects...)
			if test.gate != "" {
				in.Gate, in.GateImage = test.gate, "queuescaler:1"
			}
			slot, refusal := Template(in)
			got := ""
			if refusal != nil {
				got = refusal.Reason
				if len(refusal.Message) < 40 {
					t.Errorf("a refusal needs a message with a remedy: %q", refusal.Message)
				}
			} else {
				got = strings.Join(slices.Sorted(maps.Keys(slot.OnLend.Labels)), " ")
				assertIdleLabels(t, &in, slot)
			}
			if got != test.want {
				t.Errorf("withheld %q, want %q (%+v)", got, test.want, refusal)
			}
		})
	}
}

// assertIdleLabels checks what must be so of every slot: idle it is found by nothing it should not be found by; lent it
// has all labels of the target.
func assertIdleLabels(t *testing.T, in *TemplateInput, slot *SlotTemplate) {
	t.Helper()
	idle := labels.Set(slot.Template.Labels)
	if _, has := idle["pod-template-hash"]; has {
		t.Error("the target's ReplicaSet would adopt a slot with pod-template-hash")
	}
	for key, want := range map[string]string{
		v1alpha1.LabelScaler: in.Scaler, v1alpha1.LabelRole: v1alpha1.RoleStandby, v1alpha1.LabelRevision: in.Revision,
	} {
		if idle[key] != want {
			t.Errorf("label %s is %q, want %q", key, idle[key], want)
		}
	}
	for _, s := range in.Surroundings.Services {
		if in.Gate == v1alpha1.GateService && selects(&s) && labels.SelectorFromSet(s.Spec.Selector).Matches(idle) {
			t.Errorf("Service %s selects an idle slot", s.Name)
		}
	}
	for _, b := range in.Surroundings.Budgets {
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(idle) {
			t.Errorf("PodDisruptionBudget %s selects an idle slot", b.Name)
		}
	}
	lent := maps.Clone(idle)
	maps.Copy(lent, slot.OnLend.Labels)
	for k, v := range in.Template.Labels {
		if k != "pod-template-hash" && !ours(k) && lent[k] != v {
			t.Errorf("a lent slot has %s=%q, the target %q", k, lent[k], v)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name, spec string
		gate       v1alpha1.Gate
		undeclared bool
		noImage    bool
		modes      map[string][]corev1.PersistentVolumeAccessMode
		reason     string // empty: suitable
		says       string
	}{
		{name: "plain", spec: "containers: [{name: app}]"},
		{name: "plain with gate File", gate: v1alpha1.GateFile, spec: "containers: [{name: app}]"},
		{name: "gate File not declared", gate: v1alpha1.GateFile, undeclared: true, spec: "containers: [{name: app}]",
			reason: v1alpha1.ReasonGateNotDeclared, says: "capacity.queuescaler.io/gate: file"},
		{name: "readiness gate", spec: "{containers: [{name: app}], readinessGates: [{conditionType: lb}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "readiness gate lb"},
		{name: "host port", spec: "containers: [{name: app, ports: [{containerPort: 80, hostPort: 80}]}]",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "hostPort 80"},
		{name: "host port of a sidecar", spec: "{containers: [{name: app}], initContainers: [{name: proxy, restartPolicy: Always, ports: [{containerPort: 81, hostPort: 81}]}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "container proxy"},
		{name: "host network", spec: "{containers: [{name: app}], hostNetwork: true}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "hostNetwork"},
		{name: "ReadWriteOnce", spec: "{containers: [{name: app}], volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]}",
			modes:  map[string][]corev1.PersistentVolumeAccessMode{"c": {corev1.ReadWriteOnce}},
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "ReadWriteOnce"},
		{name: "ReadWriteOncePod", spec: "{containers: [{name: app}], volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]}",
			modes:  map[string][]corev1.PersistentVolumeAccessMode{"c": {corev1.ReadWriteOncePod}},
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "ReadWriteOncePod"},
		{name: "ReadWriteMany", spec: "{containers: [{name: app}], volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]}",
			modes: map[string][]corev1.PersistentVolumeAccessMode{"c": {corev1.ReadWriteOnce, corev1.ReadWriteMany}}},
		{name: "ReadOnlyMany", spec: "{containers: [{name: app}], volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]}",
			modes: map[string][]corev1.PersistentVolumeAccessMode{"c": {corev1.ReadOnlyMany}}},
		{name: "claim that does not exist", spec: "{containers: [{name: app}], volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "does not exist"},
		{name: "a claim for each pod", spec: "{containers: [{name: app}], volumes: [{name: data, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce]}}}}]}"},
		{name: "volume name collides", gate: v1alpha1.GateFile, spec: "{containers: [{name: app}], volumes: [{name: queuescaler-role, emptyDir: {}}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "Rename"},
		{name: "volume name is free with gate Service", spec: "{containers: [{name: app}], volumes: [{name: other, emptyDir: {}}]}"},
		{name: "mount collides", gate: v1alpha1.GateFile, spec: "containers: [{name: app, volumeMounts: [{name: x, mountPath: /etc/queuescaler/}]}]",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "/etc/queuescaler/"},
		{name: "mount beneath collides", gate: v1alpha1.GateFile, spec: "{containers: [{name: app}], initContainers: [{name: init, volumeMounts: [{name: x, mountPath: /etc/queuescaler/x}]}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "container init"},
		{name: "mount above collides", gate: v1alpha1.GateFile, spec: "containers: [{name: app, volumeMounts: [{name: x, mountPath: /etc}]}]",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "/etc,"},
		{name: "a neighbor does not collide", gate: v1alpha1.GateFile, spec: "containers: [{name: app, volumeMounts: [{name: x, mountPath: /etc/queuescaler-app}]}]"},
		{name: "gate Prepared", gate: v1alpha1.GatePrepared, undeclared: true, spec: "containers: [{name: app, volumeMounts: [{name: x, mountPath: /etc/queuescaler}]}]"},
		{name: "gate Prepared without an image", gate: v1alpha1.GatePrepared, noImage: true, spec: "containers: [{name: app}]",
			reason: v1alpha1.ReasonGateImageMissing, says: "--gate-image"},
		{name: "the gate's volume name collides", gate: v1alpha1.GatePrepared, spec: "{containers: [{name: app}], volumes: [{name: queuescaler-gate, emptyDir: {}}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "volume queuescaler-gate of its own"},
		{name: "the role's volume name collides", gate: v1alpha1.GatePrepared, spec: "{containers: [{name: app}], volumes: [{name: queuescaler-role, emptyDir: {}}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "volume queuescaler-role of its own"},
		{name: "a container's name collides", gate: v1alpha1.GatePrepared, spec: "containers: [{name: queuescaler-wait}]",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "container queuescaler-wait of its own"},
		{name: "an init container's name collides", gate: v1alpha1.GatePrepared, spec: "{containers: [{name: app}], initContainers: [{name: queuescaler-pulled-7}]}",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "Rename"},
		{name: "no container to wait in", gate: v1alpha1.GatePrepared, spec: "containers: []",
			reason: v1alpha1.ReasonTemplateUnsuitable, says: "no container"},
		{name: "mounts with gate Service", spec: "containers: [{name: app, volumeMounts: [{name: x, mountPath: /etc/queuescaler}]}]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := test.spec
			if !strings.HasPrefix(spec, "{") {
				spec = "{" + spec + "}"
			}
			in := templateInput(t, "{metadata: {labels: {app: web}, annotations: {capacity.queuescaler.io/gate: file}}, spec: "+spec+"}")
			if test.undeclared {
				in.Template.Annotations = nil
			}
			if test.gate != "" {
				in.Gate = test.gate
			}
			if !test.noImage {
				in.GateImage = "queuescaler:1"
			}
			in.Surroundings.ClaimModes = test.modes
			_, refusal := Template(in)
			if refusal == nil {
				refusal = &Refusal{}
			}
			if refusal.Reason != test.reason || !strings.Contains(refusal.Message, test.says) {
				t.Errorf("refused %+v, want %s saying %q", refusal, test.reason, test.says)
			}
		})
	}
}

// TestRewrites compares whole templates, so that nothing is rewritten that was not meant to be.
func TestRewrites(t *testing.T) {
	selectsApp := "labelSelector: {matchLabels: {app: web}}"
	slots := "labelSelector: {matchLabels: {capacity.queuescaler.io/queuescaler: availability}}"
	for _, test := range []struct {
		name, spec, want string
		labels           string
	}{
		{
			name: "preferred anti-affinity gets a second term",
			spec: "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 5, podAffinityTerm: {topologyKey: node, " + selectsApp + "}}]}}",
			want: "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 5, podAffinityTerm: {topologyKey: node, " + selectsApp + "}}, {weight: 5, podAffinityTerm: {topologyKey: node, " + slots + "}}]}}",
		},
		{
			name: "required anti-affinity becomes preferred",
			spec: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, " + selectsApp + "}]}}",
			want: "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: {topologyKey: node, " + selectsApp + "}}, {weight: 100, podAffinityTerm: {topologyKey: node, " + slots + "}}]}}",
		},
		{
			name: "required anti-affinity that selects slots already becomes preferred",
			spec: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, labelSelector: {matchLabels: {tier: front}}}]}}",
			want: "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: {topologyKey: node, labelSelector: {matchLabels: {tier: front}}}}]}}",
		},
		{
			name: "anti-affinity towards others stays required",
			spec: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, labelSelector: {matchLabels: {app: db}}}]}}",
			want: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, labelSelector: {matchLabels: {app: db}}}]}}",
		},
		{
			name: "anti-affinity towards another namespace stays required",
			spec: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, namespaces: [ops], " + selectsApp + "}]}}",
			want: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, namespaces: [ops], " + selectsApp + "}]}}",
		},
		{
			name: "required affinity to the target becomes preferred",
			spec: "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, " + selectsApp + "}, {topologyKey: zone, labelSelector: {matchLabels: {app: db}}}]}}",
			want: "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {app: db}}}], preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: {topologyKey: zone, " + selectsApp + "}}, {weight: 100, podAffinityTerm: {topologyKey: zone, " + slots + "}}]}}",
		},
		{
			name: "required affinity that selects slots already stays",
			spec: "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {tier: front}}}]}}",
			want: "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {tier: front}}}]}}",
		},
		{
			name: "pod-template-hash among matchLabelKeys goes",
			spec: "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: node, matchLabelKeys: [pod-template-hash], labelSelector: {matchLabels: {tier: front}}}]}}",
			want: "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: {topologyKey: node, matchLabelKeys: [], labelSelector: {matchLabels: {tier: front}}}}]}}",
		},
		{
			name: "pod-template-hash among mismatchLabelKeys is written out",
			spec: "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: node, mismatchLabelKeys: [pod-template-hash], labelSelector: {matchLabels: {tier: front}}}}]}}",
			want: "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: node, mismatchLabelKeys: [], labelSelector: {matchLabels: {tier: front}, matchExpressions: [{key: pod-template-hash, operator: NotIn, values: [6d5f8c]}, {key: capacity.queuescaler.io/revision, operator: NotIn, values: [6d5f8c]}]}}}]}}",
		},
		{
			name: "spread over what is left of the selector",
			spec: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash], labelSelector: {matchLabels: {app: web, tier: front}}}]",
			want: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [], labelSelector: {matchLabels: {tier: front}}}]",
		},
		{
			name: "spread of slots among themselves",
			spec: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, " + selectsApp + "}]",
			want: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, " + slots + "}]",
		},
		{
			name: "spread that selects slots already",
			spec: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {tier: front}}}]",
			want: "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {tier: front}}}]",
		},
		{
			name: "withheld labels in the environment become literals",
			spec: `
containers:
- name: app
  env:
  - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
  - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
  - {name: HASH, valueFrom: {fieldRef: {fieldPath: "metadata.labels['pod-template-hash']"}}}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
initContainers:
- name: init
  env: [{name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}]
`,
			want: `
containers:
- name: app
  env:
  - {name: APP, value: web}
  - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
  - {name: HASH, value: 6d5f8c}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
initContainers:
- name: init
  env: [{name: APP, value: web}]
`,
		},
		{
			name: "withheld labels in files become annotations",
			spec: `
volumes:
- name: info
  downwardAPI:
    items:
    - {path: app, fieldRef: {fieldPath: "metadata.labels['app']"}}
    - {path: tier, fieldRef: {fieldPath: "metadata.labels['tier']"}}
- name: all
  projected: {sources: [{downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]}
`,
			want: `
volumes:
- name: info
  downwardAPI:
    items:
    - {path: app, fieldRef: {fieldPath: "metadata.annotations['capacity.queuescaler.io/literal-0']"}}
    - {path: tier, fieldRef: {fieldPath: "metadata.labels['tier']"}}
- name: all
  projected: {sources: [{downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: "metadata.annotations['capacity.queuescaler.io/literal-1']"}}]}}]}
`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := templateInput(t, "metadata: {labels: {app: web, tier: front, pod-template-hash: 6d5f8c}}")
			in.Template.Spec = decode[corev1.PodSpec](t, test.spec)
			in.Surroundings = surroundings(t, service("s", "{app: web}"))
			before := in.Template.DeepCopy()
			slot, refusal := Template(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if diff := cmp.Diff(decode[corev1.PodSpec](t, test.want), slot.Template.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, in.Template); diff != "" {
				t.Errorf("the input was changed:\n%s", diff)
			}
		})
	}
}

func TestLiteralsOfFiles(t *testing.T) {
	in := templateInput(t, `
metadata: {labels: {app: web, tier: front, pod-template-hash: 6d5f8c}}
spec:
  containers: [{name: app}]
  volumes: [{name: info, downwardAPI: {items: [
    {path: app, fieldRef: {fieldPath: "metadata.labels['app']"}}, {path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
`)
	in.Surroundings = surroundings(t, service("s", "{app: web}"))
	slot, refusal := Template(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	for key, want := range map[string]string{
		"capacity.queuescaler.io/literal-0": "web",
		"capacity.queuescaler.io/literal-1": "app=\"web\"\npod-template-hash=\"6d5f8c\"\ntier=\"front\"",
	} {
		if got := slot.Template.Annotations[key]; got != want {
			t.Errorf("annotation %s is %q, want %q", key, got, want)
		}
	}
}

func TestRoleFile(t *testing.T) {
	in := templateInput(t, `
metadata: {labels: {app: web}, annotations: {capacity.queuescaler.io/gate: file}}
spec:
  initContainers: [{name: init}, {name: sidecar, restartPolicy: Always}]
  containers: [{name: app, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, emptyDir: {}}]
`)
	in.Gate = v1alpha1.GateFile
	slot, refusal := Template(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	want := decode[corev1.PodSpec](t, `
initContainers:
- {name: init, volumeMounts: [{name: queuescaler-role, mountPath: /etc/queuescaler, readOnly: true}]}
- {name: sidecar, restartPolicy: Always, volumeMounts: [{name: queuescaler-role, mountPath: /etc/queuescaler, readOnly: true}]}
containers:
- {name: app, volumeMounts: [{name: data, mountPath: /data}, {name: queuescaler-role, mountPath: /etc/queuescaler, readOnly: true}]}
volumes:
- {name: data, emptyDir: {}}
- name: queuescaler-role
  downwardAPI: {items: [{path: role, fieldRef: {apiVersion: v1, fieldPath: "metadata.labels['capacity.queuescaler.io/role']"}}]}
`)
	if diff := cmp.Diff(want, slot.Template.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestDisruptionAnnotationsComeWithLending(t *testing.T) {
	for _, test := range []struct {
		annotations string
		kept, held  map[string]string
	}{
		{"{karpenter.sh/do-not-disrupt: 'true', a: b}", map[string]string{"a": "b"}, map[string]string{"karpenter.sh/do-not-disrupt": "true"}},
		{"{cluster-autoscaler.kubernetes.io/safe-to-evict: 'false'}", map[string]string{}, map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}},
		{"{cluster-autoscaler.kubernetes.io/safe-to-evict: 'true'}", map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}, nil},
	} {
		slot, refusal := Template(templateInput(t, "{metadata: {annotations: "+test.annotations+"}, spec: {containers: [{name: app}]}}"))
		if refusal != nil {
			t.Fatal(refusal)
		}
		kept := maps.Clone(slot.Template.Annotations)
		maps.DeleteFunc(kept, func(k, _ string) bool { return ours(k) })
		if diff := cmp.Diff(test.kept, kept); diff != "" {
			t.Errorf("%s kept (-want +got):\n%s", test.annotations, diff)
		}
		if diff := cmp.Diff(test.held, slot.OnLend.Annotations); diff != "" {
			t.Errorf("%s held (-want +got):\n%s", test.annotations, diff)
		}
	}
}

func TestPriorityClass(t *testing.T) {
	in := templateInput(t, "{spec: {priorityClassName: high, priority: 1000, preemptionPolicy: Never, containers: [{name: app}]}}")
	in.PriorityClassName = "low"
	slot, refusal := Template(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if diff := cmp.Diff(decode[corev1.PodSpec](t, "{priorityClassName: low, containers: [{name: app}]}"), slot.Template.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestDigestIsOfWhatIsMade(t *testing.T) {
	base := templateInput(t, withLabels(twoLabels))
	digestOf := func(change func(*TemplateInput)) string {
		in := base
		in.Template = base.Template.DeepCopy()
		change(&in)
		slot, refusal := Template(in)
		if refusal != nil {
			t.Fatal(refusal)
		}
		return slot.Digest
	}
	same := digestOf(func(*TemplateInput) {})
	if again := digestOf(func(*TemplateInput) {}); again != same {
		t.Errorf("digest %s, then %s of the same input", same, again)
	}
	if other := digestOf(func(in *TemplateInput) { in.Surroundings = surroundings(t, service("db", "{app: db}")) }); other != same {
		t.Error("a Service of others changed the digest")
	}
	for name, change := range map[string]func(*TemplateInput){
		"a Service":        func(in *TemplateInput) { in.Surroundings = surroundings(t, service("s", "{app: web}")) },
		"another image":    func(in *TemplateInput) { in.Template.Spec.Containers[0].Image = "app:2" },
		"another revision": func(in *TemplateInput) { in.Revision = "7c9b" },
		"a priority class": func(in *TemplateInput) { in.PriorityClassName = "low" },
		"another gate":     func(in *TemplateInput) { in.Gate, in.GateImage = v1alpha1.GatePrepared, "queuescaler:1" },
		"an annotation that comes with lending": func(in *TemplateInput) {
			in.Template.Annotations = map[string]string{karpenterDoNotDisrupt: "true"}
		},
	} {
		if digestOf(change) == same {
			t.Errorf("%s left the digest as it was", name)
		}
	}
}

func TestWarnsOfAPoolThatNothingGates(t *testing.T) {
	in := templateInput(t, withLabels(twoLabels))
	slot, _ := Template(in)
	if !strings.Contains(slot.Warning, "gate: File") {
		t.Errorf("warning %q, want one that names gate File", slot.Warning)
	}
	in.Surroundings = surroundings(t, service("s", "{app: web}"))
	if slot, _ = Template(in); slot.Warning != "" {
		t.Errorf("warning %q with a Service", slot.Warning)
	}
}

// TestEntangledSelectorsEndInTime: 60 Services with 8 labels each, of which no 8 labels are common: the search gives up.
func TestEntangledSelectorsEndInTime(t *testing.T) {
	in := templateInput(t, withLabels("{}"))
	in.Template.Labels = map[string]string{}
	for i := range 60 {
		selector := map[string]string{}
		for j := range 8 {
			key := fmt.Sprintf("l%03d", i*8+j)
			in.Template.Labels[key], selector[key] = "x", "x"
		}
		in.Surroundings.Services = append(in.Surroundings.Services, corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i)}, Spec: corev1.ServiceSpec{Selector: selector}})
	}
	_, refusal := Template(in)
	if refusal == nil || refusal.Reason != v1alpha1.ReasonNothingToWithhold || !strings.Contains(refusal.Message, v1alpha1.LabelServing) {
		t.Errorf("refusal %+v, want NothingToWithhold that names the serving label", refusal)
	}
}
