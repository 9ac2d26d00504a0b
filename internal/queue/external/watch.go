// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

const (
	// watchesMost is the number of streams to one server; further queues wait for one to end, and are polled meanwhile like all.
	watchesMost = 1024
	// A stream that broke is made again after watchAgain, doubled each time up to watchAgainMost. One that lasted so long starts from there again.
	watchAgain     = time.Second
	watchAgainMost = time.Minute
	// heedPerSecond and heedAtOnce bound what is read of one stream: a flood waits on the server's side.
	heedPerSecond = 4
	heedAtOnce    = 8
)

// Watch holds a stream of StreamIsActive, and wakes when it says that the queue is active; see queue.Watcher.
func (r *reader) Watch(ctx context.Context, subscriber queue.Subscriber, q *capacityv1alpha1.Queue, wake func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()
	select {
	case r.watches <- struct{}{}:
		defer func() { <-r.watches }()
	case <-ctx.Done():
		return
	}
	ref := refOf(subscriber, q)
	pause := watchAgain
	for {
		began := time.Now()
		if !r.heed(ctx, ref, wake) {
			return
		}
		if time.Since(began) > watchAgainMost {
			pause = watchAgain
		}
		again := time.NewTimer(pause - rand.N(pause/5))
		pause = min(2*pause, watchAgainMost)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
	}
}

// heed follows one stream to its end. It is false where the scaler has none, or nobody is interested any more.
func (r *reader) heed(ctx context.Context, ref *externalscaler.ScaledObjectRef, wake func()) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.streams.client.StreamIsActive(r.streams.withToken(ctx), ref)
	pace := rate.NewLimiter(heedPerSecond, heedAtOnce)
	for err == nil {
		var told *externalscaler.IsActiveResponse
		if told, err = stream.Recv(); err == nil {
			if told.GetResult() {
				wake()
			}
			err = pace.Wait(ctx)
		}
	}
	return ctx.Err() == nil && status.Code(err) != codes.Unimplemented
}
