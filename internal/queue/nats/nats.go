// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package natsjs reads durable consumers of NATS JetStream: one request for each consumer and one for each stream, all in flight at
// once on one connection.
package natsjs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// window is the number of requests in flight, apart from those that wait for longer than patience.
	window   = 64
	patience = 250 * time.Millisecond
	// replyBytes is what one queue's replies may take, connectionBytes what the server may send besides.
	replyBytes      = 16 << 10
	connectionBytes = 1 << 20
)

// reader is a queue.Reader.
type reader struct {
	nc    *nats.Conn
	conn  *queue.Conn
	inbox string
	// anonymous is true where no credentials were given.
	anonymous bool
	now       func() time.Time
	closed    chan struct{}

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]waiting
	// denied is why no reply can come: the inbox may not be subscribed to.
	denied *queue.Failure
}

// waiting is a request without a reply yet.
type waiting struct {
	subject string
	request int
	replies chan<- reply
}

// reply is the answer to a request of a batch.
type reply struct {
	request int
	data    []byte
	// unheard is true where nobody is there to reply.
	unheard bool
	failure *queue.Failure
}

var _ queue.Open = Open

// Open connects to a NATS server.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	login, failure := loginOf(&o)
	if failure != nil {
		return nil, failure
	}
	defer login.forget()
	r := &reader{waiting: map[uint64]waiting{}, closed: make(chan struct{}), now: o.Now, anonymous: login.key == nil && o.Password == "" && o.Token == ""}
	d := &dialer{ctx: ctx, options: o}
	options := nats.GetDefaultOptions()
	options.Url = "nats://" + o.Endpoint.Address()
	options.Name = "queuescaler"
	login.into(&options, &o)
	options.AllowReconnect = false // the Pool connects anew, with the Secret as it is then
	options.IgnoreDiscoveredServers = true
	options.SkipHostLookup = true
	options.Timeout = queue.ConnectTimeout
	options.CustomDialer = d
	options.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { r.asyncError(err) }
	options.ClosedCB = func(*nats.Conn) { close(r.closed) }

	nc, err := options.Connect()
	if d.ended != nil {
		d.ended()
	}
	if err != nil {
		return nil, connectFailure(err, d, r.anonymous)
	}
	r.nc, r.conn, r.inbox = nc, d.conn, nats.NewInbox()
	if _, err := nc.Subscribe(r.inbox+".*", r.receive); err != nil {
		r.Close()
		return nil, queue.ConnectFailure(err)
	}
	return r, nil
}

// dialer makes connections for the client library: it reads the server's greeting, which comes before TLS, and does the TLS handshake
// itself, so that what the server sends can be checked before the library sees it.
type dialer struct {
	ctx     context.Context
	options queue.ConnectOptions
	conn    *queue.Conn
	// secure is true once the TLS handshake is over.
	secure bool
	// failure is why the last connection was not made; ended stops the watch over ctx.
	failure *queue.Failure
	ended   func() bool
}

// SkipTLSHandshake tells the library that the connection has TLS where it needs it.
func (d *dialer) SkipTLSHandshake() bool { return true }

// Dial is called once by the library.
func (d *dialer) Dial(_, _ string) (net.Conn, error) {
	conn, err := d.dial()
	if err != nil {
		d.failure = queue.ConnectFailure(err)
		return nil, err
	}
	return conn, nil
}

func (d *dialer) dial() (net.Conn, error) {
	conn, err := d.options.Dial(d.ctx)
	if err != nil {
		return nil, err
	}
	raw := conn
	d.ended = context.AfterFunc(d.ctx, func() { _ = raw.Close() })
	_ = conn.SetDeadline(time.Now().Add(queue.ConnectTimeout))
	greeting, offersTLS, needsTLS, err := greet(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	config := d.options.TLS
	if config != nil && !offersTLS && !needsTLS {
		_ = conn.Close()
		return nil, queue.Fail(capacityv1alpha1.ReasonTLSFailed, "Switch TLS on in the server, or remove it from url and spec", "not offering TLS")
	}
	if config == nil && needsTLS {
		config = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.options.Endpoint.Host}
	}
	if config != nil {
		if conn, err = queue.Handshake(d.ctx, conn, config); err != nil {
			return nil, err
		}
	}
	_ = conn.SetDeadline(time.Time{})
	d.secure = config != nil
	d.conn = queue.NewConn(&replay{Conn: conn, head: greeting}, connectionBytes, new(scanner).scan)
	return d.conn, nil
}

// greet reads the INFO line, byte by byte: what follows it may be TLS.
func greet(conn net.Conn) (line []byte, offersTLS, needsTLS bool, err error) {
	garbage := queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a NATS server", "not greeting as a NATS server does")
	const prefix = "INFO "
	var b [1]byte
	for len(line) == 0 || line[len(line)-1] != '\n' {
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return nil, false, false, err
		}
		line = append(line, b[0])
		if len(line) > lineMost || len(line) <= len(prefix) && !strings.EqualFold(prefix[:len(line)], string(line)) {
			return nil, false, false, garbage
		}
	}
	var info struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	if len(line) <= len(prefix) || json.Unmarshal(line[len(prefix):], &info) != nil {
		return nil, false, false, garbage
	}
	return line, info.Available, info.Required, nil
}

// replay is a connection whose first bytes were read before.
type replay struct {
	net.Conn
	head []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// connectFailure says why there is no connection.
func connectFailure(err error, d *dialer, anonymous bool) *queue.Failure {
	if d.failure != nil {
		return d.failure
	}
	if d.conn != nil {
		if f := d.conn.Failure(); f != nil {
			return f
		}
	}
	if f := queue.LoginFailure(err, d.secure); f.Reason == capacityv1alpha1.ReasonTLSFailed {
		return f
	}
	return failureOf(err, anonymous)
}

func failureOf(err error, anonymous bool) *queue.Failure {
	for _, auth := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, auth) {
			what := "rejecting the credentials"
			if anonymous {
				what = "requiring credentials"
			}
			return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "%s", what)
		}
	}
	switch {
	case errors.Is(err, nats.ErrNkeysNotSupported):
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "not asking for a key, which the Secret's nkey is,")
	case errors.Is(err, nats.ErrMaxConnectionsExceeded), errors.Is(err, nats.ErrMaxAccountConnectionsExceeded):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Raise max_connections of the server or account", "at its limit of connections")
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrStaleConnection):
		return queue.ConnectFailure(context.DeadlineExceeded)
	case err == nil, errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrNoServers):
		return queue.ConnectFailure(io.EOF)
	}
	return queue.ConnectFailure(err)
}

var quoted = regexp.MustCompile(`"([^"]+)"`)

// asyncError learns of permissions that are missing: the server says so instead of replying.
func (r *reader) asyncError(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	match := quoted.FindStringSubmatch(err.Error())
	if match == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.inbox != "" && strings.HasPrefix(match[1], r.inbox)
	if all {
		r.denied = queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit the user to subscribe to _INBOX.>", "denying the subscription to replies")
	}
	for token, w := range r.waiting {
		if all || w.subject == match[1] {
			delete(r.waiting, token)
			w.replies <- reply{request: w.request, failure: r.denial(w.subject)}
		}
	}
}

// denial is the failure for a subject that may not be published to. The mutex is held.
func (r *reader) denial(subject string) *queue.Failure {
	if r.denied != nil {
		return r.denied
	}
	return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit the user to publish to "+subject, "denying a request about the queue")
}

// expect registers a request, and returns its token.
func (r *reader) expect(w waiting) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.waiting[r.next] = w
	return r.next
}

func (r *reader) forget(token uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, token)
}

func (r *reader) replyTo(token uint64) string { return r.inbox + "." + strconv.FormatUint(token, 10) }

// receive hands a reply to the batch that waits for it.
func (r *reader) receive(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	w, ok := r.waiting[token]
	delete(r.waiting, token)
	r.mu.Unlock()
	if !ok {
		return // too late, or never asked for
	}
	answer := reply{request: w.request, data: m.Data}
	answer.unheard = len(m.Data) == 0 && m.Header.Get("Status") == "503"
	w.replies <- answer
}

// Connections is 1 until the connection ends.
func (r *reader) Connections() int {
	if r.nc.IsClosed() {
		return 0
	}
	return 1
}

// Close ends the connection, its goroutines and Reads.
func (r *reader) Close() {
	r.nc.Close()
	<-r.closed
}

// Read asks for all queues at once; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	r.conn.Allow(connectionBytes + replyBytes*int64(len(queues)))
	if f := r.refusal(); f != nil {
		return f
	}
	b := newBatch(queues, deliver)
	f := newFlight(r, b.requests)
	defer f.forget()
	check := time.NewTicker(patience / 5)
	defer check.Stop()
	for f.open > 0 {
		if f.send() != nil {
			return r.lost()
		}
		select {
		case a := <-f.replies:
			f.replied = true
			if f.end(a.request) {
				b.accept(a, r.now())
			}
		case <-check.C:
			late := f.late()
			if len(late) > 0 && !f.replied && !r.alive(ctx) {
				return r.lost()
			}
			for _, request := range late {
				f.end(request)
				b.accept(reply{request: request, failure: b.silence(request)}, r.now())
			}
		case <-r.closed:
			return r.lost()
		case <-ctx.Done():
			return queue.ConnectFailure(ctx.Err())
		}
	}
	return r.refusal()
}

// refusal is why no reply can come.
func (r *reader) refusal() *queue.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.denied
}

// alive asks the server for a sign of life: it may be one stream without a leader that is silent, or all of it.
func (r *reader) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return r.nc.FlushWithContext(ctx) == nil
}

// lost is why the connection ended or is of no use.
func (r *reader) lost() *queue.Failure {
	if f := r.conn.Failure(); f != nil {
		return f
	}
	if !r.nc.IsClosed() {
		return queue.ConnectFailure(context.DeadlineExceeded)
	}
	return failureOf(r.nc.LastError(), r.anonymous)
}
