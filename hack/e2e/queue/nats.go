// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type natsConsumer struct {
	conn   *nats.Conn
	source jetstream.Consumer
}

// connectNATS returns a connection that comes back by itself. While it is away nothing is kept for later: it would be sent after its sender
// has given it up.
func connectNATS(url string) (*nats.Conn, jetstream.JetStream, error) {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(pause), nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, js, nil
}

func newNATSConsumer(ctx context.Context, url, name string) (Consumer, error) {
	conn, js, err := connectNATS(url)
	if err != nil {
		return nil, err
	}
	source, err := js.Consumer(ctx, name, name)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("consumer %s of stream %s: %w", name, name, err)
	}
	return &natsConsumer{conn, source}, nil
}

func (c *natsConsumer) Consume(ctx context.Context, work func(Message)) {
	for ctx.Err() == nil {
		if err := c.fetch(ctx, work); err != nil {
			log.Printf("taking from the NATS server: %v", err)
			sleep(ctx)
		}
	}
}

// fetch hands over one message, or none if none came for some time.
func (c *natsConsumer) fetch(ctx context.Context, work func(Message)) error {
	fetched, err := c.source.Fetch(1, jetstream.FetchMaxWait(wait))
	if err != nil {
		return err
	}
	for msg := range fetched.Messages() {
		id, ok := number(string(msg.Data()))
		if !ok {
			_ = msg.DoubleAck(context.WithoutCancel(ctx))
			continue
		}
		work(Message{ID: id, Ack: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
			defer cancel()
			return msg.DoubleAck(ctx) // which the server confirms
		}})
	}
	return fetched.Error()
}

func (c *natsConsumer) Close() { c.conn.Close() }

type natsProducer struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	subject string
}

func newNATSProducer(ctx context.Context, url, name string) (Producer, error) {
	conn, js, err := connectNATS(url)
	if err != nil {
		return nil, err
	}
	p := &natsProducer{conn, js, name}
	if err := p.create(ctx, name); err != nil {
		p.Close()
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return p, nil
}

func (p *natsProducer) create(ctx context.Context, name string) error {
	stream, err := p.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{p.subject}, Storage: jetstream.FileStorage})
	if err != nil {
		return err
	}
	_, err = stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: RedeliverAfter,
	})
	return err
}

func (p *natsProducer) Publish(ctx context.Context, ids []uint32) (confirmed []uint32, err error) {
	var pending []jetstream.PubAckFuture
	for _, id := range ids {
		future, failure := p.js.PublishAsync(p.subject, []byte(body(id)))
		if failure != nil {
			err = failure
			break
		}
		pending = append(pending, future)
	}
	for i, future := range pending {
		select {
		case <-future.Ok():
			confirmed = append(confirmed, ids[i])
		case err = <-future.Err():
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return confirmed, err
}

func (p *natsProducer) Connect(ctx context.Context) error {
	_, err := p.js.AccountInfo(ctx)
	return err
}

func (p *natsProducer) Close() { p.conn.Close() }
