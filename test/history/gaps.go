// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"net/http"
	"time"
)

// Interval is a span of time.
type Interval struct{ From, To time.Time }

func (i Interval) contains(t time.Time) bool { return !t.Before(i.From) && t.Before(i.To) }

// Gaps are when writes may have been made that the log does not have: from the kill of an API server or etcd until it served again.
type Gaps []Interval

// answering is how long an API server may take from a write to its line in the log.
const answering = 2 * time.Second

// between reports whether a write of an object can be missing between two of the log.
func (g Gaps) between(from, to time.Time) bool {
	for _, i := range g {
		if !i.From.After(to.Add(answering)) && !i.To.Before(from) {
			return true
		}
	}
	return false
}

// failed adds a write that was answered with an error of the server's own: it may have been made.
func (g *Gaps) failed(w Write) {
	if w.Code < http.StatusInternalServerError {
		return
	}
	if n := len(*g); n > 0 && (*g)[n-1].contains(w.Time) {
		(*g)[n-1].To = latest((*g)[n-1].To, w.Answered)
		return
	}
	*g = append(*g, Interval{w.Time, latest(w.Time, w.Answered)})
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settling is how long the operator may take from what happens until it writes what it decides thereupon.
const settling = 2 * time.Second

// relisting is how long after an API server's return the operator's caches may show what was before.
const relisting = time.Minute

// behind is what time's state the operator may have decided upon: a cache is a little late, and in a gap as late as that is long.
func (j *judge) behind(now time.Time) time.Time {
	since := now
	for _, gap := range j.outages {
		if gap.From.Before(since) && gap.To.Add(relisting).After(now) {
			since = gap.From
		}
	}
	return since.Add(-settling)
}
