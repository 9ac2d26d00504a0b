// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package faults says what a fault campaign does and when, from a seed, and keeps what came of it.
package faults

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault is something that goes wrong, or that people do.
type Fault string

// The faults of a campaign.
const (
	OperatorKilled    Fault = "operator killed"
	KilledBeforeWrite Fault = "operator killed before a write"
	KilledAfterWrite  Fault = "operator killed after a write, before its answer"
	LeaderChanged     Fault = "leader changed"
	TwoLeaders        Fault = "leader paused until another leads, then two at once"
	ClockSet          Fault = "operator's clock set ahead or back by 1 h"
	CutOffAPI         Fault = "operator cut off from the API server"
	CutOffQueues      Fault = "operator cut off from the queues"
	CutOffBoth        Fault = "operator cut off from both"
	EventsLate        Fault = "all events late"
	EventsOfOneLate   Fault = "events of one resource late"
	EventsNeverSeen   Fault = "events never seen"
	APIServerKilled   Fault = "API server killed"
	EtcdKilled        Fault = "etcd killed"
	ControllersKilled Fault = "controller manager killed"
	QueueServerKilled Fault = "queue server killed"
	KubeletStopped    Fault = "kubelet stopped, node not ready"
	PodOutOfMemory    Fault = "pod out of memory"
	PodDeleted        Fault = "pod deleted"
	RolloutGood       Fault = "rollout of a good revision"
	RolloutSlow       Fault = "rollout of a slow revision"
	RolloutStuck      Fault = "rollout of a revision that is never ready"
	RolloutCrashes    Fault = "rollout of a revision that crashes"
)

// Schedule is how often each fault happens, and how long it lasts.
var Schedule = []struct {
	Fault
	// Times it happens in a round, if the number of the round is Every-1 modulo Every.
	Times, Every int
	Least, Most  time.Duration
}{
	{OperatorKilled, 2, 1, 0, 0},
	// The next write comes when it comes; it is waited for so long.
	{KilledBeforeWrite, 2, 1, 40 * time.Second, 40 * time.Second},
	{KilledAfterWrite, 2, 1, 40 * time.Second, 40 * time.Second},
	// These two can be made only while somebody leads, and not at the same time.
	{LeaderChanged, 2, 1, 0, 0},
	// A lease is valid for 15 s.
	{TwoLeaders, 2, 1, 25 * time.Second, 25 * time.Second},
	{ClockSet, 1, 1, 5 * time.Second, 20 * time.Second},
	// A leader gives up after 10 s.
	{CutOffAPI, 1, 1, 3 * time.Second, 20 * time.Second},
	// Readings are fresh for 15 s.
	{CutOffQueues, 1, 1, 5 * time.Second, 45 * time.Second},
	{CutOffBoth, 1, 1, 5 * time.Second, 25 * time.Second},
	{EventsLate, 1, 1, 2 * time.Second, 10 * time.Second},
	{EventsOfOneLate, 1, 1, 2 * time.Second, 15 * time.Second},
	{EventsNeverSeen, 1, 1, 2 * time.Second, 10 * time.Second},
	{APIServerKilled, 1, 1, 0, 0},
	{EtcdKilled, 1, 1, 0, 0},
	{ControllersKilled, 1, 1, 0, 0},
	{QueueServerKilled, 1, 1, 1 * time.Second, 20 * time.Second},
	// A node is not ready after 10 s, and its pods are deleted 5 s later. Slots that gave way to the target's pods then come back after
	// 5 min, for which a round waits: so not in each.
	{KubeletStopped, 5, 5, 15 * time.Second, 20 * time.Second},
	{PodOutOfMemory, 1, 1, 0, 0},
	{PodDeleted, 1, 1, 0, 0},
	{RolloutGood, 1, 1, 0, 0},
	{RolloutSlow, 1, 1, 20 * time.Second, 60 * time.Second},
	{RolloutStuck, 1, 1, 10 * time.Second, 25 * time.Second},
	{RolloutCrashes, 1, 1, 10 * time.Second, 25 * time.Second},
}

// Injection is one fault of a round.
type Injection struct {
	Fault Fault
	// At is when it begins, from the round's beginning, and Lasts how long it lasts.
	At, Lasts time.Duration
	// Choice picks the victim among those there are, and what else there is to choose.
	Choice *rand.Rand
}

// Plan is what happens in a round that lasts so long, by time: the faults as often as [Schedule] says, all of them over when it ends. The same
// seed and round give the same plan.
func Plan(seed uint64, round int, length time.Duration) []Injection {
	r := rand.New(rand.NewPCG(seed, uint64(round)))
	var plan []Injection
	for _, entry := range Schedule {
		if round%entry.Every != entry.Every-1 {
			continue
		}
		for range entry.Times {
			lasts := entry.Least + time.Duration(r.Int64N(int64(entry.Most-entry.Least)+1))
			plan = append(plan, Injection{
				Fault: entry.Fault, Lasts: lasts,
				At:     time.Duration(r.Int64N(int64(max(length-lasts, 1)))),
				Choice: rand.New(rand.NewPCG(r.Uint64(), r.Uint64())),
			})
		}
	}
	slices.SortStableFunc(plan, func(a, b Injection) int { return cmp.Compare(a.At, b.At) })
	return plan
}
