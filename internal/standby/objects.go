// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// ReplicaSet is the slot with this name. It is to be created, and an existing one of the name left as it is: after a
// crash the same name is created again. (It is no apply configuration, because a template may name a variable or a port
// twice, which server-side apply refuses, and because applying again would change the template of a slot that is there.)
//
// The app's labels are on the pod only: with them in its own metadata, the Deployment would adopt the ReplicaSet. It
// selects by the slot's name alone, which no patch of ours ever touches.
func ReplicaSet(owner *v1alpha1.QueueScaler, name string, t *SlotTemplate, configDigest string) *appsv1.ReplicaSet {
	template := *t.Template.DeepCopy()
	template.Labels[v1alpha1.LabelSlot] = name
	if configDigest != "" {
		template.Annotations[v1alpha1.AnnotationConfigDigest] = configDigest
	}
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.Namespace,
			Name:      name,
			Labels: map[string]string{
				v1alpha1.LabelScaler:   owner.Name,
				v1alpha1.LabelSlot:     name,
				v1alpha1.LabelRevision: template.Labels[v1alpha1.LabelRevision],
			},
			OwnerReferences: []metav1.OwnerReference{ownerReference(owner)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To[int32](1),
			MinReadySeconds: t.MinReadySeconds,
			Selector:        &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelSlot: name}},
			Template:        template,
		},
	}
}

func ownerReference(owner *v1alpha1.QueueScaler) metav1.OwnerReference {
	return *metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind("QueueScaler"))
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// LendPatch is a JSON patch of the slot's pod that puts it in service: the role, what was withheld, and the time. Its
// tests fail, with status 422, where the pod is another one, is being deleted or is no longer idle.
func LendPatch(slot *Slot, now time.Time) []byte {
	ops := append(testPod(slot, v1alpha1.RoleStandby), operation{"test", "/metadata/deletionTimestamp", nil})
	ops = append(ops, setAll("/metadata/labels/", slot.OnLend.Labels)...)
	ops = append(ops, setAll("/metadata/annotations/", slot.OnLend.Annotations)...)
	return encode(append(ops,
		set("/metadata/annotations/", v1alpha1.AnnotationLentAt, timestamp(now)),
		set("/metadata/labels/", v1alpha1.LabelRole, v1alpha1.RoleActive)))
}

// DrainPatch is a JSON patch of the slot's pod that tells it to take nothing new. Its tests fail, with status 422, where
// the pod is another one or not lent.
func DrainPatch(slot *Slot, now time.Time) []byte {
	return encode(append(testPod(slot, v1alpha1.RoleActive),
		set("/metadata/annotations/", v1alpha1.AnnotationDrainingSince, timestamp(now)),
		set("/metadata/labels/", v1alpha1.LabelRole, v1alpha1.RoleDraining)))
}

// TouchPatch is a JSON patch of a lent pod that makes its kubelet write the role file anew: of 400 changes, one was only
// seen with the pod's next change. Its tests fail, with status 422, where the pod is another one or not lent.
func TouchPatch(slot *Slot, touch int) []byte {
	return encode(append(testPod(slot, v1alpha1.RoleActive),
		set("/metadata/annotations/", v1alpha1.AnnotationTouched, strconv.Itoa(touch))))
}

// EndPatch is a JSON patch of the slot's ReplicaSet that ends its pod. Its test fails, with status 422, where the
// ReplicaSet is another one.
func EndPatch(slot *Slot) []byte {
	return encode([]operation{
		{"test", "/metadata/uid", slot.ReplicaSetUID},
		{"add", "/spec/replicas", 0},
	})
}

func testPod(slot *Slot, role string) []operation {
	return []operation{
		{"test", "/metadata/uid", slot.PodUID},
		{"test", "/metadata/labels/" + escape(v1alpha1.LabelRole), role},
	}
}

// set adds or replaces one label or annotation. A slot's pod always has both maps.
func set(path, key, value string) operation {
	return operation{"add", path + escape(key), value}
}

func setAll(path string, values map[string]string) []operation {
	var ops []operation
	for _, k := range slices.Sorted(maps.Keys(values)) {
		ops = append(ops, set(path, k, values[k]))
	}
	return ops
}

// escape a key for use in a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func encode(ops []operation) []byte {
	b, err := json.Marshal(ops)
	if err != nil {
		return []byte("[]") // strings and numbers can always be encoded
	}
	return b
}
