// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Soak is what is remembered of completed rollouts: which revision completed last and when, and which one soaked.
type Soak struct {
	// Hash is the pod-template-hash of the revision that completed its rollout last, Since when it did. During a rollout
	// Hash is empty, and Since is when that was seen.
	Hash  string
	Since time.Time
	// SoakedHash is the newest revision that stayed for the soak time after its rollout. The pool runs it.
	SoakedHash string
}

// Next carries the memory on. A revision soaks while it is the target's own and no rollout is in progress: an interrupted
// soak begins anew. d tells when a rollout that was never watched completed.
func (s Soak) Next(now time.Time, a Assessment, d *appsv1.Deployment, soak time.Duration) Soak {
	if a.Missing || a.InProgress() || a.SettledHash == "" || a.New.Hash != a.SettledHash {
		if a.InProgress() && a.New.Hash != s.Hash {
			s.Hash, s.Since = "", now
		}
		return s
	}
	if s.Hash != a.SettledHash {
		first := s == Soak{}
		s.Hash, s.Since = a.SettledHash, now
		if completed := completedAt(d, a.New.Name); first && !completed.IsZero() && completed.Before(now) {
			s.Since = completed
		}
	}
	if s.Since.After(now) {
		s.Since = now // the clock was set back, or another machine's was ahead
	}
	if now.Sub(s.Since) >= soak {
		s.SoakedHash = s.Hash
	}
	return s
}

// Ends is when the present soak ends; zero if none is under way.
func (s Soak) Ends(soak time.Duration) time.Time {
	if s.Hash == "" || s.Hash == s.SoakedHash {
		return time.Time{}
	}
	return s.Since.Add(soak)
}

// completedAt is when the Deployment controller said that the rollout of this ReplicaSet completed; zero if it does not say.
func completedAt(d *appsv1.Deployment, replicaSet string) time.Time {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionTrue &&
			c.Reason == "NewReplicaSetAvailable" && replicaSet != "" && strings.Contains(c.Message, `"`+replicaSet+`"`) {
			return c.LastUpdateTime.Time
		}
	}
	return time.Time{}
}
