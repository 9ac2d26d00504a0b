// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"math"
	"slices"
)

// HPA is the algorithm of Kubernetes' HorizontalPodAutoscaler with one external metric, the queue's length (what waits and
// what is in flight, as KEDA's scalers count), and its default behavior.
//
//	desired    ceil(length / Target), unless length / (Target·replicas) is within the tolerance of 1
//	up         at once, by at most the larger of 4 pods and 100 % within 15 s
//	down       to the highest desired number of the last 300 s, by at most 100 % within 15 s
//
// See k8s.io/kubernetes/pkg/controller/podautoscaler: GetExternalPerPodMetric and convertDesiredReplicasWithBehaviorRate.
type HPA struct {
	// Target is the AverageValue: messages for each replica.
	Target int64

	// desired are the recommendations of the last 300 s, one for each sync; changes the pods that were added.
	desired []recommendation
	changes []recommendation
}

// recommendation is a number and the second of it.
type recommendation struct {
	t int
	n int32
}

// Defaults of the HorizontalPodAutoscaler, in seconds, pods and shares.
const (
	hpaSync      = 15
	hpaWindow    = 300
	hpaPeriod    = 15
	hpaPods      = 4
	hpaTolerance = 0.1
)

// Name has the target.
func (h *HPA) Name() string { return fmt.Sprintf("hpa %d", h.Target) }

func (h *HPA) begin(*Plant) { h.desired, h.changes = nil, nil }

// Act syncs every 15 s.
func (h *HPA) Act(t int, w *Plant) {
	if t%hpaSync != 0 {
		return
	}
	replicas, _ := w.fleet.size()
	next := h.next(t, w.queue.length, replicas, w.fleet.wanted, w.scenario.MinReplicas, w.scenario.MaxReplicas)
	w.scale(t, next)
}

// next is the number of replicas to ask for: length messages, replicas that exist, wanted ones.
func (h *HPA) next(t int, length int64, replicas, wanted, least, most int32) int32 {
	desired := replicas
	if ratio := float64(length) / (float64(h.Target) * float64(replicas)); replicas == 0 || math.Abs(ratio-1) > hpaTolerance {
		desired = int32(min(math.Ceil(float64(length)/float64(h.Target)), math.MaxInt32))
	}
	h.desired = append(since(h.desired, t-hpaWindow), recommendation{t, desired})
	if desired < wanted {
		// Only the window keeps it up: 100 % within a period allow everything.
		for _, r := range h.desired {
			desired = max(desired, min(r.n, wanted))
		}
	}
	h.changes = since(h.changes, t-hpaPeriod)
	added := int32(0)
	for _, c := range h.changes {
		added += c.n
	}
	atPeriodStart := wanted - added
	desired = min(desired, max(atPeriodStart+hpaPods, 2*atPeriodStart))
	desired = min(max(desired, least), most)
	if desired > wanted {
		h.changes = append(h.changes, recommendation{t, desired - wanted})
	}
	return desired
}

// since drops what is not after second t.
func since(rs []recommendation, t int) []recommendation {
	return slices.DeleteFunc(rs, func(r recommendation) bool { return r.t <= t })
}
