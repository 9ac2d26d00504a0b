// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"slices"
	"time"
)

// maxEntries bounds a window and the list of steps, whatever the rate of calls and the length of the window.
const maxEntries = 64

// window remembers the extreme value of the last while, as a monotonic queue: an entry that a later one outdoes is
// gone. Entries within 1/60 of the length are merged, to the safe side: an extreme value counts up to 1/60 longer.
type window []entry

// entry is a value that was in force until at.
type entry struct {
	at    int64 // ms since 1970
	value int32
}

// extreme tells which of two values counts.
type extreme func(a, b int32) bool

func highest(a, b int32) bool { return a >= b }
func lowest(a, b int32) bool  { return a <= b }

// push returns the window of the given length with value in force from now on. What was in force before was so until now.
func (w window) push(now time.Time, value int32, length time.Duration, outdoes extreme) window {
	at, ms := now.UnixMilli(), length.Milliseconds()
	if ms <= 0 {
		return window{{at, value}}
	}
	next := make(window, 0, len(w)+1)
	if n := len(w); n > 0 {
		next = append(next, w...)
		next[n-1].at = at
		next = next.merged(max(ms/60, 1))
	}
	for n := len(next); n > 0 && outdoes(value, next[n-1].value); n = len(next) {
		next = next[:n-1]
	}
	next = append(next, entry{at, value})
	next = slices.DeleteFunc(next, func(e entry) bool { return e.at <= at-ms })
	for len(next) > maxEntries {
		next[1].value = next[0].value
		next = next[1:]
	}
	return next
}

// merged joins the newest entry with the one before, if that ended in the same grain of time.
func (w window) merged(grain int64) window {
	n := len(w)
	if n < 2 || w[n-2].at/grain != w[n-1].at/grain {
		return w
	}
	w[n-2].at = w[n-1].at
	return w[:n-1]
}

// extreme value of the window; it has at least the newest.
func (w window) extreme() int32 { return w[0].value }

// changes is when the extreme value can change next by time alone; zero when it cannot.
func (w window) changes(length time.Duration) time.Time {
	if len(w) < 2 {
		return time.Time{}
	}
	return time.UnixMilli(w[0].at).Add(length)
}

func (w window) shifted(d time.Duration) window {
	w = slices.Clone(w)
	for i := range w {
		w[i].at += d.Milliseconds()
	}
	return w
}
