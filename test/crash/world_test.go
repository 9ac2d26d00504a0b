//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	app   = "app"
	slots = 2
	// within is how long a condition is awaited: ample for a machine that does other things too.
	within = 2 * time.Minute
)

// world is one run's namespace, with an operator of its own.
type world struct {
	*testing.T
	namespace string
	redis     *goredis.Client
	first     *incarnation
	// clock of the operator; nil means the real one.
	clock clock.WithTicker
	// known are the first writes of the scenario, which another scenario has already: nothing crashes there.
	known int

	mu sync.Mutex
	// ready are the pods that were seen ready, worked those that were seen lent.
	ready, worked map[types.UID]bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, namespace: newNamespace(t), ready: map[types.UID]bool{}, worked: map[types.UID]bool{}}
	w.redis = goredis.NewClient(&goredis.Options{Addr: shared.redis.Address()})
	t.Cleanup(func() { _ = w.redis.Close() })
	t.Cleanup(func() {
		if t.Failed() {
			w.describe()
		}
	})
	w.watchPods()
	return w
}

// newNamespace makes a namespace, and waits for the account without which it can have no pods. It stays: to empty it
// would cost the API server more than the run, and the cluster ends with the tests.
func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "crash-"}}
	if err := shared.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		var account corev1.ServiceAccount
		err := shared.client.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "default"}, &account)
		return err == nil, client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Fatalf("no default service account in %s: %v", namespace.Name, err)
	}
	return namespace.Name
}

func (w *world) describe() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "deploy,rs,pods,controllerrevisions", "--show-labels"}, {"get", "qs", "-o", "yaml"},
		{"get", "events.events.k8s.io", "-o", "custom-columns=T:.metadata.creationTimestamp,ON:.regarding.name,REASON:.reason,NOTE:.note"},
	} {
		out, _, err := shared.cluster.Kubectl(ctx, append([]string{"-n", w.namespace}, args...)...)
		w.Logf("kubectl %s (%v)\n%s", strings.Join(args[:2], " "), err, out)
	}
}

// watchPods checks every version of every slot's pod: lent only after it was ready.
func (w *world) watchPods() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	watcher, err := shared.client.Watch(ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.HasLabels{capacityv1alpha1.LabelScaler})
	if err != nil {
		cancel()
		w.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range watcher.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				w.sawPod(pod)
			} else if e.Type == watch.Error && ctx.Err() == nil {
				w.Errorf("watch pods: %v", e.Object)
			}
		}
		if ctx.Err() == nil {
			w.Error("the watch on pods ended, so that not all was seen")
		}
	}()
	w.Cleanup(func() {
		cancel()
		watcher.Stop()
		<-done
	})
}

func (w *world) sawPod(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}) {
		w.ready[pod.UID] = true
	}
	if pod.Labels[capacityv1alpha1.LabelRole] == capacityv1alpha1.RoleActive && !w.worked[pod.UID] {
		w.worked[pod.UID] = true
		if !w.ready[pod.UID] {
			w.Errorf("slot pod %s was lent before it was ready", pod.Name)
		}
	}
}

func (w *world) everLent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.worked)
}

// operate runs the operator; once it died, another one. stop ends it and returns the writes of the first.
func (w *world) operate(d death) (stop func() (writes []string, died bool)) {
	ctx, cancel := context.WithCancel(context.Background())
	w.first = newIncarnation(d)
	first, ended := w.first, make(chan struct{})
	go func() {
		defer close(ended)
		for i := first; ctx.Err() == nil; i = newIncarnation(death{}) {
			if w.clock != nil {
				i.clock = w.clock
			}
			if err := i.live(ctx, w.namespace); err != nil {
				w.Errorf("the operator ended by itself: %v", err)
				return
			}
		}
	}()
	stop = sync.OnceValues(func() ([]string, bool) {
		cancel()
		<-ended
		return first.writes[w.known:], first.isDead()
	})
	w.Cleanup(func() { stop() })
	return stop
}

func (w *world) create(o client.Object) {
	w.Helper()
	o.SetNamespace(w.namespace)
	if err := shared.client.Create(w.Context(), o, client.FieldOwner("test")); err != nil {
		w.Fatalf("create %T: %v", o, err)
	}
}

// start makes a Deployment of one pod, and a QueueScaler that wants a replica for every 10 messages, 1 to 5.
func (w *world) start() {
	w.Helper()
	w.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromString("100%"))}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}, Annotations: map[string]string{capacityv1alpha1.AnnotationGate: "file"}},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To(int64(1)),
					Containers:                    []corev1.Container{{Name: "worker", Image: "example/worker:1"}},
				},
			},
		},
	})
	w.create(&capacityv1alpha1.QueueScaler{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: capacityv1alpha1.QueueScalerSpec{
			ScaleTargetRef: capacityv1alpha1.ScaleTargetReference{Name: app},
			MinReplicas:    ptr.To(int32(1)),
			MaxReplicas:    5,
			Queues: []capacityv1alpha1.Queue{{Name: "jobs", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{
				Server: capacityv1alpha1.Server{URL: shared.redis.URL()}, List: capacityv1alpha1.RedisKeys{Keys: []string{w.namespace}},
			}}}},
			Objective: capacityv1alpha1.Objective{Backlog: capacityv1alpha1.BacklogObjective{PerReplica: 10}},
			Standby:   capacityv1alpha1.Standby{Replicas: slots, Gate: capacityv1alpha1.GateFile},
			Rollout:   &capacityv1alpha1.Rollout{SoakSeconds: ptr.To(int32(0))},
			Behavior:  &capacityv1alpha1.Behavior{ScaleDown: &capacityv1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To(int32(1))}},
		},
	})
}

func (w *world) push(n int) {
	w.Helper()
	if err := w.redis.RPush(w.Context(), w.namespace, make([]any, n)...).Err(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) drain() {
	w.Helper()
	if err := w.redis.Del(w.Context(), w.namespace).Err(); err != nil {
		w.Fatal(err)
	}
}

// get reads app; what does not exist yet is left empty.
func (w *world) get(from client.Reader, o client.Object) {
	w.Helper()
	if err := from.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: app}, o); client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
}

func (w *world) qs(from client.Reader) *capacityv1alpha1.QueueScaler {
	w.Helper()
	var qs capacityv1alpha1.QueueScaler
	w.get(from, &qs)
	return &qs
}

func (w *world) target() *appsv1.Deployment {
	w.Helper()
	var d appsv1.Deployment
	w.get(shared.client, &d)
	return &d
}

func (w *world) changeTarget(f func(*appsv1.Deployment)) {
	w.Helper()
	old := w.target()
	changed := old.DeepCopy()
	f(changed)
	if err := shared.client.Patch(w.Context(), changed, client.MergeFrom(old), client.FieldOwner("test")); err != nil {
		w.Fatal(err)
	}
}

// await polls until the function says yes; what it says besides tells why it did not.
func (w *world) await(what string, f func() (bool, string)) {
	w.Helper()
	last := ""
	err := wait.PollUntilContextTimeout(w.Context(), 150*time.Millisecond, within, true, func(context.Context) (bool, error) {
		good, why := f()
		last = why
		return good, nil
	})
	if err != nil {
		w.Fatalf("%s: not within %s: %s", what, within, last)
	}
}

func (w *world) awaitState(what string, f func(state) bool) {
	w.Helper()
	w.await(what, func() (bool, string) {
		s := w.state(shared.cache)
		return f(s), fmt.Sprintf("%+v", s)
	})
}

// state is what counts in the end.
type state struct {
	// Of the target.
	Image                         string
	Replicas, Available, Existing int32
	// Slots and Pods of slots that are not ending, each with its revision's template hash, ordered.
	Slots, Pods []string
	// Templates that are kept, by hash.
	Templates []string
	// Of the QueueScaler.
	Finalizers, Pending    []string
	Warm, Lent, Starting   int32
	SoakedHash, TargetHash string
	Rollout                capacityv1alpha1.RolloutState
}

func (w *world) state(from client.Reader) state {
	w.Helper()
	var d appsv1.Deployment
	w.get(from, &d)
	qs := w.qs(from)
	if d.UID == "" || qs.UID == "" {
		return state{}
	}
	s := state{
		Image: d.Spec.Template.Spec.Containers[0].Image, Replicas: *d.Spec.Replicas,
		Available: d.Status.AvailableReplicas, Existing: d.Status.Replicas, Finalizers: qs.Finalizers,
	}
	if p := qs.Status.Standby; p != nil {
		s.Pending, s.SoakedHash = p.Pending, p.TemplateHash
		s.Warm, s.Lent, s.Starting = ptr.Deref(p.Warm, -1), ptr.Deref(p.Lent, -1), ptr.Deref(p.Starting, -1)
	}
	if r := qs.Status.Rollout; r != nil {
		s.Rollout = r.State
		if r.Memory != nil {
			s.TargetHash = r.Memory.SettledHash
		}
	}
	in := client.InNamespace(w.namespace)
	var sets appsv1.ReplicaSetList
	var pods corev1.PodList
	var templates appsv1.ControllerRevisionList
	for _, list := range []client.ObjectList{&sets, &pods, &templates} {
		if err := from.List(w.Context(), list, in, client.HasLabels{capacityv1alpha1.LabelScaler}); err != nil {
			w.Fatal(err)
		}
	}
	for _, rs := range sets.Items {
		s.Slots = append(s.Slots, fmt.Sprintf("%s ×%d", rs.Spec.Template.Labels[capacityv1alpha1.LabelRevision], *rs.Spec.Replicas))
	}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp.IsZero() {
			s.Pods = append(s.Pods, pod.Labels[capacityv1alpha1.LabelRevision]+" "+pod.Labels[capacityv1alpha1.LabelRole])
		}
	}
	for _, cr := range templates.Items {
		s.Templates = append(s.Templates, cr.Labels[capacityv1alpha1.LabelRevision])
	}
	slices.Sort(s.Slots)
	slices.Sort(s.Pods)
	slices.Sort(s.Templates)
	return s
}

// full: the pool is full of idle slots of the newest revision, and nothing is left to do.
func (s state) full() bool {
	return s.Warm == slots && s.Lent == 0 && s.Starting == 0 && s.Rollout == capacityv1alpha1.RolloutStable && len(s.Pending) == 0 && len(s.Finalizers) == 0 &&
		s.SoakedHash != "" && s.SoakedHash == s.TargetHash &&
		slices.Equal(s.Slots, slices.Repeat([]string{s.SoakedHash + " ×1"}, slots)) &&
		slices.Equal(s.Pods, slices.Repeat([]string{s.SoakedHash + " " + capacityv1alpha1.RoleStandby}, slots))
}

func (s state) target(replicas int32) bool {
	return s.Replicas == replicas && s.Available == replicas && s.Existing == replicas
}

// looked waits until the operator has looked once more: it writes the generation of a changed spec.
func (w *world) looked() {
	w.Helper()
	old := w.qs(shared.client)
	changed := old.DeepCopy()
	changed.Spec.MaxReplicas++
	if err := shared.client.Patch(w.Context(), changed, client.MergeFrom(old), client.FieldOwner("test")); err != nil {
		w.Fatal(err)
	}
	w.await("another look", func() (bool, string) {
		qs := w.qs(shared.cache)
		return qs.Status.ObservedGeneration >= changed.Generation, fmt.Sprint(qs.Status.ObservedGeneration)
	})
}
