// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import "time"

// minReturn is the least time for which the target must have had enough before slots come back.
const minReturn = 60 * time.Second

// lend is how many slots are to be in service while desired replicas are wanted. It is a level, not an event: it covers
// what the target was not asked for, pods that are on their way, pods that crashed, and nodes that died alike.
func lend(in input, desired int32, m Memory) (int32, Memory) {
	lent := in.Pool.Lent
	switch {
	case in.Suspended:
		m.slots = m.slots.push(in.now, lent, returnAfter(in.Observation), highest)
		return lent, m
	case in.off() || in.Conflict != "" || in.forbidsOtherRevision():
		// An emergency stop stops everything, and what must not be mixed is not mixed for a second.
		m.slots = nil
		return 0, m
	}
	needed := in.slotsNeeded(desired)
	if !in.Target.SettledOnce || !in.Observation.Rollout.MayLend {
		needed = min(needed, lent)
	}
	m.slots = m.slots.push(in.now, needed, returnAfter(in.Observation), highest)
	level := max(needed, min(lent, m.slots.extreme()))
	if in.load.fresh == 0 || in.load.stale > 0 {
		level = max(level, lent)
	}
	level = in.lendable(level, lent)
	room := max(0, in.Max-in.Target.Available)
	return min(level, room, in.Pool.Warm+lent), m
}

// slotsNeeded is what the target was not asked for, plus what it was asked for and does not have. During a rollout the
// strategy takes maxUnavailable pods away by itself. Where more pods bring nothing, slots make up for missing ones only. Of a regressed revision there may be as many as desired and still
// too little capacity: only max bounds what makes up for that.
func (in input) slotsNeeded(desired int32) int32 {
	asked, available := in.Target.Replicas, in.Target.Available
	if in.ineffective() {
		desired = min(desired, asked)
	}
	slack := int32(0)
	if in.Observation.Rollout.InProgress {
		slack = in.Target.MaxUnavailable
	}
	needed := max(0, desired-asked) + max(0, min(desired, asked)-available-slack)
	needed = min(needed, max(0, desired-available))
	if in.Regressed != nil {
		needed = max(needed, in.madeUp())
	}
	return needed
}

// forbidsOtherRevision is true where no slot of another revision may be in service, and the pool runs one.
func (in input) forbidsOtherRevision() bool {
	t := in.Target
	return in.Pool.OtherRevision && (t.Recreate || t.Incompatible || in.Policy.Rollout.ForbidLending)
}

// returnAfter is how long the target must have had enough before slots come back, so that a burst every minute does not
// churn the pool.
func returnAfter(o Observation) time.Duration {
	least := minReturn
	if rebalances(o) {
		least = rebalanceReturn
	}
	return min(max(least, o.Pool.StartUp), time.Hour)
}
