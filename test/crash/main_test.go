//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crash kills the operator at each of its writes, and checks that the next start puts everything right.
//
// The reconciler runs in this process, with a manager like the real one and a client that counts writes, against a real
// control plane and a real Redis. A scenario is run once undisturbed, which enumerates its writes. Then it is run again
// for each of them, twice: the operator dies before the write is sent, and after it was applied but before its answer
// was seen. From then on it writes nothing more; its memory and caches are thrown away; a new one starts, and has to
// reach the state of the undisturbed run. A watch on the pods checks all along that no slot works before it is ready.
//
// How often a write is repeated, as after a conflict or while the cache is behind, is a matter of timing, and so is how
// often status is written. A run that does not make the write it was to die at says so, and is one more without a crash;
// but the operator must have died at every kind of write. Writes of events, which are not state, are not counted, and
// leader election is off.
package crash

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/cluster"
	"github.com/queuescaler/queuescaler/test/servers"
)

const (
	root = "../.."
	// runsAtOnce is how many runs go on side by side. They mostly wait.
	runsAtOnce = "14"
)

var shared struct {
	cluster *cluster.Cluster
	client  client.WithWatch
	// cache is what conditions are awaited on, so that many runs side by side are no load.
	cache  cache.Cache
	redis  *servers.Redis
	scheme *runtime.Scheme
}

func TestMain(m *testing.M) {
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if err := flag.Set("test.parallel", runsAtOnce); err != nil {
		return 1, err
	}
	shared.scheme = runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(shared.scheme))
	utilruntime.Must(capacityv1alpha1.AddToScheme(shared.scheme))
	var err error
	if shared.redis, err = servers.NewRedis(servers.RedisOptions{}); err != nil {
		return 1, err
	}
	defer shared.redis.Close()
	if err := shared.redis.Start(); err != nil {
		return 1, err
	}
	if shared.cluster, err = cluster.Start(cluster.Options{}); err != nil {
		return 1, err
	}
	defer shared.cluster.Stop()
	if shared.client, err = client.NewWithWatch(shared.cluster.RESTConfig(), client.Options{Scheme: shared.scheme}); err != nil {
		return 1, err
	}
	if err := install(); err != nil {
		return 1, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := startCache(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

func startCache(ctx context.Context) error {
	var err error
	if shared.cache, err = cache.New(shared.cluster.RESTConfig(), cache.Options{Scheme: shared.scheme}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- shared.cache.Start(ctx) }()
	if !shared.cache.WaitForCacheSync(ctx) {
		return <-ended
	}
	return nil
}

// install applies the CRD, and waits until it is served.
func install() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, _, err := shared.cluster.Kubectl(ctx, "apply", "-k", filepath.Join(root, "config", "crd")); err != nil {
		return err
	}
	_, _, err := shared.cluster.Kubectl(ctx, "wait", "--for=condition=Established", "crd/queuescalers.capacity.queuescaler.io", "--timeout=60s")
	return err
}
