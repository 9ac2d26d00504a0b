// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package test runs the built binary, bin/localcluster, and sees that clusters start, end, resume and recover as documented.
package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 60 * time.Second

var binary string

func TestMain(m *testing.M) {
	var err error
	if binary, err = filepath.Abs("../../../bin/localcluster"); err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build it first, with hack/localcluster/build.sh:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// localcluster runs the binary in a data directory and returns what it printed.
func localcluster(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "LOCALCLUSTER_DATA_DIR="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is localcluster for what has to succeed.
func must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := localcluster(t, dir, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func kubectl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return must(t, dir, append([]string{"kubectl"}, args...)...)
}

func apply(t *testing.T, dir, manifest string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, dir, "apply", "-f", path)
}

// upDetached starts a cluster that the test's end stops.
func upDetached(t *testing.T, dir string, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		// t.Context has ended by now.
		cmd := exec.Command(binary, "down", "--data-dir="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	must(t, dir, append([]string{"up", "--detach"}, args...)...)
}

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still, after %s: %v", patience, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// processes lists the IDs of the processes that were started with the data directory.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-ww", "-o", "pid=,stat=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if strings.Contains(line, binary) && strings.Contains(line, dir) && !strings.HasPrefix(fields[1], "Z") {
			pids = append(pids, fields[0])
		}
	}
	return pids
}

func supervisorPID(t *testing.T, dir string) int {
	t.Helper()
	out := must(t, dir, "up")
	match := regexp.MustCompile(`Already running \(process (\d+)\)`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("a second up printed:\n%s", out)
	}
	var pid int
	if _, err := fmt.Sscan(match[1], &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// One cluster is started, killed, resumed, stopped, kept from its port, and removed.
func TestLife(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cluster")
	upDetached(t, dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if info, err := os.Stat(kubeconfig); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", info, err)
	}
	kubectl(t, dir, "create", "configmap", "kept", "--from-literal=a=b")
	before := readFile(t, kubeconfig)

	if err := syscall.Kill(supervisorPID(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if left := processes(t, dir); len(left) > 0 {
			return fmt.Errorf("the supervisor was killed and these live on: %v", left)
		}
		return nil
	})

	upDetached(t, dir)
	if after := readFile(t, kubeconfig); after != before {
		t.Errorf("kubeconfig changed from\n%s\nto\n%s", before, after)
	}
	if got := kubectl(t, dir, "get", "configmap", "kept", "-o", "jsonpath={.data.a}"); got != "b" {
		t.Errorf("the ConfigMap holds %q after the restart", got)
	}

	if out := must(t, dir, "down"); out != "Stopped.\n" {
		t.Errorf("down printed %q", out)
	}
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("these live on after down: %v", left)
	}
	if out := must(t, dir, "down"); !strings.Contains(out, "No cluster is running") {
		t.Errorf("a second down printed %q", out)
	}

	port := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindStringSubmatch(before)[1]
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	out, err := localcluster(t, dir, "up")
	listener.Close()
	if err == nil || !strings.Contains(out, "port "+port+" on 127.0.0.1 is taken") || !strings.Contains(out, "--apiserver-port") {
		t.Errorf("up on a taken port: %v, %q", err, out)
	}

	must(t, dir, "down", "--purge")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory is still there: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"nodes", "--nodes is 0", []string{"up", "--nodes=0"}},
		{"port", "--apiserver-port is 70000", []string{"up", "--apiserver-port=70000"}},
		{"seconds", "--pod-ready-seconds is NaN", []string{"up", "--pod-ready-seconds=NaN"}},
		{"restart", "no cluster is running in " + dir, []string{"restart", "etcd"}},
		{"component", `there is no component "dns"`, []string{"restart", "dns"}},
		{"node", "no cluster is running in " + dir, []string{"node", "stop", "node-1"}},
		{"data directory", "/dev/null/x cannot be used", []string{"up", "--data-dir=/dev/null/x"}},
		{"purge", dir + " holds no cluster: not removed", []string{"down", "--purge"}},
	} {
		if out, err := localcluster(t, dir, test.args...); err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v, %q", test.name, err, out)
		}
	}
}

// A cluster ends with the process that holds its standard input, and when a component cannot be kept running.
func TestEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(binary, "up", "--data-dir="+dir, "--until-stdin-closes")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ready in") {
	}
	stdin.Close()
	for lines.Scan() {
		if len(lines.Text()) > 80 && !strings.Contains(lines.Text(), "/") {
			t.Errorf("wider than 80 columns: %s", lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("these live on: %v", left)
	}

	upDetached(t, dir)
	eventually(t, func() error {
		for _, pid := range strings.Fields(findProcess(t, dir, "kube-scheduler")) {
			_ = exec.Command("kill", "-9", pid).Run() // it may have ended
		}
		if left := processes(t, dir); len(left) > 0 {
			return fmt.Errorf("the scheduler keeps dying and these live on: %v", left)
		}
		return nil
	})
	log := readFile(t, filepath.Join(dir, "logs", "localcluster.log"))
	for _, want := range []string{"kube-scheduler ended by itself (signal: killed); starting it again", "Error: kube-scheduler ended 4 times within 1m0s"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func findProcess(t *testing.T, dir, component string) string {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-ww", "-o", "pid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, binary+" "+component+" ") && strings.Contains(line, dir) {
			pids = append(pids, strings.Fields(line)[0])
		}
	}
	return strings.Join(pids, " ")
}

// pod is what the tests look at of a pod.
type pod struct {
	Metadata struct{ Name string }
	Status   struct {
		Phase, PodIP, StartTime string

		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct {
			Ready, Started bool
			RestartCount   int
			State          map[string]struct{ Reason string }
		}
	}
}

func (p pod) is(condition string) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == condition {
			return c.Status == "True"
		}
	}
	return false
}

func (p pod) restarts() int { return p.Status.ContainerStatuses[0].RestartCount }

// show is the state of a pod as one line.
func (p pod) show() string {
	line := p.Status.Phase
	if len(p.Status.ContainerStatuses) > 0 {
		for state, detail := range p.Status.ContainerStatuses[0].State {
			line += " " + strings.TrimSpace(state+" "+detail.Reason)
		}
	}
	if p.is("Ready") {
		line += " Ready"
	}
	return line
}

func getPods(t *testing.T, dir string) map[string]pod {
	t.Helper()
	var list struct{ Items []pod }
	if err := json.Unmarshal([]byte(kubectl(t, dir, "get", "pods", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	pods := map[string]pod{}
	for _, p := range list.Items {
		pods[p.Metadata.Name] = p
	}
	return pods
}

// eventuallyPods waits until each of the pods shows what it should; "gone" is a pod that is not there.
func eventuallyPods(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	eventually(t, func() error {
		pods := getPods(t, dir)
		for name, show := range want {
			got := "gone"
			if p, ok := pods[name]; ok {
				got = p.show()
			}
			if got != show {
				return fmt.Errorf("pod %s is %q, want %q", name, got, show)
			}
		}
		return nil
	})
}

func podManifest(name, metadata, spec string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s%s}\nspec: {containers: [{name: c, image: x}, {name: d, image: x}]%s}\n",
		name, metadata, spec)
}

func annotated(key, value string) string {
	return fmt.Sprintf(", annotations: {localcluster.queuescaler.io/%s: %q}", key, value)
}

const running = "Running running"

// One cluster shows what pods can do, then loses its components and a node.
func TestCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	upDetached(t, dir, "--nodes=2", "--pod-ready-seconds=0.2")
	t.Run("pods", func(t *testing.T) { testPods(t, dir) })
	t.Run("endings", func(t *testing.T) { testEndings(t, dir) })
	t.Run("access", func(t *testing.T) { testAccess(t, dir) })
	t.Run("restarts", func(t *testing.T) { testRestarts(t, dir) })
	t.Run("node loss", func(t *testing.T) { testNodeLoss(t, dir) })
}

func testPods(t *testing.T, dir string) {
	apply(t, dir, podManifest("plain", "", "")+
		podManifest("slow", annotated("ready-after", "1h"), "")+
		podManifest("unready", annotated("behavior", "never-ready"), "")+
		podManifest("crashing", annotated("behavior", "crash-loop"), "")+
		podManifest("unpullable", annotated("behavior", "image-pull-error"), "")+
		podManifest("misspelled", annotated("behavior", "crashloop"), "")+
		podManifest("restarted", annotated("restarts", "2"), "")+
		podManifest("gated", "", ", readinessGates: [{conditionType: example.com/open}]")+
		podManifest("init", "", ", initContainers: [{name: i, image: x}]")+
		podManifest("held", `, labels: {role: standby}`+annotated("init-waits-for", "role=active"), ", initContainers: [{name: i, image: x}, {name: j, image: x}]")+
		podManifest("elsewhere", "", ", nodeSelector: {no: such}"))
	eventuallyPods(t, dir, map[string]string{
		"plain":      running + " Ready",
		"slow":       running,
		"unready":    running,
		"unpullable": "Pending waiting ImagePullBackOff",
		"misspelled": "Pending waiting CreateContainerConfigError",
		"restarted":  running + " Ready",
		"gated":      running,
		"init":       running + " Ready",
		"held":       "Pending waiting PodInitializing",
		"elsewhere":  "Pending",
	})
	eventually(t, func() error {
		pods := getPods(t, dir)
		if crashing := pods["crashing"]; crashing.restarts() < 2 || crashing.show() != "Running waiting CrashLoopBackOff" {
			return fmt.Errorf("the crashing pod is %q after %d restarts", crashing.show(), crashing.restarts())
		}
		if n := pods["restarted"].restarts(); n != 2 {
			return fmt.Errorf("the restarted pod restarted %d times", n)
		}
		if !pods["gated"].is("ContainersReady") {
			return fmt.Errorf("the gated pod's containers are not ready")
		}
		return nil
	})
	ips := map[string]string{}
	for name, p := range getPods(t, dir) {
		if other, taken := ips[p.Status.PodIP]; taken {
			t.Errorf("%s and %s have the same address %s", name, other, p.Status.PodIP)
		}
		if name != "elsewhere" {
			ips[p.Status.PodIP] = name
			if p.Status.PodIP == "" || p.Status.StartTime == "" || p.Status.ContainerStatuses[0].Ready != p.is("ContainersReady") {
				t.Errorf("pod %s has the status %+v", name, p.Status)
			}
		}
	}

	// What a pod does follows its annotations while it runs.
	for _, name := range []string{"unready", "crashing", "unpullable"} {
		kubectl(t, dir, "annotate", "pod", name, "localcluster.queuescaler.io/behavior-")
	}
	kubectl(t, dir, "annotate", "pod", "plain", "localcluster.queuescaler.io/behavior=never-ready")
	kubectl(t, dir, "annotate", "pod", "slow", "localcluster.queuescaler.io/ready-after=1s", "--overwrite")
	kubectl(t, dir, "label", "pod", "held", "role=active", "--overwrite")
	kubectl(t, dir, "patch", "pod", "gated", "--subresource=status",
		"-p", `{"status":{"conditions":[{"type":"example.com/open","status":"True"}]}}`)
	eventuallyPods(t, dir, map[string]string{
		"unready": running + " Ready", "crashing": running + " Ready", "unpullable": running + " Ready",
		"plain": running, "slow": running + " Ready", "held": running + " Ready", "gated": running + " Ready",
	})
}

func testEndings(t *testing.T, dir string) {
	apply(t, dir, podManifest("quick", "", "")+
		podManifest("lingering", annotated("terminate-after", "20s"), "")+
		podManifest("late", annotated("terminate-after", "1h"), ", terminationGracePeriodSeconds: 1")+
		podManifest("finalized", ", finalizers: [example.com/keep]", ""))
	all := []string{"quick", "lingering", "late", "finalized"}
	eventuallyPods(t, dir, map[string]string{
		"quick": running + " Ready", "lingering": running + " Ready", "late": running + " Ready", "finalized": running + " Ready",
	})
	kubectl(t, dir, append([]string{"delete", "pod", "--wait=false"}, all...)...)
	eventuallyPods(t, dir, map[string]string{
		"quick": "gone", "late": "gone", "finalized": "Succeeded terminated Completed", "lingering": running + " Ready",
	})
	kubectl(t, dir, "patch", "pod", "finalized", "-p", `{"metadata":{"finalizers":null}}`)
	kubectl(t, dir, "annotate", "pod", "lingering", "localcluster.queuescaler.io/terminate-after-")
	eventuallyPods(t, dir, map[string]string{"finalized": "gone", "lingering": "gone"})
}

// testAccess sees that RBAC and pod security are in force, and that service account tokens are issued.
func testAccess(t *testing.T, dir string) {
	token := strings.TrimSpace(kubectl(t, dir, "create", "token", "default"))
	out, err := localcluster(t, dir, "kubectl", "get", "secrets", "--token="+token)
	if err == nil || !strings.Contains(out, `User "system:serviceaccount:default:default" cannot list resource "secrets"`) {
		t.Errorf("a service account without rights lists secrets: %v, %q", err, out)
	}

	kubectl(t, dir, "create", "namespace", "restricted")
	kubectl(t, dir, "label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted")
	eventually(t, func() error {
		_, err := localcluster(t, dir, "kubectl", "-n", "restricted", "get", "serviceaccount", "default")
		return err
	})
	out, err = localcluster(t, dir, "kubectl", "-n", "restricted", "run", "p", "--image=x")
	if err == nil || !strings.Contains(out, "violates PodSecurity") {
		t.Errorf("an unrestricted pod in a restricted namespace: %v, %q", err, out)
	}
}

func testRestarts(t *testing.T, dir string) {
	apply(t, dir, `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: c, image: x}]}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80}]}
`)
	replicas := 1
	for _, component := range []string{"etcd", "apiserver", "controller-manager", "scheduler", "kubelet"} {
		must(t, dir, "restart", component)
		replicas++
		kubectl(t, dir, "scale", "deployment/app", fmt.Sprint("--replicas=", replicas))
		kubectl(t, dir, "wait", "deployment/app", fmt.Sprint("--for=jsonpath={.status.availableReplicas}=", replicas), "--timeout=60s")
	}
	eventually(t, func() error {
		endpoints := kubectl(t, dir, "get", "endpointslices", "-l", "kubernetes.io/service-name=app",
			"-o", "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}")
		addresses := map[string]bool{}
		for _, a := range strings.Fields(endpoints) {
			addresses[a] = true
		}
		if len(addresses) != replicas {
			return fmt.Errorf("%d pods have the ready endpoints %q", replicas, endpoints)
		}
		return nil
	})
	log := readFile(t, filepath.Join(dir, "logs", "localcluster.log"))
	if strings.Contains(log, "kubelet ended by itself") || strings.Contains(log, "etcd ended by itself") {
		kubelet := readFile(t, filepath.Join(dir, "logs", "kubelet.log"))
		t.Errorf("a component did not survive the restart of another:\n%s\nThe kubelet's log ends with:\n%s", log, kubelet[max(0, len(kubelet)-8192):])
	}
}

func testNodeLoss(t *testing.T, dir string) {
	lost := func() (pods, ready int) {
		out := kubectl(t, dir, "get", "pods", "--field-selector=spec.nodeName=node-1", "-l", "app=app",
			"-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		return len(strings.Fields(out)), strings.Count(out, "True")
	}
	must(t, dir, "node", "stop", "node-1")
	eventually(t, func() error {
		if pods, ready := lost(); pods == 0 || ready != 0 {
			return fmt.Errorf("%d of %d pods on the lost node are Ready", ready, pods)
		}
		return nil
	})
	must(t, dir, "node", "start", "node-1")
	eventually(t, func() error {
		if pods, ready := lost(); pods == 0 || ready != pods {
			return fmt.Errorf("%d of %d pods on the node that is back are Ready", ready, pods)
		}
		return nil
	})
	if out, err := localcluster(t, dir, "node", "stop", "node-9"); err == nil || !strings.Contains(out, "there are: node-1, node-2") {
		t.Errorf("stop of an unknown node: %v, %q", err, out)
	}
}
