// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"math"
	"slices"
	"sort"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/queuescaler/queuescaler/internal/rollout"
)

// Options of a replay. The zero value replays as recorded.
type Options struct {
	// DelayReplicaSets and DelayDeployments let the events of one kind arrive later than the
	// other's, as from a cache that lags.
	DelayReplicaSets, DelayDeployments time.Duration
	// Forget loses the memory before every event.
	Forget bool
}

// Answer is one assessment, given when an event arrived.
type Answer struct {
	// T is when, in Unix seconds.
	T float64
	rollout.Assessment
	// Memory as returned with it.
	Memory rollout.Memory
	// Deadline is the progress deadline in force; 0 when there is none.
	Deadline time.Duration
}

// Replay feeds every event to rollout.Assess in the order of arrival, carrying the memory, and
// returns an answer for each, beginning with the first that shows the Deployment.
func (rec *Recording) Replay(o Options) []Answer {
	events := slices.Clone(rec.Events)
	for i := range events {
		if events[i].ReplicaSet != nil {
			events[i].T += o.DelayReplicaSets.Seconds()
		} else {
			events[i].T += o.DelayDeployments.Seconds()
		}
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].T < events[j].T })

	var (
		out    []Answer
		seen   bool
		d      *appsv1.Deployment
		rss    = map[types.UID]*appsv1.ReplicaSet{}
		memory rollout.Memory
	)
	for _, e := range events {
		switch {
		case e.Deployment != nil && e.Deleted:
			d = nil
		case e.Deployment != nil:
			d, seen = e.Deployment, true
		case e.Deleted:
			delete(rss, e.ReplicaSet.UID)
		default:
			rss[e.ReplicaSet.UID] = e.ReplicaSet
		}
		if !seen {
			continue
		}
		if o.Forget {
			memory = rollout.Memory{}
		}
		a := Answer{T: e.T, Deadline: deadline(d)}
		a.Assessment, memory = rollout.Assess(unix(e.T), d, values(rss), memory)
		a.Memory = memory
		out = append(out, a)
	}
	return out
}

// values in any order: what Assess says must not depend on it.
func values(rss map[types.UID]*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	out := make([]*appsv1.ReplicaSet, 0, len(rss))
	for _, rs := range rss {
		out = append(out, rs)
	}
	return out
}

func deadline(d *appsv1.Deployment) time.Duration {
	if d == nil || d.Spec.ProgressDeadlineSeconds == nil || *d.Spec.ProgressDeadlineSeconds == math.MaxInt32 {
		return 0
	}
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// unix converts Unix seconds with a fraction, to the microsecond.
func unix(t float64) time.Time {
	return time.UnixMicro(int64(t * 1e6)).UTC()
}
