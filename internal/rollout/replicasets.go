// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// restartedAt is what kubectl rollout restart changes.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// NewReplicaSet returns the ReplicaSet that d owns and whose template equals d's, ignoring
// pod-template-hash, or nil. Of several it is the oldest, as the Deployment controller chooses
// (FindNewReplicaSet in k8s.io/kubernetes/pkg/controller/deployment/util).
func NewReplicaSet(d *appsv1.Deployment, rss []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if d == nil {
		return nil
	}
	return withTemplate(&d.Spec.Template, owned(d, rss))
}

// Digest identifies a pod template, ignoring pod-template-hash: equal templates have equal
// digests, whatever the version of this program. It is empty if the template cannot be encoded,
// which no template from an API server is.
func Digest(template *corev1.PodTemplateSpec) string {
	b, err := json.Marshal(withoutHash(template))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// owned returns the ReplicaSets that d controls.
func owned(d *appsv1.Deployment, rss []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range rss {
		if rs != nil && metav1.IsControlledBy(rs, d) {
			out = append(out, rs)
		}
	}
	return out
}

// withTemplate returns the oldest ReplicaSet with this template, or nil.
func withTemplate(template *corev1.PodTemplateSpec, rss []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	var found *appsv1.ReplicaSet
	for _, rs := range rss {
		if found != nil && !older(rs, found) {
			continue
		}
		if equal(template, &rs.Spec.Template) {
			found = rs
		}
	}
	return found
}

// equal means what it means to the Deployment controller. The glance at what revisions mostly
// differ in spares a comparison in full of every old one.
func equal(a, b *corev1.PodTemplateSpec) bool {
	if a.Annotations[restartedAt] != b.Annotations[restartedAt] ||
		!slices.EqualFunc(a.Spec.Containers, b.Spec.Containers, func(a, b corev1.Container) bool { return a.Image == b.Image }) {
		return false
	}
	a, b = withoutHash(a), withoutHash(b)
	return encodedAlike(a, b) || apiequality.Semantic.DeepEqual(a, b)
}

// encodedAlike is a tenth of the work of DeepEqual, and says true of nothing that is not equal: the encoding has every
// field, its maps in order. Equal templates may be encoded differently, as quantities are.
func encodedAlike(a, b *corev1.PodTemplateSpec) bool {
	size := a.Size()
	if size != b.Size() {
		return false
	}
	both := make([]byte, 2*size)
	n, errA := a.MarshalToSizedBuffer(both[:size])
	m, errB := b.MarshalToSizedBuffer(both[size:])
	return errA == nil && errB == nil && n == m && bytes.Equal(both[:size], both[size:])
}

// older orders by creation, which has a grain of 1 s, and then by name.
func older(a, b *appsv1.ReplicaSet) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

// withoutHash returns a shallow copy of the template without the label that the Deployment
// controller adds to it.
func withoutHash(template *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, has := template.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !has {
		return template
	}
	t := *template
	t.Labels = maps.Clone(t.Labels)
	delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return &t
}

// revisionOf identifies rs; nil gives the zero Revision.
func revisionOf(rs *appsv1.ReplicaSet) Revision {
	if rs == nil {
		return Revision{}
	}
	return Revision{Name: rs.Name, Hash: rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey], Number: revisionNumber(rs)}
}

// revisionNumber of a Deployment or ReplicaSet; 0 when it has none, or none that is a number.
func revisionNumber(o metav1.Object) int64 {
	n, err := strconv.ParseInt(o.GetAnnotations()[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
