// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// dialAddress connects to host:port. The address is judged after DNS resolution, so that no name leads to a refused one.
func dialAddress(ctx context.Context, address string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout:   ConnectTimeout,
		KeepAlive: 15 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || refused(to.Addr()) {
				return addressRefused()
			}
			return nil
		},
	}
	return d.DialContext(ctx, "tcp", address)
}

// dialer returns a function that connects to e.
func dialer(e Endpoint) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return dialAddress(ctx, e.Address()) }
}

// Handshake makes conn a TLS connection within ConnectTimeout, whatever ctx allows: net/http dials with one that does not end. It closes
// conn on error.
func Handshake(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if isTimeout(err) {
			return nil, Fail(capacityv1alpha1.ReasonTLSFailed, "Check that the server speaks TLS on this port", "silent at the TLS handshake")
		}
		return nil, err
	}
	return secure, nil
}

// Conn is a connection that ends when the server sends more than it was allowed to, or what its protocol does not have. Client
// libraries believe the sizes that a server declares; a hostile one could make them allocate without bound, or panic.
type Conn struct {
	net.Conn
	allowed atomic.Int64
	scan    func([]byte) bool
	failure atomic.Pointer[Failure]
}

// NewConn wraps conn, with TLS already inside. scan sees every byte before the client library does, in order and from one goroutine at a time;
// it returns false where the bytes break the protocol or declare too much.
func NewConn(conn net.Conn, allow int64, scan func([]byte) bool) *Conn {
	c := &Conn{Conn: conn, scan: scan}
	c.Allow(allow)
	return c
}

// Allow lets the server send at least so many bytes from now on.
func (c *Conn) Allow(bytes int64) {
	for {
		left := c.allowed.Load()
		if left >= bytes || c.allowed.CompareAndSwap(left, bytes) {
			return
		}
	}
}

// Failure says why the connection was ended by Read, or nil.
func (c *Conn) Failure() *Failure { return c.failure.Load() }

// Read is net.Conn's, within what is allowed.
func (c *Conn) Read(p []byte) (int, error) {
	if f := c.failure.Load(); f != nil {
		return 0, f
	}
	n, err := c.Conn.Read(p)
	switch {
	case c.allowed.Add(-int64(n)) < 0:
		return 0, c.end("sending far more than a reply has")
	case !c.scan(p[:n]):
		return 0, c.end("sending what is no reply")
	}
	return n, err
}

func (c *Conn) end(what string) *Failure {
	f := Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a queue server of that kind", "%s", what)
	c.failure.Store(f)
	_ = c.Conn.Close()
	return f
}

// OnClose calls f once the connection is closed.
func OnClose(conn net.Conn, f func()) net.Conn { return &watched{Conn: conn, closed: sync.OnceFunc(f)} }

type watched struct {
	net.Conn
	closed func()
}

// Close is net.Conn's.
func (w *watched) Close() error {
	w.closed()
	return w.Conn.Close()
}
