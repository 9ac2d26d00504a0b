// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// declaresMost is the number of declares in flight; each has a channel of its own, for a missing queue closes the channel. channelsMost is
	// that of all channels: one whose declare is not answered stays taken until it is, and another does its work.
	declaresMost, channelsMost = 16, 64
	// exchangeBytes is what a server may send at login, or until the next declare: some 600 bytes for each channel.
	exchangeBytes = 64 << 10
	// heartbeat is how often each side is heard at the least. goodbye is how long the server may take to take leave.
	heartbeat = 10 * time.Second
	goodbye   = time.Second
)

const checkBroker = "Check that the url leads to RabbitMQ's AMQP port"

// amqpReader reads queues of one virtual host by declaring them passively, over one connection.
type amqpReader struct {
	conn   *amqpConn
	client *amqp.Connection
	vhost  string
	now    func() time.Time
	closed context.Context
	end    context.CancelFunc
	// free are channels that no declare uses; nil stands for one that is not open. spare has a token for each that may yet replace a hung one.
	free  chan *amqp.Channel
	spare chan struct{}
	// first is where queues that are doubted get channels before others do.
	first chan *amqp.Channel
	// doubts has room for queues that did not answer in time when they were asked last, if ever: they leave some channels to the others.
	doubts chan struct{}

	mu sync.Mutex
	// hung are declares that got no answer yet in all the time that they had, by their queues.
	hung map[string]*declare
	// turns counts what was asked.
	turns  uint64
	memory map[string]*memory
}

// amqpConn is a connection that remembers when it was heard, and how it ended: the client library keeps the words alone.
type amqpConn struct {
	*queue.Conn
	frames frames
	// heard is when bytes arrived last, methods how many frames other than heartbeats did.
	heard, methods atomic.Int64
	ended          atomic.Pointer[error]
}

// Read is net.Conn's.
func (c *amqpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.ended.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (c *amqpConn) scan(bytes []byte) bool {
	ok := c.frames.scan(bytes)
	c.heard.Store(time.Now().UnixNano())
	c.methods.Store(int64(c.frames.methods))
	return ok
}

// login is an amqp.Authentication that forgets. The library's own is kept as long as the connection.
type login struct{ response string }

// Mechanism is amqp.Authentication's.
func (*login) Mechanism() string { return "PLAIN" }

// Response is amqp.Authentication's.
func (l *login) Response() string { return l.response }

// openAMQP connects to the virtual host that is the endpoint's path, / where there is none.
func openAMQP(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	if o.Username == "" || o.Password == "" {
		return nil, queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "Name a Secret with username and password in auth.secretRef", "asking for credentials")
	}
	conn, failure := dialAMQP(ctx, o)
	if failure != nil {
		return nil, failure
	}
	r := &amqpReader{conn: conn, vhost: cmp.Or(o.Endpoint.Path, "/"), now: o.Now, hung: map[string]*declare{}, memory: map[string]*memory{}}
	l := &login{"\x00" + o.Username + "\x00" + o.Password}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, err := amqp.Open(conn, amqp.Config{
		SASL: []amqp.Authentication{l}, Vhost: r.vhost, ChannelMax: channelsMost, FrameSize: frameMost, Heartbeat: heartbeat, Locale: "en_US",
		Properties: amqp.Table{"product": "QueueScaler", "connection_name": "queuescaler"},
	})
	l.response = ""
	r.client = client
	if !stop() || err != nil {
		_ = conn.Close()
		_ = client.Close()
		return nil, r.loginFailure(ctx, err, o.TLS != nil)
	}
	r.share(int(client.Config.ChannelMax)) // the server may allow fewer
	r.closed, r.end = context.WithCancel(context.Background())
	return r, nil
}

func dialAMQP(ctx context.Context, o queue.ConnectOptions) (*amqpConn, *queue.Failure) {
	raw, err := o.Dial(ctx)
	if err == nil && o.TLS != nil {
		raw, err = queue.Handshake(ctx, raw, o.TLS)
	}
	if err != nil {
		return nil, queue.ConnectFailure(err)
	}
	c := &amqpConn{}
	c.Conn = queue.NewConn(raw, exchangeBytes, c.scan)
	return c, nil
}

// loginFailure is why the server did not let us in.
func (r *amqpReader) loginFailure(ctx context.Context, err error, secure bool) *queue.Failure {
	var said *amqp.Error
	refused := errors.As(err, &said) && said.Server
	ended := r.conn.ended.Load()
	switch {
	case r.conn.Failure() != nil:
		return r.conn.Failure()
	case ctx.Err() != nil:
		return queue.ConnectFailure(ctx.Err())
	case refused && said.Code == amqp.AccessRefused:
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting the credentials")
	case refused && said.Code == amqp.NotAllowed:
		return r.vhostFailure(said.Reason)
	case refused:
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "refusing the login with AMQP error %d", said.Code)
	case errors.Is(err, amqp.ErrSASL):
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "Let the server offer the mechanism PLAIN", "not offering to log in with a password")
	case ended != nil && r.conn.methods.Load() == 1 && (errors.Is(*ended, io.EOF) || errors.Is(*ended, syscall.ECONNRESET)):
		// RabbitMQ says nothing of a wrong password, and hangs up 3 s after it.
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting the credentials")
	case ended != nil && r.conn.methods.Load() == 0:
		return queue.LoginFailure(*ended, secure)
	}
	return r.broken()
}

// vhostFailure is why a virtual host was refused, of which the server has but words.
func (r *amqpReader) vhostFailure(reason string) *queue.Failure {
	switch {
	case strings.Contains(reason, "not found"):
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Create it, or correct rabbitMQ.vhost", "without virtual host %q", r.vhost)
	case strings.Contains(reason, "refused for user"):
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Give the user permissions there, if only empty ones: see rabbitmqctl set_permissions",
			"denying virtual host %q to the user", r.vhost)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log: it may be a limit of connections, or a virtual host that is down",
		"refusing connections to virtual host %q", r.vhost)
}

// broken is why the connection is of no use any more.
func (r *amqpReader) broken() *queue.Failure {
	ended := r.conn.ended.Load()
	switch {
	case r.conn.Failure() != nil:
		return r.conn.Failure()
	case ended != nil && queue.IsNetwork(*ended):
		return queue.ConnectFailure(*ended)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkBroker, "sending what is no reply")
}

// Connections is the number of open connections.
func (r *amqpReader) Connections() int {
	if r.client.IsClosed() {
		return 0
	}
	return 1
}

// Close takes leave of the server, and ends Reads.
func (r *amqpReader) Close() {
	r.end()
	impatient := time.AfterFunc(goodbye, func() { _ = r.conn.Close() })
	_ = r.client.Close()
	impatient.Stop()
	_ = r.conn.Close()
	for range cap(r.free) {
		<-r.free // so that no declare is left
	}
	for range cap(r.spare) {
		<-r.spare
	}
}

// Read declares each queue once, however many read it; see queue.Reader.
func (r *amqpReader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()
	wanted := map[string][]int{}
	for i, q := range queues {
		wanted[q.RabbitMQ.Queue] = append(wanted[q.RabbitMQ.Queue], i)
	}
	var mu sync.Mutex
	var lost *queue.Failure
	read := func(name string) bool {
		reading, failure, server := r.ask(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case server == nil && lost == nil:
			for _, i := range wanted[name] {
				deliver(i, reading, failure)
			}
		case lost == nil:
			lost = server
			cancel() // what becomes of the others then is no news
		}
		return lost == nil
	}
	var wait sync.WaitGroup
	answering, doubtful := r.inTurn(wanted)
	eachOf(&wait, answering, cap(r.free), read)
	eachOf(&wait, doubtful, cap(r.doubts), read)
	wait.Wait()
	return lost
}

// readingOf is what an answer says of a queue, or of the server.
func (r *amqpReader) readingOf(name string, a answer) (queue.Reading, *queue.Failure, *queue.Failure) {
	var said *amqp.Error
	switch {
	case a.err == nil && a.queue.Name == name && a.queue.Messages >= 0:
		reading, failure := r.believe(name, a.queue)
		return reading, failure, nil
	case errors.As(a.err, &said) && said.Server && !r.client.IsClosed():
		r.refused(name)
		return queue.Reading{}, r.refusal(name, said), nil
	case said != nil && said.Server:
		return queue.Reading{}, nil, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "closing connections with AMQP error %d", said.Code)
	}
	return queue.Reading{}, nil, r.broken()
}

// refusal is why a queue's length is not told.
func (r *amqpReader) refusal(name string, said *amqp.Error) *queue.Failure {
	switch {
	case said.Code == amqp.NotFound && strings.Contains(said.Reason, "inaccessible"):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Start the node of the queue", "without a node that has queue %q", name)
	case said.Code == amqp.NotFound:
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Declare the queue, or correct rabbitMQ.queue and rabbitMQ.vhost",
			"without queue %q in virtual host %q", name, r.vhost)
	case said.Code == amqp.AccessRefused:
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit the user to declare it passively", "denying queue %q to the user", name)
	case said.Code == amqp.ResourceLocked:
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Declare the queue without exclusive", "denying queue %q, which is exclusive to another connection,", name)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "answering AMQP error %d about queue %q", said.Code, name)
}
