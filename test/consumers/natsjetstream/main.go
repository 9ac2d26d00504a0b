// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command natsjetstream consumes a NATS JetStream consumer, and starts warm: see docs/consumers.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/queuescaler/queuescaler/pkg/standby"
	"github.com/queuescaler/queuescaler/test/consumers/work"
)

func main() {
	url := flag.String("url", nats.DefaultURL, "of the NATS server")
	stream := flag.String("stream", "work", "name of the stream")
	durable := flag.String("consumer", "work", "name of the consumer")
	listen := flag.String("listen", ":8080", "address of the readiness probe")
	role := flag.String("role-file", standby.DefaultPath, "the role file")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &standby.Gate{Path: *role}, *listen, *url, *stream, *durable); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, gate *standby.Gate, listen, url, stream, durable string) error {
	// Warm up: everything but consuming.
	conn, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, stream, durable)
	if err != nil {
		return fmt.Errorf("consumer %s of stream %s: %w", durable, stream, err)
	}
	work.ServeReadiness(listen, gate)

	var consuming jetstream.ConsumeContext
	for role := range gate.Watch(ctx) {
		switch {
		case role == standby.Active && consuming == nil:
			// One message at a time: what is prefetched has to be worked off in a drain, within AckWait.
			if consuming, err = consumer.Consume(handle, jetstream.PullMaxMessages(1)); err != nil {
				return fmt.Errorf("consuming: %w", err)
			}
		case role == standby.Draining:
			if err := drain(conn, consuming); err != nil {
				return err
			}
			consuming = nil
			gate.Drained()
		}
	}
	return drain(conn, consuming) // SIGTERM
}

// drain takes no new message and returns when those at hand are finished and their acknowledgements sent.
func drain(conn *nats.Conn, consuming jetstream.ConsumeContext) error {
	if consuming == nil {
		return nil
	}
	closed := consuming.Closed()
	consuming.Drain()
	<-closed
	return conn.Flush()
}

func handle(msg jetstream.Msg) {
	// Not the context that SIGTERM ends: what was begun is finished.
	if err := work.Do(context.Background(), string(msg.Data())); err != nil {
		log.Print(err)
		_ = msg.Nak()
		return
	}
	if err := msg.Ack(); err != nil {
		log.Print(err) // it will be delivered again
	}
}
