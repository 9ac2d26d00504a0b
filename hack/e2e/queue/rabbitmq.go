// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"log"

	amqp "github.com/rabbitmq/amqp091-go"
)

// errClosed is the end of deliveries that were not cancelled.
var errClosed = errors.New("the server closed the channel")

type rabbitConsumer struct {
	url, queue string
	conn       *amqp.Connection
}

func newRabbitConsumer(url, queue string) (Consumer, error) {
	c := &rabbitConsumer{url: url, queue: queue}
	channel, err := openChannel(&c.conn, url)
	if err != nil {
		return nil, err
	}
	if _, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, channel.Close()
}

func (c *rabbitConsumer) Consume(ctx context.Context, work func(Message)) {
	for ctx.Err() == nil {
		if err := c.consume(ctx, work); err != nil {
			log.Printf("taking from queue %s: %v", c.queue, err)
			sleep(ctx)
		}
	}
}

// consume hands over messages until ctx ends or the connection breaks.
func (c *rabbitConsumer) consume(ctx context.Context, work func(Message)) error {
	channel, err := openChannel(&c.conn, c.url)
	if err != nil {
		return err
	}
	defer func() { _ = channel.Close() }()
	if err := channel.Qos(1, 0, false); err != nil { // the server sends the next message after the acknowledgement
		return err
	}
	const tag = "worker"
	deliveries, err := channel.Consume(c.queue, tag, false, false, false, false, nil)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return giveBack(channel, tag, deliveries)
		case delivery, open := <-deliveries:
			switch {
			case !open:
				return errClosed
			case ctx.Err() != nil:
				_ = delivery.Nack(false, true)
			default:
				hand(delivery, work)
			}
		}
	}
}

// giveBack ends the deliveries, and returns what the server had sent before it knew.
func giveBack(channel *amqp.Channel, tag string, deliveries <-chan amqp.Delivery) error {
	err := channel.Cancel(tag, false)
	if err != nil {
		return err
	}
	for delivery := range deliveries {
		err = errors.Join(err, delivery.Nack(false, true))
	}
	return err
}

func hand(delivery amqp.Delivery, work func(Message)) {
	id, ok := number(string(delivery.Body))
	if !ok {
		_ = delivery.Ack(false)
		return
	}
	work(Message{ID: id, Ack: func(context.Context) error { return delivery.Ack(false) }})
}

func (c *rabbitConsumer) Close() { _ = c.conn.Close() }

// openChannel opens a channel, on a new connection if the one there is was lost.
func openChannel(conn **amqp.Connection, url string) (*amqp.Channel, error) {
	if *conn == nil || (*conn).IsClosed() {
		dialled, err := amqp.Dial(url)
		if err != nil {
			return nil, err
		}
		*conn = dialled
	}
	return (*conn).Channel()
}

type rabbitProducer struct {
	url, queue string
	conn       *amqp.Connection
	channel    *amqp.Channel
}

func newRabbitProducer(ctx context.Context, url, queue string) (Producer, error) {
	p := &rabbitProducer{url: url, queue: queue}
	if err := p.Connect(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Connect opens a channel with confirmations, and makes a durable classic queue: a persistent message is on the disk before it is confirmed. Not
// a quorum queue: RabbitMQ 3.10, killed two seconds after it made one, came back with another, empty one in its place that confirmed nothing.
func (p *rabbitProducer) Connect(context.Context) error {
	if p.channel != nil {
		_ = p.channel.Close()
	}
	var err error
	if p.channel, err = openChannel(&p.conn, p.url); err != nil {
		return err
	}
	if err := p.channel.Confirm(false); err != nil {
		return err
	}
	_, err = p.channel.QueueDeclare(p.queue, true, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("queue %s: %w", p.queue, err)
	}
	return nil
}

func (p *rabbitProducer) Publish(ctx context.Context, ids []uint32) (confirmed []uint32, err error) {
	var pending []*amqp.DeferredConfirmation
	for _, id := range ids {
		confirmation, failure := p.channel.PublishWithDeferredConfirmWithContext(ctx, "", p.queue, false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body(id))})
		if failure != nil {
			err = failure
			break
		}
		pending = append(pending, confirmation)
	}
	for i, confirmation := range pending {
		acked, failure := confirmation.WaitContext(ctx)
		switch {
		case acked:
			confirmed = append(confirmed, ids[i])
		case failure != nil:
			err = failure
		case err == nil:
			err = errors.New("the server did not confirm every message")
		}
	}
	return confirmed, err
}

func (p *rabbitProducer) Close() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
}
