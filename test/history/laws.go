// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"fmt"
	"iter"
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
	// Gaps are when the log may lack writes.
	Gaps Gaps
	// WritesPerMinute is how many writes of one namespace's objects the operator may try in any minute, reports and events apart.
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

// Verdict is what Judge found.
type Verdict struct {
	// Writes were judged, of which the operator tried Ours.
	Writes, Ours int
	Violations   []Violation
}

// Judge finds each write by which the operator broke a law. The QueueScalers in the history must hold rollouts, as is the default,
// and not release holds early. Where writes may be missing from the log, what they may have changed is not held against the operator.
func Judge(writes iter.Seq2[Write, error], c Circumstances) (Verdict, error) {
	c.Gaps = slices.Clone(c.Gaps)
	j := judge{
		Circumstances: c,
		targets:       map[string]*target{}, scalers: map[string]*scaler{}, pods: map[string]*slotPod{}, revisions: map[string]string{},
		slots: map[string]bool{}, recent: map[string][]time.Time{},
	}
	for w, err := range writes {
		if err != nil {
			return Verdict{}, err
		}
		j.Gaps.failed(w)
		if err := j.write(w); err != nil {
			return Verdict{}, fmt.Errorf("%s: %w", w, err)
		}
	}
	return j.verdict, nil
}

// target is a Deployment, as the writes so far left it.
type target struct {
	last      appsv1.Deployment
	replicas  int32
	digest    string // of the template
	available []availability
	// seen is when last was written, counted when replicas were.
	seen, counted time.Time
	// rolling: the template was changed, and was not complete since. held is what the replicas were before; several numbers if that
	// is missing from the log.
	rolling bool
	held    []int32
	// completed are the digests of the templates that were complete.
	completed map[string]bool
}

// availability is the number of available pods from a time on.
type availability struct {
	since time.Time
	pods  int32
}

type scaler struct {
	*v1alpha1.QueueScaler
	seen time.Time
}

type slotPod struct {
	*corev1.Pod
	seen time.Time
}

type judge struct {
	Circumstances
	verdict Verdict

	targets map[string]*target // by namespace/name, as the others
	scalers map[string]*scaler
	pods    map[string]*slotPod
	// revisions are the digests of ReplicaSets' templates, by namespace/pod-template-hash.
	revisions map[string]string
	// slots are the names of ReplicaSets that were a slot's.
	slots  map[string]bool
	leader string
	// leadSince is when the leader was first seen, leaseSeen when the lease was last written.
	leadSince, leaseSeen time.Time
	recent               map[string][]time.Time // the operator's writes of the last minute, by namespace
}

func (j *judge) ours(w Write) bool { return w.User == j.Operator }

func (j *judge) breaks(law string, w Write, why string, args ...any) {
	j.verdict.Violations = append(j.verdict.Violations, Violation{law, w, fmt.Sprintf(why, args...)})
}

func (j *judge) write(w Write) error {
	j.verdict.Writes++
	if j.ours(w) {
		j.verdict.Ours++
		j.bounded(w)
	}
	if !w.made() {
		return nil
	}
	if j.ours(w) {
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
	j.scalers[qs.Namespace+"/"+qs.Name] = &scaler{&qs, w.Time}
	return nil
}

// scalerOf is the QueueScaler of a target.
func (j *judge) scalerOf(namespace, target string) *scaler {
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
	name, digest, replicas := d.Namespace+"/"+d.Name, rollout.Digest(&d.Spec.Template), ptr.Deref(d.Spec.Replicas, 1)
	t := j.targets[name]
	if t == nil {
		t = &target{last: d, digest: digest, rolling: true, held: []int32{replicas}, completed: map[string]bool{}, seen: w.Time, counted: w.Time}
		j.targets[name] = t
	}
	lost := j.Gaps.between(t.seen, w.Time)
	if j.ours(w) {
		j.rolledBack(w, t, &d)
	}
	if digest != t.digest {
		if !t.rolling {
			t.held = []int32{t.replicas}
		}
		if lost {
			t.held = append(t.held, t.replicas, replicas)
			t.completed[t.digest] = true // it may have been
		}
		t.digest, t.rolling = digest, true
	}
	t.last, t.replicas, t.seen, t.counted = d, replicas, w.Time, w.Time
	t.noteAvailable(w.Time, d.Status.AvailableReplicas)
	if complete(&d) || lost && latched(&d) {
		t.rolling, t.completed[digest] = false, true
	}
	return nil
}

func complete(d *appsv1.Deployment) bool {
	wanted, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted && s.Replicas == wanted && s.AvailableReplicas == wanted
}

// latched: the Deployment controller saw the rollout complete. It may have written that in a gap, and scaled since.
func latched(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.Replicas == d.Status.UpdatedReplicas &&
		slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
			return c.Type == appsv1.DeploymentProgressing && c.Reason == "NewReplicaSetAvailable"
		})
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
	case j.Gaps.between(t.seen, w.Time):
		// what else is changed may be somebody else's
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
	from, to, lost := t.replicas, s.Spec.Replicas, j.Gaps.between(t.counted, w.Time)
	t.replicas, t.counted = to, w.Time
	if !j.ours(w) || from == to {
		return nil
	}
	qs := j.scalerOf(w.Namespace, w.Name)
	if qs == nil {
		if !j.Gaps.between(w.Time.Add(-reporting), w.Time) {
			j.breaks(LawOwnObjects, w, "no QueueScaler has this target")
		}
		return nil
	}
	least, most := ptr.Deref(qs.Spec.MinReplicas, 1), qs.Spec.MaxReplicas
	if (to > most || to < least) && !j.Gaps.between(qs.seen, w.Time) {
		j.breaks(LawLimits, w, "%d → %d replicas, and the limits are %d to %d", from, to, least, most)
	}
	if t.rolling && !t.restores(to, most) && !j.Gaps.between(t.seen, w.Time) {
		j.breaks(LawHold, w, "%d → %d replicas in the middle of a rollout that began at %v", from, to, t.held)
	}
	if to < from && !lost {
		j.scaleDown(w, qs.QueueScaler, from, to)
	}
	return nil
}

// reporting is within what time the operator writes the status of a QueueScaler that it acts for.
const reporting = time.Minute

// restores reports whether the number puts back what a rollout began with.
func (t *target) restores(to, most int32) bool {
	return slices.ContainsFunc(t.held, func(held int32) bool { return to == min(held, most) })
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
		if j.Gaps.between(j.leaseSeen, w.Time) {
			j.leadSince = j.leaseSeen
		}
	}
	j.leaseSeen = w.Time
	return nil
}

func (j *judge) replicaSet(w Write) error {
	var rs appsv1.ReplicaSet
	if found, err := decode(w, &rs); err != nil || !found || rs.Name == "" {
		return err
	}
	if rs.Labels[v1alpha1.LabelSlot] != "" {
		j.slots[rs.Namespace+"/"+rs.Name] = true
	}
	hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if hash == "" {
		return nil
	}
	template := rs.Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
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
	j.pods[name] = &slotPod{&pod, w.Time}
	was, is, since := "", pod.Labels[v1alpha1.LabelRole], pod.CreationTimestamp.Time
	if before != nil && before.UID == pod.UID {
		was, since = before.Labels[v1alpha1.LabelRole], before.seen
	}
	if was != is {
		j.role(w, &pod, was, is, since)
	}
	return nil
}

// role judges a change of a slot's role. since is when the pod was written before.
func (j *judge) role(w Write, pod *corev1.Pod, was, is string, since time.Time) {
	lost, here, steps := j.Gaps.between(since, w.Time), setsRole(w, is), rank(is)-rank(was)
	switch {
	case steps == 1 && !lost && !here:
		j.breaks(LawSlots, w, "its role went from %q to %q, and no write of the log did it", was, is)
	case steps != 1 && !(lost && steps > 1):
		j.breaks(LawSlots, w, "its role went from %q to %q", was, is)
	}
	if active := rank(v1alpha1.RoleActive); rank(was) < active && rank(is) >= active {
		j.lent(w, pod, here && is == v1alpha1.RoleActive)
	}
}

// settling is how long the operator's caches may be behind the API server when it lends.
const settling = 2 * time.Second

// lent judges that a slot was put in service: here, or by an earlier write that the log lacks.
func (j *judge) lent(w Write, pod *corev1.Pod, here bool) {
	if pod.DeletionTimestamp != nil && here {
		j.breaks(LawSlots, w, "it was lent while it was being deleted")
	}
	qs := j.scalers[pod.Namespace+"/"+pod.Labels[v1alpha1.LabelScaler]]
	if qs == nil {
		if !j.Gaps.between(w.Time.Add(-reporting), w.Time) {
			j.breaks(LawSlots, w, "it is the slot of no QueueScaler")
		}
		return
	}
	t := j.targets[pod.Namespace+"/"+qs.Spec.ScaleTargetRef.Name]
	if t == nil {
		if !j.Gaps.between(w.Time.Add(-reporting), w.Time) {
			j.breaks(LawSlots, w, "its target does not exist")
		}
		return
	}
	unsure := j.Gaps.between(t.seen, w.Time)
	if revision := pod.Labels[v1alpha1.LabelRevision]; !t.completed[j.revisions[pod.Namespace+"/"+revision]] && !unsure {
		j.breaks(LawSlots, w, "revision %s, which it runs, was never complete", revision)
	}
	if !here || unsure || j.Gaps.between(qs.seen, w.Time) {
		return
	}
	inService := int32(0)
	for _, p := range j.pods {
		if p.Namespace == pod.Namespace && p.Labels[v1alpha1.LabelScaler] == qs.Name && p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive && p.DeletionTimestamp == nil &&
			(p.Pod == pod || ready(p.Pod) && !j.Gaps.between(p.seen, w.Time)) { // one that is unready is being replaced
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

// noteAvailable keeps what leastAvailable may be asked for.
func (t *target) noteAvailable(now time.Time, pods int32) {
	t.available = append(t.available, availability{now, pods})
	for len(t.available) > 1 && t.available[1].since.Before(now.Add(-time.Minute)) {
		t.available = t.available[1:]
	}
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
	return err == nil && found && (before == nil || j.Gaps.between(before.seen, w.Time) || equality.Semantic.DeepEqual(before.Spec, qs.Spec))
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
