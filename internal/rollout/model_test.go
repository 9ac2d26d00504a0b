// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"container/heap"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/queuescaler/queuescaler/internal/rollout/recording"
)

// This file is a model of a cluster in which one Deployment lives: an API server that refuses
// writes of an outdated object, the Deployment controller (controller_test.go), the ReplicaSet
// controller, and pods that start, fail and end. Each acts at its own random pace, so that their
// writes interleave with each other's and with the user's. What comes out is a recording, with the
// truth from what was done and from the pods, never from a status field.

// cluster is the model. Times are seconds since its start.
type cluster struct {
	now    float64
	rnd    *rand.Rand
	agenda agenda

	d    *appsv1.Deployment // the stored object
	rss  map[string]*appsv1.ReplicaSet
	pods []*pod

	rv, names    int
	bad          map[string]bool // templates whose pods never get ready
	unready      bool            // all pods fail their readiness probe at present
	synced       bool            // the Deployment controller has seen the last write
	syncing      bool
	rsSyncing    map[string]bool
	lastDelivery float64

	rec   recording.Recording
	truth truth
}

type pod struct {
	rs, tag  string
	name     int
	ready    bool
	readyAt  float64
	deleting bool
	gone     bool
}

// strategies that the model's Deployments use.
var strategies = []appsv1.DeploymentStrategy{
	rolling("25%", "25%"), rolling("0", "1"), rolling("0", "100%"), rolling("1", "0"), rolling("100%", "0"),
	{Type: appsv1.RecreateDeploymentStrategyType},
}

func rolling(surge, unavailable string) appsv1.DeploymentStrategy {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}}
}

// newCluster creates the Deployment. Everything random follows from the seed.
func newCluster(seed uint64, replicas int32, strategy appsv1.DeploymentStrategy, deadline, minReady int32) *cluster {
	c := &cluster{
		rnd:       rand.New(rand.NewPCG(seed, 0)),
		rss:       map[string]*appsv1.ReplicaSet{},
		bad:       map[string]bool{},
		rsSyncing: map[string]bool{},
		synced:    true,
	}
	limit := int32(10)
	c.d = &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "n", UID: "d-uid", Generation: 0},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Strategy: strategy, ProgressDeadlineSeconds: &deadline, MinReadySeconds: minReady,
			RevisionHistoryLimit: &limit, Template: template("a"),
		},
	}
	c.truth.tag, c.truth.replicas = "a", replicas
	c.user(func(*appsv1.Deployment) {})
	return c
}

func template(tag string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "d", "rev": tag}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image:" + tag}}},
	}
}

// run lets time pass.
func (c *cluster) run(seconds float64) {
	end := c.now + seconds
	for len(c.agenda) > 0 && c.agenda[0].at <= end {
		next := heap.Pop(&c.agenda).(appointment)
		c.now = next.at
		next.do()
		c.noteTruth()
	}
	c.now = end
	c.noteTruth()
}

// after does something later, between lo and hi seconds from now.
func (c *cluster) after(lo, hi float64, do func()) {
	heap.Push(&c.agenda, appointment{at: c.now + lo + c.rnd.Float64()*(hi-lo), order: c.names, do: do})
	c.names++
}

// soon is how long a controller takes for a step: mostly milliseconds, now and then much longer.
func (c *cluster) soon(do func()) {
	if c.rnd.IntN(20) == 0 {
		c.after(0.02, 0.08, do)
		return
	}
	c.after(0.001, 0.008, do)
}

// user writes the Deployment's spec.
func (c *cluster) user(edit func(*appsv1.Deployment)) {
	d := c.d.DeepCopy()
	edit(d)
	d.Generation++
	c.storeDeployment(d)
	c.noteTruth()
}

func (c *cluster) storeDeployment(d *appsv1.Deployment) {
	c.rv++
	d.ResourceVersion = strconv.Itoa(c.rv)
	c.d = d.DeepCopy()
	c.deliver(recording.Event{Deployment: c.d})
	c.wakeDeploymentController()
}

func (c *cluster) storeReplicaSet(rs *appsv1.ReplicaSet) {
	if rs.UID == "" {
		rs.UID = types.UID(rs.Name + "-" + strconv.Itoa(c.rv))
		rs.CreationTimestamp = c.clock()
	}
	c.rv++
	rs.ResourceVersion = strconv.Itoa(c.rv)
	stored := rs.DeepCopy()
	c.rss[rs.Name] = stored
	c.deliver(recording.Event{ReplicaSet: stored})
	c.wakeDeploymentController()
	c.wakeReplicaSetController(rs.Name)
}

func (c *cluster) deleteReplicaSet(name string) {
	rs := c.rss[name]
	delete(c.rss, name)
	c.deliver(recording.Event{ReplicaSet: rs, Deleted: true})
	for _, p := range c.live() {
		if p.rs == name {
			c.end(p)
		}
	}
	c.wakeDeploymentController()
}

// deliver lets the watch event arrive; that of a ReplicaSet a little later.
func (c *cluster) deliver(e recording.Event) {
	e.T = c.now
	if e.ReplicaSet != nil {
		e.T = max(c.now+c.rnd.Float64()*0.01, c.lastDelivery)
		c.lastDelivery = e.T
	}
	c.rec.Events = append(c.rec.Events, e)
}

// clock has a grain of 1 s, as times in objects have.
func (c *cluster) clock() metav1.Time {
	return metav1.NewTime(time.Unix(int64(c.now), 0).UTC())
}

// live are the pods that exist and are not ending, in order of creation.
func (c *cluster) live() []*pod {
	var out []*pod
	for _, p := range c.pods {
		if !p.deleting {
			out = append(out, p)
		}
	}
	return out
}

func (c *cluster) end(p *pod) {
	p.deleting = true
	c.wakeReplicaSetController(p.rs)
	c.after(0.05, 0.8, func() {
		p.gone = true
		c.pods = slices.DeleteFunc(c.pods, func(q *pod) bool { return q.gone })
		c.wakeDeploymentController()
	})
}

func (c *cluster) create(rs *appsv1.ReplicaSet) {
	p := &pod{rs: rs.Name, tag: rs.Spec.Template.Labels["rev"], name: c.names}
	c.pods = append(c.pods, p)
	c.after(0.3, 1.5, func() { c.probe(p) })
}

// probe makes a pod ready if it can be, and looks again.
func (c *cluster) probe(p *pod) {
	if p.deleting {
		return
	}
	if ready := !c.unready && !c.bad[p.tag]; ready != p.ready {
		p.ready, p.readyAt = ready, c.now
		if ready {
			c.rec.Ready = append(c.rec.Ready, c.now)
			c.after(float64(c.d.Spec.MinReadySeconds), float64(c.d.Spec.MinReadySeconds)+0.02, func() { c.wakeReplicaSetController(p.rs) })
		}
		c.wakeReplicaSetController(p.rs)
	}
	c.after(0.3, 0.5, func() { c.probe(p) })
}

func (c *cluster) available(p *pod) bool {
	return p.ready && c.now >= p.readyAt+float64(c.d.Spec.MinReadySeconds)
}

// wakeReplicaSetController lets it create or end pods, and report afterwards.
func (c *cluster) wakeReplicaSetController(name string) {
	if c.rsSyncing[name] {
		return
	}
	c.rsSyncing[name] = true
	c.soon(func() {
		rs := c.rss[name]
		if rs == nil {
			c.rsSyncing[name] = false
			return
		}
		generation := rs.Generation
		c.manage(rs)
		c.soon(func() {
			c.rsSyncing[name] = false
			c.report(name, generation)
		})
	})
}

func (c *cluster) manage(rs *appsv1.ReplicaSet) {
	var own []*pod
	for _, p := range c.live() {
		if p.rs == rs.Name {
			own = append(own, p)
		}
	}
	want := int(*rs.Spec.Replicas)
	for n := len(own); n < want; n++ {
		c.create(rs)
	}
	slices.SortStableFunc(own, func(a, b *pod) int { return btoi(a.ready) - btoi(b.ready) })
	for _, p := range own[:max(0, len(own)-want)] {
		if p.tag == c.truth.settled && rs.Annotations[desiredKey] != strconv.Itoa(want) {
			c.truth.moved = true
		}
		c.end(p)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *cluster) report(name string, generation int64) {
	rs := c.rss[name]
	if rs == nil {
		return
	}
	status := appsv1.ReplicaSetStatus{ObservedGeneration: generation}
	for _, p := range c.live() {
		if p.rs == name {
			status.Replicas++
			status.ReadyReplicas += int32(btoi(p.ready))
			status.AvailableReplicas += int32(btoi(c.available(p)))
		}
	}
	if status.Replicas != *rs.Spec.Replicas || rs.Generation != generation {
		c.wakeReplicaSetController(name)
	}
	if status.ObservedGeneration == rs.Status.ObservedGeneration && status.Replicas == rs.Status.Replicas &&
		status.ReadyReplicas == rs.Status.ReadyReplicas && status.AvailableReplicas == rs.Status.AvailableReplicas {
		return
	}
	rs = rs.DeepCopy()
	rs.Status = status
	c.storeReplicaSet(rs)
}

// recording finishes the run and returns it.
func (c *cluster) recording() *recording.Recording {
	rec := c.rec
	slices.SortStableFunc(rec.Events, func(a, b recording.Event) int {
		switch {
		case a.T < b.T:
			return -1
		case a.T > b.T:
			return 1
		}
		return 0
	})
	rec.Header.Truth = append(slices.Clone(c.truth.past), c.truth.now)
	rec.Header.Truth[len(rec.Header.Truth)-1].To = c.now
	return &rec
}

// truth is what is so, by what was done and by the pods.
type truth struct {
	tag      string // of the template now asked for
	replicas int32
	paused   bool
	undo     bool // that template was current before
	since    float64

	settled string // the template of which all pods wanted were available last
	scaled  bool   // the number was changed since
	moved   bool   // pods of another template existed since, or some of it were ended for another's sake

	past []recording.Segment
	now  recording.Segment
}

// noteTruth brings the truth up to date.
func (c *cluster) noteTruth() {
	t := &c.truth
	var old, fresh, available int32
	others := false
	for _, p := range c.live() {
		others = others || p.tag != t.settled
		if p.tag != t.tag {
			old++
			continue
		}
		fresh++
		available += int32(btoi(c.available(p)))
	}
	t.moved = t.moved || t.settled != "" && others
	if old == 0 && fresh == t.replicas && available == t.replicas && (t.replicas > 0 || t.tag == t.settled && !t.moved) {
		t.settled, t.scaled, t.moved = t.tag, false, false
	}
	state, also := t.state(old, fresh)
	if also == "" && c.overdue() && state != "stable" && state != "scaling" {
		also = "stuck"
	}
	if t.now.State == state && t.now.Also == also {
		return
	}
	if t.now.State != "" {
		t.now.To = c.now
		t.past = append(t.past, t.now)
	}
	t.now = recording.Segment{From: c.now, State: state, Also: also}
}

// overdue: no pod of the template became ready for the whole deadline.
func (c *cluster) overdue() bool {
	last := c.truth.since
	for _, p := range c.pods {
		if p.tag == c.truth.tag && p.ready {
			last = max(last, p.readyAt)
		}
	}
	return c.now-last >= float64(*c.d.Spec.ProgressDeadlineSeconds)
}

func (t *truth) state(old, fresh int32) (state, also string) {
	switch {
	case t.replicas == 0 && old+fresh == 0:
		return "stable", ""
	case t.tag == t.settled && !t.moved && t.scaled:
		return "scaling", ""
	case t.tag == t.settled && !t.moved && fresh > t.replicas:
		return "stable", "scaling"
	case t.tag == t.settled && !t.moved:
		return "stable", ""
	case t.paused && fresh == 0:
		return "paused-template-pending", ""
	case t.paused && old > 0:
		return "paused-mid-rollout", ""
	case t.settled == "" && old == 0:
		return "settling", ""
	case t.undo && old == 0 && fresh > 0:
		return "settling", "rollback"
	case t.undo:
		return "rollback", ""
	case old > 0 || fresh == 0:
		return "rolling", ""
	}
	return "settling", ""
}

// What users do.

func (c *cluster) scale(n int32) {
	c.truth.replicas, c.truth.scaled = n, c.truth.scaled || n != c.truth.replicas
	c.user(func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
}

func (c *cluster) change(tag string, n *int32, paused bool) {
	if tag != c.truth.tag {
		c.truth.undo = c.hasTemplate(tag)
		c.truth.tag, c.truth.since = tag, c.now
	}
	if n != nil {
		c.truth.replicas, c.truth.scaled = *n, c.truth.scaled || *n != c.truth.replicas
	}
	c.truth.paused = paused
	c.user(func(d *appsv1.Deployment) {
		d.Spec.Template = template(tag)
		d.Spec.Paused = paused
		if n != nil {
			d.Spec.Replicas = n
		}
	})
}

func (c *cluster) hasTemplate(tag string) bool {
	for _, rs := range c.rss {
		if rs.Spec.Template.Labels["rev"] == tag {
			return true
		}
	}
	return false
}

func (c *cluster) pause(paused bool) {
	c.truth.paused = paused
	c.user(func(d *appsv1.Deployment) { d.Spec.Paused = paused })
}

// loseReadiness makes all pods fail their readiness probes, as when the node is lost.
func (c *cluster) loseReadiness() {
	c.unready = true
	for _, p := range c.live() {
		p.ready = false
		c.wakeReplicaSetController(p.rs)
	}
	c.noteTruth()
}

func (c *cluster) killPod() {
	if live := c.live(); len(live) > 0 {
		c.end(live[c.rnd.IntN(len(live))])
	}
}

// killReplicaSet deletes the ReplicaSet of the present template, and its pods with it.
func (c *cluster) killReplicaSet() {
	for _, name := range slices.Sorted(maps.Keys(c.rss)) {
		if c.rss[name].Spec.Template.Labels["rev"] == c.truth.tag {
			c.deleteReplicaSet(name)
		}
	}
}

// agenda is what will happen, by time.
type agenda []appointment

type appointment struct {
	at    float64
	order int
	do    func()
}

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// calm waits until nothing has changed for as long as a change may take to be seen.
func (c *cluster) calm() {
	for range 20 {
		if c.now-c.truth.now.From >= 0.4 {
			return
		}
		c.run(0.1)
	}
}
