// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"time"
)

// explain is the decision's reason and message where no hold binds.
func explain(in input, r recommendation, stable, end outcome, lent int32) (reason, message string) {
	reason, text := r.reason, r.message
	if stable.reason != "" {
		reason, text = stable.reason, stable.message+"; "+r.message
	}
	if end.reason != "" {
		reason, text = end.reason, end.message+"; "+r.message
	}
	if present := in.Target.Replicas; end.replicas == present {
		message = fmt.Sprintf("%s: %s", count(present, "replica"), text)
	} else {
		message = fmt.Sprintf("%d → %d: %s", present, end.replicas, text)
	}
	return reason, message + in.lentText(lent)
}

// heldMessage says what is wanted, what is kept, why, what helps meanwhile, and what ends it.
func heldMessage(in input, h Restraint, desired, lent int32) string {
	text := fmt.Sprintf("%d wanted, %d kept: %s%s.", desired, in.Target.Replicas, h.Message, in.lentText(lent))
	if reason, _, _ := rolloutHolds(in); reason == h.Reason {
		text += in.resumes(direction(in.Target.Replicas, desired))
	}
	return text
}

func (in input) lentText(lent int32) string {
	if lent == 0 {
		return ""
	}
	return fmt.Sprintf("; %s lent, %d left", count(lent, "slot"), max(0, in.Pool.Warm+in.Pool.Lent-lent))
}

// count is n things.
func count(n int32, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// able is the condition AbleToScale.
func able(in input) Finding {
	for _, h := range []hold{conflict, contested} {
		if reason, message, forbids := h(in); forbids != none {
			return Finding{no, reason, message}
		}
	}
	return Finding{yes, reasonReady, "the target's replicas can be read and written"}
}

// active is the condition ScalingActive.
func active(in input) Finding {
	for _, h := range []hold{suspended, switchedOff} {
		if reason, message, forbids := h(in); forbids != none {
			return Finding{no, reason, message}
		}
	}
	switch {
	case in.fallback:
		return Finding{no, reasonFallback, noData(in) + fmt.Sprintf("; at least %s meanwhile", count(in.Fallback.Min, "replica"))}
	case in.load.fresh == 0 || in.load.stale > 0:
		return Finding{no, reasonStale, noData(in)}
	default:
		return Finding{yes, reasonFresh, "every queue has a fresh reading"}
	}
}

// again is after how long the plan could change by time alone; 0: it could not. Early is harmless, late is not.
func again(in input, m Memory, stable outcome) time.Duration {
	var soonest time.Duration
	for _, t := range in.turns(m, stable) {
		if left := t.Sub(in.now); !t.IsZero() && left > 0 && (soonest == 0 || left < soonest) {
			soonest = left
		}
	}
	return soonest
}

// turns are the times at which some rule decides otherwise than now, if nothing else changes. Those in the past are none.
func (in input) turns(m Memory, stable outcome) []time.Time {
	slots := m.slots.changes(returnAfter(in.Observation))
	down := m.down.changes(in.Behavior.ScaleDown.Window)
	up := m.up.changes(in.Behavior.ScaleUp.Window)
	turns := []time.Time{
		stable.until, slots, down, up, in.rollout.ends, in.Target.ContestedUntil, m.verification.frozen.until,
		m.since.Add(in.Behavior.ScaleDown.Window),
	}
	if m.verification.open.to > 0 {
		turns = append(turns, m.verification.open.until)
	}
	if m.growth.to > 0 {
		turns = append(turns, m.growth.at.Add(in.startUp()))
	}
	if f := in.Fallback; f != nil && !m.noDataSince.IsZero() {
		turns = append(turns, m.noDataSince.Add(f.After))
	}
	if after := in.Policy.Rollout.ReleaseAfterMissed; after > 0 && !m.missedSince.IsZero() {
		turns = append(turns, m.missedSince.Add(after))
	}
	return turns
}
