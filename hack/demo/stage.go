// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	namespace = "demo"
	appName   = "chat" // of the Deployment and of the QueueScaler

	operatorNamespace = "queuescaler-system"
	operatorAccount   = "queuescaler"

	// podReadySeconds from a pod's start until it is Ready.
	podReadySeconds = 15
	// evidenceBlock is one measurement of what a pod gets done. Usual: 1m (default).
	evidenceBlock = 2 * time.Second
	// deployAgent is the user agent of whoever starts the rollout that the audit log is searched for, laterAgent of who starts
	// the one after.
	deployAgent = "demo-deploy"
	laterAgent  = "demo-later"
)

//go:embed demo.yaml
var manifest string

// stage is everything that runs: the cluster, the queue, the operator and the consumers.
type stage struct {
	options
	tell   *narrator
	dir    string
	broken context.CancelCauseFunc
	// stopped ends the watches and the consumers.
	stopped context.CancelFunc

	cluster, operator *process
	config            *rest.Config
	client            kubernetes.Interface
	queue             *messageQueue
	accounts          *accounts
	referee           *referee
	consumers         *consumers
	sender            *sender
	world             *world
	recorder          *recorder
	recording         sync.WaitGroup
}

// setUp starts everything. What it returns is to be torn down even with an error. broken is called when something ends by
// itself that must not.
func setUp(ctx context.Context, o options, tell *narrator, broken context.CancelCauseFunc) (*stage, error) {
	s := &stage{options: o, tell: tell, broken: broken, stopped: func() {}}
	dir, err := os.MkdirTemp("", "queuescaler-demo-")
	if err != nil {
		return s, err
	}
	s.dir = dir
	tell.heading("Setting up")
	steps := []func(context.Context) error{s.startCluster, s.startQueue, s.install, s.startOperator, s.startConsumers, s.apply}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *stage) startCluster(ctx context.Context) error {
	tell := &lines{f: func(line string) {
		if strings.Contains(line, " ready ") || strings.HasPrefix(line, "Kubernetes") || strings.HasPrefix(line, "Error") {
			s.tell.detail(line)
		}
	}}
	data := s.clusterDir()
	p, err := startProcess("the local cluster", tell, nil, s.bin("localcluster"),
		"up", "--data-dir="+data, "--until-stdin-closes", fmt.Sprintf("--pod-ready-seconds=%d", podReadySeconds))
	if err != nil {
		return err
	}
	s.cluster = p
	ready := func() bool { _, err := os.Stat(filepath.Join(data, "ready")); return err == nil }
	if err := s.awaitProcess(ctx, p, ready); err != nil {
		return err
	}
	s.watchOver(p)
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.kubeconfig()); err != nil {
		return err
	}
	s.config.QPS = -1
	s.client, err = kubernetes.NewForConfig(s.config)
	return err
}

// clusterDir is the data directory of the local cluster.
func (s *stage) clusterDir() string { return filepath.Join(s.dir, "cluster") }

func (s *stage) kubeconfig() string { return filepath.Join(s.clusterDir(), "kubeconfig") }

// awaitProcess waits until a process that was started is ready.
func (s *stage) awaitProcess(ctx context.Context, p *process, ready func() bool) error {
	timeout := time.After(3 * time.Minute)
	for !ready() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			return fmt.Errorf("%s did not start: %w", p.name, p.failure())
		case <-timeout:
			return fmt.Errorf("%s was not ready within 3 minutes", p.name)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// watchOver ends the demo when a process ends by itself.
func (s *stage) watchOver(p *process) {
	go func() {
		<-p.ended
		s.broken(fmt.Errorf("%s ended by itself: %w", p.name, p.failure()))
	}()
}

func (s *stage) startQueue(ctx context.Context) error {
	var err error
	if s.queue, err = startQueue(ctx, filepath.Join(s.dir, "nats")); err != nil {
		return err
	}
	s.tell.detail("NATS JetStream, embedded, at " + s.queue.url())
	return nil
}

// install applies the CRD and the operator's role as they ship, and not its Deployment: the operator is a process here.
func (s *stage) install(ctx context.Context) error {
	for _, what := range []string{"-k=config/crd", "-f=config/manager/namespace.yaml", "-k=config/rbac"} {
		if _, err := s.kubectl(ctx, "apply", "--server-side", what); err != nil {
			return err
		}
	}
	if _, err := s.kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd/queuescalers."+v1alpha1.GroupVersion.Group); err != nil {
		return err
	}
	_, err := s.kubectl(ctx, "create", "namespace", namespace)
	return err
}

// kubectl runs the kubectl that the local cluster brings.
func (s *stage) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.bin("localcluster"), append([]string{"kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), "LOCALCLUSTER_DATA_DIR="+s.clusterDir())
	cmd.Dir = s.root
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, errOut.String())
	}
	return string(out), nil
}

// startOperator runs bin/manager as a process of its own, with the flags of config/manager and a shorter measurement, and
// nothing but the token of the ServiceAccount that config/rbac gives its role.
func (s *stage) startOperator(ctx context.Context) error {
	kubeconfig, err := s.operatorKubeconfig(ctx)
	if err != nil {
		return err
	}
	log, err := os.Create(s.operatorLog())
	if err != nil {
		return err
	}
	defer log.Close()
	probes, err := freeAddress()
	if err != nil {
		return err
	}
	p, err := startProcess("the operator", log, []string{"KUBECONFIG=" + kubeconfig}, s.bin("manager"),
		"--leader-elect", "--namespace="+operatorNamespace,
		"--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address="+probes, "--evidence-block="+evidenceBlock.String())
	if err != nil {
		return err
	}
	s.operator = p
	began := time.Now()
	if err := s.awaitProcess(ctx, p, func() bool { return answers(ctx, "http://"+probes+"/readyz") }); err != nil {
		return fmt.Errorf("%w. Its log is %s", err, relative(s.root, s.operatorLog()))
	}
	s.watchOver(p)
	s.tell.detail(fmt.Sprintf("operator bin/manager --evidence-block=%s ready in %.1f s, as ServiceAccount %s/%s with the role of config/rbac",
		evidenceBlock, time.Since(began).Seconds(), operatorNamespace, operatorAccount))
	return nil
}

func (s *stage) operatorLog() string { return s.out("demo-operator.log") }

// operatorKubeconfig writes a kubeconfig with a token of the operator's ServiceAccount.
func (s *stage) operatorKubeconfig(ctx context.Context) (string, error) {
	hours := int64(24 * 3600)
	token, err := s.client.CoreV1().ServiceAccounts(operatorNamespace).CreateToken(ctx, operatorAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hours}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	admin, err := clientcmd.LoadFromFile(s.kubeconfig())
	if err != nil {
		return "", err
	}
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["demo"] = admin.Clusters[admin.Contexts[admin.CurrentContext].Cluster]
	kubeconfig.AuthInfos["operator"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	kubeconfig.Contexts["demo"] = &clientcmdapi.Context{Cluster: "demo", AuthInfo: "operator"}
	kubeconfig.CurrentContext = "demo"
	path := filepath.Join(s.dir, "operator.kubeconfig")
	return path, clientcmd.WriteToFile(*kubeconfig, path)
}

// startConsumers starts the watches, the stand-ins for the pods' processes, and the record of it all.
func (s *stage) startConsumers(ctx context.Context) error {
	ctx, s.stopped = context.WithCancel(ctx)
	s.accounts = newAccounts()
	s.referee = newReferee(s.client, namespace, s.accounts)
	s.consumers = newConsumers(s.queue.consumer, s.accounts, s.referee, s.forceGateOpen)
	s.sender = startSender(s.queue.js, s.accounts, 0, s.broken)
	s.recorder = &recorder{}
	s.world = newWorld()
	s.world.onPod = func(pod *corev1.Pod) { s.consumers.seen(ctx, pod) }
	s.world.onPodEnded = s.consumers.ended
	s.world.onEvent = s.tell.event
	s.world.onScaler = s.tell.scaler
	dyn, err := dynamic.NewForConfig(s.config)
	if err != nil {
		return err
	}
	return s.world.watch(ctx, s.client, dyn, namespace)
}

// apply creates the Deployment and the QueueScaler.
func (s *stage) apply(ctx context.Context) error {
	path := s.out("demo.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(manifest, "$NATS_URL", s.queue.url())), 0o644); err != nil {
		return err
	}
	s.tell.detail("kubectl apply -f " + relative(s.root, path) + ": a Deployment and a QueueScaler; the file explains its numbers")
	now := time.Now()
	s.recorder.began = now
	s.tell.begin(now)
	if _, err := s.kubectl(ctx, "apply", "--server-side", "-f", path); err != nil {
		return err
	}
	s.recording.Go(func() { s.recorder.record(ctx, s) })
	return nil
}

// explain adds to an error what the operator says about itself.
func (s *stage) explain(err error) error {
	says := ""
	s.world.look(func(v *view) { says = v.scalerSays() })
	return fmt.Errorf("%w.\n  %s\n  The operator's log is %s", err, says, relative(s.root, s.operatorLog()))
}

// tearDown stops everything and removes what was only needed while it ran.
func (s *stage) tearDown() error {
	s.broken(nil) // everything ends with its context, and from now on processes are meant to end
	if s.sender != nil {
		s.sender.stop()
	}
	if s.operator != nil {
		s.operator.stop()
	}
	s.stopped()
	s.recording.Wait()
	if s.consumers != nil {
		s.consumers.wait()
		s.referee.wait()
	}
	if s.cluster != nil {
		s.cluster.stop()
	}
	if s.queue != nil {
		s.queue.stop()
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// freeAddress is an address on the loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func relative(root, path string) string {
	if rel, err := filepath.Rel(root, path); err == nil {
		return rel
	}
	return path
}

var errEnded = errors.New("exit status 0")

// failure is how the process ended.
func (p *process) failure() error {
	if p.err == nil {
		return errEnded
	}
	return p.err
}
