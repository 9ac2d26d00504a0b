// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redisq reads lists, sorted sets and streams of Redis, many at once in a pipeline on one connection. It asks for lengths and
// counters only: no message ever enters this process, and the user it logs in as needs no permission to read one.
package redisq

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// pipelineMost is the number of commands in one round trip.
	pipelineMost = 500
	// commandBytes is what one command's reply may take, connectionBytes what the server may send besides.
	commandBytes    = 16 << 10
	connectionBytes = 1 << 20
	// passesMost is how often a queue is asked in one Read, while it turns out that other commands are needed.
	passesMost = 4
	// typesMost bounds what is remembered of in-flight keys.
	typesMost = 100_000
)

// quiet is the client library's logger: errors are values here.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

var quieten = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

// reader is a queue.Reader.
type reader struct {
	client    *redis.Client
	anonymous bool
	options   queue.ConnectOptions
	// conn is the newest connection.
	conn atomic.Pointer[queue.Conn]

	// mu lets one Read at a time use the connection. types remembers what each in-flight key is.
	mu    sync.Mutex
	types map[string]string
}

var _ queue.Open = Open

// Open connects to a Redis server.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	if o.Password == "" && o.Token != "" {
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the key password", "in need of a password, not a token,")
	}
	db, err := strconv.Atoi(cmp.Or(o.Endpoint.Path, "0"))
	if err != nil {
		return nil, queue.Fail(capacityv1alpha1.ReasonAddressRefused, "Give the number of a database, as in redis://redis.chat:6379/0", "without a database number")
	}
	quieten()
	r := &reader{anonymous: o.Password == "", types: map[string]string{}}
	username, password := o.Username, o.Password
	o.Username, o.Password = "", ""
	r.options = o
	r.client = redis.NewClient(&redis.Options{
		Addr: o.Endpoint.Address(), DB: db, Username: username, Password: password,
		Dialer:   r.dial,
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1, DialerRetries: 1, // the Pool tries again
		DialTimeout: queue.ConnectTimeout, ReadTimeout: queue.ReplyTimeout, WriteTimeout: queue.ReplyTimeout, ContextTimeoutEnabled: true,
		// One connection. After PoolSize failures to dial, the library would go on dialing by itself in the background.
		PoolSize: 64, MaxActiveConns: 1, PipelinePoolSize: -1,
	})
	ctx, cancel := context.WithTimeout(ctx, queue.ConnectTimeout)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		// Other errors, such as that PING is denied, say nothing about what is to be read.
		if failure := r.failureOf(err); failure != nil {
			if isNetwork(err) && failure.Reason == capacityv1alpha1.ReasonQueueUnavailable {
				failure = queue.LoginFailure(err, r.conn.Load() != nil && o.TLS != nil)
			}
			r.Close()
			return nil, failure
		}
	}
	return r, nil
}

// dial makes the library's connections.
func (r *reader) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := r.options.Dial(ctx)
	if err == nil && r.options.TLS != nil {
		conn, err = queue.Handshake(ctx, conn, r.options.TLS)
	}
	if err != nil {
		return nil, queue.ConnectFailure(err)
	}
	guarded := queue.NewConn(conn, connectionBytes, new(scanner).scan)
	r.conn.Store(guarded)
	return guarded, nil
}

// Connections is the number of open connections.
func (r *reader) Connections() int { return int(r.client.PoolStats().TotalConns) }

// Close ends the connection, and Reads.
func (r *reader) Close() {
	_ = r.client.Close()
	if conn := r.conn.Load(); conn != nil {
		_ = conn.Close()
	}
}

// Read asks for all queues in pipelines, one after the other; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	questions := make([]*question, len(queues))
	for i, q := range queues {
		questions[i] = &question{index: i, source: &q.Redis}
	}
	for pass := 0; len(questions) > 0; pass++ {
		var again []*question
		for len(questions) > 0 {
			n := r.fill(questions)
			if failure := r.exchange(ctx, questions[:n]); failure != nil {
				return failure
			}
			for _, q := range questions[:n] {
				reading, failure, more := r.reading(ctx, q)
				if more && pass < passesMost {
					again = append(again, q)
					continue
				}
				reading.Time = r.options.Now()
				deliver(q.index, reading, failure)
			}
			questions = questions[n:]
		}
		questions = again
	}
	return nil
}

func (r *reader) reading(ctx context.Context, q *question) (queue.Reading, *queue.Failure, bool) {
	if q.source.Stream.Key == "" {
		return r.answer(q)
	}
	reading, failure := q.answerStream(func() (*int64, *queue.Failure) { return r.entriesAdded(ctx, q.source.Stream.Key) })
	return reading, failure, false
}

// fill chooses how many of the questions go into one pipeline, and writes their commands.
func (r *reader) fill(questions []*question) int {
	commands := 0
	for i, q := range questions {
		q.ask(r.types)
		commands += len(q.commands)
		if commands > pipelineMost && i > 0 {
			return i
		}
	}
	return len(questions)
}

// exchange sends the commands of questions, and waits for all replies.
func (r *reader) exchange(ctx context.Context, questions []*question) *queue.Failure {
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	pipe := r.client.Pipeline()
	for _, q := range questions {
		for i := range q.commands {
			q.commands[i].reply = pipe.Do(ctx, q.commands[i].args()...)
		}
	}
	r.allow(pipe.Len())
	if _, err := pipe.Exec(ctx); err != nil {
		for _, q := range questions {
			for _, c := range q.commands {
				if failure := r.failureOf(c.reply.Err()); failure != nil {
					return failure
				}
			}
		}
	}
	return nil
}

func (r *reader) allow(commands int) {
	if conn := r.conn.Load(); conn != nil {
		conn.Allow(connectionBytes + commandBytes*int64(commands))
	}
}

// failureOf is the failure of the whole server that err stands for; nil where it is the answer to one command.
func (r *reader) failureOf(err error) *queue.Failure {
	if err == nil {
		return nil
	}
	if text, ok := errorReply(err); ok {
		return serverFailure(text, r.anonymous)
	}
	if conn := r.conn.Load(); conn != nil && conn.Failure() != nil {
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

// entriesAdded asks for a stream's own counter. The reply has the first and the last entry in it, which may be too large to be accepted;
// so it is asked for only where it cannot be done without, and in a round trip of its own.
func (r *reader) entriesAdded(ctx context.Context, key string) (*int64, *queue.Failure) {
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	r.allow(1)
	value, err := r.client.Do(ctx, "XINFO", "STREAM", key).Result()
	if err != nil {
		if text, ok := errorReply(err); ok {
			return nil, keyFailure(text, "XINFO STREAM", key)
		}
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check the size of its first and last entry",
			"not telling XINFO STREAM of key %q within bounds", key)
	}
	added, ok := parseEntriesAdded(value)
	if !ok {
		return nil, invalid("XINFO STREAM")
	}
	return added, nil
}
