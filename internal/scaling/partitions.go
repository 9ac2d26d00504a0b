// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"time"
)

// rebalanceReturn is the least time for which the target must have had enough before slots come back that consume partitions:
// their leaving interrupts all the others.
const rebalanceReturn = 300 * time.Second

// partitions is how many there are of all queues together. It is 0 where a queue has none, so that any number of consumers helps, or
// cannot be read. How queues share consumers is not known: a replica beyond the sum has no partition of any.
func (in input) partitions() int64 {
	var sum int64
	for _, q := range in.Queues {
		if !q.Fresh || q.MostConsumers == 0 {
			return 0
		}
		sum += q.MostConsumers
	}
	return sum
}

// useful is how many replicas find partitions to work on, with concurrency of them for each replica: floor(partitions/c), at least 1.
func (in input) useful() int32 {
	sum := in.partitions()
	switch {
	case sum == 0:
		return maxCount
	case in.Drain == nil:
		return clip(sum)
	}
	return max(1, clip(int64(float64(sum)/in.Drain.Concurrency)))
}

// mayBeAsked is how many replicas partitions permit to ask for. Those that are there already stay while there is work: to remove them
// in a backlog would interrupt the others, and help nobody.
func (in input) mayBeAsked() int32 {
	return max(in.useful(), in.Min, min(in.Target.Replicas, in.Max))
}

func (in input) partitionsText(wanted int32) string {
	text := fmt.Sprintf("%d wanted, %d partitions keep %d replicas busy", wanted, in.partitions(), in.useful())
	if in.Drain != nil && in.Drain.Concurrency > 1 {
		text += fmt.Sprintf(" at concurrency %s", number(in.Drain.Concurrency))
	}
	return text + "; add partitions, or make the consumers faster"
}

// rebalances is true where consumers share partitions, so that each one that comes or goes interrupts the others.
func rebalances(o Observation) bool {
	for _, q := range o.Queues {
		if q.Fresh && q.MostConsumers > 0 {
			return true
		}
	}
	return false
}

// lendable is how many slots may be in service where level of them are to be, and lent are. No slot is lent beyond the partitions; those in
// service come back all at once, or not yet.
func (in input) lendable(level, lent int32) int32 {
	if level > lent {
		return max(lent, min(level, max(0, in.useful()-in.Target.Available)))
	}
	if level > 0 && rebalances(in.Observation) {
		return lent
	}
	return level
}
