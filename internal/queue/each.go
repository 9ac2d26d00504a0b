// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"sync"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// eachAtOnce is the number of queues that are read at once where each takes a request of its own.
	eachAtOnce = 4
	// eachBegins bounds the wait of a queue for its turn.
	eachBegins = 2 * ReplyTimeout
)

// ReadEach is a Reader's Read for a server that tells of one queue at a time: it has read called for each, a few at once. everywhere is true
// for a failure of the server, which ends the rest. It ends early with closed. A queue whose turn does not come in time fails with
// QueueTimeout; begin ends at that time, so that a read of several requests need not begin another.
func ReadEach(ctx, closed context.Context, count int, read func(ctx, begin context.Context, i int) (r Reading, f *Failure, everywhere bool), deliver func(int, Reading, *Failure)) *Failure {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(closed, cancel)()
	begin, stop := context.WithTimeout(ctx, eachBegins)
	defer stop()
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		next    int
		lost    *Failure
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= count && lost == nil
	}
	for range min(eachAtOnce, count) {
		workers.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				reading, failure, everywhere := Reading{}, WaitsTooLong(ctx, begin), false
				if failure == nil {
					reading, failure, everywhere = read(ctx, begin, i)
				}
				mu.Lock()
				switch {
				case lost != nil:
				case failure != nil && everywhere:
					lost = failure
					cancel()
				default:
					deliver(i, reading, failure)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return lost
}

// WaitsTooLong is the failure of a queue whose turn did not come before begin ended; nil where it did, or all ends with ctx.
func WaitsTooLong(ctx, begin context.Context) *Failure {
	if begin.Err() != nil && ctx.Err() == nil {
		return Fail(capacityv1alpha1.ReasonQueueTimeout, "Raise pollSeconds of the queues on this server, or let it answer faster", "keeping the queue waiting for others")
	}
	return nil
}
