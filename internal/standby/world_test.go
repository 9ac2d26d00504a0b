// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// world is a model of a cluster with one QueueScaler: of what its ReplicaSet controller, kubelets and garbage collector do
// with slots. Its operator does what the controller does: observe, plan, write, in that order, and it can be killed
// between any two writes.
type world struct {
	fatalf func(format string, args ...any)
	now    time.Time
	start  time.Time
	owner  *v1alpha1.QueueScaler
	serial int

	rss  map[string]*appsv1.ReplicaSet
	pods map[string]*corev1.Pod
	// cachedRSs and cachedPods are what the operator sees; they may be behind.
	cachedRSs  []*appsv1.ReplicaSet
	cachedPods []*corev1.Pod

	// How pods behave. begin is how long a process of gate Prepared takes until it is ready.
	startUp, grace, finish, begin    time.Duration
	crash, neverReady, unschedulable bool
	quota                            bool
	templates                        map[string]*corev1.PodTemplateSpec
	gate                             v1alpha1.Gate
	services                         []corev1.Service
	servicesAtCreation               map[string][]corev1.Service
	in                               PoolInput
	plan                             PoolPlan
	writes, creates                  int
	onWrite                          func(Action)
	// skew is how much the operator's clock is ahead of the cluster's; deadNode keeps pods from ending.
	skew     time.Duration
	deadNode bool
	names    map[string]string
	made     map[string]*SlotTemplate
}

func newWorld(fatalf func(string, ...any), gate v1alpha1.Gate) *world {
	start := time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)
	w := &world{
		fatalf: fatalf, now: start, start: start, gate: gate,
		owner: &v1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "availability", UID: "qs-uid"}},
		rss:   map[string]*appsv1.ReplicaSet{}, pods: map[string]*corev1.Pod{},
		startUp: 5 * time.Second, grace: 2 * time.Second, finish: time.Hour, begin: 3 * time.Second,
		templates: map[string]*corev1.PodTemplateSpec{}, servicesAtCreation: map[string][]corev1.Service{},
		names: map[string]string{}, made: map[string]*SlotTemplate{},
		services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}}},
	}
	for _, hash := range []string{"aaa", "bbb", "ccc"} {
		w.templates[hash] = &corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{
				Labels:      map[string]string{"app": "web", "tier": "front"},
				Annotations: map[string]string{v1alpha1.AnnotationGate: "file"},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:" + hash}}},
		}
	}
	w.in = PoolInput{Scaler: w.owner.Name, Replicas: 3, Gate: gate, Revision: "aaa", TargetRevision: "aaa", Soaked: []string{"aaa"}}
	return w
}

// kube lets the cluster's own controllers run once.
func (w *world) kube() {
	for _, name := range slices.Sorted(maps.Keys(w.rss)) {
		w.replicaSetController(w.rss[name])
	}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		w.kubelet(w.pods[name])
	}
	for _, rs := range w.rss {
		w.replicaSetStatus(rs)
	}
}

func (w *world) owned(rs *appsv1.ReplicaSet) (active, ending []*corev1.Pod) {
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		pod := w.pods[name]
		switch {
		case metav1.GetControllerOf(pod).UID != rs.UID:
		case !pod.DeletionTimestamp.IsZero():
			ending = append(ending, pod)
		case pod.Status.Phase != corev1.PodFailed:
			active = append(active, pod)
		}
	}
	return active, ending
}

func (w *world) replicaSetController(rs *appsv1.ReplicaSet) {
	active, _ := w.owned(rs)
	switch {
	case *rs.Spec.Replicas == 0:
		for _, pod := range active {
			w.deletePod(pod)
		}
	case len(active) == 0 && w.quota:
		rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
	case len(active) == 0:
		rs.Status.Conditions = nil
		w.createPod(rs)
	}
}

func (w *world) createPod(rs *appsv1.ReplicaSet) {
	w.serial++
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: rs.Namespace, Name: fmt.Sprintf("%s-%d", rs.Name, w.serial), UID: types.UID(fmt.Sprintf("pod-%d", w.serial)),
			Labels: maps.Clone(rs.Spec.Template.Labels), Annotations: maps.Clone(rs.Spec.Template.Annotations),
			CreationTimestamp: metav1.NewTime(w.now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		},
		Spec:   *rs.Spec.Template.Spec.DeepCopy(),
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, s := range w.servicesAtCreation[rs.Name] {
		if w.gate == v1alpha1.GateService && selects(&s) && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			w.fatalf("%v: Service %s, which existed when slot %s was made, selects its idle pod", w.since(), s.Name, rs.Name)
		}
	}
	w.setReady(pod, false)
	w.pods[pod.Name] = pod
}

func (w *world) deletePod(pod *corev1.Pod) {
	if pod.DeletionTimestamp.IsZero() {
		pod.DeletionTimestamp = ptr.To(metav1.NewTime(w.now.Add(w.grace)))
	}
}

func (w *world) setReady(pod *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	var others []corev1.PodCondition
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodReady {
			others = append(others, c)
		} else if c.Status == status {
			return
		}
	}
	pod.Status.Conditions = append(others, corev1.PodCondition{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(w.now)})
}

func (w *world) kubelet(pod *corev1.Pod) {
	if end := pod.DeletionTimestamp; !end.IsZero() && !w.deadNode && !w.now.Before(end.Time) {
		delete(w.pods, pod.Name)
		return
	}
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: pod.CreationTimestamp}
	if w.unschedulable && !podReady(pod) {
		scheduled.Status, scheduled.Reason = corev1.ConditionFalse, corev1.PodReasonUnschedulable
	}
	pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
	if w.gate == v1alpha1.GatePrepared {
		w.prepared(pod, scheduled.Status == corev1.ConditionTrue)
		return
	}
	pod.Status.ContainerStatuses = nil
	drained := pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleDraining && w.now.Sub(timeOf(pod.Annotations[v1alpha1.AnnotationDrainingSince])) >= w.finish
	switch {
	case w.crash && !podReady(pod):
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3, State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	case drained:
		w.setReady(pod, false)
	case !w.neverReady && scheduled.Status == corev1.ConditionTrue && w.now.Sub(pod.CreationTimestamp.Time) >= w.startUp:
		w.setReady(pod, true)
	}
}

// prepared is what a kubelet does with a pod of gate Prepared: it waits once it is prepared, and begins once it is lent.
func (w *world) prepared(pod *corev1.Pod, scheduled bool) {
	crashing := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	wait := corev1.ContainerStatus{Name: waitContainer}
	if len(pod.Status.InitContainerStatuses) > 0 {
		wait = pod.Status.InitContainerStatuses[0]
	}
	lent := pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive
	switch ended := wait.State.Terminated; {
	case ended != nil && w.crash && !podReady(pod):
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3, State: crashing}}
	case ended != nil:
		pod.Status.ContainerStatuses = nil
		if !w.neverReady && w.now.Sub(ended.FinishedAt.Time) >= w.begin {
			w.setReady(pod, true)
		}
	case wait.State.Running != nil && lent:
		wait.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			StartedAt: wait.State.Running.StartedAt, FinishedAt: metav1.NewTime(w.now)}}
	case wait.State.Running != nil:
	case w.crash:
		wait.State = crashing
	case scheduled && w.now.Sub(pod.CreationTimestamp.Time) >= w.startUp:
		wait.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.now)}}
	}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{wait}
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (w *world) replicaSetStatus(rs *appsv1.ReplicaSet) {
	active, ending := w.owned(rs)
	rs.Status.ObservedGeneration = rs.Generation
	rs.Status.Replicas = int32(len(active))
	rs.Status.TerminatingReplicas = ptr.To(int32(len(ending)))
	rs.Status.AvailableReplicas = 0
	for _, pod := range active {
		if podReady(pod) {
			rs.Status.AvailableReplicas++
		}
	}
}

// sync brings the operator's caches up to date, each for itself.
func (w *world) sync(replicaSets, pods bool) {
	if replicaSets {
		w.cachedRSs = nil
		for _, rs := range w.rss {
			w.cachedRSs = append(w.cachedRSs, rs.DeepCopy())
		}
	}
	if pods {
		w.cachedPods = nil
		for _, pod := range w.pods {
			w.cachedPods = append(w.cachedPods, pod.DeepCopy())
		}
	}
}

// reconcile plans from the caches and does at most so many writes; the status counts as one, and comes first or last. It
// returns false where it was killed before the end.
func (w *world) reconcile(writes int, statusLast bool) bool {
	w.in.Services = w.services
	w.in.Template, w.in.KnownGoodTemplate = w.template(w.in.Revision), nil
	if w.in.KnownGood != "" {
		w.in.KnownGoodTemplate = w.template(w.in.KnownGood)
	}
	w.in.Seed++
	slots := Observe(w.clock(), w.owner.Name, w.owner.UID, w.cachedRSs, w.cachedPods)
	w.plan = Plan(w.clock(), w.in, slots)
	if again := Plan(w.clock(), w.in, slots); !reflect.DeepEqual(again, w.plan) {
		w.fatalf("%v: the same input gave another plan:\n%+v\n%+v", w.since(), w.plan, again)
	}
	store := func() bool {
		if slices.Equal(w.plan.Pending, w.in.Pending) && w.plan.RefillAfter.Equal(w.in.RefillAfter) {
			return true
		}
		writes--
		if writes < 0 {
			return false
		}
		w.in.Pending, w.in.RefillAfter = w.plan.Pending, w.plan.RefillAfter
		return true
	}
	if !statusLast && !store() {
		return false
	}
	for _, a := range w.plan.Actions {
		writes--
		if writes < 0 {
			return false
		}
		w.write(a)
	}
	return !statusLast || store()
}

// template makes that of a revision, once for each and set of Services.
func (w *world) template(revision string) *SlotTemplate {
	key := fmt.Sprintf("%s %d", revision, len(w.services))
	if w.made[key] == nil {
		made, refusal := Template(TemplateInput{
			Namespace: "chat", Scaler: w.owner.Name, Gate: w.gate, GateImage: "gate", Revision: revision, Template: w.templates[revision],
			Surroundings: Surroundings{Services: w.services},
		})
		if refusal != nil {
			w.fatalf("%+v", refusal)
		}
		w.made[key] = made
	}
	return w.made[key]
}

func (w *world) write(a Action) {
	w.writes++
	if w.onWrite != nil {
		w.onWrite(a)
	}
	switch a.Kind {
	case Create:
		w.creates++
		if w.rss[a.Name] != nil {
			return // AlreadyExists
		}
		rs := ReplicaSet(w.owner, a.Name, a.Template, a.ConfigDigest)
		w.serial++
		rs.UID, rs.Generation = types.UID(fmt.Sprintf("rs-%d", w.serial)), 1
		w.rss[a.Name], w.servicesAtCreation[a.Name] = rs, w.services
	case Lend:
		w.patchPod(a.Slot, LendPatch(a.Slot, w.clock()))
	case BeginDrain:
		w.patchPod(a.Slot, DrainPatch(a.Slot, w.clock()))
	case Touch:
		w.patchPod(a.Slot, TouchPatch(a.Slot, a.Touch))
	case EndPod:
		rs := w.rss[a.Name]
		if rs != nil && apply(w, rs, EndPatch(a.Slot)) {
			rs.Generation++
		}
	case DeleteReplicaSet:
		rs := w.rss[a.Name]
		if rs == nil || rs.UID != a.Slot.ReplicaSetUID {
			return
		}
		if active, ending := w.owned(rs); len(active)+len(ending) > 0 {
			w.fatalf("%v: ReplicaSet %s is deleted before its pod is gone", w.since(), a.Name)
		}
		delete(w.rss, a.Name)
	}
}

func (w *world) patchPod(slot *Slot, patch []byte) bool {
	pod := w.pods[slot.Pod]
	return pod != nil && apply(w, pod, patch)
}

// apply a JSON patch as the apiserver does; false for its status 422.
func apply[T any](w *world, object *T, patch []byte) bool {
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		w.fatalf("patch %s: %v", patch, err)
	}
	before, err := json.Marshal(object)
	if err != nil {
		w.fatalf("%v", err)
	}
	after, err := p.Apply(before)
	if err != nil {
		return false
	}
	var out T
	if err := json.Unmarshal(after, &out); err != nil {
		w.fatalf("patch %s: %v", patch, err)
	}
	*object = out
	return true
}

// clock is the operator's.
func (w *world) clock() time.Time { return w.now.Add(w.skew) }

func (w *world) since() time.Duration { return w.now.Sub(w.start) }

// places counts the ReplicaSets that have, or will have, a pod: without and with those whose pod should have ended.
func (w *world) places() (places, all int32) {
	for _, rs := range w.rss {
		active, ending := w.owned(rs)
		if *rs.Spec.Replicas > 0 || len(active)+len(ending) > 0 {
			all++
		}
		overdue := slices.ContainsFunc(ending, func(pod *corev1.Pod) bool { return w.now.Sub(pod.DeletionTimestamp.Time) > overdueAfter-20*time.Second })
		if *rs.Spec.Replicas > 0 || (len(active)+len(ending) > 0 && !overdue) {
			places++
		}
	}
	return places, all
}

// summary is what is there, without names: what a restart has to arrive at too.
func (w *world) summary() string {
	counts := map[string]int{}
	for _, rs := range w.rss {
		active, ending := w.owned(rs)
		key := fmt.Sprintf("replicas %d, %d ending", *rs.Spec.Replicas, len(ending))
		for _, pod := range active {
			key += fmt.Sprintf(", %s %s %s ready=%v", pod.Labels[v1alpha1.LabelRole], pod.Labels[v1alpha1.LabelRevision],
				pod.Annotations[v1alpha1.AnnotationTemplateDigest], podReady(pod))
		}
		counts[key]++
	}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("%d × %s", counts[key], key))
	}
	return strings.Join(lines, "\n")
}

// calm runs the cluster and an operator that is left alone, with fresh caches, for a while: in steps of a second while
// it writes, and of ten while it has nothing to do.
func (w *world) calm(d time.Duration) {
	busyUntil := w.now.Add(20 * time.Second)
	for end := w.now.Add(d); w.now.Before(end); {
		w.kube()
		before := w.writes
		for range 3 {
			w.sync(true, true)
			w.reconcile(1000, false)
		}
		if w.writes != before {
			busyUntil = w.now.Add(20 * time.Second)
		}
		if w.now.Before(busyUntil) {
			w.now = w.now.Add(time.Second)
		} else {
			w.now = w.now.Add(10 * time.Second)
		}
	}
}
