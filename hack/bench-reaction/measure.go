// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// measure plays the whole run: all scalers are made and come to rest, then spikes at random phases, then from 0.
func (b *bench) measure(ctx context.Context, scalers int) (*result, error) {
	b.say("making %d QueueScalers, each with a Deployment, a queue and a slot", scalers)
	names := make([]string, scalers)
	for i := range names {
		names[i] = fmt.Sprintf("app-%04d", i)
	}
	if err := b.createAll(ctx, names, false); err != nil {
		return nil, err
	}
	r := &result{Scalers: scalers}
	if err := b.idle(ctx, r); err != nil {
		return nil, err
	}
	before, err := b.op.Usage()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := b.spikes(ctx, names, r); err != nil {
		return nil, err
	}
	after, err := b.op.Usage()
	if err != nil {
		return nil, err
	}
	r.CPUCores = round(float64(after.CPU-before.CPU) / float64(time.Since(began)))
	r.RSSMiB = round(after.RSSMiB)
	if r.RedisConnections, err = b.connections(ctx); err != nil {
		return nil, err
	}
	return r, b.fromZero(ctx, r)
}

func (b *bench) createAll(ctx context.Context, names []string, fromZero bool) error {
	var group errgroup.Group
	group.SetLimit(16)
	for _, name := range names {
		group.Go(func() error { return b.create(ctx, name, fromZero) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	settled := func(name string) bool {
		if fromZero {
			replicas, seen := b.replicas[name]
			return seen && replicas == 0 && b.gone[name]
		}
		return len(b.warm[name]) > 0
	}
	_, err := b.until(ctx, "all slots warm, or all targets at 0", settleTimeout, func() bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !settled(name) })
	})
	return err
}

// idle counts what scalers with nothing to do write, once they have settled.
func (b *bench) idle(ctx context.Context, r *result) error {
	b.say("all slots are warm; counting what idle scalers write, for %s", idleFor)
	if err := wait(ctx, 15*time.Second); err != nil { // the last statuses of the beginning
		return err
	}
	before, err := b.writes()
	if err != nil {
		return err
	}
	if err := wait(ctx, idleFor); err != nil {
		return err
	}
	after, err := b.writes()
	r.IdleWrites = round(float64(after-before) / float64(r.Scalers) / idleFor.Minutes())
	return err
}

// spikes makes backlogs at random phases of the polls, each on a scaler that had none before; with too few scalers, one that
// had one is made anew.
func (b *bench) spikes(ctx context.Context, names []string, r *result) error {
	b.say("%d backlogs at random phases, each wants 1 → %d replicas", spikes, full)
	var patched, lent []time.Duration
	order := b.random.Perm(len(names))
	for i := range spikes {
		name := names[order[i%len(order)]]
		if i >= len(order) {
			next := fmt.Sprintf("again-%04d", i)
			if err := b.remove(ctx, name); i == len(order) && err != nil {
				return err
			}
			if i > len(order) {
				if err := b.remove(ctx, fmt.Sprintf("again-%04d", i-1)); err != nil {
					return err
				}
			}
			if err := b.createAll(ctx, []string{next}, false); err != nil {
				return err
			}
			name = next
		}
		if err := wait(ctx, time.Duration(b.random.Int64N(int64(time.Second)))); err != nil {
			return err
		}
		p, l, err := b.spike(ctx, name, true)
		if err != nil {
			return err
		}
		b.noteSlow(name, max(p, l))
		patched, lent = append(patched, p), append(lent, l)
	}
	r.Spikes, r.Patched, r.Lent = len(patched), quantilesOf(patched), quantilesOf(lent)
	b.say("asked for the full number: %s", r.Patched)
	b.say("slot in service:           %s", r.Lent)
	return nil
}

// slow is what is told of a single spike, so that outliers can be looked into.
const slow = 2 * time.Second

func (b *bench) noteSlow(name string, took time.Duration) {
	if took > slow {
		b.say("%s took %.1f s", name, took.Seconds())
	}
}

// fromZero measures the same for targets that stand at 0 replicas.
func (b *bench) fromZero(ctx context.Context, r *result) error {
	names := make([]string, spikes)
	for i := range names {
		names[i] = fmt.Sprintf("zero-%04d", i)
	}
	b.say("%d more, which go down to 0 replicas first", len(names))
	if err := b.createAll(ctx, names, true); err != nil {
		return err
	}
	var patched []time.Duration
	for _, name := range names {
		if err := wait(ctx, time.Duration(b.random.Int64N(int64(time.Second)))); err != nil {
			return err
		}
		p, _, err := b.spike(ctx, name, false)
		if err != nil {
			return err
		}
		b.noteSlow(name, p)
		patched = append(patched, p)
	}
	r.FromZeroSpikes, r.FromZero = len(patched), quantilesOf(patched)
	b.say("from 0 to the full number: %s", r.FromZero)
	return nil
}

// connections are those that Redis counts, without our own.
func (b *bench) connections(ctx context.Context) (int, error) {
	list, err := b.redis.ClientList(ctx).Result()
	if err != nil {
		return 0, err
	}
	own := b.redis.PoolStats().TotalConns
	return strings.Count(strings.TrimSpace(list), "\n") + 1 - int(own), nil
}

func (q quantiles) String() string {
	return fmt.Sprintf("p50 %.0f ms, p99 %.0f ms, max %.0f ms", q.P50, q.P99, q.Max)
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
