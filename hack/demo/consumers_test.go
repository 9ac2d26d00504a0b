// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

func pod(name, role string, isReady bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name + "-uid"), Labels: map[string]string{"app": appName}}}
	if role != "" {
		p.Labels[v1alpha1.LabelSlot], p.Labels[v1alpha1.LabelRole] = name, role
	}
	status := corev1.ConditionFalse
	if isReady {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	return p
}

// rig is a queue and consumers, with pods that the test makes up.
type rig struct {
	t         *testing.T
	ctx       context.Context
	queue     *messageQueue
	accounts  *accounts
	referee   *referee
	consumers *consumers
	sender    *sender
	api       *fake.Clientset
}

func newRig(t *testing.T, forceGateOpen bool) *rig {
	t.Helper()
	q, err := startQueue(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{t: t, ctx: ctx, queue: q, accounts: newAccounts(), api: fake.NewClientset()}
	r.referee = newReferee(r.api, namespace, r.accounts)
	r.consumers = newConsumers(q.consumer, r.accounts, r.referee, forceGateOpen)
	r.sender = startSender(q.js, r.accounts, 0, func(err error) { t.Error(err) })
	t.Cleanup(func() {
		r.sender.stop()
		cancel()
		r.consumers.wait()
		r.referee.wait()
		q.stop()
	})
	return r
}

// set creates or changes a pod in the API, and tells its process.
func (r *rig) set(p *corev1.Pod) {
	r.t.Helper()
	pods := r.api.CoreV1().Pods(namespace)
	_, err := pods.Create(r.ctx, p, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = pods.Update(r.ctx, p, metav1.UpdateOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.consumers.seen(r.ctx, p)
}

func (r *rig) send(n int) {
	r.t.Helper()
	if err := r.sender.burst(n); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) await(what string, ok func(totals) bool) totals {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if got := r.accounts.totals(); ok(got) {
			return got
		} else if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s: %+v", what, got)
		}
	}
}

// good is a result in which everything is as it has to be, with the messages as counted.
func good(t totals) *result {
	return &result{
		FirstSlotInService: 1, CapacityWithStandby: 1, CapacityWithoutStandby: 25, SlotsWarm: wantedSlots, SlotsWanted: wantedSlots,
		RegressionFound: 30, AdvisedRevision: goodRevision, RollbackCured: 45,
		MessagesSent: t.sent, MessagesDone: t.done, MessagesLost: t.lost, MessagesTakenBySlots: t.bySlots,
		SlotMessagesVerified: t.verified, MessagesTakenByUnlent: t.byUnlentSlots, firstTakenByUnlent: t.firstFault,
	}
}

func TestWhoTakesMessages(t *testing.T) {
	r := newRig(t, false)
	r.set(pod("starting", "", false))
	r.set(pod("idle", v1alpha1.RoleStandby, true))
	r.set(pod("starting-slot", v1alpha1.RoleActive, false))
	r.set(pod("draining", v1alpha1.RoleDraining, true))
	r.send(12)
	time.Sleep(2 * kubeletDelay) // nothing is to happen: there is no condition to wait for
	if got := r.accounts.totals(); got.done != 0 || len(r.accounts.takes) != 0 {
		t.Fatalf("messages were taken though no pod is in service: %+v", got)
	}
	r.set(pod("ordinary", "", true))
	r.set(pod("idle", v1alpha1.RoleActive, true))
	got := r.await("all messages", func(x totals) bool { return x.lost == 0 && x.verified == x.bySlots })
	if got.done != 12 || got.doneAgain != 0 || got.bySlots == 0 || got.bySlots == 12 || got.byUnlentSlots != 0 {
		t.Errorf("want 12 messages done once each, by both pods and no unlent slot: %+v", got)
	}
	for _, x := range r.accounts.takes {
		if x.pod != "ordinary" && x.pod != "idle" {
			t.Errorf("pod %s took a message", x.pod)
		}
	}
	if failed := good(got).check(); len(failed) > 0 {
		t.Errorf("checks failed: %q", failed)
	}
}

// A pod that is told to drain, or to end, finishes its message and takes no other.
func TestWhoStopsFinishes(t *testing.T) {
	stops := map[string]func(r *rig, p *corev1.Pod){
		"draining": func(r *rig, p *corev1.Pod) {
			p.Labels[v1alpha1.LabelRole] = v1alpha1.RoleDraining
			r.set(p)
			time.Sleep(kubeletDelay + 300*time.Millisecond) // the last message and the last request for one
		},
		"terminating": func(r *rig, p *corev1.Pod) {
			p.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			r.consumers.seen(r.ctx, p)
			time.Sleep(500 * time.Millisecond)
		},
		"gone": func(r *rig, p *corev1.Pod) {
			r.consumers.ended(p)
			time.Sleep(500 * time.Millisecond)
		},
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, false)
			p := pod("slot", v1alpha1.RoleActive, true)
			r.set(p)
			r.send(100)
			r.await("a message", func(x totals) bool { return x.done > 0 })
			stop(r, p.DeepCopy())
			before := r.accounts.totals()
			if before.done != before.bySlots {
				t.Errorf("%d of %d messages that were taken were finished", before.done, before.bySlots)
			}
			time.Sleep(500 * time.Millisecond)
			if after := r.accounts.totals(); after.bySlots != before.bySlots {
				t.Errorf("%d more messages were taken", after.bySlots-before.bySlots)
			}
			r.set(pod("other", "", true)) // what was given back arrives
			if got := r.await("a further message", func(x totals) bool { return x.done > before.done+2 }); got.byUnlentSlots != 0 {
				t.Errorf("unlent: %+v", got)
			}
		})
	}
}

// An app that declares the gate and does not obey it must be found out.
func TestForcedGateFailsTheChecks(t *testing.T) {
	r := newRig(t, true)
	r.set(pod("idle", v1alpha1.RoleStandby, true))
	r.send(5)
	got := r.await("all messages", func(x totals) bool { return x.lost == 0 && x.verified == x.bySlots })
	if got.byUnlentSlots != 5 {
		t.Errorf("%d messages counted as taken by unlent slots, want 5", got.byUnlentSlots)
	}
	failed := good(got).check()
	if len(failed) != 1 || !strings.Contains(failed[0], "5 messages were taken by slots that were not lent: message ") ||
		!strings.Contains(failed[0], "slot pod idle, which was not lent: its role was standby") {
		t.Errorf("checks say %q", failed)
	}
}

func TestReferee(t *testing.T) {
	api := fake.NewClientset()
	r := newReferee(api, namespace, newAccounts())
	p := pod("slot", v1alpha1.RoleDraining, true)
	if err := api.Tracker().Add(p); err != nil {
		t.Fatal(err)
	}
	expect := func(uid types.UID, want string) {
		t.Helper()
		if got := r.fault("slot", uid); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("fault %q, want %q", got, want)
		}
	}
	expect(p.UID, `never seen lent: its role was "draining"`)
	r.lastActive[p.UID] = time.Now()
	expect(p.UID, "")
	r.lastActive[p.UID] = time.Now().Add(-3 * time.Second)
	expect(p.UID, `out of service for over 2s: its role was "draining"`)
	expect("an earlier pod of this name", `never seen lent: its role was "gone"`)
}
