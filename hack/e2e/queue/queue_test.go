// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
)

// host is not the servers' default, so that a test sees that they listen where they are asked to.
const host = "127.0.0.2"

var kinds = map[string]brokers.Start{"Redis": brokers.Redis, "RabbitMQ": brokers.RabbitMQ}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "queuescaler-e2e-")
	if err != nil {
		panic(err)
	}
	program, err := brokers.BuildNATS(dir)
	if err != nil {
		panic(err)
	}
	kinds["NATS"] = brokers.NATS(program)
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func produce(t *testing.T, b *brokers.Broker, name string) queue.Producer {
	t.Helper()
	p, err := queue.NewProducer(t.Context(), b.URL, name)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func connect(t *testing.T, b *brokers.Broker, name, consumer string) queue.Consumer {
	t.Helper()
	c, err := queue.NewConsumer(t.Context(), b.URL, name, consumer)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestServers(t *testing.T) {
	for kind, start := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			b := start(t, host)
			if !strings.Contains(b.URL, host) || !strings.Contains(b.ScalerURL, host) {
				t.Fatalf("the server listens at %s and %s, want %s", b.URL, b.ScalerURL, host)
			}
			for _, test := range []struct {
				name string
				run  func(t *testing.T, b *brokers.Broker, name string)
			}{{"wait", testConsumerWaitsForItsQueue}, {"redelivery", testRedelivery}, {"restart", testServerIsKilledWhileMessagesAreSent}} {
				t.Run(test.name, func(t *testing.T) { test.run(t, b, test.name) })
			}
		})
	}
}

// What a server has confirmed survives its being killed, and nothing is noted as sent that it does not have.
func testServerIsKilledWhileMessagesAreSent(t *testing.T, b *brokers.Broker, name string) {
	const messages = 3000
	book := ledger.New(messages)
	producer := produce(t, b, name)
	ended := make(chan error)
	go func() { ended <- queue.Send(t.Context(), producer, book, 0, messages, 1000) }()
	await(t, "a thousand messages to be sent", func() bool { return book.Summary().Sent >= 1000 })
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	must(t, <-ended)

	sent := book.Summary()
	if sent.Sent+sent.MaybeSent != messages || sent.MaybeSent > 256 {
		t.Errorf("%s: want %d, at most 256 of them maybe", sent, messages)
	}
	ctx, stop := context.WithCancel(t.Context())
	consumed := make(chan struct{})
	go func() {
		defer close(consumed)
		connect(t, b, name, "reader").Consume(ctx, complete(t, book, "reader"))
	}()
	await(t, "all messages that were sent", func() bool { return len(book.Summary().Lost) == 0 })
	stop()
	<-consumed
	t.Log(book.Summary())
	if s := book.Summary(); len(s.Unsent) != 0 || len(s.Redelivered) != 0 || s.Completed < s.Sent {
		t.Error("want each once")
	}
}

// complete notes a message as taken, completed and acknowledged.
func complete(t *testing.T, book *ledger.Ledger, name string) func(queue.Message) {
	return func(m queue.Message) {
		now := time.Now().UnixNano()
		if err := m.Ack(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := book.Record(ledger.Pod{Name: name, UID: name}, ledger.Attempt{ID: m.ID, Taken: now, Completed: now, Acknowledged: true}); err != nil {
			t.Error(err)
		}
	}
}

// A message whose consumer goes away before it acknowledged it comes again, at another consumer.
func testRedelivery(t *testing.T, b *brokers.Broker, name string) {
	book := ledger.New(3)
	must(t, queue.Send(t.Context(), produce(t, b, name), book, 0, 3, 0))
	first := connect(t, b, name, "first")
	ctx, stop := context.WithCancel(t.Context())
	first.Consume(ctx, func(m queue.Message) {
		must(t, book.Record(ledger.Pod{Name: "first", UID: "first"}, ledger.Attempt{ID: m.ID, Taken: time.Now().UnixNano()}))
		stop() // and no acknowledgement
	})
	first.Close()

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	second := connect(t, b, name, "second")
	var consumed sync.WaitGroup
	consumed.Go(func() { second.Consume(ctx, complete(t, book, "second")) })
	await(t, "all messages", func() bool { return book.Completed() == 3 })
	stop()
	consumed.Wait()
	s := book.Summary()
	if len(s.Redelivered) != 1 || s.Redelivered[0].Attempts[0].Pod.Name != "first" || s.Redelivered[0].Attempts[1].Pod.Name != "second" {
		t.Errorf("%s: %+v", s, s.Redelivered)
	}
}

// instantly is a producer whose server confirms everything but the messages that fail.
type instantly struct {
	sent   []uint32
	times  []time.Time
	fail   func(id uint32) bool
	resume int
}

func (p *instantly) Publish(_ context.Context, ids []uint32) (confirmed []uint32, err error) {
	for _, id := range ids {
		p.sent, p.times = append(p.sent, id), append(p.times, time.Now())
		if p.fail != nil && p.fail(id) {
			err = fmt.Errorf("not %d", id)
		} else {
			confirmed = append(confirmed, id)
		}
	}
	return confirmed, err
}

func (p *instantly) Connect(context.Context) error {
	p.resume++
	return nil
}

func (p *instantly) Close() {}

func TestRate(t *testing.T) {
	p := &instantly{}
	must(t, queue.Send(t.Context(), p, ledger.New(300), 100, 200, 200))
	if took := p.times[199].Sub(p.times[0]); took < 900*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("200 messages at 200 per second took %v", took)
	}
	if len(p.sent) != 200 || !slices.IsSorted(p.sent) || p.sent[0] != 100 {
		t.Errorf("sent %d, from %d", len(p.sent), p.sent[0])
	}
}

// What was not confirmed is neither sent again nor counted as sent.
func TestUnconfirmed(t *testing.T) {
	p := &instantly{fail: func(id uint32) bool { return id%100 == 50 }}
	book := ledger.New(1000)
	must(t, queue.Send(t.Context(), p, book, 0, 1000, 0))
	if s := book.Summary(); s.Sent != 990 || s.MaybeSent != 10 || len(p.sent) != 1000 || p.resume == 0 {
		t.Errorf("%s after %d messages, %d times connected again", s, len(p.sent), p.resume)
	}
	if err := queue.Send(t.Context(), p, book, 1000, 1, 0); err == nil {
		t.Error("a message was sent that the ledger has no room for")
	}
}

func TestUnknownServer(t *testing.T) {
	for url, want := range map[string]string{"kafka://a": `"kafka"`, "a b://": "url of the queue's server"} {
		if _, err := queue.NewProducer(t.Context(), url, "work"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
		if _, err := queue.NewConsumer(t.Context(), url, "work", "a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}

// A consumer may start before its queue is there.
func testConsumerWaitsForItsQueue(t *testing.T, b *brokers.Broker, name string) {
	connected := make(chan error)
	go func() {
		c, err := queue.NewConsumer(t.Context(), b.URL, name, "early")
		if err == nil {
			c.Close()
		}
		connected <- err
	}()
	select {
	case err := <-connected:
		t.Errorf("connected to a queue that is not there: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	produce(t, b, name)
	must(t, <-connected)
}
