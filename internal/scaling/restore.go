// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"slices"
	"time"
)

// ForeignWrite is a write of the target's replicas that was not ours.
type ForeignWrite struct {
	// From and To are the replicas before and after it.
	From, To int32
	// By is its field manager.
	By string
	// WithTemplate is true where the same write changed the pod template.
	WithTemplate bool
}

// Contest remembers another writer of the target's replicas. The zero value remembers none. At most 3 times are kept.
type Contest struct {
	// Until is when the replicas stop being left to it, By its field manager. Zero: they are not left alone.
	Until time.Time
	By    string
	// writes of the last 10 min, oldest first.
	writes []time.Time
	// times is how often in a row the replicas were left alone.
	times int
}

const (
	contestWindow = 10 * time.Minute
	contestWrites = 3
	// contestLongest is the longest time for which replicas are left alone. After as long without a foreign write,
	// the next contest is a first one.
	contestLongest = 40 * time.Minute
)

// OnForeignWrite says what follows from another writer's number. It is adopted, with one exception: a lowering (not to 0)
// that came in the write that changed the template is a manifest with a stale number. It is undone, once per rollout, up
// to the held number and max: then the number to write is returned. restored is true where that was done in this rollout
// already; a further such write, and every third foreign write in 10 min, leaves the replicas alone for 10, 20, 40 min.
func OnForeignWrite(now time.Time, p Policy, w ForeignWrite, restored bool, c Contest) (*int32, Contest) {
	c = c.advance(now)
	c.By = w.By
	lowered := w.To > 0 && w.To < w.From
	back := min(w.From, p.Max)
	undo := lowered && w.WithTemplate && back > w.To
	c.writes = append(slices.Clone(c.writes), now)
	if len(c.writes) >= contestWrites || (lowered && restored) {
		return nil, c.leaveAlone(now)
	}
	if !undo || now.Before(c.Until) {
		return nil, c
	}
	return &back, c
}

// advance forgets what is too old; a clock that went back forgets what is in the future.
func (c Contest) advance(now time.Time) Contest {
	if c.Until.Sub(now) > contestLongest || (!c.Until.IsZero() && now.Sub(c.Until) > contestLongest) {
		c.Until, c.times = time.Time{}, 0
	}
	c.writes = slices.DeleteFunc(slices.Clone(c.writes), func(t time.Time) bool {
		return t.After(now) || now.Sub(t) >= contestWindow
	})
	return c
}

// leaveAlone leaves the replicas to the other writer for 10 min, then 20, then 40.
func (c Contest) leaveAlone(now time.Time) Contest {
	c.Until = now.Add(min(contestWindow<<c.times, contestLongest))
	c.times = min(c.times+1, 2)
	c.writes = nil
	return c
}
