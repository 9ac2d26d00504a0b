// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command redisstream consumes a Redis stream in a consumer group, and starts warm: see docs/consumers.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/queuescaler/queuescaler/pkg/standby"
	"github.com/queuescaler/queuescaler/test/consumers/work"
)

const (
	// block is how long a read waits in the server. A read that waits when the role changes is not cut off, because its
	// message would be lost to this process; so it is short.
	block = time.Second
	// pause is the time between attempts after an error.
	pause = time.Second
)

type streamConsumer struct {
	client              *redis.Client
	stream, group, name string
}

func main() {
	address := flag.String("address", "127.0.0.1:6379", "of the Redis server")
	stream := flag.String("stream", "work", "key of the stream")
	group := flag.String("group", "work", "name of the consumer group")
	listen := flag.String("listen", ":8080", "address of the readiness probe")
	role := flag.String("role-file", standby.DefaultPath, "the role file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name, err := os.Hostname() // in a pod, the name of the pod
	if err != nil {
		log.Fatal(err)
	}
	consumer := &streamConsumer{
		client: redis.NewClient(&redis.Options{Addr: *address}),
		stream: *stream, group: *group, name: name,
	}
	if err := consumer.run(ctx, &standby.Gate{Path: *role}, *listen); err != nil {
		log.Fatal(err)
	}
}

func (c *streamConsumer) run(ctx context.Context, gate *standby.Gate, listen string) error {
	// Warm up: everything but reading.
	defer func() { _ = c.client.Close() }()
	err := c.client.XGroupCreateMkStream(ctx, c.stream, c.group, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") { // BUSYGROUP: it is there
		return fmt.Errorf("group %s of stream %s: %w", c.group, c.stream, err)
	}
	work.ServeReadiness(listen, gate)

	finish := func() {} // of a consumer that was not started
	started := false
	for role := range gate.Watch(ctx) {
		switch {
		case role == standby.Active && !started:
			finish, started = c.start(), true
		case role == standby.Draining:
			finish()
			finish, started = func() {}, false
			gate.Drained()
		}
	}
	finish() // SIGTERM
	return nil
}

// start consumes until the returned function is called, which returns when the message at hand is finished.
func (c *streamConsumer) start() (finish func()) {
	ctx, stop := context.WithCancel(context.Background())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for id := "0"; ctx.Err() == nil; { // first what this pod's last container left unfinished
			id = c.consume(ctx, id)
		}
		c.leave()
	}()
	return func() {
		stop()
		<-finished
	}
}

// consume takes one message after id (">": a new one) and works on it. It returns the id to go on from.
func (c *streamConsumer) consume(ctx context.Context, id string) string {
	read, err := c.client.XReadGroup(context.WithoutCancel(ctx), &redis.XReadGroupArgs{
		Group: c.group, Consumer: c.name, Streams: []string{c.stream, id}, Count: 1, Block: block,
	}).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return id
	case err != nil:
		log.Print(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		return id
	case len(read[0].Messages) == 0:
		return ">"
	}
	message := read[0].Messages[0]
	if id != ">" {
		id = message.ID
	}
	url, _ := message.Values["url"].(string)
	if err := work.Do(context.WithoutCancel(ctx), url); err != nil {
		log.Print(err) // it stays pending, for XAUTOCLAIM
		return id
	}
	if err := c.client.XAck(context.WithoutCancel(ctx), c.stream, c.group, message.ID).Err(); err != nil {
		log.Print(err)
	}
	return id
}

// leave takes this pod's name from the group, which otherwise keeps one name for every pod there ever was. With messages
// pending it stays: the server would forget them with it.
func (c *streamConsumer) leave() {
	ctx := context.Background()
	pending, err := c.client.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: c.stream, Group: c.group, Consumer: c.name, Start: "-", End: "+", Count: 1,
	}).Result()
	if err == nil && len(pending) == 0 {
		err = c.client.XGroupDelConsumer(ctx, c.stream, c.group, c.name).Err()
	}
	if err != nil {
		log.Print(err)
	}
}
