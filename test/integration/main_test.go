//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration runs the operator as it ships, with nothing but the rights of config/rbac, against a real control
// plane and real queue servers. All tests share one cluster and one operator, each in a namespace of its own.
package integration

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/cluster"
	"github.com/queuescaler/queuescaler/test/operator"
	"github.com/queuescaler/queuescaler/test/servers"
)

const (
	root = "../.."
	// testsAtOnce is how many tests go on side by side. They mostly wait.
	testsAtOnce = "16"
	// evidenceBlock is the length of one measurement of what a pod gets done, the shortest that the operator takes.
	evidenceBlock = "2s"
	// gateImage is what slots of gate Prepared are made with. Simulated nodes pull nothing.
	gateImage = "example/queuescaler:1"
	// rolesLoaded is how long after its restart an API server may still lack its roles.
	rolesLoaded = 15 * time.Second
)

// shared is what all tests use.
var shared struct {
	cluster *cluster.Cluster
	client  client.WithWatch
	audit   *auditLog
	redis   *servers.Redis
	dir     string
	binary  string
	log     *logFile

	mu       sync.Mutex
	operator *operator.Operator
	// restarts are when the API server was started anew. Until it has loaded its roles it forbids everybody everything.
	restarts []interval
	// denied are rights that a test took from the operator in its namespace.
	denied map[string]right
	// secrets must not be in the operator's log.
	secrets []string
}

type interval struct{ from, to time.Time }

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		panic(err)
	}
	ctrl.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "queuescaler-integration-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	shared.dir, shared.denied = dir, map[string]right{}
	if shared.log, err = newLogFile(filepath.Join(dir, "operator.log")); err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 || err != nil {
			fmt.Fprintf(os.Stderr, "the operator's last lines:\n%s", shared.log.tail(40, ""))
		}
	}()
	if err := buildOperator(); err != nil {
		return 1, err
	}
	if shared.cluster, err = cluster.Start(cluster.Options{}); err != nil {
		return 1, err
	}
	defer shared.cluster.Stop()
	shared.audit = &auditLog{path: shared.cluster.AuditLog()}
	if shared.client, err = client.NewWithWatch(shared.cluster.RESTConfig(), client.Options{Scheme: scheme()}); err != nil {
		return 1, err
	}
	if shared.redis, err = servers.NewRedis(servers.RedisOptions{}); err != nil {
		return 1, err
	}
	defer shared.redis.Close()
	if err := shared.redis.Start(); err != nil {
		return 1, err
	}
	if err := install(); err != nil {
		return 1, err
	}
	if err := startOperator(); err != nil {
		return 1, err
	}
	code = m.Run()
	stopped := shared.operator.Stop()
	return code, errors.Join(stopped, onlyWhatItsRolePermits(), usesAllItsRights(), noPanic(), noSecretLogged())
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(capacityv1alpha1.AddToScheme(s))
	return s
}

func buildOperator() error {
	shared.binary = filepath.Join(shared.dir, "manager")
	build := exec.Command("go", "build", "-o", shared.binary, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the operator: %w\n%s", err, out)
	}
	return nil
}

// install applies config/default as it is. kubectl must have nothing to say against it.
func install() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, stderr, err := shared.cluster.Kubectl(ctx, "apply", "-k", filepath.Join(root, "config", "default"))
	if err != nil {
		return err
	}
	if stderr != "" {
		return fmt.Errorf("kubectl apply -k config/default warns: %s", stderr)
	}
	var own appsv1.Deployment
	if err := shared.client.Get(ctx, client.ObjectKey{Namespace: operator.Namespace, Name: "queuescaler"}, &own); err != nil {
		return err
	}
	if account := own.Spec.Template.Spec.ServiceAccountName; account != operator.ServiceAccount {
		return fmt.Errorf("the operator's Deployment runs as ServiceAccount %q, the tests as %q", account, operator.ServiceAccount)
	}
	if _, _, err := shared.cluster.Kubectl(ctx, "apply", "-f", filepath.Join(root, "config", "rollback", "role.yaml")); err != nil {
		return err
	}
	return operator.Install(ctx, root, shared.cluster.Kubectl)
}

// startOperator runs the operator as a process of its own, with the token of the ServiceAccount in config/default.
func startOperator() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	op, err := operator.Start(ctx, operator.Options{Binary: shared.binary, Config: shared.cluster.RESTConfig(), Dir: shared.dir, Log: shared.log,
		Args: []string{"--evidence-block=" + evidenceBlock, "--zap-log-level=debug", "--gate-image=" + gateImage}})
	if err != nil {
		return err
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.operator = op
	return nil
}

// onlyWhatItsRolePermits judges all that the operator asked of the API server in the whole suite.
func onlyWhatItsRolePermits() error {
	var wrong []string
	events, err := shared.audit.since(0)
	if err != nil {
		return err
	}
	asked, allowed := 0, map[string]bool{}
	for _, e := range events {
		if e.ours() && !e.forbidden() {
			allowed[e.right()] = true
		}
	}
	for _, e := range events {
		if !e.ours() {
			continue
		}
		asked++
		switch {
		case e.forbidden() && !withoutRoles(e, allowed) && shared.denied[e.ObjectRef.Namespace] != e.used():
			wrong = append(wrong, "forbidden: "+e.String())
		case e.ObjectRef.Resource == "secrets" && e.Verb != "get":
			wrong = append(wrong, "a Secret was not only read by name: "+e.String())
		}
	}
	if asked == 0 {
		return errors.New("the audit log holds no request of the operator")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d requests of the operator that should not be:\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
	}
	return nil
}

// withoutRoles: an API server that was just started answered before it had loaded its roles, which forbids everybody
// everything. That excuses only what the role permits at other times: the same verb on the same resource was allowed.
func withoutRoles(e auditEvent, allowed map[string]bool) bool {
	at, err := time.Parse(time.RFC3339Nano, e.RequestReceivedTimestamp)
	return err == nil && allowed[e.right()] && slices.ContainsFunc(shared.restarts, func(r interval) bool {
		return at.After(r.from) && at.Before(r.to.Add(rolesLoaded))
	})
}

func noPanic() error {
	data, err := shared.log.read()
	if err != nil {
		return err
	}
	for _, sign := range []string{"panic:", "Observed a panic", "DATA RACE"} {
		if i := bytes.Index(data, []byte(sign)); i >= 0 {
			return fmt.Errorf("the operator's log has a panic: %s", data[i:min(len(data), i+2000)])
		}
	}
	return nil
}

// logFile keeps what the operator prints.
type logFile struct {
	mu   sync.Mutex
	file *os.File
}

func newLogFile(path string) (*logFile, error) {
	f, err := os.Create(path)
	return &logFile{file: f}, err
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

func (l *logFile) read() ([]byte, error) { return os.ReadFile(l.file.Name()) }

// tail is the last lines that hold the words.
func (l *logFile) tail(lines int, words string) string {
	data, err := l.read()
	if err != nil {
		return err.Error()
	}
	all := slices.Collect(strings.Lines(string(data)))
	all = slices.DeleteFunc(all, func(line string) bool { return !strings.Contains(line, words) })
	return strings.Join(all[max(0, len(all)-lines):], "")
}
