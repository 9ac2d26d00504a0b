// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

func amqpURL() string { return "amqp://" + rabbit.AMQPAddress() }

func TestAMQPCredentials(t *testing.T) {
	startRabbitMQ(t)
	good, anonymous, token := rabbitQueue(amqpURL(), "jobs"), rabbitQueue(amqpURL(), "jobs"), rabbitQueue(amqpURL(), "jobs")
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
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2\n")
	if got := h.awaitDepth(scaler, 2); got.SharedBy != 1 {
		t.Errorf("shared by %d, want 1: the credentials are the same now", got.SharedBy)
	}
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
}

func TestAMQPOverTLS(t *testing.T) {
	startRabbitMQ(t)
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Hour))
	pair := must(tls.X509KeyPair(expired.Cert, expired.Key))
	late := hostile(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
	})
	secure := "amqps://" + rabbit.SecureAMQPAddress()
	for _, c := range []struct {
		name, url, serverName string
		ca                    []byte
		says                  string
	}{
		{"known CA", secure, "", rabbitCertificates.CA, ""},
		{"tls beside amqp", "amqp://" + rabbit.SecureAMQPAddress(), "localhost", rabbitCertificates.CA, ""},
		{"unknown CA", secure, "", foreign.CA, "serving a certificate of an unknown authority"},
		{"system's CAs", secure, "", nil, "serving a certificate of an unknown authority"},
		{"other name", secure, "queue.example", rabbitCertificates.CA, "serving a certificate for another name"},
		{"expired", "amqps://" + late, "", expired.CA, "serving a certificate that has expired"},
		{"none", "amqps://" + rabbit.AMQPAddress(), "", rabbitCertificates.CA, "not speaking TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			readOverTLS(t, c.url, c.serverName, c.ca, c.says)
		})
	}
}

func TestAMQPQueueMissingAndDenied(t *testing.T) {
	startRabbitMQ(t)
	h := rabbitHarness(t)
	closed, none, path := rabbitQueue(amqpURL(), "jobs"), rabbitQueue(amqpURL(), "jobs"), rabbitQueue(amqpURL()+"/chat", "jobs")
	closed.RabbitMQ.VHost, none.RabbitMQ.VHost = "closed", "none"
	h.Subscribe(scaler, one(rabbitQueue(amqpURL(), "soon")))
	h.Subscribe(subscriber(1), one(closed))
	h.Subscribe(subscriber(2), one(none))
	h.Subscribe(subscriber(3), one(path))
	h.Subscribe(other, one(rabbitQueue(amqpURL(), "jobs")))
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	says(t, got, `^amqp://127.0.0.1:\d+ without queue "soon" in virtual host "/".*Declare the queue`)
	if got.ServerWide {
		t.Error("a missing queue counts as a failure of the server")
	}
	says(t, h.awaitReason(subscriber(1), capacityv1alpha1.ReasonPermissionDenied), `^amqp://127.0.0.1:\d+/closed denying virtual host "closed" to the user`)
	says(t, h.awaitReason(subscriber(2), capacityv1alpha1.ReasonQueueMissing), `without virtual host "none"`)
	says(t, h.awaitReason(subscriber(3), capacityv1alpha1.ReasonAddressRefused), `the virtual host belongs into rabbitMQ.vhost`)
	h.awaitDepth(other, 2)
	manage(t, "PUT", "queues/%2F/soon", `{"durable":false}`) // a durable one is back when the server is killed soon after
	h.awaitDepth(scaler, 0)
	manage(t, "DELETE", "queues/%2F/soon", "")
	if got = h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing); got.Reading == nil {
		t.Error("the last reading is not kept")
	}
}

func TestAMQPServerStopsAndComesBack(t *testing.T) {
	startRabbitMQ(t)
	r := servers.StartRedis(t, servers.RedisOptions{})
	h := rabbitHarness(t)
	h.Subscribe(scaler, one(rabbitQueue(amqpURL(), "jobs")))
	h.Subscribe(other, one(listQueue(r.URL(), "jobs")))
	h.awaitDepth(scaler, 2)
	rabbit.Stop()
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
	h.await("refused for more than a second", func() bool {
		got = h.sample(scaler)
		return regexp.MustCompile(`refused for [1-9][0-9]* s`).MatchString(got.Message)
	}, func() any { return got })
	says(t, got, `^amqp://127.0.0.1:\d+ refused for \d+ s; last reading \d\d:\d\d:\d\dZ\. Check that the server runs`)
	if !got.ServerWide || got.Reading == nil {
		t.Errorf("%+v, want a failure of the server, and the last reading kept", got)
	}
	h.awaitDepth(other, 0)
	if err := rabbit.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 2)
}

func TestThousandQueuesAreOneAMQPConnection(t *testing.T) {
	startRabbitMQ(t)
	client := must(amqp.Dial(rabbit.AMQP()))
	t.Cleanup(func() { _ = client.Close() })
	ch := must(client.Channel())
	for i := range manyQueues {
		must(ch.QueueDeclare(fmt.Sprint("amqp-", i), false, false, false, false, nil))
		for range i % 3 {
			if err := ch.PublishWithContext(t.Context(), "", fmt.Sprint("amqp-", i), false, false, amqp.Publishing{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		for i := range manyQueues {
			_, _ = ch.QueueDelete(fmt.Sprint("amqp-", i), false, false, false)
		}
	})
	h := rabbitHarness(t)
	for i := range manyQueues {
		h.Subscribe(subscriber(i), one(rabbitQueue(amqpURL(), fmt.Sprint("amqp-", i))))
	}
	for i := range manyQueues {
		h.awaitDepth(subscriber(i), int64(i%3))
	}
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections != 1 || stats[0].Subscribers != manyQueues || !stats[0].Up {
		t.Errorf("servers: %+v, want one with one connection", stats)
	}
}

// amqpFrame is a method of a server.
func amqpFrame(channel uint16, payload string) []byte {
	frame := binary.BigEndian.AppendUint16([]byte{1}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	return append(append(frame, payload...), 0xCE)
}

// greetAMQP lets a client in, and opens its channels; each declare is answered with what reply makes of its channel and queue.
func greetAMQP(reply func(channel uint16, name string) []byte, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		var mu sync.Mutex
		say := func(frame []byte) error {
			mu.Lock()
			defer mu.Unlock()
			_, err := conn.Write(frame)
			return err
		}
		if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
			return
		}
		_ = say(amqpFrame(0, "\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US"))
		for {
			head := make([]byte, 7)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
			if _, err := io.ReadFull(conn, payload); err != nil {
				return
			}
			channel := binary.BigEndian.Uint16(head[1:])
			switch {
			case head[0] != 1:
			case strings.HasPrefix(string(payload), "\x00\x0a\x00\x0b"):
				_ = say(amqpFrame(0, "\x00\x0a\x00\x1e\x07\xff\x00\x00\x10\x00\x00\x00"))
			case strings.HasPrefix(string(payload), "\x00\x0a\x00\x28"):
				_ = say(amqpFrame(0, "\x00\x0a\x00\x29\x00"))
			case strings.HasPrefix(string(payload), "\x00\x14\x00\x0a"):
				_ = say(amqpFrame(channel, "\x00\x14\x00\x0b\x00\x00\x00\x00"))
			case strings.HasPrefix(string(payload), "\x00\x32\x00\x0a"):
				frame := reply(channel, string(payload[7:7+payload[6]]))
				for err := say(frame); err == nil && endless; {
					err = say(frame)
				}
			}
		}
	}
}

// declared answers that a queue has so many messages.
func declared(channel uint16, name string, messages byte) []byte {
	return amqpFrame(channel, "\x00\x32\x00\x0b"+string(rune(len(name)))+name+"\x00\x00\x00"+string(rune(messages))+"\x00\x00\x00\x00")
}

func TestHostileAMQP(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	const invalid, timeout, unavailable = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout, capacityv1alpha1.ReasonQueueUnavailable
	always := func(text string) func(uint16, string) []byte {
		return func(uint16, string) []byte { return []byte(text) }
	}
	method := func(text string) func(uint16, string) []byte {
		return func(channel uint16, _ string) []byte { return amqpFrame(channel, text) }
	}
	noise := strings.Repeat("\x00\xff\x17garbage\n", 100)
	start := func(table string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Write(amqpFrame(0, "\x00\x0a\x00\x0a\x00\x09"+table))
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"silent after login", greetAMQP(always(""), false), timeout},
		{"garbage", func(conn net.Conn) { _, _ = io.WriteString(conn, noise) }, invalid},
		{"HTTP", func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }, invalid},
		{"another version", func(conn net.Conn) { _, _ = io.WriteString(conn, "AMQP\x00\x01\x00\x00") }, invalid},
		{"closes", func(net.Conn) {}, unavailable},
		{"closes at the login", func(conn net.Conn) { _, _ = io.WriteString(conn, "\x01\x00\x00\x00") }, unavailable},
		{"huge properties", start("\x7f\xff\xff\xff"), timeout},
		{"malformed properties", start("\x00\x00\x00\x06\x04name?x\x00\x00\x00\x00\x00\x00\x00\x00"), invalid},
		{"garbage reply", greetAMQP(always(noise), false), invalid},
		{"huge frame", greetAMQP(always("\x01\x00\x01\x7f\xff\xff\xff"), false), invalid},
		{"a message", greetAMQP(method("\x00\x3c\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), false), invalid},
		{"another queue's length", greetAMQP(func(channel uint16, _ string) []byte { return declared(channel, "garbage", 1) }, false), invalid},
		{"another answer", greetAMQP(method("\x00\x14\x00\x0b\x00\x00\x00\x00"), false), invalid},
		{"notices without end", greetAMQP(func(uint16, string) []byte { return amqpFrame(0, "\x00\x0a\x00\x3c\x07garbage") }, true), invalid},
		{"answers without end", greetAMQP(func(_ uint16, name string) []byte { return declared(99, name, 1) }, true), invalid},
		{"heartbeats without end", greetAMQP(always("\x08\x00\x00\x00\x00\x00\x00\xce"), true), invalid},
		{"an error of the connection", greetAMQP(func(uint16, string) []byte {
			return amqpFrame(0, "\x00\x0a\x00\x32\x02\x1dgarbage"[:6]+"\x07garbage\x00\x00\x00\x00")
		}, false), unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			rabbitHarness(t).withstands(good, rabbitQueue("amqp://"+hostile(t, c.serve), "jobs"), c.reason, "HTTP")
		})
	}
}

// A queue that is not answered, as when its node is overloaded, neither fails the others on that server nor delays them.
func TestSilentAMQPQueueDelaysNoOther(t *testing.T) {
	address := hostile(t, greetAMQP(func(channel uint16, name string) []byte {
		if name == "dead" {
			return nil
		}
		return declared(channel, name, 2)
	}, false))
	h := rabbitHarness(t)
	dead := subscriber(1)
	h.Subscribe(dead, one(rabbitQueue("amqp://"+address, "dead")))
	h.Subscribe(scaler, one(rabbitQueue("amqp://"+address, "good")))
	h.awaitDepth(scaler, 2)
	got := h.awaitReason(dead, capacityv1alpha1.ReasonQueueTimeout)
	says(t, got, `silent about queue "dead"`)
	if got.ServerWide {
		t.Error("a silent queue counts as a silent server")
	}
	h.readEverySecond(scaler)
	if s := h.sample(scaler); s.Quality != queue.Fresh {
		t.Errorf("the other: %+v", s)
	}
}
