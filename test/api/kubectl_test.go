// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

func typedClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := capacityv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(shared.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// scaler is the minimal object as the type has it.
func scaler(t *testing.T, namespace, name string) *capacityv1alpha1.QueueScaler {
	t.Helper()
	object := &capacityv1alpha1.QueueScaler{}
	if err := yaml.UnmarshalStrict([]byte(minimal), object); err != nil {
		t.Fatal(err)
	}
	object.Namespace, object.Name = namespace, name
	return object
}

// What is absent in the type is absent in what is sent: an empty standby or status would be refused, or mean something.
func TestAbsentFieldsAreNotSent(t *testing.T) {
	data, err := json.Marshal(scaler(t, "", "worker"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t, minimal), parse(t, string(data))); diff != "" {
		t.Errorf("what is sent (-want +got):\n%s", diff)
	}
}

func TestExplain(t *testing.T) {
	golden(t, "explain-spec.txt", kubectl(t, "explain", "qs.spec", "--recursive"))
	golden(t, "explain-queues.txt", kubectl(t, "explain", "qs.spec.queues"))
	golden(t, "explain-driver.txt", kubectl(t, "explain", "qs.spec.driver"))
}

// What is not known is blank.
func TestColumns(t *testing.T) {
	namespace := shared.Namespace(t)
	c := typedClient(t)
	for name, status := range map[string]capacityv1alpha1.QueueScalerStatus{
		"a-new":     {},
		"b-healthy": rowStatus("Healthy", 12, "1s", 12, 12, 0, 3, ""),
		"c-lending": rowStatus("Lending", 2400, "48s", 17, 12, 3, 0, "Wait"),
		"d-held":    rowStatus("Held", 3100, "never", 17, 12, 3, 0, "RollBack:6"),
		"e-no-data": {
			Summary: "NoData", DesiredReplicas: ptr.To[int32](12), AvailableReplicas: ptr.To[int32](12),
			Standby:   &capacityv1alpha1.StandbyStatus{Lent: ptr.To[int32](0), Warm: ptr.To[int32](3)},
			Diagnosis: &capacityv1alpha1.Diagnosis{Advice: "CheckQueue"},
		},
	} {
		object := scaler(t, namespace, name)
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		if status.Summary == "" {
			continue
		}
		object.Status = status
		if err := c.Status().Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	// The age differs from run to run.
	golden(t, "columns.txt", cutColumn(kubectl(t, "get", "qs", "-n", namespace), "AGE", ""))
	golden(t, "columns-wide.txt", cutColumn(kubectl(t, "get", "qs", "-n", namespace, "-o", "wide"), "AGE", "TARGET"))
	if kubectl(t, "get", "autoscaling", "-n", namespace) == "" {
		t.Error("QueueScalers are not in the category autoscaling")
	}
}

func rowStatus(summary capacityv1alpha1.Summary, backlog int64, drain string, desired, available, lent, warm int32, advice string) capacityv1alpha1.QueueScalerStatus {
	return capacityv1alpha1.QueueScalerStatus{
		Summary: summary, DesiredReplicas: &desired, AvailableReplicas: &available,
		Backlog:   &capacityv1alpha1.BacklogStatus{Messages: &backlog, Drain: drain},
		Standby:   &capacityv1alpha1.StandbyStatus{Lent: &lent, Warm: &warm},
		Rollout:   &capacityv1alpha1.RolloutStatus{State: capacityv1alpha1.RolloutStable},
		Diagnosis: &capacityv1alpha1.Diagnosis{Advice: advice},
		Decision:  &capacityv1alpha1.Decision{Message: "the numbers"},
	}
}

// cutColumn removes what stands from one heading to the next one named, or to the end.
func cutColumn(table, from, to string) string {
	heading, _, _ := strings.Cut(table, "\n")
	begin, end := strings.Index(heading, from), len(table)
	if to != "" {
		end = strings.Index(heading, to)
	}
	var out strings.Builder
	for line := range strings.Lines(table) {
		line = strings.TrimRight(line, "\n")
		out.WriteString(strings.TrimRight(line[:begin]+line[min(end, len(line)):], " ") + "\n")
	}
	return out.String()
}

// Slots of gate Prepared run a program that is in the manager's image, and that is named once.
func TestTheGateImageIsTheManagers(t *testing.T) {
	config := t.TempDir()
	if err := os.CopyFS(config, os.DirFS("../../config")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(config, "manager", "kustomization.yaml")
	kustomization, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(kustomization), "newTag: latest", "newTag: v9")
	if err := os.WriteFile(name, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, install := range []string{"default", "namespaced"} {
		manager := managerOf(t, kubectl(t, "kustomize", filepath.Join(config, install)))
		image := ""
		for _, e := range manager.Env {
			if e.Name == "GATE_IMAGE" {
				image = e.Value
			}
		}
		if !strings.HasSuffix(manager.Image, ":v9") || image != manager.Image || !slices.Contains(manager.Args, "--gate-image=$(GATE_IMAGE)") {
			t.Errorf("config/%s: the manager's image is %q, the gate's %q, by %q", install, manager.Image, image, manager.Args)
		}
	}
}

// managerOf is the operator's container among manifests.
func managerOf(t *testing.T, manifests string) corev1.Container {
	t.Helper()
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		var d appsv1.Deployment
		if strings.Contains(document, "\nkind: Deployment\n") {
			if err := yaml.Unmarshal([]byte(document), &d); err != nil {
				t.Fatal(err)
			}
			return d.Spec.Template.Spec.Containers[0]
		}
	}
	t.Fatal("no Deployment among the manifests")
	return corev1.Container{}
}

// warningNamespace is a namespace whose API server warns of pods that are not restricted.
func warningNamespace(t *testing.T) string {
	t.Helper()
	namespace := shared.Namespace(t)
	kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted", "pod-security.kubernetes.io/enforce=restricted")
	return namespace
}

func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kustomization, err := os.ReadFile("../../config/samples/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, file := range files {
		name := filepath.Base(file)
		if name == "kustomization.yaml" {
			continue
		}
		tested++
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(kustomization), "- "+name+"\n") {
				t.Errorf("%s is not listed in kustomization.yaml", name)
			}
			namespace := warningNamespace(t)
			kubectl(t, "apply", "-n", namespace, "-f", file)
			kubectl(t, "apply", "-n", namespace, "-f", file)
			if generation := kubectl(t, "get", "qs", "-n", namespace, "-o", "jsonpath={.items[*].metadata.generation}"); generation != "1" {
				t.Errorf("after applying it twice its QueueScaler has the generation %q, want one with 1", generation)
			}
		})
	}
	if tested < 5 {
		t.Errorf("found only %d samples", tested)
	}
	t.Run("all together", func(t *testing.T) {
		kubectl(t, "apply", "-n", warningNamespace(t), "-k", "../../config/samples")
	})
}

// TestMigrated applies what becomes of ScaledObjects.
func TestMigrated(t *testing.T) {
	files, err := filepath.Glob("../../internal/migrate/testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// What was refused is not in the manifest, and the namespaces are the test's own.
			manifest, _, _ := strings.Cut(string(text), "\nError: ")
			manifest = regexp.MustCompile(`(?m)^  namespace: .*$`).ReplaceAllString(manifest, "")
			path := filepath.Join(t.TempDir(), "manifest.yaml")
			if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			kubectl(t, "apply", "-n", warningNamespace(t), "-f", path)
		})
	}
}

// TestDeploy applies what a cluster gets, and sees that restricted pod security lets the operator's pods be.
func TestDeploy(t *testing.T) {
	kubectl(t, "apply", "-k", "../../config/default")
	t.Cleanup(func() {
		// The CRD stays: other tests need it.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, _, err := shared.Kubectl(ctx, "delete", "--wait=false", "-k", "../../config/manager"); err != nil {
			t.Error(err)
		}
	})
	kubectl(t, "apply", "-k", "../../config/network-policy")
	kubectl(t, "-n", "queuescaler-system", "wait", "--for=condition=Available", "--timeout=90s", "deployment/queuescaler")
	endpoints := kubectl(t, "-n", "queuescaler-system", "get", "endpointslices", "-l", "kubernetes.io/service-name=queuescaler-metrics", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
	if endpoints != "true true" {
		t.Errorf("the metrics Service has endpoints that are ready: %q, want both replicas", endpoints)
	}
	t.Run("ServiceMonitor fits the Service", func(t *testing.T) {
		monitor := parse(t, kubectl(t, "kustomize", "../../config/prometheus"))
		spec := monitor["spec"].(map[string]any)
		labels := spec["selector"].(map[string]any)["matchLabels"].(map[string]any)
		var selector []string
		for key, value := range labels {
			selector = append(selector, key+"="+value.(string))
		}
		port := spec["endpoints"].([]any)[0].(map[string]any)["port"]
		ports := kubectl(t, "-n", "queuescaler-system", "get", "services", "-l", strings.Join(selector, ","), "-o", "jsonpath={.items[*].spec.ports[*].name}")
		if ports != port {
			t.Errorf("the ServiceMonitor scrapes port %q, the Services that it selects have %q", port, ports)
		}
	})
	t.Run("roles", testRoles)
}

func testRoles(t *testing.T) {
	namespace := shared.Namespace(t)
	for _, role := range []string{"view", "edit", "admin"} {
		kubectl(t, "-n", namespace, "create", "serviceaccount", role)
		kubectl(t, "-n", namespace, "create", "rolebinding", role, "--clusterrole="+role, "--serviceaccount="+namespace+":"+role)
	}
	for _, test := range []struct {
		who, verb, subresource, can string
	}{
		{"view", "list", "", "yes"},
		{"view", "create", "", "no"},
		{"edit", "create", "", "yes"},
		{"edit", "patch", "", "yes"},
		{"edit", "patch", "status", "no"},
		{"admin", "delete", "", "yes"},
	} {
		// The controller manager aggregates roles a moment after they are applied.
		deadline := time.Now().Add(30 * time.Second)
		for {
			// Refusal is an exit code of 1, so an error here is an answer too.
			got, _, _ := shared.Kubectl(t.Context(), "auth", "can-i", test.verb, "queuescalers", "--subresource="+test.subresource, "-n", namespace, "--as=system:serviceaccount:"+namespace+":"+test.who)
			if strings.TrimSpace(got) == test.can {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("can %s %s queuescalers %s: %q, want %s", test.who, test.verb, test.subresource, got, test.can)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}
