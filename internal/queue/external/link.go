// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/metadata"

	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

const (
	// replyBytes bounds one reply, headerBytes its header and its trailer. connectionBytes is what the server may send besides.
	replyBytes      = 16 << 10
	headerBytes     = 8 << 10
	connectionBytes = 64 << 10
	// callsEach is the number of calls for one reading.
	callsEach = 3
	// windowBytes is what the server may send of one stream, or of all, before it was read.
	windowBytes = 64 << 10
	// redialMost is the longest time between two attempts to connect.
	redialMost = 15 * time.Second
)

// The library's log is silenced before anything of the library runs, as it wants it: errors are values here.
var _ = quieten()

func quieten() grpclog.LoggerV2 {
	quiet := grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)
	grpclog.SetLoggerV2(quiet)
	return quiet
}

// link is a connection to a scaler, made again by the library when it ended.
type link struct {
	client externalscaler.ExternalScalerClient
	conn   *grpc.ClientConn
	token  string
	dial   func(context.Context) (net.Conn, error)
	// open counts connections: the old one may be there for a moment beside the new one.
	open atomic.Int64
	// heard counts what was received, in reads.
	heard atomic.Int64

	mu sync.Mutex
	// present is the newest connection; failed is why it, or the attempt to make another one, ended. The library tells no errors, only texts.
	present *queue.Conn
	failed  error
	secure  bool
	// allowance is what the largest batch lets the server send: batches overlap, and a connection made in the midst of one has to do for the rest of it.
	allowance int64
}

// newLink makes one that does not connect yet. It uses no proxy, and asks nobody how to call.
func newLink(o queue.ConnectOptions) (*link, error) {
	l := &link{token: o.Token, dial: o.Dial, secure: o.TLS != nil}
	retry := backoff.DefaultConfig
	retry.MaxDelay = redialMost
	conn, err := grpc.NewClient("passthrough:///"+o.Endpoint.Address(),
		grpc.WithTransportCredentials(&handshake{l, o}),
		grpc.WithContextDialer(l.connection),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: queue.ConnectTimeout + queue.ReplyTimeout}),
		grpc.WithUserAgent("queuescaler"),
		grpc.WithMaxHeaderListSize(headerBytes),
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(replyBytes)),
	)
	if err != nil {
		return nil, err
	}
	l.conn, l.client = conn, externalscaler.NewExternalScalerClient(conn)
	return l, nil
}

// connect waits until the server greeted.
func (l *link) connect(ctx context.Context) *queue.Failure {
	for {
		switch state := l.conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return l.failure()
		default:
			l.conn.Connect()
			if !l.conn.WaitForStateChange(ctx, state) {
				return queue.ConnectFailure(ctx.Err())
			}
		}
	}
}

// close ends the connection, and what is done over it.
func (l *link) close() { _ = l.conn.Close() }

// allow lets the server send replies about so many queues.
func (l *link) allow(queues int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := connectionBytes + int64(queues)*callsEach*(replyBytes+2*headerBytes)
	l.allowance = max(l.allowance, bytes)
	if l.present != nil {
		l.present.Allow(bytes)
	}
}

// failure is why there is no connection.
func (l *link) failure() *queue.Failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.present != nil && l.present.Failure() != nil {
		return l.present.Failure()
	}
	if l.failed == nil {
		return queue.Fail(invalid, "Check that the url leads to an external scaler", "not speaking gRPC")
	}
	return queue.LoginFailure(l.failed, l.secure)
}

// isUp is true where there is a connection.
func (l *link) isUp() bool { return l.open.Load() > 0 }

// hangUp ends the connection; the library makes another one. What else is asked over it is told why: nothing was read that says so.
func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.present != nil {
		l.failed = queue.ConnectFailure(context.DeadlineExceeded)
		_ = l.present.Close()
	}
}

// connection is a TCP connection, which the handshake then makes use of.
func (l *link) connection(ctx context.Context, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, queue.ConnectTimeout)
	defer cancel()
	conn, err := l.dial(ctx)
	if err != nil {
		l.mu.Lock()
		l.present, l.failed = nil, err
		l.mu.Unlock()
		return nil, err
	}
	l.open.Add(1)
	return queue.OnClose(conn, func() { l.open.Add(-1) }), nil
}

func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// withToken is ctx for a call.
func (l *link) withToken(ctx context.Context) context.Context {
	if l.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+l.token)
}

// handshake is the library's credentials.TransportCredentials, with or without TLS.
type handshake struct {
	link    *link
	options queue.ConnectOptions
}

// authInfo is what a call can know of its connection.
type authInfo struct{ credentials.CommonAuthInfo }

// AuthType is credentials.AuthInfo's.
func (authInfo) AuthType() string { return "queuescaler" }

// ClientHandshake makes conn what calls go over.
func (h *handshake) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	level := credentials.NoSecurity
	if h.options.TLS != nil {
		config := h.options.TLS.Clone()
		config.NextProtos = []string{"h2"}
		secure, err := queue.Handshake(ctx, conn, config)
		if err != nil {
			h.link.note(err)
			return nil, nil, err
		}
		conn, level = secure, credentials.PrivacyAndIntegrity
	}
	h.link.mu.Lock()
	defer h.link.mu.Unlock()
	bounded := queue.NewConn(&noting{conn, h.link}, max(connectionBytes, h.link.allowance), greeting())
	h.link.present, h.link.failed = bounded, nil
	return bounded, authInfo{credentials.CommonAuthInfo{SecurityLevel: level}}, nil
}

// ServerHandshake is for servers.
func (h *handshake) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.ErrUnsupported
}

// Info is what decides on the scheme of calls.
func (h *handshake) Info() credentials.ProtocolInfo {
	if h.options.TLS == nil {
		return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
	}
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone is credentials.TransportCredentials's.
func (h *handshake) Clone() credentials.TransportCredentials { return &handshake{h.link, h.options} }

// OverrideServerName is credentials.TransportCredentials's, which nobody calls.
func (h *handshake) OverrideServerName(string) error { return errors.ErrUnsupported }

// greeting is a scan of queue.NewConn: what a server of HTTP/2 sends first is a frame of settings, type 4 of at most 16 KiB.
func greeting() func([]byte) bool {
	var head []byte
	return func(sent []byte) bool {
		if missing := 5 - len(head); missing > 0 {
			head = append(head, sent[:min(missing, len(sent))]...)
		}
		return (len(head) < 1 || head[0] == 0) && (len(head) < 2 || head[1] <= 64) && (len(head) < 4 || head[3] == 4)
	}
}

// noting tells the link why a connection ended.
type noting struct {
	net.Conn
	link *link
}

// Read is net.Conn's.
func (n *noting) Read(p []byte) (int, error) {
	read, err := n.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		n.link.note(err)
	}
	n.link.heard.Add(1)
	return read, err
}
