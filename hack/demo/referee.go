// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// leaveWithin is how long a slot that was in service may still take messages once its role has changed or its pod is gone: the
// role file follows the label within 2 s on a busy node.
const leaveWithin = 2 * time.Second

// referee checks each message that a slot took, independently of the consumers: it reads the pod live from the API server at
// that moment. A pod's role only goes from standby to active to draining, so what is read a moment after the message was
// taken tells whether it had been lent.
type referee struct {
	pods     func(ctx context.Context, name string) (*corev1.Pod, error)
	accounts *accounts

	mu         sync.Mutex
	lastActive map[types.UID]time.Time // when a pod was last read as active
	reading    sync.WaitGroup
}

func newReferee(client kubernetes.Interface, namespace string, a *accounts) *referee {
	get := func(ctx context.Context, name string) (*corev1.Pod, error) {
		return client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	return &referee{pods: get, accounts: a, lastActive: map[types.UID]time.Time{}}
}

// judge looks at the pod that has just taken a message.
func (r *referee) judge(pod string, uid types.UID, message int64) {
	r.reading.Go(func() {
		fault := r.fault(pod, uid)
		if fault != "" {
			fault = fmt.Sprintf("message %d was taken by slot pod %s, %s", message, pod, fault)
		}
		r.accounts.judged(message, fault)
	})
}

// wait returns when every message has been judged.
func (r *referee) wait() { r.reading.Wait() }

// fault says why the pod was not in service; empty: it was.
func (r *referee) fault(name string, uid types.UID) string {
	role, err := r.role(name, uid)
	if err != nil {
		return "whose role could not be read: " + err.Error()
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if role == v1alpha1.RoleActive {
		r.lastActive[uid] = now
		return ""
	}
	if role == v1alpha1.RoleStandby {
		return "which was not lent: its role was standby"
	}
	last, was := r.lastActive[uid]
	switch {
	case !was:
		return fmt.Sprintf("which was never seen lent: its role was %q", role)
	case now.Sub(last) > leaveWithin:
		return fmt.Sprintf("which was out of service for over %s: its role was %q", leaveWithin, role)
	}
	return ""
}

// role is the pod's present role, "gone" if it does not exist any more.
func (r *referee) role(name string, uid types.UID) (string, error) {
	var err error
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var pod *corev1.Pod
		pod, err = r.pods(ctx, name)
		cancel()
		switch {
		case apierrors.IsNotFound(err) || err == nil && pod.UID != uid:
			return "gone", nil
		case err == nil:
			return pod.Labels[v1alpha1.LabelRole], nil
		}
	}
	return "", err
}
