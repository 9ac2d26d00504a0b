// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package operator runs the operator as it ships: a process of its own, with the token of the ServiceAccount that
// config/default installs, and so with exactly the rights of config/rbac.
package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// Namespace and ServiceAccount are those of config/default.
	Namespace      = "queuescaler-system"
	ServiceAccount = "queuescaler"
	// User is the name by which the audit log knows that of config/default.
	User = "system:serviceaccount:" + Namespace + ":" + ServiceAccount

	readyWithin = time.Minute
	stopWithin  = 30 * time.Second
)

// Options say how to run the operator.
type Options struct {
	// Binary of the operator: `make build` makes bin/manager.
	Binary string
	// Config of the cluster's administrator, who creates the token.
	Config *rest.Config
	// Dir is a directory of the caller's for the kubeconfig.
	Dir string
	// Namespace that the operator is installed in, and its ServiceAccount there; empty means those of config/default.
	Namespace, ServiceAccount string
	// Args are further flags, Env further variables of its environment.
	Args, Env []string
	// Log gets what the operator prints; nil means nowhere.
	Log io.Writer
}

// Operator is a running operator.
type Operator struct {
	// Pid of the process, and MetricsURL of its metrics.
	Pid        int
	MetricsURL string

	process *exec.Cmd
	probes  string // address of /readyz
	ended   chan struct{}
}

// Install applies config/default, found at root, with the cluster's own kubectl, and takes the Deployment in it down to 0:
// pods of a simulated node run nothing.
func Install(ctx context.Context, root string, kubectl func(context.Context, ...string) (string, string, error)) error {
	if _, stderr, err := kubectl(ctx, "apply", "-k", filepath.Join(root, "config", "default")); err != nil {
		return fmt.Errorf("apply config/default: %w: %s", err, stderr)
	}
	if _, stderr, err := kubectl(ctx, "-n", Namespace, "scale", "deployment/queuescaler", "--replicas=0"); err != nil {
		return fmt.Errorf("scale the operator's Deployment to 0: %w: %s", err, stderr)
	}
	_, stderr, err := kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s",
		"crd/queuescalers.capacity.queuescaler.io", "crd/queueservers.capacity.queuescaler.io")
	if err != nil {
		return fmt.Errorf("wait for the CRDs: %w: %s", err, stderr)
	}
	return nil
}

// Start runs the operator and returns once it is ready.
func Start(ctx context.Context, o Options) (*Operator, error) {
	op, err := Launch(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := op.waitReady(ctx); err != nil {
		op.Kill()
		return nil, err
	}
	return op, nil
}

// Launch runs the operator, and waits for nothing.
func Launch(ctx context.Context, o Options) (*Operator, error) {
	o.Namespace, o.ServiceAccount = cmp.Or(o.Namespace, Namespace), cmp.Or(o.ServiceAccount, ServiceAccount)
	kubeconfig, err := writeKubeconfig(ctx, o)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	metrics, probes := "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1]
	args := append([]string{"--namespace=" + o.Namespace, "--metrics-bind-address=" + metrics, "--metrics-insecure", "--health-probe-bind-address=" + probes}, o.Args...)
	p := exec.Command(o.Binary, args...)
	p.Env = append(append(os.Environ(), "KUBECONFIG="+kubeconfig), o.Env...)
	p.Stdout, p.Stderr = o.Log, o.Log
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Binary, err)
	}
	op := &Operator{Pid: p.Process.Pid, MetricsURL: "http://" + metrics + "/metrics", process: p, probes: probes, ended: make(chan struct{})}
	go func() {
		_ = p.Wait() // how it ended is the caller's to judge by what it printed
		close(op.ended)
	}()
	return op, nil
}

// Stop ends the operator gracefully.
func (o *Operator) Stop() error {
	if err := o.process.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-o.ended:
		return nil
	case <-time.After(stopWithin):
		o.Kill()
		return fmt.Errorf("the operator did not stop within %s", stopWithin)
	}
}

// Kill ends the operator with SIGKILL, and returns when it is gone.
func (o *Operator) Kill() {
	_ = o.process.Process.Kill() // it may have ended by itself
	<-o.ended
}

// Ended reports whether the operator is gone, killed or by itself.
func (o *Operator) Ended() bool {
	select {
	case <-o.ended:
		return true
	default:
		return false
	}
}

func (o *Operator) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, "http://"+o.probes+"/readyz") {
			return nil
		}
		select {
		case <-o.ended:
			return errors.New("the operator ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("the operator is not ready after %s", readyWithin)
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// writeKubeconfig writes a kubeconfig with a token of the operator's ServiceAccount.
func writeKubeconfig(ctx context.Context, o Options) (string, error) {
	client, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return "", err
	}
	hours := int64(8 * 3600)
	token, err := client.CoreV1().ServiceAccounts(o.Namespace).CreateToken(ctx, o.ServiceAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", o.Namespace, o.ServiceAccount, err)
	}
	config := clientcmdapi.Config{
		CurrentContext: "operator",
		Contexts:       map[string]*clientcmdapi.Context{"operator": {Cluster: "local", AuthInfo: "operator", Namespace: o.Namespace}},
		Clusters:       map[string]*clientcmdapi.Cluster{"local": {Server: o.Config.Host, CertificateAuthorityData: o.Config.CAData, CertificateAuthority: o.Config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"operator": {Token: token.Status.Token}},
	}
	path := filepath.Join(o.Dir, "operator.kubeconfig")
	return path, clientcmd.WriteToFile(config, path)
}

// firstPort and lastPort bound the operator's ports. The system takes the local ports of outgoing connections from 32768 on: one of
// those may be taken in the moment between the look and the operator's start.
const firstPort, lastPort = 20000, 32767

// nextPort is where the search goes on, so that operators which start side by side don't find the same ports.
var nextPort = firstPort + rand.Int32N((lastPort-firstPort)/2)

func freePorts(n int) ([]string, error) {
	var ports []string
	var taken error
	for len(ports) < n {
		port := atomic.AddInt32(&nextPort, 1)
		if port > lastPort {
			return nil, fmt.Errorf("there are no %d free ports up to %d: %w", n, lastPort, taken)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			taken = err
			continue
		}
		l.Close()
		ports = append(ports, strconv.Itoa(int(port)))
	}
	return ports, nil
}

// Usage is what the operator has used so far.
type Usage struct {
	CPU    time.Duration
	RSSMiB float64
}

// Usage reads the process's accounting from /proc, so it is known on Linux only.
func (o *Operator) Usage() (Usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(o.Pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Usage{}, err
	}
	// The name of the command, in parentheses, may hold spaces; utime and stime are the 12th and 13th field after it.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return Usage{}, fmt.Errorf("%s/stat has %d fields", dir, len(fields))
	}
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return Usage{}, err
		}
		ticks += n
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPU: time.Duration(ticks) * 10 * time.Millisecond} // USER_HZ is 100 on every Linux that Go runs on
	for line := range strings.Lines(string(status)) {
		if kib, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, err := strconv.ParseFloat(strings.Fields(kib)[0], 64)
			if err != nil {
				return Usage{}, err
			}
			u.RSSMiB = n / 1024
		}
	}
	return u, nil
}
