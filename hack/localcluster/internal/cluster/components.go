// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"time"
)

// component is one child process: this binary under another name, or a binary of its own.
type component struct {
	name   string
	path   string // of its binary; "" for this one
	args   []string
	health string // URL that answers 200 when the component is ready, or unix:PATH that accepts; "" when there is none to ask

	stopTimeout time.Duration // between SIGTERM and SIGKILL
}

// Names of the components, as in `localcluster <name>` and in the names of their logs.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
)

// Components returns the names of all components, in the order of their start. The last three are those of a real node.
func Components() []string {
	return []string{Etcd, APIServer, ControllerManager, Scheduler, Kubelet, Containerd, KubeProxy, NodeKubelet}
}

// gracePeriod is how long a node may be silent before it is NotReady; leases are renewed at a fifth of it. Shorter would
// be quicker to test with, and would lose nodes on a machine that is merely busy.
const gracePeriodSeconds = 10

const stopTimeout = 10 * time.Second

func (d Dir) components(p ports, opts Options) []component {
	return []component{
		// Asked to stop, these two stop listening and then wait for watches to end, in vain. A restart has to be quicker than
		// gracePeriodSeconds, or it costs all nodes.
		{Etcd, "", d.etcdArgs(p), "http://" + localAddress(p.EtcdClient) + "/health", 2 * time.Second},
		{APIServer, "", d.apiServerArgs(p, opts), "https://" + localAddress(p.APIServer) + "/readyz", time.Second},
		{ControllerManager, "", d.controllerManagerArgs(p), "https://" + localAddress(p.ControllerManager) + "/healthz", stopTimeout},
		{Scheduler, "", d.schedulerArgs(p), "https://" + localAddress(p.Scheduler) + "/readyz", stopTimeout},
		{Kubelet, "", []string{
			"--kubeconfig=" + d.path("pki", "localcluster-kubelet.kubeconfig"),
			fmt.Sprintf("--pod-ready-seconds=%g", opts.PodReadySeconds),
			fmt.Sprintf("--lease-seconds=%d", gracePeriodSeconds*4/5),
		}, "", stopTimeout},
	}
}

func (d Dir) etcdArgs(p ports) []string {
	client, peer := "http://"+localAddress(p.EtcdClient), "http://"+localAddress(p.EtcdPeer)
	return []string{
		"--name=default",
		"--data-dir=" + d.path("etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		"--unsafe-no-fsync",
		fmt.Sprintf("--quota-backend-bytes=%d", 8<<30),
		"--log-level=warn",
	}
}

func (d Dir) apiServerArgs(p ports, opts Options) []string {
	reach := []string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // a loopback address is no valid endpoint of the kubernetes Service
		"--authorization-mode=RBAC",
		"--audit-log-maxsize=256", // megabytes
		"--audit-log-maxbackup=1",
	}
	if opts.RealNode {
		reach = d.apiServerNodeArgs()
	}
	return append(reach,
		"--etcd-servers=http://"+localAddress(p.EtcdClient),
		fmt.Sprintf("--secure-port=%d", p.APIServer),
		"--tls-cert-file="+d.path("pki", "apiserver.crt"),
		"--tls-private-key-file="+d.path("pki", "apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+d.path("pki", "service-account.key"),
		"--service-account-signing-key-file="+d.path("pki", "service-account.key"),
		"--token-auth-file="+d.path("tokens.csv"),
		"--service-cluster-ip-range="+ServiceRange,
		"--enable-admission-plugins=OwnerReferencesPermissionEnforcement", // some clusters have it on
		"--allow-privileged=true",                                         // pod security admission is what restricts
		// Benchmarks run 1,000 scalers against it.
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1500",
		"--audit-policy-file="+d.path("audit-policy.yaml"),
		"--audit-log-path="+d.AuditLog(),
	)
}

// auditPolicy records who did what to which object and what came of it. With a real node it records too what was written to the
// objects that the operator's laws are about, so that its part can be judged: see test/history.
func auditPolicy(opts Options) string {
	policy := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n"
	if opts.RealNode {
		policy += `- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
  omitManagedFields: true
  resources:
  - {group: apps, resources: [deployments, deployments/status, deployments/scale, replicasets, replicasets/status]}
  - {group: "", resources: [pods, pods/status]}
  - {group: capacity.queuescaler.io, resources: [queuescalers, queuescalers/status]}
- level: RequestResponse
  verbs: [create, update, patch]
  resources: [{group: coordination.k8s.io, resources: [leases]}]
  namespaces: [queuescaler-system]
`
	}
	return policy + "- level: Metadata\n"
}

func (d Dir) controllerManagerArgs(p ports) []string {
	return []string{
		"--kubeconfig=" + d.path("pki", "system:kube-controller-manager.kubeconfig"),
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", p.ControllerManager),
		"--service-account-private-key-file=" + d.path("pki", "service-account.key"),
		"--root-ca-file=" + d.path("pki", "ca.crt"),
		"--use-service-account-credentials", // so that the audit log tells the controllers apart
		"--node-monitor-period=1s",
		fmt.Sprintf("--node-monitor-grace-period=%ds", gracePeriodSeconds),
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		"--concurrent-deployment-syncs=20",
		"--concurrent-replicaset-syncs=20",
		"--concurrent-endpoint-syncs=20",
		"--concurrent-service-endpoint-syncs=20",
		"--concurrent-disruption-syncs=10",
		"--concurrent-horizontal-pod-autoscaler-syncs=20",
		"--concurrent-namespace-syncs=20",
	}
}

func (d Dir) schedulerArgs(p ports) []string {
	return []string{
		"--config=" + d.path("scheduler.yaml"),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", p.Scheduler),
	}
}

func (d Dir) schedulerConfig() string {
	return `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: "` + d.path("pki", "system:kube-scheduler.kubeconfig") + `", qps: 1000, burst: 2000}
`
}
