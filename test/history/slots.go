// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// slotPod is a slot's pod, as it was seen last.
type slotPod struct {
	*corev1.Pod
	seen time.Time
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

// lent judges that a slot was put in service: here, or by an earlier write that the log lacks.
func (j *judge) lent(w Write, pod *corev1.Pod, here bool) {
	if pod.DeletionTimestamp != nil && here {
		j.breaks(LawSlots, w, "it was lent while it was being deleted")
	}
	qs := j.scalers[pod.Namespace+"/"+pod.Labels[v1alpha1.LabelScaler]]
	if qs == nil || qs.goneBefore(j.behind(w.Time)) {
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
	j.soaked(w, pod, t, qs, unsure)
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
	least := t.leastAvailable(j.behind(w.Time))
	if !qs.permits(j.behind(w.Time), func(s *v1alpha1.QueueScalerSpec) bool { return inService+least <= s.MaxReplicas }) {
		j.breaks(LawLimits, w, "%d slots are lent beside at least %d available pods, and max is %d", inService, least, qs.Spec.MaxReplicas)
	}
}

// soaked judges the revision of a slot that was lent. Where it is not known what became of the target, it may have soaked.
func (j *judge) soaked(w Write, pod *corev1.Pod, t *target, qs *scaler, unsure bool) {
	revision := pod.Labels[v1alpha1.LabelRevision]
	digest := j.revisions[pod.Namespace+"/"+revision]
	stay := t.stay(digest, w.Time)
	_, before := t.stayed[digest]
	switch {
	case unsure:
	case digest == "" || digest != t.settled && !before:
		j.breaks(LawSlots, w, "revision %s, which it runs, was never complete", revision)
	case stay+rounding < qs.soak:
		j.breaks(LawSlots, w, "revision %s, which it runs, stayed for %s after it was complete; it soaks for %s", revision, stay.Round(time.Millisecond), qs.soak)
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}
