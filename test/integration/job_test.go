//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestBacklogLendsAndScalesInOneStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.settled(deployment(2, readyAfter("8s")), w.scaler(pool(3, capacityv1alpha1.GateFile)))
	pool := w.slots(capacityv1alpha1.RoleStandby)

	mark := shared.audit.mark(t)
	w.push(100)
	w.awaitLent(3)
	if lent := w.slots(capacityv1alpha1.RoleActive); !slices.Equal(lent, pool) {
		t.Errorf("lent are %v, warm were %v", lent, pool)
	}
	if available := w.target().Status.AvailableReplicas; available > 2 {
		t.Errorf("%d pods of the target were available before the slots were lent", available)
	}
	w.awaitReplicas(10)
	w.awaitSummary(capacityv1alpha1.SummaryLending)
	if finalizers := w.qs().Finalizers; !slices.Equal(finalizers, []string{capacityv1alpha1.Finalizer}) {
		t.Errorf("finalizers while slots are lent: %v", finalizers)
	}
	w.awaitEvent(corev1.EventTypeNormal, capacityv1alpha1.ReasonSlotsLent, "3 slots of revision 1 in service", "backlog 100")
	w.awaitEvent(corev1.EventTypeNormal, capacityv1alpha1.ReasonSucceededRescale, "2 → 10")
	checkColumns(w)

	w.awaitAvailable(10)
	w.awaitLent(0)
	w.awaitSettled(10, 3)
	if writes := operatorWrites(t, w.namespace, mark, auditEvent.scales); len(writes) != 1 {
		t.Errorf("the full number is one write, there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
	for _, name := range w.slots("") {
		if slices.Contains(pool, name) {
			t.Errorf("slot pod %s worked, and is in the pool again", name)
		}
	}
	w.await("no finalizer while nothing is lent", func() (bool, string) {
		return len(w.qs().Finalizers) == 0, fmt.Sprint(w.qs().Finalizers)
	})
	// All three at once, or one after the other as the pods came.
	w.awaitEvent(corev1.EventTypeNormal, capacityv1alpha1.ReasonSlotsReturned, "returned: 10 replicas: backlog 100")
}

// checkColumns compares what `kubectl get qs` prints while slots are lent.
func checkColumns(w *world) {
	w.Helper()
	lines := strings.Split(strings.TrimSpace(w.kubectl("get", "qs")), "\n")
	want := []string{"NAME", "STATUS", "BACKLOG", "DRAIN", "DESIRED", "AVAILABLE", "LENT", "WARM", "ADVICE", "AGE"}
	if got := strings.Fields(lines[0]); !slices.Equal(got, want) {
		w.Errorf("columns are %v, want %v", got, want)
	}
	if len(lines) != 2 {
		w.Fatalf("kubectl get qs printed %d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	at := func(column string) string {
		begin := strings.Index(lines[0], column)
		return strings.Fields(lines[1][begin:])[0]
	}
	for column, value := range map[string]string{"NAME": app, "STATUS": "Lending", "BACKLOG": "100", "DESIRED": "10", "LENT": "3", "WARM": "0"} {
		if got := at(column); got != value {
			w.Errorf("column %s is %q, want %q:\n%s", column, got, value, strings.Join(lines, "\n"))
		}
	}
}

// jetStream makes a stream with a durable consumer on a server of the test's own.
func jetStream(t *testing.T, server *servers.NATS, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(server.URL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs"}}); err != nil {
		t.Fatal(err)
	}
	return js
}

func addConsumer(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	_, err := js.CreateConsumer(t.Context(), "JOBS", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	for range n {
		if _, err := js.Publish(t.Context(), "jobs", []byte("job")); err != nil {
			t.Fatal(err)
		}
	}
}

func fromJetStream(server *servers.NATS) func(*capacityv1alpha1.QueueScalerSpec) {
	return func(s *capacityv1alpha1.QueueScalerSpec) {
		s.Queues = []capacityv1alpha1.Queue{{Name: "jobs", QueueSource: capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{Server: capacityv1alpha1.Server{URL: server.URL()}, Stream: "JOBS", Consumer: "workers"}}}}
	}
}

func TestServiceSeesLentSlotsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := servers.StartNATS(t, servers.NATSOptions{})
	js := jetStream(t, server)
	addConsumer(t, js)
	w.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}},
	})
	seen := w.watchEndpoints()
	w.settled(deployment(2, readyAfter("5s")), w.scaler(pool(2, capacityv1alpha1.GateService), fromJetStream(server)))
	pool := w.slots(capacityv1alpha1.RoleStandby)
	w.await("the target's own endpoints", func() (bool, string) { return len(w.endpoints()) == 2, fmt.Sprint(w.endpoints()) })

	publish(t, js, 80)
	w.awaitLent(2)
	w.await("the lent slots' endpoints", func() (bool, string) {
		now := w.endpoints()
		return slices.Contains(now, pool[0]) && slices.Contains(now, pool[1]), fmt.Sprint(now)
	})
	w.awaitReplicas(8)
	w.awaitAvailable(8)
	w.awaitLent(0)
	w.awaitSettled(8, 2)
	w.await("the target's own endpoints alone", func() (bool, string) {
		now := w.endpoints()
		return len(now) == 8 && !slices.ContainsFunc(now, func(name string) bool { return slices.Contains(w.slots(""), name) }), fmt.Sprint(now)
	})
	for _, complaint := range seen() {
		t.Error(complaint)
	}
}

// endpoints are the pods that the Service's EndpointSlices hold as ready.
func (w *world) endpoints() []string {
	w.Helper()
	var list discoveryv1.EndpointSliceList
	if err := w.client.List(w.Context(), &list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, podsOf(&list.Items[i])...)
	}
	return names
}

func podsOf(slice *discoveryv1.EndpointSlice) []string {
	var names []string
	for _, e := range slice.Endpoints {
		if e.TargetRef != nil && ptr.Deref(e.Conditions.Ready, true) {
			names = append(names, e.TargetRef.Name)
		}
	}
	return names
}

// watchEndpoints watches all EndpointSlices of the namespace for pods that were never lent. A slot's role only ever goes
// from standby to active to draining, so a pod that is in a slice and read as standby afterwards was in it while it was idle.
func (w *world) watchEndpoints() (complaints func() []string) {
	w.Helper()
	watcher, err := w.client.Watch(w.Context(), &discoveryv1.EndpointSliceList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(watcher.Stop)
	var mu sync.Mutex
	var found []string
	events, checked := 0, 0
	go func() {
		for e := range watcher.ResultChan() {
			slice, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				continue
			}
			for _, name := range podsOf(slice) {
				role, err := w.roleOf(name)
				mu.Lock()
				checked++
				if err == nil && role == capacityv1alpha1.RoleStandby {
					found = append(found, fmt.Sprintf("pod %s is idle, and in EndpointSlice %s", name, slice.Name))
				}
				mu.Unlock()
			}
			mu.Lock()
			events++
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		if events == 0 || checked == 0 {
			return []string{"no EndpointSlice was seen"}
		}
		return found
	}
}

func (w *world) roleOf(name string) (string, error) {
	var pod corev1.Pod
	err := w.client.Get(context.WithoutCancel(w.Context()), client.ObjectKey{Namespace: w.namespace, Name: name}, &pod)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	return pod.Labels[capacityv1alpha1.LabelRole], err
}
