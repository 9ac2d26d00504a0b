// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/cluster"
	"github.com/queuescaler/queuescaler/test/operator"
)

const namespace = "bench"

// bench is a run: what it talks to, and what its watches saw.
type bench struct {
	cluster *cluster.Cluster
	op      *operator.Operator
	client  client.Client
	redis   *redis.Client
	url     string
	say     func(string, ...any)
	random  *rand.Rand
	stop    context.CancelFunc

	mu sync.Mutex
	// replicas of every Deployment, warm and lent slots of every QueueScaler, as seen last.
	replicas   map[string]int32
	warm, lent map[string]map[string]bool
	// gone are the Deployments that have no pod, not one that still ends.
	gone    map[string]bool
	changed chan struct{}
}

func newBench(ctx context.Context, c *cluster.Cluster, op *operator.Operator, url string, say func(string, ...any), random *rand.Rand) (*bench, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := capacityv1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	api, err := client.New(c.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	b := &bench{
		cluster: c, op: op, client: api, redis: redis.NewClient(o), url: url, say: say, random: random,
		replicas: map[string]int32{}, warm: map[string]map[string]bool{}, lent: map[string]map[string]bool{},
		gone: map[string]bool{}, changed: make(chan struct{}),
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := api.Create(ctx, ns); err != nil {
		return nil, err
	}
	return b, b.watch(ctx)
}

func (b *bench) close() {
	b.stop()
	_ = b.redis.Close()
}

// watch keeps what is measured up to date. The watches' own delay is part of every figure.
func (b *bench) watch(ctx context.Context) error {
	ctx, b.stop = context.WithCancel(ctx)
	clientset, err := kubernetes.NewForConfig(b.cluster.RESTConfig())
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithNamespace(namespace))
	on := func(see func(any)) cache.ResourceEventHandlerFuncs {
		return cache.ResourceEventHandlerFuncs{AddFunc: see, UpdateFunc: func(_, o any) { see(o) }}
	}
	for informer, see := range map[cache.SharedIndexInformer]func(any){
		factory.Apps().V1().Deployments().Informer(): b.seeDeployment, factory.Core().V1().Pods().Informer(): b.seePod,
	} {
		if _, err := informer.AddEventHandler(on(see)); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return ctx.Err()
}

func (b *bench) seeDeployment(o any) {
	d := o.(*appsv1.Deployment)
	gone := d.Status.ObservedGeneration >= d.Generation && d.Status.Replicas == 0 && ptr.Deref(d.Status.TerminatingReplicas, 0) == 0
	b.update(func() { b.replicas[d.Name], b.gone[d.Name] = ptr.Deref(d.Spec.Replicas, 1), gone })
}

func (b *bench) seePod(o any) {
	pod := o.(*corev1.Pod)
	scaler := pod.Labels[capacityv1alpha1.LabelScaler]
	if scaler == "" {
		return
	}
	ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	role := pod.Labels[capacityv1alpha1.LabelRole]
	b.update(func() {
		mark(b.warm, scaler, pod.Name, ready && role == capacityv1alpha1.RoleStandby && pod.DeletionTimestamp == nil)
		mark(b.lent, scaler, pod.Name, role == capacityv1alpha1.RoleActive)
	})
}

func mark(of map[string]map[string]bool, scaler, pod string, is bool) {
	if of[scaler] == nil {
		of[scaler] = map[string]bool{}
	}
	if is {
		of[scaler][pod] = true
	} else {
		delete(of[scaler], pod)
	}
}

func (b *bench) update(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// until waits for a condition on what the watches saw, and returns when it held.
func (b *bench) until(ctx context.Context, what string, timeout time.Duration, holds func() bool) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		b.mu.Lock()
		done, changed := holds(), b.changed
		b.mu.Unlock()
		if done {
			return time.Now(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s: not within %s", what, timeout)
		}
	}
}

// create makes a Deployment and its QueueScaler, at default settings.
func (b *bench) create(ctx context.Context, name string, fromZero bool) error {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{capacityv1alpha1.AnnotationGate: "file"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
			},
		},
	}
	if err := b.client.Create(ctx, d); err != nil {
		return err
	}
	qs := &capacityv1alpha1.QueueScaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: capacityv1alpha1.QueueScalerSpec{
			ScaleTargetRef: capacityv1alpha1.ScaleTargetReference{Name: name},
			MaxReplicas:    full,
			Queues: []capacityv1alpha1.Queue{{Name: "jobs", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{
				Server: capacityv1alpha1.Server{URL: b.url}, List: capacityv1alpha1.RedisKeys{Keys: []string{name}, InFlightKeys: []string{name + ":active"}},
			}}}},
			Objective: capacityv1alpha1.Objective{Backlog: capacityv1alpha1.BacklogObjective{PerReplica: perReplica}},
			Rollout:   &capacityv1alpha1.Rollout{SoakSeconds: ptr.To[int32](0)},
		},
	}
	if fromZero {
		// Going down to 0 is no part of what is measured: it need not wait for the default window.
		qs.Spec.MinReplicas = ptr.To[int32](0)
		qs.Spec.Behavior = &capacityv1alpha1.Behavior{ScaleDown: &capacityv1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)}}
	} else {
		qs.Spec.Standby = capacityv1alpha1.Standby{Replicas: 1, Gate: capacityv1alpha1.GateFile}
	}
	return b.client.Create(ctx, qs)
}

// remove takes a scaler and its Deployment away, so that a later one starts from the beginning.
func (b *bench) remove(ctx context.Context, name string) error {
	if err := b.redis.Del(ctx, name).Err(); err != nil {
		return err
	}
	background := client.PropagationPolicy(metav1.DeletePropagationBackground)
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := b.client.Delete(ctx, &appsv1.Deployment{ObjectMeta: meta}, background); err != nil {
		return err
	}
	return b.client.Delete(ctx, &capacityv1alpha1.QueueScaler{ObjectMeta: meta}, background)
}

// spike makes a backlog and measures until the Deployment is asked for the full number, and until a slot is in service.
func (b *bench) spike(ctx context.Context, name string, withSlot bool) (patched, lent time.Duration, err error) {
	messages := make([]any, full*perReplica)
	for i := range messages {
		messages[i] = i
	}
	if err := b.redis.RPush(ctx, name, messages...).Err(); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	var wait sync.WaitGroup
	var lentErr error
	if withSlot {
		wait.Go(func() {
			var at time.Time
			at, lentErr = b.until(ctx, name+": slot in service", spikeTimeout, func() bool { return len(b.lent[name]) > 0 })
			lent = at.Sub(start)
		})
	}
	at, err := b.until(ctx, name+": asked for the full number", spikeTimeout, func() bool { return b.replicas[name] == full })
	wait.Wait()
	if err == nil {
		err = lentErr
	}
	return at.Sub(start), lent, err
}

// quantiles of durations, in milliseconds.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(durations []time.Duration) quantiles {
	if len(durations) == 0 {
		return quantiles{}
	}
	slices.Sort(durations)
	at := func(q float64) float64 {
		i := min(int(q*float64(len(durations))), len(durations)-1)
		return float64(durations[i].Microseconds()) / 1000
	}
	return quantiles{P50: at(0.5), P99: at(0.99), Max: at(1)}
}

// writes counts what the operator has written so far, its lease apart, from the audit log.
func (b *bench) writes() (int, error) {
	f, err := os.Open(b.cluster.AuditLog())
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Stage string `json:"stage"`
			Verb  string `json:"verb"`
			User  struct {
				Username string `json:"username"`
			} `json:"user"`
			ObjectRef struct {
				Resource string `json:"resource"`
			} `json:"objectRef"`
		}
		if !strings.Contains(lines.Text(), operator.User) {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the line that is being written
		}
		if e.User.Username == operator.User && e.Stage == "ResponseComplete" && e.ObjectRef.Resource != "leases" &&
			slices.Contains([]string{"create", "update", "patch", "delete"}, e.Verb) {
			n++
		}
	}
	return n, lines.Err()
}
