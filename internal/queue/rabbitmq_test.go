// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

var (
	// rabbit is shared by the tests of this package: it takes seconds to start. It has the vhost / with the queue jobs, with 2 messages,
	// and the user reader, who may read that vhost.
	rabbit *servers.RabbitMQ
	// rabbitCertificates are those of its management API.
	rabbitCertificates *servers.Certificates
)

// startRabbitMQ starts the shared server for the first test that needs it.
func startRabbitMQ(t *testing.T) {
	t.Helper()
	if rabbit != nil {
		return
	}
	rabbitCertificates = servers.NewCertificates(t, time.Now().Add(time.Hour))
	rabbit = must(servers.NewRabbitMQ(servers.RabbitMQOptions{Certificates: rabbitCertificates}))
	if err := rabbit.Start(); err != nil {
		t.Fatal(err)
	}
	for _, request := range [][3]string{
		{"PUT", "queues/%2F/jobs", `{"durable":true}`},
		{"POST", "exchanges/%2F/amq.default/publish", `{"properties":{"delivery_mode":2},"routing_key":"jobs","payload":"m","payload_encoding":"string"}`},
		{"POST", "exchanges/%2F/amq.default/publish", `{"properties":{"delivery_mode":2},"routing_key":"jobs","payload":"m","payload_encoding":"string"}`},
		{"PUT", "users/reader", `{"password":"hunter2","tags":"management"}`},
		{"PUT", "users/untagged", `{"password":"hunter2","tags":""}`},
		{"PUT", "permissions/%2F/reader", `{"configure":"^$","write":"^$","read":"^$"}`},
		{"PUT", "vhosts/closed", ""},
	} {
		manage(t, request[0], request[1], request[2])
	}
}

func closeRabbitMQ() {
	if rabbit != nil {
		rabbit.Close()
	}
}

func manage(t *testing.T, method, path, body string) {
	t.Helper()
	if err := rabbit.Manage(method, path, body); err != nil {
		t.Fatal(err)
	}
}

// rabbitHarness is a harness whose Secret has the reader's credentials.
func rabbitHarness(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
	h.setSecret("shop/creds", "username", "reader", "password", "hunter2")
	return h
}

func TestRabbitMQCredentials(t *testing.T) {
	startRabbitMQ(t)
	good, anonymous, token := rabbitQueue(rabbit.URL(), "jobs"), rabbitQueue(rabbit.URL(), "jobs"), rabbitQueue(rabbit.URL(), "jobs")
	anonymous.RabbitMQ.Auth, token.RabbitMQ.Auth = capacityv1alpha1.Auth{}, authBy("token")
	h := rabbitHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "wrong")
	h.setSecret("chat/token", "token", "hunter2")
	h.Subscribe(scaler, one(good))
	h.Subscribe(other, one(good))
	h.Subscribe(subscriber(1), one(anonymous))
	h.Subscribe(subscriber(2), one(token))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `rejecting the credentials.*; no reading yet\. Correct Secret chat/creds; it is read again by itself`)
	says(t, h.awaitReason(subscriber(1), capacityv1alpha1.ReasonAuthenticationFailed), `asking for credentials.*Name a Secret`)
	says(t, h.awaitReason(subscriber(2), capacityv1alpha1.ReasonSecretInvalid), `in need of a username and a password`)
	h.awaitDepth(other, 2)
	h.setSecret("chat/creds", "username", "untagged", "password", "hunter2")
	h.await("a refusal of the other user", func() bool { return h.secretGets("chat/creds") > 2 }, func() any { return h.sample(scaler) })
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `their user, which needs the tag management`)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2\n")
	if got := h.awaitDepth(scaler, 2); got.SharedBy != 1 {
		t.Errorf("shared by %d, want 1: the credentials are the same now", got.SharedBy)
	}
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
}

// readOverTLS reads queue jobs, or fails with these words. ca is nil for the system's.
func readOverTLS(t *testing.T, url, serverName string, ca []byte, words string) {
	t.Helper()
	h := rabbitHarness(t)
	q := rabbitQueue(url, "jobs")
	q.RabbitMQ.TLS = &capacityv1alpha1.TLS{ServerName: serverName}
	if ca != nil {
		h.setSecret("chat/ca", "ca.crt", string(ca))
		q.RabbitMQ.TLS.SecretRef.Name = "ca"
	}
	h.Subscribe(scaler, one(q))
	if words == "" {
		h.awaitDepth(scaler, 2)
		return
	}
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonTLSFailed), words)
}

func TestRabbitMQOverTLS(t *testing.T) {
	startRabbitMQ(t)
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	for _, c := range []struct {
		name, serverName string
		ca               []byte
		says             string
	}{
		{"known CA", "", rabbitCertificates.CA, ""},
		{"server name", "localhost", rabbitCertificates.CA, ""},
		{"unknown CA", "", foreign.CA, "serving a certificate of an unknown authority"},
		{"system's CAs", "", nil, "serving a certificate of an unknown authority"},
		{"other name", "queue.example", rabbitCertificates.CA, "serving a certificate for another name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			readOverTLS(t, rabbit.SecureURL(), c.serverName, c.ca, c.says)
		})
	}
}

func TestRabbitMQQueueMissingAndDenied(t *testing.T) {
	startRabbitMQ(t)
	h := rabbitHarness(t)
	closed := rabbitQueue(rabbit.URL(), "jobs")
	closed.RabbitMQ.VHost = "closed"
	h.Subscribe(scaler, one(rabbitQueue(rabbit.URL(), "late")))
	h.Subscribe(subscriber(1), one(closed))
	h.Subscribe(other, one(rabbitQueue(rabbit.URL(), "jobs")))
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	says(t, got, `^http://127.0.0.1:\d+ without queue "late" in virtual host "/".*Declare the queue`)
	if got.ServerWide {
		t.Error("a missing queue counts as a failure of the server")
	}
	says(t, h.awaitReason(subscriber(1), capacityv1alpha1.ReasonPermissionDenied), `denying virtual host "closed" to the user.*rabbitmqctl set_permissions`)
	h.awaitDepth(other, 2)
	manage(t, "PUT", "queues/%2F/late", `{"durable":true}`)
	h.awaitDepth(scaler, 0)
	manage(t, "DELETE", "queues/%2F/late", "")
	got = h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	if got.Reading == nil {
		t.Error("the last reading is not kept")
	}
}

func TestRabbitMQStopsAndComesBack(t *testing.T) {
	startRabbitMQ(t)
	r := servers.StartRedis(t, servers.RedisOptions{})
	h := rabbitHarness(t)
	h.Subscribe(scaler, one(rabbitQueue(rabbit.URL(), "jobs")))
	h.Subscribe(other, one(listQueue(r.URL(), "jobs")))
	h.awaitDepth(scaler, 2)
	rabbit.Stop()
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
	h.await("refused for more than a second", func() bool {
		got = h.sample(scaler)
		return regexp.MustCompile(`refused for [1-9][0-9]* s`).MatchString(got.Message)
	}, func() any { return got })
	says(t, got, `^http://127.0.0.1:\d+ refused for \d+ s; last reading \d\d:\d\d:\d\dZ\. Check that the server runs`)
	if !got.ServerWide || got.Reading == nil {
		t.Errorf("%+v, want a failure of the server, and the last reading kept", got)
	}
	h.awaitDepth(other, 0)
	if err := rabbit.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 2)
}

// What a server kept over a restart it calls delivered again, though nobody ever had it. That nothing was in vain shows in the deliveries.
func TestRabbitMQKeepsMessagesOverARestart(t *testing.T) {
	startRabbitMQ(t)
	manage(t, "PUT", "queues/%2F/kept", `{"durable":true}`)
	for range 3 {
		manage(t, "POST", "exchanges/%2F/amq.default/publish", `{"properties":{"delivery_mode":2},"routing_key":"kept","payload":"m","payload_encoding":"string"}`)
	}
	// A queue's declaration is written to the disk some seconds later; a server that is killed before forgets the queue.
	if err := rabbit.Control("rabbitmqctl", "eval", "ok = disk_log:sync(latest_log)."); err != nil {
		t.Fatal(err)
	}
	rabbit.Stop()
	if err := rabbit.Start(); err != nil {
		t.Fatal(err)
	}
	h := rabbitHarness(t)
	h.Subscribe(scaler, one(rabbitQueue(rabbit.URL(), "kept")))
	h.awaitDepth(scaler, 3)
	manage(t, "POST", "queues/%2F/kept/get", `{"count":3,"ackmode":"ack_requeue_false","encoding":"auto"}`)
	var got queue.Sample
	h.await("three deliveries that completed something", func() bool {
		got = h.sample(scaler)
		r := got.Reading
		return r != nil && r.Depth == 0 && r.DeliveredTotal != nil && *r.DeliveredTotal == 3 && r.CompletedTotal != nil && *r.CompletedTotal == 3 &&
			r.RedeliveredTotal != nil && *r.RedeliveredTotal == 3
	}, func() any { return got.Reading })
}

// greetRabbitMQ answers the login, then what is asked for with reply, again and again if endless.
func greetRabbitMQ(reply string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if request.URL.Path == "/api/whoami" {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"name\":\"reader\"}")
				continue
			}
			for _, err := io.WriteString(conn, reply); err == nil && endless; {
				_, err = io.WriteString(conn, reply)
			}
		}
	}
}

func TestHostileRabbitMQ(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	const invalid, timeout, unavailable = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout, capacityv1alpha1.ReasonQueueUnavailable
	body := func(text string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat("[", 1<<16))
	endless := func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for err == nil {
			_, err = io.WriteString(conn, chunk)
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"silent after login", greetRabbitMQ("", false), timeout},
		{"garbage", greetRabbitMQ("\x00\xffgarbage\r\n", true), invalid},
		{"no JSON", greetRabbitMQ(body("garbage"), false), invalid},
		{"another reply", greetRabbitMQ(body(`{"garbage":[]}`), false), invalid},
		{"nested without end", endless, invalid},
		{"a redirect", greetRabbitMQ("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/garbage\r\nContent-Length: 0\r\n\r\n", false), unavailable},
		{"an error", greetRabbitMQ("HTTP/1.1 500 garbage\r\nContent-Length: 7\r\n\r\ngarbage", false), unavailable},
		{"closes", func(net.Conn) {}, unavailable},
		{"another web server", func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, body("<html>garbage</html>"))
		}, invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			q := rabbitQueue("http://"+hostile(t, c.serve), "jobs")
			q.RabbitMQ.Auth = capacityv1alpha1.Auth{}
			h.withstands(good, q, c.reason)
		})
	}
}
