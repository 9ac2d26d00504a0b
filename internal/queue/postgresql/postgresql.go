// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package postgresq reads queues that are tables of PostgreSQL, each by a query of its own over at most four connections. A query runs
// in a read-only transaction that is rolled back, so that nothing which it does to its session lasts, and is cancelled when it takes long.
package postgresq

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// connectionsMost is the number of connections, and so of queries at once: one that is slow holds up one connection, not all.
	connectionsMost = 4
	// beginWithin bounds the wait of a queue for its turn.
	beginWithin = 2 * queue.ReplyTimeout
)

// reader is a queue.Reader.
type reader struct {
	config *pgconn.Config
	login  login
	now    func() time.Time
	// turns has a place for each connection that may be in use.
	turns chan struct{}
	// closed ends with Close.
	closed context.Context
	close  context.CancelFunc

	mu sync.Mutex
	// open are all connections, idle those that nobody uses, the last used one last.
	open map[*conn]struct{}
	idle []*conn
}

var _ queue.Open = Open

// Open connects to a PostgreSQL server, and to a database of it.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	switch {
	case o.Username == "" && o.Password == "" && o.Token == "":
		return nil, queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "requiring credentials")
	case o.Username == "" || o.Password == "" || strings.ContainsRune(o.Username, 0):
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the keys username and password", "in need of a user and a password")
	}
	config, failure := configOf(o)
	if failure != nil {
		return nil, failure
	}
	r := &reader{
		config: config, login: login{dial: o.Dial, tls: o.TLS}, now: o.Now,
		turns: make(chan struct{}, connectionsMost), open: map[*conn]struct{}{},
	}
	r.closed, r.close = context.WithCancel(context.Background())
	c, failure := r.connect(ctx)
	if failure != nil {
		r.Close()
		return nil, failure
	}
	r.idle = append(r.idle, c)
	return r, nil
}

// Connections is the number of open connections.
func (r *reader) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// Close ends the connections, and Reads.
func (r *reader) Close() {
	r.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		c.close()
	}
	clear(r.open)
	r.idle = nil
}

// connect opens a further connection.
func (r *reader) connect(ctx context.Context) (*conn, *queue.Failure) {
	ctx, cancel := context.WithTimeout(ctx, queue.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(r.closed, cancel)
	defer stop()
	c, failure := connect(ctx, r.config, r.login)
	if failure != nil {
		return nil, failure
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Err() != nil {
		c.close()
		return nil, queue.ConnectFailure(r.closed.Err())
	}
	r.open[c] = struct{}{}
	return c, nil
}

// acquire waits for a connection. Where the server permits no further one, its place is given up for those that there are. It returns
// neither a connection nor a failure when ctx or the reader ended.
func (r *reader) acquire(ctx context.Context) (*conn, *queue.Failure) {
	for ctx.Err() == nil {
		select {
		case r.turns <- struct{}{}:
		case <-r.closed.Done():
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		}
		if c := r.popIdle(); c != nil {
			return c, nil
		}
		c, failure := r.connect(ctx)
		if failure == nil {
			return c, nil
		}
		if r.Connections() == 0 {
			<-r.turns
			return nil, failure
		}
	}
	return nil, nil
}

func (r *reader) popIdle() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.idle) - 1
	if last < 0 {
		return nil
	}
	c := r.idle[last]
	r.idle = r.idle[:last]
	return c
}

// release gives a connection back; one that is broken is closed.
func (r *reader) release(c *conn, broken bool) {
	r.mu.Lock()
	if broken {
		c.close()
		delete(r.open, c)
	} else {
		r.idle = append(r.idle, c)
	}
	r.mu.Unlock()
	<-r.turns
}

// batch is a Read in progress.
type batch struct {
	queues  []*capacityv1alpha1.Queue
	deliver func(int, queue.Reading, *queue.Failure)

	mu      sync.Mutex
	next    int
	failure *queue.Failure
}

// Read asks for the queues, each in a round trip of its own; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin, stop := context.WithTimeout(ctx, beginWithin)
	defer stop()
	b := &batch{queues: queues, deliver: deliver}
	var workers sync.WaitGroup
	for range min(connectionsMost, len(queues)) {
		workers.Go(func() {
			for i, ok := b.take(); ok; i, ok = b.take() {
				if failure := r.readOne(ctx, begin, b, i); failure != nil {
					b.fail(failure)
					cancel()
				}
			}
		})
	}
	workers.Wait()
	return b.failure
}

// readOne reads one queue; its failure is that of the server.
func (r *reader) readOne(ctx, begin context.Context, b *batch, i int) *queue.Failure {
	c, failure := r.acquire(begin)
	switch {
	case failure != nil:
		return failure
	case c == nil && ctx.Err() == nil && r.closed.Err() == nil:
		b.give(i, queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonQueueTimeout, "Make the queries on this server faster, or raise pollSeconds",
			"keeping the query waiting for others"))
		return nil
	case c == nil:
		return queue.ConnectFailure(context.Canceled)
	}
	at := r.now()
	answer, failure := c.ask(ctx, b.queues[i].PostgreSQL.Query)
	r.release(c, failure != nil)
	if failure != nil {
		return failure
	}
	reading, failure := answer.reading()
	reading.Time = at
	b.give(i, reading, failure)
	return nil
}

// take is the next queue to read, if any is left.
func (b *batch) take() (int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.next - 1, b.next <= len(b.queues) && b.failure == nil
}

func (b *batch) give(i int, reading queue.Reading, failure *queue.Failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deliver(i, reading, failure)
}

// fail keeps the first failure of the server; those that follow come of giving up.
func (b *batch) fail(failure *queue.Failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == nil {
		b.failure = failure
	}
}
