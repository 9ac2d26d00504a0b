// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/rollout"
)

// Circumstances are what the audit log does not tell.
type Circumstances struct {
	// Operator is the operator's user name.
	Operator string
	// Blind are when nobody can have had fresh readings of a namespace's queues: from the server's end and the age at which a reading
	// stops to be fresh, until it was back.
	Blind map[string][]Interval
	// WritesPerMinute is how many writes of one namespace's objects the operator may make in any minute, reports and events apart.
	WritesPerMinute int
}

// Violation of a law.
type Violation struct {
	// Law names it.
	Law string
	// Write is the one that broke it.
	Write Write
	// Why says what was wrong.
	Why string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Law, v.Write, v.Why) }

// The laws.
const (
	LawHold       = "replicas are not written while a rollout is in progress, except to restore them"
	LawScaleDown  = "nothing scales down without fresh readings, or within the window after the operator began to lead"
	LawLimits     = "never more than max or less than min is asked for, and no lend raises available and lent above max"
	LawSlots      = "a slot is standby, then active, then perhaps draining, then gone, and only one of a revision that was complete is lent"
	LawOwnObjects = "of what is not its own the operator writes the target's scale, and its template to roll back, and nothing else"
	LawBounded    = "the operator does not write without bound"
)

// Judge finds each write by which the operator broke a law. The QueueScalers in the history must hold rollouts, as is the default,
// and not release holds early.
func Judge(writes []Write, c Circumstances) ([]Violation, error) {
	j := judge{
		Circumstances: c,
		targets:       map[string]*target{}, scalers: map[string]*v1alpha1.QueueScaler{}, pods: map[string]*corev1.Pod{},
		slots: map[string]bool{}, recent: map[string][]time.Time{},
	}
	for _, w := range writes {
		if err := j.write(w); err != nil {
			return nil, fmt.Errorf("%s: %w", w, err)
		}
	}
	return j.found, nil
}

// target is a Deployment, as the writes so far left it.
type target struct {
	last      appsv1.Deployment
	replicas  int32
	digest    string // of the template
	available []availability
	// rolling: the template was changed, and was not complete since. held is what the replicas were before.
	rolling bool
	held    int32
	// completed are the digests of the templates that were complete.
	completed map[string]bool
}

// availability is the number of available pods from a time on.
type availability struct {
	since time.Time
	pods  int32
}

type judge struct {
	Circumstances
	found []Violation

	targets map[string]*target // by namespace/name, as the others
	scalers map[string]*v1alpha1.QueueScaler
	pods    map[string]*corev1.Pod // of slots
	// revisions are the digests of ReplicaSets' templates, by namespace/pod-template-hash.
	revisions map[string]string
	// slots are the names of ReplicaSets that were a slot's.
	slots     map[string]bool
	leader    string
	leadSince time.Time
	recent    map[string][]time.Time // the operator's writes of the last minute, by namespace
}

func (j *judge) ours(w Write) bool { return w.User == j.Operator }

func (j *judge) breaks(law string, w Write, why string, args ...any) {
	j.found = append(j.found, Violation{law, w, fmt.Sprintf(why, args...)})
}

func (j *judge) write(w Write) error {
	if j.ours(w) {
		j.bounded(w)
		j.ownObjects(w)
	}
	switch resource, _, _ := strings.Cut(w.Resource, "/"); resource {
	case "deployments":
		return j.deployment(w)
	case "replicasets":
		return j.replicaSet(w)
	case "pods":
		return j.pod(w)
	case "queuescalers":
		return j.queueScaler(w)
	case "leases":
		return j.lease(w)
	}
	return nil
}

func key(w Write) string { return w.Namespace + "/" + w.Name }

// decode reads the object that a write left; false where the log has none, or a Status: that is what most deletions are answered with.
func decode(w Write, into any) (bool, error) {
	var kind metav1.TypeMeta
	if len(w.Object) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(w.Object, &kind); err != nil || kind.Kind == "Status" {
		return false, err
	}
	return true, json.Unmarshal(w.Object, into)
}

func (j *judge) queueScaler(w Write) error {
	var qs v1alpha1.QueueScaler
	if found, err := decode(w, &qs); err != nil || !found || qs.Name == "" {
		return err
	}
	j.scalers[qs.Namespace+"/"+qs.Name] = &qs
	return nil
}

// scalerOf is the QueueScaler of a target.
func (j *judge) scalerOf(namespace, target string) *v1alpha1.QueueScaler {
	for _, name := range slices.Sorted(maps.Keys(j.scalers)) {
		if qs := j.scalers[name]; qs.Namespace == namespace && qs.Spec.ScaleTargetRef.Name == target {
			return qs
		}
	}
	return nil
}

func (j *judge) deployment(w Write) error {
	if w.Resource == "deployments/scale" {
		return j.scale(w)
	}
	var d appsv1.Deployment
	if found, err := decode(w, &d); err != nil || !found || d.Name == "" {
		return err
	}
	name := d.Namespace + "/" + d.Name
	t := j.targets[name]
	digest := rollout.Digest(&d.Spec.Template)
	if t == nil {
		t = &target{last: d, digest: digest, rolling: true, held: ptr.Deref(d.Spec.Replicas, 1), completed: map[string]bool{}}
		j.targets[name] = t
	}
	if j.ours(w) {
		j.rolledBack(w, t, &d)
	}
	t.last = d
	if digest != t.digest {
		if !t.rolling {
			t.held = t.replicas
		}
		t.digest, t.rolling = digest, true
	}
	t.replicas = ptr.Deref(d.Spec.Replicas, 1)
	t.available = append(t.available, availability{w.Time, d.Status.AvailableReplicas})
	if s := d.Status; s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == t.replicas && s.Replicas == t.replicas && s.AvailableReplicas == t.replicas {
		t.rolling, t.completed[digest] = false, true
	}
	return nil
}

// rolledBack: a rollback that is asked for changes the template and nothing else.
func (j *judge) rolledBack(w Write, t *target, d *appsv1.Deployment) {
	before, after := t.last.DeepCopy(), d.DeepCopy()
	for _, x := range []*appsv1.Deployment{before, after} {
		x.Spec.Template = corev1.PodTemplateSpec{}
		x.Spec.Replicas = &t.replicas // a scale write is not in last
		x.Generation, x.ResourceVersion, x.ManagedFields, x.Status = 0, "", nil, appsv1.DeploymentStatus{}
	}
	switch {
	case !j.mayRollBack(d.Namespace, d.Name):
		j.breaks(LawOwnObjects, w, "the Deployment was written, and no rollback is asked for")
	case ptr.Deref(d.Spec.Replicas, 1) != t.replicas:
		j.breaks(LawOwnObjects, w, "replicas went from %d to %d, and not through the scale", t.replicas, ptr.Deref(d.Spec.Replicas, 1))
	case !equality.Semantic.DeepEqual(before, after):
		j.breaks(LawOwnObjects, w, "more than the template was changed")
	}
}

func (j *judge) mayRollBack(namespace, target string) bool {
	qs := j.scalerOf(namespace, target)
	return qs != nil && qs.Spec.Rollout != nil && qs.Spec.Rollout.OnRegression == v1alpha1.OnRegressionRollBack
}

func (j *judge) scale(w Write) error {
	var s autoscalingv1.Scale
	t := j.targets[key(w)]
	if found, err := decode(w, &s); err != nil || !found || t == nil {
		return err
	}
	from, to := t.replicas, s.Spec.Replicas
	t.replicas = to
	if !j.ours(w) || from == to {
		return nil
	}
	qs := j.scalerOf(w.Namespace, w.Name)
	if qs == nil {
		j.breaks(LawOwnObjects, w, "no QueueScaler has this target")
		return nil
	}
	least, most := ptr.Deref(qs.Spec.MinReplicas, 1), qs.Spec.MaxReplicas
	if to > most || to < least {
		j.breaks(LawLimits, w, "%d → %d replicas, and the limits are %d to %d", from, to, least, most)
	}
	if t.rolling && to != min(t.held, most) {
		j.breaks(LawHold, w, "%d → %d replicas in the middle of a rollout that began at %d", from, to, t.held)
	}
	if to < from {
		j.scaleDown(w, qs, from, to)
	}
	return nil
}

func (j *judge) scaleDown(w Write, qs *v1alpha1.QueueScaler, from, to int32) {
	for _, blind := range j.Blind[w.Namespace] {
		if blind.contains(w.Time) {
			j.breaks(LawScaleDown, w, "%d → %d replicas, %s after the last reading can have been fresh", from, to, w.Time.Sub(blind.From).Round(time.Millisecond))
		}
	}
	window := 300 * time.Second
	if b := qs.Spec.Behavior; b != nil && b.ScaleDown != nil && b.ScaleDown.StabilizationWindowSeconds != nil {
		window = time.Duration(*b.ScaleDown.StabilizationWindowSeconds) * time.Second
	}
	if led := w.Time.Sub(j.leadSince); led < window {
		j.breaks(LawScaleDown, w, "%d → %d replicas, %s after the operator began to lead; the window is %s", from, to, led.Round(time.Millisecond), window)
	}
}

// lease notes who leads, and since when.
func (j *judge) lease(w Write) error {
	var l coordinationv1.Lease
	if !j.ours(w) {
		return nil
	}
	if found, err := decode(w, &l); err != nil || !found {
		return err
	}
	if holder := ptr.Deref(l.Spec.HolderIdentity, ""); holder != j.leader {
		j.leader, j.leadSince = holder, w.Time
	}
	return nil
}

func (j *judge) replicaSet(w Write) error {
	var rs appsv1.ReplicaSet
	if found, err := decode(w, &rs); err != nil || !found || rs.Name == "" {
		return err
	}
	hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if hash == "" {
		return nil
	}
	template := rs.Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	if j.revisions == nil {
		j.revisions = map[string]string{}
	}
	j.revisions[rs.Namespace+"/"+hash] = rollout.Digest(template)
	return nil
}

func (j *judge) pod(w Write) error {
	var pod corev1.Pod
	found, err := decode(w, &pod)
	if err != nil || !found {
		return err
	}
	name := key(w)
	if w.Verb == "create" {
		name = pod.Namespace + "/" + pod.Name
	}
	if w.Verb == "delete" && (pod.Name == "" || pod.DeletionTimestamp == nil || ptr.Deref(pod.DeletionGracePeriodSeconds, 1) == 0) {
		delete(j.pods, name)
		return nil
	}
	if pod.Labels[v1alpha1.LabelSlot] == "" {
		return nil
	}
	before := j.pods[name]
	j.pods[name] = &pod
	was, is := "", pod.Labels[v1alpha1.LabelRole]
	if before != nil && before.UID == pod.UID {
		was = before.Labels[v1alpha1.LabelRole]
	}
	if was == is {
		return nil
	}
	if !slices.Contains([]string{">standby", "standby>active", "active>draining"}, was+">"+is) {
		j.breaks(LawSlots, w, "its role went from %q to %q", was, is)
	}
	if is == v1alpha1.RoleActive {
		j.lent(w, &pod)
	}
	return nil
}

// settling is how long the operator's caches may be behind the API server when it lends.
const settling = 2 * time.Second

func (j *judge) lent(w Write, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		j.breaks(LawSlots, w, "it was lent while it was being deleted")
	}
	qs := j.scalers[pod.Namespace+"/"+pod.Labels[v1alpha1.LabelScaler]]
	if qs == nil {
		j.breaks(LawSlots, w, "it is the slot of no QueueScaler")
		return
	}
	t := j.targets[pod.Namespace+"/"+qs.Spec.ScaleTargetRef.Name]
	if t == nil {
		j.breaks(LawSlots, w, "its target does not exist")
		return
	}
	if revision := pod.Labels[v1alpha1.LabelRevision]; !t.completed[j.revisions[pod.Namespace+"/"+revision]] {
		j.breaks(LawSlots, w, "revision %s, which it runs, was never complete", revision)
	}
	inService := int32(0)
	for _, p := range j.pods {
		if p.Namespace == pod.Namespace && p.Labels[v1alpha1.LabelScaler] == qs.Name && p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive && p.DeletionTimestamp == nil &&
			(p == pod || ready(p)) { // one that is unready is being replaced
			inService++
		}
	}
	if least := t.leastAvailable(w.Time.Add(-settling)); inService+least > qs.Spec.MaxReplicas {
		j.breaks(LawLimits, w, "%d slots are lent beside at least %d available pods, and max is %d", inService, least, qs.Spec.MaxReplicas)
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// leastAvailable is the lowest number of available pods since a time.
func (t *target) leastAvailable(since time.Time) int32 {
	least := int32(0)
	for i, a := range t.available {
		lastBefore := i+1 == len(t.available) || t.available[i+1].since.After(since)
		switch {
		case a.since.After(since):
			least = min(least, a.pods)
		case lastBefore:
			least = a.pods
		}
	}
	return least
}

// ownObjects: slots, their pods, templates of revisions, what is reported and the lease are its own.
func (j *judge) ownObjects(w Write) {
	switch w.Resource {
	case "deployments/scale", "queuescalers/status", "events", "leases", "controllerrevisions":
		return
	case "deployments":
		if w.Verb == "patch" {
			return // see rolledBack
		}
	case "queuescalers":
		if w.Verb == "patch" && j.sameSpec(w) {
			return // its finalizer
		}
	case "replicasets":
		if strings.Contains(string(w.Object), `"`+v1alpha1.LabelSlot+`"`) {
			j.slots[key(w)], j.slots[w.Namespace+"/"+nameIn(w)] = true, true
			return
		}
		if w.Verb == "delete" && j.slots[key(w)] {
			return // answered with a Status
		}
	case "pods":
		if strings.Contains(string(w.Object), `"`+v1alpha1.LabelSlot+`"`) {
			return
		}
	case "tokenreviews", "subjectaccessreviews":
		return // questions
	}
	j.breaks(LawOwnObjects, w, "the operator has no business with it")
}

// sameSpec: the write left the QueueScaler's spec as it was.
func (j *judge) sameSpec(w Write) bool {
	var qs v1alpha1.QueueScaler
	found, err := decode(w, &qs)
	before := j.scalers[key(w)]
	return err == nil && found && (before == nil || equality.Semantic.DeepEqual(before.Spec, qs.Spec))
}

// nameIn is the name of the object that a write left: a create's request has none.
func nameIn(w Write) string {
	var o metav1.PartialObjectMetadata
	if found, err := decode(w, &o); err != nil || !found {
		return ""
	}
	return o.Name
}

func (j *judge) bounded(w Write) {
	if strings.HasPrefix(w.Resource, "leases") || w.Resource == "events" || w.Resource == "queuescalers/status" || w.Namespace == "" {
		return
	}
	recent := append(j.recent[w.Namespace], w.Time)
	for len(recent) > 0 && w.Time.Sub(recent[0]) > time.Minute {
		recent = recent[1:]
	}
	j.recent[w.Namespace] = recent
	if len(recent) > j.WritesPerMinute {
		j.breaks(LawBounded, w, "%d writes within a minute", len(recent))
		j.recent[w.Namespace] = nil // one is enough
	}
}
