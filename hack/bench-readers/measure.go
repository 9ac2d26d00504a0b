// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// readyTimeout is when queues that are not all fresh are given up.
	readyTimeout = time.Minute
	// Ages are looked at every lookEvery on average, each time those of so many queues.
	lookEvery, looks = 50 * time.Millisecond, 20
)

// measure starts a server, has its queues read for a while, and ends it.
func measure(ctx context.Context, t target, c config) (figures, error) {
	s, err := t.start(ctx, c.queues)
	if err != nil {
		return figures{}, err
	}
	defer s.close()
	n := &counts{begins: t.begins}
	pool := queue.NewPool(queue.Options{
		Secrets: func(context.Context, string, string) (map[string][]byte, error) {
			return map[string][]byte{"username": []byte(s.username), "password": []byte(s.password)}, nil
		},
		Wake: func(queue.Subscriber) {},
		Open: map[string]queue.Open{t.kind: n.counted(t.open)},
		Log:  logr.Discard(),
	})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- pool.Start(running) }()
	defer func() {
		stop()
		<-ended
	}()
	for i := range c.queues {
		pool.Subscribe(subscriber(i), []queue.Source{{SecretNamespace: subscriber(i).Namespace, Queue: &capacityv1alpha1.Queue{Name: "q", QueueSource: s.source(i)}}})
	}
	if err := ready(ctx, pool, c.queues); err != nil {
		return figures{}, err
	}
	if err := wait(ctx, t.settle); err != nil {
		return figures{}, err
	}
	if n.begins == nil {
		return observe(ctx, pool, c, n, s.requests)
	}
	return observe(ctx, pool, c, n, func(context.Context) (int64, error) { return n.requests.Load(), nil })
}

func subscriber(i int) queue.Subscriber {
	return queue.Subscriber{Namespace: "bench", Name: fmt.Sprint("scaler-", i)}
}

// ready waits until every queue is fresh.
func ready(ctx context.Context, pool *queue.Pool, queues int) error {
	deadline := time.Now().Add(readyTimeout)
	for i := 0; i < queues; {
		s := pool.Samples(subscriber(i))[0]
		switch {
		case s.Quality == queue.Fresh:
			i++
			continue
		case time.Now().After(deadline):
			return fmt.Errorf("queue %d is not read within %v: %s", i, readyTimeout, s.Message)
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// observe measures while the queues are read. requests is how many there were so far.
func observe(ctx context.Context, pool *queue.Pool, c config, n *counts, requests func(context.Context) (int64, error)) (figures, error) {
	before, err := requests(ctx)
	if err != nil {
		return figures{}, err
	}
	readings, cpu, began := n.readings.Load(), cpuTime(), time.Now()
	var ages []time.Duration
	f := figures{Queues: c.queues}
	for time.Since(began) < c.seconds {
		if err := wait(ctx, rand.N(2*lookEvery)); err != nil {
			return figures{}, err
		}
		for range looks {
			r := pool.Samples(subscriber(rand.IntN(c.queues)))[0].Reading
			ages = append(ages, time.Since(r.Time))
		}
	}
	took := time.Since(began).Seconds()
	f.Readings = round(float64(n.readings.Load()-readings) / took)
	f.CPU = round((cpuTime() - cpu).Seconds() / took)
	after, err := requests(ctx)
	if err != nil {
		return figures{}, err
	}
	f.Requests = round(float64(after-before) / took)
	for _, s := range pool.Servers() {
		f.Connections += s.Connections
	}
	slices.Sort(ages)
	f.AgeP99 = round(float64(ages[len(ages)*99/100].Microseconds()) / 1000)
	return f, nil
}

// cpuTime is what this process has used, for itself and in the kernel.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func round(v float64) float64 { return float64(int64(v*1000+0.5)) / 1000 }

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
