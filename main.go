// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// The QueueScaler operator.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/controllers"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// options are the command line.
type options struct {
	metricsAddress  string
	insecureMetrics bool
	probeAddress    string
	leaderElect     bool
	namespace       string
	inline          string
	watchNamespaces string
	cloudIdentity   string
	gateImage       string
	block           time.Duration
	zap             zap.Options
}

// What --cloud-identity may be.
const forbid, allow = "Forbid", "Allow"

func (o *options) bind(fs *flag.FlagSet) {
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "Address of the metrics endpoint; 0 turns it off.")
	fs.BoolVar(&o.insecureMetrics, "metrics-insecure", false, "Serve metrics over plain HTTP to anyone. Only for a loopback address.")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz; 0 turns them off.")
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "Run as one of several: only the elected one acts, the others keep warm caches.")
	fs.StringVar(&o.namespace, "namespace", "", "The operator's own namespace, for its lease and the Secrets of QueueServers. Default: that of its ServiceAccount, in a cluster.")
	fs.StringVar(&o.inline, "inline-addresses", string(queue.InlineAllow), "Whether a queue may have a url of its own (Allow), or has to name a QueueServer (Forbid).")
	fs.DurationVar(&o.block, "evidence-block", time.Minute, "Length of one measurement of what a replica gets done, at least 2s. Shorter ones find a slower revision sooner, and are noisier.")
	fs.StringVar(&o.watchNamespaces, "watch-namespaces", "", "Comma-separated namespaces to act in. Default: all.")
	fs.StringVar(&o.cloudIdentity, "cloud-identity", forbid, "Whether queues without a Secret may be read as the cloud identity of the operator's own pod: Forbid or Allow.")
	fs.StringVar(&o.gateImage, "gate-image", "", "Image that has the program of standby gate Prepared: the operator's own. Without it, that gate is refused.")
	o.zap.BindFlags(fs)
}

func main() {
	var o options
	o.bind(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.zap)))
	log.SetOutput(io.Discard) // net/http prints there what a server sends unasked; nothing of ours does
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		ctrl.Log.Error(err, "Stopped")
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.block < 2*time.Second {
		return fmt.Errorf("--evidence-block is %s, and has to be at least 2s: queues are read once a second", o.block)
	}
	servers := queue.ServerRules{Namespace: o.namespace, Inline: queue.InlineAddresses(o.inline)}
	if servers.Inline != queue.InlineAllow && servers.Inline != queue.InlineForbid {
		return fmt.Errorf("--inline-addresses is %q, and has to be %s or %s", o.inline, queue.InlineAllow, queue.InlineForbid)
	}
	if o.cloudIdentity != forbid && o.cloudIdentity != allow {
		return fmt.Errorf("--cloud-identity is %q, and has to be %s or %s", o.cloudIdentity, forbid, allow)
	}
	if servers.Namespace == "" {
		servers.Namespace = ownNamespace()
	}
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	reconciler := &controllers.QueueScalerReconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Recorder:  mgr.GetEventRecorder("queuescaler"),
		Clock:     clock.RealClock{},
		Block:     o.block,
		GateImage: o.gateImage,
		Servers:   servers,

		AllowCloudIdentity: o.cloudIdentity == allow,
	}
	if err := reconciler.SetupWithManager(ctx, mgr); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("caches", cachesSynced(mgr)); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// ownNamespace is the namespace of the operator's ServiceAccount; empty outside of a cluster.
func ownNamespace() string {
	name, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

func newManager(o options) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(capacityv1alpha1.AddToScheme(scheme))
	rest, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	// The API server's priority and fairness limits us; a client-side limit only adds latency to a lend.
	rest.QPS = -1
	cacheOptions, err := controllers.CacheOptions(splitNamespaces(o.watchNamespaces))
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(rest, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         cacheOptions,
		Metrics:                       metricsOptions(o),
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "queuescaler.capacity.queuescaler.io",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       ptr.To(20 * time.Second),
		Controller:                    config.Controller{EnableWarmup: ptr.To(true)},
	})
}

func metricsOptions(o options) metricsserver.Options {
	if o.insecureMetrics {
		return metricsserver.Options{BindAddress: o.metricsAddress}
	}
	return metricsserver.Options{
		BindAddress:    o.metricsAddress,
		SecureServing:  true,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
		// HTTP/2 has had denial-of-service flaws, and a scrape gains nothing from it.
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
	}
}

// cachesSynced is ready once every informer has its first list.
func cachesSynced(mgr manager.Manager) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return fmt.Errorf("caches are not synced yet")
		}
		return nil
	}
}

func splitNamespaces(s string) []string {
	var names []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
