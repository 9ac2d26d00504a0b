// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package prometheusq reads queues of which Prometheus tells, by an instant query for each number.
package prometheusq

import (
	"context"
	"net/http"
	"net/url"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// queryTimeout is what the server is told: a slow query fails alone. queryBytes bounds the reply to one.
	queryTimeout = "2s"
	queryBytes   = 64 << 10
)

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

// Open asks a Prometheus server for the number 1.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	r := &reader{http: queue.NewHTTPClient(o), now: o.Now, anonymous: o.Username == "" && o.Password == "" && o.Token == ""}
	r.closed, r.close = context.WithCancel(context.Background())
	if _, failure, _ := r.ask(ctx, "vector(1)"); failure != nil {
		r.Close()
		return nil, failure
	}
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
	read := func(ctx, begin context.Context, i int) (queue.Reading, *queue.Failure, bool) {
		return r.readOne(ctx, begin, &queues[i].Prometheus)
	}
	return queue.ReadEach(ctx, r.closed, len(queues), read, deliver)
}

// readOne reads one queue; everywhere is true for a failure of the server. The reading is as old as its oldest sample.
func (r *reader) readOne(ctx, begin context.Context, source *capacityv1alpha1.PrometheusSource) (reading queue.Reading, failure *queue.Failure, everywhere bool) {
	var depth, inFlight, arrived, completed, age *float64
	reading.Time = r.now()
	for _, q := range []struct {
		field, query string
		to           **float64
		most         float64
	}{
		{"depthQuery", source.DepthQuery, &depth, queue.CountMost},
		{"inFlightQuery", source.InFlightQuery, &inFlight, queue.CountMost},
		{"arrivedTotalQuery", source.ArrivedTotalQuery, &arrived, queue.CountMost},
		{"completedTotalQuery", source.CompletedTotalQuery, &completed, queue.CountMost},
		{"oldestAgeSecondsQuery", source.OldestAgeSecondsQuery, &age, queue.AgeMost},
	} {
		if q.query == "" {
			continue
		}
		if failure := queue.WaitsTooLong(ctx, begin); failure != nil {
			return queue.Reading{}, failure, false
		}
		body, failure, everywhere := r.ask(ctx, q.query)
		if failure != nil {
			failure.What += of(q.field, everywhere)
			return queue.Reading{}, failure, everywhere
		}
		value, at, failure := parse(body, q.field, q.most)
		if failure != nil {
			return queue.Reading{}, failure, false
		}
		*q.to = &value
		if at.Before(reading.Time) {
			reading.Time = at
		}
	}
	reading.Depth = *queue.RoundUp(depth)
	reading.InFlight, reading.ArrivedTotal, reading.CompletedTotal = queue.RoundUp(inFlight), queue.RoundUp(arrived), queue.RoundUp(completed)
	if age != nil {
		d := time.Duration(*age * float64(time.Second))
		reading.OldestAge = &d
	}
	return reading, nil, false
}

// of names the field of a failure of one query.
func of(field string, everywhere bool) string {
	if everywhere {
		return ""
	}
	return " of " + field
}

// ask runs an instant query; everywhere is true for a failure of the server.
func (r *reader) ask(ctx context.Context, query string) (body []byte, failure *queue.Failure, everywhere bool) {
	// limit is unknown to older servers, which then may send more than is accepted.
	reply, failure := r.http.Get(ctx, "api/v1/query", url.Values{"query": {query}, "timeout": {queryTimeout}, "limit": {"2"}}, queryBytes)
	if failure != nil {
		switch {
		case !failure.Alone():
			return nil, failure, true
		case failure.Reason == capacityv1alpha1.ReasonQueueTimeout:
			return nil, queue.Fail(failure.Reason, "Make the query faster, and check that the server runs", "silent about the query"), false
		}
		return nil, failure, false
	}
	switch reply.Status {
	case http.StatusBadRequest:
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Correct the PromQL", "not understanding the query"), false
	case http.StatusUnprocessableEntity:
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Try it on the server's own page", "not able to evaluate the query"), false
	case http.StatusServiceUnavailable:
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueTimeout, "Make the query faster, for example by a recording rule", "not finished with the query within 2 s"), false
	case http.StatusForbidden:
		return nil, queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit it to the user of the Secret", "denying the query"), false
	case http.StatusNotFound:
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct the url: /api/v1/query has to be below it", "without an API to answer the query"), false
	}
	if failure := reply.StatusFailure(r.anonymous); failure != nil {
		return nil, failure, true
	}
	if reply.Status != http.StatusOK {
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to Prometheus", "answering HTTP %d to the query", reply.Status), false
	}
	return reply.Body, nil, false
}
