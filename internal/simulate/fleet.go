// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"cmp"
	"slices"
)

// pod of the target, or of a slot. created and ready are seconds; it is available from ready on.
type pod struct {
	created, ready int
}

// replicaSet is what the Deployment has of one revision.
type replicaSet struct {
	// revision is the index in the scenario.
	revision int
	// number is the revision's number now, was the numbers that it had before: one that is rolled back to gets a new one.
	number int64
	was    []int64
	// wanted is its spec.replicas, told the desired-replicas annotation: what the Deployment wanted when it was resized last.
	wanted, told int32
	pods         []pod
	// available pods at the last step.
	available int32
}

// fleet is a Deployment with strategy RollingUpdate, 25 % surge and 25 % unavailable, and the controller behind it.
type fleet struct {
	sets []*replicaSet
	// current has the Deployment's template.
	current *replicaSet
	// wanted is spec.replicas.
	wanted int32
	// coldStart is how long a pod takes that scaling adds, rolloutStart one that a rollout adds: it finds its node warm.
	coldStart, rolloutStart int
	// rolling until the current ReplicaSet is complete and alone; completed is when that was last.
	rolling   bool
	completed int
	number    int64
	// changes counts what anybody who looks would notice.
	changes int
	// next is when a pod becomes available; none before.
	next int
}

const never = 1 << 62

func newFleet(revision int, number int64, replicas int32, coldStart int) *fleet {
	f := &fleet{coldStart: coldStart, rolloutStart: coldStart, wanted: replicas, number: number, changes: 1, next: never}
	f.current = &replicaSet{revision: revision, number: number, wanted: replicas, told: replicas, available: replicas}
	for range replicas {
		f.current.pods = append(f.current.pods, pod{created: -coldStart, ready: 0})
	}
	f.sets = []*replicaSet{f.current}
	return f
}

// scale sets spec.replicas. Mid-rollout the controller spreads a change over the ReplicaSets by their sizes.
func (f *fleet) scale(t int, replicas int32) {
	if replicas == f.wanted {
		return
	}
	f.wanted = replicas
	f.changes++
	if !f.rolling {
		f.resize(t, f.current, replicas, f.coldStart)
		return
	}
	total := int32(0)
	for _, set := range f.sets {
		total += set.wanted
	}
	if total == 0 {
		return
	}
	missing := replicas + f.surge() - total
	for _, set := range f.sets {
		if set != f.current && set.wanted > 0 {
			share := missing * set.wanted / total
			f.resize(t, set, max(0, set.wanted+share), f.coldStart)
		}
	}
	left := replicas + f.surge()
	for _, set := range f.sets {
		if set != f.current {
			left -= set.wanted
		}
	}
	f.resize(t, f.current, min(max(left, 0), replicas), f.coldStart)
}

// deploy changes the template to a revision's. One that was there before gets its ReplicaSet back, under a new number.
func (f *fleet) deploy(revision, seconds int) {
	if f.current.revision == revision {
		return
	}
	f.number++
	f.changes++
	f.rolling, f.rolloutStart = true, seconds/2
	i := slices.IndexFunc(f.sets, func(s *replicaSet) bool { return s.revision == revision })
	if i < 0 {
		f.current = &replicaSet{revision: revision, number: f.number, told: f.wanted}
		f.sets = append(f.sets, f.current)
		return
	}
	f.current = f.sets[i]
	f.current.was, f.current.number = append(f.current.was, f.current.number), f.number
}

// step lets pods become available, and the controller replace pods.
func (f *fleet) step(t int) {
	if t < f.next && !f.rolling {
		return
	}
	f.next = never
	for _, set := range f.sets {
		was := set.available
		set.available = 0
		for _, p := range set.pods {
			if p.ready <= t {
				set.available++
			} else {
				f.next = min(f.next, p.ready)
			}
		}
		if set.available != was {
			f.changes++
		}
	}
	if f.rolling {
		f.roll(t)
	}
}

// roll is one look of the Deployment controller at a rollout (k8s.io/kubernetes/pkg/controller/deployment/rolling.go).
func (f *fleet) roll(t int) {
	if f.current.wanted > f.wanted {
		f.resize(t, f.current, f.wanted, f.rolloutStart)
	}
	total, available := int32(0), int32(0)
	for _, set := range f.sets {
		total += set.wanted
		available += set.available
	}
	if room := f.wanted + f.surge() - total; f.current.wanted < f.wanted && room > 0 {
		more := min(room, f.wanted-f.current.wanted)
		f.resize(t, f.current, f.current.wanted+more, f.rolloutStart)
		total += more
	}
	atLeast := f.wanted - f.wanted/4
	unavailableNew := f.current.wanted - f.current.available
	fewer := min(total-atLeast-unavailableNew, total-f.current.wanted)
	for _, set := range f.byNumber() {
		if set == f.current || fewer <= 0 {
			continue
		}
		// Pods that are not available do nobody any good; of the others as many stay as must.
		cut := min(fewer, set.wanted, set.wanted-set.available+max(0, available-atLeast))
		if cut > 0 {
			available -= max(0, cut-(set.wanted-set.available))
			fewer -= cut
			f.resize(t, set, set.wanted-cut, f.rolloutStart)
		}
	}
	if pods, _ := f.size(); pods == f.wanted && f.current.available == f.wanted {
		f.rolling, f.completed = false, t
		f.changes++
	}
}

// byNumber are the ReplicaSets, oldest revision first.
func (f *fleet) byNumber() []*replicaSet {
	return slices.SortedFunc(slices.Values(f.sets), func(a, b *replicaSet) int { return cmp.Compare(a.number, b.number) })
}

// resize makes pods, or ends some: first those that are not available, then the youngest.
func (f *fleet) resize(t int, set *replicaSet, replicas int32, start int) {
	if set.wanted == replicas {
		return
	}
	f.changes++
	set.wanted, set.told = replicas, f.wanted
	for int32(len(set.pods)) < replicas {
		set.pods = append(set.pods, pod{created: t, ready: t + start})
		f.next = min(f.next, t+start)
	}
	if int32(len(set.pods)) == replicas {
		return
	}
	slices.SortFunc(set.pods, func(a, b pod) int { return cmp.Or(cmp.Compare(a.ready, b.ready), cmp.Compare(a.created, b.created)) })
	set.pods = set.pods[:replicas]
	available := int32(0)
	for _, p := range set.pods {
		if p.ready <= t {
			available++
		}
	}
	set.available = available
}

// surge is 25 % of the replicas, rounded up.
func (f *fleet) surge() int32 { return (f.wanted + 3) / 4 }

// pods that exist, and of those the available ones.
func (f *fleet) size() (pods, available int32) {
	for _, set := range f.sets {
		pods += int32(len(set.pods))
		available += set.available
	}
	return pods, available
}

// withNumber is the revision that has, or had, this number; -1 if none.
func (f *fleet) withNumber(number int64) int {
	for _, set := range f.sets {
		if set.number == number || slices.Contains(set.was, number) {
			return set.revision
		}
	}
	return -1
}
