// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby_test

import (
	"context"
	"fmt"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/queuescaler/queuescaler/pkg/standby"
)

// The whole change to a consumer that does not need to drain: one call after warming up. SIGTERM ends it as ever.
func ExampleWait() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	// connect, fill caches, ...
	if err := standby.Wait(ctx); err != nil {
		return // ended without having been needed
	}
	fmt.Println("consuming") // here there is no role file, so at once

	// Output: consuming
}

// A consumer that drains: it starts when active, stops when draining, and says when it has finished.
func ExampleWatch() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	var consumer *exampleConsumer
	for role := range standby.Watch(ctx) {
		switch {
		case role == standby.Active && consumer == nil:
			consumer = startExampleConsumer()
		case role == standby.Draining:
			consumer.finish()
			consumer = nil
			standby.Drained() // from now on unready, so the pod is ended at once
		}
		stop() // for the sake of the example; otherwise SIGTERM does
	}
	consumer.finish()

	// Output:
	// consuming
	// finished
}

// The readiness probe of a standby pod has to succeed while it takes nothing.
func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("/ready", standby.Handler())

	// http.ListenAndServe(":8080", mux)
}

// exampleConsumer stands for the client library of a queue. See test/consumers for the real ones.
type exampleConsumer struct{}

func startExampleConsumer() *exampleConsumer {
	fmt.Println("consuming")
	return &exampleConsumer{}
}

// finish stops taking messages and returns when those at hand are finished; nil was never started.
func (c *exampleConsumer) finish() {
	if c != nil {
		fmt.Println("finished")
	}
}
