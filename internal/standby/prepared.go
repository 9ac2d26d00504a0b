// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// gateVolume and gateDir are the volume that holds the gate's program, and where it is mounted. Only containers of ours
	// have it.
	gateVolume = "queuescaler-gate"
	gateDir    = "/queuescaler"
	// gateProgram is where the program is in the operator's image, and gateInstalled in the pod.
	gateProgram   = "/gate"
	gateInstalled = gateDir + gateProgram

	// The init containers of gate Prepared.
	installContainer = "queuescaler-install"
	pulledContainer  = "queuescaler-pulled-" // and a number
	waitContainer    = "queuescaler-wait"
)

// prepare adds the init containers of gate Prepared. The first one installs the program, one for each image has it pulled,
// and the last one waits until the slot is lent. What comes after that one starts only then: the first native sidecar,
// which might take messages, and all that is behind it.
//
// Each has resources and security context of a container of the pod, and comes before what would add up with it. So the
// pod requests no more, its QoS class stays, and it is admitted where the target's pods are.
func prepare(spec *corev1.PodSpec, gateImage string) {
	first := &spec.Containers[0]
	sidecar := slices.IndexFunc(spec.InitContainers, isSidecar)
	if sidecar < 0 {
		sidecar = len(spec.InitContainers)
	}
	before, after := spec.InitContainers[:sidecar], spec.InitContainers[sidecar:]

	init := []corev1.Container{install(spec, gateImage)}
	for i, c := range unpulled(spec, before) {
		init = append(init, gateContainer(fmt.Sprintf("%s%d", pulledContainer, i), c, "pulled"))
	}
	init = append(init, before...)
	wait := gateContainer(waitContainer, first, "wait", roleDir+"/"+roleFile)
	wait.VolumeMounts = append(wait.VolumeMounts, roleFileMount())
	init = append(init, wait)

	// In memory, because the cluster autoscaler keeps a node for a pod that has a volume on its disk.
	program := corev1.Volume{Name: gateVolume, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}
	spec.Volumes = append(spec.Volumes, program, roleFileVolume())
	spec.InitContainers = append(init, after...)
}

// isSidecar: it runs beside the pod's containers, and starts before them.
func isSidecar(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// unpulled are containers with the images that neither an init container before the wait nor the one that waits runs, one
// for each image.
func unpulled(spec *corev1.PodSpec, before []corev1.Container) []*corev1.Container {
	pulled := map[string]bool{spec.Containers[0].Image: true}
	for i := range before {
		pulled[before[i].Image] = true
	}
	var out []*corev1.Container
	for _, c := range allContainers(spec) {
		if !pulled[c.Image] {
			pulled[c.Image] = true
			out = append(out, c)
		}
	}
	return out
}

// gateContainer runs the gate's program in the image of another container.
func gateContainer(name string, like *corev1.Container, args ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: like.Image, ImagePullPolicy: like.ImagePullPolicy,
		Command:         append([]string{gateInstalled}, args...),
		WorkingDir:      "/", // the image's own may be closed to the user that the security context names
		Resources:       *like.Resources.DeepCopy(),
		SecurityContext: like.SecurityContext.DeepCopy(),
		VolumeMounts:    []corev1.VolumeMount{{Name: gateVolume, MountPath: gateDir, ReadOnly: true}},
	}
}

// install copies the program out of the operator's image. Of that image it is known that it does with the restricted pod
// security level, and what is written there may be run by any user.
func install(spec *corev1.PodSpec, image string) corev1.Container {
	context := &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		RunAsNonRoot:             ptr.To(true),
	}
	if pod := spec.SecurityContext; pod != nil && pod.RunAsUser != nil && *pod.RunAsUser == 0 {
		context.RunAsNonRoot = nil // it would not start
	}
	return corev1.Container{
		Name: installContainer, Image: image,
		Command:         []string{gateProgram, "install", gateDir},
		Resources:       *spec.Containers[0].Resources.DeepCopy(),
		SecurityContext: context,
		VolumeMounts:    []corev1.VolumeMount{{Name: gateVolume, MountPath: gateDir}},
	}
}

// unpreparable: there has to be something to wait in, and the template may not use the names that gate Prepared uses.
func unpreparable(in *TemplateInput, spec *corev1.PodSpec) string {
	switch {
	case in.Gate != v1alpha1.GatePrepared:
		return ""
	case len(spec.Containers) == 0:
		return "the template has no container. Add one"
	case spec.OS != nil && spec.OS.Name == corev1.Windows:
		return "the template is for Windows, and the program that waits in a slot of gate Prepared is for Linux. Remove spec.standby"
	}
	for _, v := range spec.Volumes {
		if v.Name == gateVolume || v.Name == roleVolume {
			return fmt.Sprintf("the template has a volume %s of its own, a name that gate Prepared uses. Rename it", v.Name)
		}
	}
	for _, c := range allContainers(spec) {
		if c.Name == installContainer || c.Name == waitContainer || strings.HasPrefix(c.Name, pulledContainer) {
			return fmt.Sprintf("the template has a container %s of its own, a name that gate Prepared uses. Rename it", c.Name)
		}
	}
	return ""
}
