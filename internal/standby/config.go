// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Kinds of Ref.
const (
	KindConfigMap = "ConfigMap"
	KindSecret    = "Secret"
)

// Ref is a ConfigMap or Secret that a template refers to, in its own namespace.
type Ref struct {
	Kind, Name string
}

// ConfigRefs are the ConfigMaps and Secrets whose data reaches the containers of a template, sorted.
func ConfigRefs(t *corev1.PodTemplateSpec) []Ref { return sorted(refsOf(t)) }

// RequiredRefs are those of ConfigRefs without which no pod of the template starts, sorted.
func RequiredRefs(t *corev1.PodTemplateSpec) []Ref {
	refs := refsOf(t)
	maps.DeleteFunc(refs, func(_ Ref, required bool) bool { return !required })
	return sorted(refs)
}

func sorted(refs map[Ref]bool) []Ref {
	return slices.SortedFunc(maps.Keys(refs), func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// addRef notes a reference that may be optional.
type addRef func(kind, name string, optional *bool)

// refsOf has for each reference whether it is required.
func refsOf(t *corev1.PodTemplateSpec) map[Ref]bool {
	refs := map[Ref]bool{}
	add := func(kind, name string, optional *bool) {
		if name != "" {
			ref := Ref{kind, name}
			refs[ref] = refs[ref] || optional == nil || !*optional
		}
	}
	for _, c := range allContainers(&t.Spec) {
		containerRefs(c, add)
	}
	for i := range t.Spec.Volumes {
		volumeRefs(&t.Spec.Volumes[i], add)
	}
	return refs
}

func containerRefs(c *corev1.Container, add addRef) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			add(KindConfigMap, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		}
		if from.SecretRef != nil {
			add(KindSecret, from.SecretRef.Name, from.SecretRef.Optional)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			add(KindConfigMap, e.ValueFrom.ConfigMapKeyRef.Name, e.ValueFrom.ConfigMapKeyRef.Optional)
		}
		if e.ValueFrom.SecretKeyRef != nil {
			add(KindSecret, e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Optional)
		}
	}
}

func volumeRefs(v *corev1.Volume, add addRef) {
	if v.ConfigMap != nil {
		add(KindConfigMap, v.ConfigMap.Name, v.ConfigMap.Optional)
	}
	if v.Secret != nil {
		add(KindSecret, v.Secret.SecretName, v.Secret.Optional)
	}
	if v.Projected == nil {
		return
	}
	for _, source := range v.Projected.Sources {
		if source.ConfigMap != nil {
			add(KindConfigMap, source.ConfigMap.Name, source.ConfigMap.Optional)
		}
		if source.Secret != nil {
			add(KindSecret, source.Secret.Name, source.Secret.Optional)
		}
	}
}

// ConfigMapData is the data of a ConfigMap as ConfigDigest takes it; a Secret's is its Data.
func ConfigMapData(cm *corev1.ConfigMap) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range cm.Data {
		out[k] = []byte(v)
	}
	maps.Copy(out, cm.BinaryData)
	return out
}

// ConfigDigest identifies the data that a template refers to; an object that does not exist has nil data. It is empty
// where the template refers to nothing. It is short on purpose: it shows that something changed, and is of no use to
// somebody who looks for a Secret's data.
func ConfigDigest(data map[Ref]map[string][]byte) string {
	if len(data) == 0 {
		return ""
	}
	h := sha256.New()
	for _, ref := range slices.SortedFunc(maps.Keys(data), func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	}) {
		write(h, []byte(ref.Kind), []byte(ref.Name), []byte(count(data[ref])))
		for _, key := range slices.Sorted(maps.Keys(data[ref])) {
			write(h, []byte(key), data[ref][key])
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// count of keys; an object that does not exist has another one than an empty one.
func count(data map[string][]byte) string {
	if data == nil {
		return "absent"
	}
	return strconv.Itoa(len(data))
}

// write separates fields by their lengths, so that no two inputs are written alike.
func write(h hash.Hash, fields ...[]byte) {
	for _, f := range fields {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		h.Write(n[:])
		h.Write(f)
	}
}
