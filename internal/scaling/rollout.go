// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"time"
)

// rolloutHold is what the policy makes of a rollout.
type rolloutHold struct {
	forbids directions
	// ends is when the hold on scale-up times out; zero: it does not.
	ends time.Time
}

// assessHold is the hold for the present rollout, and why it is milder than the assessment says, if it is.
//
// Scale-down needs the assessment's permission in every mode. Scale-up needs it too, unless one of these says otherwise,
// in this order: the policy; a person; the timeout; an objective that was missed for too long.
func (in *input) assessHold() (rolloutHold, *Finding) {
	r, h := in.Observation.Rollout, rolloutHold{}
	if !r.MayScaleDown || r.InProgress {
		h.forbids |= down
	}
	if r.MayScaleUp && !(r.LendFirst && in.Pool.Warm > 0) {
		return h, nil
	}
	if in.policyLetsUp() {
		return h, nil
	}
	if released := in.release(); released != nil {
		return h, released
	}
	h.forbids |= up
	if in.mayTimeOut() {
		h.ends = in.stableAt().Add(in.Policy.Rollout.HoldTimeout)
	}
	return h, nil
}

// policyLetsUp: ScaleUpOnly stops at what is known to be bad or is being undone; Ignore is for people who know better.
func (in *input) policyLetsUp() bool {
	if !in.Observation.Rollout.InProgress {
		return false
	}
	switch in.Policy.Rollout.Mode {
	case Ignore:
		return true
	case ScaleUpOnly:
		return in.Observation.Rollout.State != stateStuck && in.Observation.Rollout.State != stateRollingBack
	default:
		return false
	}
}

// release says why a hold on scale-up ended early; nil: it did not.
func (in *input) release() *Finding {
	r, p := in.Observation.Rollout, in.Policy.Rollout
	switch {
	case r.Released && r.InProgress:
		return &Finding{yes, reasonHoldReleased, "released by annotation; scale-up is allowed though " + r.Message}
	case in.mayTimeOut() && in.now.Sub(in.stableAt()) >= p.HoldTimeout:
		return &Finding{yes, reasonHoldTimedOut, fmt.Sprintf("held for %s; scale-up is allowed again though %s", duration(p.HoldTimeout), r.Message)}
	case in.mayReleaseMissed() && in.now.Sub(in.memory.missedSince) >= p.ReleaseAfterMissed:
		return &Finding{yes, reasonHoldReleased, fmt.Sprintf("the objective has been missed for %s and no warm slot is left; scale-up is allowed though %s",
			duration(in.now.Sub(in.memory.missedSince)), r.Message)}
	default:
		return nil
	}
}

// mayTimeOut is false for what must not be fed or interfered with.
func (in *input) mayTimeOut() bool {
	return in.Policy.Rollout.HoldTimeout > 0 && !in.untouchable() && !in.Observation.Rollout.Flagged
}

// untouchable: what is stuck must not be fed, what is rolling back not interfered with. Only a person may, who knows better.
func (in *input) untouchable() bool {
	s := in.Observation.Rollout.State
	return s == stateStuck || s == stateRollingBack
}

// mayReleaseMissed is true where a missed objective ends the hold: the rollout gets on, nothing is known against its
// revision, and no slot can help.
func (in *input) mayReleaseMissed() bool {
	r := in.Observation.Rollout
	return in.Policy.Rollout.ReleaseAfterMissed > 0 && r.State == stateRolling && r.Progressing && !r.Flagged && in.Pool.Warm == 0 && !in.memory.missedSince.IsZero()
}

// stableAt is when the target was last stable; where that is not told, since when scale-up is not permitted.
func (in *input) stableAt() time.Time {
	if t := in.Observation.Rollout.LastStable; !t.IsZero() && !t.After(in.now) {
		return t
	}
	return in.memory.blockedSince
}

func rolloutHolds(in input) (reason, message string, forbids directions) {
	r := in.Observation.Rollout
	switch {
	case in.rollout.forbids == none:
		return
	case r.State == stateStuck:
		reason = reasonRolloutStuck
	case r.InProgress:
		reason = reasonRolloutInProgress
	case r.State == "Scaling":
		reason = reasonScalingInProgress
	default:
		reason = reasonPodsUnavailable
	}
	return reason, r.Message, in.rollout.forbids
}

// resumes says how a rollout's hold ends, and what a person can do now.
func (in input) resumes(forbids directions) string {
	r := in.Observation.Rollout
	what, when := "Scale-down", "at its end"
	if forbids&up != 0 {
		what = "Scale-up"
	}
	switch {
	case !r.InProgress:
		return " " + what + " resumes when all pods are available."
	case forbids&up == 0:
		return " " + what + " resumes at its end."
	case !in.rollout.ends.IsZero():
		when += " or at " + clock(in.rollout.ends)
	}
	text := fmt.Sprintf(" %s resumes %s.", what, when)
	if r.Hash != "" && in.Name != "" && !in.untouchable() {
		text += fmt.Sprintf(" Now: kubectl annotate qs %s %s=%s", in.Name, annotationReleaseHold, r.Hash)
	}
	return text
}
