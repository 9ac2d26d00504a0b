// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package api_test checks the API and the manifests against a real API server: what is accepted, what is refused with which
// words, what is stored, and what kubectl shows.
package api_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/cluster"
)

var (
	update = flag.Bool("update", false, "write the golden files")
	shared *cluster.Cluster
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared, err = cluster.Start(cluster.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.Stop()
	ctx := context.Background()
	if err := installCRD(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func installCRD(ctx context.Context) error {
	_, stderr, err := shared.Kubectl(ctx, "apply", "-k", "../../config/crd")
	if err != nil {
		return err
	}
	if stderr != "" {
		return fmt.Errorf("kubectl apply -k config/crd wrote on stderr: %s", stderr)
	}
	// kubectl knows the kind once its schema is published, about a second later.
	deadline := time.Now().Add(time.Minute)
	for {
		_, _, err := shared.Kubectl(ctx, "explain", "qs")
		if err == nil {
			_, _, err = shared.Kubectl(ctx, "explain", "queueservers")
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// warnings collects what the API server warns about.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// queueScalers returns a client for the QueueScalers of a namespace that fails the test when the API server warns.
func queueScalers(t *testing.T, namespace string) dynamic.ResourceInterface {
	t.Helper()
	return resource(t, "queuescalers").Namespace(namespace)
}

// clientsOf are clients for the kinds, those of namespaced ones for a namespace.
func clientsOf(t *testing.T, namespace string) map[string]dynamic.ResourceInterface {
	t.Helper()
	return map[string]dynamic.ResourceInterface{"QueueScaler": queueScalers(t, namespace), "QueueServer": resource(t, "queueservers")}
}

func resource(t *testing.T, name string) dynamic.NamespaceableResourceInterface {
	t.Helper()
	config := shared.RESTConfig()
	heard := &warnings{}
	config.WarningHandler = heard
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if len(heard.text) > 0 {
			t.Errorf("the API server warned: %q", heard.text)
		}
	})
	return client.Resource(capacityv1alpha1.GroupVersion.WithResource(name))
}

// minimal is a QueueScaler with nothing but what is required.
const minimal = `
apiVersion: capacity.queuescaler.io/v1alpha1
kind: QueueScaler
metadata: {name: worker}
spec:
  scaleTargetRef: {name: worker}
  maxReplicas: 10
  queues:
  - name: jobs
    natsJetStream: {url: "nats://nats.chat:4222", stream: JOBS, consumer: workers}
  objective: {drain: {seconds: 60}}
`

// minimalServer is a QueueServer with nothing but what is required.
const minimalServer = `
apiVersion: capacity.queuescaler.io/v1alpha1
kind: QueueServer
metadata: {name: chat-nats}
spec:
  source: NATSJetStream
  url: nats://nats.messaging:4222
  allowedNamespaces: [chat]
`

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return object
}

// changed returns the minimal object, of the kind that the change names, with a change, which is a JSON merge patch: null removes, a list replaces the list.
func changed(t *testing.T, change string) *unstructured.Unstructured {
	t.Helper()
	patch := parse(t, change)
	object := parse(t, minimal)
	if patch["kind"] == "QueueServer" {
		object = parse(t, minimalServer)
	}
	merge(object, patch)
	// Numbers as the API machinery has them.
	data, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, u); err != nil {
		t.Fatal(err)
	}
	return u
}

func merge(into, change map[string]any) {
	for key, value := range change {
		inner, isMap := value.(map[string]any)
		present, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(present, inner)
		default:
			into[key] = value
		}
	}
}

// try asks the API server whether it would accept an object, as strictly as kubectl does.
func try(t *testing.T, client dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	t.Helper()
	_, err := client.Create(t.Context(), object, metav1.CreateOptions{
		DryRun:          []string{metav1.DryRunAll},
		FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

// golden compares with a file of testdata, or writes it under -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is right: go test ./test/api -update\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// kubectl runs kubectl, which must succeed and warn about nothing.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := shared.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	if stderr != "" {
		t.Errorf("kubectl %s wrote on stderr: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}
