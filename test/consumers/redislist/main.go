// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command redislist consumes a Redis list, and starts warm: see docs/consumers.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/queuescaler/queuescaler/pkg/standby"
	"github.com/queuescaler/queuescaler/test/consumers/work"
)

const (
	// block is how long a move waits in the server. One that waits when the role changes is not cut off, because its
	// message would be lost to this process; so it is short.
	block = time.Second
	// pause is the time between attempts after an error.
	pause = time.Second
)

func main() {
	address := flag.String("address", "127.0.0.1:6379", "of the Redis server")
	key := flag.String("key", "work", "key of the list; messages at hand are in the list of this key with :processing")
	listen := flag.String("listen", ":8080", "address of the readiness probe")
	role := flag.String("role-file", standby.DefaultPath, "the role file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: *address})
	if err := run(ctx, &standby.Gate{Path: *role}, *listen, client, *key); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, gate *standby.Gate, listen string, client *redis.Client, key string) error {
	// Warm up: everything but taking.
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	work.ServeReadiness(listen, gate)

	// A consumer that does one thing at a time needs no goroutine: it looks at the role between two messages.
	for role := range gate.Watch(ctx) {
		switch role {
		case standby.Active:
			for ctx.Err() == nil && gate.Role() == standby.Active {
				consume(ctx, client, key)
			}
		case standby.Draining:
			gate.Drained()
		}
	}
	return nil
}

// consume takes one message and works on it.
func consume(ctx context.Context, client *redis.Client, key string) {
	processing := key + ":processing"
	// Not BRPOP: what it returned is nowhere if this process dies.
	url, err := client.BLMove(context.WithoutCancel(ctx), key, processing, "RIGHT", "LEFT", block).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return
	case err != nil:
		log.Print(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		return
	}
	if err := work.Do(context.WithoutCancel(ctx), url); err != nil {
		log.Print(err) // it stays in the list of messages at hand
		return
	}
	if err := client.LRem(context.WithoutCancel(ctx), processing, 1, url).Err(); err != nil {
		log.Print(err)
	}
}
