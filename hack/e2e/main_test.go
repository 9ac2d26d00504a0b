//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests QueueScaler on a real node: containers, the operator in the cluster as config/default ships it, and real queue
// servers. `make e2e` runs it, in a cluster that exists for it alone: see hack/localcluster.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/image"
	"github.com/queuescaler/queuescaler/test/history"
)

const (
	// operatorNamespace and operatorUser are those of config/default.
	operatorNamespace = "queuescaler-system"
	operatorUser      = "system:serviceaccount:" + operatorNamespace + ":queuescaler"
)

// shared is what all tests use.
var shared struct {
	// root is the project's directory, address the node's.
	root, address string
	client        client.WithWatch
	nats          brokers.Start

	mu sync.Mutex
	// What happened that the audit log does not tell: see history.Circumstances.
	blind map[string][]history.Interval
	gaps  history.Gaps
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	shared.root, shared.address = os.Getenv("QUEUESCALER_ROOT"), os.Getenv("LOCALCLUSTER_NODE_ADDRESS")
	if shared.root == "" || shared.address == "" {
		return 1, errors.New("these tests run on a real node of their own: make e2e (Linux, as root)")
	}
	if err := connect(); err != nil {
		return 1, err
	}
	shared.blind = map[string][]history.Interval{}
	shared.nats = brokers.NATS(built("nats-server"))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if _, err := localcluster(ctx, "image", "load", built("operator.tar"), built("workload.tar")); err != nil {
		return 1, err
	}
	if err := install(ctx); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(noPanic(), noLawBroken())
}

func connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS = -1 // tests must not wait for their own client
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	shared.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
}

// built is where the command images puts what it builds.
func built(file string) string { return filepath.Join(shared.root, "bin", "e2e", file) }

// install applies config/default with our image, as make deploy does, and waits until every replica of the operator is ready.
func install(ctx context.Context) error {
	manifests, err := kubectl(ctx, "kustomize", filepath.Join(shared.root, "config", "default"))
	if err != nil {
		return err
	}
	if !strings.Contains(manifests, image.ShippedName) {
		return fmt.Errorf("config/default does not have the image %s", image.ShippedName)
	}
	file, err := os.CreateTemp("", "queuescaler-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(strings.ReplaceAll(manifests, image.ShippedName, image.OperatorName))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", file.Name()},
		{"apply", "-k", filepath.Join(shared.root, "config", "rollback")},
		{"-n", operatorNamespace, "rollout", "status", "deployment/queuescaler", "--timeout=3m"},
	} {
		if _, err := kubectl(ctx, args...); err != nil {
			pods, _ := kubectl(ctx, "-n", operatorNamespace, "describe", "pods")
			return fmt.Errorf("%w\n%s", err, pods)
		}
	}
	return nil
}

func kubectl(ctx context.Context, args ...string) (string, error) {
	return localcluster(ctx, append([]string{"kubectl"}, args...)...)
}

func localcluster(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(shared.root, "bin", "localcluster"), args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// noPanic looks for one in the logs of the operator's containers, those that ended before too.
func noPanic() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var pods corev1.PodList
	if err := shared.client.List(ctx, &pods, client.InNamespace(operatorNamespace)); err != nil {
		return err
	}
	if len(pods.Items) == 0 {
		return errors.New("there is no pod of the operator")
	}
	for _, pod := range pods.Items {
		for _, which := range []string{"--previous=false", "--previous=true"} {
			text, err := kubectl(ctx, "-n", operatorNamespace, "logs", pod.Name, which)
			if err != nil && which == "--previous=false" {
				return err
			}
			if i := strings.Index(text, "panic"); i >= 0 {
				return fmt.Errorf("the log of %s has a panic: %s", pod.Name, text[i:min(len(text), i+2000)])
			}
		}
	}
	return nil
}

// noLawBroken judges all that the operator ever wrote.
func noLawBroken() error {
	verdict, err := judged(func(history.Write) {})
	if err != nil {
		return err
	}
	if verdict.Ours == 0 {
		return errors.New("the audit log has no write of the operator")
	}
	fmt.Printf("%d writes in the audit log, %d by the operator: %d break a law\n", verdict.Writes, verdict.Ours, len(verdict.Violations))
	var errs []error
	for _, v := range verdict.Violations {
		errs = append(errs, errors.New(v.String()))
	}
	return errors.Join(errs...)
}

// judged judges all that the operator ever wrote, and shows each write that anyone made.
func judged(show func(history.Write)) (history.Verdict, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shown := func(yield func(history.Write, error) bool) {
		for w, err := range auditLog().Writes() {
			show(w)
			if !yield(w, err) {
				return
			}
		}
	}
	return history.Judge(shown, history.Circumstances{Operator: operatorUser, WritesPerMinute: 240, Blind: shared.blind, Gaps: shared.gaps})
}

func auditLog() *history.Log {
	return &history.Log{Path: filepath.Join(os.Getenv("LOCALCLUSTER_DATA_DIR"), "audit.log")}
}
