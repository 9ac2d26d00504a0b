// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster gives tests a real Kubernetes control plane with simulated nodes: bin/localcluster, which
// `make cluster-binary` builds from hack/localcluster. What simulated pods do is told by their annotations; see
// hack/localcluster/README.md.
//
// One cluster serves all tests of a package, each in a namespace of its own:
//
//	var shared *cluster.Cluster
//
//	func TestMain(m *testing.M) {
//		var err error
//		if shared, err = cluster.Start(cluster.Options{}); err != nil {
//			fmt.Fprintln(os.Stderr, err)
//			os.Exit(1)
//		}
//		code := m.Run()
//		shared.Stop()
//		os.Exit(code)
//	}
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	binaryVariable  = "LOCALCLUSTER_BIN"
	dataDirVariable = "LOCALCLUSTER_DATA_DIR"
	module          = "module github.com/queuescaler/queuescaler\n"

	// Ample for a slow machine that does other things too; a cluster is usually ready in 4 s.
	startTimeout = 3 * time.Minute
	stopTimeout  = 30 * time.Second
)

// Options say what cluster to start. The zero value is good for most tests.
type Options struct {
	Nodes           int       // simulated nodes; 0 means 3
	PodReadySeconds float64   // from the start of a pod's containers until it is Ready; 0 means 1
	Log             io.Writer // gets what the cluster's supervisor prints; nil means nowhere
}

// Cluster is a running control plane. It ends with the process that started it, however that ends.
type Cluster struct {
	binary  string
	dataDir string
	process *exec.Cmd
	stdin   io.Closer
	ended   chan struct{} // closed when the process has ended
	config  *rest.Config
	client  kubernetes.Interface
}

// Start starts a cluster with an empty data directory and waits until it is ready.
func Start(opts Options) (*Cluster, error) {
	binary, err := findBinary()
	if err != nil {
		return nil, err
	}
	dataDir, err := os.MkdirTemp("", "localcluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{binary: binary, dataDir: dataDir, ended: make(chan struct{})}
	if err := c.start(opts); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(opts Options) error {
	args := []string{"up", "--data-dir=" + c.dataDir, "--until-stdin-closes"}
	if opts.Nodes != 0 {
		args = append(args, "--nodes="+strconv.Itoa(opts.Nodes))
	}
	if opts.PodReadySeconds != 0 {
		args = append(args, fmt.Sprintf("--pod-ready-seconds=%g", opts.PodReadySeconds))
	}
	output := &output{also: opts.Log}
	process := exec.Command(c.binary, args...)
	process.Stdout, process.Stderr = output, output
	stdin, err := process.StdinPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	c.process, c.stdin = process, stdin
	go func() {
		_ = process.Wait() // awaitReady shows the output
		close(c.ended)
	}()
	if err := c.awaitReady(output); err != nil {
		return err
	}
	c.config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return err
	}
	c.config.QPS = -1 // no limit: tests must not wait for their own client
	c.client, err = kubernetes.NewForConfig(c.config)
	return err
}

func (c *Cluster) awaitReady(output *output) error {
	deadline := time.After(startTimeout)
	for {
		if _, err := os.Stat(filepath.Join(c.dataDir, "ready")); err == nil {
			return nil
		}
		select {
		case <-c.ended:
			return fmt.Errorf("the local cluster did not start:\n%s", output)
		case <-deadline:
			return fmt.Errorf("the local cluster was not ready within %s:\n%s", startTimeout, output)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// findBinary looks at LOCALCLUSTER_BIN, then in the bin directory of the checkout around the working directory.
func findBinary() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", binaryVariable, err)
		}
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if data, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(data), module) {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("not in a checkout of QueueScaler: set %s to the localcluster binary", binaryVariable)
		}
	}
	path := filepath.Join(dir, "bin", "localcluster")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is missing: run `make cluster-binary`, or set %s", path, binaryVariable)
	}
	return path, nil
}

// Stop ends the cluster and removes its data. It may be called more than once.
func (c *Cluster) Stop() {
	if c.process != nil {
		c.stdin.Close()
		select {
		case <-c.ended:
		case <-time.After(stopTimeout):
			_ = c.process.Process.Kill() // fails if it has ended by now
			<-c.ended
		}
	}
	os.RemoveAll(c.dataDir)
}

// RESTConfig is the administrator's, without a client-side rate limit. It is a copy.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dataDir, "kubeconfig") }

// AuditLog is the path of the API server's audit log: one audit.k8s.io/v1 Event per line, written before the response is
// sent, level Metadata. At 256 MB it is renamed and begun anew.
func (c *Cluster) AuditLog() string { return filepath.Join(c.dataDir, "audit.log") }

// Kubectl runs the kubectl that is built into the binary. An error carries what kubectl wrote to stderr.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return c.run(ctx, append([]string{"kubectl"}, args...)...)
}

// Shell runs a command line as a person would who copied it from a message: in sh, with kubectl for this cluster.
func (c *Cluster) Shell(ctx context.Context, command string) (stdout string, err error) {
	dir, err := os.MkdirTemp(c.dataDir, "shell-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' kubectl \"$@\"\n", c.binary)
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o700); err != nil {
		return "", err
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = append(os.Environ(), dataDirVariable+"="+c.dataDir, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", command, err, errOut.String())
	}
	return out.String(), nil
}

// Restart ends a component (apiserver, controller-manager, scheduler, etcd or kubelet), has it started again and waits until
// everything is healthy.
func (c *Cluster) Restart(ctx context.Context, component string) error {
	_, _, err := c.run(ctx, "restart", component)
	return err
}

// StopNode makes a node fall silent and waits until it is NotReady, about 11 s. Nodes are called node-1, node-2, …
func (c *Cluster) StopNode(ctx context.Context, name string) error {
	_, _, err := c.run(ctx, "node", "stop", name)
	return err
}

// StartNode makes a stopped node report again and waits until it is Ready.
func (c *Cluster) StartNode(ctx context.Context, name string) error {
	_, _, err := c.run(ctx, "node", "start", name)
	return err
}

func (c *Cluster) run(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Env = append(os.Environ(), dataDirVariable+"="+c.dataDir)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), errOut.String(), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), errOut.String(), nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace creates a namespace for one test and has it deleted, without waiting, when the test ends.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	prefix := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	prefix = strings.TrimRight(prefix[:min(len(prefix), 40)], "-") + "-"
	namespace, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete namespace %s: %v", namespace.Name, err)
		}
	})
	if err := c.awaitServiceAccount(t.Context(), namespace.Name); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// awaitServiceAccount waits for the account without which no pod can be created.
func (c *Cluster) awaitServiceAccount(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := c.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no default service account in %s: %w", namespace, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// output keeps what the supervisor prints, for the error when it does not start.
type output struct {
	mu   sync.Mutex
	kept bytes.Buffer
	also io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.Write(p)
	if o.also != nil {
		_, _ = o.also.Write(p) // a log that fails must not end the cluster
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kept.String()
}
