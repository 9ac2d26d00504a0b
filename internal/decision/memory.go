// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// Memory is what is remembered of one QueueScaler from one look to the next. All that must survive a restart is in its
// status too. It is not safe for concurrent use.
type Memory struct {
	Rollout  rollout.Memory
	Soak     rollout.Soak
	Scaling  scaling.Memory
	Capacity *capacity.Estimator
	// Block is the length of one measurement of what a replica gets done; 0 means capacity.DefaultBlock.
	Block time.Duration
	// Calibration finds a rate out that no calm day would measure.
	Calibration capacity.Calibration
	// Ledger keeps what each revision was seen to do.
	Ledger revision.Ledger
	// specGeneration and queueServers are those that the estimator was set up for, sources and driver identify what is read.
	specGeneration  int64
	queueServers    string
	sources, driver string

	// Contest remembers another writer of the target's replicas.
	Contest scaling.Contest
	// Restored is the revision in whose rollout lowered replicas were restored, Released the one whose hold was ended.
	Restored, Released string
	// LastScale is when the target was last written.
	LastScale time.Time
	// stalledSince is since when messages wait and none is completed.
	stalledSince time.Time
	// blocks are those of the last look, which the ledger takes in at the next one.
	blocks []capacity.Block
	// block is the newest one that tells what steps brought, nil before the first.
	block *scaling.Saturation
	// growth follows how long the target's pods take, objectiveMet is what the last decision found.
	growth       growth
	objectiveMet bool
}

// Recall restores the memory from status.
func Recall(status *capacityv1alpha1.QueueScalerStatus) Memory {
	s := Memory{Capacity: capacity.NewEstimator(), Ledger: recallLedger(status.Revisions), Calibration: recallCalibration(status.Calibration), LastScale: TimeOf(status.LastScaleTime)}
	if r := status.Rollout; r != nil {
		s.Rollout, s.Soak = recallRollout(r)
		if r.Memory != nil {
			s.Restored, s.Released = r.Memory.RestoredHash, r.Memory.ReleasedHash
		}
	}
	return s
}

// Assess says what the target's rollout is doing, and carries the memory of rollouts on.
func (s *Memory) Assess(seen *Observation) {
	if was := s.Rollout.UID; seen.Target != nil && was != "" && was != seen.Target.UID {
		s.Soak = rollout.Soak{} // another Deployment of the same name has proved nothing yet
	}
	seen.Assessment, s.Rollout = rollout.Assess(seen.Now, seen.Target, seen.ReplicaSets, s.Rollout)
	if seen.Target != nil {
		s.Soak = s.Soak.Next(seen.Now, seen.Assessment, seen.Target, SoakTime(&seen.QueueScaler.Spec))
	}
}

// rate is the service rate to decide by.
func (s *Memory) rate(seen *Observation) capacity.ServiceRate {
	rate := s.Ledger.Rate(priorRate(&seen.QueueScaler.Spec))
	rate.PerReplica *= s.Calibration.Factor()
	return rate
}

// messageTime is how long one message takes, c/μ; 0 where that is not known. At most an hour.
func (s *Memory) messageTime(seen *Observation) time.Duration {
	mu := s.rate(seen).PerReplica
	if mu <= 0 {
		return 0
	}
	c := float64(or(seen.QueueScaler.Spec.Objective.Drain.Concurrency, 1))
	return time.Duration(min(c/mu, 3600) * float64(time.Second))
}

func recallRollout(r *capacityv1alpha1.RolloutStatus) (rollout.Memory, rollout.Soak) {
	m := r.Memory
	if m == nil {
		return rollout.Memory{}, rollout.Soak{}
	}
	memory := rollout.Memory{
		UID:                   types.UID(m.UID),
		SettledHash:           m.SettledHash,
		SettledTemplateDigest: m.SettledDigest,
		SettledReplicas:       ptr.Deref(m.SettledReplicas, 0),
		Unsettled:             m.Unsettled != "",
		StuckHash:             m.StuckHash,
		StuckReadyReplicas:    ptr.Deref(m.StuckReadyReplicas, 0),
		StuckAt:               TimeOf(m.StuckAt),
		State:                 rollout.State(r.State),
		Since:                 TimeOf(r.Since),
		HeldSince:             TimeOf(m.HeldSince),
	}
	return memory, rollout.Soak{Hash: m.CompletedHash, Since: TimeOf(m.CompletedAt), SoakedHash: m.SoakedHash}
}

// memoryStatus is the inverse of recallRollout.
func (s *Memory) memoryStatus() *capacityv1alpha1.RolloutMemory {
	m := &capacityv1alpha1.RolloutMemory{
		UID:             string(s.Rollout.UID),
		SettledHash:     s.Rollout.SettledHash,
		SettledDigest:   s.Rollout.SettledTemplateDigest,
		SettledReplicas: &s.Rollout.SettledReplicas,
		HeldSince:       StatusTime(s.Rollout.HeldSince),
		StuckHash:       s.Rollout.StuckHash,
		StuckAt:         StatusTime(s.Rollout.StuckAt),
		CompletedHash:   s.Soak.Hash,
		CompletedAt:     StatusTime(s.Soak.Since),
		SoakedHash:      s.Soak.SoakedHash,
		RestoredHash:    s.Restored,
		ReleasedHash:    s.Released,
	}
	if s.Rollout.Unsettled {
		m.Unsettled = capacityv1alpha1.RolloutRolling
	}
	if s.Rollout.StuckHash != "" {
		m.StuckReadyReplicas = &s.Rollout.StuckReadyReplicas
	}
	return m
}
