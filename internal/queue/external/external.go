// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package external asks external scalers, by KEDA's gRPC protocol: a call or two for each queue, and a stream for each that says when
// there is work.
package external

import (
	"context"
	"net"
	"sync"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

const (
	// callsAtOnce is the number of queues of one batch that are asked about at once, each with one call after the other.
	callsAtOnce = 16
	// beginWithin bounds the wait of a queue for its turn.
	beginWithin = 2 * queue.ReplyTimeout
	// specAge is how long the name of a scaler's metric is believed.
	specAge = time.Minute
	// quiet is how long at least a server answers no call before it, and not the queue that was asked about, is what refuses or is unavailable.
	quiet = 15 * time.Second
)

// reader is a queue.Watcher.
type reader struct {
	// calls and streams have a connection each: a server bounds the streams of one, and those that never end would leave no room for calls.
	calls, streams *link
	// watches has an element for each stream.
	watches chan struct{}
	now     func() time.Time
	// closed ends with Close.
	closed context.Context
	close  context.CancelFunc

	mu sync.Mutex
	// names of metrics that scalers told of.
	names map[*capacityv1alpha1.Queue]metricName
	// answered is when a queue was read last; zero when none was. longest is the longest time between two readings of one queue.
	answered time.Time
	longest  time.Duration
}

type metricName struct {
	text string
	read time.Time
}

var (
	_ queue.Open    = Open
	_ queue.Watcher = (*reader)(nil)
)

// Open connects to an external scaler. The protocol has no login: a token is sent with each call.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	switch {
	case o.Password != "" && o.Token == "":
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the key token", "in need of a token, not a password,")
	case o.Token != "" && o.TLS == nil:
		return nil, queue.Fail(capacityv1alpha1.ReasonAddressRefused, "Begin the url with grpcs://, or add tls: {}", "not asked, because its token would be sent without TLS,")
	}
	r := &reader{now: o.Now, watches: make(chan struct{}, watchesMost), names: map[*capacityv1alpha1.Queue]metricName{}}
	r.closed, r.close = context.WithCancel(context.Background())
	var err error
	if r.calls, err = newLink(o); err != nil {
		return nil, queue.ConnectFailure(err)
	}
	if r.streams, err = newLink(o); err != nil {
		r.calls.close()
		return nil, queue.ConnectFailure(err)
	}
	if failure := r.calls.connect(ctx); failure != nil {
		r.Close()
		return nil, failure
	}
	return r, nil
}

// Connections is the number of open connections.
func (r *reader) Connections() int { return int(r.calls.open.Load() + r.streams.open.Load()) }

// Close ends the connections, Reads and Watches.
func (r *reader) Close() {
	r.close()
	r.calls.close()
	r.streams.close()
}

// Read asks without saying for whom; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	return r.ReadFor(ctx, make([]queue.Subscriber, len(queues)), queues, deliver)
}

// ReadFor asks about all queues; see queue.Watcher.
func (r *reader) ReadFor(ctx context.Context, subscribers []queue.Subscriber, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()
	begin, stop := context.WithTimeout(ctx, beginWithin)
	defer stop()
	r.calls.allow(len(queues))
	r.streams.allow(len(r.watches))
	r.prepare(queues)
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		next    int
		lost    *queue.Failure
		// doubtful are failures of queues that may be the server's.
		doubtful = map[int]*queue.Failure{}
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= len(queues) && lost == nil
	}
	for range min(callsAtOnce, len(queues)) {
		workers.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				reading, bad := r.readInTime(ctx, begin, subscribers[i], queues[i])
				mu.Lock()
				switch {
				case lost != nil:
				case r.closed.Err() != nil:
					lost = ended()
				case bad == nil:
					deliver(i, reading, nil)
				case bad.everywhere:
					lost = bad.failure
					cancel()
				case bad.maybe:
					doubtful[i] = bad.failure
				default:
					deliver(i, queue.Reading{}, bad.failure)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if lost == nil && r.closed.Err() != nil {
		lost = ended()
	}
	for i, failure := range doubtful {
		if lost == nil && r.isQuiet() {
			lost = failure
		}
		if lost == nil {
			deliver(i, queue.Reading{}, failure)
		}
	}
	return lost
}

// ended is why a batch gets no results once the reader is closed: that it was cancelled is no word of the scaler's.
func ended() *queue.Failure { return queue.ConnectFailure(net.ErrClosed) }

// readInTime reads one queue, unless its turn came too late.
func (r *reader) readInTime(ctx, begin context.Context, subscriber queue.Subscriber, q *capacityv1alpha1.Queue) (queue.Reading, *wrong) {
	if begin.Err() != nil && ctx.Err() == nil {
		return queue.Reading{}, &wrong{failure: queue.Fail(capacityv1alpha1.ReasonQueueTimeout, "Make the scaler faster, or raise pollSeconds", "keeping the queue waiting for others")}
	}
	reading, bad := r.readOne(ctx, subscriber, q)
	if bad == nil {
		r.mu.Lock()
		r.answered = r.now()
		r.mu.Unlock()
	}
	return reading, bad
}

// isQuiet is true where no queue was read for so long that each had its turn.
func (r *reader) isQuiet() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now().Sub(r.answered) > max(quiet, 2*r.longest)
}

// readOne asks about one queue. Only a scaler that says of an empty queue that it is inactive tells what is in flight: nothing that needs a replica.
func (r *reader) readOne(ctx context.Context, subscriber queue.Subscriber, q *capacityv1alpha1.Queue) (queue.Reading, *wrong) {
	ref := refOf(subscriber, q)
	name, bad := r.metricName(ctx, ref, q)
	if bad != nil {
		return queue.Reading{}, bad
	}
	reply, bad := ask(ctx, r.calls, externalscaler.ExternalScalerClient.GetMetrics, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: name})
	if bad != nil {
		return queue.Reading{}, bad
	}
	depth, failure := depthOf(reply, name)
	if failure != nil {
		return queue.Reading{}, &wrong{failure: failure}
	}
	reading := queue.Reading{Time: r.now(), Depth: depth}
	if depth > 0 {
		return reading, nil
	}
	switch active, bad := ask(ctx, r.calls, externalscaler.ExternalScalerClient.IsActive, ref); {
	case bad != nil && bad.everywhere:
		return queue.Reading{}, bad
	case bad == nil && !active.GetResult():
		reading.InFlight = new(int64)
	}
	return reading, nil
}

// metricName is which of the scaler's metrics the backlog is.
func (r *reader) metricName(ctx context.Context, ref *externalscaler.ScaledObjectRef, q *capacityv1alpha1.Queue) (string, *wrong) {
	if q.External.MetricName != "" {
		return q.External.MetricName, nil
	}
	r.mu.Lock()
	known, ok := r.names[q]
	r.mu.Unlock()
	if ok {
		return known.text, nil
	}
	reply, bad := ask(ctx, r.calls, externalscaler.ExternalScalerClient.GetMetricSpec, ref)
	if bad != nil {
		return "", bad
	}
	name, failure := onlyName(reply)
	if failure != nil {
		return "", &wrong{failure: failure}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[q] = metricName{name, r.now()}
	return name, nil
}

// prepare notes how often queues are read, and drops names that were read too long ago, those of queues that are read no more too.
func (r *reader) prepare(queues []*capacityv1alpha1.Queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, q := range queues {
		r.longest = max(r.longest, time.Duration(q.PollSeconds)*time.Second)
	}
	for q, name := range r.names {
		if now.Sub(name.read).Abs() > specAge {
			delete(r.names, q)
		}
	}
}

// refOf is a QueueScaler as the protocol knows a ScaledObject.
func refOf(subscriber queue.Subscriber, q *capacityv1alpha1.Queue) *externalscaler.ScaledObjectRef {
	ref := &externalscaler.ScaledObjectRef{Name: subscriber.Name, Namespace: subscriber.Namespace, ScalerMetadata: make(map[string]string, len(q.External.Metadata))}
	for key, value := range q.External.Metadata {
		ref.ScalerMetadata[key] = string(value)
	}
	return ref
}
