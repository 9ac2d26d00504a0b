// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command workload is what runs in the pods of the end-to-end tests.
//
//	workload consume   takes messages from a queue; with -standby it obeys the role file, for gate File, without it knows nothing of
//	                   standby, for gate Prepared
//	workload serve     answers requests behind a Service, for gate Service
//
// Both warm up first, and are ready from then on; work on one message or request at a time; report each to a ledger; and end on SIGTERM as
// soon as what is at hand is finished. On SIGUSR1 they take memory until they are killed for it. Who they are they are told by the environment, POD_NAME and POD_UID.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/pkg/standby"
)

// settings are those of both commands.
type settings struct {
	ledger, listen string
	warmUp, work   time.Duration
}

func main() {
	log.SetFlags(log.Lmicroseconds)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command: want consume or serve")
	}
	pod := ledger.Pod{Name: os.Getenv("POD_NAME"), UID: os.Getenv("POD_UID")}
	if pod.Name == "" || pod.UID == "" {
		return fmt.Errorf("POD_NAME or POD_UID is not set: take them from metadata.name and metadata.uid by a fieldRef")
	}
	log.Printf("%s in pod %s", args[0], pod.Name)
	go growWhenTold()
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	var s settings
	flags.StringVar(&s.ledger, "ledger", "", "url of the ledger")
	flags.StringVar(&s.listen, "listen", ":8080", "address of readiness probes, /ready, and of requests")
	flags.DurationVar(&s.warmUp, "warm-up", 0, "time from the start to being ready")
	flags.DurationVar(&s.work, "work", 100*time.Millisecond, "time that a message or request takes")
	switch args[0] {
	case "consume":
		c := &consumer{settings: &s}
		flags.StringVar(&c.url, "url", "", "of the queue's server: redis://, amqp:// or nats://, with user and password")
		flags.StringVar(&c.queue, "queue", "work", "name of the queue")
		flags.BoolVar(&c.standby, "standby", false, "obey the role file")
		flags.StringVar(&c.gate.Path, "role-file", standby.DefaultPath, "the role file")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return c.run(ctx, pod)
	case "serve":
		v := &service{settings: &s}
		flags.DurationVar(&v.preStop, "pre-stop", 0, "time after SIGTERM in which new requests are still answered, until every node knows that the pod ends")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return v.run(ctx, pod)
	}
	return fmt.Errorf("command %q: want consume or serve", args[0])
}

// growWhenTold takes memory, after SIGUSR1, until the container's limit ends the process.
func growWhenTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	<-told
	log.Print("told to run out of memory")
	const piece = 1 << 20
	var all [][]byte
	for {
		all = append(all, bytes.Repeat([]byte{byte(len(all))}, piece))
	}
}

// warm is the time of warming up. It returns false if SIGTERM comes before its end.
func (s *settings) warm(ctx context.Context) bool {
	select {
	case <-time.After(s.warmUp):
		return true
	case <-ctx.Done():
		return false
	}
}
