// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	corev1 "k8s.io/api/core/v1"
)

var shared *Cluster

func TestMain(m *testing.M) {
	var err error
	if shared, err = Start(Options{Nodes: 2, PodReadySeconds: 0.5}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	shared.Stop()
	os.Exit(code)
}

func TestShell(t *testing.T) {
	out, err := shared.Shell(t.Context(), `echo "[$(kubectl get node node-1 -o name)]"`)
	if err != nil || out != "[node/node-1]\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := shared.Shell(t.Context(), "kubectl get node no-such-node"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a command that fails: %v", err)
	}
}

func TestPodBecomesReadyAndIsAudited(t *testing.T) {
	namespace := shared.Namespace(t)
	if stdout, _, err := shared.Kubectl(t.Context(), "-n", namespace, "run", "p", "--image=x"); err != nil || !strings.Contains(stdout, "pod/p created") {
		t.Fatalf("kubectl run: %q, %v", stdout, err)
	}
	client := kubernetes.NewForConfigOrDie(shared.RESTConfig())
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(namespace).Get(ctx, "p", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatal(err)
	}

	f, err := os.Open(shared.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var event struct {
			Verb      string
			User      struct{ Username string }
			ObjectRef struct{ Resource, Subresource, Namespace, Name string }

			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		if event.Verb == "create" && event.ObjectRef.Resource == "pods" && event.ObjectRef.Namespace == namespace {
			if event.User.Username != "admin" || event.ResponseStatus.Code != 201 {
				t.Errorf("audited %+v", event)
			}
			return
		}
	}
	t.Errorf("the creation of the pod is not in the audit log")
}

func TestKubectlError(t *testing.T) {
	_, _, err := shared.Kubectl(t.Context(), "get", "pod", "nobody")
	if err == nil || !strings.Contains(err.Error(), `"nobody" not found`) {
		t.Errorf("error is %v", err)
	}
}

func TestNamespaceIsDeleted(t *testing.T) {
	var namespace string
	t.Run("a test", func(t *testing.T) { namespace = shared.Namespace(t) })
	client := kubernetes.NewForConfigOrDie(shared.RESTConfig())
	got, err := client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	if err == nil && got.DeletionTimestamp == nil || err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("namespace %s: %v, %v", namespace, got, err)
	}
}

func TestMissingBinary(t *testing.T) {
	t.Setenv(binaryVariable, filepath.Join(t.TempDir(), "none"))
	if _, err := Start(Options{}); err == nil || !strings.Contains(err.Error(), binaryVariable) {
		t.Errorf("error is %v", err)
	}
}
