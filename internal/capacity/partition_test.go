// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"testing"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// What a replica gets done is only measured while each has something to do: not while all that waits is in a few partitions, and not
// with more replicas than there are partitions for.
func TestOnlyABacklogInEveryPartitionIsSaturation(t *testing.T) {
	for _, c := range []struct {
		name       string
		partitions int64
		perReplica float64
		shallowest func(depth int64) int64
		want       bool
	}{
		{"an even backlog", 20, 1, func(depth int64) int64 { return depth / 20 }, true},
		{"an uneven backlog that is everywhere", 20, 1, func(depth int64) int64 { return depth / 200 }, true},
		{"a partition that is empty", 20, 1, func(int64) int64 { return 0 }, false},
		{"a partition with little", 20, 1, func(int64) int64 { return 1 }, false},
		{"a partition for each replica", 10, 1, func(depth int64) int64 { return depth / 10 }, true},
		{"fewer partitions than replicas", 9, 1, func(depth int64) int64 { return depth / 9 }, false},
		{"fewer partitions than consumers", 20, 3, func(depth int64) int64 { return depth / 20 }, false},
	} {
		settings := one()
		settings.ConsumersPerReplica = []float64{c.perReplica}
		p := newPlant(settings, Serving{Replicas: 10, Revision: "a"})
		p.arrive, p.serve = 40, 62
		p.burst(30_000)
		p.tell = func(r *queue.Reading) {
			r.MostConsumers, r.ShallowestPartition = &c.partitions, new(c.shallowest(r.Depth))
		}
		if saturated, _ := split(p.blocks(300)); (len(saturated) > 0) != c.want {
			t.Errorf("%s: %d saturated blocks", c.name, len(saturated))
		}
	}
}
