// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// State is where a slot is in its life.
type State string

const (
	// Starting: not warm yet, or not any more; its pod, if any, is idle.
	Starting State = "Starting"
	// Warm: available and idle; with gate Prepared, all is done but starting the pod's own containers.
	Warm State = "Warm"
	// Lent: in service.
	Lent State = "Lent"
	// Draining: finishes what it has and takes nothing new.
	Draining State = "Draining"
	// Ending: its ReplicaSet is at 0 or being deleted.
	Ending State = "Ending"
)

// Slot is what is observed of one slot. Times that are not known are zero.
type Slot struct {
	// Name of the slot, and of its ReplicaSet.
	Name  string
	State State
	// ReplicaSetUID and ReplicaSetVersion identify what was observed, for conditional writes.
	ReplicaSetUID     types.UID
	ReplicaSetVersion string

	// Pod is the name of the slot's present pod; empty while it has none. What follows is of that pod.
	Pod     string
	PodUID  types.UID
	Node    string
	Created time.Time
	// Labels of the pod; without a pod, of the template that the next one is made from.
	Labels map[string]string
	Ready  bool
	// ReadySince is when Ready last became true, UnreadySince when it last became false. With gate Prepared, ReadySince is
	// when the pod began to wait until it is lent.
	ReadySince, UnreadySince time.Time
	// StartUp is the time from the pod's creation until ReadySince; 0 if it restarted or did not come that far yet.
	StartUp time.Duration
	// Waiting: the pod of gate Prepared waits until it is lent, or was lent and has not seen that yet.
	Waiting bool
	// Beginning: the pod of gate Prepared waits no more, and its own containers have neither been ready nor failed yet.
	Beginning bool
	// UnschedulableSince is since when the scheduler has found no node for it.
	UnschedulableSince time.Time
	// Failing is why its containers do not run, such as CrashLoopBackOff, or why the ReplicaSet cannot create the pod; empty if neither.
	Failing string
	// CreateFailed is true where Failing is about creating the pod, such as a quota.
	CreateFailed bool
	// Tampered is true where the role label has a value that QueueScaler never writes.
	Tampered bool

	// LentSince is when the pod was lent, DrainingSince when it was told to drain.
	LentSince, DrainingSince time.Time
	// Touches is how many of the touches after lending were made, 0 to 2.
	Touches int

	// Gate with which the slot was made.
	Gate v1alpha1.Gate
	// Revision is the pod-template-hash of what the pod runs.
	Revision string
	// TemplateDigest and ConfigDigest are those with which the pod was made.
	TemplateDigest, ConfigDigest string
	// OnLend is what lending puts back.
	OnLend OnLend

	// Remaining is the number of pods that still exist, those that end included.
	Remaining int
	// Overdue is true where a pod should have ended by now and has not: its node does not answer.
	Overdue bool
	// Gone is true where the ReplicaSet is at 0, its controller has seen that, and no pod is left.
	Gone bool
	// Deleting is true where the ReplicaSet is being deleted.
	Deleting bool
}

// OnLend is what lending puts on a pod besides its role: the labels and annotations that were withheld.
type OnLend struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// overdueAfter is how long after its announced end a pod may still exist before it is given up.
const overdueAfter = 30 * time.Second

// Idle reports whether the slot is not in service and may still become so.
func (s *Slot) Idle() bool { return s.State == Starting || s.State == Warm }

// Observe finds the slots among ReplicaSets and pods of the QueueScaler's namespace, sorted by name. ReplicaSets that the
// QueueScaler does not control are left out, and so are pods that no slot's ReplicaSet controls.
func Observe(now time.Time, scaler string, owner types.UID, rss []*appsv1.ReplicaSet, pods []*corev1.Pod) []Slot {
	byOwner := map[types.UID][]*corev1.Pod{}
	for _, pod := range pods {
		if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
			byOwner[ref.UID] = append(byOwner[ref.UID], pod)
		}
	}
	var slots []Slot
	for _, rs := range rss {
		ref := metav1.GetControllerOfNoCopy(rs)
		if ref == nil || ref.UID != owner || rs.Labels[v1alpha1.LabelScaler] != scaler || rs.Labels[v1alpha1.LabelSlot] != rs.Name {
			continue
		}
		slots = append(slots, observe(now, rs, byOwner[rs.UID]))
	}
	slices.SortFunc(slots, func(a, b Slot) int { return cmp.Compare(a.Name, b.Name) })
	return slots
}

func observe(now time.Time, rs *appsv1.ReplicaSet, pods []*corev1.Pod) Slot {
	s := Slot{
		Name: rs.Name, ReplicaSetUID: rs.UID, ReplicaSetVersion: rs.ResourceVersion,
		Deleting: !rs.DeletionTimestamp.IsZero(),
	}
	s.readRemaining(now, pods)
	pod := present(pods)
	if pod == nil {
		s.readTemplate(rs.Spec.Template.Labels, rs.Spec.Template.Annotations, &rs.Spec.Template.Spec)
		s.readCreateFailure(rs)
	} else {
		s.readTemplate(pod.Labels, pod.Annotations, &pod.Spec)
		s.readPod(pod)
	}
	s.State = state(rs, pod, &s)
	if s.State == Ending {
		s.Gone = s.Remaining == 0 && rs.Status.ObservedGeneration >= rs.Generation && rs.Status.Replicas == 0 &&
			(rs.Status.TerminatingReplicas == nil || *rs.Status.TerminatingReplicas == 0)
	}
	return s
}

// present chooses the pod that the slot is judged by: of several (a ReplicaSet can for a moment have two) the one that is
// in service, then the oldest. Pods that end or ended are not judged: the ReplicaSet replaces them, as standby.
func present(pods []*corev1.Pod) *corev1.Pod {
	var found *corev1.Pod
	inService := func(p *corev1.Pod) bool { return p.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive }
	for _, pod := range pods {
		if ended(pod) || !pod.DeletionTimestamp.IsZero() {
			continue
		}
		switch {
		case found == nil, inService(pod) && !inService(found):
			found = pod
		case inService(pod) == inService(found) && older(pod, found):
			found = pod
		}
	}
	return found
}

func older(a, b *corev1.Pod) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

func (s *Slot) readRemaining(now time.Time, pods []*corev1.Pod) {
	for _, pod := range pods {
		if ended(pod) {
			continue // a ReplicaSet at 0 leaves these behind; they go with it
		}
		s.Remaining++
		if end := pod.DeletionTimestamp; !end.IsZero() && now.Sub(end.Time) > overdueAfter {
			s.Overdue = true
		}
	}
}

func (s *Slot) readTemplate(labels, annotations map[string]string, spec *corev1.PodSpec) {
	s.Labels = labels
	s.Revision = labels[v1alpha1.LabelRevision]
	s.TemplateDigest = annotations[v1alpha1.AnnotationTemplateDigest]
	s.ConfigDigest = annotations[v1alpha1.AnnotationConfigDigest]
	if err := json.Unmarshal([]byte(annotations[v1alpha1.AnnotationOnLend]), &s.OnLend); err != nil {
		s.OnLend = OnLend{}
		s.Tampered = true // it could not be put in service: it is replaced
	}
	s.Gate = gateOf(spec)
}

// gateOf tells the gate by what it adds to a pod.
func gateOf(spec *corev1.PodSpec) v1alpha1.Gate {
	has := func(volume string) bool {
		return slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume })
	}
	switch {
	case has(gateVolume):
		return v1alpha1.GatePrepared
	case has(roleVolume):
		return v1alpha1.GateFile
	}
	return v1alpha1.GateService
}

func (s *Slot) readPod(pod *corev1.Pod) {
	s.Pod, s.PodUID, s.Node, s.Created = pod.Name, pod.UID, pod.Spec.NodeName, pod.CreationTimestamp.Time
	s.LentSince = timeOf(pod.Annotations[v1alpha1.AnnotationLentAt])
	s.DrainingSince = timeOf(pod.Annotations[v1alpha1.AnnotationDrainingSince])
	if n, err := strconv.Atoi(pod.Annotations[v1alpha1.AnnotationTouched]); err == nil {
		s.Touches = n
	}
	switch pod.Labels[v1alpha1.LabelRole] {
	case v1alpha1.RoleStandby, v1alpha1.RoleActive, v1alpha1.RoleDraining:
	default:
		s.Tampered = true
	}
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			s.Ready, s.ReadySince = true, c.LastTransitionTime.Time
		case c.Type == corev1.PodReady:
			s.UnreadySince = c.LastTransitionTime.Time
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable:
			s.UnschedulableSince = c.LastTransitionTime.Time
		}
	}
	restarts := int32(0)
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, c := range statuses {
			restarts += c.RestartCount
			if s.Failing == "" && c.State.Waiting != nil && failing[c.State.Waiting.Reason] {
				s.Failing = c.State.Waiting.Reason
			}
		}
	}
	warmedUp := s.Ready
	if s.Gate == v1alpha1.GatePrepared {
		warmedUp = s.readWait(pod)
	}
	if warmedUp && restarts == 0 {
		s.StartUp = max(0, s.ReadySince.Sub(s.Created))
	}
}

// readWait reads what the container that waits tells of a pod of gate Prepared, and reports whether the pod came that far.
func (s *Slot) readWait(pod *corev1.Pod) bool {
	var wait corev1.ContainerState
	began := pod.Status.ContainerStatuses // the containers that start once it is lent: those behind the one that waits, too
	for i, c := range pod.Status.InitContainerStatuses {
		if c.Name == waitContainer {
			wait = c.State
			began = slices.Concat(pod.Status.InitContainerStatuses[i+1:], began)
		}
	}
	switch {
	case wait.Running != nil:
		s.Waiting, s.ReadySince = true, wait.Running.StartedAt.Time
	case wait.Terminated != nil && wait.Terminated.ExitCode == 0:
		s.ReadySince = wait.Terminated.StartedAt.Time
		if pod.Labels[v1alpha1.LabelRole] != v1alpha1.RoleActive {
			s.Tampered = true // somebody lent it and took that back: it works
		}
		wasReady := s.Ready || s.UnreadySince.After(wait.Terminated.FinishedAt.Time)
		crashed := slices.ContainsFunc(began, func(c corev1.ContainerStatus) bool { return c.RestartCount > 0 })
		s.Beginning = !wasReady && !crashed && s.Failing == ""
	default:
		return false
	}
	return true
}

// failing are the reasons for which a kubelet lets a container wait, and which need somebody to do something.
var failing = map[string]bool{
	"CrashLoopBackOff": true, "ImagePullBackOff": true, "ErrImagePull": true, "ErrImageNeverPull": true, "InvalidImageName": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true,
}

func (s *Slot) readCreateFailure(rs *appsv1.ReplicaSet) {
	for _, c := range rs.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			s.CreateFailed, s.Failing = true, c.Message
		}
	}
}

func state(rs *appsv1.ReplicaSet, pod *corev1.Pod, s *Slot) State {
	switch {
	case s.Deleting || (rs.Spec.Replicas != nil && *rs.Spec.Replicas == 0):
		return Ending
	case pod == nil:
		return Starting
	case pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive:
		return Lent
	case pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleDraining:
		return Draining
	case warm(rs, s):
		return Warm
	}
	return Starting
}

func warm(rs *appsv1.ReplicaSet, s *Slot) bool {
	if s.Gate == v1alpha1.GatePrepared {
		return s.Waiting
	}
	return s.Ready && (rs.Spec.MinReadySeconds == 0 || rs.Status.AvailableReplicas > 0)
}

// timeOf reads a time that timestamp wrote; zero if it is not one.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// elapsed is the time since then. A time that is not known, or more than a minute ahead of our clock, is long ago: what
// waits for it must not wait for ever.
func elapsed(now, since time.Time) time.Duration {
	d := now.Sub(since)
	if since.IsZero() || d < -time.Minute {
		return time.Duration(1<<63 - 1)
	}
	return max(0, d)
}
