// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"slices"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/revision"
)

// The peak under a slow revision: slots of the good one are lent, the target gets more replicas, and the slots are returned.
func TestWhichStepsHideARegression(t *testing.T) {
	// 10/s is what a pod of the good revision does, 4/s one of the slow one.
	block := func(replicas, others int32, throughput float64) capacity.Block {
		return capacity.Block{Revision: "seven", Replicas: replicas, Others: others, Saturated: true, Completed: 1000,
			Throughput: throughput, Arrival: throughput, Rate: (throughput - 10*float64(others)) / float64(replicas), Shares: []float64{1}}
	}
	for _, c := range []struct {
		name   string
		blocks []capacity.Block
		want   revision.Verdict
	}{
		{"slots of the good revision, which are returned", slices.Concat(
			slices.Repeat([]capacity.Block{block(4, 0, 16)}, 2), []capacity.Block{block(4, 2, 36)}, slices.Repeat([]capacity.Block{block(7, 0, 28)}, 6)), revision.Regressed},
		{"more replicas, which bring nothing", slices.Concat(
			slices.Repeat([]capacity.Block{block(4, 0, 16)}, 2), slices.Repeat([]capacity.Block{block(7, 0, 16)}, 6)), revision.InsufficientData},
	} {
		t.Run(c.name, func(t *testing.T) {
			six := &revision.Record{Key: "six", Hash: "six", Number: 6, Standing: revision.KnownGood, Since: noon.Add(-time.Hour),
				Rates: samplesOf(slices.Repeat([]float64{10}, 8)...), RatesSeen: 8, MostReplicas: 50}
			seven := &revision.Record{Key: "seven", Hash: "seven", Number: 7, Completed: noon.Add(-20 * time.Minute), Standing: revision.Soaked}
			s := &Memory{Capacity: capacity.NewEstimator(), Ledger: revision.Restore([]*revision.Record{six, seven})}
			seen, _ := inflatedBy(orders(), revision.InsufficientData)
			seen.Assessment.New.Hash = "seven"
			for _, b := range c.blocks {
				s.Ledger.Enter(seen.Now, revision.Target{Hash: "seven", Number: 7, Settled: true, SoakedHash: "seven"})
				b.Start, b.End = seen.Now, seen.Now.Add(time.Minute)
				seen.Now = b.End
				seen.Target.Spec.Replicas, seen.Target.Status.AvailableReplicas = ptr.To(b.Replicas), b.Replicas
				s.keep(seen.Now)
				s.blocks = []capacity.Block{b}
				s.judgeBy(&s.blocks[0])
				Decide(seen, s)
			}
			s.keep(seen.Now)
			if r := s.Ledger.Present(); r.Verdict != c.want {
				t.Errorf("the verdict is %s after %d blocks, want %s", r.Verdict, r.RatesSeen, c.want)
			}
		})
	}
}
