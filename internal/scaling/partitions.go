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
// never told; one that cannot be read now has as many as it told last. How queues share consumers is not known: a replica beyond the sum has no partition of any.
func (in input) partitions() int64 {
	var sum int64
	for _, q := range in.Queues {
		if q.MostConsumers == 0 {
			return 0
		}
		sum += q.MostConsumers
	}
	return sum
}

// fed is how many replicas partitions are enough for, each with a partition for every one of its consumers: the sum of
// partitions/consumersPerReplica.
func (in input) fed() float64 {
	sum := 0.0
	for _, q := range in.Queues {
		sum += float64(q.MostConsumers) / float64(q.ConsumersPerReplica)
	}
	return sum
}

// useful is how many replicas find partitions to work on, at least 1: what is left for the last one may be fewer than it has consumers.
func (in input) useful() int32 {
	if in.partitions() == 0 {
		return maxCount
	}
	return max(1, ceil(in.fed()))
}

// worthLending is how many replicas slots may make up: of what is useful, without one that has more consumers than there are partitions
// left for it: a lend interrupts all the others, and that one may add less than it takes from them.
func (in input) worthLending() int32 {
	if in.partitions() == 0 {
		return in.speeding()
	}
	return min(max(1, clip(int64(in.fed()+1e-9))), in.speeding())
}

// alone is how many seconds the deepest partition of a queue takes at the least: one consumer at a time works on it, however many
// replicas there are. 0: not told, or μ is not known.
func (in *input) alone(q Queue) float64 {
	if !in.rateKnown() {
		return 0
	}
	return q.Weight * float64(q.DeepestPartition) * float64(q.ConsumersPerReplica) / in.Rate.PerReplica
}

// mayDrain is the time within which as many replicas drain a queue as do it sooner than fewer: the objective, or half the time that its
// deepest partition takes by itself, by which the others can be done. Half of it, because who gets which partitions does not go by what
// waits in them.
func (in *input) mayDrain(q Queue) float64 { return max(in.drainSeconds(q), in.alone(q)/2) }

// speeding is how many replicas make a difference to a backlog that is spread unevenly over partitions.
func (in input) speeding() int32 {
	if in.Drain == nil || !in.load.uneven || !in.load.arrivalKnown {
		return maxCount
	}
	return max(1, in.keepUp(in.load.spread))
}

// mayBeAsked is how many replicas partitions permit to ask for. Those that are there already stay while there is work: to remove them
// in a backlog would interrupt the others, and help nobody. The fallback is what was given for the time in which nothing is known.
func (in input) mayBeAsked() int32 {
	least := in.Min
	if in.fallback {
		least = max(least, in.Fallback.Min)
	}
	return max(min(in.useful(), in.speeding()), least, min(in.Target.Replicas, in.Max))
}

func (in input) partitionsText(wanted int32) string {
	if in.speeding() < in.useful() {
		return fmt.Sprintf("%d wanted, but more than %d hardly drain the backlog sooner: %s; spread the messages over the partitions, or make the consumers faster",
			wanted, in.speeding(), in.aloneText())
	}
	text := fmt.Sprintf("%d wanted, %d partitions keep at most %s busy", wanted, in.partitions(), count(in.useful(), "replica"))
	most := int64(1)
	for _, q := range in.Queues {
		most = max(most, q.ConsumersPerReplica)
	}
	if most > 1 {
		text += fmt.Sprintf(" that run up to %d consumers each", most)
	}
	return text + "; add partitions, or make the consumers faster"
}

// aloneText says how long the deepest partition takes.
func (in input) aloneText() string {
	q := in.load.fullest
	return fmt.Sprintf("one partition of queue %s has %s of its %s messages, which take one consumer %s s", q.Name,
		number(float64(q.DeepestPartition)), number(float64(q.Depth)), number(in.load.alone))
}

// rebalances is true where consumers share partitions, so that each one that comes or goes interrupts the others.
func rebalances(o Observation) bool {
	for _, q := range o.Queues {
		if q.MostConsumers > 0 {
			return true
		}
	}
	return false
}

// lendable is how many slots may be in service where level of them are to be, and lent are. No slot is lent beyond the partitions; those in
// service come back all at once, or not yet.
func (in input) lendable(level, lent int32) int32 {
	if level > lent {
		return max(lent, min(level, max(0, in.worthLending()-in.Target.Available)))
	}
	if level > 0 && rebalances(in.Observation) {
		return lent
	}
	return level
}
