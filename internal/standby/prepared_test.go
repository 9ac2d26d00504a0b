// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// preparedSpec is the spec of a slot of gate Prepared, made from this one.
func preparedSpec(t *testing.T, spec string) corev1.PodSpec {
	t.Helper()
	in := templateInput(t, "metadata: {labels: {app: web}}")
	in.Template.Spec = decode[corev1.PodSpec](t, spec)
	in.Gate, in.GateImage = v1alpha1.GatePrepared, "queuescaler:1"
	before := in.Template.DeepCopy()
	slot, refusal := Template(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if diff := cmp.Diff(before, in.Template); diff != "" {
		t.Errorf("the input was changed:\n%s", diff)
	}
	return slot.Template.Spec
}

const restricted = "securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"

// Everything at once: images that are used twice, init containers around a native sidecar, commands, environments.
func TestPrepared(t *testing.T) {
	got := preparedSpec(t, `
initContainers:
- {name: migrate, image: "tools:1", command: [migrate]}
- {name: proxy, image: "proxy:1", restartPolicy: Always, resources: {requests: {cpu: 10m}}, securityContext: {runAsUser: 1337}}
- {name: fetch, image: "proxy:1"}
- {name: check, image: "tools:1"}
containers:
- name: worker
  image: worker:1
  imagePullPolicy: Always
  command: [worker, --fast]
  args: [a]
  workingDir: /srv
  env: [{name: A, value: b}]
  resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}
  securityContext: {runAsUser: 1000}
  volumeMounts: [{name: data, mountPath: /data}]
- {name: metrics, image: "metrics:1", imagePullPolicy: Never}
- {name: again, image: "worker:1"}
volumes: [{name: data, emptyDir: {}}]
`)
	want := decode[corev1.PodSpec](t, `
initContainers:
- name: queuescaler-install
  image: queuescaler:1
  command: [/gate, install, /queuescaler]
  resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}
  volumeMounts: [{name: queuescaler-gate, mountPath: /queuescaler}]
  `+restricted+`
- name: queuescaler-pulled-0
  image: proxy:1
  command: [/queuescaler/gate, pulled]
  workingDir: /
  resources: {requests: {cpu: 10m}}
  securityContext: {runAsUser: 1337}
  volumeMounts: [{name: queuescaler-gate, mountPath: /queuescaler, readOnly: true}]
- name: queuescaler-pulled-1
  image: metrics:1
  imagePullPolicy: Never
  command: [/queuescaler/gate, pulled]
  workingDir: /
  volumeMounts: [{name: queuescaler-gate, mountPath: /queuescaler, readOnly: true}]
- {name: migrate, image: "tools:1", command: [migrate]}
- name: queuescaler-wait
  image: worker:1
  imagePullPolicy: Always
  command: [/queuescaler/gate, wait, /etc/queuescaler/role]
  workingDir: /
  resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}
  securityContext: {runAsUser: 1000}
  volumeMounts:
  - {name: queuescaler-gate, mountPath: /queuescaler, readOnly: true}
  - {name: queuescaler-role, mountPath: /etc/queuescaler, readOnly: true}
- {name: proxy, image: "proxy:1", restartPolicy: Always, resources: {requests: {cpu: 10m}}, securityContext: {runAsUser: 1337}}
- {name: fetch, image: "proxy:1"}
- {name: check, image: "tools:1"}
containers:
- name: worker
  image: worker:1
  imagePullPolicy: Always
  command: [worker, --fast]
  args: [a]
  workingDir: /srv
  env: [{name: A, value: b}]
  resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}
  securityContext: {runAsUser: 1000}
  volumeMounts: [{name: data, mountPath: /data}]
- {name: metrics, image: "metrics:1", imagePullPolicy: Never}
- {name: again, image: "worker:1"}
volumes:
- {name: data, emptyDir: {}}
- {name: queuescaler-gate, emptyDir: {medium: Memory}}
- name: queuescaler-role
  downwardAPI: {items: [{path: role, fieldRef: {apiVersion: v1, fieldPath: "metadata.labels['capacity.queuescaler.io/role']"}}]}
`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestPreparedWithoutInitContainers(t *testing.T) {
	got := preparedSpec(t, "containers: [{name: worker, image: 'worker:1'}]")
	if want := []string{installContainer, waitContainer}; !slices.Equal(names(got.InitContainers), want) {
		t.Errorf("init containers %v, want %v", names(got.InitContainers), want)
	}
}

func names(containers []corev1.Container) []string {
	var out []string
	for _, c := range containers {
		out = append(out, c.Name)
	}
	return out
}

// The pod's user applies to the container that installs, whose image has one of its own.
func TestInstallRunsAsThePodDoes(t *testing.T) {
	for spec, nonRoot := range map[string]bool{
		"containers: [{name: worker, securityContext: {runAsUser: 1000}}]":                            true,
		"{securityContext: {runAsNonRoot: true, runAsUser: 1000}, containers: [{name: worker}]}":      true,
		"{securityContext: {runAsUser: 0}, containers: [{name: worker}]}":                             false,
		"{securityContext: {runAsNonRoot: false}, containers: [{name: worker, securityContext: {}}]}": true,
	} {
		context := preparedSpec(t, spec).InitContainers[0].SecurityContext
		if got := ptr.Deref(context.RunAsNonRoot, false); got != nonRoot || context.RunAsUser != nil {
			t.Errorf("%s: runAsNonRoot %v and runAsUser %v, want %v and none", spec, got, context.RunAsUser, nonRoot)
		}
	}
}

// TestPreparedRequestsNoMore: for any pod, what it requests in effect and its QoS class stay as they are, the containers of
// the template too, and every image is there before the wait is.
func TestPreparedRequestsNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		before := spec.DeepCopy()
		prepare(&spec, "queuescaler:1")
		if got, want := effective(&spec), effective(before); !maps.Equal(got, want) {
			t.Fatalf("%v requested in effect, %v before", got, want)
		}
		if got, want := qos(&spec), qos(before); got != want {
			t.Fatalf("QoS class %s, %s before", got, want)
		}
		kept := slices.DeleteFunc(slices.Clone(spec.InitContainers), func(c corev1.Container) bool { return strings.HasPrefix(c.Name, "queuescaler-") })
		if diff := cmp.Diff([][]corev1.Container{before.InitContainers, before.Containers}, [][]corev1.Container{kept, spec.Containers}); len(kept) != len(before.InitContainers) || (diff != "" && len(kept) > 0) {
			t.Fatalf("the template's own containers (-want +got):\n%s", diff)
		}
		wait := slices.Index(names(spec.InitContainers), waitContainer)
		images := map[string]int{}
		for _, c := range spec.InitContainers[:wait+1] {
			if isSidecar(c) {
				t.Fatalf("sidecar %s starts before the slot is lent", c.Name)
			}
			images[c.Image]++
			if strings.HasPrefix(c.Name, pulledContainer) && images[c.Image] > 1 {
				t.Fatalf("image %s is pulled twice", c.Image)
			}
		}
		for _, c := range allContainers(before) {
			if images[c.Image] == 0 {
				t.Fatalf("image %s is not pulled before the slot is lent", c.Image)
			}
		}
	})
}

// drawSpec draws a pod with up to four init containers, sidecars among them, and one to three containers.
func drawSpec(t *rapid.T) corev1.PodSpec {
	kind := rapid.SampledFrom([]string{"none", "burstable", "guaranteed"}).Draw(t, "class")
	container := func(name string) corev1.Container {
		c := corev1.Container{Name: name, Image: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "image of "+name)}
		if kind == "none" || (kind == "burstable" && rapid.Bool().Draw(t, "nothing")) {
			return c
		}
		list := corev1.ResourceList{}
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			list[r] = *resource.NewQuantity(rapid.Int64Range(1, 9).Draw(t, string(r)), resource.DecimalSI)
		}
		c.Resources.Requests = list
		if kind == "guaranteed" {
			c.Resources.Limits = list.DeepCopy()
		}
		return c
	}
	var spec corev1.PodSpec
	for i := range rapid.IntRange(0, 4).Draw(t, "init containers") {
		c := container(fmt.Sprintf("init%d", i))
		if rapid.Bool().Draw(t, "sidecar") {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		spec.InitContainers = append(spec.InitContainers, c)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "containers") {
		spec.Containers = append(spec.Containers, container(fmt.Sprintf("app%d", i)))
	}
	return spec
}

// effective is what the scheduler counts of CPU and memory: the containers and sidecars together, or an init container and
// the sidecars before it, if that is more.
func effective(spec *corev1.PodSpec) map[corev1.ResourceName]int64 {
	out := map[corev1.ResourceName]int64{}
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		sidecars, most := int64(0), int64(0)
		for _, c := range spec.InitContainers {
			request := c.Resources.Requests[r]
			if isSidecar(c) {
				sidecars += request.Value()
				most = max(most, sidecars)
			} else {
				most = max(most, sidecars+request.Value())
			}
		}
		all := sidecars
		for _, c := range spec.Containers {
			request := c.Resources.Requests[r]
			all += request.Value()
		}
		out[r] = max(all, most)
	}
	return out
}

func qos(spec *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, some := true, false
	for _, c := range allContainers(spec) {
		some = some || len(c.Resources.Requests) > 0 || len(c.Resources.Limits) > 0
		guaranteed = guaranteed && len(c.Resources.Limits) == 2
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

func TestObservePrepared(t *testing.T) {
	running := func(at time.Time) corev1.ContainerState {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}}
	}
	lent := func(w *world, pod *corev1.Pod, begun time.Duration) {
		pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
		w.kubelet(pod)
		w.now = w.now.Add(begun)
		w.kubelet(pod)
	}
	for _, test := range []struct {
		name   string
		change func(w *world, rs *appsv1.ReplicaSet, pod *corev1.Pod)
		state  State
		is     func(s *Slot) bool
	}{
		{"it waits", func(*world, *appsv1.ReplicaSet, *corev1.Pod) {}, Warm, func(s *Slot) bool {
			return s.Waiting && !s.Beginning && !s.Ready && !s.Tampered && s.StartUp == 5*time.Second && s.ReadySince.Equal(s.Created.Add(s.StartUp))
		}},
		{"minReadySeconds is about pods in service", func(_ *world, rs *appsv1.ReplicaSet, _ *corev1.Pod) { rs.Spec.MinReadySeconds = 10 }, Warm,
			func(*Slot) bool { return true }},
		{"its init containers run yet", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "migrate", State: running(time.Time{})}, {Name: waitContainer}}
		}, Starting, func(s *Slot) bool { return !s.Waiting && s.StartUp == 0 }},
		{"an image cannot be pulled", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: pulledContainer + "0", State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
		}, Starting, func(s *Slot) bool { return s.Failing == "ImagePullBackOff" }},
		{"the wait was ended", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143}}
		}, Starting, func(s *Slot) bool { return !s.Waiting && !s.Tampered }},
		{"the wait was started again", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Status.InitContainerStatuses[0].RestartCount = 1
		}, Warm, func(s *Slot) bool { return s.StartUp == 0 }},
		{"lent, and it does not know yet", func(_ *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleActive
		}, Lent, func(s *Slot) bool { return s.Waiting && !s.Beginning }},
		{"its process begins", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) { lent(w, pod, 0) }, Lent,
			func(s *Slot) bool { return !s.Waiting && s.Beginning && !s.Tampered && s.StartUp == 5*time.Second }},
		{"its process is ready", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) { lent(w, pod, time.Minute) }, Lent,
			func(s *Slot) bool { return s.Ready && !s.Beginning && s.StartUp == 5*time.Second }},
		{"its process was ready", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			lent(w, pod, time.Minute)
			w.setReady(pod, false)
		}, Lent, func(s *Slot) bool { return !s.Ready && !s.Beginning }},
		{"its process crashes", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			lent(w, pod, 0)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1, State: running(w.now)}}
		}, Lent, func(s *Slot) bool { return !s.Beginning && s.Failing == "" }},
		{"its sidecar crashes", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			lent(w, pod, 0)
			pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{Name: "proxy", RestartCount: 1, State: running(w.now)})
		}, Lent, func(s *Slot) bool { return !s.Beginning && s.Failing == "" }},
		{"an init container failed before it waited", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			lent(w, pod, 0)
			pod.Status.InitContainerStatuses = append([]corev1.ContainerStatus{{Name: "migrate", RestartCount: 3}}, pod.Status.InitContainerStatuses...)
		}, Lent, func(s *Slot) bool { return s.Beginning }},
		{"its process cannot be made", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			lent(w, pod, 0)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerError"}}}}
		}, Lent, func(s *Slot) bool { return !s.Beginning && s.Failing == "CreateContainerError" }},
		{"somebody lent it, and took that back", func(w *world, _ *appsv1.ReplicaSet, pod *corev1.Pod) {
			lent(w, pod, time.Minute)
			pod.Labels[v1alpha1.LabelRole] = v1alpha1.RoleStandby
		}, Starting, func(s *Slot) bool { return s.Tampered }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, rs, pod := onePod(t, v1alpha1.GatePrepared)
			test.change(w, rs, pod)
			s := w.slot(t)
			if s.State != test.state || s.Gate != v1alpha1.GatePrepared || !test.is(&s) {
				t.Errorf("state %s, want %s: %+v", s.State, test.state, s)
			}
		})
	}
}
