// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

// take is one message that a pod took.
type take struct {
	id   int64
	pod  string
	slot bool
	at   time.Time
}

// accounts say what became of each message, by its number.
type accounts struct {
	mu          sync.Mutex
	sent        map[int64]bool
	done        map[int64]int // how often it was completed
	redelivered int64
	takes       []take
	unlent      []string       // messages taken by slots that were not in service, in words
	lent        map[int64]bool // messages taken by slots in service; with the former, each was looked up in the API
	verified    int64
}

func newAccounts() *accounts {
	return &accounts{sent: map[int64]bool{}, done: map[int64]int{}, lent: map[int64]bool{}}
}

func (a *accounts) sentOne(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent[id] = true
}

func (a *accounts) took(t take, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takes = append(a.takes, t)
	if again {
		a.redelivered++
	}
}

func (a *accounts) finished(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done[id]++
}

// judged records the finding about one message that a slot took; empty: the slot was in service.
func (a *accounts) judged(id int64, fault string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verified++
	if fault == "" {
		a.lent[id] = true
	} else {
		a.unlent = append(a.unlent, fault)
	}
}

// totals are counts of messages.
type totals struct {
	sent, done, lost, doneAgain, redelivered, bySlots, verified, byUnlentSlots int64
	firstFault                                                                 string
}

func (a *accounts) totals() totals {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := totals{
		sent: int64(len(a.sent)), done: int64(len(a.done)), redelivered: a.redelivered,
		verified: a.verified, byUnlentSlots: int64(len(a.unlent)),
	}
	if len(a.unlent) > 0 {
		t.firstFault = a.unlent[0]
	}
	for id := range a.sent {
		if a.done[id] == 0 {
			t.lost++
		}
	}
	for _, n := range a.done {
		t.doneAgain += int64(n - 1)
	}
	for _, x := range a.takes {
		if x.slot {
			t.bySlots++
		}
	}
	return t
}

// firstTakes are the times at which slots in service took their first message at or after a time, in order.
func (a *accounts) firstTakes(since time.Time) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	var firsts []time.Time
	seen := map[string]bool{}
	for _, t := range a.takes {
		if t.slot && a.lent[t.id] && !t.at.Before(since) && !seen[t.pod] {
			seen[t.pod] = true
			firsts = append(firsts, t.at)
		}
	}
	return firsts
}
