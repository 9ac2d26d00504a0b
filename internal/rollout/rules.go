// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

// rule is one row of the procedure. Rows with two outcomes are two rules.
type rule struct {
	row      int
	reason   string
	when     func(f *facts) bool
	state    State
	may      Permissions
	degraded bool
	// settles: the template is complete; remember it, and forget the rollout that led to it.
	settles bool
}

// reasonBehind: the ReplicaSets show a rollout that our copy of the Deployment does not.
const reasonBehind = "DeploymentCopyBehind"

var (
	nothing  = Permissions{}
	anything = Permissions{ScaleUp: true, ScaleDown: true, Lend: true, Restore: true}
	grow     = Permissions{ScaleUp: true, Lend: true, Restore: true}
	lendGrow = Permissions{ScaleUp: true, Lend: true, LendFirst: true, Restore: true}
	lend     = Permissions{Lend: true, Restore: true}
	// While a revision is known bad, or people are busy undoing it, not even a lowered number is
	// put back: new pods would be spread over good and bad ReplicaSets alike.
	onlyLend = Permissions{Lend: true}
)

// rules in order; the first that matches decides, and the last one always does. Row numbers are
// names that logs and tests refer to.
//
// Rows 2 to 7 have no ReplicaSet with the Deployment's template, rows 8 to 13 have one and others
// with pods beside it, in rows 14 to 21 it is alone. Row 5 is asked before row 3: when a ReplicaSet
// is deleted by hand while paused, nothing is pending. While paused between two templates with a
// third one pending, scaling would feed both of the two.
var rules = []rule{
	{row: 1, reason: "TargetMissing", when: func(f *facts) bool { return f.missing }, may: nothing},

	{row: 2, reason: "ScaledToZero", state: Stable, may: grow,
		when: func(f *facts) bool { return f.newRS == nil && f.wanted == 0 && !f.pods }},
	{row: 5, reason: "ReplicaSetLost", state: Stable, degraded: true, may: lend,
		when: func(f *facts) bool { return f.newRS == nil && f.settledTemplate && !f.old }},
	{row: 3, reason: "EditedMidRollout", state: PausedPending, may: onlyLend,
		when: func(f *facts) bool { return f.newRS == nil && f.paused && f.sized > 1 }},
	{row: 3, reason: "EditedWhilePaused", state: PausedPending, may: lendGrow,
		when: func(f *facts) bool { return f.newRS == nil && f.paused }},
	{row: 4, reason: "Created", state: Settling, may: nothing,
		when: func(f *facts) bool { return f.newRS == nil && !f.anyRS && !f.everSettled }},
	{row: 6, reason: "ReplicaSetCreateError", state: Stuck, may: onlyLend,
		when: func(f *facts) bool { return f.newRS == nil && f.createError }},
	{row: 7, reason: "NewTemplate", state: Rolling, may: lend,
		when: func(f *facts) bool { return f.newRS == nil }},

	{row: 8, reason: "EditedMidRollout", state: PausedPending, may: onlyLend,
		when: func(f *facts) bool { return f.old && f.paused && !f.newWanted && f.sized > 1 }},
	{row: 8, reason: "EditedWhilePaused", state: PausedPending, may: lendGrow,
		when: func(f *facts) bool { return f.old && f.paused && !f.newWanted }},
	{row: 9, reason: "PausedMidRollout", state: PausedMidRollout, may: onlyLend,
		when: func(f *facts) bool { return f.old && f.paused }},
	{row: 10, reason: reasonBehind, state: RollingBack, may: nothing,
		when: func(f *facts) bool { return f.old && f.ahead && f.newestAgain }},
	{row: 10, reason: reasonBehind, state: Rolling, may: nothing,
		when: func(f *facts) bool { return f.old && f.ahead }},
	{row: 11, reason: "ProgressDeadlineExceeded", state: Stuck, may: onlyLend,
		when: func(f *facts) bool { return f.old && f.stuck }},
	{row: 12, reason: "EarlierRevision", state: RollingBack, may: onlyLend,
		when: func(f *facts) bool { return f.old && f.earlier }},
	{row: 13, reason: "ReplacingPods", state: Rolling, may: lend,
		when: func(f *facts) bool { return f.old }},

	// From 0 replicas a new template is "complete" at once and proves nothing: settle nothing.
	{row: 14, reason: "EndingLastPods", state: Settling, may: grow,
		when: func(f *facts) bool { return f.wanted == 0 && !f.settled && f.pods }},
	{row: 14, reason: "ScaledToZero", state: Stable, may: grow,
		when: func(f *facts) bool { return f.wanted == 0 && !f.settled }},
	{row: 15, reason: "Complete", state: Stable, may: anything, settles: true,
		when: func(f *facts) bool { return f.complete }},
	// Only a rollout moves a ReplicaSet away from the number it was told the Deployment wants.
	{row: 16, reason: reasonBehind, state: Rolling, may: nothing,
		when: func(f *facts) bool { return f.resized && (f.settled || f.shrinking) }},
	{row: 17, reason: "ReplicasChanged", state: Scaling, may: grow,
		when: func(f *facts) bool { return f.settled && f.scaling }},
	// No rollout, so no reason to hold: one pod that crashes must not keep a fleet from growing. Slots come first.
	{row: 18, reason: "PodsUnavailable", state: Stable, degraded: true, may: lendGrow,
		when: func(f *facts) bool { return f.settled }},
	{row: 19, reason: "ProgressDeadlineExceeded", state: Stuck, may: onlyLend,
		when: func(f *facts) bool { return f.stuck }},
	{row: 20, reason: "EarlierRevision", state: RollingBack, may: onlyLend,
		when: func(f *facts) bool { return !f.newPods && f.earlier }},
	{row: 20, reason: "FirstPods", state: Rolling, may: lend,
		when: func(f *facts) bool { return !f.newPods && f.wasRolling && f.everSettled }},
	{row: 21, reason: "FirstPodsUnavailable", state: Settling, may: lend,
		when: func(*facts) bool { return true }},
}

func firstMatch(f *facts) *rule {
	for i := range rules {
		if rules[i].when(f) {
			return &rules[i]
		}
	}
	panic("unreachable: the last rule always matches")
}
