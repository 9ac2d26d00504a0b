// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

var testNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// states are container states as the stages leave them, and the phase that goes with each.
var states = map[string]struct {
	phase corev1.PodPhase
	state corev1.ContainerState
}{
	"running":    {corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(testNow)}}},
	"init":       {corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}},
	"unpullable": {corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}},
	"misspelled": {corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError"}}},
	"crashed":    {corev1.PodRunning, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}},
	"ended":      {corev1.PodSucceeded, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
}

type situation struct {
	state                              string // a key of states; "" for a pod that no kubelet has seen
	behavior                           string
	ready, containersReady             bool
	initialized                        bool
	gate, held, restarts, gone, pinned bool
}

func (s situation) pod() *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Annotations = map[string]string{annotationPrefix + "behavior": s.behavior}
	pod.Labels = map[string]string{"role": "standby"}
	if s.held {
		pod.Annotations[annotationPrefix+"init-waits-for"] = "role=active"
	}
	if s.restarts {
		pod.Annotations[annotationPrefix+"restarts"] = "1"
	}
	if s.gate {
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "open"}}
	}
	if s.gone {
		pod.DeletionTimestamp = &metav1.Time{Time: testNow}
	}
	if s.pinned {
		pod.Finalizers = []string{"example.com/keep"}
	}
	pod.Status.Phase = corev1.PodPending
	if s.state == "" {
		return pod
	}
	pod.Status.Phase = states[s.state].phase
	pod.Status.StartTime = &metav1.Time{Time: testNow}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: states[s.state].state}}
	for kind, status := range map[corev1.PodConditionType]bool{
		corev1.PodReady: s.ready, corev1.ContainersReady: s.containersReady, corev1.PodInitialized: s.initialized,
	} {
		text := corev1.ConditionFalse
		if status {
			text = corev1.ConditionTrue
		}
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: text})
	}
	return pod
}

// kwok picks one at random where several stages apply.
func TestAtMostOneStageApplies(t *testing.T) {
	lc, err := lifecycle.NewLifecycle(podStages(1))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, state := range []string{"", "running", "init", "unpullable", "misspelled", "crashed", "ended"} {
		for _, behavior := range []string{"", "never-ready", "crash-loop", "image-pull-error", "nonsense"} {
			for bits := range 1 << 8 {
				bit := func(n int) bool { return bits>>n&1 == 1 }
				s := situation{state, behavior, bit(0), bit(1), bit(2), bit(3), bit(4), bit(5), bit(6), bit(7)}
				pod := s.pod()
				stages, err := lc.ListAllPossible(t.Context(), &lifecycle.Event{Labels: pod.Labels, Annotations: pod.Annotations, Data: pod})
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, stage := range stages {
					names = append(names, stage.Name())
					seen[stage.Name()] = true
				}
				if len(names) > 1 {
					t.Fatalf("%+v: %v", s, names)
				}
				if s.gone && !s.pinned && (len(names) == 0 || names[0] != "pod-end") {
					t.Fatalf("%+v: %v, though it is being deleted", s, names)
				}
			}
		}
	}
	for _, stage := range podStages(1) {
		if !seen[stage.Name] {
			t.Errorf("%s never applies", stage.Name)
		}
	}
}

func TestDelays(t *testing.T) {
	lc, err := lifecycle.NewLifecycle(podStages(1.5))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	running := func(key, value string) *corev1.Pod {
		pod := situation{state: "running", initialized: true}.pod()
		pod.Annotations[annotationPrefix+key] = value
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}}
		return pod
	}
	ending := func(grace int64, after string) *corev1.Pod {
		pod := running("terminate-after", after)
		pod.DeletionGracePeriodSeconds = &grace
		pod.DeletionTimestamp = &metav1.Time{Time: now.Add(time.Duration(grace) * time.Second)}
		return pod
	}
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		want time.Duration // after now
	}{
		{"default", running("unused", ""), 1500 * time.Millisecond},
		{"seconds", running("ready-after", "25s"), 25 * time.Second},
		{"parts", running("ready-after", "1h2m3s500ms"), time.Hour + 2*time.Minute + 3500*time.Millisecond},
		{"nonsense", running("ready-after", "soon"), 1500 * time.Millisecond},
		{"deleted", ending(30, ""), 0},
		{"deleted slowly", ending(30, "20s"), 20 * time.Second},
		{"killed", ending(30, "1h"), 30 * time.Second},
	} {
		event := &lifecycle.Event{Labels: test.pod.Labels, Annotations: test.pod.Annotations, Data: test.pod}
		stage, err := lc.Match(t.Context(), event)
		if err != nil || stage == nil {
			t.Fatalf("%s: %v, %v", test.name, stage, err)
		}
		before := time.Now()
		got, ok, err := stage.Delay(t.Context(), event, before)
		spent := time.Since(before)
		at := before.Add(got).Sub(now)
		// The stage reads the clock itself, between before and before + spent, and rounds down to milliseconds.
		if err != nil || !ok || at < test.want-spent-2*time.Millisecond || at > test.want+time.Millisecond {
			t.Errorf("%s: due %v after the start, want %v (%v, %v)", test.name, at, test.want, ok, err)
		}
	}
}

func TestAddressesContinueAfterThoseInUse(t *testing.T) {
	pod := func(name, ip string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{PodIP: ip}}
	}
	a, err := newAddresses(t.Context(), fake.NewClientset(pod("a", "10.128.0.9"), pod("b", "10.128.1.255"), pod("c", ""), pod("d", "192.168.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 1000 {
		ip := a.next()
		if seen[ip] || !podRange.Contains(netip.MustParseAddr(ip)) {
			t.Fatalf("%s is taken or out of range", ip)
		}
		seen[ip] = true
	}
	if !seen["10.128.2.0"] || seen["10.128.1.255"] {
		t.Errorf("the first thousand: %v", fmt.Sprint(seen)[:80])
	}
}
