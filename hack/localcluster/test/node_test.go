// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

const (
	serverImage = "test/server:1"

	// roleVariable tells the test binary what it is for within a cluster, and imageVariable where the server's image is.
	roleVariable  = "LOCALCLUSTER_TEST_ROLE"
	imageVariable = "LOCALCLUSTER_TEST_IMAGE"
)

// TestNode runs itself in a cluster with a real node, and sees that nothing is left of it afterwards.
func TestNode(t *testing.T) {
	switch os.Getenv(roleVariable) {
	case "use":
		testOnNode(t, os.Getenv("LOCALCLUSTER_DATA_DIR"))
		return
	case "hold":
		holdNode(t, os.Getenv("LOCALCLUSTER_DATA_DIR"))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("a real node needs root")
	}
	image := serverArchive(t)
	before := machineState(t)

	t.Run("use", func(t *testing.T) {
		dir := t.TempDir()
		if out, err := nodeCommand(dir, image, "use", "--nodes=1").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		nothingLeft(t, dir, before)
		for _, log := range []string{"audit.log", "logs/node-kubelet.log", "logs/containerd.log"} {
			if info, err := os.Stat(filepath.Join(dir, log)); err != nil || info.Size() == 0 {
				t.Errorf("%s is not kept: %v", log, err)
			}
		}
	})
	t.Run("terminated", func(t *testing.T) {
		dir := t.TempDir()
		cmd := heldNode(t, dir, image)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(cmd.Wait()); code != 128+15 {
			t.Errorf("the command was terminated, and run returned %d", code)
		}
		nothingLeft(t, dir, before)
	})
	t.Run("supervisor killed", func(t *testing.T) {
		dir := t.TempDir()
		cmd := heldNode(t, dir, image)
		if err := exec.Command("kill", "-9", findProcess(t, dir, "node-supervisor")).Run(); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(cmd.Wait()); code != 128+9 {
			t.Errorf("the supervisor was killed, and run returned %d", code)
		}
		nothingLeft(t, dir, before)
	})
	t.Run("killed", func(t *testing.T) {
		dir := t.TempDir()
		cmd := heldNode(t, dir, image)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		eventually(t, func() error { return errors.Join(leftProcesses(t, dir), leftOnMachine(t, before)) })

		// Cgroups and files are removed by the next run, whose command's exit code is passed on.
		_, err := localcluster(t, dir, "run", "--node", "--data-dir="+dir, "--", "sh", "-c", "exit 7")
		if exitCode(err) != 7 {
			t.Errorf("the command ended with 7, and run with %v", err)
		}
		nothingLeft(t, dir, before)
	})
}

func TestNodeRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		want string
		args []string
	}{
		{"run needs --node", []string{"run", "true"}},
		{"--nodes is -1", []string{"run", "--node", "--nodes=-1", "true"}},
		{"from within 'localcluster run --node", []string{"image", "load", "x.tar"}},
	} {
		if out, err := localcluster(t, dir, test.args...); err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%v: %v, %q", test.args, err, out)
		}
	}
	if os.Geteuid() != 0 {
		if out, err := localcluster(t, dir, "run", "--node", "true"); err == nil || !strings.Contains(out, "needs root") {
			t.Errorf("run without root: %v, %q", err, out)
		}
	}
}

// serverArchive builds the image of ./server.
func serverArchive(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "server")
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, "./server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	image := filepath.Join(dir, "image.tar")
	if err := cluster.WriteImage(image, serverImage, program); err != nil {
		t.Fatal(err)
	}
	return image
}

// nodeCommand runs this test again in a cluster with a real node.
func nodeCommand(dir, image, role string, flags ...string) *exec.Cmd {
	args := append([]string{"run", "--node", "--data-dir=" + dir}, flags...)
	cmd := exec.Command(binary, append(args, "--", os.Args[0], "-test.run=^TestNode$", "-test.v", "-test.timeout=5m")...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, imageVariable+"="+image)
	return cmd
}

// heldNode starts a cluster in which a pod runs until something ends it.
func heldNode(t *testing.T, dir, image string) *exec.Cmd {
	t.Helper()
	cmd := nodeCommand(dir, image, "hold")
	log := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test failed
	eventually(t, func() error {
		if content := readFile(t, log); !strings.Contains(content, "holding") {
			return fmt.Errorf("no pod runs yet:\n%s", content)
		}
		return nil
	})
	return cmd
}

func holdNode(t *testing.T, dir string) {
	runServers(t, dir)
	fmt.Println("holding")
	select {}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// machineState is what a node might leave on the machine besides processes, cgroups and files: interfaces, named network namespaces
// and mounts.
func machineState(t *testing.T) []string {
	t.Helper()
	var all []string
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		all = append(all, "interface "+i.Name)
	}
	named, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(readFile(t, "/proc/self/mountinfo")) {
		all = append(all, "mount "+strings.TrimSpace(line))
	}
	return append(all, named...)
}

// leftOnMachine says what is new of the machine's state.
func leftOnMachine(t *testing.T, before []string) error {
	t.Helper()
	var left []string
	for _, now := range machineState(t) {
		if !slices.Contains(before, now) {
			left = append(left, now)
		}
	}
	return leftover(left)
}

// leftProcesses says which processes are the node's: those that name its directory, and those in its cgroups.
func leftProcesses(t *testing.T, dir string) error {
	t.Helper()
	left := processes(t, dir)
	members, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range members {
		if content, err := os.ReadFile(member); err == nil && bytes.Contains(content, []byte(cluster.Dir(dir).CgroupName())) {
			left = append(left, filepath.Dir(member))
		}
	}
	return leftover(left)
}

func leftCgroups(t *testing.T, dir string) error {
	t.Helper()
	var left []string
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, err := filepath.Glob(filepath.Join(root, cluster.Dir(dir).CgroupName()))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	return leftover(left)
}

func leftover(left []string) error {
	if len(left) > 0 {
		return fmt.Errorf("left: %v", left)
	}
	return nil
}

// nothingLeft fails unless all of the node is gone at once.
func nothingLeft(t *testing.T, dir string, before []string) {
	t.Helper()
	if err := errors.Join(leftProcesses(t, dir), leftOnMachine(t, before), leftCgroups(t, dir)); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"node", "ready"} {
		if _, err := os.Stat(filepath.Join(dir, file)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
}

const serverManifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers:
      - {name: c, image: "` + serverImage + `", imagePullPolicy: Never, readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
`

func runServers(t *testing.T, dir string) {
	t.Helper()
	must(t, dir, "image", "load", os.Getenv(imageVariable))
	apply(t, dir, serverManifest)
	kubectl(t, dir, "wait", "deployment/server", "--for=jsonpath={.status.availableReplicas}=2", "--timeout=60s")
}

func testOnNode(t *testing.T, dir string) {
	runServers(t, dir)
	defer func() {
		if t.Failed() {
			t.Log(kubectl(t, dir, "describe", "pods"))
		}
	}()
	t.Run("network", func(t *testing.T) { testNodeNetwork(t, dir) })
	t.Run("logs", func(t *testing.T) {
		for name := range getPods(t, dir) {
			if log := kubectl(t, dir, "logs", name); !strings.Contains(log, "listening") || !strings.Contains(log, "asked for /") {
				t.Errorf("%s logged %q", name, log)
			}
		}
	})
	t.Run("simulated node", func(t *testing.T) { testBesideSimulated(t, dir) })
	t.Run("registry", func(t *testing.T) { testRegistry(t, dir) })
	t.Run("admission plugins", func(t *testing.T) { testAdmission(t, dir) })
	t.Run("restarts", func(t *testing.T) { testNodeRestarts(t, dir) })
	t.Run("node loss", func(t *testing.T) { testRealNodeLoss(t, dir) })
}

func get(t *testing.T, address string) string {
	t.Helper()
	answer, err := http.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func serviceIP(t *testing.T, dir, name string) string {
	t.Helper()
	return kubectl(t, dir, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
}

// Each sees the other: the command pods and Services, pods Services, the API server and the command.
func testNodeNetwork(t *testing.T, dir string) {
	http.DefaultTransport.(*http.Transport).DisableKeepAlives = true
	pods := getPods(t, dir)
	service := serviceIP(t, dir, "server")
	for name, p := range pods {
		if got := get(t, p.Status.PodIP+":8080"); got != name {
			t.Errorf("%s answers %q", name, got)
		}
		answered := map[string]bool{}
		eventually(t, func() error {
			answered[kubectl(t, dir, "exec", name, "--", "/server", "get", "http://"+service)] = true
			for other := range pods {
				if !answered[other] {
					return fmt.Errorf("%s asked the Service, and none but %v answered", name, answered)
				}
			}
			return nil
		})
	}
	if _, ok := pods[get(t, service)]; !ok {
		t.Errorf("no pod answers at the Service")
	}

	listener, err := net.Listen("tcp", os.Getenv("LOCALCLUSTER_NODE_ADDRESS")+":0")
	if err != nil {
		t.Fatal(err)
	}
	command := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "the command")
	})}}
	command.Start()
	defer command.Close()
	for name := range pods {
		if got := kubectl(t, dir, "exec", name, "--", "/server", "get", command.URL); got != "the command" {
			t.Errorf("%s asked the command, which answered %q", name, got)
		}
		// With the certificate checked, of which the address is a part.
		if got := kubectl(t, dir, "exec", name, "--", "/server", "get", "https://"+serviceIP(t, dir, "kubernetes")+"/version"); !strings.Contains(got, "v1.37.2") {
			t.Errorf("%s asked the API server, which answered %q", name, got)
		}
	}
}

// Only pods that ask for it are simulated.
func testBesideSimulated(t *testing.T, dir string) {
	apply(t, dir, podManifest("simulated", "", ", tolerations: [{key: "+cluster.SimulatedLabel+", operator: Exists}], nodeSelector: {"+cluster.SimulatedLabel+": ''}"))
	eventuallyPods(t, dir, map[string]string{"simulated": running + " Ready"})
	nodes := strings.Fields(kubectl(t, dir, "get", "pods", "-l", "app=server", "-o", "jsonpath={.items[*].spec.nodeName}"))
	if want := []string{cluster.NodeName, cluster.NodeName}; !slices.Equal(nodes, want) {
		t.Errorf("the servers run on %v", nodes)
	}
	kubectl(t, dir, "delete", "pod", "simulated")
}

// testRegistry has the node pull from registries that the command serves by plain HTTP.
func testRegistry(t *testing.T, dir string) {
	registry := registryOf(t, os.Getenv(imageVariable))
	for name, address := range map[string]string{
		"from-loopback": "127.0.0.1:0",
		"from-address":  fmt.Sprintf("%s:%d", os.Getenv("LOCALCLUSTER_NODE_ADDRESS"), cluster.RegistryPort),
	} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: registry}}
		server.Start()
		defer server.Close()
		kubectl(t, dir, "run", name, "--image="+listener.Addr().String()+"/pulled:1")
		kubectl(t, dir, "wait", "pod/"+name, "--for=condition=Ready", "--timeout=60s")
		kubectl(t, dir, "delete", "pod", name, "--now")
	}
}

// registryOf serves an image that WriteImage made, under any name.
func registryOf(t *testing.T, path string) http.Handler {
	t.Helper()
	files := map[string][]byte{}
	for archive := tar.NewReader(strings.NewReader(readFile(t, path))); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": %q, "config": %s, "layers": [%s]}`, manifestType,
		descriptor("application/vnd.oci.image.config.v1+json", files["config.json"]),
		descriptor("application/vnd.oci.image.layer.v1.tar", files["layer.tar"]))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content := []byte(manifest)
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", manifestType)
			w.Header().Set("Docker-Content-Digest", digest(content))
		} else {
			for _, file := range files {
				if strings.HasSuffix(r.URL.Path, digest(file)) {
					content = file
				}
			}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func descriptor(mediaType string, content []byte) string {
	return fmt.Sprintf(`{"mediaType": %q, "digest": %q, "size": %d}`, mediaType, digest(content), len(content))
}

// testAdmission sees that the plugins of a cluster without a real node are on beside NodeRestriction.
func testAdmission(t *testing.T, dir string) {
	out, err := localcluster(t, dir, "kubectl", "--kubeconfig="+filepath.Join(dir, "pki", "system:node:"+cluster.NodeName+".kubeconfig"),
		"label", "node", cluster.NodeName, "node-restriction.kubernetes.io/a=b")
	if err == nil || !strings.Contains(out, "is not allowed to modify labels") {
		t.Errorf("the node labels itself: %v, %q", err, out)
	}

	kubectl(t, dir, "create", "role", "configmaps", "--verb=create", "--resource=configmaps")
	kubectl(t, dir, "create", "rolebinding", "configmaps", "--role=configmaps", "--serviceaccount=default:default")
	token := strings.TrimSpace(kubectl(t, dir, "create", "token", "default"))
	uid := kubectl(t, dir, "get", "deployment", "server", "-o", "jsonpath={.metadata.uid}")
	path := filepath.Join(t.TempDir(), "owned.yaml")
	owned := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: server, blockOwnerDeletion: true, uid: " + uid + "}]}\n"
	if err := os.WriteFile(path, []byte(owned), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = localcluster(t, dir, "kubectl", "create", "-f", path, "--token="+token)
	if err == nil || !strings.Contains(out, "cannot set blockOwnerDeletion") {
		t.Errorf("an owner reference without the right to it: %v, %q", err, out)
	}
}

// testNodeRestarts sees that containers outlive what runs them.
func testNodeRestarts(t *testing.T, dir string) {
	before := getPods(t, dir)
	for _, component := range []string{"containerd", "node-kubelet", "proxy"} {
		must(t, dir, "restart", component)
	}
	for name, p := range getPods(t, dir) {
		if _, ok := before[name]; !ok || p.restarts() != 0 {
			t.Errorf("%s is new, or restarted %d times", name, p.restarts())
		}
		if got := get(t, p.Status.PodIP+":8080"); got != name {
			t.Errorf("%s answers %q", name, got)
		}
	}
	kubectl(t, dir, "scale", "deployment/server", "--replicas=3")
	kubectl(t, dir, "wait", "deployment/server", "--for=jsonpath={.status.availableReplicas}=3", "--timeout=60s")
}

func testRealNodeLoss(t *testing.T, dir string) {
	lost := getPods(t, dir)
	must(t, dir, "node", "stop", cluster.NodeName)
	if out, err := localcluster(t, dir, "restart", "node-kubelet"); err == nil || !strings.Contains(out, "node start") {
		t.Errorf("restart of a stopped kubelet: %v, %q", err, out)
	}
	// Nobody says so to the containers.
	for name, p := range lost {
		if got := get(t, p.Status.PodIP+":8080"); got != name {
			t.Errorf("on the lost node %s answers %q", name, got)
		}
	}
	eventually(t, func() error {
		ready := kubectl(t, dir, "get", "endpointslices", "-l", "kubernetes.io/service-name=server",
			"-o", "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}")
		if ready != "" {
			return fmt.Errorf("%s on the lost node are ready", ready)
		}
		return nil
	})
	// The tolerations end after 5 s.
	eventually(t, func() error {
		for name := range getPods(t, dir) {
			if _, ok := lost[name]; !ok {
				return nil
			}
		}
		return errors.New("no pod was replaced")
	})
	must(t, dir, "node", "start", cluster.NodeName)
	eventually(t, func() error {
		pods := getPods(t, dir)
		for name, p := range pods {
			if _, ok := lost[name]; ok || !p.is("Ready") {
				return fmt.Errorf("on the node that is back, %s is %s", name, p.show())
			}
		}
		if len(pods) != len(lost) {
			return fmt.Errorf("%d pods instead of %d", len(pods), len(lost))
		}
		return nil
	})
}
