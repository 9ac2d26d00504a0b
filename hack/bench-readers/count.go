// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// counts are of what a reader did: queues read, and writes to its connections that begin a request.
type counts struct {
	readings, requests atomic.Int64
	// begins is how a request begins on the connection, nil where the server itself counts.
	begins []byte
}

// counted is open, with what it does counted.
func (c *counts) counted(open queue.Open) queue.Open {
	return func(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
		if c.begins != nil {
			dial := o.Dial
			o.Dial = func(ctx context.Context) (net.Conn, error) {
				conn, err := dial(ctx)
				return &countedConn{conn, c}, err
			}
		}
		r, failure := open(ctx, o)
		if failure != nil {
			return nil, failure
		}
		return &countedReader{r, c}, nil
	}
}

// countedConn counts requests as they leave.
type countedConn struct {
	net.Conn
	counts *counts
}

// Write is net.Conn's.
func (c *countedConn) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, c.counts.begins) {
		c.counts.requests.Add(1)
	}
	return c.Conn.Write(p)
}

// countedReader counts readings.
type countedReader struct {
	queue.Reader
	counts *counts
}

// Read is queue.Reader's.
func (r *countedReader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	return r.Reader.Read(ctx, queues, func(i int, reading queue.Reading, f *queue.Failure) {
		if f == nil {
			r.counts.readings.Add(1)
		}
		deliver(i, reading, f)
	})
}
