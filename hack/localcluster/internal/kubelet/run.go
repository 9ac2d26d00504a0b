// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubelet simulates the kubelets of all nodes: kwok, with stages that show what real pods show.
package kubelet

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
)

// Options say which cluster to serve, and how.
type Options struct {
	Kubeconfig      string
	HeartbeatLabel  string  // on the nodes to simulate
	PodReadySeconds float64 // from the start of a pod's containers until it is Ready, unless the pod says otherwise
	LeaseSeconds    uint    // node leases last this long, and are renewed at a quarter of it
}

// Run simulates kubelets until ctx ends.
func Run(ctx context.Context, opts Options) error {
	config, err := clientcmd.BuildConfigFromFlags("", opts.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	config.UserAgent = "localcluster-kubelet"
	client, err := kubernetes.NewForConfig(protobuf(config))
	if err != nil {
		return err
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	restClient, err := unversionedClient(config)
	if err != nil {
		return err
	}
	addresses, err := newAddresses(ctx, client)
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(controllers.Config{
		Clock:                        clock.RealClock{},
		TypedClient:                  client,
		DynamicClient:                dynamicClient,
		RESTClient:                   restClient,
		RESTMapper:                   restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
		ManageNodesWithLabelSelector: opts.HeartbeatLabel,
		LocalStages: map[internalversion.StageResourceRef][]*internalversion.Stage{
			{APIGroup: "v1", Kind: "Pod"}:  podStages(opts.PodReadySeconds),
			{APIGroup: "v1", Kind: "Node"}: nodeStages(),
		},
		CIDR:                      podRange.String(),
		FuncMap:                   map[string]any{"NewPodIP": addresses.next},
		PodPlayStageParallelism:   32,
		NodePlayStageParallelism:  4,
		NodeLeaseParallelism:      4,
		NodeLeaseDurationSeconds:  opts.LeaseSeconds,
		PodsOnNodeSyncParallelism: 4,
		// The same after a restart, so that the nodes' leases need not run out first.
		ID: "localcluster",
	})
	if err != nil {
		return err
	}
	ctx = log.NewContext(ctx, log.NewLogger(os.Stderr, log.LevelWarn))
	if err := controller.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func protobuf(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return config
}

func unversionedClient(config *rest.Config) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(config)
}

// podRange is where pods get their addresses from.
var podRange = netip.MustParsePrefix("10.128.0.0/9")

// addresses hands out pod addresses in ascending order. kwok's own allocator forgets, when it restarts, the addresses that
// running pods have, and two pods with one address cannot both be endpoints.
type addresses struct {
	last atomic.Uint32 // offset within podRange
}

// newAddresses continues after the highest address in use.
func newAddresses(ctx context.Context, client kubernetes.Interface) (*addresses, error) {
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	a := &addresses{}
	for _, pod := range pods.Items {
		ip, err := netip.ParseAddr(pod.Status.PodIP)
		if err == nil && podRange.Contains(ip) {
			a.last.Store(max(a.last.Load(), number(ip)-number(podRange.Addr())))
		}
	}
	return a, nil
}

func (a *addresses) next() string {
	var raw [4]byte
	size := uint32(1) << (32 - podRange.Bits())
	binary.BigEndian.PutUint32(raw[:], number(podRange.Addr())+a.last.Add(1)%size)
	return netip.AddrFrom4(raw).String()
}

func number(ip netip.Addr) uint32 {
	raw := ip.As4()
	return binary.BigEndian.Uint32(raw[:])
}
