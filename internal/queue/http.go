// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// httpConnections is the number of connections to one HTTP server, httpIdle how long one is kept that nobody uses.
	httpConnections = 4
	httpIdle        = 90 * time.Second
	// httpHeaderBytes bounds the header of a reply.
	httpHeaderBytes = 64 << 10
)

// HTTPClient asks one server over HTTP, through at most four connections. It follows no redirect and uses no proxy: the credentials are
// for the server of the url alone.
type HTTPClient struct {
	client *http.Client
	base   url.URL
	// sign puts the credentials into a request.
	sign func(*http.Request)
	open atomic.Int64
}

// NewHTTPClient makes a client of the endpoint: with basic authentication for a username, with a bearer token for a token.
func NewHTTPClient(o ConnectOptions) *HTTPClient {
	c := &HTTPClient{base: url.URL{Scheme: "http", Host: o.Endpoint.Address(), Path: o.Endpoint.Path}, sign: func(*http.Request) {}}
	username, password, token := o.Username, o.Password, o.Token
	switch {
	case token != "":
		c.sign = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	case username != "" || password != "":
		c.sign = func(r *http.Request) { r.SetBasicAuth(username, password) }
	}
	if o.TLS != nil {
		c.base.Scheme = "https"
	}
	dial, secure := o.Dial, o.TLS
	c.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.counted(dialed(dial(ctx))) },
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := dialed(dial(ctx))
				if err != nil {
					return nil, err
				}
				return c.counted(dialed(Handshake(ctx, conn, secure)))
			},
			MaxConnsPerHost: httpConnections, MaxIdleConnsPerHost: httpConnections, IdleConnTimeout: httpIdle,
			ResponseHeaderTimeout: ReplyTimeout, MaxResponseHeaderBytes: httpHeaderBytes,
		},
	}
	return c
}

// HTTPReply is a reply: its status and, if that is 2xx, its body.
type HTTPReply struct {
	Status int
	Body   []byte
}

// Get is GetRaw with a query of these values.
func (c *HTTPClient) Get(ctx context.Context, path string, query url.Values, limit int64) (HTTPReply, *Failure) {
	return c.GetRaw(ctx, path, query.Encode(), limit)
}

// GetRaw asks for a path below the url's own, which is sent as it is written, like the query: servers tell a//b from a/b. A reply of more than limit bytes is a failure, as is one that takes longer than
// ReplyTimeout; one with another status than 2xx is not, and has no body.
func (c *HTTPClient) GetRaw(ctx context.Context, path, query string, limit int64) (HTTPReply, *Failure) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout+ReplyTimeout)
	defer cancel()
	to := c.base.String()
	if path != "" {
		to = strings.TrimSuffix(to, "/") + "/" + strings.TrimPrefix(path, "/")
	}
	if query != "" {
		to += "?" + query
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to, http.NoBody)
	if err != nil {
		return HTTPReply{}, Fail(capacityv1alpha1.ReasonAddressRefused, "Correct the path", "not to be asked for that path")
	}
	c.sign(request)
	response, err := c.client.Do(request)
	if err != nil {
		return HTTPReply{}, httpFailure(err)
	}
	defer response.Body.Close()
	reply := HTTPReply{Status: response.StatusCode}
	if reply.Status < 200 || reply.Status > 299 {
		return reply, nil
	}
	reply.Body, err = io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return HTTPReply{}, httpFailure(err)
	case int64(len(reply.Body)) > limit:
		return HTTPReply{}, tooLarge()
	}
	return reply, nil
}

// Do sends a request as it is, for a client library that makes and signs its own. Its error is a *Failure. Where the reply's body has more than limit
// bytes, reading it ends with one.
func (c *HTTPClient) Do(request *http.Request, limit int64) (*http.Response, error) {
	response, err := c.client.Do(request)
	if err != nil {
		return nil, httpFailure(err)
	}
	response.Body = &boundedBody{ReadCloser: response.Body, left: limit}
	return response, nil
}

// boundedBody is a body that may not go on for ever.
type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read is io.Reader's.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLarge()
	}
	return n, err
}

func tooLarge() *Failure {
	return Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a queue server of that kind", "sending far more than a reply has")
}

// Connections is the number of open connections.
func (c *HTTPClient) Connections() int { return int(c.open.Load()) }

// Close ends the connections that nobody uses; those in use end with their requests.
func (c *HTTPClient) Close() { c.client.CloseIdleConnections() }

// StatusFailure is what a status that is no success says of the server; nil for those that speak of what was asked for alone
// (404 and other 4xx).
func (r HTTPReply) StatusFailure(anonymous bool) *Failure {
	const secret = "Correct the Secret in auth.secretRef"
	switch s := r.Status; {
	case s == http.StatusUnauthorized && anonymous:
		return Fail(capacityv1alpha1.ReasonAuthenticationFailed, "Name a Secret with username and password, or token, in auth.secretRef", "asking for credentials")
	case s == http.StatusUnauthorized:
		return Fail(capacityv1alpha1.ReasonAuthenticationFailed, secret, "refusing the credentials")
	case s == http.StatusTooManyRequests:
		return Fail(capacityv1alpha1.ReasonQueueUnavailable, "Raise pollSeconds, or the server's limit", "asking for fewer requests (HTTP 429)")
	case s >= 500:
		return Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "answering HTTP %d", s)
	case s >= 300 && s < 400:
		return Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Give the url that it redirects to: credentials are sent nowhere else", "answering with a redirect (HTTP %d)", s)
	case s < 200:
		return Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a queue server of that kind", "answering HTTP %d", s)
	}
	return nil
}

// httpFailure is ConnectFailure for an error of net/http, whose own errors are about replies that are no HTTP.
func httpFailure(err error) *Failure {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return Fail(capacityv1alpha1.ReasonTLSFailed, "Use a url without TLS, or switch TLS on in the server", "not speaking TLS")
	}
	var network net.Error
	if errors.As(err, &network) || isClosed(err) || tlsFailure(err) != nil || isTimeout(err) {
		var wrapped *url.Error
		if errors.As(err, &wrapped) && !wrapped.Timeout() && !overNetwork(wrapped.Err) {
			return Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a queue server of that kind", "not speaking HTTP")
		}
		return ConnectFailure(err)
	}
	return Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a queue server of that kind", "not speaking HTTP")
}

// overNetwork tells errors of a connection from those of what came over it. All errors of net/http are net.Errors.
func overNetwork(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) || errors.As(err, &dns) || isClosed(err) || isTimeout(err) || tlsFailure(err) != nil
}

// dialed marks a connection that was not made in time, so that it is told from a request that was not answered in time.
func dialed(conn net.Conn, err error) (net.Conn, error) {
	if err == nil || !isTimeout(err) {
		return conn, err
	}
	failure := *ConnectFailure(err)
	failure.connecting = true
	return nil, &failure
}

// counted counts a connection until it is closed.
func (c *HTTPClient) counted(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return OnClose(conn, func() { c.open.Add(-1) }), nil
}
