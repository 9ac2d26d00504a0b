// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"fmt"
	"sort"

	"github.com/queuescaler/queuescaler/internal/rollout"
)

// How far an answer may be off in time, in seconds.
const (
	// boundary: seeing something takes time, and so does its becoming true.
	boundary = 1.0
	// flicker: two objects never change at once.
	flicker = 0.1
)

// stateOf translates the words that recordings use.
var stateOf = map[string]rollout.State{
	"stable":                  rollout.Stable,
	"scaling":                 rollout.Scaling,
	"rolling":                 rollout.Rolling,
	"settling":                rollout.Settling,
	"stuck":                   rollout.Stuck,
	"paused-template-pending": rollout.PausedPending,
	"paused-mid-rollout":      rollout.PausedMidRollout,
	"rollback":                rollout.RollingBack,
}

// Wrong is a stretch of time in which the answer was not the truth, beyond what is tolerated.
type Wrong struct {
	// From and To in Unix seconds.
	From, To    float64
	Said, Truth rollout.State
	// Row that matched at its start.
	Row int
}

// Unsafe reports that it said Stable or Scaling while a rollout was in progress.
func (w Wrong) Unsafe() bool { return !w.Said.InProgress() && w.Truth.InProgress() }

// Overhold reports the reverse: it said that a rollout was in progress while none was.
func (w Wrong) Overhold() bool { return w.Said.InProgress() && !w.Truth.InProgress() }

func (w Wrong) String() string {
	return fmt.Sprintf("%.3f s: said %s (row %d) while %s", w.To-w.From, w.Said, w.Row, w.Truth)
}

// span of time in which the answer was the same.
type span struct {
	from, to float64
	first    Answer
}

// Score compares answers with the truth. It takes the spans of equal state, cuts them where the
// truth changes, and returns the pieces that differ from it, except those that are tolerated:
//
//   - at most 1 s beside a change of the truth, if it equals the truth beyond the change, or is as
//     careful as that (both are states of a rollout);
//   - a span of under 0.1 s, if both are states of a rollout or neither is;
//   - Stuck while a rollout is in progress, if no pod became ready for the whole deadline before,
//     or if the truth changed within the last second.
func (rec *Recording) Score(answers []Answer) []Wrong {
	var wrong []Wrong
	truth := rec.Header.Truth
	for _, s := range spans(answers, truth[len(truth)-1].To) {
		for i, segment := range truth {
			from, to := max(s.from, segment.From), min(s.to, segment.To)
			if from >= to || segment.allows(s.first.State) || rec.tolerated(s, i, from, to) {
				continue
			}
			wrong = append(wrong, Wrong{From: from, To: to, Said: s.first.State, Truth: stateOf[segment.State], Row: s.first.Row})
		}
	}
	return wrong
}

func (s Segment) allows(state rollout.State) bool {
	return state == stateOf[s.State] || s.Also != "" && state == stateOf[s.Also]
}

// asCareful reports whether the state is right for the segment, or both are states of a rollout.
func (s Segment) asCareful(state rollout.State) bool {
	return s.allows(state) || state.InProgress() && stateOf[s.State].InProgress()
}

// tolerated reports whether the piece from-to of span s may differ from the i-th truth.
func (rec *Recording) tolerated(s span, i int, from, to float64) bool {
	segment, said := rec.Header.Truth[i], s.first.State
	bothHold := said.InProgress() && stateOf[segment.State].InProgress()
	sameSide := said.InProgress() == stateOf[segment.State].InProgress()
	if to-from <= boundary {
		if to-segment.From <= boundary && i > 0 && rec.Header.Truth[i-1].asCareful(said) {
			return true
		}
		if segment.To-from <= boundary && i+1 < len(rec.Header.Truth) && rec.Header.Truth[i+1].asCareful(said) {
			return true
		}
	}
	if s.to-s.from < flicker && sameSide {
		return true
	}
	return said == rollout.Stuck && bothHold && (from > segment.From && from-segment.From <= boundary || rec.noneReady(s, to))
}

// noneReady reports whether no pod became ready from a whole deadline before the span until to,
// except in the last second, in which it could not have been seen.
func (rec *Recording) noneReady(s span, to float64) bool {
	deadline := s.first.Deadline.Seconds()
	if deadline == 0 {
		return false
	}
	i := sort.SearchFloat64s(rec.Ready, s.from-deadline)
	return i == len(rec.Ready) || rec.Ready[i] > max(s.from, to-boundary)
}

// spans joins answers of equal state. The last one lasts until end.
func spans(answers []Answer, end float64) []span {
	var out []span
	for _, a := range answers {
		if n := len(out); n > 0 {
			out[n-1].to = a.T
			if out[n-1].first.State == a.State {
				continue
			}
		}
		out = append(out, span{from: a.T, first: a})
	}
	if n := len(out); n > 0 {
		out[n-1].to = max(end, out[n-1].from)
	}
	return out
}
