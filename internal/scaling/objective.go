// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import "fmt"

// capacity is what is completed per second while there is work, at the present number of serving pods; false: not known.
func (in input) capacity() (float64, bool) {
	if r := in.Regressed; r != nil && in.rateKnown() {
		return float64(in.Target.Available)*r.Present + float64(in.Pool.Lent)*r.Slot, true
	}
	if in.rateKnown() {
		return float64(in.serving()) * in.Rate.PerReplica, true
	}
	return in.load.throughput, in.load.throughputKnown
}

// drainTime is backlog / (capacity − λ) in seconds, or what the deepest partition takes by itself if that is longer; nil: not known, or never.
func drainTime(in input) (seconds *float64, never bool) {
	capacity, known := in.capacity()
	var t float64
	switch {
	case in.load.fresh == 0 || in.load.stale > 0:
		return nil, false
	case in.load.backlog == 0:
	case !known:
		return nil, false
	case in.atOnce() && capacity > 0:
		t = in.load.work / capacity
	case !in.load.arrivalKnown:
		return nil, false
	case capacity <= in.load.arrival:
		return nil, true
	default:
		t = in.load.work / (capacity - in.load.arrival)
	}
	t = max(t, in.load.alone)
	if t > maxSeconds {
		return nil, true
	}
	return &t, false
}

// atOnce is true where each waiting message is taken as soon as a serving pod has done one: that is no backlog.
func (in input) atOnce() bool {
	c := 1.0
	if in.Drain != nil {
		c = in.Drain.Concurrency
	}
	return in.load.backlog <= c*float64(in.serving())
}

// objectiveMet is the condition ObjectiveMet.
func objectiveMet(in input) Finding {
	if in.load.fresh == 0 || in.load.stale > 0 {
		return Finding{unknown, reasonObjectiveUnknown, noData(in)}
	}
	if in.Drain == nil {
		return plainMet(in)
	}
	seconds, never := drainTime(in)
	within := number(in.load.seconds)
	switch {
	case in.load.tooLong != "":
		return Finding{unknown, reasonLongMessage, fmt.Sprintf("one message of queue %s takes longer than its objective; raise the objective's seconds", in.load.tooLong)}
	case in.load.backlog == 0:
		return Finding{yes, reasonObjectiveMet, "nothing waits"}
	case never:
		capacity, _ := in.capacity()
		return Finding{no, reasonObjectiveMissed, fmt.Sprintf("backlog %s never drains: %s/s arrive, %d serving pods complete %s/s",
			number(in.load.backlog), number(in.load.arrival), in.serving(), number(capacity))}
	case seconds == nil:
		return Finding{unknown, reasonObjectiveUnknown, fmt.Sprintf("backlog %s; arrival or service rate not known yet", number(in.load.backlog))}
	}
	text := fmt.Sprintf("backlog %s drains in %s s, objective %s s", number(in.load.backlog), number(*seconds), within)
	if in.load.uneven {
		text += "; " + in.aloneText()
	}
	if in.inTime(*seconds) {
		return Finding{yes, reasonObjectiveMet, text}
	}
	return Finding{no, reasonObjectiveMissed, text}
}

// inTime: with several objectives, the work of all queues has to fit; with one that is the drain time.
func (in input) inTime(seconds float64) bool {
	if in.load.uneven {
		return false
	}
	if in.atOnce() {
		return true
	}
	if capacity, _ := in.capacity(); in.rateKnown() {
		mu := in.Rate.PerReplica
		return in.load.arrival/mu+in.load.waiting <= capacity/mu+1e-9
	}
	return seconds <= in.load.seconds
}

func plainMet(in input) Finding {
	need := plain(in).replicas
	text := fmt.Sprintf("%s ask for %d replicas at %d each, %d serve", in.pendingText(), need, in.PerReplica, in.serving())
	if int64(need) <= in.serving() {
		return Finding{yes, reasonObjectiveMet, text}
	}
	return Finding{no, reasonObjectiveMissed, text}
}
