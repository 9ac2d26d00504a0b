// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"math"
	"time"
)

// outcome is a number of replicas, and what made it differ from the recommendation; no reason: nothing did.
type outcome struct {
	replicas        int32
	reason, message string
	// limits is true where ScalingLimited tells of it.
	limits bool
	// until is when it may differ by time alone; zero: it does not.
	until time.Time
}

// stabilize makes a number that may be written of a recommendation, with autoscaling/v2's meaning of spec.behavior.
func stabilize(in input, r recommendation, m Memory) (outcome, Memory) {
	m.down = m.down.push(in.now, r.replicas, in.Behavior.ScaleDown.Window, highest)
	m.up = m.up.push(in.now, r.replicas, in.Behavior.ScaleUp.Window, lowest)
	out := withinWindows(in, r, m)
	out = withinTolerance(in, out)
	out = notYetZero(in, out)
	out = withinRates(in, out, m.steps)
	return withinTrial(in, out), m
}

// withinWindows goes no lower than the highest, and no higher than the lowest recommendation of its window.
func withinWindows(in input, r recommendation, m Memory) outcome {
	out := outcome{replicas: min(max(in.Target.Replicas, m.up.extreme()), m.down.extreme())}
	switch {
	case out.replicas > r.replicas:
		out.reason = reasonDownStabilized
		out.until = m.down.changes(in.Behavior.ScaleDown.Window)
		out.message = fmt.Sprintf("%d wanted, but the highest recommendation of the last %s is %d",
			r.replicas, duration(in.Behavior.ScaleDown.Window), m.down.extreme())
	case out.replicas < r.replicas:
		out.reason = reasonUpStabilized
		out.until = m.up.changes(in.Behavior.ScaleUp.Window)
		out.message = fmt.Sprintf("%d wanted, but the lowest recommendation of the last %s is %d",
			r.replicas, duration(in.Behavior.ScaleUp.Window), m.up.extreme())
	}
	return out
}

// withinTolerance keeps the present number where the difference is small, unless more arrives than it completes.
func withinTolerance(in input, out outcome) outcome {
	present, tolerance := in.Target.Replicas, in.Behavior.ScaleDown.Tolerance
	if out.replicas > present {
		tolerance = in.Behavior.ScaleUp.Tolerance
		if mu := in.Rate.PerReplica; in.Drain != nil && mu > 0 && in.load.arrival >= float64(present)*mu {
			return out
		}
	}
	if (out.replicas > present && present >= in.Max) || (out.replicas < present && present <= in.Min) {
		return out // for limit to say so
	}
	difference := math.Abs(float64(out.replicas) - float64(present))
	if difference == 0 || difference > tolerance*float64(present) {
		return out
	}
	out.message = fmt.Sprintf("%d wanted, within the tolerance of %.0f%%", out.replicas, 100*tolerance)
	out.replicas, out.reason = present, reasonTolerance
	return out
}

// notYetZero keeps the last replica until nothing waited or was in flight for a whole scale-down window.
func notYetZero(in input, out outcome) outcome {
	if out.replicas > 0 || in.Min > 0 || in.Target.Replicas == 0 {
		return out
	}
	window := in.Behavior.ScaleDown.Window
	quiet := in.load.quietSince
	if !quiet.IsZero() && in.now.Sub(quiet) >= window {
		return out
	}
	out.replicas, out.reason = 1, reasonNotQuiet
	out.message = "the last replica stays until nothing waited, arrived or was in flight for " + duration(window)
	if !quiet.IsZero() {
		out.until = quiet.Add(window)
	}
	return out
}

// withinRates goes no further in one step than behavior's policies allow.
func withinRates(in input, out outcome, steps []step) outcome {
	present, rules, reason := in.Target.Replicas, in.Behavior.ScaleUp, reasonScaleUpLimit
	bound := present
	switch direction(present, out.replicas) {
	case none:
		return out
	case up:
		bound = max(present, rules.furthest(in.now, present, steps, +1))
	case down:
		rules, reason = in.Behavior.ScaleDown, reasonScaleDownLimit
		bound = min(present, rules.furthest(in.now, present, steps, -1))
	}
	if (out.replicas > present && out.replicas <= bound) || (out.replicas < present && out.replicas >= bound) {
		return out
	}
	text := fmt.Sprintf("%d wanted, behavior allows %d now", out.replicas, bound)
	return outcome{replicas: bound, reason: reason, message: text, limits: true, until: rules.nextAllowed(in.now, steps)}
}

// furthest is the number up to (sign +1) or down to which (sign -1) the policies allow to go.
func (r Rules) furthest(now time.Time, present int32, steps []step, sign int64) int32 {
	if r.Disabled {
		return present
	}
	if len(r.Policies) == 0 {
		return clip(sign * maxCount)
	}
	var furthest int64
	for i, p := range r.Policies {
		change := p.allows(now, present, steps, sign)
		// Max is the largest change, Min the smallest, in either direction.
		if i == 0 || (change*sign > furthest*sign) != r.SelectMin {
			furthest = change
		}
	}
	return clip(furthest)
}

// allows is the number that one policy allows, from what there was at the start of its period.
func (p RatePolicy) allows(now time.Time, present int32, steps []step, sign int64) int64 {
	start := int64(present)
	for _, s := range steps {
		if s.at > now.Add(-p.Period).UnixMilli() {
			start += int64(s.removed) - int64(s.added)
		}
	}
	if !p.Percent {
		return start + sign*int64(p.Value)
	}
	share := float64(start) * (1 + float64(sign)*float64(p.Value)/100)
	if sign > 0 {
		// Rounded up, or a small percentage of few replicas would never grow.
		share = math.Ceil(share - 1e-9)
	}
	return int64(min(max(share, 0), maxCount))
}

// nextAllowed is when a step leaves the period of a policy.
func (r Rules) nextAllowed(now time.Time, steps []step) time.Time {
	var next time.Time
	for _, p := range r.Policies {
		for _, s := range steps {
			if t := time.UnixMilli(s.at).Add(p.Period); t.After(now) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// longestPeriod is how far back any policy looks.
func longestPeriod(b Behavior) time.Duration {
	var longest time.Duration
	for _, r := range []Rules{b.ScaleUp, b.ScaleDown} {
		for _, p := range r.Policies {
			longest = max(longest, p.Period)
		}
	}
	return longest
}

// limit takes off what slots make up for, and applies the fallback floor, and min and max.
func limit(in input, stable outcome, r recommendation) outcome {
	out := slotsFirst(in, stable.replicas)
	n, most, asked := out.replicas, in.most(), in.mayBeAsked()
	if in.fallback && n <= in.Fallback.Min {
		n = in.Fallback.Min
		out.reason, out.message = reasonFallback, fmt.Sprintf("fallback.minReplicas %d, since no queue could be read for %s", n, duration(in.Fallback.After))
	}
	switch {
	case n > asked && asked <= most:
		out.message = in.partitionsText(r.replicas)
		out.reason, out.limits, n = reasonTooFewPartitions, true, asked
	case n > most:
		out.message = fmt.Sprintf("%d wanted, maxReplicas is %d%s; %s", r.replicas, in.Max, leftForSlots(in.Max-most), in.moreThanMax(r.replicas))
		out.reason, out.limits, n = reasonTooMany, true, most
	case n < in.Min:
		out.message = fmt.Sprintf("%d wanted, minReplicas is %d", r.replicas, in.Min)
		out.reason, out.limits, n = reasonTooFew, true, in.Min
	}
	out.replicas = n
	return out
}

// moreThanMax is what to do where more replicas are wanted than there may be. More of a regressed revision are not the remedy.
func (in input) moreThanMax(wanted int32) string {
	if in.Regressed != nil {
		return "the revision does less than the known-good one: see status.diagnosis before raising maxReplicas"
	}
	return fmt.Sprintf("raise maxReplicas to at least %d", wanted)
}

// limited is the condition ScalingLimited.
func limited(stable, end outcome) Finding {
	switch {
	case end.limits:
		return Finding{yes, end.reason, end.message}
	case stable.limits:
		return Finding{yes, stable.reason, stable.message}
	default:
		return Finding{no, reasonWithinRange, "neither minReplicas nor maxReplicas nor behavior nor partitions bind"}
	}
}
