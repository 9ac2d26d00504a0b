// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/servers"
)

// hostile listens, and serves each connection with serve.
func hostile(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	var wait sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]struct{}{}
	wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = struct{}{}
			mu.Unlock()
			wait.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		wait.Wait()
	})
	return listener.Addr().String()
}

// greetRedis answers the library's login, and PING; then it answers the first other command with reply, again and again if endless.
func greetRedis(reply string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch word := strings.ToUpper(strings.TrimSpace(line)); {
			case word == "HELLO":
				_, _ = io.WriteString(conn, "-ERR unknown command\r\n")
			case word == "PING":
				_, _ = io.WriteString(conn, "+PONG\r\n")
			case word == "LLEN":
				for _, err := io.WriteString(conn, reply); err == nil && endless; {
					_, err = io.WriteString(conn, reply)
				}
			}
		}
	}
}

// greetNATS answers the library's login, then the first request with reply, again and again if endless.
func greetNATS(reply string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, `INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}`+"\r\n")
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch {
			case strings.HasPrefix(line, "PING"):
				_, _ = io.WriteString(conn, "PONG\r\n")
			case strings.HasPrefix(line, "PUB"):
				text := strings.ReplaceAll(reply, "INBOX", strings.Fields(line)[2])
				for _, err := io.WriteString(conn, text); err == nil && endless; {
					_, err = io.WriteString(conn, text)
				}
			}
		}
	}
}

// hostileCase is a server that does what no queue server does, and what is to be said of it.
type hostileCase struct {
	name   string
	nats   bool
	serve  func(net.Conn)
	reason string
}

func hostileCases() []hostileCase {
	noise := strings.Repeat("\x00\xff\x17garbage\n", 100)
	long := strings.Repeat("x", 1<<16)
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	trickle := func(conn net.Conn) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := conn.Write([]byte("I")); err != nil {
				return
			}
		}
	}
	endless := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
			}
		}
	}
	const invalid, timeout = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout
	return []hostileCase{
		{"silent", false, silent, timeout},
		{"silent", true, silent, timeout},
		{"trickle", true, trickle, invalid},
		{"garbage", false, endless(noise), invalid},
		{"garbage", true, endless(noise), invalid},
		{"garbage reply", false, greetRedis(noise, false), invalid},
		{"garbage reply", true, greetNATS(noise, false), invalid},
		{"no number", false, greetRedis(":many\r\n", false), invalid},
		{"text instead of a number", false, greetRedis("$3\r\nabc\r\n", false), invalid},
		{"negative length", false, greetRedis(":-1\r\n", false), invalid},
		{"huge string", false, greetRedis("$9223372036854775806\r\n", false), invalid},
		{"large string", false, greetRedis("$1900000000\r\n", false), invalid},
		{"huge array", false, greetRedis("*2147483647\r\n", false), invalid},
		{"nested arrays", false, greetRedis("*1\r\n", true), invalid},
		{"endless line", false, greetRedis("+"+long, true), invalid},
		{"silent after login", false, greetRedis("", false), timeout},
		{"silent after login", true, greetNATS("", false), timeout},
		{"huge message", true, greetNATS("MSG INBOX 1 9223372036854775806\r\n", false), invalid},
		{"large message", true, greetNATS("MSG INBOX 1 1900000000\r\n", false), invalid},
		{"smuggled message", true, greetNATS("MSG INBOX 1 1\r\nx\nMSG INBOX 1 1900000000\r\n", false), invalid},
		{"endless pings", true, greetNATS("PING\r\n", true), invalid},
		{"endless line", true, greetNATS("-ERR '"+long, true), invalid},
		{"no JSON", true, greetNATS("MSG INBOX 1 3\r\n{{{\r\n", false), invalid},
		{"empty JSON", true, greetNATS("MSG INBOX 1 2\r\n{}\r\n", false), invalid},
		{"HTTP", true, func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }, invalid},
		{"closes", true, func(net.Conn) {}, capacityv1alpha1.ReasonQueueUnavailable},
		{"closes", false, func(net.Conn) {}, capacityv1alpha1.ReasonQueueUnavailable},
	}
}

func TestHostileServers(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	for _, c := range hostileCases() {
		kind := "redis "
		if c.nats {
			kind = "nats "
		}
		t.Run(kind+c.name, func(t *testing.T) {
			address := hostile(t, c.serve)
			q := listQueue("redis://"+address, "jobs")
			if c.nats {
				q = consumerQueue("nats://"+address, "JOBS", "workers")
			}
			newHarness(t).withstands(good, q, c.reason, "many", "abc", "HTTP/1.1")
		})
	}
}

// A consumer that gets no reply, as when its stream has no leader, neither fails the others on that server nor delays them.
func TestSilentConsumerDelaysNoOther(t *testing.T) {
	n := servers.StartNATS(t, servers.NATSOptions{WithoutJetStream: true})
	nc := must(nats.Connect(n.URL()))
	t.Cleanup(nc.Close)
	answers := map[string]string{
		"$JS.API.STREAM.INFO.GOOD":        `{"state":{"last_seq":7}}`,
		"$JS.API.CONSUMER.INFO.GOOD.good": `{"delivered":{"consumer_seq":5,"stream_seq":5},"num_ack_pending":1,"num_pending":2}`,
	}
	must(nc.Subscribe("$JS.API.>", func(m *nats.Msg) {
		if text, ok := answers[m.Subject]; ok {
			_ = m.Respond([]byte(text))
		}
	}))
	h := newHarness(t)
	dead := subscriber(1)
	h.Subscribe(dead, one(consumerQueue(n.URL(), "GOOD", "dead")))
	h.Subscribe(scaler, one(consumerQueue(n.URL(), "GOOD", "good")))
	h.awaitDepth(scaler, 2)
	got := h.awaitReason(dead, capacityv1alpha1.ReasonQueueTimeout)
	says(t, got, `silent about consumer "dead" of stream "GOOD"`)
	if got.ServerWide {
		t.Error("a silent consumer counts as a silent server")
	}
	// While the dead one is polled again and again, each wait 3 s long, the good one is read every second.
	h.readEverySecond(scaler)
}

func TestJetStreamOff(t *testing.T) {
	n := servers.StartNATS(t, servers.NATSOptions{WithoutJetStream: true})
	h := newHarness(t)
	h.Subscribe(scaler, one(consumerQueue(n.URL(), "JOBS", "workers")))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable), "without JetStream.*Switch JetStream on")
}
