// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps account of every message of a test: who sent it, which pods took it, and whether it was completed.
//
// A test makes a [Ledger], serves it over HTTP on an address that pods reach, gives that to its workloads, and sends messages. A workload
// reports with a [Client]: that it took a message before it works on it, and that it completed it before it acknowledges it to the queue.
// A report that came only after the acknowledgement could be lost with a pod that is killed in between, and the message would look lost
// although it was worked on. At the end, [Ledger.Summary] says what became of the messages.
package ledger

import (
	"fmt"
	"sync"
	"time"
)

// Pod is one pod. Its UID tells it from others of its name.
type Pod struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Attempt is one pod's work on one message. The message, the pod and the time of taking it are its identity; reporting it again changes
// nothing, and a later report of it adds what has happened since.
type Attempt struct {
	ID uint32 `json:"id"`
	// Taken and Completed are nanoseconds since 1970; Completed is 0 while the work is not finished.
	Taken     int64 `json:"taken"`
	Completed int64 `json:"completed,omitempty"`
	// Acknowledged says that the queue has confirmed the acknowledgement, or that it was written where the protocol has no confirmation. It
	// is reported with a later message, so it is missing for the last one of a pod that was killed.
	Acknowledged bool `json:"acknowledged,omitempty"`
}

// maxPods bounds the pods of one ledger.
const maxPods = 1 << 16

// Ledger counts the messages with the numbers below its capacity. It needs 25 bytes for each, whether it was sent or not, and about 100 for
// each time that one was taken again. Its methods may be called concurrently.
type Ledger struct {
	mu sync.Mutex
	// sent and first are by the number of the message: first is the first attempt that was reported.
	sent  []sending
	first []attempt
	// again has the further attempts; there may be as many as messages in all.
	again     map[uint32][]attempt
	retaken   int
	completed int
	pods      []Pod
	numbers   map[Pod]uint32
}

// sending says whether the queue has a message.
type sending uint8

const (
	unsent sending = iota
	maybeSent
	confirmed
)

// attempt is an Attempt without what it is stored under. Without a time of taking there is none.
type attempt struct {
	taken, completed int64
	pod              uint32 // index in pods
	acknowledged     bool
}

// New returns a ledger for the messages 0 to capacity-1.
func New(capacity int) *Ledger {
	return &Ledger{
		sent: make([]sending, capacity), first: make([]attempt, capacity),
		again: map[uint32][]attempt{}, numbers: map[Pod]uint32{},
	}
}

// MaybeSent notes messages that are about to be sent: until [Ledger.Sent] it is not known whether the queue has them.
func (l *Ledger) MaybeSent(ids ...uint32) error { return l.send(maybeSent, ids) }

// Sent notes messages that the queue's server has confirmed.
func (l *Ledger) Sent(ids ...uint32) error { return l.send(confirmed, ids) }

func (l *Ledger) send(to sending, ids []uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if err := l.within(id); err != nil {
			return err
		}
		l.sent[id] = max(l.sent[id], to)
	}
	return nil
}

func (l *Ledger) within(id uint32) error {
	if int64(id) >= int64(len(l.sent)) {
		return fmt.Errorf("message %d is beyond the ledger, which is for %d: make it with a larger capacity", id, len(l.sent))
	}
	return nil
}

// Record notes what a pod reports. It is an error if a message is beyond the capacity, or if there are more pods or further attempts than
// the ledger holds; reports before the one that is refused are kept.
func (l *Ledger) Record(pod Pod, attempts ...Attempt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	number, err := l.number(pod)
	if err != nil {
		return err
	}
	for _, a := range attempts {
		if err := l.within(a.ID); err != nil {
			return err
		}
		if a.Taken <= 0 {
			return fmt.Errorf("message %d of pod %s: the time at which it was taken is missing", a.ID, pod.Name)
		}
		if err := l.record(number, a); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) number(pod Pod) (uint32, error) {
	if n, known := l.numbers[pod]; known {
		return n, nil
	}
	if pod.UID == "" || len(l.pods) == maxPods {
		return 0, fmt.Errorf("pod %q with UID %q is refused: it needs a UID, and a ledger has at most %d pods", pod.Name, pod.UID, maxPods)
	}
	n := uint32(len(l.pods))
	l.pods, l.numbers[pod] = append(l.pods, pod), n
	return n, nil
}

func (l *Ledger) record(pod uint32, a Attempt) error {
	if known := l.find(pod, a); known != nil {
		l.update(known, a)
		return nil
	}
	if l.first[a.ID].taken == 0 {
		l.first[a.ID] = attempt{taken: a.Taken, pod: pod}
		l.update(&l.first[a.ID], a)
		return nil
	}
	if l.retaken == len(l.first) {
		return fmt.Errorf("message %d: messages were taken again %d times, more than the ledger holds", a.ID, l.retaken)
	}
	l.retaken++
	further := append(l.again[a.ID], attempt{taken: a.Taken, pod: pod})
	l.again[a.ID] = further
	l.update(&further[len(further)-1], a)
	return nil
}

// find returns nil for an attempt that is new.
func (l *Ledger) find(pod uint32, a Attempt) *attempt {
	if first := &l.first[a.ID]; first.taken == a.Taken && first.pod == pod {
		return first
	}
	further := l.again[a.ID]
	for i := range further {
		if further[i].taken == a.Taken && further[i].pod == pod {
			return &further[i]
		}
	}
	return nil
}

func (l *Ledger) update(known *attempt, a Attempt) {
	if a.Completed != 0 && known.completed == 0 {
		if !l.done(a.ID) {
			l.completed++
		}
		known.completed = a.Completed
	}
	known.acknowledged = known.acknowledged || a.Acknowledged
}

// done says whether an attempt at the message was completed.
func (l *Ledger) done(id uint32) bool {
	if l.first[id].completed != 0 {
		return true
	}
	for _, a := range l.again[id] {
		if a.completed != 0 {
			return true
		}
	}
	return false
}

// Completed is the number of messages that were completed so far, each counted once. It costs nothing, for tests that wait for it.
func (l *Ledger) Completed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.completed
}

// at is the time of a report.
func at(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}
