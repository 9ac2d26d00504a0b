// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/rollout"
)

// target is a Deployment, as the writes so far left it.
type target struct {
	last      appsv1.Deployment
	replicas  int32
	digest    string // of the template
	available []availability
	// seen is when last was written, counted when replicas were.
	seen, counted time.Time

	// settled is the digest of the template that was complete last, since completeSince; if the target has another one now, since left.
	settled             string
	completeSince, left time.Time
	// stayed is how long templates that were complete before were the target's.
	stayed map[string]time.Duration
	// had are all templates it ever had; back is true where the present one was another's predecessor.
	had  map[string]bool
	back bool
	// moved: pods of another template than the settled one were made since, or the settled one's ended.
	moved bool
	// rolling: a rollout is in progress, since rollingSince.
	rolling      bool
	rollingSince time.Time
	// restore are the replicas that the write which began the rollout lowered; several numbers where some are missing from the log.
	restore []int32
}

// availability is the number of available pods from a time on.
type availability struct {
	since time.Time
	pods  int32
}

func (j *judge) deployment(w Write) error {
	if w.Resource == "deployments/scale" {
		return j.scale(w)
	}
	var d appsv1.Deployment
	if found, err := decode(w, &d); err != nil || !found || d.Name == "" {
		return err
	}
	t := j.targetOf(w, &d)
	if j.ours(w) {
		j.rolledBack(w, t, &d)
	}
	lost := j.Gaps.between(t.seen, w.Time)
	replicas := ptr.Deref(d.Spec.Replicas, 1)
	if digest := rollout.Digest(&d.Spec.Template); digest != t.digest {
		t.change(w.Time, digest, replicas, lost)
	}
	before := t.seen
	t.last, t.replicas, t.seen, t.counted = d, replicas, w.Time, w.Time
	t.noteAvailable(w.Time, d.Status.AvailableReplicas)
	switch {
	case lost && (complete(&d) || latched(&d)):
		t.settle(before)
	case complete(&d):
		t.settle(w.Time)
	}
	t.roll(w.Time)
	return nil
}

// targetOf is the target of that name; another Deployment than before proves everything anew, but what soaked.
func (j *judge) targetOf(w Write, d *appsv1.Deployment) *target {
	name := d.Namespace + "/" + d.Name
	t := j.targets[name]
	if t != nil && t.last.UID == d.UID {
		return t
	}
	digest := rollout.Digest(&d.Spec.Template)
	again := &target{last: *d, digest: digest, had: map[string]bool{digest: true}, stayed: map[string]time.Duration{}, replicas: ptr.Deref(d.Spec.Replicas, 1), seen: w.Time, counted: w.Time}
	if t != nil && t.settled != "" {
		maps.Copy(again.stayed, t.stayed)
		again.stayed[t.settled] = t.stay(t.settled, w.Time)
	}
	j.targets[name] = again
	return again
}

// change notes another template.
func (t *target) change(now time.Time, digest string, replicas int32, lost bool) {
	if t.digest == t.settled {
		t.left = now
	}
	t.restore = nil
	if replicas > 0 && replicas < t.replicas {
		t.restore = []int32{t.replicas}
	}
	if lost {
		t.restore = []int32{t.replicas, replicas}
		t.stayed[t.digest] = max(t.stayed[t.digest], now.Sub(t.seen)) // it may have been complete
	}
	t.digest, t.back = digest, t.had[digest]
	t.had[digest] = true
}

// settle notes that the present template is complete. With 0 replicas that proves nothing.
func (t *target) settle(since time.Time) {
	if t.replicas == 0 {
		return
	}
	if t.settled != t.digest {
		if t.settled != "" {
			t.stayed[t.settled] = t.stay(t.settled, since)
		}
		t.settled, t.completeSince = t.digest, since
	}
	t.moved, t.restore = false, nil
}

// stay is how long a template has stayed after it was complete.
func (t *target) stay(digest string, now time.Time) time.Duration {
	if digest == "" || digest != t.settled {
		return t.stayed[digest]
	}
	if t.digest != t.settled {
		now = t.left
	}
	return max(t.stayed[digest], now.Sub(t.completeSince))
}

// roll finds out whether a rollout is in progress. A template that was changed while paused waits.
func (t *target) roll(now time.Time) {
	rolling := t.moved || t.digest != t.settled && !t.last.Spec.Paused
	if rolling && !t.rolling {
		t.rollingSince = now
	}
	t.rolling = rolling
}

func complete(d *appsv1.Deployment) bool {
	wanted, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == wanted && s.Replicas == wanted && s.AvailableReplicas == wanted
}

// latched: the Deployment controller saw the rollout complete. It may have written that in a gap, and scaled since.
func latched(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation && d.Status.Replicas == d.Status.UpdatedReplicas && progressing(d, "NewReplicaSetAvailable")
}

func progressing(d *appsv1.Deployment, reason string) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Reason == reason
	})
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
	digest := rollout.Digest(&rs.Spec.Template)
	j.revisions[rs.Namespace+"/"+hash] = digest
	owner := metav1.GetControllerOf(&rs)
	if owner == nil {
		return nil
	}
	t := j.targets[rs.Namespace+"/"+owner.Name]
	if t == nil || t.last.UID != owner.UID {
		return nil
	}
	wanted := ptr.Deref(rs.Spec.Replicas, 1)
	told, err := strconv.ParseInt(rs.Annotations["deployment.kubernetes.io/desired-replicas"], 10, 32)
	resized := err == nil && told != int64(wanted) // only a rollout gives it another number than the Deployment's
	if digest != t.settled && (wanted > 0 || rs.Status.Replicas > 0) || digest == t.settled && resized {
		t.moved = true
		t.roll(w.Time)
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
	qs := j.scalerOf(d.Namespace, d.Name, j.behind(w.Time))
	asked := qs != nil && qs.permits(j.behind(w.Time), func(s *v1alpha1.QueueScalerSpec) bool {
		return s.Rollout != nil && s.Rollout.OnRegression == v1alpha1.OnRegressionRollBack
	})
	switch {
	case !asked:
		j.breaks(LawOwnObjects, w, "the Deployment was written, and no rollback is asked for")
	case j.Gaps.between(t.seen, w.Time):
		// what else is changed may be somebody else's
	case ptr.Deref(d.Spec.Replicas, 1) != t.replicas:
		j.breaks(LawOwnObjects, w, "replicas went from %d to %d, and not through the scale", t.replicas, ptr.Deref(d.Spec.Replicas, 1))
	case !equality.Semantic.DeepEqual(before, after):
		j.breaks(LawOwnObjects, w, "more than the template was changed")
	}
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
	qs := j.scalerOf(w.Namespace, w.Name, j.behind(w.Time))
	if qs == nil {
		if !j.Gaps.between(w.Time.Add(-reporting), w.Time) {
			j.breaks(LawOwnObjects, w, "no QueueScaler has this target")
		}
		return nil
	}
	j.limits(w, t, qs, from, to)
	if lost {
		return nil // from what number is not known
	}
	if !j.Gaps.between(t.seen, w.Time) {
		j.hold(w, t, qs, from, to)
	}
	if to < from {
		j.scaleDown(w, qs, from, to)
	}
	return nil
}

// reporting is within what time the operator writes the status of a QueueScaler that it acts for.
const reporting = time.Minute

func (j *judge) limits(w Write, t *target, qs *scaler, from, to int32) {
	within := func(s *v1alpha1.QueueScalerSpec) bool {
		return to <= s.MaxReplicas && (to >= ptr.Deref(s.MinReplicas, 1) || t.restores(to, s.MaxReplicas))
	}
	if !qs.permits(j.behind(w.Time), within) && !j.Gaps.between(qs.seen, w.Time) {
		j.breaks(LawLimits, w, "%d → %d replicas, and the limits are %d to %d", from, to, ptr.Deref(qs.Spec.MinReplicas, 1), qs.Spec.MaxReplicas)
	}
}

// hold judges a change of replicas by what the target's rollout does. From 0 replicas nothing is in progress.
func (j *judge) hold(w Write, t *target, qs *scaler, from, to int32) {
	waiting := t.digest != t.settled && !t.rolling
	switch {
	case from == 0, !t.rolling && !waiting:
	case to < from:
		j.breaks(LawHold, w, "%d → %d replicas in the middle of a rollout", from, to)
	case waiting, t.restores(to, qs.Spec.MaxReplicas), j.released(w, t, qs):
	default:
		j.breaks(LawHold, w, "%d → %d replicas, %s after a rollout began", from, to, w.Time.Sub(t.rollingSince).Round(time.Millisecond))
	}
}

// restores reports whether the number puts back what the write lowered that began the rollout.
func (t *target) restores(to, most int32) bool {
	return slices.ContainsFunc(t.restore, func(held int32) bool { return to == min(held, most) })
}

// released reports whether the hold on scale-up is over before the rollout is.
func (j *judge) released(w Write, t *target, qs *scaler) bool {
	for hash := range qs.released {
		if j.revisions[w.Namespace+"/"+hash] == t.digest {
			return true
		}
	}
	stuck := progressing(&t.last, "ProgressDeadlineExceeded")
	return qs.permits(j.behind(w.Time), func(s *v1alpha1.QueueScalerSpec) bool {
		r := ptr.Deref(s.Rollout, v1alpha1.Rollout{})
		switch {
		case r.Policy == v1alpha1.RolloutIgnore:
			return true
		case stuck || t.back: // what must not be fed, or interfered with
			return false
		case r.Policy == v1alpha1.RolloutScaleUpOnly, r.ReleaseAfterMissedSeconds > 0:
			return true
		}
		return w.Time.Sub(t.rollingSince)+rounding >= holdTimeout(s)
	})
}

// rounding is by how much a time in an object may be too early.
const rounding = 2 * time.Second

func (j *judge) scaleDown(w Write, qs *scaler, from, to int32) {
	for _, blind := range j.Blind[w.Namespace] {
		blind.From = blind.From.Add(settling)
		if blind.contains(w.Time) {
			j.breaks(LawScaleDown, w, "%d → %d replicas, %s after the last reading can have been fresh", from, to, w.Time.Sub(blind.From).Round(time.Millisecond))
		}
	}
	led := j.ledFor(w)
	if !qs.permits(j.behind(w.Time), func(s *v1alpha1.QueueScalerSpec) bool { return led >= scaleDownWindow(s) }) {
		j.breaks(LawScaleDown, w, "%d → %d replicas, %s after the operator began to lead; the window is %s", from, to, led.Round(time.Millisecond), scaleDownWindow(&qs.Spec))
	}
}

// noteAvailable keeps what leastAvailable may be asked for.
func (t *target) noteAvailable(now time.Time, pods int32) {
	t.available = append(t.available, availability{now, pods})
	for len(t.available) > 1 && t.available[1].since.Before(now.Add(-remembered)) {
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
