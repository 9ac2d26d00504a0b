// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// literals keeps what containers read of labels by fieldRef as it is in the target's pods: a slot lacks the withheld
// labels and pod-template-hash, and a process that reads one at its start would never see it. In the environment the
// value is written out. A downward-API file can hold no literal, so it reads an annotation that has the value.
func literals(in *TemplateInput, t *corev1.PodTemplateSpec, withheld map[string]string) {
	missing := maps.Clone(withheld)
	if missing == nil {
		missing = map[string]string{}
	}
	missing[appsv1.DefaultDeploymentUniqueLabelKey] = in.Revision

	for _, c := range allContainers(&t.Spec) {
		for i := range c.Env {
			e := &c.Env[i]
			if e.ValueFrom == nil || e.ValueFrom.FieldRef == nil {
				continue
			}
			if value, ok := missing[labelOf(e.ValueFrom.FieldRef.FieldPath)]; ok {
				e.Value, e.ValueFrom = value, nil
			}
		}
	}
	files := downwardFiles(&t.Spec)
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		redirect(t, files, labelPath(key), missing[key])
	}
	if len(withheld) > 0 {
		all := maps.Clone(in.Template.Labels)
		all[appsv1.DefaultDeploymentUniqueLabelKey] = in.Revision
		redirect(t, files, "metadata.labels", formatMap(all))
	}
}

// redirect makes the files that read a field read an annotation with this value instead.
func redirect(t *corev1.PodTemplateSpec, files []*corev1.DownwardAPIVolumeFile, field, value string) {
	annotation := ""
	for _, f := range files {
		if f.FieldRef == nil || f.FieldRef.FieldPath != field {
			continue
		}
		if annotation == "" {
			annotation = fmt.Sprintf("%sliteral-%d", v1alpha1.LabelPrefix, literalCount(t))
			t.Annotations[annotation] = value
		}
		f.FieldRef.FieldPath = fmt.Sprintf("metadata.annotations['%s']", annotation)
	}
}

func literalCount(t *corev1.PodTemplateSpec) int {
	n := 0
	for k := range t.Annotations {
		if strings.HasPrefix(k, v1alpha1.LabelPrefix+"literal-") {
			n++
		}
	}
	return n
}

// downwardFiles are the downward-API files of all volumes.
func downwardFiles(spec *corev1.PodSpec) []*corev1.DownwardAPIVolumeFile {
	var out []*corev1.DownwardAPIVolumeFile
	add := func(items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			out = append(out, &items[i])
		}
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.DownwardAPI != nil {
			add(v.DownwardAPI.Items)
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if d := v.Projected.Sources[j].DownwardAPI; d != nil {
				add(d.Items)
			}
		}
	}
	return out
}

func labelPath(key string) string { return fmt.Sprintf("metadata.labels['%s']", key) }

// labelOf is the label that a field path reads; empty if it reads something else.
func labelOf(path string) string {
	rest, ok := strings.CutPrefix(path, "metadata.labels['")
	if !ok {
		return ""
	}
	key, ok := strings.CutSuffix(rest, "']")
	if !ok {
		return ""
	}
	return key
}

// formatMap writes labels as the kubelet writes them into a file.
func formatMap(m map[string]string) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}
