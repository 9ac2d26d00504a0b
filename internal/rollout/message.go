// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"time"
)

// message says in one line what is going on, with the numbers, for a person woken at night.
func message(now time.Time, a Assessment, f *facts) string {
	held, since := short(now.Sub(a.HeldSince)), short(now.Sub(a.Since))
	progress := fmt.Sprintf("%d of %d updated, %d available", a.Updated, a.Wanted, a.Available)
	switch {
	case f.missing && f.d == nil:
		return "the Deployment does not exist"
	case f.missing:
		return "the Deployment is being deleted"
	case a.Reason == reasonBehind:
		return fmt.Sprintf("a rollout began that is newer than our copy of the Deployment, %d available", a.Available)
	}
	switch a.State {
	case Scaling:
		return fmt.Sprintf("%s scaling to %d for %s, %d pods, %d available", name(a.New), a.Wanted, since, a.Updated, a.Available)
	case Rolling:
		return fmt.Sprintf("%s rolling out for %s, %s", name(a.New), held, progress)
	case RollingBack:
		return fmt.Sprintf("rolling back to an earlier template as %s for %s, %s", name(a.New), since, progress)
	case Settling:
		return fmt.Sprintf("%s settling for %s, %s", name(a.New), since, progress)
	case Stuck:
		return fmt.Sprintf("%s stuck for %s, %s; no further new pod became ready within the deadline", name(a.New), since, progress)
	case PausedPending:
		return fmt.Sprintf("template edited while paused, for %s; it rolls out on resume; %d of %d available", since, a.Available, a.Wanted)
	case PausedMidRollout:
		return fmt.Sprintf("%s paused mid-rollout for %s, %s", name(a.New), since, progress)
	}
	if a.Wanted == 0 {
		return "scaled to 0"
	}
	return fmt.Sprintf("%s stable, %d of %d available", name(a.New), a.Available, a.Wanted)
}

// name of a revision for people.
func name(r Revision) string {
	if r.Number == 0 {
		return "new revision"
	}
	return fmt.Sprintf("revision %d", r.Number)
}

// short rounds a duration to its leading unit, so that a message does not change every second for
// hours. A clock that went back gives 0 s.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
}
