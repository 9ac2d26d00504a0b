// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// field of a stream's entry that has the message.
	field = "id"
	// claimEvery is how often a consumer looks for messages that another one left behind.
	claimEvery = time.Second
	firstEntry = "0-0"
)

// redisConsumer reads a stream in a consumer group, and not a list: the server itself knows what was taken and not acknowledged, so another
// consumer can claim what a dead one left. What a dead consumer moved to a processing list stays there until somebody's own code returns it.
type redisConsumer struct {
	client       *redis.Client
	stream, name string
	claimed      time.Time // when there was last nothing to claim
}

func newRedisConsumer(ctx context.Context, url, stream, name string) (Consumer, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	c := &redisConsumer{client: redis.NewClient(options), stream: stream, name: name}
	if err := c.client.XInfoGroups(ctx, stream).Err(); err != nil {
		c.Close()
		return nil, fmt.Errorf("groups of stream %s: %w", stream, err)
	}
	return c, nil
}

func (c *redisConsumer) Consume(ctx context.Context, work func(Message)) {
	for ctx.Err() == nil {
		entry, err := c.take(context.WithoutCancel(ctx))
		switch {
		case errors.Is(err, redis.Nil):
		case err != nil:
			log.Printf("taking from stream %s: %v", c.stream, err)
			sleep(ctx)
		default:
			c.hand(ctx, entry, work)
		}
	}
}

// take returns redis.Nil if there was no message for some time.
func (c *redisConsumer) take(ctx context.Context) (redis.XMessage, error) {
	if time.Since(c.claimed) >= claimEvery {
		if entry, err := c.claim(ctx); !errors.Is(err, redis.Nil) {
			return entry, err
		}
		c.claimed = time.Now()
	}
	read, err := c.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: c.stream, Consumer: c.name, Streams: []string{c.stream, ">"}, Count: 1, Block: wait,
	}).Result()
	if err != nil {
		return redis.XMessage{}, err
	}
	return read[0].Messages[0], nil
}

// claim takes over a message that was not acknowledged for long. It returns redis.Nil if there is none.
func (c *redisConsumer) claim(ctx context.Context) (redis.XMessage, error) {
	for from := firstEntry; ; {
		entries, next, err := c.client.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: c.stream, Group: c.stream, Consumer: c.name, MinIdle: RedeliverAfter, Start: from, Count: 1,
		}).Result()
		switch {
		case err != nil:
			return redis.XMessage{}, err
		case len(entries) > 0:
			return entries[0], nil
		case next == firstEntry:
			return redis.XMessage{}, redis.Nil
		}
		from = next
	}
}

func (c *redisConsumer) hand(ctx context.Context, entry redis.XMessage, work func(Message)) {
	ack := func(ctx context.Context) error { return c.client.XAck(ctx, c.stream, c.stream, entry.ID).Err() }
	text, _ := entry.Values[field].(string)
	id, ok := number(text)
	if !ok {
		_ = ack(context.WithoutCancel(ctx))
		return
	}
	work(Message{ID: id, Ack: ack})
}

func (c *redisConsumer) Close() { _ = c.client.Close() }

type redisProducer struct {
	client *redis.Client
	stream string
}

func newRedisProducer(ctx context.Context, url, stream string) (Producer, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	options.MaxRetries = -1 // a message sent twice by the client would look like one redelivered
	p := &redisProducer{client: redis.NewClient(options), stream: stream}
	err = p.client.XGroupCreateMkStream(ctx, stream, stream, firstEntry).Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") { // BUSYGROUP: it is there
		p.Close()
		return nil, fmt.Errorf("group of stream %s: %w", stream, err)
	}
	return p, nil
}

func (p *redisProducer) Publish(ctx context.Context, ids []uint32) (confirmed []uint32, err error) {
	adds := make([]*redis.StringCmd, len(ids))
	_, err = p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, id := range ids {
			adds[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.stream, Values: []string{field, body(id)}})
		}
		return nil
	})
	for i, add := range adds {
		if add.Err() == nil && add.Val() != "" {
			confirmed = append(confirmed, ids[i])
		}
	}
	return confirmed, err
}

func (p *redisProducer) Connect(ctx context.Context) error { return p.client.Ping(ctx).Err() }

func (p *redisProducer) Close() { _ = p.client.Close() }
