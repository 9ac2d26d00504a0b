//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	group = "workers"
	// late is how far a stand-in that always has work may be behind and make up for it, so that a busy machine hardly changes its
	// rate. What it makes up for must not look like a faster revision: it is a twentieth of a measurement.
	late = 100 * time.Millisecond
)

// workers are what would run in the pods: each pod in service takes one message at a time off the stream, works on it and
// acknowledges it. Whether it is in service, and which image it runs, a stand-in learns from its own pod alone, as a process would.
type workers struct {
	redis  *goredis.Client
	stream string

	mu sync.Mutex
	// rates are the messages that a pod completes per second, by the image it runs.
	rates map[string]float64
	// did is what they really completed, which on a machine that does other things too is less.
	did  map[string]tally
	pods map[types.UID]*worker
	busy sync.WaitGroup
}

// tally are the messages that pods of one image completed, and how long they had work.
type tally struct {
	messages int
	busy     time.Duration
}

// worker is the process of one pod.
type worker struct {
	name string

	mu    sync.Mutex
	open  bool
	image string
	gone  chan struct{}
}

// startWorkers follows the pods of the namespace until the test ends.
func (w *world) startWorkers(rates map[string]float64) *workers {
	w.Helper()
	s := &workers{redis: w.redis, stream: w.key, rates: rates, did: map[string]tally{}, pods: map[types.UID]*worker{}}
	if err := w.redis.XGroupCreateMkStream(w.Context(), s.stream, group, "0").Err(); err != nil {
		w.Fatal(err)
	}
	watcher, err := w.client.Watch(w.Context(), &corev1.PodList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ended by the cleanup below, before the client is closed
	var watching sync.WaitGroup
	watching.Go(func() {
		for e := range watcher.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				s.seen(ctx, w.T, pod, e.Type == watch.Deleted)
			}
		}
	})
	w.Cleanup(func() {
		cancel()
		watcher.Stop()
		watching.Wait()
		s.busy.Wait()
	})
	return s
}

// seen tells the process of a pod how its pod is now. A pod without a role is of the Deployment, and active.
func (s *workers) seen(ctx context.Context, t *testing.T, pod *corev1.Pod, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[pod.UID]
	if p == nil && !deleted {
		p = &worker{name: pod.Name, gone: make(chan struct{})}
		s.pods[pod.UID] = p
		s.busy.Go(func() { s.work(ctx, t, p) })
	}
	if p == nil {
		return
	}
	role := pod.Labels[capacityv1alpha1.LabelRole]
	p.mu.Lock()
	p.image = pod.Spec.Containers[0].Image
	p.open = !deleted && pod.DeletionTimestamp == nil && podReady(pod) && (role == "" || role == capacityv1alpha1.RoleActive)
	p.mu.Unlock()
	if deleted {
		close(p.gone)
		delete(s.pods, pod.UID)
	}
}

// change makes pods of an image complete another number of messages per second.
func (s *workers) change(image string, rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rates[image] = rate
	delete(s.did, image)
}

func (s *workers) rate(image string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rates[image]
}

// completed notes a message, and since when its pod had work.
func (s *workers) completed(image string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.did[image]
	s.did[image] = tally{t.messages + 1, t.busy + time.Since(since)}
}

// bounds are the least and the most that a pod of an image completed per second: what it really did, and what it was to do.
func (s *workers) bounds(image string) (least, most float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	least, most = s.rates[image], s.rates[image]
	if t := s.did[image]; t.busy > 0 {
		really := float64(t.messages) / t.busy.Seconds()
		least, most = min(least, really), max(most, really)
	}
	return least, most
}

// work takes messages until the pod is gone. What it has taken it finishes.
func (s *workers) work(ctx context.Context, t *testing.T, p *worker) {
	var free, since time.Time // when the last message was to be done, and was; zero: it was idle since
	for ctx.Err() == nil {
		p.mu.Lock()
		open, image := p.open, p.image
		p.mu.Unlock()
		var message string
		if since.IsZero() {
			since = time.Now()
		}
		if open {
			message = s.take(ctx, t, p.name)
		}
		if message == "" {
			free, since = time.Time{}, time.Time{}
			select {
			case <-ctx.Done():
				return
			case <-p.gone:
				return
			case <-time.After(100 * time.Millisecond):
				continue
			}
		}
		if now := time.Now(); now.Sub(free) > late {
			free = now
		}
		free = free.Add(time.Duration(float64(time.Second) / s.rate(image)))
		<-time.After(time.Until(free))
		if err := s.redis.XAck(ctx, s.stream, group, message).Err(); err != nil && ctx.Err() == nil {
			t.Errorf("acknowledge a message: %v", err)
		}
		s.completed(image, since)
		since = time.Now()
	}
}

// take is one message, or none where none waits.
func (s *workers) take(ctx context.Context, t *testing.T, name string) string {
	read, err := s.redis.XReadGroup(ctx, &goredis.XReadGroupArgs{
		Group: group, Consumer: name, Streams: []string{s.stream, ">"}, Count: 1, Block: -1,
	}).Result()
	switch {
	case errors.Is(err, goredis.Nil), ctx.Err() != nil:
		return ""
	case err != nil:
		t.Errorf("take a message: %v", err)
		return ""
	}
	return read[0].Messages[0].ID
}

// sender adds messages to the stream, steadily and in bursts.
type sender struct {
	w    *world
	mu   sync.Mutex
	rate float64
	sent int64
	// counter counts the units of user work that messages are made of, perMessage of them each; empty: nothing does.
	counter    string
	perMessage float64
}

func (w *world) startSender() *sender {
	s := &sender{w: w}
	ctx, cancel := context.WithCancel(context.Background()) // ended by the cleanup below, before the client is closed
	var sending sync.WaitGroup
	sending.Go(func() {
		const tick = 50 * time.Millisecond
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		last, due := time.Now(), 0.0
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ticker.C:
				s.mu.Lock()
				due += now.Sub(last).Seconds() * s.rate
				s.mu.Unlock()
				last = now
				n := int(due)
				due -= float64(n)
				s.send(ctx, n)
			}
		}
	})
	w.Cleanup(func() {
		cancel()
		sending.Wait()
	})
	return s
}

// steady sends so many messages per second from now on.
func (s *sender) steady(rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = rate
}

// counts has a key count the units of user work, so many for each message from now on.
func (s *sender) counts(counter string, perMessage float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counter, s.perMessage = counter, perMessage
}

// send sends n messages at once.
func (s *sender) send(ctx context.Context, n int) {
	if n == 0 {
		return
	}
	pipe := s.w.redis.Pipeline()
	for range n {
		pipe.XAdd(ctx, &goredis.XAddArgs{Stream: s.w.key, Values: []string{"m", ""}})
	}
	s.mu.Lock()
	if s.counter != "" {
		pipe.IncrBy(ctx, s.counter, int64(math.Round(float64(n)*s.perMessage)))
	}
	s.mu.Unlock()
	if _, err := pipe.Exec(ctx); err != nil && ctx.Err() == nil {
		s.w.Errorf("send %d messages: %v", n, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += int64(n)
}
