// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The real node. Its addresses exist only in the network namespace of the cluster.
const (
	NodeName    = "worker-1"
	NodeAddress = "10.32.0.1"

	// RegistryPort is where containerd expects plain HTTP on NodeAddress; on 127.0.0.1 it does so on every port.
	RegistryPort = 5000

	// nodePodRange is where the real node's pods get their addresses from. Simulated pods have others.
	nodePodRange = "10.64.0.0/16"

	// pauseImage holds the namespaces of each pod.
	pauseImage = "localcluster.local/pause:1"

	containerdSocket = "/run/containerd/containerd.sock"
)

// Names of the components of a real node.
const (
	Containerd  = "containerd"
	NodeKubelet = "node-kubelet"
	KubeProxy   = "kube-proxy"
)

// NodePath is a path among the files of the real node, which do not outlive it.
func (d Dir) NodePath(elem ...string) string {
	return d.path(append([]string{"node"}, elem...)...)
}

// CgroupName is the name of the cgroup, in each hierarchy, below which everything of the real node is.
func (d Dir) CgroupName() string {
	sum := sha256.Sum256([]byte(d))
	return fmt.Sprintf("%s%x", CgroupPrefix, sum[:6])
}

// CgroupPrefix begins the cgroup names of all clusters.
const CgroupPrefix = "localcluster-"

// nodeProgram is the path of containerd or of what belongs to it: hack/node/build.sh puts them beside this binary.
func nodeProgram(name ...string) string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return filepath.Join(append([]string{filepath.Dir(self), "node"}, name...)...)
}

// MissingForNode names what a real node needs and this machine lacks, each with its remedy.
func MissingForNode() []string {
	var missing []string
	for _, program := range []string{"runc", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program+" (hack/localcluster/needs.sh installs it)")
		}
	}
	if _, err := os.Stat(nodeProgram("containerd")); err != nil {
		missing = append(missing, nodeProgram("containerd")+" (hack/node/build.sh builds it)")
	}
	return missing
}

// LoadImages imports image archives, in the format of docker save or OCI's, into the real node's containerd. It works in the
// namespaces of the node only.
func LoadImages(ctx context.Context, archives ...string) error {
	if _, err := os.Stat(containerdSocket); err != nil {
		return fmt.Errorf("there is no real node here (%w): load images from within 'localcluster run --node -- COMMAND'", err)
	}
	for _, archive := range archives {
		cmd := exec.CommandContext(ctx, nodeProgram("ctr"), "--address="+containerdSocket, "--namespace=k8s.io", "images", "import", archive)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("load %s: %w: %s", archive, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

func (d Dir) nodeComponents() []component {
	return []component{
		{
			name: Containerd, path: nodeProgram("containerd"), args: []string{"--config=" + d.NodePath("containerd.toml")},
			health: "unix:" + containerdSocket, stopTimeout: stopTimeout,
		},
		{
			name: KubeProxy, args: []string{"--config=" + d.NodePath("kube-proxy.yaml")},
			health: "http://127.0.0.1:10256/healthz", stopTimeout: stopTimeout,
		},
		{
			name: NodeKubelet, args: []string{
				"--config=" + d.NodePath("kubelet.yaml"),
				"--kubeconfig=" + d.path("pki", "system:node:"+NodeName+".kubeconfig"),
				"--hostname-override=" + NodeName,
				"--node-ip=" + NodeAddress,
				"--node-labels=topology.kubernetes.io/zone=zone-a",
			},
			health: "http://127.0.0.1:10248/healthz", stopTimeout: stopTimeout,
		},
	}
}

// apiServerNodeArgs make the API server reachable for pods, and the node's faults quick.
func (d Dir) apiServerNodeArgs() []string {
	return []string{
		"--bind-address=0.0.0.0",
		"--advertise-address=" + NodeAddress,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", // besides those that the others have
		"--default-not-ready-toleration-seconds=5",
		"--default-unreachable-toleration-seconds=5",
		"--kubelet-preferred-address-types=InternalIP",
		// Hours of writes with their bodies, about 7 kB each, for test/history.
		"--audit-log-maxsize=1024",
		"--audit-log-maxbackup=3",
		"--kubelet-client-certificate=" + d.path("pki", "kubelet-client.crt"),
		"--kubelet-client-key=" + d.path("pki", "kubelet-client.key"),
	}
}

// writeNodeFiles writes what the real node's parts read.
func (d Dir) writeNodeFiles() error {
	registry := d.NodePath("registries", fmt.Sprintf("%s:%d", NodeAddress, RegistryPort))
	for _, dir := range []string{registry, d.NodePath("cni.d")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return errors.Join(
		writeFile(filepath.Join(registry, "hosts.toml"), fmt.Sprintf("server = \"http://%s:%d\"\n", NodeAddress, RegistryPort)),
		writeFile(d.NodePath("cni.d", "10-pods.conflist"), cniConfig),
		writeFile(d.NodePath("containerd.toml"), d.containerdConfig()),
		writeFile(d.NodePath("kubelet.yaml"), d.kubeletConfig()),
		writeFile(d.NodePath("kube-proxy.yaml"), d.kubeProxyConfig()),
		WriteImage(d.NodePath("pause.tar"), pauseImage, nodeProgram("pause")),
	)
}

// cniConfig gives each pod a routed link of its own. On a bridge, answers to a Service's client on the same node would bypass
// the translation of addresses.
const cniConfig = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "` + nodePodRange + `"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

func (d Dir) containerdConfig() string {
	return fmt.Sprintf(`version = 3
root = %[1]q
disabled_plugins = ["io.containerd.nri.v1.nri"]

[plugins."io.containerd.internal.v1.opt"]
path = %[2]q

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = %[3]q

[plugins."io.containerd.cri.v1.images".registry]
config_path = %[4]q

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true # lowering it takes CAP_SYS_RESOURCE

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [%[5]q]
conf_dir = %[6]q
use_internal_loopback = true
`, d.NodePath("containerd"), d.NodePath("opt"), pauseImage, d.NodePath("registries"), nodeProgram(), d.NodePath("cni.d"))
}

func (d Dir) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]q}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
containerRuntimeEndpoint: unix://%[3]s
enforceNodeAllocatable: []
# Disk statistics are not available everywhere.
evictionHard: {memory.available: 10Mi, nodefs.available: 0%%, imagefs.available: 0%%, nodefs.inodesFree: 0%%}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
# An image may have been both loaded and pulled under another name.
imagePullCredentialsVerificationPolicy: NeverVerify
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
maxPods: 250
nodeLeaseDurationSeconds: %[4]d
oomScoreAdj: 0
registryPullQPS: 0
resolvConf: ""
serializeImagePulls: false
`, d.path("pki", "ca.crt"), d.CgroupName(), containerdSocket, gracePeriodSeconds*4/5)
}

// kubeProxyConfig leaves alone the limits of connection tracking, which only the machine's own namespace can change.
func (d Dir) kubeProxyConfig() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %q}
clusterCIDR: %s
hostnameOverride: %s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, d.path("pki", "system:kube-proxy.kubeconfig"), nodePodRange, NodeName)
}
