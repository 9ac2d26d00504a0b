// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import "fmt"

// Regressed says that the target's revision completes less per replica than the known-good one, which the slots run.
type Regressed struct {
	// Present is μ of the target's revision, Slot that of the slots': messages/s, above 0.
	Present, Slot float64
	// Message says for a person how that is known, such as "revision 7 completes 5.2/s per replica, revision 6 did 8.1/s".
	Message string
}

// madeUp is how many slots of the known-good revision it takes until the objective is met: pods of a regressed revision
// are all available, and still not enough.
func (in input) madeUp() int32 {
	r := in.Regressed
	return ceil((in.load.arrival-float64(in.Target.Available)*r.Present)/r.Slot + in.waiting(r.Slot, in.drainSeconds))
}

// waiting is how many pods of service rate μ the backlog keeps busy within its objectives Tᵢ: Σ Bᵢ·min(wᵢ/(Tᵢ·μ), 1/c).
func (in *input) waiting(mu float64, objective func(Queue) float64) float64 {
	busy := 0.0
	if in.Drain == nil {
		return busy
	}
	for _, q := range in.Queues {
		if q.Fresh {
			busy += float64(q.Depth) * min(q.Weight/(objective(q)*mu), 1/in.Drain.Concurrency)
		}
	}
	return busy
}

// reserved is how many slots are to be in service before a regressed revision gets more replicas, those on their way
// included: a slot that returns is no reason to grow.
func (in input) reserved() int32 {
	if in.Regressed == nil {
		return 0
	}
	return min(in.Pool.Warm+in.Pool.Lent+in.Pool.Coming, in.Max)
}

// slotsFirst takes from an addition what slots of the known-good revision make up for. It never takes away what is there.
func slotsFirst(in input, wanted int32) outcome {
	out := outcome{replicas: wanted}
	slots, present := in.reserved(), in.Target.Replicas
	if slots == 0 || wanted <= present {
		return out
	}
	stand := int32(min(float64(slots)*in.Regressed.Slot/in.Regressed.Present, maxCount))
	if stand == 0 {
		return out
	}
	out.replicas = max(present, wanted-stand)
	out.reason = reasonSlotsFirst
	out.message = fmt.Sprintf("%d wanted, %s of the known-good revision do the work of %d: %s",
		wanted, count(slots, "slot"), stand, in.Regressed.Message)
	return out
}

// leftForSlots says why fewer than max are asked for, if so.
func leftForSlots(n int32) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", %d of them left for slots of the known-good revision", n)
}

// most is how many replicas the target may get: room is left for slots that do more than a replica of its revision.
func (in input) most() int32 {
	return max(in.Max-in.reserved(), min(in.Target.Replicas, in.Max), in.Min)
}
