// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"
)

const (
	// requestTimeout bounds one request; one that is not answered is sent again.
	requestTimeout = 5 * time.Second
	// firstPause between two requests is doubled up to lastPause.
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// Client reports what one pod does. Its methods may be called concurrently.
type Client struct {
	url  string
	pod  Pod
	http http.Client

	mu    sync.Mutex
	later []Attempt
}

// NewClient returns a client of the ledger that is served at url.
func NewClient(url string, pod Pod) *Client {
	return &Client{url: url, pod: pod, http: http.Client{Timeout: requestTimeout}}
}

// Report returns when the ledger has these attempts and what was left for later. It tries again until then; it is an error if ctx ends
// first, or if the ledger refuses the report, which is a mistake in the test.
func (c *Client) Report(ctx context.Context, attempts ...Attempt) error {
	attempts = append(c.leftForLater(), attempts...)
	if len(attempts) == 0 {
		return nil
	}
	body, err := json.Marshal(report{c.pod, attempts})
	if err != nil {
		return err
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		again, err := c.post(ctx, body)
		if !again {
			return err
		}
		log.Printf("reporting to the ledger, to be repeated: %v", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("reporting to the ledger: %w", err)
		}
	}
}

// Later has an attempt sent with the next report. A Report of nothing sends what is left.
func (c *Client) Later(a Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later = append(c.later, a)
}

func (c *Client) leftForLater() []Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.later
	c.later = nil
	return left
}

// post sends a report once. again says that it is to be repeated after the error.
func (c *Client) post(ctx context.Context, body []byte) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("url of the ledger: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return true, err
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // to its end, for the next request on this connection
	switch {
	case response.StatusCode == http.StatusNoContent:
		return false, nil
	case response.StatusCode/100 == 4:
		return false, fmt.Errorf("the ledger refused a report: %s: %s", response.Status, bytes.TrimSpace(text))
	}
	return true, fmt.Errorf("the ledger answered %s", response.Status)
}
