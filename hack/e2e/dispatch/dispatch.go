// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dispatch takes messages from a queue and posts each to a Service, as a dispatcher in front of an HTTP service does.
package dispatch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/queue"
)

const (
	// Path is where messages are posted to, followed by their number.
	Path = "/messages/"
	// PodHeader of an answer has the UID of the pod that gave it.
	PodHeader = "Pod-Uid"
	// pause is before a request that failed is repeated.
	pause = 100 * time.Millisecond
)

// Outcome is what became of one request.
type Outcome struct {
	ID uint32
	// Began is when it was sent, Took the time to its answer or failure.
	Began time.Time
	Took  time.Duration
	// Pod is the UID of the pod that answered; empty if none did.
	Pod string
	// Status is that of the answer; 0 if there was none.
	Status int
	// Err says why there was no answer, or not all of it.
	Err error
}

// Failed says that the request was not answered with 200, to the end.
func (o Outcome) Failed() bool { return o.Status != http.StatusOK || o.Err != nil }

// Dispatcher posts messages. Make one with [New], and end it by its context.
type Dispatcher struct {
	base   string
	client http.Client

	mu       sync.Mutex
	outcomes []Outcome
	pods     map[string]string // one string for each pod, however many answers name it
}

// New returns a dispatcher to the Service at base, such as http://10.0.0.10:8080. A request that takes longer than timeout has failed.
//
// Each request has a connection of its own, because the pod behind a Service is chosen when a connection is opened: with connections that
// are kept, a pod that is lent would get nothing until the pool of connections happens to open a new one.
func New(base string, timeout time.Duration) *Dispatcher {
	return &Dispatcher{
		base:   base,
		client: http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}},
		pods:   map[string]string{},
	}
}

// Run takes messages until ctx ends, and returns when the requests at hand are answered. There are as many requests at a time as consumers. A
// message is acknowledged once its request is answered with 200; until then the request is repeated.
func (d *Dispatcher) Run(ctx context.Context, consumers ...queue.Consumer) {
	var running sync.WaitGroup
	for _, c := range consumers {
		running.Go(func() {
			c.Consume(ctx, func(m queue.Message) { d.deliver(ctx, m) })
		})
	}
	running.Wait()
}

// deliver repeats a request until it succeeds or, after a failure, ctx has ended. The message is then redelivered by its queue.
func (d *Dispatcher) deliver(ctx context.Context, m queue.Message) {
	for {
		outcome := d.post(context.WithoutCancel(ctx), m.ID)
		d.record(outcome)
		if !outcome.Failed() {
			_ = m.Ack(context.WithoutCancel(ctx)) // it is redelivered otherwise
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (d *Dispatcher) post(ctx context.Context, id uint32) Outcome {
	o := Outcome{ID: id, Began: time.Now()}
	o.Pod, o.Status, o.Err = d.request(ctx, id)
	o.Took = time.Since(o.Began)
	return o
}

func (d *Dispatcher) request(ctx context.Context, id uint32) (pod string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+Path+strconv.FormatUint(uint64(id), 10), nil)
	if err != nil {
		return "", 0, fmt.Errorf("url of the Service: %w", err)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.Header.Get(PodHeader), response.StatusCode, err
}

func (d *Dispatcher) record(o Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.pods[o.Pod]; ok {
		o.Pod = known
	} else {
		d.pods[o.Pod] = o.Pod
	}
	d.outcomes = append(d.outcomes, o)
}

// Outcomes returns those of all requests so far, in the order in which they ended. Each needs about 110 bytes.
func (d *Dispatcher) Outcomes() []Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Outcome(nil), d.outcomes...)
}

// Failures returns the outcomes that failed.
func (d *Dispatcher) Failures() []Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	var failed []Outcome
	for _, o := range d.outcomes {
		if o.Failed() {
			failed = append(failed, o)
		}
	}
	return failed
}
