// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"log"
	"time"
)

const (
	// batch is the most messages that are sent before their confirmations are awaited: those that a dying server can leave in doubt.
	batch = 256
	// tick is how often messages are sent that are due.
	tick = 20 * time.Millisecond
)

// Book is where it is noted what was sent: a ledger.
type Book interface {
	MaybeSent(ids ...uint32) error
	Sent(ids ...uint32) error
}

// Send sends the messages first to first+n-1, and notes each as sent once the server has confirmed it. It sends perSecond of them each
// second, or all as fast as the server takes them if that is 0. A message that was not confirmed stays noted as maybe sent and is not sent
// again, or it could be there twice. While the server is away Send waits for it, and does not make up for that time. It is an error if ctx
// ends before, or if the book refuses.
func Send(ctx context.Context, p Producer, book Book, first uint32, n, perSecond int) error {
	due := newPacer(perSecond)
	for end := first + uint32(n); first < end; {
		count, err := due.next(ctx, int(end-first))
		if err != nil {
			return err
		}
		ids := numbers(first, count)
		first += uint32(count)
		if err := book.MaybeSent(ids...); err != nil {
			return err
		}
		confirmed, failure := publish(ctx, p, ids)
		if err := book.Sent(confirmed...); err != nil {
			return err
		}
		if failure != nil {
			log.Printf("%d of %d messages were not confirmed: %v", len(ids)-len(confirmed), len(ids), failure)
			if err := reconnect(ctx, p); err != nil {
				return err
			}
			due = newPacer(perSecond)
		}
	}
	return nil
}

func publish(ctx context.Context, p Producer, ids []uint32) ([]uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	return p.Publish(ctx, ids)
}

func reconnect(ctx context.Context, p Producer) error {
	for {
		err := p.Connect(ctx)
		if err == nil {
			return nil
		}
		if !sleep(ctx) {
			return err
		}
	}
}

func numbers(first uint32, count int) []uint32 {
	ids := make([]uint32, count)
	for i := range ids {
		ids[i] = first + uint32(i)
	}
	return ids
}

// pacer says how many messages are due by the time that has passed, so that a late tick changes nothing of the rate.
type pacer struct {
	perSecond int
	began     time.Time
	sent      int
}

func newPacer(perSecond int) *pacer { return &pacer{perSecond: perSecond, began: time.Now()} }

// next returns how many messages to send now: at least one, at most left or a batch.
func (p *pacer) next(ctx context.Context, left int) (int, error) {
	for {
		due := left
		if p.perSecond > 0 {
			due = int(time.Since(p.began).Seconds()*float64(p.perSecond)) - p.sent
		}
		if count := min(due, left, batch); count > 0 {
			p.sent += count
			return count, ctx.Err()
		}
		select {
		case <-time.After(tick):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
