// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"time"
)

// directions in which a hold forbids changes.
type directions uint8

const (
	none directions = 0
	up   directions = 1
	down directions = 2
	both            = up | down
)

// hold says why the target's replicas are left alone, and in which directions; none: it does not apply.
type hold func(input) (reason, message string, forbids directions)

// holds in order: every one is evaluated, their union binds, and the first that binds supplies the reason. They outrank
// the fallback and the limits.
var holds = []hold{
	// Somebody else decides.
	suspended,
	conflict,
	switchedOff,
	contested,
	// What cannot be read is not empty, and what has just started has seen nothing yet.
	readingsStale,
	justStarted,
	// A rollout, or pods that are not there yet.
	rolloutHolds,
	// More pods would fail as those before did.
	podsFail,
	// Whether more pods complete more.
	scaleUpIneffective,
	stepNotVerified,
	// Ending a pod would throw away minutes of work.
	longMessages,
}

func holding(in input) []Restraint {
	var out []Restraint
	for _, h := range holds {
		if reason, message, forbids := h(in); forbids != none {
			out = append(out, Restraint{Reason: reason, Message: message, Up: forbids&up != 0, Down: forbids&down != 0})
		}
	}
	return out
}

func suspended(in input) (reason, message string, forbids directions) {
	if !in.Suspended {
		return
	}
	return reasonSuspended, "mode is Suspended; set mode: Active to resume", both
}

func conflict(in input) (reason, message string, forbids directions) {
	if in.Conflict == "" {
		return
	}
	return reasonConflict, in.Conflict, both
}

// switchedOff: 0 replicas that we did not write are a person's emergency stop, or the usual way to switch a
// Deployment off.
func switchedOff(in input) (reason, message string, forbids directions) {
	if !in.off() {
		return
	}
	return reasonDisabled, "somebody else set the target to 0 replicas; scale it to 1 or more to resume", both
}

func (in input) off() bool {
	t := in.Target
	return t.Replicas == 0 && (t.ForeignZero || (in.Min >= 1 && !t.OwnZero))
}

func contested(in input) (reason, message string, forbids directions) {
	if !in.now.Before(in.Target.ContestedUntil) {
		return
	}
	by := in.Target.ContestedBy
	if by == "" {
		by = "another writer"
	}
	return reasonContested, fmt.Sprintf("%s keeps writing the target's replicas, which are left alone until %s; take replicas out of its manifest, or let it ignore the field (Argo CD: ignoreDifferences)",
		by, clock(in.Target.ContestedUntil)), both
}

func readingsStale(in input) (reason, message string, forbids directions) {
	if in.load.stale == 0 && in.load.fresh > 0 {
		return
	}
	return reasonStale, noData(in) + "; nothing is scaled down until every queue can be read", down
}

func justStarted(in input) (reason, message string, forbids directions) {
	window := in.Behavior.ScaleDown.Window
	end := in.memory.since.Add(window)
	if !in.now.Before(end) {
		return
	}
	return reasonJustStarted, fmt.Sprintf("the operator has watched for less than the scale-down window of %s; nothing is scaled down before %s",
		duration(window), clock(end)), down
}

func podsFail(in input) (reason, message string, forbids directions) {
	if in.Target.PodsFailing == "" {
		return
	}
	return reasonPodsFailing, in.Target.PodsFailing + "; more pods would fail alike", up
}

// longMessages: where one message takes minutes, replicas go only when nothing is in flight.
func longMessages(in input) (reason, message string, forbids directions) {
	if in.load.longest <= 300 || in.load.fresh == 0 || !in.load.quietSince.IsZero() || (in.load.inFlightKnown && in.load.inFlight == 0) {
		return
	}
	flight := "an unknown number of messages"
	if in.load.inFlightKnown {
		flight = number(in.load.inFlight) + " messages"
	}
	return reasonMessagesInFlight, fmt.Sprintf("%s in flight, each takes about %s; nothing is scaled down before they are done",
		flight, duration(time.Duration(min(in.load.longest, 1e9)*float64(time.Second)))), down
}

// firstBinding is the first hold that forbids going from one number to another; nil: none does.
func firstBinding(holds []Restraint, from, to int32) *Restraint {
	change := direction(from, to)
	for i, h := range holds {
		if (change == up && h.Up) || (change == down && h.Down) {
			return &holds[i]
		}
	}
	return nil
}

func direction(from, to int32) directions {
	switch {
	case to > from:
		return up
	case to < from:
		return down
	default:
		return none
	}
}

// clock is a time of day for people.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// duration is d for people, to the second, minute or hour.
func duration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
}
