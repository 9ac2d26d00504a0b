// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName   = "CHAT"
	consumerName = "workers"
	subject      = "chat.messages"
	// ackWait after which a message that nobody acknowledged is delivered again. Far longer than one takes.
	ackWait = 5 * time.Second
)

// messageQueue is a real NATS JetStream server, embedded, with one stream and the durable consumer that all pods share.
type messageQueue struct {
	server   *natsserver.Server
	conn     *nats.Conn
	js       jetstream.JetStream
	consumer jetstream.Consumer
}

func startQueue(ctx context.Context, dir string) (*messageQueue, error) {
	server, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("NATS server: %w", err)
	}
	q := &messageQueue{server: server}
	server.Start()
	if !server.ReadyForConnections(30 * time.Second) {
		q.stop()
		return nil, errors.New("the NATS server was not ready within 30 s")
	}
	if err := q.open(ctx); err != nil {
		q.stop()
		return nil, fmt.Errorf("NATS JetStream: %w", err)
	}
	return q, nil
}

func (q *messageQueue) open(ctx context.Context) error {
	var err error
	if q.conn, err = nats.Connect(q.url()); err != nil {
		return err
	}
	if q.js, err = jetstream.New(q.conn); err != nil {
		return err
	}
	if _, err = q.js.CreateStream(ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{subject}}); err != nil {
		return err
	}
	q.consumer, err = q.js.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
	})
	return err
}

func (q *messageQueue) url() string { return q.server.ClientURL() }

// backlog is the number of messages that wait.
func (q *messageQueue) backlog(ctx context.Context) (int64, error) {
	info, err := q.consumer.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int64(info.NumPending), nil
}

func (q *messageQueue) stop() {
	if q.conn != nil {
		q.conn.Close()
	}
	q.server.Shutdown()
	q.server.WaitForShutdown()
}

// sender sends numbered messages, at a steady rate and in bursts.
type sender struct {
	js       jetstream.JetStream
	accounts *accounts
	perSec   atomic.Int64
	last     atomic.Int64 // number of the newest message
	done     sync.WaitGroup
	stopOnce sync.Once
	quit     chan struct{}
}

// startSender sends perSecond messages per second until stop.
func startSender(js jetstream.JetStream, a *accounts, perSecond int64, broken func(error)) *sender {
	s := &sender{js: js, accounts: a, quit: make(chan struct{})}
	s.setRate(perSecond)
	s.done.Go(func() {
		if err := s.steady(); err != nil {
			broken(err)
		}
	})
	return s
}

func (s *sender) setRate(perSecond int64) { s.perSec.Store(perSecond) }
func (s *sender) rate() int64             { return s.perSec.Load() }

// steady sends what is due by the time that has passed, so that a late tick changes nothing of the rate.
func (s *sender) steady() error {
	const tick = 20 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last, due := time.Now(), 0.0
	for {
		select {
		case <-s.quit:
			return nil
		case now := <-ticker.C:
			due += now.Sub(last).Seconds() * float64(s.rate())
			last = now
			if n := int(due); n > 0 {
				due -= float64(n)
				if err := s.send(n); err != nil {
					return err
				}
			}
		}
	}
}

// burst sends n messages at once. It returns when the server has them all.
func (s *sender) burst(n int) error { return s.send(n) }

// send counts a message as sent when the server has confirmed that it is stored.
func (s *sender) send(n int) error {
	futures := make(map[int64]jetstream.PubAckFuture, n)
	for range n {
		id := s.last.Add(1)
		future, err := s.js.PublishAsync(subject, []byte(strconv.FormatInt(id, 10)))
		if err != nil {
			return fmt.Errorf("send message %d: %w", id, err)
		}
		futures[id] = future
	}
	timeout := time.After(10 * time.Second)
	for id, future := range futures {
		select {
		case <-future.Ok():
			s.accounts.sentOne(id)
		case err := <-future.Err():
			return fmt.Errorf("send message %d: %w", id, err)
		case <-timeout:
			return fmt.Errorf("send message %d: no answer within 10 s", id)
		}
	}
	return nil
}

func (s *sender) stop() {
	s.stopOnce.Do(func() { close(s.quit) })
	s.done.Wait()
}
