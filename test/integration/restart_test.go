//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// The tests of this file end the one operator that all tests share, so they run before the parallel ones.

const (
	kills = 8
	// window is the scale-down window of the story: nothing scales down for that long after a start.
	window = 15 * time.Second
	// seedVariable gives the seed of a run that failed.
	seedVariable = "QUEUESCALER_TEST_SEED"
)

// story is load with lending, scaling, a rollout in the middle of a backlog, and the way back.
func story(w *world, gate capacityv1alpha1.Gate) {
	w.settled(deployment(3), storyScaler(w, gate))
	w.push(100)
	w.awaitReplicas(10)
	w.roll("example/worker:2", readyAfter("2s"))
	w.push(50)
	w.awaitReplicas(15)
	w.await("the rollout's end", func() (bool, string) { d := w.target(); return complete(d), fmt.Sprintf("%+v", d.Status) })
	if err := w.redis.LTrim(w.Context(), w.key, 0, 39).Err(); err != nil {
		w.Fatal(err)
	}
}

func storyScaler(w *world, gate capacityv1alpha1.Gate) *capacityv1alpha1.QueueScaler {
	return w.scaler(minimum(3), pool(3, gate), func(s *capacityv1alpha1.QueueScalerSpec) {
		s.Behavior = &capacityv1alpha1.Behavior{ScaleDown: &capacityv1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To(int32(window / time.Second))}}
	})
}

// ending is what a story ends in, however often the operator was killed on the way.
type ending struct {
	Replicas, Available, Warm, Lent, Starting int32
	// SlotSets, SlotPods and Templates are how many there are; Revision is the one that the pool runs.
	SlotSets, SlotPods, Templates int
	Revision                      int64
	Summary                       capacityv1alpha1.Summary
	Pending, Finalizers           []string
	Roles                         []string
}

var storyEnds = ending{
	Replicas: 4, Available: 4, Warm: 3, SlotSets: 3, SlotPods: 3, Templates: 2, Revision: 2, Summary: capacityv1alpha1.SummaryHealthy,
	Roles: []string{capacityv1alpha1.RoleStandby, capacityv1alpha1.RoleStandby, capacityv1alpha1.RoleStandby},
}

func (w *world) ending() ending {
	w.Helper()
	qs, d := w.qs(), w.target()
	e := ending{Replicas: *d.Spec.Replicas, Available: d.Status.AvailableReplicas, Summary: qs.Status.Summary, Finalizers: qs.Finalizers}
	if s := qs.Status.Standby; s != nil {
		e.Warm, e.Lent, e.Starting = ptr.Deref(s.Warm, -1), ptr.Deref(s.Lent, -1), ptr.Deref(s.Starting, -1)
		e.Revision, e.Pending = s.Revision, s.Pending
	}
	in := []client.ListOption{client.InNamespace(w.namespace), client.HasLabels{capacityv1alpha1.LabelScaler}}
	var sets appsv1.ReplicaSetList
	var pods corev1.PodList
	var templates appsv1.ControllerRevisionList
	for _, list := range []client.ObjectList{&sets, &pods, &templates} {
		if err := w.client.List(w.Context(), list, in...); err != nil {
			w.Fatal(err)
		}
	}
	e.SlotSets, e.SlotPods, e.Templates = len(sets.Items), len(pods.Items), len(templates.Items)
	for i := range pods.Items {
		e.Roles = append(e.Roles, pods.Items[i].Labels[capacityv1alpha1.LabelRole])
	}
	return e
}

func (w *world) awaitEnding(want ending) {
	w.Helper()
	w.await("the story's end", func() (bool, string) {
		diff := cmp.Diff(want, w.ending())
		return diff == "", diff
	})
}

func TestStoryUndisturbed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	complaints := w.watchSlots()
	story(w, capacityv1alpha1.GateFile)
	w.awaitEnding(storyEnds)
	for _, c := range complaints() {
		t.Error(c)
	}
}

func TestKilledAtRandomInstants(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", seedVariable, seed)
	k := &killer{random: rand.New(rand.NewPCG(seed, 0)), done: make(chan struct{}), starts: []time.Time{time.Now()}}
	go k.run()
	t.Run("stories", func(t *testing.T) {
		for _, gate := range []capacityv1alpha1.Gate{capacityv1alpha1.GateFile, capacityv1alpha1.GateService} {
			t.Run(string(gate), func(t *testing.T) {
				t.Parallel()
				disturbed(t, gate, k)
			})
		}
	})
	<-k.done
	if k.err != nil {
		t.Fatal(k.err)
	}
}

func disturbed(t *testing.T, gate capacityv1alpha1.Gate, k *killer) {
	w := newWorld(t)
	endpoints := func() []string { return nil }
	if gate == capacityv1alpha1.GateService {
		w.create(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: app},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}},
		})
		endpoints = w.watchEndpoints()
	}
	mark := shared.audit.mark(t)
	versions, slots := w.watchTarget(), w.watchSlots()
	story(w, gate)
	<-k.done
	w.awaitEnding(storyEnds)
	k.judge(w, versions(), w.scaleWritesSince(mark))
	for _, c := range slices.Concat(slots(), endpoints()) {
		t.Error(c)
	}
}

// killer ends the operator with SIGKILL again and again, and starts it anew.
type killer struct {
	random *rand.Rand
	done   chan struct{}
	err    error

	mu     sync.Mutex
	starts []time.Time
}

func (k *killer) run() {
	defer close(k.done)
	for range kills {
		<-time.After(time.Duration(k.random.Int64N(int64(9 * time.Second))))
		shared.operator.Kill()
		k.mu.Lock()
		k.starts = append(k.starts, time.Now())
		k.mu.Unlock()
		if k.err = startOperator(); k.err != nil {
			return
		}
	}
}

// startBefore is the last start before a time.
func (k *killer) startBefore(at time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.starts[0]
	for _, start := range k.starts {
		if start.Before(at) {
			last = start
		}
	}
	return last
}

// judge goes through the target's versions: no replicas are changed during a rollout, and none are taken away within the
// window after a start. Only the operator changes them, so its k-th write made the k-th change.
func (k *killer) judge(w *world, versions []*appsv1.Deployment, writes []auditEvent) {
	w.Helper()
	rolling, change := false, 0
	for i := 1; i < len(versions); i++ {
		before, after := versions[i-1], versions[i]
		if cmp.Diff(before.Spec.Template, after.Spec.Template) != "" {
			rolling = true
		}
		from, to := *before.Spec.Replicas, *after.Spec.Replicas
		if from != to {
			if rolling {
				w.Errorf("replicas went %d → %d during a rollout: %+v", from, to, before.Status)
			}
			if change >= len(writes) {
				w.Fatalf("change %d of the replicas, %d → %d, is not among the operator's writes %v", change, from, to, writes)
			}
			k.judgeWrite(w, from, to, writes[change])
			change++
		}
		if complete(after) {
			rolling = false
		}
	}
	if change < 3 {
		w.Errorf("only %d changes of replicas were seen", change)
	}
}

func (k *killer) judgeWrite(w *world, from, to int32, write auditEvent) {
	w.Helper()
	at, err := time.Parse(time.RFC3339Nano, write.RequestReceivedTimestamp)
	if err != nil {
		w.Fatal(err)
	}
	if since := at.Sub(k.startBefore(at)); to < from && since < window {
		w.Errorf("replicas went %d → %d only %s after a start, the window is %s", from, to, since, window)
	}
}

// watchSlots watches all pods of slots from now on. A slot may be lent only while it is warm.
func (w *world) watchSlots() (complaints func() []string) {
	w.Helper()
	watcher, err := w.client.Watch(w.Context(), &corev1.PodList{}, client.InNamespace(w.namespace), client.HasLabels{capacityv1alpha1.LabelSlot})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(watcher.Stop)
	var mu sync.Mutex
	var found []string
	last, lent := map[string]*corev1.Pod{}, 0
	go func() {
		for e := range watcher.ResultChan() {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			mu.Lock()
			if was := last[pod.Name]; pod.Labels[capacityv1alpha1.LabelRole] == capacityv1alpha1.RoleActive && (was == nil || was.Labels[capacityv1alpha1.LabelRole] != capacityv1alpha1.RoleActive) {
				lent++
				if was == nil || was.Labels[capacityv1alpha1.LabelRole] != capacityv1alpha1.RoleStandby || !podReady(was) || !was.DeletionTimestamp.IsZero() {
					found = append(found, fmt.Sprintf("slot pod %s was lent and was not warm", pod.Name))
				}
			}
			last[pod.Name] = pod
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		if lent == 0 {
			return []string{"no slot was seen to be lent"}
		}
		return found
	}
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// At first sight of a rollout the operator knows nothing but what it stored, and still leaves it alone.
func TestStartedInTheMiddleOfARollout(t *testing.T) {
	w := newWorld(t)
	w.settled(deployment(4, onePodAtATime), w.scaler(pool(2, capacityv1alpha1.GateFile), minimum(4)))
	versions := w.watchTarget()
	mark := shared.audit.mark(t)
	if err := shared.operator.Stop(); err != nil {
		t.Fatal(err)
	}
	w.roll("example/worker:2", readyAfter("6s"))
	w.awaitMidRollout()
	w.push(100)
	if err := startOperator(); err != nil {
		t.Fatal(err)
	}
	w.awaitLent(2)
	w.awaitSummary(capacityv1alpha1.SummaryHeld)
	w.awaitReplicas(10)
	changedWhenComplete(t, versions())
	if writes := w.scaleWritesSince(mark); len(writes) != 1 {
		t.Errorf("one write of replicas is due, there were %v", writes)
	}
}

func TestAPIServerRestart(t *testing.T) {
	w := newWorld(t)
	w.push(60)
	w.settled(deployment(6), w.scaler(shrinksAtOnce, pool(2, capacityv1alpha1.GateFile)))
	mark := shared.audit.mark(t)
	began := time.Now()
	if err := shared.cluster.Restart(t.Context(), "apiserver"); err != nil {
		t.Fatal(err)
	}
	shared.restarts = append(shared.restarts, interval{began, time.Now()})
	w.awaitLooked()
	noScaleWrites(t, w.namespace, mark)
	w.awaitSettled(6, 2)
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonReady)
	w.push(40)
	w.awaitLent(2)
	w.awaitReplicas(10)
}
