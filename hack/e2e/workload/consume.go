// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
	"github.com/queuescaler/queuescaler/pkg/standby"
)

type consumer struct {
	*settings
	url, queue string
	standby    bool
	gate       standby.Gate

	ledger *ledger.Client
}

func (c *consumer) run(ctx context.Context, pod ledger.Pod) error {
	c.ledger = ledger.NewClient(c.settings.ledger, pod)
	source, err := queue.NewConsumer(ctx, c.url, c.queue, pod.UID)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	defer source.Close()
	if !c.warm(ctx) {
		return nil
	}
	consume := func(ctx context.Context) { source.Consume(ctx, c.handle) }
	if c.standby {
		c.serveReadiness(c.gate.Handler())
		c.followRole(ctx, consume)
	} else {
		c.serveReadiness(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		consume(ctx)
	}
	return c.ledger.Report(context.WithoutCancel(ctx)) // what was left for a next message
}

// serveReadiness answers probes until the process ends.
func (c *consumer) serveReadiness(ready http.Handler) {
	mux := http.NewServeMux()
	mux.Handle("/ready", ready)
	go func() { log.Fatal(http.ListenAndServe(c.listen, mux)) }()
}

// followRole consumes while the role is active, and returns after SIGTERM when the message at hand is finished.
func (c *consumer) followRole(ctx context.Context, consume func(context.Context)) {
	finish := func() {} // of a consumer that was not started
	started := false
	for role := range c.gate.Watch(ctx) {
		log.Printf("role %s", role)
		switch {
		case role == standby.Active && !started:
			finish, started = start(consume), true
		case role == standby.Draining:
			finish()
			finish, started = func() {}, false
			c.gate.Drained()
		}
	}
	finish()
}

// start consumes until the returned function is called, which returns when the message at hand is finished.
func start(consume func(context.Context)) (finish func()) {
	ctx, stop := context.WithCancel(context.Background())
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		consume(ctx)
	}()
	return func() {
		stop()
		<-finished
	}
}

// handle works on one message. Without the context that SIGTERM ends: what was begun is finished.
func (c *consumer) handle(m queue.Message) {
	ctx := context.Background()
	attempt := do(ctx, c.ledger, m.ID, c.work)
	if err := m.Ack(ctx); err != nil {
		log.Printf("message %d is not acknowledged, and will be redelivered: %v", m.ID, err)
		return
	}
	attempt.Acknowledged = true
	c.ledger.Later(attempt)
}

// do works on one message, and returns when the ledger knows that it is completed.
func do(ctx context.Context, reports *ledger.Client, id uint32, work time.Duration) ledger.Attempt {
	attempt := ledger.Attempt{ID: id, Taken: time.Now().UnixNano()}
	report(ctx, reports, attempt)
	time.Sleep(work)
	attempt.Completed = time.Now().UnixNano()
	report(ctx, reports, attempt)
	return attempt
}

func report(ctx context.Context, reports *ledger.Client, attempt ledger.Attempt) {
	if err := reports.Report(ctx, attempt); err != nil {
		log.Fatal(err) // refused: the test is wrong
	}
}
