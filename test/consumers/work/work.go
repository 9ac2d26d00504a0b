// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package work is what the consumers in Go beside it have in common: the work that a message asks for, and the probe.
package work

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/queuescaler/queuescaler/pkg/standby"
)

// Do does the work of one message: it calls the URL that is its body, and returns when that has answered 200.
func Do(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return fmt.Errorf("work %q: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("work: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("work %q: %s", url, response.Status)
	}
	return nil
}

// ServeReadiness answers readiness probes at address, /ready, until the process ends.
func ServeReadiness(address string, gate *standby.Gate) {
	mux := http.NewServeMux()
	mux.Handle("/ready", gate.Handler())
	go func() {
		if err := http.ListenAndServe(address, mux); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
}
