// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"math"
	"time"
)

const (
	// tooManyRedelivered is the share of repeated deliveries above which more replicas would only repeat more.
	tooManyRedelivered = 0.2
	// defaultStartUp is taken for the start-up time of a pod that is not known.
	defaultStartUp = 60 * time.Second
)

// recommendation is what the queues ask for. It names no limits and no holds.
type recommendation struct {
	replicas int32
	reason   string
	// message is the numbers that it follows from.
	message string
}

// recommend applies the formulas to what is known, and says what stands in for what is not.
func recommend(in input) (recommendation, growth) {
	var r recommendation
	g := in.memory.growth
	switch {
	case in.load.fresh == 0:
		return standing(in), g
	case in.Drain == nil:
		r, g = plain(in), growth{}
	case in.rateKnown():
		r, g = drain(in), growth{}
	default:
		r, g = grow(in)
	}
	if last := in.lastDecision(); in.load.stale > 0 && r.replicas < last {
		r.replicas, r.reason = last, reasonStale
		r.message = fmt.Sprintf("%d of %d queues cannot be read: %s; the last decision stands", in.load.stale, in.load.stale+in.load.fresh, in.load.problem)
	}
	if r.replicas < 1 && (in.load.backlog > 0 || in.load.inFlight > 0) {
		r.replicas = 1
	}
	if present := max(in.Target.Replicas, 1); in.load.redelivered > tooManyRedelivered && r.replicas > present {
		r.replicas, r.reason = present, reasonRedelivered
		r.message = fmt.Sprintf("%.0f%% of the deliveries are repeated, more replicas would only repeat more; check the queue and what its consumers fail at", 100*in.load.redelivered)
	}
	return r, g
}

// standing is the last decision: no queue can be read, which is not the same as empty.
func standing(in input) recommendation {
	return recommendation{in.lastDecision(), reasonStale, noData(in)}
}

// lastDecision stands while there is nothing to decide from. After a restart it is what is there, slots included.
func (in input) lastDecision() int32 {
	if in.memory.decided {
		return in.memory.desired
	}
	return max(in.Target.Replicas, min(in.Target.Replicas+in.Pool.Lent, in.Max))
}

// noData says why there is nothing to decide from.
func noData(in input) string {
	switch {
	case len(in.Queues) == 0:
		return "no queue is configured"
	case in.load.problem == "":
		return "no queue can be read"
	default:
		return in.load.problem
	}
}

// plain is ceil(Σ w·(depth + inFlight) / perReplica), as KEDA's queue scalers count.
func plain(in input) recommendation {
	return recommendation{
		replicas: ceil(in.load.pending / float64(in.PerReplica)),
		reason:   reasonRecommended,
		message:  fmt.Sprintf("%s, %d for each replica", in.pendingText(), in.PerReplica),
	}
}

// drain is the drain form. Where λ is not known, a backlog says that there are not too many replicas, and none that
// there may be: half as many are tried, once in a scale-down window.
func drain(in input) recommendation {
	r := recommendation{replicas: in.fromRate(), reason: reasonRecommended, message: in.drainText()}
	if !in.load.arrivalKnown {
		r.replicas, r.reason = max(r.replicas, in.withoutRates()), reasonArrivalUnknown
	}
	return r
}

// rateKnown is false where there is at most a lower bound of μ and no prior.
func (in input) rateKnown() bool {
	switch in.Rate.Known {
	case Given, Measured:
		return true
	case AtLeast:
		return in.Drain != nil && in.Drain.Prior > 0
	default:
		return false
	}
}

// fromRate is max( ceil(λ/(μ·ρ)), ceil(λ/μ + waiting) ), at least what is known of it.
func (in input) fromRate() int32 { return in.keepUp(in.load.waiting) }

// keepUp is fromRate for a backlog that keeps so many replicas busy.
func (in input) keepUp(waiting float64) int32 {
	mu := in.Rate.PerReplica
	return max(ceil(in.load.arrival/(mu*in.Drain.Utilization)), ceil(in.load.arrival/mu+waiting))
}

// withoutRates is how many replicas stay where nothing says how many are needed.
func (in input) withoutRates() int32 {
	if in.load.backlog > 0 {
		return in.Target.Replicas
	}
	return ceil(float64(in.Target.Replicas) / 2)
}

// grow stands in for the drain form while μ is not known: it doubles the replicas while they fall behind, at most once
// per start-up time. A lower bound of μ tells when doubling is certainly enough, and when fewer are.
func grow(in input) (recommendation, growth) {
	r := recommendation{reason: reasonRateUnknown, message: in.pendingText() + ", service rate not known yet"}
	replicas, g := in.Target.Replicas, in.memory.growth
	bound := int32(maxCount)
	if in.Rate.Known == AtLeast && in.load.arrivalKnown {
		bound = in.fromRate()
	}
	if !in.fallsBehind() {
		if bound == maxCount {
			r.replicas = in.withoutRates()
		} else {
			r.replicas = min(replicas, bound)
		}
		return r, growth{at: g.at}
	}
	if g.to <= replicas && in.now.Sub(g.at) >= in.startUp() {
		g = growth{to: clip(max(2*int64(replicas), 1)), at: in.now}
	}
	r.replicas = min(max(g.to, replicas), max(bound, replicas))
	return r, g
}

// fallsBehind is true where more waits than the replicas work on at once, and it is not seen to be gone in time.
func (in input) fallsBehind() bool {
	if in.load.backlog <= float64(in.serving())*in.Drain.Concurrency {
		return false
	}
	if !in.load.arrivalKnown || !in.load.throughputKnown {
		return true
	}
	gain := in.load.throughput - in.load.arrival
	return gain <= 0 || in.load.work/gain > in.load.seconds
}

// serving is the number of pods that work: available ones and lent slots.
func (in input) serving() int64 { return int64(in.Target.Available) + int64(in.Pool.Lent) }

// startUp is how long a pod of the target takes.
func (in input) startUp() time.Duration { return in.Target.startUp() }

func (t Target) startUp() time.Duration {
	if t.StartUp <= 0 {
		return defaultStartUp
	}
	return min(t.StartUp, 24*time.Hour)
}

func (in input) pendingText() string {
	if !in.load.inFlightKnown {
		return fmt.Sprintf("backlog %s", number(in.load.backlog))
	}
	return fmt.Sprintf("backlog %s and %s in flight", number(in.load.backlog), number(in.load.inFlight))
}

// drainText is the numbers of the drain form.
func (in input) drainText() string {
	arrival := "arrival rate unknown"
	if in.load.arrivalKnown {
		arrival = number(in.load.arrival) + "/s arriving"
	}
	known := map[string]string{Given: "given", AtLeast: "at least", Measured: "measured"}[in.Rate.Known]
	return fmt.Sprintf("backlog %s within %s s, %s, %s/s per replica (%s)",
		number(in.load.backlog), number(in.load.seconds), arrival, number(in.Rate.PerReplica), known)
}

// number is x for people: whole from 10 on, else two digits.
func number(x float64) string {
	if math.Abs(x) >= 9.95 || x == 0 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2g", x)
}
