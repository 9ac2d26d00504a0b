// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// maxName is the most characters of a name that becomes a label value.
const maxName = 63

// kept is what a ControllerRevision holds.
type kept struct {
	Template corev1.PodTemplateSpec `json:"template"`
}

// revisionAnnotation is the Deployment controller's number of a ReplicaSet.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// Revision keeps the template of a soaked ReplicaSet of the target, because the Deployment's history may drop it. It is
// to be created, and an existing one of the name left as it is (its data cannot be changed). The app's labels are in the
// template only.
func Revision(owner *v1alpha1.QueueScaler, rs *appsv1.ReplicaSet) (*appsv1.ControllerRevision, error) {
	hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if hash == "" {
		return nil, fmt.Errorf("ReplicaSet %s has no label %s", rs.Name, appsv1.DefaultDeploymentUniqueLabelKey)
	}
	template := *rs.Spec.Template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	raw, err := json.Marshal(kept{Template: template})
	if err != nil {
		return nil, fmt.Errorf("template of ReplicaSet %s: %w", rs.Name, err)
	}
	number, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil || number < 0 {
		number = 0
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.Namespace,
			Name:            RevisionName(owner.Name, hash),
			Labels:          map[string]string{v1alpha1.LabelScaler: owner.Name, v1alpha1.LabelRevision: hash},
			OwnerReferences: []metav1.OwnerReference{ownerReference(owner)},
		},
		Data:     runtime.RawExtension{Raw: raw},
		Revision: number,
	}, nil
}

// RevisionName is the name of the ControllerRevision that keeps a revision.
func RevisionName(scaler, hash string) string {
	return shorten(scaler, maxName-len(hash)-1) + "-" + hash
}

// shorten cuts a name to at most n characters, such that something can be appended with a hyphen.
func shorten(name string, n int) string {
	if len(name) > max(n, 1) {
		name = name[:max(n, 1)]
	}
	return strings.TrimRight(name, "-.")
}

// TemplateOf is the template that a ControllerRevision keeps, without pod-template-hash, and the revision's number at the
// time that it was kept.
func TemplateOf(cr *appsv1.ControllerRevision) (corev1.PodTemplateSpec, int64, error) {
	var k kept
	if err := json.Unmarshal(cr.Data.Raw, &k); err != nil {
		return corev1.PodTemplateSpec{}, 0, fmt.Errorf("ControllerRevision %s: %w", cr.Name, err)
	}
	if len(k.Template.Spec.Containers) == 0 {
		return corev1.PodTemplateSpec{}, 0, fmt.Errorf("ControllerRevision %s has no pod template: delete it, and it is made again", cr.Name)
	}
	return k.Template, cr.Revision, nil
}

// historyLimit is how many ControllerRevisions of one QueueScaler are kept.
const historyLimit = 10

// Superfluous are the ControllerRevisions to delete, so that at most 10 are left: the ones made first, but none of these
// hashes (which the pool, a slot or the target still needs).
func Superfluous(revisions []*appsv1.ControllerRevision, needed ...string) []*appsv1.ControllerRevision {
	excess := len(revisions) - historyLimit
	if excess <= 0 {
		return nil
	}
	free := slices.DeleteFunc(slices.Clone(revisions), func(cr *appsv1.ControllerRevision) bool {
		return slices.Contains(needed, cr.Labels[v1alpha1.LabelRevision])
	})
	slices.SortFunc(free, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return free[:min(excess, len(free))]
}
