// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// group is a plant whose pods are a consumer group on 16 partitions.
type group struct {
	*plant
	serving Serving
	members uint64 // 0: not told
}

func newGroup() *group {
	g := &group{serving: Serving{Replicas: 10, Revision: "a"}, members: 1}
	g.plant = newPlant(one(), g.serving)
	g.arrive, g.serve = 60, 62
	g.burst(50_000)
	g.tell = func(r *queue.Reading) {
		r.MostConsumers = new(int64(16))
		if g.members != 0 {
			r.Members = new(g.members)
		}
	}
	return g
}

// No block contains a change of who shares the partitions or the 30 s after it, whether it is our own doing or told by the group; and there
// are blocks in between.
func TestARebalanceIsNoEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGroup()
		var changes []time.Time
		var blocks []Block
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			for range rapid.IntRange(1, 200).Draw(t, "seconds") {
				g.run(1)
				blocks = append(blocks, g.e.Blocks()...)
			}
			changes = append(changes, g.now)
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0: // scaled
				g.serving.Replicas++
				g.e.Serve(g.now, g.serving)
			case 1: // lent or returned
				g.serving.Others = 1 - g.serving.Others
				g.e.Serve(g.now, g.serving)
			default: // a consumer died and came back
				g.members++
				changes[len(changes)-1] = g.now.Add(time.Second)
			}
		}
		g.run(95)
		last := g.e.Blocks()
		blocks = append(blocks, last...)
		if len(last) == 0 {
			t.Fatal("no block 90 s after a change")
		}
		for _, b := range blocks {
			for _, change := range changes {
				if b.Start.Before(change.Add(30*time.Second)) && b.End.After(change) {
					t.Fatalf("a block from %s to %s after the start, a change at %s", b.Start.Sub(start), b.End.Sub(start), change.Sub(start))
				}
			}
		}
	})
}

// Members that are told for the first time, or not told for a while, did not change.
func TestMembersThatAreNotTold(t *testing.T) {
	g := newGroup()
	for _, members := range []uint64{0, 7, 0, 7} {
		g.members = members
		g.run(35)
	}
	if n := len(g.e.Blocks()); n != 2 {
		t.Errorf("%d blocks in 140 s, want 2", n)
	}
}
