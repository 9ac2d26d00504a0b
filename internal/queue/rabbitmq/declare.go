// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// memoryMost bounds the queues that are remembered.
const memoryMost = 100_000

// emptyFor is how long a queue that had consumers is not believed that it has neither those nor messages.
const emptyFor = time.Minute

// declare is a passive declare that was sent, or waits for its channel to open.
type declare struct {
	answered chan answer
	// replaced is true where another channel does the work of its own.
	replaced bool
}

// answer is what a declare came to.
type answer struct {
	queue amqp.Queue
	err   error
}

// memory is what is remembered of a queue.
type memory struct {
	// turn is when it was asked for last, in turns.
	turn uint64
	// answers is true where it answered in time when it was asked last.
	answers bool
	// consumers is how many it had; since when it tells of neither those nor messages is emptySince, zero where it does or that is believed.
	consumers  int
	emptySince time.Time
}

// share makes the channels: a quarter at the least does the work, so that hung ones never take all.
func (r *amqpReader) share(channels int) {
	working := min(declaresMost, (channels+3)/4)
	r.free = make(chan *amqp.Channel, working)
	for range working {
		r.free <- nil
	}
	r.first = make(chan *amqp.Channel)
	r.doubts = make(chan struct{}, max(working*3/4, 1))
	r.spare = make(chan struct{}, channels-working)
	for range channels - working {
		r.spare <- struct{}{}
	}
}

// inTurn tells queues that answered in time when they were asked last from others. First are those that were asked the longest ago: where the time
// is too short for all, each has its turn in one of the next Reads.
func (r *amqpReader) inTurn(wanted map[string][]int) (answering, doubtful []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	turns := make(map[string]uint64, len(wanted))
	for name := range wanted {
		m := r.remembered(name)
		turns[name] = m.turn
		if m.answers {
			answering = append(answering, name)
		} else {
			doubtful = append(doubtful, name)
		}
	}
	longestAgo := func(a, b string) int { return cmp.Compare(turns[a], turns[b]) }
	slices.SortFunc(answering, longestAgo)
	slices.SortFunc(doubtful, longestAgo)
	return answering, doubtful
}

// eachOf has so many goroutines do something with each name, until it is false.
func eachOf(wait *sync.WaitGroup, names []string, atOnce int, do func(name string) bool) {
	left := make(chan string, len(names))
	for _, name := range names {
		left <- name
	}
	close(left)
	for range min(atOnce, len(names)) {
		wait.Go(func() {
			for name := range left {
				if !do(name) {
					return
				}
			}
		})
	}
}

// remembered is the memory of a queue. The mutex is held.
func (r *amqpReader) remembered(name string) *memory {
	m := r.memory[name]
	if m == nil {
		if len(r.memory) >= memoryMost {
			clear(r.memory)
		}
		m = &memory{}
		r.memory[name] = m
	}
	return m
}

// ask declares a queue passively. It returns the failure of the queue, or that of the server.
func (r *amqpReader) ask(ctx context.Context, name string) (queue.Reading, *queue.Failure, *queue.Failure) {
	var first chan *amqp.Channel
	if r.doubted(name) {
		select {
		case r.doubts <- struct{}{}:
			defer func() { <-r.doubts }()
			first = r.first
		case <-ctx.Done():
			return r.unanswered(ctx, time.Now(), waiting(name))
		}
	}
	if failure := r.begin(name); failure != nil {
		return queue.Reading{}, failure, nil
	}
	var ch *amqp.Channel
	select {
	case ch = <-first:
	case ch = <-r.free:
	case <-ctx.Done():
		return r.unanswered(ctx, time.Now(), waiting(name))
	}
	began := time.Now()
	timeout := time.NewTimer(queue.ReplyTimeout)
	defer timeout.Stop()
	d := r.send(ch, name)
	own := silent(name)
	select {
	case a := <-d.answered:
		return r.readingOf(name, a)
	case <-timeout.C:
	case <-ctx.Done():
		own = waiting(name)
	}
	r.setHung(name, d)
	return r.unanswered(ctx, began, own)
}

// doubted is true for a queue that may take long: it did not answer in time before. One that hangs is not asked at all.
func (r *amqpReader) doubted(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hung[name] == nil && !r.remembered(name).answers
}

// begin gives a queue its turn. It has none while it hangs, and, where it is doubted, while too many others do.
func (r *amqpReader) begin(name string) *queue.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.remembered(name)
	r.turns++
	m.turn = r.turns
	switch {
	case r.hung[name] != nil:
		return silent(name)
	case !m.answers && len(r.hung) > 0 && len(r.hung)+len(r.doubts) > cap(r.spare):
		return waiting(name)
	}
	return nil
}

// send declares on a channel, which is free again once that is answered.
func (r *amqpReader) send(ch *amqp.Channel, name string) *declare {
	r.conn.Allow(exchangeBytes)
	d := &declare{answered: make(chan answer, 1)}
	go func() {
		var a answer
		if ch == nil {
			ch, a.err = r.client.Channel()
		}
		if a.err == nil {
			a.queue, a.err = ch.QueueDeclarePassive(name, false, false, false, false, nil)
		}
		if a.err != nil {
			ch = nil // the server has closed it
		}
		r.settle(name, d, a)
		if !d.replaced {
			r.release(ch)
			return
		}
		if ch != nil {
			_ = ch.Close()
		}
		r.spare <- struct{}{}
	}()
	return d
}

// release lets a doubted queue have the channel first: those that answer are polled again and again, and would leave it none on a slow server.
func (r *amqpReader) release(ch *amqp.Channel) {
	select {
	case r.first <- ch:
	default:
		r.free <- ch
	}
}

// settle hands over an answer. Whether the declare is replaced is settled then too.
func (r *amqpReader) settle(name string, d *declare, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hung[name] == d {
		delete(r.hung, name)
	}
	d.answered <- a
}

// setHung keeps a queue that is not answered from taking a second channel before it is, and has another channel do the work of the first.
func (r *amqpReader) setHung(name string, d *declare) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remembered(name).answers = false
	if len(d.answered) > 0 {
		return
	}
	r.hung[name] = d
	select {
	case <-r.spare:
		d.replaced = true
		r.release(nil) // there is room: it is in the place of the hung one
	default:
	}
}

// unanswered is the failure of a queue that was not answered in time; that of the server where it said nothing at all meanwhile, or was left.
func (r *amqpReader) unanswered(ctx context.Context, began time.Time, own *queue.Failure) (queue.Reading, *queue.Failure, *queue.Failure) {
	if errors.Is(ctx.Err(), context.Canceled) || r.closed.Err() != nil {
		return queue.Reading{}, nil, queue.ConnectFailure(context.Canceled)
	}
	if before := time.Now().Add(-queue.ReplyTimeout); before.Before(began) {
		began = before // a Read may end just after a declare began
	}
	if r.conn.heard.Load() < began.UnixNano() {
		return queue.Reading{}, nil, queue.ConnectFailure(context.DeadlineExceeded)
	}
	return queue.Reading{}, own, nil
}

func silent(name string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueTimeout, "Look at the queue's node: it may be overloaded", "silent about queue %q", name)
}

// waiting is the failure of a queue that was not asked for, or just now, because the server took too long for others.
func waiting(name string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueTimeout, "Look at the load of its nodes, or raise pollSeconds", "keeping queue %q waiting for others", name)
}

// believe is the reading of a queue that was told. A quorum queue without a leader, or with one that is overloaded, is told as 0 messages and 0
// consumers. So is one whose fleet went to zero, which is why that is believed in the end.
func (r *amqpReader) believe(name string, told amqp.Queue) (queue.Reading, *queue.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, now := r.remembered(name), r.now()
	m.answers = true
	if told.Messages == 0 && told.Consumers == 0 && m.consumers > 0 {
		if m.emptySince.IsZero() {
			m.emptySince = now
		}
		if now.Sub(m.emptySince) < emptyFor {
			return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "It is believed after a minute; until then see rabbitmq-queues quorum_status",
				"telling of neither messages nor consumers in queue %q, which a quorum queue without a leader does too,", name)
		}
	}
	m.consumers, m.emptySince = told.Consumers, time.Time{}
	return queue.Reading{Time: now, Depth: int64(told.Messages)}, nil
}

// refused notes that the server answered for a queue, if with an error. What it had before is then no news of it.
func (r *amqpReader) refused(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.remembered(name)
	m.answers, m.consumers, m.emptySince = true, 0, time.Time{}
}
