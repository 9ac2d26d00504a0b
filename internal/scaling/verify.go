// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"fmt"
	"math"
	"time"
)

const (
	// judgeWithin is how long after a saturated block the next one may begin, for the two to tell what a step brought.
	// Later, what arrives and what it does with is another.
	judgeWithin = 15 * time.Minute
	// blocksWait is how long after the pods of a step are there a block is waited for: one may have begun too early.
	blocksWait = 2 * time.Minute
	// frozenFor is how long scale-up is frozen once it was found ineffective; after a trial twice as long as before, at the
	// most longestFreeze.
	frozenFor, longestFreeze = 10 * time.Minute, time.Hour
	// forgottenAfter without any block, what was found is too old.
	forgottenAfter = time.Hour
	// leastEffect is e below which a step was ineffective.
	leastEffect = 0.1
	// mostBlocks of one level weigh alike; later ones count as this many do.
	mostBlocks = 8
)

// Saturation is a block: a minute without rollout, scaling or lending inside it.
type Saturation struct {
	Start, End time.Time
	// Serving is N: available pods of the target, and lent slots.
	Serving int32
	// Throughput is X, messages/s completed by all of them.
	Throughput float64
	// Saturated is true where there was more work at every reading than they could do.
	Saturated bool
}

// Verification tells whether more pods completed more. Fed with blocks and with steps of the target's replicas, it compares
// the last two levels of N over saturated blocks:
//
//	e = ΔX / (ΔN·μ), with μ = X/N before the step
//
// It is 1 where each pod brings what those before it did, and 0 where the limit is elsewhere. Two steps in a row with
// e < 0.1 freeze scale-up. Further blocks at the same N make X a mean and e more certain, so that a freeze by chance is
// taken back. A block that is not saturated ends everything: what there is suffices.
//
// The zero value knows nothing. It is a value of some 300 bytes.
type Verification struct {
	// revision that all of this is about, and since when: blocks that began earlier are not.
	revision string
	since    time.Time
	// seen is the end of the newest block.
	seen time.Time
	// before and after are the levels on both sides of the last step; without blocks: not known.
	before, after level
	// least is N before the step before, if that one was ineffective; else 0.
	least int32
	// open is a step that no block tells about yet; the zero value is none.
	open openStep
	// frozen is the freeze; the zero value is none.
	frozen freeze
}

// level is what so many pods completed, over saturated blocks in a row.
type level struct {
	serving    int32
	blocks     int32
	throughput float64 // the mean
	end        time.Time
}

// openStep is a step whose effect is waited for.
type openStep struct {
	at, until   time.Time
	from, to    int32 // replicas
	serving     int32 // N before it
	recommended int32
}

// freeze forbids scale-up at N of least and more until then. Later one small step is tried, which begins it anew.
// That the limit is gone shows without it, too: then what is there completes more.
type freeze struct {
	until         time.Time
	length        time.Duration
	least         int32
	before, after level
}

// effect of the step between two levels; false: it cannot be judged.
func effect(before, after level) (float64, bool) {
	if before.blocks == 0 || after.blocks == 0 || after.serving <= before.serving || !(before.throughput >= minRate) {
		return 0, false
	}
	mu := before.throughput / float64(before.serving)
	return (after.throughput - before.throughput) / (float64(after.serving-before.serving) * mu), true
}

// Effect is e of the last step, or of the one that scale-up was frozen for; false where no saturated blocks tell.
func (v Verification) Effect() (float64, bool) {
	if e, judged := effect(v.before, v.after); judged {
		return e, true
	}
	return effect(v.frozen.before, v.frozen.after)
}

// Ineffective is true while more pods were found to complete no more, and says so with the numbers.
func (v Verification) Ineffective(now time.Time) (bool, string) {
	f := v.frozen
	e, known := effect(f.before, f.after)
	if !known {
		return false, ""
	}
	text := fmt.Sprintf("%d → %d pods brought %.0f%% of what they should (%s/s before, %s/s after): the limit is downstream; ",
		f.before.serving, f.after.serving, 100*e, number(f.before.throughput), number(f.after.throughput))
	if now.Before(f.until) {
		return true, text + "scale-up is frozen until " + clock(f.until)
	}
	return true, text + "a step of 10% may show whether it still is"
}

// of returns what is known of a revision: with a new one, and when nothing was told for an hour, that is nothing.
func (v Verification) of(now time.Time, revision string) Verification {
	changed := revision != "" && revision != v.revision
	if v.since.IsZero() || changed || (!v.seen.IsZero() && now.Sub(v.seen) > forgottenAfter) {
		return Verification{revision: revision, since: now}
	}
	return v
}

// observed takes in a block, unless it did already.
func (v Verification) observed(now time.Time, b Saturation) Verification {
	if !b.End.After(v.seen) || b.Start.Before(v.since) || b.Serving <= 0 || !(b.Throughput >= 0) || b.Throughput > maxAmount {
		return v
	}
	v.seen = b.End
	if !b.Saturated {
		return Verification{revision: v.revision, since: v.since, seen: v.seen}
	}
	if b.Serving != v.open.serving {
		v.open = openStep{}
	}
	v = v.reached(b)
	e, judged := effect(v.before, v.after)
	sinceFrozen, frozen := effect(v.frozen.before, v.after)
	switch {
	case judged && e >= leastEffect, frozen && sinceFrozen >= leastEffect:
		v.least, v.frozen = 0, freeze{}
	case judged && v.least > 0 && v.frozen.after.serving != v.after.serving:
		length := max(v.frozen.length, frozenFor)
		v.frozen = freeze{until: now.Add(length), length: length, least: v.least, before: v.before, after: v.after}
	case judged && v.frozen.after.serving == v.after.serving:
		v.frozen.after = v.after
	}
	return v
}

// reached notes what the pods of a saturated block completed.
func (v Verification) reached(b Saturation) Verification {
	recent := v.after.blocks > 0 && b.Start.Sub(v.after.end) <= judgeWithin
	if recent && b.Serving == v.after.serving {
		l := &v.after
		l.blocks = min(l.blocks+1, mostBlocks)
		l.throughput += (b.Throughput - l.throughput) / float64(l.blocks)
		l.end = b.End
		return v
	}
	e, judged := effect(v.before, v.after)
	switch {
	case !recent || b.Serving < v.after.serving:
		v.before, v.least = level{}, 0
	case judged && e < leastEffect:
		if v.least == 0 {
			v.least = v.before.serving
		}
		v.before = v.after
	default:
		v.before, v.least = v.after, 0
	}
	v.after = level{serving: b.Serving, blocks: 1, throughput: b.Throughput, end: b.End}
	return v
}

// stepped notes that the target's replicas changed, when so many were recommended. Without a saturated block before it,
// a step counts as verified.
func (v Verification) stepped(now time.Time, from, to, recommended int32, startUp time.Duration) Verification {
	opened := v.open
	v.open = openStep{}
	if to <= from {
		return v
	}
	if f := &v.frozen; f.after.blocks > 0 && !now.Before(f.until) {
		f.length = min(2*f.length, longestFreeze)
		f.until = now.Add(f.length)
	}
	latest := v.after.end.Add(judgeWithin)
	if v.after.blocks == 0 || !now.Before(latest) {
		return v
	}
	v.open = openStep{at: now, until: now.Add(startUp + blocksWait), from: from, to: to, serving: v.after.serving, recommended: recommended}
	if v.open.until.After(latest) {
		v.open.until = latest
	}
	if opened.to > 0 {
		v.open.from = opened.from
	}
	return v
}

// shifted moves every time by d.
func (v Verification) shifted(d time.Duration) Verification {
	for _, t := range []*time.Time{&v.since, &v.seen, &v.before.end, &v.after.end, &v.open.at, &v.open.until, &v.frozen.until} {
		if !t.IsZero() {
			*t = t.Add(d)
		}
	}
	return v
}

// stepNotVerified: what the last step brought is not known yet. What rose by 20 % does not wait for it.
func stepNotVerified(in input) (reason, message string, forbids directions) {
	s := in.memory.verification.open
	enough := s.recommended + max(s.recommended/5, 1)
	if !in.now.Before(s.until) || in.recommended >= enough {
		return
	}
	return reasonStepNotVerified, fmt.Sprintf("what %d → %d replicas of %s bring is not known yet; more go when it is, at the latest at %s, and at once where %d or more are wanted",
		s.from, s.to, clock(s.at), clock(s.until), enough), up
}

// scaleUpIneffective: more pods completed no more. Fewer than there were before the first of them may be made up for.
func scaleUpIneffective(in input) (reason, message string, forbids directions) {
	if !in.ineffective() || !in.now.Before(in.memory.verification.frozen.until) {
		return
	}
	_, message = in.memory.verification.Ineffective(in.now)
	return reasonScaleUpIneffective, message, up
}

// ineffective is true where pods beyond those that serve bring nothing, as far as is known.
func (in input) ineffective() bool {
	f := in.memory.verification.frozen
	return f.after.blocks > 0 && in.serving() >= int64(f.least)
}

// withinTrial takes one small step after a freeze: the backlog that has grown meanwhile would ask for max.
func withinTrial(in input, out outcome) outcome {
	present := in.Target.Replicas
	most := present + max(1, int32(math.Ceil(float64(present)/10)))
	if !in.ineffective() || in.now.Before(in.memory.verification.frozen.until) || out.replicas <= most {
		return out
	}
	_, message := in.memory.verification.Ineffective(in.now)
	return outcome{replicas: most, reason: reasonScaleUpIneffective, message: fmt.Sprintf("%d wanted; %s", out.replicas, message), limits: true}
}
