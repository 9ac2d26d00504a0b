// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// roleVolume and roleDir are the volume that tells a container its role, and where it is mounted: with gate File into all,
	// with gate Prepared into the one that waits.
	roleVolume = "queuescaler-role"
	roleDir    = "/etc/queuescaler"
	// roleFile is in roleDir.
	roleFile = "role"
	// gateFileDeclared is the value of the annotation by which a template declares that the app obeys the role file.
	gateFileDeclared = "file"
)

// unsuitable says why no slot can be made from this template; nil if one can.
func unsuitable(in *TemplateInput, t *corev1.PodTemplateSpec) *Refusal {
	if in.Gate == v1alpha1.GateFile && t.Annotations[v1alpha1.AnnotationGate] != gateFileDeclared {
		return &Refusal{v1alpha1.ReasonGateNotDeclared, fmt.Sprintf(
			"gate File needs an app that obeys %s/%s, and revision %s does not declare it: its idle slots would consume at once. Add the annotation %s: %s to the Deployment's pod template once the app obeys",
			roleDir, roleFile, in.Revision, v1alpha1.AnnotationGate, gateFileDeclared)}
	}
	if in.Gate == v1alpha1.GatePrepared && in.GateImage == "" {
		return &Refusal{v1alpha1.ReasonGateImageMissing,
			"gate Prepared copies a program out of the operator's image into its slots, and the operator does not know its image. Start it with --gate-image, as config/manager does"}
	}
	for _, rule := range []func(*TemplateInput, *corev1.PodSpec) string{
		readinessGates, hostPorts, unsharedClaims, roleFileCollides, unpreparable,
	} {
		if message := rule(in, &t.Spec); message != "" {
			return &Refusal{v1alpha1.ReasonTemplateUnsuitable, message}
		}
	}
	return nil
}

func readinessGates(_ *TemplateInput, spec *corev1.PodSpec) string {
	if len(spec.ReadinessGates) == 0 {
		return ""
	}
	return fmt.Sprintf("the template has the readiness gate %s, which nobody sets for a pod outside the traffic, so a slot would never be warm. Remove the readiness gate or spec.standby",
		spec.ReadinessGates[0].ConditionType)
}

func hostPorts(_ *TemplateInput, spec *corev1.PodSpec) string {
	if spec.HostNetwork {
		return "the template has hostNetwork: true, so that a slot would take the ports that a pod of the target needs on its node. Remove hostNetwork or spec.standby"
	}
	for _, c := range allContainers(spec) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				return fmt.Sprintf("container %s has hostPort %d, which a slot would take from a pod of the target on its node. Remove the host port or spec.standby", c.Name, p.HostPort)
			}
		}
	}
	return ""
}

// unsharedClaims: a claim that only one node or pod can use may not be taken from the target's pods.
func unsharedClaims(in *TemplateInput, spec *corev1.PodSpec) string {
	for _, v := range spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		claim := v.PersistentVolumeClaim.ClaimName
		modes, known := in.Surroundings.ClaimModes[claim]
		switch {
		case !known || len(modes) == 0:
			return fmt.Sprintf("volume %s uses PersistentVolumeClaim %s, whose access modes are not known: it does not exist. Create it with ReadWriteMany or ReadOnlyMany, or remove spec.standby", v.Name, claim)
		case slices.Contains(modes, corev1.ReadWriteOncePod),
			slices.Contains(modes, corev1.ReadWriteOnce) && !slices.Contains(modes, corev1.ReadWriteMany):
			return fmt.Sprintf("volume %s uses PersistentVolumeClaim %s with access mode %s, which a slot cannot share with the target's pods. Use a claim with ReadWriteMany or ReadOnlyMany, an ephemeral volume, or remove spec.standby",
				v.Name, claim, modes[0])
		}
	}
	return ""
}

// roleFileCollides: nothing of the template's may be where the role file goes, nor above it, where a read-only volume
// would keep the directory from being made.
func roleFileCollides(in *TemplateInput, spec *corev1.PodSpec) string {
	if in.Gate != v1alpha1.GateFile {
		return ""
	}
	for _, v := range spec.Volumes {
		if v.Name == roleVolume {
			return fmt.Sprintf("the template has a volume %s of its own, the name that gate File uses. Rename it", roleVolume)
		}
	}
	for _, c := range allContainers(spec) {
		var paths []string
		for _, m := range c.VolumeMounts {
			paths = append(paths, m.MountPath)
		}
		for _, d := range c.VolumeDevices {
			paths = append(paths, d.DevicePath)
		}
		for _, p := range paths {
			if nested(path.Clean(p), roleDir) || nested(roleDir, path.Clean(p)) {
				return fmt.Sprintf("container %s mounts something at %s, where gate File mounts %s. Mount it elsewhere", c.Name, p, roleDir)
			}
		}
	}
	return ""
}

// nested reports whether one path is the other or beneath it.
func nested(inner, outer string) bool {
	return inner == outer || strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
}

// allContainers are the containers of a pod, init containers and native sidecars first.
func allContainers(spec *corev1.PodSpec) []*corev1.Container {
	var out []*corev1.Container
	for i := range spec.InitContainers {
		out = append(out, &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		out = append(out, &spec.Containers[i])
	}
	return out
}

// addRoleFile mounts the pod's own role label as a file into every container.
func addRoleFile(spec *corev1.PodSpec) {
	spec.Volumes = append(spec.Volumes, roleFileVolume())
	for _, c := range allContainers(spec) {
		c.VolumeMounts = append(c.VolumeMounts, roleFileMount())
	}
}

func roleFileVolume() corev1.Volume {
	return corev1.Volume{
		Name: roleVolume,
		VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{
				Path:     roleFile,
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: labelPath(v1alpha1.LabelRole)},
			}},
		}},
	}
}

// roleFileMount is of the directory, because a subPath would never be updated.
func roleFileMount() corev1.VolumeMount {
	return corev1.VolumeMount{Name: roleVolume, MountPath: roleDir, ReadOnly: true}
}
