// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package queue has what a test sends messages with and what its workloads take them with, on a Redis stream, a RabbitMQ queue and a NATS
// JetStream stream. A message is a number, which is its identity in the ledger.
//
// All three deliver at least once: a message that was taken and not acknowledged is delivered again, by RabbitMQ as soon as the connection
// of its consumer breaks, by the others after [RedeliverAfter].
package queue

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"strconv"
	"time"
)

const (
	// RedeliverAfter is how long a Redis stream and NATS JetStream wait for an acknowledgement. The work of a message has to be shorter.
	RedeliverAfter = 10 * time.Second
	// wait is how long a request for a message waits in the server. One that waits when a consumer is to end is not cut off, because its
	// message would have to be redelivered; so it is short.
	wait = time.Second
	// pause is between attempts after an error.
	pause = 200 * time.Millisecond
	// confirmTimeout is how long a producer waits for the server's confirmation of a batch.
	confirmTimeout = 10 * time.Second
)

// Message is one that was taken.
type Message struct {
	ID uint32
	// Ack acknowledges it. It returns nil once the server has confirmed that; with RabbitMQ, whose protocol has no confirmation, once it
	// is written.
	Ack func(ctx context.Context) error
}

// Consumer takes messages of one queue on a connection of its own.
type Consumer interface {
	// Consume hands over one message at a time until ctx ends, and returns when the last one is finished. A server that is away is asked
	// again until it is back.
	Consume(ctx context.Context, work func(Message))
	// Close ends the connection. What was not acknowledged is redelivered.
	Close()
}

// Producer sends messages to one queue.
type Producer interface {
	// Publish sends messages and returns those that the server has confirmed as stored on its disk. The error says why some are not; the
	// server may have these or not.
	Publish(ctx context.Context, ids []uint32) (confirmed []uint32, err error)
	// Connect connects again if it has to, and asks the server for a sign of life.
	Connect(ctx context.Context) error
	Close()
}

// NewConsumer connects to a queue, which [NewProducer] has made: with redis:// in the url name is the key of a stream and its consumer group,
// with amqp:// the queue, with nats:// the stream and its durable consumer. consumer is the name of this one in Redis, which must be its
// own. It asks for no message, and tries until the server has the queue or ctx ends.
func NewConsumer(ctx context.Context, url, name, consumer string) (Consumer, error) {
	connect, err := choose(url, connectors[Consumer]{
		redis:  func() (Consumer, error) { return newRedisConsumer(ctx, url, name, consumer) },
		rabbit: func() (Consumer, error) { return newRabbitConsumer(url, name) },
		nats:   func() (Consumer, error) { return newNATSConsumer(ctx, url, name) },
	})
	if err != nil {
		return nil, err
	}
	for {
		c, err := connect()
		if err == nil {
			return c, nil
		}
		log.Printf("connecting to queue %s, to be repeated: %v", name, err)
		if !sleep(ctx) {
			return nil, fmt.Errorf("connecting to queue %s: %w", name, err)
		}
	}
}

// NewProducer connects to a server and makes the queue if it is not there. Url and name are as for [NewConsumer].
func NewProducer(ctx context.Context, url, name string) (Producer, error) {
	connect, err := choose(url, connectors[Producer]{
		redis:  func() (Producer, error) { return newRedisProducer(ctx, url, name) },
		rabbit: func() (Producer, error) { return newRabbitProducer(ctx, url, name) },
		nats:   func() (Producer, error) { return newNATSProducer(ctx, url, name) },
	})
	if err != nil {
		return nil, err
	}
	return connect()
}

// connectors make a T for each kind of server.
type connectors[T any] struct{ redis, rabbit, nats func() (T, error) }

func choose[T any](address string, c connectors[T]) (func() (T, error), error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("url of the queue's server: %w", err)
	}
	switch parsed.Scheme {
	case "redis":
		return c.redis, nil
	case "amqp":
		return c.rabbit, nil
	case "nats":
		return c.nats, nil
	}
	return nil, fmt.Errorf("url of the queue's server begins with %q: want redis://, amqp:// or nats://", parsed.Scheme)
}

// body is a message as it is sent.
func body(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// number reads a body. One that is no message of a test is acknowledged by the caller, or it would come again for ever.
func number(body string) (uint32, bool) {
	id, err := strconv.ParseUint(body, 10, 32)
	if err != nil {
		log.Printf("a message that no test sent is dropped: %.80q", body)
	}
	return uint32(id), err == nil
}

// sleep pauses. It returns false if ctx ends before.
func sleep(ctx context.Context) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}
