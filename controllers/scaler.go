// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
)

// scaler is what is remembered of one QueueScaler between two reconciles. All that must survive a restart is in its
// status too. The work queue never runs two reconciles of one QueueScaler at a time, so it needs no lock.
type scaler struct {
	uid types.UID
	decision.Memory

	// replicas, generation and digest are the target's as seen last, to notice somebody else's writes.
	replicas   int32
	generation int64
	digest     string
	targetUID  types.UID

	// trouble is what the target's pods told at troubleAt.
	trouble   decision.PodTrouble
	troubleAt time.Time
	// pool and knownGood are about the templates that slots are made from.
	pool, knownGood slotSource
	// refused is why a rollback that is asked for was not carried out, as it was told last.
	refused     string
	unpermitted unpermitted
	// writtenAt is when status was written last, and written the QueueScaler as it was then; nil once the cache has it.
	writtenAt time.Time
	written   *capacityv1alpha1.QueueScaler
}

// cacheLag is how long a cache may be behind our own write. One that is for longer lost it: the store was restored from a backup.
const cacheLag = time.Minute

// newest is the later one of what the cache has of the QueueScaler and of what we wrote. Status holds the names of the slots to be
// made; whoever decides upon a status from before its own last one thinks of other names, and makes more slots than there should be.
func (s *scaler) newest(cached *capacityv1alpha1.QueueScaler, now time.Time) *capacityv1alpha1.QueueScaler {
	if s.written == nil {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, s.written.ResourceVersion)
	if err != nil || order >= 0 || now.Sub(s.writtenAt) > cacheLag {
		s.written = nil
		return cached
	}
	return s.written.DeepCopy()
}

// scalers are the memories of all QueueScalers.
type scalers struct {
	mu sync.Mutex
	m  map[types.NamespacedName]*scaler
}

// of returns the memory of qs; on first sight, what its status tells. block is the length of a measurement.
func (s *scalers) of(qs *capacityv1alpha1.QueueScaler, block time.Duration) *scaler {
	key := types.NamespacedName{Namespace: qs.Namespace, Name: qs.Name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[types.NamespacedName]*scaler{}
	}
	if known := s.m[key]; known != nil && known.uid == qs.UID {
		return known
	}
	recalled := &scaler{uid: qs.UID, Memory: decision.Recall(&qs.Status)}
	recalled.Block = block
	s.m[key] = recalled
	return recalled
}

func (s *scalers) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
}
