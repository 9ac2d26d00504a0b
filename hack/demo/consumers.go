// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// perPod is how many messages one pod completes per second, badPerPod one of the revision that does less.
	perPod    = 8
	badPerPod = 4
	// badImage is what that revision runs.
	badImage = "chat/consumer:3"
	// kubeletDelay is from a label's change to the file /etc/queuescaler/role in the container: 0.1 to 0.3 s on a real node.
	// Simulated nodes mount nothing, so the consumers wait that long by themselves.
	kubeletDelay = 300 * time.Millisecond
)

// consumers are what would run in the pods: each pod in service takes one message at a time from the real queue, works on it
// for 1/perPod s and acknowledges it; the bad revision takes longer. Who is in service is told by the pod itself, as in a real process: by its readiness, and
// in a slot by the label that the role file shows.
type consumers struct {
	source        jetstream.Consumer
	accounts      *accounts
	referee       *referee
	forceGateOpen bool

	mu   sync.Mutex
	pods map[types.UID]*worker
	busy sync.WaitGroup
}

func newConsumers(source jetstream.Consumer, a *accounts, r *referee, forceGateOpen bool) *consumers {
	return &consumers{source: source, accounts: a, referee: r, forceGateOpen: forceGateOpen, pods: map[types.UID]*worker{}}
}

// worker is the process of one pod.
type worker struct {
	pod    string
	uid    types.UID
	slot   bool
	perSec int // what it completes when it always has work

	mu     sync.Mutex
	open   bool          // it may take a message
	wake   chan struct{} // closed when open changes, or the pod is gone
	ending bool          // it was told to stop, and takes nothing any more
	gone   bool

	free time.Time // when the last message was completed, by the work it takes; used by the process only
}

// perSecond is what a pod completes by the image that it runs.
func perSecond(pod *corev1.Pod) int {
	if runsBad(pod) {
		return badPerPod
	}
	return perPod
}

func runsBad(pod *corev1.Pod) bool {
	return len(pod.Spec.Containers) > 0 && pod.Spec.Containers[0].Image == badImage
}

// isSlot tells a slot's pod from one of the Deployment's.
func isSlot(pod *corev1.Pod) bool { return pod.Labels[v1alpha1.LabelSlot] != "" }

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// inService reports whether the process in this pod takes messages. A pod without the role file is active.
func inService(pod *corev1.Pod, ignoresGate bool) bool {
	if pod.DeletionTimestamp != nil || !ready(pod) {
		return false
	}
	return !isSlot(pod) || ignoresGate || pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive
}

// seen tells the process of a pod how its pod is now.
func (c *consumers) seen(ctx context.Context, pod *corev1.Pod) {
	c.mu.Lock()
	w := c.pods[pod.UID]
	if w == nil {
		w = &worker{pod: pod.Name, uid: pod.UID, slot: isSlot(pod), perSec: perSecond(pod), wake: make(chan struct{})}
		c.pods[pod.UID] = w
		c.busy.Go(func() { c.work(ctx, w) })
	}
	c.mu.Unlock()
	if pod.DeletionTimestamp != nil {
		w.terminate()
		return
	}
	open := inService(pod, c.forceGateOpen)
	if !w.slot {
		w.set(open)
		return
	}
	time.AfterFunc(kubeletDelay, func() { w.set(open) })
}

// ended tells that a pod is gone.
func (c *consumers) ended(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.pods[pod.UID]; w != nil {
		w.finish()
		delete(c.pods, pod.UID)
	}
}

// wait returns when every process has finished its message, after the context of seen has ended.
func (c *consumers) wait() { c.busy.Wait() }

// active is the number of pods that may take messages now, and what they can complete per second together.
func (c *consumers) active() (pods, perSecond int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.pods {
		if w.isOpen() {
			pods++
			perSecond += w.perSec
		}
	}
	return pods, perSecond
}

func (w *worker) set(open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending || w.open == open {
		return
	}
	w.open = open
	close(w.wake)
	w.wake = make(chan struct{})
}

// terminate is SIGTERM: nothing new is taken, whatever the gate says.
func (w *worker) terminate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending, w.open = true, false
}

func (w *worker) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone {
		w.ending, w.open, w.gone = true, false, true
		close(w.wake)
	}
}

func (w *worker) isOpen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// awaitOpen returns true when the gate is open, and false when the pod is gone.
func (w *worker) awaitOpen(ctx context.Context) bool {
	for {
		w.mu.Lock()
		open, gone, wake := w.open, w.gone, w.wake
		w.mu.Unlock()
		if open || gone {
			return open
		}
		select {
		case <-ctx.Done():
			return false
		case <-wake:
		}
	}
}

// work takes and completes messages for one pod until it is gone or ctx ends. What it has taken it finishes.
func (c *consumers) work(ctx context.Context, w *worker) {
	for w.awaitOpen(ctx) && ctx.Err() == nil {
		// A short wait, so that a gate that closes leaves no request behind to which a message would go.
		batch, err := c.source.Fetch(1, jetstream.FetchMaxWait(200*time.Millisecond))
		if err != nil {
			if pause(ctx, 200*time.Millisecond) != nil {
				return
			}
			continue
		}
		for msg := range batch.Messages() {
			if !w.isOpen() {
				_ = msg.Nak() // given back at once; if that is lost, the server delivers it again after ackWait
				continue
			}
			c.complete(w, msg)
		}
	}
}

func (c *consumers) complete(w *worker, msg jetstream.Msg) {
	began := time.Now()
	if began.Sub(w.free) < 50*time.Millisecond {
		began = w.free // fetching and acknowledging takes none of the time that the work takes
	}
	w.free = began.Add(time.Second / time.Duration(w.perSec))
	id, err := strconv.ParseInt(string(msg.Data()), 10, 64)
	if err != nil {
		return // not one of the demo's
	}
	meta, err := msg.Metadata()
	again := err == nil && meta.NumDelivered > 1
	c.accounts.took(take{id: id, pod: w.pod, slot: w.slot, at: time.Now()}, again)
	if w.slot {
		c.referee.judge(w.pod, w.uid, id)
	}
	time.Sleep(time.Until(w.free))
	ctx, cancel := context.WithTimeout(context.Background(), ackWait)
	defer cancel()
	if err := msg.DoubleAck(ctx); err == nil {
		c.accounts.finished(id)
	}
}
