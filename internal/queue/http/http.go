// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpq reads queues of which an HTTP server tells in JSON: one GET for each at a poll.
package httpq

import (
	"context"
	"net/http"
	"net/url"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// replyBytes bounds the reply for one queue.
const replyBytes = 64 << 10

// reader is a queue.Reader.
type reader struct {
	http      *queue.HTTPClient
	anonymous bool
	now       func() time.Time
	// closed ends with Close.
	closed context.Context
	close  context.CancelFunc
}

var _ queue.Open = Open

// Open asks for nothing: only the queues have paths. The first Read tells whether the server answers and the credentials are good.
func Open(_ context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	r := &reader{http: queue.NewHTTPClient(o), now: o.Now, anonymous: o.Username == "" && o.Password == "" && o.Token == ""}
	r.closed, r.close = context.WithCancel(context.Background())
	return r, nil
}

// Connections is the number of open connections.
func (r *reader) Connections() int { return r.http.Connections() }

// Close ends the connections, and Reads.
func (r *reader) Close() {
	r.close()
	r.http.Close()
}

// Read asks for all queues; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	read := func(ctx, _ context.Context, i int) (queue.Reading, *queue.Failure, bool) {
		return r.readOne(ctx, &queues[i].HTTP)
	}
	return queue.ReadEach(ctx, r.closed, len(queues), read, deliver)
}

// readOne reads one queue; everywhere is true for a failure of the server. A server may do one path badly and others well, so what it
// answers is about the path alone.
func (r *reader) readOne(ctx context.Context, source *capacityv1alpha1.HTTPSource) (queue.Reading, *queue.Failure, bool) {
	to, err := url.Parse(source.Path)
	if err != nil || to.IsAbs() || to.Host != "" {
		return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonAddressRefused, "Correct http.path: /queues/mail, for example", "not asked, because the path is malformed,"), false
	}
	if _, err := url.ParseQuery(to.RawQuery); err != nil {
		return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonAddressRefused, "Correct the query of http.path: escape ; as %3B and % as %25", "not asked, because the query of http.path is malformed,"), false
	}
	at := r.now()
	reply, failure := r.http.GetRaw(ctx, to.EscapedPath(), to.RawQuery, replyBytes)
	if failure != nil {
		return queue.Reading{}, failure, !failure.Alone()
	}
	if failure := r.refusal(reply); failure != nil {
		return queue.Reading{}, failure, false
	}
	reading, failure := parse(reply.Body, source)
	reading.Time = at
	return reading, failure, false
}

// refusal is what a status that is no success means; nil for success. Refused credentials (401) are about the path alone as well: whether the server
// would accept them for another path only that path can tell, and one path must not keep those of others unread.
func (r *reader) refusal(reply queue.HTTPReply) *queue.Failure {
	switch reply.Status {
	case http.StatusForbidden:
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit it to the user of the Secret", "denying the path")
	case http.StatusNotFound, http.StatusGone:
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct url and http.path", "without the path (HTTP %d)", reply.Status)
	}
	if failure := reply.StatusFailure(r.anonymous); failure != nil {
		return failure
	}
	if reply.Status > 299 {
		return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Correct http.path", "answering HTTP %d to the path", reply.Status)
	}
	return nil
}
