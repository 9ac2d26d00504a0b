// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs

import (
	"time"

	"github.com/nats-io/nats.go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// batch turns queues into requests, and replies into readings. A stream that several consumers are on is asked for once.
type batch struct {
	queues   []*capacityv1alpha1.Queue
	deliver  func(int, queue.Reading, *queue.Failure)
	requests []request
	// consumers and streams are what was told, by the index of the request.
	consumers map[int]consumerReply
	streams   map[int]lastSequence
	// streamOf is the request for a queue's stream, waits the queues whose consumer has answered and whose stream has not.
	streamOf []int
	waits    map[int][]int
}

// request is about the consumer of queue, or about its stream.
type request struct {
	subject  string
	queue    int
	ofStream bool
}

type lastSequence struct {
	sequence int64
	failure  *queue.Failure
}

func newBatch(queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *batch {
	b := &batch{
		queues: queues, deliver: deliver, requests: make([]request, 0, 2*len(queues)), streamOf: make([]int, len(queues)),
		consumers: map[int]consumerReply{}, streams: map[int]lastSequence{}, waits: map[int][]int{},
	}
	asked := map[string]int{}
	for i, q := range queues {
		source := &q.NATSJetStream
		api := "$JS.API."
		if source.Domain != "" {
			api = "$JS." + source.Domain + ".API."
		}
		stream := api + "STREAM.INFO." + source.Stream
		at, ok := asked[stream]
		if !ok {
			at = len(b.requests)
			asked[stream] = at
			b.requests = append(b.requests, request{stream, i, true})
		}
		b.streamOf[i] = at
		b.requests = append(b.requests, request{api + "CONSUMER.INFO." + source.Stream + "." + source.Consumer, i, false})
	}
	return b
}

// accept takes a reply, and delivers what it completes.
func (b *batch) accept(a reply, now time.Time) {
	r := b.requests[a.request]
	source := &b.queues[r.queue].NATSJetStream
	if a.unheard {
		a.failure = noJetStream(source.Domain)
	}
	if r.ofStream {
		last := lastSequence{failure: a.failure}
		if last.failure == nil {
			last.sequence, last.failure = parseStream(a.data, source)
		}
		b.streams[a.request] = last
		for _, i := range b.waits[a.request] {
			b.complete(i, last, now)
		}
		delete(b.waits, a.request)
		return
	}
	c, failure := consumerReply{}, a.failure
	if failure == nil {
		c, failure = parseConsumer(a.data, source)
	}
	if failure != nil {
		b.deliver(r.queue, queue.Reading{}, failure)
		return
	}
	b.consumers[r.queue] = c
	stream := b.streamOf[r.queue]
	if last, ok := b.streams[stream]; ok {
		b.complete(r.queue, last, now)
	} else {
		b.waits[stream] = append(b.waits[stream], r.queue)
	}
}

func (b *batch) complete(i int, last lastSequence, now time.Time) {
	c := b.consumers[i]
	delete(b.consumers, i)
	switch {
	case c.filtered(), last.failure == nil:
		b.deliver(i, c.reading(last.sequence, now), nil)
	default:
		b.deliver(i, queue.Reading{}, last.failure)
	}
}

// silence is the failure of a queue that no reply came for, while the server lives.
func (b *batch) silence(at int) *queue.Failure {
	source := b.queues[b.requests[at].queue].NATSJetStream
	remedy := "Check that the stream has a leader: " + infoCommand(&source)
	if b.requests[at].ofStream {
		return queue.Fail(capacityv1alpha1.ReasonQueueTimeout, remedy, "silent about stream %q", source.Stream)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueTimeout, remedy, "silent about consumer %q of stream %q", source.Consumer, source.Stream)
}

// flight is what was sent of a batch.
type flight struct {
	reader   *reader
	requests []request
	replies  chan reply
	// replied is true once the server answered anything. open counts requests without an end, sent those that were sent.
	replied    bool
	open, sent int
	sentAt     []time.Time
	tokens     []uint64
	ended      []bool
	// young counts requests in flight for less than patience; those before aged are not young any more.
	young, aged int
	// expired is how far requests were found to be late.
	expired int
}

func newFlight(r *reader, requests []request) *flight {
	n := len(requests)
	return &flight{reader: r, requests: requests, replies: make(chan reply, n), open: n, sentAt: make([]time.Time, n), tokens: make([]uint64, n), ended: make([]bool, n)}
}

// send fills the window.
func (f *flight) send() error {
	for ; f.young < window && f.sent < len(f.requests); f.sent++ {
		subject := f.requests[f.sent].subject
		f.tokens[f.sent] = f.reader.expect(waiting{subject, f.sent, f.replies})
		f.sentAt[f.sent] = time.Now()
		f.young++
		if err := f.reader.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: f.reader.replyTo(f.tokens[f.sent])}); err != nil {
			return err
		}
	}
	return nil
}

// end notes that a request needs no reply any more; it is false where that was noted before.
func (f *flight) end(request int) bool {
	if f.ended[request] {
		return false
	}
	f.ended[request] = true
	f.open--
	if request >= f.aged {
		f.young--
	}
	return true
}

// late are the requests that waited for ReplyTimeout. Those that waited for longer than patience leave the window.
func (f *flight) late() (late []int) {
	now := time.Now()
	for ; f.aged < f.sent && now.Sub(f.sentAt[f.aged]) > patience; f.aged++ {
		if !f.ended[f.aged] {
			f.young--
		}
	}
	for ; f.expired < f.sent && now.Sub(f.sentAt[f.expired]) > queue.ReplyTimeout; f.expired++ {
		if !f.ended[f.expired] {
			f.reader.forget(f.tokens[f.expired])
			late = append(late, f.expired)
		}
	}
	return late
}

// forget gives up all that was sent and has no reply.
func (f *flight) forget() {
	for i := range f.sent {
		if !f.ended[i] {
			f.reader.forget(f.tokens[i])
		}
	}
}
