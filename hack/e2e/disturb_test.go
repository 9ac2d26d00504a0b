//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/hack/e2e/apiproxy"
	"github.com/queuescaler/queuescaler/hack/e2e/faults"
	"github.com/queuescaler/queuescaler/hack/e2e/image"
	"github.com/queuescaler/queuescaler/test/history"
)

// disturber makes faults. The operator reaches the API server through its proxy, and queues through its tunnels, so that it can be cut off
// from either while nobody else is.
type disturber struct {
	*testing.T
	proxy   *apiproxy.Proxy
	apiPort string

	node sync.Mutex // held while it is down
	// paused is a process of the operator that is to live until it goes on.
	paused atomic.Int64
	mu     sync.Mutex
	cut    map[string]int // how many faults cut a port off
}

func newDisturber(t *testing.T) *disturber {
	t.Helper()
	d := &disturber{T: t, cut: map[string]int{}}
	d.serveProxy()
	d.nft("add table inet faults",
		"add set inet faults ports { type inet_service; }",
		"add chain inet faults in { type filter hook input priority -10; }",
		"add chain inet faults out { type filter hook output priority -10; }",
		"add rule inet faults in tcp dport @ports drop",
		"add rule inet faults out tcp sport @ports drop")
	t.Cleanup(func() { d.nft("delete table inet faults") })
	d.installDisturbed()
	go d.recreateWaiting(t.Context())
	return d
}

// serveProxy serves the proxy with the API server's own certificate, which is good for the node's address too.
func (d *disturber) serveProxy() {
	d.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		d.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		d.Fatal(err)
	}
	pki := filepath.Join(os.Getenv("LOCALCLUSTER_DATA_DIR"), "pki")
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		d.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	listener := d.listen()
	d.proxy = apiproxy.New(target, pool)
	server := &http.Server{Handler: d.proxy, ErrorLog: log.New(io.Discard, "", 0)}
	d.Cleanup(func() { _ = server.Close() })
	go func() {
		_ = server.ServeTLS(listener, filepath.Join(pki, "apiserver.crt"), filepath.Join(pki, "apiserver.key"))
	}()
	d.apiPort = portOf(listener)
}

func (d *disturber) listen() net.Listener {
	d.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(shared.address, "0"))
	if err != nil {
		d.Fatal(err)
	}
	return listener
}

func portOf(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

// installDisturbed gives the operator the proxy's address, a clock that can be set, and short blocks of evidence.
func (d *disturber) installDisturbed() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), within)
	defer cancel()
	if _, err := localcluster(ctx, "image", "load", built("operator-setclock.tar")); err != nil {
		d.Fatal(err)
	}
	mustKubectl(d.T, "-n", operatorNamespace, "patch", "deployment", "queuescaler", "--type=json", "-p", fmt.Sprintf(`[
		{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": %q},
		{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--evidence-block=5s"},
		{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "KUBERNETES_SERVICE_HOST", "value": %q}},
		{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "KUBERNETES_SERVICE_PORT", "value": %q}}]`,
		image.SetClockName, shared.address, d.apiPort))
	mustKubectl(d.T, "-n", operatorNamespace, "rollout", "status", "deployment/queuescaler", "--timeout=2m")
}

// tunnel returns a url on which what listens at the given one is reached through a port of its own, and that port.
func (d *disturber) tunnel(to string) (through, port string) {
	d.Helper()
	u, err := url.Parse(to)
	if err != nil {
		d.Fatal(err)
	}
	target, listener := u.Host, d.listen()
	d.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go join(from, target)
		}
	}()
	u.Host = listener.Addr().String()
	return u.String(), portOf(listener)
}

// join passes on what comes from either side, until one of them ends.
func join(from net.Conn, target string) {
	defer from.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(way[1], way[0])
			ended <- struct{}{}
		}()
	}
	<-ended
}

func (d *disturber) nft(commands ...string) {
	d.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Errorf("nft: %v: %s", err, out)
	}
}

// cutOff drops all packets to and from these ports for a while.
func (d *disturber) cutOff(lasts time.Duration, ports ...string) {
	d.change(+1, ports)
	d.goOn(lasts)
	d.change(-1, ports)
}

func (d *disturber) change(by int, ports []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, port := range ports {
		was := d.cut[port]
		d.cut[port] += by
		switch {
		case was == 0:
			d.nft("add element inet faults ports { " + port + " }")
		case d.cut[port] == 0:
			d.nft("delete element inet faults ports { " + port + " }")
		}
	}
}

// recreateWaiting deletes the operator's pods that would be started again only after some minutes, because they were killed often. It also
// reports those that ended by a panic.
func (d *disturber) recreateWaiting(ctx context.Context) {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		pods, err := operatorPods(ctx)
		if err != nil {
			continue // the API server may be away
		}
		for _, p := range pods {
			for _, s := range p.Status.ContainerStatuses {
				// It is the code of a signal that came before the program was ready for it, too.
				if last := s.LastTerminationState.Terminated; last != nil && last.ExitCode == 2 {
					if text, _ := kubectl(ctx, "-n", operatorNamespace, "logs", p.Name, "--previous"); strings.Contains(text, "goroutine ") {
						d.Errorf("the operator panicked:\n%s", text)
					}
				}
				if s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" {
					_ = shared.client.Delete(ctx, &p, client.GracePeriodSeconds(0)) // else at the next look
				}
			}
		}
	}
}

func operatorPods(ctx context.Context) ([]corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var pods corev1.PodList
	err := shared.client.List(ctx, &pods, client.InNamespace(operatorNamespace), client.MatchingLabels{"app.kubernetes.io/name": "queuescaler"})
	return pods.Items, err
}

// awaitOperators waits until all of the operator's pods are ready.
func (c *campaign) awaitOperators() {
	c.Helper()
	c.lines[0].await("two operators ready", func() (bool, string) {
		pods, err := operatorPods(c.Context())
		ready := 0
		for _, p := range pods {
			for _, x := range p.Status.Conditions {
				if x.Type == corev1.PodReady && x.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
					ready++
				}
			}
		}
		return ready == 2 && len(pods) == 2, fmt.Sprintf("%d of %d ready, %v", ready, len(pods), err)
	})
}

// holder is the pod that leads.
func holder(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var lease coordinationv1.Lease
	err := shared.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "queuescaler.capacity.queuescaler.io"}, &lease)
	pod, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
	return pod, err
}

// anotherLeads says whether another pod than this one leads.
func anotherLeads(ctx context.Context, than string) bool {
	now, err := holder(ctx)
	return err == nil && now != than
}

// operators are its processes, without one that is paused.
func (d *disturber) operators() ([]int, error) {
	all, err := processes("/manager")
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(pid int) bool { return int64(pid) == d.paused.Load() })
	if len(all) == 0 {
		return nil, errors.New("no operator is running that is not paused")
	}
	return all, nil
}

// leader is the process of the operator that leads; any other one if that cannot be found out.
func (d *disturber) leader(ctx context.Context) (int, error) {
	all, err := d.operators()
	if err != nil {
		return 0, err
	}
	pod, err := holder(ctx)
	if err == nil {
		for _, pid := range all {
			if hostname(pid) == pod {
				return pid, nil
			}
		}
	}
	return all[0], nil
}

// processes are those of a program, in containers too: of a path, or of a part of the cluster. There is at least one.
func processes(program string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may be gone
		words := strings.Split(string(line), "\x00")
		if words[0] == program || strings.HasSuffix(words[0], "/localcluster") && words[1] == program {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				return nil, err
			}
			out = append(out, pid)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no %s is running", program)
	}
	return out, nil
}

// hostname of a container's process is its pod's name.
func hostname(pid int) string {
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	for _, v := range bytes.Split(environ, []byte{0}) {
		if name, ok := bytes.CutPrefix(v, []byte("HOSTNAME=")); ok {
			return string(name)
		}
	}
	return ""
}

// at is the process of the operator that has this address.
func at(ip string) (int, error) {
	all, err := processes("/manager")
	if err != nil {
		return 0, err
	}
	for _, pid := range all {
		routes, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", pid)) // it may be gone
		if bytes.Contains(routes, []byte("|-- "+ip+"\n")) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no operator has the address %s", ip)
}

const (
	// makeWithin is how long it takes at most until a fault shows, or is over.
	makeWithin = 40 * time.Second
	// insistFor is how long a fault that could not be made is tried again.
	insistFor = 2*makeWithin + 10*time.Second
)

// insistOn makes a fault, and tries again: the operator or the API server may just be away, because of another one.
func (c *campaign) insistOn(inflict maker, in faults.Injection) error {
	var last error
	c.sees(insistFor, func() bool {
		last = inflict(c.Context(), in)
		return last == nil
	})
	return last
}

// sees waits until something holds, and says whether it did in time.
func (d *disturber) sees(within time.Duration, holds func() bool) bool {
	return wait.PollUntilContextTimeout(d.Context(), time.Second, within, true, func(context.Context) (bool, error) { return holds(), nil }) == nil
}

// goOn lets a fault last: time is all that there is to wait for.
func (d *disturber) goOn(lasts time.Duration) {
	select {
	case <-time.After(lasts):
	case <-d.Context().Done():
	}
}

// inject makes a fault, and ends it. It returns the fault that happened, or an error.
func (c *campaign) inject(in faults.Injection, began time.Time) (faults.Fault, error) {
	select {
	case <-time.After(time.Until(began.Add(in.At))):
	case <-c.Context().Done():
		return "", c.Context().Err()
	}
	if in.Fault == faults.KilledBeforeWrite || in.Fault == faults.KilledAfterWrite {
		return c.killAtWrite(in)
	}
	return in.Fault, c.insistOn(c.makers()[in.Fault], in)
}

// maker makes a fault, and returns when it is over.
type maker func(context.Context, faults.Injection) error

// killAtWrite kills the operator at its next write; if there is none, it kills it all the same.
func (c *campaign) killAtWrite(in faults.Injection) (faults.Fault, error) {
	killed := make(chan error, 1)
	s := &apiproxy.Strike{After: in.Fault == faults.KilledAfterWrite, Status: in.Choice.IntN(3) == 0, Do: func(ip string) {
		pid, err := at(ip)
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		killed <- err
	}}
	for end := time.After(in.Lasts); ; {
		c.proxy.StrikeAtWrite(s)
		select {
		case err := <-killed:
			if err == nil {
				return in.Fault, nil
			}
			continue // it was killed just before by somebody else
		case <-end:
		}
		if !c.proxy.Disarm(s) {
			return in.Fault, <-killed
		}
		return faults.OperatorKilled, c.insistOn(c.killOperator, in)
	}
}

// killOperator kills one, mostly the one that leads.
func (c *campaign) killOperator(ctx context.Context, in faults.Injection) error {
	pid, err := c.leader(ctx)
	if err != nil {
		return err
	}
	if in.Choice.IntN(4) == 0 {
		all, err := c.operators()
		if err != nil {
			return err
		}
		pid = all[in.Choice.IntN(len(all))]
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// makers has one for each fault, but for those that wait for a write.
func (c *campaign) makers() map[faults.Fault]maker {
	return map[faults.Fault]maker{
		faults.OperatorKilled: c.killOperator,
		faults.LeaderChanged:  c.endLeader,
		faults.TwoLeaders:     c.pauseLeader,
		faults.ClockSet:       c.setClock,
		faults.CutOffAPI: func(_ context.Context, in faults.Injection) error {
			c.cutOff(in.Lasts, c.apiPort)
			return nil
		},
		faults.CutOffQueues: func(_ context.Context, in faults.Injection) error {
			return c.cutOffQueues(in)
		},
		faults.CutOffBoth: func(_ context.Context, in faults.Injection) error {
			return c.cutOffQueues(in, c.apiPort)
		},
		faults.EventsLate: func(_ context.Context, in faults.Injection) error {
			return c.holdBack(c.proxy.Hold(), in.Lasts, (*apiproxy.Hold).Release)
		},
		faults.EventsOfOneLate: func(_ context.Context, in faults.Injection) error {
			all := []string{"pods", "replicasets", "deployments", "queuescalers"}
			return c.holdBack(c.proxy.Hold(all[in.Choice.IntN(len(all))]), in.Lasts, (*apiproxy.Hold).Release)
		},
		faults.EventsNeverSeen: func(_ context.Context, in faults.Injection) error {
			return c.holdBack(c.proxy.Hold(), in.Lasts, (*apiproxy.Hold).Forget)
		},
		faults.APIServerKilled:   func(ctx context.Context, _ faults.Injection) error { return c.killPart(ctx, "kube-apiserver") },
		faults.EtcdKilled:        func(ctx context.Context, _ faults.Injection) error { return c.killPart(ctx, "etcd") },
		faults.ControllersKilled: func(ctx context.Context, _ faults.Injection) error { return c.killPart(ctx, "kube-controller-manager") },
		faults.QueueServerKilled: c.killBroker,
		faults.KubeletStopped:    c.stopKubelet,
		faults.PodOutOfMemory:    c.exhaust,
		faults.PodDeleted:        c.deletePod,
		faults.RolloutGood:       c.rollGood,
		faults.RolloutSlow:       c.rollBad("-work=100ms"),
		faults.RolloutStuck:      c.rollBad("-warm-up=1h"),
		faults.RolloutCrashes:    c.rollBad("-no-such-flag"),
	}
}

// one is a line that a choice fell on.
func (c *campaign) one(in faults.Injection) *line { return c.lines[in.Choice.IntN(len(c.lines))] }

func (c *campaign) endLeader(ctx context.Context, _ faults.Injection) error {
	name, err := holder(ctx)
	if err != nil {
		return err
	}
	if name == hostname(int(c.paused.Load())) {
		return errors.New("the leader is paused")
	}
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = operatorNamespace, name
	if err := shared.client.Delete(ctx, pod); err != nil {
		return err
	}
	if !c.sees(makeWithin, func() bool { return anotherLeads(ctx, name) }) {
		return errors.New("nobody else led then")
	}
	return nil
}

// pauseLeader stops the process that leads until another one does, which is after its lease of 15 s. When it goes on it believes for a moment
// that it still leads.
func (c *campaign) pauseLeader(ctx context.Context, in faults.Injection) error {
	pid, err := c.leader(ctx)
	if err != nil {
		return err
	}
	paused := hostname(pid)
	if was, err := holder(ctx); err != nil || was != paused {
		return errors.Join(errors.New("it cannot be told who leads"), err)
	}
	c.paused.Store(int64(pid))
	defer c.paused.Store(0)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	changed := c.sees(in.Lasts+makeWithin/2, func() bool { return anotherLeads(ctx, paused) })
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return err
	}
	if !changed {
		return errors.New("no other one led meanwhile")
	}
	return nil
}

func (c *campaign) setClock(_ context.Context, in faults.Injection) error {
	way := []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2}[in.Choice.IntN(2)]
	all, err := c.operators()
	for _, pid := range all {
		err = errors.Join(err, syscall.Kill(pid, way))
	}
	if err != nil {
		return err
	}
	c.goOn(in.Lasts)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGHUP) // it may have ended
	}
	return nil
}

func (c *campaign) cutOffQueues(in faults.Injection, more ...string) error {
	began := time.Now()
	ports := more
	for _, l := range c.lines {
		ports = append(ports, l.port)
	}
	c.cutOff(in.Lasts, ports...)
	for _, l := range c.lines {
		blind(l, began)
	}
	return nil
}

// blind notes that the operator could not read a line's queue since a time, until now.
func blind(l *line, since time.Time) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.blind[l.namespace] = append(shared.blind[l.namespace], history.BlindWithout(history.Interval{From: since, To: time.Now()}, time.Second))
}

func (d *disturber) holdBack(h *apiproxy.Hold, lasts time.Duration, end func(*apiproxy.Hold)) error {
	d.goOn(lasts)
	held := h.Held()
	end(h)
	if held == 0 {
		return errors.New("there was no event to hold back")
	}
	return nil
}

// killPart kills a part of the control plane, which is started again at once, and returns when the API server answers.
func (c *campaign) killPart(ctx context.Context, part string) error {
	pids, err := processes(part)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return err
	}
	err = insist(ctx, func(ctx context.Context) error { return shared.client.List(ctx, &corev1.NamespaceList{}) })
	if part != "kube-controller-manager" { // without which no write is lost
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.gaps = append(shared.gaps, history.Interval{From: began.Add(-time.Second), To: time.Now()})
	}
	return err
}

func (c *campaign) killBroker(_ context.Context, in faults.Injection) error {
	l := c.one(in)
	began := time.Now()
	l.broker.Kill()
	c.goOn(in.Lasts)
	var err error
	back := c.sees(makeWithin, func() bool { // its port may be taken for a moment
		err = l.broker.Restart()
		return err == nil
	})
	blind(l, began)
	if !back {
		c.Errorf("%s: %v", l.name, err)
	}
	return nil // not again
}

// stopKubelet stops the only node's, which with everything on it is not ready then.
func (c *campaign) stopKubelet(ctx context.Context, in faults.Injection) error {
	c.node.Lock()
	defer c.node.Unlock()
	if _, err := localcluster(ctx, "node", "stop", realNode); err != nil {
		return err
	}
	began := time.Now()
	noticed := c.sees(makeWithin, func() bool {
		var node corev1.Node
		err := shared.client.Get(ctx, client.ObjectKey{Name: realNode}, &node)
		return err == nil && !hasCondition(node.Status.Conditions, corev1.NodeReady, corev1.ConditionTrue)
	})
	c.goOn(in.Lasts - time.Since(began))
	if _, err := localcluster(ctx, "node", "start", realNode); err != nil {
		c.Error(err)
	}
	if !noticed {
		return errors.New("nobody noticed")
	}
	return nil
}

func hasCondition(all []corev1.NodeCondition, kind corev1.NodeConditionType, status corev1.ConditionStatus) bool {
	return slices.ContainsFunc(all, func(x corev1.NodeCondition) bool { return x.Type == kind && x.Status == status })
}

// exhaust has a process of a consumer take memory until the kernel ends it.
func (c *campaign) exhaust(_ context.Context, in faults.Injection) error {
	all, err := processes("/workload")
	if err != nil {
		return err
	}
	pid := all[in.Choice.IntN(len(all))]
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return err
	}
	if !c.sees(makeWithin, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }) {
		return errors.New("the process lives on")
	}
	return nil
}

// deletePod deletes a pod, half of the times without letting it finish.
func (c *campaign) deletePod(ctx context.Context, in faults.Injection) error {
	var pods corev1.PodList
	l := c.one(in)
	if err := shared.client.List(ctx, &pods, client.InNamespace(l.namespace)); err != nil {
		return err
	}
	if len(pods.Items) == 0 {
		return errors.New("there is no pod")
	}
	var options []client.DeleteOption
	if in.Choice.IntN(2) == 0 {
		options = append(options, client.GracePeriodSeconds(0))
	}
	return shared.client.Delete(ctx, &pods.Items[in.Choice.IntN(len(pods.Items))], options...)
}

func (c *campaign) rollGood(ctx context.Context, in faults.Injection) error {
	l := c.one(in)
	revision, err := l.roll(ctx)
	if err == nil {
		l.keep(revision)
	}
	return err
}

// rollBad rolls out a revision with these arguments, and after a while somebody puts the good one back.
func (c *campaign) rollBad(args ...string) maker {
	return func(ctx context.Context, in faults.Injection) error {
		l := c.one(in)
		if _, err := l.roll(ctx, args...); err != nil {
			return err
		}
		c.goOn(in.Lasts)
		return l.undo(ctx)
	}
}
