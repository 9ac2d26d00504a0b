//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/controllers"
)

// death says at which write the operator dies. The zero value is immortality.
type death struct {
	// write as incarnation.writes names it.
	write string
	// applied: the write reaches the API server, and only its answer is lost.
	applied bool
}

// incarnation is the operator from a start to its end.
type incarnation struct {
	death death
	clock clock.WithTicker

	mu    sync.Mutex
	count map[string]int
	// writes are all that were attempted, in order: what was written, and the how manieth of its kind.
	writes []string
	ended  bool
	dead   chan struct{}
}

func newIncarnation(d death) *incarnation {
	return &incarnation{death: d, clock: clock.RealClock{}, count: map[string]int{}, dead: make(chan struct{})}
}

// begin counts a write. It reports whether the operator is to die at it, and whether it is dead already.
func (i *incarnation) begin(what string) (dies, dead bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return false, true
	}
	i.count[what]++
	name := fmt.Sprintf("%s #%d", what, i.count[what])
	i.writes = append(i.writes, name)
	return name == i.death.write, false
}

// attempts is the number of writes so far.
func (i *incarnation) attempts() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.writes)
}

// die has it write nothing from here on.
func (i *incarnation) die() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.ended {
		i.ended = true
		close(i.dead)
	}
}

func (i *incarnation) isDead() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ended
}

// write sends a write, unless the operator is dead by then. Who is dead sees no answer: the call ends with the manager.
func (i *incarnation) write(ctx context.Context, what string, send func() error) error {
	dies, dead := i.begin(what)
	if dies && !i.death.applied {
		i.die()
		dead = true
	}
	if dead {
		<-ctx.Done()
		return ctx.Err()
	}
	err := send()
	if dies {
		i.die()
	}
	if i.isDead() {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// client wraps the manager's client so that every way to write goes through i.
func (i *incarnation) client(restConfig *rest.Config, options client.Options) (client.Client, error) {
	inner, err := client.NewWithWatch(restConfig, options)
	if err != nil {
		return nil, err
	}
	kind := func(o any) string { return strings.ToLower(reflect.TypeOf(o).Elem().Name()) }
	return interceptor.NewClient(inner, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return i.write(ctx, "create "+kind(o), func() error { return c.Create(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return i.write(ctx, "delete "+kind(o), func() error { return c.Delete(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return i.write(ctx, "patch "+kind(o)+detail(o, patch), func() error { return c.Patch(ctx, o, patch, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return i.write(ctx, "update "+kind(o), func() error { return c.Update(ctx, o, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			return i.write(ctx, "update "+kind(o)+"/"+sub+scaleTo(opts), func() error { return c.SubResource(sub).Update(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return i.write(ctx, "patch "+kind(o)+"/"+sub, func() error { return c.SubResource(sub).Patch(ctx, o, patch, opts...) })
		},
		// The operator uses none of these. If it begins to, they have to be counted too.
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return errNotCounted
		},
		DeleteAllOf: func(context.Context, client.WithWatch, client.Object, ...client.DeleteAllOfOption) error {
			return errNotCounted
		},
		SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
			return errNotCounted
		},
		SubResourceApply: func(context.Context, client.Client, string, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
			return errNotCounted
		},
	}), nil
}

// detail tells apart what is done by patching one kind.
func detail(o client.Object, patch client.Patch) string {
	data, err := patch.Data(o)
	if err != nil {
		return " (" + err.Error() + ")"
	}
	text := strings.ReplaceAll(string(data), "~1", "/") // as JSON pointers write it
	switch o.(type) {
	case *capacityv1alpha1.QueueScaler:
		if strings.Contains(text, capacityv1alpha1.Finalizer) {
			return " (finalizer on)"
		}
		return " (finalizer off)"
	case *corev1.Pod:
		switch {
		case strings.Contains(text, capacityv1alpha1.AnnotationLentAt):
			return " (lend)"
		case strings.Contains(text, capacityv1alpha1.AnnotationDrainingSince):
			return " (drain)"
		}
		return " (touch)"
	}
	return ""
}

func scaleTo(opts []client.SubResourceUpdateOption) string {
	var o client.SubResourceUpdateOptions
	o.ApplyOptions(opts)
	if scale, ok := o.SubResourceBody.(*autoscalingv1.Scale); ok {
		return fmt.Sprintf(" (to %d)", scale.Spec.Replicas)
	}
	return ""
}

// live runs the operator for one namespace until ctx ends or it dies.
func (i *incarnation) live(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-i.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	cacheOptions, err := controllers.CacheOptions([]string{namespace})
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(shared.cluster.RESTConfig(), ctrl.Options{
		Scheme:                  shared.scheme,
		Cache:                   cacheOptions,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: ptr.To(30 * time.Second),
		NewClient:               i.client,
		Controller:              config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		return err
	}
	reconciler := &controllers.QueueScalerReconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Recorder:  mgr.GetEventRecorder("queuescaler"),
		Clock:     i.clock,
		Metrics:   prometheus.NewRegistry(),
	}
	if err := reconciler.SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

var errNotCounted = errors.New("this way to write is not counted by the test: add it")
