// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// scaler is what is remembered of one QueueScaler between two reconciles. All that must survive a restart is in its
// status too. The work queue never runs two reconciles of one QueueScaler at a time, so it needs no lock.
type scaler struct {
	uid types.UID

	rollout  rollout.Memory
	soak     rollout.Soak
	decision scaling.Memory
	capacity *capacity.Estimator
	// specGeneration is the spec's that the estimator was set up for.
	specGeneration int64

	// replicas, generation and digest are the target's as seen last, to notice somebody else's writes.
	replicas   int32
	generation int64
	digest     string
	targetUID  types.UID
	contest    scaling.Contest
	// restored is the revision in whose rollout lowered replicas were restored, released the one whose hold was ended.
	restored, released string

	// trouble is what the target's pods told at troubleAt.
	trouble   podTrouble
	troubleAt time.Time
	// config digests what the pool's template refers to, claims tells how its volumes are accessed.
	config configState
	claims claimState
	// stalledSince is since when messages wait and none is completed.
	stalledSince time.Time
	// numbersAt is when status was last written for its numbers alone.
	numbersAt time.Time
	// lastScale is when the target was last written.
	lastScale time.Time
}

// scalers are the memories of all QueueScalers.
type scalers struct {
	mu sync.Mutex
	m  map[types.NamespacedName]*scaler
}

// of returns the memory of qs; on first sight, what its status tells.
func (s *scalers) of(qs *capacityv1alpha1.QueueScaler) *scaler {
	key := types.NamespacedName{Namespace: qs.Namespace, Name: qs.Name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[types.NamespacedName]*scaler{}
	}
	if known := s.m[key]; known != nil && known.uid == qs.UID {
		return known
	}
	s.m[key] = recall(qs)
	return s.m[key]
}

func (s *scalers) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
}

// recall restores the memory from status.
func recall(qs *capacityv1alpha1.QueueScaler) *scaler {
	s := &scaler{uid: qs.UID, capacity: capacity.NewEstimator(measuredRate(&qs.Status))}
	if at := qs.Status.LastScaleTime; at != nil {
		s.lastScale = at.Time
	}
	if r := qs.Status.Rollout; r != nil {
		s.rollout, s.soak = recallRollout(r)
		if r.Memory != nil {
			s.restored, s.released = r.Memory.RestoredHash, r.Memory.ReleasedHash
		}
	}
	return s
}

// measuredRate is the service rate that was measured before a restart; 0 if none was.
func measuredRate(status *capacityv1alpha1.QueueScalerStatus) float64 {
	if status.Backlog == nil || status.Backlog.ServiceRateKnown != capacityv1alpha1.ServiceRateMeasured {
		return 0
	}
	rate, err := strconv.ParseFloat(status.Backlog.ServicePerReplica, 64)
	if err != nil {
		return 0
	}
	return rate
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
		StuckAt:               timeOf(m.StuckAt),
		State:                 rollout.State(r.State),
		Since:                 timeOf(r.Since),
		HeldSince:             timeOf(m.HeldSince),
	}
	return memory, rollout.Soak{Hash: m.CompletedHash, Since: timeOf(m.CompletedAt), SoakedHash: m.SoakedHash}
}

// memoryStatus is the inverse of recallRollout.
func (s *scaler) memoryStatus() *capacityv1alpha1.RolloutMemory {
	m := &capacityv1alpha1.RolloutMemory{
		UID:             string(s.rollout.UID),
		SettledHash:     s.rollout.SettledHash,
		SettledDigest:   s.rollout.SettledTemplateDigest,
		SettledReplicas: &s.rollout.SettledReplicas,
		HeldSince:       statusTime(s.rollout.HeldSince),
		StuckHash:       s.rollout.StuckHash,
		StuckAt:         statusTime(s.rollout.StuckAt),
		CompletedHash:   s.soak.Hash,
		CompletedAt:     statusTime(s.soak.Since),
		SoakedHash:      s.soak.SoakedHash,
		RestoredHash:    s.restored,
		ReleasedHash:    s.released,
	}
	if s.rollout.Unsettled {
		m.Unsettled = capacityv1alpha1.RolloutRolling
	}
	if s.rollout.StuckHash != "" {
		m.StuckReadyReplicas = &s.rollout.StuckReadyReplicas
	}
	return m
}
