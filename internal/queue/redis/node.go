// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// pipelineMost is the number of commands in one round trip.
	pipelineMost = 500
	// commandBytes is what one command's reply may take, layoutBytes that to CLUSTER SLOTS, connectionBytes what the server may send besides.
	commandBytes    = 16 << 10
	layoutBytes     = 8 << 20
	connectionBytes = 1 << 20
	// restMost is the longest time between two attempts to use a node that failed.
	restMost = 15 * time.Second
)

// quiet is the client library's logger: errors are values here.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

var quieten = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

// errClosed is the failure of what is asked of a node after its end.
var errClosed = queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "", "closed")

// node is one server, with at most one connection. The client library keeps the credentials for when the connection has to be made again.
type node struct {
	address            string
	username, password string
	db                 int
	// connect makes the connection, with TLS where that is asked for.
	connect func(ctx context.Context) (net.Conn, error)
	secure  bool

	// conn is the newest connection; open counts those that are open.
	conn atomic.Pointer[queue.Conn]
	open atomic.Int64

	// failed is why the last exchange failed. mu lets one at a time use the connection; it is left alone until retryAt, after so many failed attempts in a row.
	failed   atomic.Pointer[queue.Failure]
	mu       sync.Mutex
	attempts int
	retryAt  time.Time

	// state guards client, nil between a failure and the next attempt, and closed.
	state  sync.Mutex
	client *redis.Client
	closed bool
}

// clientOf is the library's client, made where there is none; nil after the end.
func (n *node) clientOf() *redis.Client {
	n.state.Lock()
	defer n.state.Unlock()
	if n.client == nil && !n.closed {
		n.client = redis.NewClient(&redis.Options{
			Addr: n.address, DB: n.db, Username: n.username, Password: n.password,
			Dialer:   n.dial,
			Protocol: 2, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			MaxRetries:               -1, DialerRetries: 1, // the next poll tries again
			DialTimeout: queue.ConnectTimeout, ReadTimeout: queue.ReplyTimeout, WriteTimeout: queue.ReplyTimeout, ContextTimeoutEnabled: true,
			// One connection. After PoolSize failures to dial, the library would go on dialing by itself in the background.
			PoolSize: 64, MaxActiveConns: 1, PipelinePoolSize: -1,
		})
	}
	return n.client
}

// dial makes the library's connections.
func (n *node) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.conn.Store(nil)
	conn, err := n.connect(ctx)
	if err != nil {
		return nil, queue.ConnectFailure(err)
	}
	n.open.Add(1)
	guarded := queue.NewConn(queue.OnClose(conn, func() { n.open.Add(-1) }), connectionBytes, new(scanner).scan)
	n.conn.Store(guarded)
	if n.isClosed() {
		_ = guarded.Close()
		return nil, errClosed
	}
	return guarded, nil
}

func (n *node) isClosed() bool {
	n.state.Lock()
	defer n.state.Unlock()
	return n.closed
}

// greet connects, and returns when the server has accepted the credentials. Its limit is above that of dialing, which says more about what is wrong.
func (n *node) greet(ctx context.Context) *queue.Failure {
	client := n.clientOf()
	if client == nil {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, queue.ConnectTimeout+queue.ReplyTimeout)
	defer cancel()
	err := client.Ping(ctx).Err()
	// Other errors, such as that PING is denied, say nothing about what is to be read.
	failure := n.failureOf(err)
	if failure != nil && isNetwork(err) && failure.Reason == capacityv1alpha1.ReasonQueueUnavailable {
		failure = queue.LoginFailure(err, n.conn.Load() != nil && n.secure)
	}
	return failure
}

// ask sends commands, many in one round trip, and waits for all replies. Where the node fails, all that were not answered have its failure, and
// it is left alone for a while.
func (n *node) ask(ctx context.Context, commands []*command) {
	failure := n.failed.Load()
	if !n.mu.TryLock() {
		if failure != nil {
			// Somebody finds out whether it answers again.
			fail(commands, failure)
			return
		}
		n.mu.Lock()
	}
	defer n.mu.Unlock()
	failure = n.failed.Load()
	if failure == nil || !time.Now().Before(n.retryAt) {
		failure = n.exchange(ctx, commands)
		if failure != nil && commands[0].large {
			failure, commands[0].alone = nil, true
			commands[0].failure = queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check the size of its first and last entry",
				"not telling XINFO STREAM of key %q within bounds", commands[0].key)
		}
		n.learn(failure)
	}
	if failure != nil {
		fail(commands, failure)
	}
}

func fail(commands []*command, failure *queue.Failure) {
	for _, c := range commands {
		c.failure = failure
	}
}

// learn notes how an exchange ended. After a failure a new connection is needed. mu is held.
func (n *node) learn(failure *queue.Failure) {
	n.failed.Store(failure)
	if failure == nil {
		n.attempts = 0
		return
	}
	n.attempts++
	n.retryAt = time.Now().Add(min(time.Second/2<<min(n.attempts, 8), restMost))
	n.disconnect()
}

func (n *node) exchange(ctx context.Context, commands []*command) *queue.Failure {
	client := n.clientOf()
	if client == nil {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	pipe := client.Pipeline()
	bytes := int64(connectionBytes)
	for _, c := range commands {
		if c.asking {
			pipe.Do(ctx, "ASKING")
		}
		c.reply = pipe.Do(ctx, c.args()...)
		bytes += c.bytes()
	}
	// A connection has to be there for the server to be allowed so much.
	if n.open.Load() == 0 {
		if failure := n.greet(ctx); failure != nil {
			return failure
		}
	}
	if conn := n.conn.Load(); conn != nil {
		conn.Allow(bytes)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		for _, c := range commands {
			if failure := n.failureOf(c.reply.Err()); failure != nil {
				return failure
			}
		}
	}
	return nil
}

// failureOf is the failure of the whole server that err stands for; nil where it is the answer to one command.
func (n *node) failureOf(err error) *queue.Failure {
	if err == nil {
		return nil
	}
	if text, ok := errorReply(err); ok {
		return serverFailure(text, n.password == "")
	}
	if conn := n.conn.Load(); conn != nil && conn.Failure() != nil {
		return conn.Failure()
	}
	if isNetwork(err) {
		return queue.ConnectFailure(err)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "sending replies that make no sense")
}

// isNetwork tells errors of the connection from those of the reply's form.
func isNetwork(err error) bool {
	return queue.IsNetwork(err) || errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout)
}

// disconnect ends the connection; the next exchange makes another.
func (n *node) disconnect() {
	n.state.Lock()
	client := n.client
	n.client = nil
	n.state.Unlock()
	if client != nil {
		_ = client.Close()
	}
	if conn := n.conn.Load(); conn != nil {
		_ = conn.Close()
	}
}

// close ends the connection for good, and an exchange in progress.
func (n *node) close() {
	n.state.Lock()
	n.closed = true
	n.state.Unlock()
	n.disconnect()
}
