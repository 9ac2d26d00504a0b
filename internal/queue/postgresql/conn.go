// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package postgresq

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// messageMost bounds one message of the server, exchangeBytes all that it may send at login, or about one query.
	messageMost   = 64 << 10
	exchangeBytes = 256 << 10
	// begin is said before each query, and statement_timeout is shorter than queue.ReplyTimeout: a slow query fails alone.
	begin = "BEGIN READ ONLY; SET LOCAL statement_timeout = 2000; SET LOCAL client_min_messages = error"
	// The query is wrapped: that makes a SELECT of it, whatever it is, and bounds its reply to two rows of 4,096 characters.
	wrapBefore, wrapAfter = "SELECT left(row_to_json(reading)::text, 4096) FROM (\n", "\n) AS reading LIMIT 2"
)

const checkServer = "Check that the url leads to a PostgreSQL server"

// login is how connections are made.
type login struct {
	dial func(ctx context.Context) (net.Conn, error)
	tls  *tls.Config
}

// conn is a connection, used by one query at a time.
type conn struct {
	*queue.Conn
	frontend *pgproto3.Frontend
}

// configOf are the settings of the client library, which would take those that are not given here from the environment and from files.
func configOf(o queue.ConnectOptions) (*pgconn.Config, *queue.Failure) {
	config, err := pgconn.ParseConfig("host=server port=5432 database=none user=none password=none passfile='' " +
		"sslmode=disable sslrootcert='' sslcertmode=disable sslnegotiation=postgres connect_timeout=0 target_session_attrs=any " +
		"min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=disable require_auth=''")
	if err != nil {
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Start the operator without PGSERVICE in its environment", "not connected, because of the operator's environment,")
	}
	config.Database, config.User, config.Password = o.Endpoint.Path, o.Username, o.Password
	config.RuntimeParams = map[string]string{"application_name": "queuescaler", "client_encoding": "UTF8"}
	config.MaxProtocolMessageBodyLen = messageMost
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"server"}, nil }
	return config, nil
}

// connect makes a connection and logs in.
func connect(ctx context.Context, shared *pgconn.Config, l login) (*conn, *queue.Failure) {
	var guarded *queue.Conn
	var dialled atomic.Bool
	config := shared.Copy()
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, net.ErrClosed // a request to cancel: statement_timeout does that
		}
		raw, err := l.open(ctx)
		if err != nil {
			return nil, queue.ConnectFailure(err)
		}
		guarded = queue.NewConn(raw, exchangeBytes, func([]byte) bool { return true })
		return guarded, nil
	}
	pg, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, loginFailure(err, guarded, l.tls != nil)
	}
	hijacked, err := pg.Hijack()
	if err != nil {
		_ = guarded.Close()
		return nil, queue.ConnectFailure(err)
	}
	return &conn{Conn: guarded, frontend: hijacked.Frontend}, nil
}

// open dials, and asks for TLS where that is wanted. A server that has none is refused.
func (l login) open(ctx context.Context) (net.Conn, error) {
	raw, err := l.dial(ctx)
	if err != nil || l.tls == nil {
		return raw, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	answer := make([]byte, 1)
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err == nil {
		_, err = raw.Write(request)
	}
	if err == nil {
		_, err = io.ReadFull(raw, answer)
	}
	stop()
	switch {
	case err == nil && answer[0] == 'S':
		return queue.Handshake(ctx, raw, l.tls)
	case err == nil && answer[0] == 'N':
		err = queue.Fail(capacityv1alpha1.ReasonTLSFailed, "Switch ssl on in the server, or remove tls", "not offering TLS")
	case err == nil:
		err = queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "not speaking PostgreSQL")
	}
	_ = raw.Close()
	return nil, err
}

func (c *conn) close() { _ = c.Conn.Close() }

// ask runs a query in a transaction of its own, in one round trip. Its failure is that of the server, after which the connection is of no use.
func (c *conn) ask(ctx context.Context, query string) (answer, *queue.Failure) {
	query = strings.TrimRight(query, "; \t\r\n")
	if strings.ContainsRune(query, 0) {
		return answer{code: "42601"}, nil // it would end the query in mid-message
	}
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	c.Allow(exchangeBytes)
	a, err := c.exchange(wrapBefore + query + wrapAfter)
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		return answer{}, queue.ConnectFailure(ctx.Err())
	}
	return answer{}, c.failureOf(err)
}

// exchange sends everything at once. What follows the Sync is done even where the query fails.
func (c *conn) exchange(query string) (a answer, err error) {
	c.frontend.SendQuery(&pgproto3.Query{String: begin})
	c.frontend.SendParse(&pgproto3.Parse{Query: query})
	c.frontend.SendBind(&pgproto3.Bind{})
	c.frontend.SendExecute(&pgproto3.Execute{})
	c.frontend.SendSync(&pgproto3.Sync{})
	c.frontend.SendQuery(&pgproto3.Query{String: "ROLLBACK"})
	if err := c.frontend.Flush(); err != nil {
		return answer{}, err
	}
	for ready := 0; ready < 3; {
		message, err := c.frontend.Receive()
		if err != nil {
			return answer{}, err
		}
		switch m := message.(type) {
		case *pgproto3.ReadyForQuery:
			ready++
		case *pgproto3.DataRow:
			a.add(m.Values)
		case *pgproto3.ErrorResponse:
			failed := pgconn.ErrorResponseToPgError(m)
			if failed.SeverityUnlocalized != "ERROR" && failed.Severity != "ERROR" {
				return answer{}, failed // the server ends the connection
			}
			if a.code == "" {
				a.code = cmp.Or(failed.Code, "none")
			}
		}
	}
	return a, nil
}

// failureOf is why a connection broke.
func (c *conn) failureOf(err error) *queue.Failure {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return serverFailure(pg.Code)
	}
	if f := c.Failure(); f != nil {
		return f
	}
	if queue.IsNetwork(err) {
		return queue.ConnectFailure(err)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "sending replies that make no sense")
}

// loginFailure is why no connection could be made; c is nil where there was none.
func loginFailure(err error, c *queue.Conn, secure bool) *queue.Failure {
	failure := (&conn{Conn: c}).loginFailureOf(err)
	if c != nil && queue.IsNetwork(err) && failure.Reason == capacityv1alpha1.ReasonQueueUnavailable {
		return queue.LoginFailure(err, secure)
	}
	return failure
}

func (c *conn) loginFailureOf(err error) *queue.Failure {
	if c.Conn == nil {
		return queue.ConnectFailure(err)
	}
	return c.failureOf(err)
}
