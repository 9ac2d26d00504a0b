// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Lent tells, of each slot's pod of a namespace, by its UID, when it was lent: from the write that lent it to the one that told it to
// drain or deleted it. Where one of them is missing from the log, it is the longest time that it can have been lent. To is far in the
// future where it still is. A slot that was never lent has no interval.
func Lent(writes iter.Seq2[Write, error], namespace string, gaps Gaps) (map[string][]Interval, error) {
	gaps = slices.Clone(gaps)
	out := map[string][]Interval{}
	seen := map[string]time.Time{}
	for w, err := range writes {
		if err != nil {
			return nil, err
		}
		gaps.failed(w)
		resource, _, _ := strings.Cut(w.Resource, "/")
		if resource != "pods" || w.Namespace != namespace || !w.made() {
			continue
		}
		var pod corev1.Pod
		if json.Unmarshal(w.Object, &pod) != nil || pod.Labels[v1alpha1.LabelSlot] == "" {
			continue // what an eviction or a binding is answered with is no pod
		}
		uid := string(pod.UID)
		since, known := seen[uid]
		if !known {
			since = pod.CreationTimestamp.Time
		}
		seen[uid] = w.Time
		out[uid] = lent(out[uid], w, &pod, gaps, since)
	}
	return out, nil
}

// forever ends what has no end yet.
const forever = 100 * 365 * 24 * time.Hour

// lent carries the intervals of a pod on with a write of it. since is when it was written before.
func lent(spans []Interval, w Write, pod *corev1.Pod, gaps Gaps, since time.Time) []Interval {
	if spans == nil {
		spans = []Interval{}
	}
	role := pod.Labels[v1alpha1.LabelRole]
	isLent := role == v1alpha1.RoleActive && pod.DeletionTimestamp == nil
	last := len(spans) - 1
	wasLent := last >= 0 && spans[last].To.Sub(w.Time) > forever/2
	switch {
	case wasLent && !isLent:
		spans[last].To = w.Time
	case isLent && !wasLent, last < 0 && rank(role) >= rank(v1alpha1.RoleActive):
		span := Interval{From: w.Time, To: w.Time}
		if !setsRole(w, role) && gaps.between(since, w.Time) {
			span.From = since
		}
		if isLent {
			span.To = w.Time.Add(forever)
		}
		spans = append(spans, span)
	}
	return spans
}

// roles of a slot, in the order of its life.
var roles = []string{"", v1alpha1.RoleStandby, v1alpha1.RoleActive, v1alpha1.RoleDraining}

// rank is the role's place in the order; -1 if it has none.
func rank(role string) int { return slices.Index(roles, role) }

// setsRole reports whether the request itself gives the pod the role: another write of the pod only shows it, such as that of a whole pod as it
// was read.
func setsRole(w Write, role string) bool {
	if w.Verb == "update" {
		return false
	}
	var patch []struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if json.Unmarshal(w.Request, &patch) == nil {
		path := "/metadata/labels/" + strings.ReplaceAll(v1alpha1.LabelRole, "/", "~1")
		for _, p := range patch {
			if p.Op != "test" && p.Path == path && p.Value == role {
				return true
			}
		}
		return false
	}
	var o metav1.PartialObjectMetadata
	return json.Unmarshal(w.Request, &o) == nil && o.Labels[v1alpha1.LabelRole] == role
}
