// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Summary is what became of the messages of a ledger.
type Summary struct {
	// Sent are messages that the queue's server has confirmed; MaybeSent those of which it is not known, because the server or the
	// connection died over them.
	Sent, MaybeSent int
	// Taken and Completed count messages, each once.
	Taken, Completed int
	// Lost are messages that were confirmed and not completed. While any wait or are worked on these are among them.
	Lost []uint32
	// Unsent are messages that were taken although nobody noted sending them.
	Unsent []uint32
	// Redelivered are messages that were taken more than once.
	Redelivered []Redelivery
	// Pods are those that reported, by the time at which they first took a message.
	Pods []PodSummary
}

// Redelivery is one message that was taken more than once, with its attempts by time. Why it came again shows in the attempt before:
// without a completion its pod ended or lost the server over it; completed but not acknowledged, that happened just before the
// acknowledgement or its report; acknowledged, the server forgot that, or it was redelivered while it was worked on.
type Redelivery struct {
	ID       uint32
	Attempts []Take
}

// Take is one attempt at a message, with its pod.
type Take struct {
	Pod Pod
	ID  uint32
	// Completed is zero if the work was not finished.
	Taken, Completed time.Time
	Acknowledged     bool
}

// PodSummary is what one pod did.
type PodSummary struct {
	Pod
	// Taken and Completed count attempts.
	Taken, Completed int
	// FirstTaken and FirstCompleted are when it first took and first completed a message; the latter is zero if it completed none.
	FirstTaken, FirstCompleted time.Time
}

// Interval is a time in which a pod was lent. A zero End is the end of the test.
type Interval struct{ Start, End time.Time }

func (i Interval) contains(t time.Time) bool {
	return !t.Before(i.Start) && (i.End.IsZero() || !t.After(i.End))
}

// Summary sums the ledger up as it is now. For a million messages it takes some tens of milliseconds, in which reports wait.
func (l *Ledger) Summary() Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Summary{Completed: l.completed}
	for i, sent := range l.sent {
		id := uint32(i)
		taken := l.first[id].taken != 0
		switch {
		case sent == confirmed:
			s.Sent++
			if !l.done(id) {
				s.Lost = append(s.Lost, id)
			}
		case sent == maybeSent:
			s.MaybeSent++
		case taken:
			s.Unsent = append(s.Unsent, id)
		}
		if taken {
			s.Taken++
		}
	}
	for id := range l.again {
		s.Redelivered = append(s.Redelivered, Redelivery{id, l.takes(id)})
	}
	slices.SortFunc(s.Redelivered, func(a, b Redelivery) int { return cmp.Compare(a.ID, b.ID) })
	s.Pods = l.podSummaries()
	return s
}

// takes are the attempts at one message by time.
func (l *Ledger) takes(id uint32) []Take {
	takes := []Take{l.take(id, l.first[id])}
	for _, a := range l.again[id] {
		takes = append(takes, l.take(id, a))
	}
	slices.SortFunc(takes, func(a, b Take) int { return a.Taken.Compare(b.Taken) })
	return takes
}

func (l *Ledger) take(id uint32, a attempt) Take {
	return Take{Pod: l.pods[a.pod], ID: id, Taken: at(a.taken), Completed: at(a.completed), Acknowledged: a.acknowledged}
}

// each calls f for every attempt.
func (l *Ledger) each(f func(id uint32, a attempt)) {
	for id, a := range l.first {
		if a.taken != 0 {
			f(uint32(id), a)
		}
	}
	for id, further := range l.again {
		for _, a := range further {
			f(id, a)
		}
	}
}

func (l *Ledger) podSummaries() []PodSummary {
	pods := make([]PodSummary, len(l.pods))
	for i, pod := range l.pods {
		pods[i].Pod = pod
	}
	l.each(func(_ uint32, a attempt) {
		p := &pods[a.pod]
		p.Taken++
		p.FirstTaken = earlier(p.FirstTaken, at(a.taken))
		if a.completed != 0 {
			p.Completed++
			p.FirstCompleted = earlier(p.FirstCompleted, at(a.completed))
		}
	})
	slices.SortFunc(pods, func(a, b PodSummary) int { return a.FirstTaken.Compare(b.FirstTaken) })
	return pods
}

func earlier(known, other time.Time) time.Time {
	if known.IsZero() || other.Before(known) {
		return other
	}
	return known
}

// TakenWhileNotLent returns what slots took outside the times in which they were lent, by time. lent has the intervals of each slot by the
// UID of its pod: an empty list for one that was never lent. Pods that it does not have, such as the Deployment's own, may take at any time.
// How long after a return a slot may still take is for the caller to allow, by the end of the interval.
func (l *Ledger) TakenWhileNotLent(lent map[string][]Interval) []Take {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []Take
	l.each(func(id uint32, a attempt) {
		intervals, slot := lent[l.pods[a.pod].UID]
		taken := at(a.taken)
		if slot && !slices.ContainsFunc(intervals, func(i Interval) bool { return i.contains(taken) }) {
			wrong = append(wrong, l.take(id, a))
		}
	})
	slices.SortFunc(wrong, func(a, b Take) int { return a.Taken.Compare(b.Taken) })
	return wrong
}

// FirstCompletedBy returns when the first of these pods completed its first message, by their UIDs, and which it was; false if none did.
func (s Summary) FirstCompletedBy(uids ...string) (PodSummary, bool) {
	var first PodSummary
	for _, p := range s.Pods {
		if slices.Contains(uids, p.UID) && !p.FirstCompleted.IsZero() &&
			(first.FirstCompleted.IsZero() || p.FirstCompleted.Before(first.FirstCompleted)) {
			first = p
		}
	}
	return first, !first.FirstCompleted.IsZero()
}

// Causes are why messages came again, by the attempt before.
type Causes struct {
	// Unfinished attempts ended with their pod, or lost the server.
	Unfinished int
	// AtOnce is how many messages came again while an attempt that was completed was still worked on: for longer than the queue waits.
	AtOnce int
	// Unacknowledged attempts were completed, and the pod or the server ended before the acknowledgement, or before it was reported.
	Unacknowledged int
	// Forgotten attempts were acknowledged, and the server has forgotten that: it was killed.
	Forgotten int
}

// Causes counts them.
func (s Summary) Causes() (c Causes) {
	for _, r := range s.Redelivered {
		for i, a := range r.Attempts[:len(r.Attempts)-1] {
			switch {
			case a.Completed.IsZero():
				c.Unfinished++
			case r.Attempts[i+1].Taken.Before(a.Completed):
				c.AtOnce++
			case !a.Acknowledged:
				c.Unacknowledged++
			default:
				c.Forgotten++
			}
		}
	}
	return c
}

// String has the figures on one line, for the output of a test.
func (s Summary) String() string {
	c := s.Causes()
	return fmt.Sprintf("%d sent, %d maybe sent, %d taken, %d completed, %d lost; %d redelivered "+
		"(%d times after an unfinished attempt, %d during one, %d after a completed one, %d after an acknowledged one); %d pods",
		s.Sent, s.MaybeSent, s.Taken, s.Completed, len(s.Lost), len(s.Redelivered), c.Unfinished, c.AtOnce, c.Unacknowledged, c.Forgotten, len(s.Pods))
}
