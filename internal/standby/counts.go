// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import "time"

// Count tells the slots by state, and how long they take until warm (0: unknown), before it is decided how many are to
// be lent.
func Count(now time.Time, in PoolInput, slots []Slot) (Counts, time.Duration) {
	p := &planner{now: now, in: in.resolved(), slots: slots}
	p.count()
	return p.plan.Counts, p.plan.StartUp
}
