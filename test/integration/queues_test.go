//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/operator"
	"github.com/queuescaler/queuescaler/test/servers"
)

// What goes wrong with a queue must never look like an empty queue: in each test here 6 replicas are in service, the least is
// 2, nothing delays a scale-down, and none happens.

// unread waits until both conditions tell of the failure, and checks that nothing was scaled since mark.
func (w *world) unread(mark int64, reason string, words ...string) {
	w.Helper()
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionFalse, reason, words...)
	w.awaitCondition(capacityv1alpha1.ConditionScalingActive, metav1.ConditionFalse, reason, append(words, "queue jobs:", ". 6 replicas kept: without fresh readings nothing scales down.")...)
	w.awaitSummary(capacityv1alpha1.SummaryNoData)
	w.awaitLooked()
	noScaleWrites(w, w.namespace, mark)
	qs := w.qs()
	if n := *w.target().Spec.Replicas; n != 6 {
		w.Errorf("%d replicas, want 6 as before", n)
	}
	if qs.Status.Backlog != nil {
		w.Errorf("what is not known is blank, status has %+v", qs.Status.Backlog)
	}
	if d := qs.Status.Diagnosis; d == nil || d.Cause != capacityv1alpha1.CauseDataUnavailable || d.Advice != capacityv1alpha1.AdviceCheckQueue {
		w.Errorf("diagnosis is %+v", d)
	}
	w.awaitEvent(corev1.EventTypeWarning, reason, "queue jobs:")
}

// recovered waits until the queue is read again, and decided upon.
func (w *world) recovered() {
	w.Helper()
	w.awaitCondition(capacityv1alpha1.ConditionScalingActive, metav1.ConditionTrue, capacityv1alpha1.ReasonReadingsFresh)
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonReady)
}

// fromRedis reads the test's key on another server than the shared one.
func fromRedis(url, secret string) func(*capacityv1alpha1.QueueScalerSpec) {
	return func(s *capacityv1alpha1.QueueScalerSpec) {
		s.Queues[0].Redis.URL = url
		if secret != "" {
			s.Queues[0].Redis.Auth.SecretRef.Name = secret
		}
	}
}

// on makes the test's queue live on another server.
func (w *world) on(server *servers.Redis, password string) {
	w.redis = goredis.NewClient(&goredis.Options{Addr: server.Address(), Password: password})
	w.Cleanup(func() { _ = w.redis.Close() })
}

func TestQueueServerDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := servers.StartRedis(t, servers.RedisOptions{})
	w.on(server, "")
	w.push(60)
	w.settled(deployment(6), w.scaler(shrinksAtOnce, fromRedis(server.URL(), "")))
	mark := shared.audit.mark(t)
	server.Stop()
	w.unread(mark, capacityv1alpha1.ReasonQueueUnavailable, "redis://"+server.Address(), "refused", "last reading")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	w.recovered()
	w.push(100)
	w.awaitReplicas(10)
}

func TestQueueServerSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := openDoor(t, shared.redis.Address())
	w.push(60)
	w.settled(deployment(6), w.scaler(shrinksAtOnce, fromRedis(d.url(), "")))
	mark := shared.audit.mark(t)
	d.set(silent)
	w.unread(mark, capacityv1alpha1.ReasonQueueTimeout, d.url(), "silent")
	d.set(pass)
	w.recovered()
	w.push(40)
	w.awaitReplicas(10)
}

func TestQueueServerRepliesGarbage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := openDoor(t, shared.redis.Address())
	w.push(60)
	w.settled(deployment(6), w.scaler(shrinksAtOnce, fromRedis(d.url(), "")))
	mark := shared.audit.mark(t)
	d.set(garbage)
	w.unread(mark, capacityv1alpha1.ReasonQueueReplyInvalid, d.url(), "what is no reply")
	for _, c := range w.qs().Status.Conditions {
		if strings.Contains(c.Message, garbageReply[:10]) {
			t.Errorf("a message repeats what the server sent: %s", c.Message)
		}
	}
	d.set(pass)
	w.recovered()
	w.push(40)
	w.awaitReplicas(10)
}

func TestQueueOfAnotherKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(60)
	w.settled(deployment(6), w.scaler(shrinksAtOnce))
	mark := shared.audit.mark(t)
	if err := w.redis.Set(t.Context(), w.key, "no list", 0).Err(); err != nil {
		t.Fatal(err)
	}
	w.unread(mark, capacityv1alpha1.ReasonQueueMissing, w.key)
	w.drain()
	w.push(100)
	w.recovered()
	w.awaitReplicas(10)
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const right, wrong = "right-Zw7pQ", "wrong-Kx2vB"
	server := servers.StartRedis(t, servers.RedisOptions{Password: right})
	w.on(server, right)
	w.push(100)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "redis"}, StringData: map[string]string{"password": wrong}}
	w.create(secret)
	w.create(deployment(6))
	mark := shared.audit.mark(t)
	w.create(w.scaler(shrinksAtOnce, fromRedis(server.URL(), "redis")))
	w.unread(mark, capacityv1alpha1.ReasonAuthenticationFailed, "redis")
	w.tellsNoSecret(right, wrong)

	secret.StringData = map[string]string{"password": right}
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.recovered()
	w.awaitReplicas(10)
	w.tellsNoSecret(right, wrong)
}

func TestSecretMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := servers.StartRedis(t, servers.RedisOptions{Password: "pass-R3t8"})
	w.on(server, "pass-R3t8")
	w.push(100)
	w.create(deployment(6))
	mark := shared.audit.mark(t)
	w.create(w.scaler(shrinksAtOnce, fromRedis(server.URL(), "redis")))
	w.unread(mark, capacityv1alpha1.ReasonSecretMissing, "redis")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "redis"}, StringData: map[string]string{"password": "pass-R3t8"}})
	w.recovered()
	w.awaitReplicas(10)
}

// A Secret of another namespace cannot even be written down; and one of the same name elsewhere is not found.
func TestSecretOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	server := servers.StartRedis(t, servers.RedisOptions{Password: "pass-Ty61"})
	other.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "redis"}, StringData: map[string]string{"password": "pass-Ty61"}})
	err := w.client.Create(t.Context(), w.scaler(fromRedis(server.URL(), other.namespace+"/redis")))
	if err == nil || !strings.Contains(err.Error(), "Secrets of other namespaces cannot be used") {
		t.Errorf("a Secret of another namespace is answered with %v", err)
	}
	w.create(deployment(6))
	mark := shared.audit.mark(t)
	w.create(w.scaler(shrinksAtOnce, fromRedis(server.URL(), "redis")))
	w.unread(mark, capacityv1alpha1.ReasonSecretMissing, "redis")
}

func TestConsumerMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := servers.StartNATS(t, servers.NATSOptions{})
	js := jetStream(t, server)
	publish(t, js, 100)
	w.create(deployment(6))
	mark := shared.audit.mark(t)
	w.create(w.scaler(shrinksAtOnce, fromJetStream(server)))
	w.unread(mark, capacityv1alpha1.ReasonQueueMissing, "workers", "JOBS")
	addConsumer(t, js)
	w.recovered()
	w.awaitReplicas(10)
}

// door is a port that leads to a server, or to one that misbehaves.
type door struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	mode  doorMode
	conns map[net.Conn]bool
}

type doorMode int

const (
	pass doorMode = iota
	silent
	garbage
)

const garbageReply = "]]>not a reply<[[\r\n"

func openDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{listener: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		d.set(silent)
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(conn)
		}
	}()
	return d
}

func (d *door) url() string { return fmt.Sprintf("redis://%s/0", d.listener.Addr()) }

// set changes what is behind the door. Who is inside is thrown out.
func (d *door) set(mode doorMode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode = mode
	for conn := range d.conns {
		_ = conn.Close()
	}
	clear(d.conns)
}

func (d *door) enter(conn net.Conn) doorMode {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns[conn] = true
	return d.mode
}

func (d *door) serve(conn net.Conn) {
	defer conn.Close()
	switch d.enter(conn) {
	case pass:
		dialer := net.Dialer{Timeout: 5 * time.Second}
		server, err := dialer.DialContext(context.Background(), "tcp", d.to)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			_, _ = io.Copy(server, conn)
			_ = server.Close()
		}()
		_, _ = io.Copy(conn, server)
	case silent:
		_, _ = io.Copy(io.Discard, conn)
	case garbage:
		buffer := make([]byte, 4096)
		for {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
			if _, err := io.WriteString(conn, garbageReply); err != nil {
				return
			}
		}
	}
}

// A QueueServer lends its address and its Secret, which is the operator's, to the namespaces that it allows; what becomes of it is noticed.
func TestQueueServer(t *testing.T) {
	t.Parallel()
	w, elsewhere := newWorld(t), newWorld(t)
	server := servers.StartRedis(t, servers.RedisOptions{Password: "hunter2"})
	w.on(server, "hunter2")
	w.push(60)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: w.namespace, Namespace: operator.Namespace}, StringData: map[string]string{"password": "hunter2"}}
	if err := w.client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Delete(context.Background(), secret) })
	offer := func() *capacityv1alpha1.QueueServer {
		s := &capacityv1alpha1.QueueServer{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Spec: capacityv1alpha1.QueueServerSpec{
			Source: capacityv1alpha1.SourceRedis, URL: server.URL(), Auth: capacityv1alpha1.Auth{SecretRef: capacityv1alpha1.SecretReference{Name: w.namespace}}, AllowedNamespaces: []string{w.namespace}}}
		if err := w.client.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	byServer := func(s *capacityv1alpha1.QueueScalerSpec) {
		s.Queues[0].Redis.Server = capacityv1alpha1.Server{ServerRef: capacityv1alpha1.ServerReference{Name: w.namespace}}
	}
	offered := offer()
	w.settled(deployment(6), w.scaler(shrinksAtOnce, byServer))
	w.push(20)
	w.awaitReplicas(8)

	elsewhere.create(deployment(2))
	elsewhere.create(elsewhere.scaler(byServer))
	denied := "QueueServer " + w.namespace + " closed to namespace " + elsewhere.namespace
	elsewhere.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionFalse, capacityv1alpha1.ReasonQueueServerDenied, denied, "allowedNamespaces")

	if err := w.client.Delete(t.Context(), offered); err != nil {
		t.Fatal(err)
	}
	w.awaitCondition(capacityv1alpha1.ConditionReady, metav1.ConditionFalse, capacityv1alpha1.ReasonQueueServerMissing, "QueueServer "+w.namespace+" missing", "8 replicas kept")
	offered = offer()
	t.Cleanup(func() { _ = w.client.Delete(context.Background(), offered) })
	w.recovered()
	w.push(20)
	w.awaitReplicas(10)
}
