// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/rabbitmq"
)

// openAMQP connects to a virtual host over AMQP; empty means /.
func openAMQP(t *testing.T, vhost, username, password string) (queue.Reader, *queue.Failure) {
	t.Helper()
	host, port, _ := net.SplitHostPort(server.AMQPAddress())
	ctx, cancel := context.WithTimeout(t.Context(), queue.ConnectTimeout+queue.ReplyTimeout)
	defer cancel()
	reader, failure := rabbitmq.Open(ctx, queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindRabbitMQ, Scheme: "amqp", Host: host, Port: port, Path: vhost}, Username: username, Password: password, Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", server.AMQPAddress())
		},
	})
	if failure == nil {
		t.Cleanup(reader.Close)
	}
	return reader, failure
}

func mustOpenAMQP(t *testing.T, vhost, username, password string) queue.Reader {
	t.Helper()
	reader, failure := openAMQP(t, vhost, username, password)
	if failure != nil {
		t.Fatal(failure)
	}
	return reader
}

// Over AMQP a queue tells what waits, at once, and nothing else: what it does not tell is absent.
func TestAMQPTellsTheLengthAlone(t *testing.T) {
	messages := 20_000
	if testing.Short() {
		messages = 2_000
	}
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			reader, ch, name := mustOpenAMQP(t, "", "guest", "guest"), channel(t, ""), "amqp-"+kind
			sent := messages / map[string]int{"classic": 1, "quorum": 10}[kind]
			declare(t, ch, name, kind)
			send(t, ch, name, sent)
			want := func(what string, depth int64) {
				t.Helper()
				got := awaitReading(t, reader, source("", name), what, func(r result) bool { return r.failure == nil && r.Depth == depth })
				if got.InFlight != nil || got.ArrivedTotal != nil || got.CompletedTotal != nil || got.RedeliveredTotal != nil || got.OldestAge != nil {
					t.Errorf("%s, want a depth alone", show(got))
				}
				if age := time.Since(got.Time); age < 0 || age > time.Minute {
					t.Errorf("read %v ago", age)
				}
			}
			want("all that was sent", int64(sent))
			consumer := channel(t, "")
			if err := consumer.Qos(100, 0, false); err != nil {
				t.Fatal(err)
			}
			deliveries, err := consumer.Consume(name, "", false, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			want("what was not delivered yet", int64(sent-100))
			for i := 1; i <= sent/2; i++ {
				if d := <-deliveries; i%100 == 0 {
					if err := d.Ack(true); err != nil {
						t.Fatal(err)
					}
				}
			}
			want("without what was acknowledged and what is in flight", int64(sent/2-100))
		})
	}
}

// One queue that cannot be read fails alone, whatever its name; the user needs no more than to be let into the virtual host.
func TestAMQPQueuesFailAlone(t *testing.T) {
	manage(t, "PUT", "users/amqp", `{"password":"p","tags":""}`)
	manage(t, "PUT", "permissions/%2F/amqp", `{"configure":"^$","write":"^$","read":"^$"}`)
	reader, ch := mustOpenAMQP(t, "", "amqp", "p"), channel(t, "")
	odd := `jobs.*|(x) "é" 	&page=2`
	declare(t, ch, "plain", "classic")
	declare(t, ch, odd, "quorum")
	if _, err := ch.QueueDeclare("mine", false, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	publish(t, ch, "plain", 2)
	for range 3 {
		got := read(t, reader, source("", "none"), source("", "plain"), source("", odd), source("", "mine"), source("", "plain"), source("", "plai."))
		for i, want := range map[int]int64{1: 2, 2: 0, 4: 2} {
			if got[i].failure != nil || got[i].Depth != want {
				t.Errorf("queue %d: %s, want depth %d", i, show(got[i]), want)
			}
		}
		for i, want := range map[int][2]string{
			0: {capacityv1alpha1.ReasonQueueMissing, `without queue "none" in virtual host "/"`},
			3: {capacityv1alpha1.ReasonPermissionDenied, `denying queue "mine", which is exclusive`},
			5: {capacityv1alpha1.ReasonQueueMissing, `without queue "plai."`},
		} {
			f := got[i].failure
			if f == nil || f.Reason != want[0] || !strings.Contains(f.What, want[1]) || f.Remedy == "" {
				t.Errorf("queue %d: %+v, want %s that says %q", i, f, want[0], want[1])
			}
		}
	}
	if n := reader.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestAMQPLogin(t *testing.T) {
	manage(t, "PUT", "users/amqp", `{"password":"p","tags":""}`)
	manage(t, "PUT", "vhosts/a%2Fb", "")
	manage(t, "PUT", "vhosts/closed", "")
	manage(t, "PUT", "permissions/%2F/amqp", `{"configure":"^$","write":"^$","read":"^$"}`)
	manage(t, "PUT", "permissions/a%2Fb/amqp", `{"configure":"^$","write":"^$","read":"^$"}`)
	if got := read(t, mustOpenAMQP(t, "a/b", "amqp", "p"), source("a/b", "none"))[0]; !strings.Contains(fmt.Sprint(got.failure), `in virtual host "a/b"`) {
		t.Errorf("%s, want the virtual host named", show(got))
	}
	const failed = capacityv1alpha1.ReasonAuthenticationFailed
	for _, c := range []struct{ vhost, username, password, reason, says string }{
		{"", "amqp", "wrong", failed, "rejecting the credentials"},
		{"", "nobody", "p", failed, "rejecting the credentials"},
		{"", "", "", failed, "asking for credentials"},
		{"closed", "amqp", "p", capacityv1alpha1.ReasonPermissionDenied, `denying virtual host "closed"`},
		{"none", "amqp", "p", capacityv1alpha1.ReasonQueueMissing, `without virtual host "none"`},
	} {
		_, failure := openAMQP(t, c.vhost, c.username, c.password)
		if failure == nil || failure.Reason != c.reason || !strings.Contains(failure.What, c.says) {
			t.Errorf("%+v: %v", c, failure)
		}
	}
}

// Many queues are read over one connection, many of them missing.
func TestAMQPManyQueues(t *testing.T) {
	const many = 1000
	reader, ch := mustOpenAMQP(t, "", "guest", "guest"), channel(t, "")
	sources := make([]capacityv1alpha1.RabbitMQSource, many)
	for i := range many {
		name := fmt.Sprint("amqp-many-", i)
		sources[i] = source("", name)
		if i%10 != 0 {
			if _, err := ch.QueueDeclare(name, false, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = ch.QueueDelete(name, false, false, false) })
			send(t, ch, name, i%3)
		}
	}
	publish(t, ch, "amqp-many-1", 0)
	for range 3 {
		start := time.Now()
		got := read(t, reader, sources...)
		t.Logf("%d queues in %v", many, time.Since(start))
		for i, r := range got {
			switch {
			case i%10 == 0:
				if r.failure == nil || r.failure.Reason != capacityv1alpha1.ReasonQueueMissing {
					t.Fatalf("queue %d: %s, want it missing", i, show(r))
				}
			case r.failure != nil || r.Depth != int64(i%3):
				t.Fatalf("queue %d: %s, want %d", i, show(r), i%3)
			}
		}
	}
}

// What ends a connection from the other side is the server's failure, and no queue's.
func TestAMQPConnectionIsClosedByTheServer(t *testing.T) {
	manage(t, "PUT", "users/leaving", `{"password":"p","tags":""}`)
	manage(t, "PUT", "permissions/%2F/leaving", `{"configure":"^$","write":"^$","read":"^$"}`)
	reader, ch := mustOpenAMQP(t, "", "leaving", "p"), channel(t, "")
	declare(t, ch, "left", "classic")
	queues := []*capacityv1alpha1.Queue{{QueueSource: capacityv1alpha1.QueueSource{RabbitMQ: source("", "left")}}}
	manage(t, "DELETE", "users/leaving", "")
	for deadline := time.Now().Add(patience); ; {
		failure := reader.Read(t.Context(), queues, func(_ int, _ queue.Reading, f *queue.Failure) {
			if f != nil {
				t.Errorf("the queue fails: %v", f)
			}
		})
		if failure != nil {
			if failure.Reason != capacityv1alpha1.ReasonQueueUnavailable || !strings.HasPrefix(failure.What, "closing connections") {
				t.Errorf("%v, want the server's closing", failure)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection does not end with its user")
		}
	}
}

// A queue that is made again is read again over the same connection, without its old length.
func TestAMQPQueueIsMadeAgain(t *testing.T) {
	reader, ch := mustOpenAMQP(t, "", "guest", "guest"), channel(t, "")
	depth := func(want int64) {
		t.Helper()
		if got := read(t, reader, source("", "amqp-again"))[0]; got.failure != nil || got.Depth != want {
			t.Errorf("%s, want depth %d", show(got), want)
		}
	}
	for range 2 {
		if _, err := ch.QueueDeclare("amqp-again", true, false, false, false, amqp.Table{}); err != nil {
			t.Fatal(err)
		}
		depth(0)
		publish(t, ch, "amqp-again", 3)
		depth(3)
		if _, err := ch.QueueDelete("amqp-again", false, false, false); err != nil {
			t.Fatal(err)
		}
		if got := read(t, reader, source("", "amqp-again"))[0]; got.failure == nil || got.failure.Reason != capacityv1alpha1.ReasonQueueMissing {
			t.Errorf("%s, want it missing", show(got))
		}
	}
}
