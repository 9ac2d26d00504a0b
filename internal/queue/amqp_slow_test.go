// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// More queues hang than there are declares at once; the others are read on all the same.
func TestManySilentAMQPQueuesFailAlone(t *testing.T) {
	const dead, good = 40, 5
	address := hostile(t, greetAMQP(func(channel uint16, name string) []byte {
		if strings.HasPrefix(name, "dead") {
			return nil
		}
		return declared(channel, name, 2)
	}, false))
	h := rabbitHarness(t)
	for i := range dead {
		h.Subscribe(subscriber(i), one(rabbitQueue("amqp://"+address, fmt.Sprint("dead-", i))))
	}
	for i := range good {
		h.Subscribe(subscriber(dead+i), one(rabbitQueue("amqp://"+address, fmt.Sprint("good-", i))))
	}
	for i := range dead {
		if got := h.awaitReason(subscriber(i), capacityv1alpha1.ReasonQueueTimeout); got.ServerWide {
			t.Fatalf("%+v, want it to fail alone", got)
		}
	}
	for i := range good {
		h.awaitDepth(subscriber(dead+i), 2)
	}
	taken := make([]int, good)
	enough := func() bool {
		least := 10
		for i := range good {
			s := subscriber(dead + i)
			if got := h.sample(s); got.Quality != queue.Fresh {
				t.Fatalf("%+v, want it read on", got)
			}
			taken[i] += len(h.Take(s)[0])
			least = min(least, taken[i])
		}
		return least >= 10
	}
	h.await("ten readings of each", enough, func() any { return taken })
}

// A server that answers slowly for more queues than it can tell of in one Read fails none of them as a whole, and each is read in its turn.
func TestSlowAMQPServerIsReadInTurn(t *testing.T) {
	const many = 400
	address := hostile(t, greetAMQPSlowly(300*time.Millisecond))
	h := rabbitHarness(t)
	for i := range many {
		h.Subscribe(subscriber(i), one(rabbitQueue("amqp://"+address, fmt.Sprint("q-", i))))
	}
	unread := many
	h.await("all read", func() bool {
		unread = 0
		for i := range many {
			got := h.sample(subscriber(i))
			if got.ServerWide {
				t.Fatalf("%+v, want it to fail alone", got)
			}
			if got.Reading == nil {
				unread++
			}
		}
		return unread == 0
	}, func() any { return fmt.Sprint(unread, " unread") })
}

// greetAMQPSlowly is greetAMQP for a server that is far away: it answers each declare late, and many at once.
func greetAMQPSlowly(delay time.Duration) func(net.Conn) {
	return func(conn net.Conn) {
		far, near := net.Pipe()
		var late sync.WaitGroup
		defer late.Wait()
		defer near.Close()
		late.Go(func() {
			defer far.Close()
			greetAMQP(func(channel uint16, name string) []byte { return declared(channel, name, 2) }, false)(far)
		})
		late.Go(func() { _, _ = io.Copy(near, conn); _ = near.Close() })
		var mu sync.Mutex
		for {
			head := make([]byte, 7)
			if _, err := io.ReadFull(near, head); err != nil {
				return
			}
			frame := slices.Concat(head, make([]byte, binary.BigEndian.Uint32(head[3:])+1))
			if _, err := io.ReadFull(near, frame[7:]); err != nil {
				return
			}
			wait := time.Duration(0)
			if strings.HasPrefix(string(frame[7:]), "\x00\x32\x00\x0b") {
				wait = delay
			}
			if wait == 0 {
				mu.Lock()
				_, _ = conn.Write(frame)
				mu.Unlock()
				continue
			}
			late.Add(1)
			time.AfterFunc(wait, func() {
				defer late.Done()
				mu.Lock()
				defer mu.Unlock()
				_, _ = conn.Write(frame)
			})
		}
	}
}
