//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// within is how long a condition is awaited: ample for a machine that does other things too.
	within = 2 * time.Minute
	app    = "app"

	annotationReadyAfter = "localcluster.queuescaler.io/ready-after"
	annotationBehavior   = "localcluster.queuescaler.io/behavior"
)

// world is one test's namespace.
type world struct {
	*testing.T
	namespace string
	client    client.WithWatch
	redis     *goredis.Client
	key       string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return worldIn(t, shared.cluster.Namespace(t))
}

func worldIn(t *testing.T, namespace string) *world {
	t.Helper()
	w := &world{T: t, namespace: namespace, client: shared.client}
	w.key = w.namespace
	w.redis = goredis.NewClient(&goredis.Options{Addr: shared.redis.Address()})
	t.Cleanup(func() {
		_ = w.redis.Del(context.Background(), w.key).Err() // the server ends with the suite
		_ = w.redis.Close()
	})
	t.Cleanup(func() {
		if t.Failed() {
			w.describe()
		}
	})
	return w
}

// describe logs what is in the namespace, for whoever has to find out why a test failed.
func (w *world) describe() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "qs", "-o", "wide"}, {"get", "deploy,rs,pods", "--show-labels"}, {"get", "qs", "-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{\"\\n\"}{end}{.status.decision}{\"\\n\"}{.status.rollout}{\"\\n\"}{end}"},
		{"get", "events.events.k8s.io", "-o", "custom-columns=T:.metadata.creationTimestamp,ON:.regarding.name,REASON:.reason,NOTE:.note"},
	} {
		out, _, err := shared.cluster.Kubectl(ctx, append([]string{"-n", w.namespace}, args...)...)
		w.Logf("kubectl %s (%v)\n%s", strings.Join(args[:2], " "), err, out)
	}
	w.Logf("what the operator printed of it last:\n%s", shared.log.tail(20, w.namespace))
}

// deployment makes a Deployment called app whose pods start at once.
func deployment(replicas int32, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      map[string]string{"app": app},
					Annotations: map[string]string{capacityv1alpha1.AnnotationGate: "file", annotationReadyAfter: "0s"},
				},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To(int64(5)),
					Containers:                    []corev1.Container{{Name: "worker", Image: "example/worker:1"}},
				},
			},
		},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

func readyAfter(duration string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Annotations[annotationReadyAfter] = duration }
}

// scaler makes a QueueScaler for app that wants a replica for every 10 messages of the test's Redis list, 2 to 20.
func (w *world) scaler(change ...func(*capacityv1alpha1.QueueScalerSpec)) *capacityv1alpha1.QueueScaler {
	qs := &capacityv1alpha1.QueueScaler{
		ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: w.namespace},
		Spec: capacityv1alpha1.QueueScalerSpec{
			ScaleTargetRef: capacityv1alpha1.ScaleTargetReference{Name: app},
			MinReplicas:    ptr.To(int32(2)),
			MaxReplicas:    20,
			Queues: []capacityv1alpha1.Queue{{Name: "jobs", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{
				Server: capacityv1alpha1.Server{URL: shared.redis.URL()}, List: capacityv1alpha1.RedisKeys{Keys: []string{w.key}},
			}}}},
			Objective: capacityv1alpha1.Objective{Backlog: capacityv1alpha1.BacklogObjective{PerReplica: 10}},
			Rollout:   &capacityv1alpha1.Rollout{SoakSeconds: ptr.To(int32(0))},
		},
	}
	for _, f := range change {
		f(&qs.Spec)
	}
	return qs
}

func pool(n int32, gate capacityv1alpha1.Gate) func(*capacityv1alpha1.QueueScalerSpec) {
	return func(s *capacityv1alpha1.QueueScalerSpec) {
		s.Standby = capacityv1alpha1.Standby{Replicas: n, Gate: gate}
	}
}

func minimum(n int32) func(*capacityv1alpha1.QueueScalerSpec) {
	return func(s *capacityv1alpha1.QueueScalerSpec) { s.MinReplicas = &n }
}

// shrinksAtOnce takes the scale-down window away, so that a test in which nothing may scale down means it.
func shrinksAtOnce(s *capacityv1alpha1.QueueScalerSpec) {
	s.Behavior = &capacityv1alpha1.Behavior{ScaleDown: &capacityv1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To(int32(0))}}
}

func (w *world) create(o client.Object) {
	w.Helper()
	o.SetNamespace(w.namespace)
	if err := w.client.Create(w.Context(), o, client.FieldOwner("test")); err != nil {
		w.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

func (w *world) delete(o client.Object) {
	w.Helper()
	o.SetNamespace(w.namespace)
	if err := w.client.Delete(w.Context(), o); err != nil {
		w.Fatalf("delete %T %s: %v", o, o.GetName(), err)
	}
}

func (w *world) push(n int) {
	w.Helper()
	values := make([]any, n)
	for i := range values {
		values[i] = i
	}
	if err := w.redis.RPush(w.Context(), w.key, values...).Err(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) drain() {
	w.Helper()
	if err := w.redis.Del(w.Context(), w.key).Err(); err != nil {
		w.Fatal(err)
	}
}

// settled makes the Deployment and the QueueScaler and waits until the operator has seen the one complete and read the
// queue, and the pool is full.
func (w *world) settled(d *appsv1.Deployment, qs *capacityv1alpha1.QueueScaler) {
	w.Helper()
	w.create(d)
	w.create(qs)
	w.awaitSettled(*d.Spec.Replicas, qs.Spec.Standby.Replicas)
}

func (w *world) awaitSettled(replicas, slots int32) {
	w.Helper()
	w.await(fmt.Sprintf("%d replicas stable, %d slots warm", replicas, slots), func() (bool, string) {
		qs, d := w.qs(), w.target()
		r := qs.Status.Rollout
		good := r != nil && r.State == capacityv1alpha1.RolloutStable && is(qs, capacityv1alpha1.ConditionScalingActive, metav1.ConditionTrue) &&
			*d.Spec.Replicas == replicas && d.Status.AvailableReplicas == replicas && ptr.Deref(qs.Status.AvailableReplicas, 0) == replicas
		if s := qs.Status.Standby; slots > 0 {
			good = good && s != nil && ptr.Deref(s.Warm, 0) == slots && ptr.Deref(s.Lent, -1) == 0 && ptr.Deref(s.Starting, -1) == 0
		}
		return good, fmt.Sprintf("%d replicas, %d available, rollout %+v, standby %+v", *d.Spec.Replicas, d.Status.AvailableReplicas, r, qs.Status.Standby)
	})
}

func (w *world) qs() *capacityv1alpha1.QueueScaler {
	w.Helper()
	var qs capacityv1alpha1.QueueScaler
	if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: app}, &qs); err != nil {
		w.Fatal(err)
	}
	return &qs
}

func (w *world) target() *appsv1.Deployment {
	w.Helper()
	var d appsv1.Deployment
	if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: app}, &d); err != nil {
		w.Fatal(err)
	}
	return &d
}

// slots are the pods of slots with this role, or all of them, by name.
func (w *world) slots(role string) []string {
	w.Helper()
	var pods corev1.PodList
	selector := labels.Set{capacityv1alpha1.LabelScaler: app}
	if role != "" {
		selector[capacityv1alpha1.LabelRole] = role
	}
	if err := w.client.List(w.Context(), &pods, client.InNamespace(w.namespace), client.MatchingLabels(selector)); err != nil {
		w.Fatal(err)
	}
	var names []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp.IsZero() {
			names = append(names, pod.Name)
		}
	}
	slices.Sort(names)
	return names
}

// changeQS and changeTarget patch what the function changes.
func (w *world) changeQS(f func(*capacityv1alpha1.QueueScaler)) {
	w.Helper()
	old := w.qs()
	changed := old.DeepCopy()
	f(changed)
	if err := w.client.Patch(w.Context(), changed, client.MergeFrom(old), client.FieldOwner("test")); err != nil {
		w.Fatal(err)
	}
}

func (w *world) changeTarget(f func(*appsv1.Deployment)) {
	w.Helper()
	old := w.target()
	changed := old.DeepCopy()
	f(changed)
	if err := w.client.Patch(w.Context(), changed, client.MergeFrom(old), client.FieldOwner("test")); err != nil {
		w.Fatal(err)
	}
}

// roll begins a rollout.
func (w *world) roll(image string, change ...func(*appsv1.Deployment)) {
	w.Helper()
	w.changeTarget(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = image
		for _, f := range change {
			f(d)
		}
	})
}

// await polls until the function says yes; what it says besides tells why it did not.
func (w *world) await(what string, f func() (bool, string)) {
	w.Helper()
	last := ""
	err := wait.PollUntilContextTimeout(w.Context(), 100*time.Millisecond, within, true, func(context.Context) (bool, error) {
		good, why := f()
		last = why
		return good, nil
	})
	if err != nil {
		w.Fatalf("%s: not within %s: %s", what, within, last)
	}
}

// awaitCondition waits for a condition with this status and reason, and a message that holds all of these words.
func (w *world) awaitCondition(kind string, status metav1.ConditionStatus, reason string, words ...string) {
	w.Helper()
	w.awaitConditionOf(app, kind, status, reason, words...)
}

func (w *world) awaitConditionOf(name, kind string, status metav1.ConditionStatus, reason string, words ...string) {
	w.Helper()
	w.await(fmt.Sprintf("%s=%s %s %q", kind, status, reason, words), func() (bool, string) {
		var qs capacityv1alpha1.QueueScaler
		if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, &qs); err != nil {
			return false, err.Error()
		}
		c := meta.FindStatusCondition(qs.Status.Conditions, kind)
		if c == nil {
			return false, "no such condition"
		}
		good := c.Status == status && c.Reason == reason
		for _, word := range words {
			good = good && strings.Contains(c.Message, word)
		}
		return good, fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	})
}

func is(qs *capacityv1alpha1.QueueScaler, kind string, status metav1.ConditionStatus) bool {
	return meta.IsStatusConditionPresentAndEqual(qs.Status.Conditions, kind, status)
}

func (w *world) awaitReplicas(n int32) {
	w.Helper()
	w.await(fmt.Sprintf("%d replicas", n), func() (bool, string) {
		d := w.target()
		return *d.Spec.Replicas == n, fmt.Sprintf("%d, decision %+v", *d.Spec.Replicas, w.qs().Status.Decision)
	})
}

func (w *world) awaitAvailable(n int32) {
	w.Helper()
	w.await(fmt.Sprintf("%d available", n), func() (bool, string) {
		d := w.target()
		return d.Status.AvailableReplicas == n && d.Status.ObservedGeneration == d.Generation, fmt.Sprintf("%+v", d.Status)
	})
}

// awaitLent waits for n pods of slots that are in service.
func (w *world) awaitLent(n int) {
	w.Helper()
	w.await(fmt.Sprintf("%d slots lent", n), func() (bool, string) {
		names := w.slots(capacityv1alpha1.RoleActive)
		return len(names) == n, fmt.Sprintf("lent %v, decision %+v", names, w.qs().Status.Decision)
	})
}

// awaitSummary waits for the word in the column STATUS.
func (w *world) awaitSummary(word capacityv1alpha1.Summary) {
	w.Helper()
	w.await("STATUS "+string(word), func() (bool, string) {
		got := w.qs().Status.Summary
		return got == word, string(got)
	})
}

// awaitEvent waits for an event about app with this reason and these words.
func (w *world) awaitEvent(kind, reason string, words ...string) {
	w.Helper()
	w.await(fmt.Sprintf("event %s %s %q", kind, reason, words), func() (bool, string) {
		var list eventsv1.EventList
		if err := w.client.List(w.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return false, err.Error()
		}
		var notes []string
		for _, e := range list.Items {
			if e.Regarding.Kind != "QueueScaler" || e.Reason != reason {
				continue
			}
			notes = append(notes, e.Type+" "+e.Note)
			if e.Type == kind && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.Note, word) }) {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%d events of that reason: %v", len(notes), notes)
	})
}

// awaitLooked waits until the operator has looked at the QueueScaler and read its queue after all that happened so far. It
// is the bound of an interval in which nothing may have happened.
func (w *world) awaitLooked() {
	w.Helper()
	w.changeQS(func(qs *capacityv1alpha1.QueueScaler) {
		// A change of the spec makes the operator write its observedGeneration.
		qs.Spec.MaxReplicas++
	})
	generation := w.qs().Generation
	w.await("another look", func() (bool, string) {
		qs := w.qs()
		return qs.Status.ObservedGeneration >= generation, fmt.Sprintf("%d", qs.Status.ObservedGeneration)
	})
}

func (w *world) kubectl(args ...string) string {
	w.Helper()
	out, _, err := shared.cluster.Kubectl(w.Context(), append([]string{"-n", w.namespace}, args...)...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}
