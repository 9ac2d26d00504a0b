// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers reconciles QueueScalers. Each reconcile goes one way: observe, decide, act, report. What decides is
// in packages without a client; here is what reads and writes.
package controllers

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
	"sigs.k8s.io/controller-runtime/pkg/source"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/metrics"
	"github.com/queuescaler/queuescaler/internal/queue"
	externalqueue "github.com/queuescaler/queuescaler/internal/queue/external"
	httpqueue "github.com/queuescaler/queuescaler/internal/queue/http"
	kafkaqueue "github.com/queuescaler/queuescaler/internal/queue/kafka"
	natsqueue "github.com/queuescaler/queuescaler/internal/queue/nats"
	postgresqueue "github.com/queuescaler/queuescaler/internal/queue/postgresql"
	prometheusqueue "github.com/queuescaler/queuescaler/internal/queue/prometheus"
	rabbitmqqueue "github.com/queuescaler/queuescaler/internal/queue/rabbitmq"
	redisqueue "github.com/queuescaler/queuescaler/internal/queue/redis"
	sqsqueue "github.com/queuescaler/queuescaler/internal/queue/sqs"
)

// openers connect to each kind of server.
var openers = map[string]queue.Open{
	queue.KindNATS:       natsqueue.Open,
	queue.KindRedis:      redisqueue.Open,
	queue.KindRabbitMQ:   rabbitmqqueue.Open,
	queue.KindKafka:      kafkaqueue.Open,
	queue.KindPostgreSQL: postgresqueue.Open,
	queue.KindPrometheus: prometheusqueue.Open,
	queue.KindExternal:   externalqueue.Open,
	queue.KindSQS:        sqsqueue.Open,
	queue.KindHTTP:       httpqueue.Open,
}

// QueueScalerReconciler reconciles QueueScalers.
type QueueScalerReconciler struct {
	// Client reads from caches and writes.
	client.Client
	// APIReader reads live: before every write of a target, and what is not cached.
	APIReader client.Reader
	Recorder  recorder.EventRecorder
	Clock     clock.WithTicker
	// Metrics is where metrics are registered; nil means the manager's own registry, which takes one controller alone.
	Metrics prometheus.Registerer
	// AllowCloudIdentity lets queues without a Secret be read as the role of the operator's pod.
	AllowCloudIdentity bool
	// Block is the length of one measurement of what a replica gets done; 0 means a minute.
	Block time.Duration
	// GateImage is the image that has the program of gate Prepared, which is the operator's own; empty if that is not known.
	GateImage string
	// Servers are the rules by which queues find their servers.
	Servers queue.ServerRules

	metrics *metrics.Metrics
	queues  *queue.Pool
	scalers scalers
}

// +kubebuilder:rbac:groups=capacity.queuescaler.io,resources=queuescalers,verbs=list;watch;patch
// +kubebuilder:rbac:groups=capacity.queuescaler.io,resources=queuescalers/status,verbs=patch
// +kubebuilder:rbac:groups=capacity.queuescaler.io,resources=queuescalers/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments/scale,verbs=update
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;patch
// +kubebuilder:rbac:groups="",resources=services,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=secrets;configmaps;persistentvolumeclaims;serviceaccounts;namespaces,verbs=get
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile looks at one QueueScaler, decides, acts and reports.
func (r *QueueScalerReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var cached capacityv1alpha1.QueueScaler
	if err := r.Get(ctx, req.NamespacedName, &cached); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	now := r.Clock.Now()
	memory := r.scalers.of(&cached, r.Block)
	qs := memory.newest(&cached, now)

	seen, err := r.observe(ctx, now, qs, memory)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !qs.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, seen, memory)
	}
	plan := decision.Decide(seen, &memory.Memory)
	done := r.act(ctx, seen, plan, memory)
	if err := r.report(ctx, seen, plan, done, memory); err != nil {
		return ctrl.Result{}, err
	}
	if done.Err != nil {
		return ctrl.Result{}, done.Err // tried again with growing delays
	}
	return ctrl.Result{RequeueAfter: plan.Again(seen, &done.Outcome)}, nil
}

func (r *QueueScalerReconciler) forget(key types.NamespacedName) {
	r.queues.Unsubscribe(key)
	r.scalers.forget(key)
	r.metrics.Forget(key)
}

// SetupWithManager registers the controller, its watches and its pool of connections.
func (r *QueueScalerReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	r.Client = client.WithFieldOwner(mgr.GetClient(), capacityv1alpha1.FieldOwner)
	if r.Metrics == nil {
		r.Metrics = ctrlmetrics.Registry
	}
	r.metrics = metrics.New(r.Metrics)
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index the caches: %w", err)
	}
	for _, kind := range cached() {
		if _, err := mgr.GetCache().GetInformer(ctx, kind); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	open := maps.Clone(openers)
	if r.AllowCloudIdentity {
		open[queue.KindSQS] = sqsqueue.OpenWithIdentity
	}
	var wake waker
	r.queues = queue.NewPool(queue.Options{
		Secrets: r.secret,
		Wake:    wake.wake,
		Open:    open,
		Clock:   r.Clock,
		Log:     mgr.GetLogger().WithName("queues"),
	})
	metrics.RegisterServers(r.Metrics, r.queues.Servers)
	if err := mgr.Add(r.queues); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("queuescaler").
		For(&capacityv1alpha1.QueueScaler{}).
		Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(r.scalersOf)).
		Watches(&appsv1.ReplicaSet{}, handler.EnqueueRequestsFromMapFunc(r.ownerOf)).
		Watches(&capacityv1alpha1.QueueServer{}, handler.EnqueueRequestsFromMapFunc(r.readersOf)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(scalerOfSlot)).
		Watches(&autoscalingv2.HorizontalPodAutoscaler{}, handler.EnqueueRequestsFromMapFunc(r.scalersOfHPA)).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.pooledInNamespace)).
		Watches(&policyv1.PodDisruptionBudget{}, handler.EnqueueRequestsFromMapFunc(r.pooledInNamespace)).
		Watches(&networkingv1.NetworkPolicy{}, handler.EnqueueRequestsFromMapFunc(r.pooledInNamespace)).
		WatchesRawSource(source.Func(wake.start)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 32,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](100*time.Millisecond, 30*time.Second),
			LogConstructor:          logConstructor(mgr),
		}).
		Complete(r)
}

// secret reads one Secret live. Secrets are never listed or watched.
func (r *QueueScalerReconciler) secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	var secret corev1.Secret
	if err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &secret); err != nil {
		return nil, err
	}
	return secret.Data, nil
}

func requests(keys ...types.NamespacedName) []reconcile.Request {
	out := make([]reconcile.Request, len(keys))
	for i, key := range keys {
		out[i] = reconcile.Request{NamespacedName: key}
	}
	return out
}

// scalersOf are the QueueScalers whose target this Deployment is.
func (r *QueueScalerReconciler) scalersOf(ctx context.Context, d client.Object) []reconcile.Request {
	return r.scalersOfTarget(ctx, d.GetNamespace(), d.GetName())
}

func (r *QueueScalerReconciler) scalersOfHPA(ctx context.Context, o client.Object) []reconcile.Request {
	return r.scalersOfTarget(ctx, o.GetNamespace(), o.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef.Name)
}

func (r *QueueScalerReconciler) scalersOfTarget(ctx context.Context, namespace, name string) []reconcile.Request {
	var list capacityv1alpha1.QueueScalerList
	if err := r.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexTarget: name}, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "List QueueScalers of a target", "namespace", namespace, "target", name)
		return nil
	}
	return requestsFor(list.Items)
}

// readersOf are the QueueScalers of which a queue names this QueueServer.
func (r *QueueScalerReconciler) readersOf(ctx context.Context, server client.Object) []reconcile.Request {
	var list capacityv1alpha1.QueueScalerList
	if err := r.List(ctx, &list, client.MatchingFields{indexServer: server.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "List QueueScalers of a QueueServer", "queueServer", server.GetName())
		return nil
	}
	return requestsFor(list.Items)
}

// ownerOf are the QueueScalers that a ReplicaSet concerns: its owner, or those of the Deployment that owns it.
func (r *QueueScalerReconciler) ownerOf(ctx context.Context, rs client.Object) []reconcile.Request {
	owner := metav1.GetControllerOfNoCopy(rs)
	switch {
	case owner == nil:
		return nil
	case owner.Kind == "Deployment":
		return r.scalersOfTarget(ctx, rs.GetNamespace(), owner.Name)
	case owner.Kind == "QueueScaler":
		return requests(types.NamespacedName{Namespace: rs.GetNamespace(), Name: owner.Name})
	}
	return nil
}

func scalerOfSlot(_ context.Context, pod client.Object) []reconcile.Request {
	return requests(types.NamespacedName{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[capacityv1alpha1.LabelScaler]})
}

// pooledInNamespace are the QueueScalers with a pool, whose slots something new might select.
func (r *QueueScalerReconciler) pooledInNamespace(ctx context.Context, o client.Object) []reconcile.Request {
	var list capacityv1alpha1.QueueScalerList
	if err := r.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "List QueueScalers of a namespace", "namespace", o.GetNamespace())
		return nil
	}
	pooled := list.Items[:0:0]
	for i := range list.Items {
		if decision.WantsPool(&list.Items[i].Spec) {
			pooled = append(pooled, list.Items[i])
		}
	}
	return requestsFor(pooled)
}

func requestsFor(items []capacityv1alpha1.QueueScaler) []reconcile.Request {
	out := make([]reconcile.Request, len(items))
	for i := range items {
		out[i].NamespacedName = client.ObjectKeyFromObject(&items[i])
	}
	return out
}
