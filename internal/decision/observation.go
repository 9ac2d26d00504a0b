// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package decision decides about one QueueScaler, and says why: from what was observed and what is remembered to what is to
// be done, and to the status that tells of it. It is pure: no client, no clock, no logger.
//
//	Assess, Learn   what the target's rollout does, and what the queues told
//	Decide          replicas, slots in service, and the pool
//	Status          conditions, diagnosis and advice
//
// What each of these needs to know is in packages of its own: rollout, capacity, scaling, standby. Here they meet. The
// operator and the simulator both run this.
package decision

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// Observation is everything that one look saw, gathered once. It is only read afterwards, but for Assessment, which Assess
// fills in.
type Observation struct {
	Now time.Time
	// QueueScaler as it was read, with the status that the last look left.
	QueueScaler *capacityv1alpha1.QueueScaler

	// Target is nil when the Deployment does not exist.
	Target      *appsv1.Deployment
	ReplicaSets []*appsv1.ReplicaSet
	Assessment  rollout.Assessment
	// Trouble is what keeps pods of the target from becoming available.
	Trouble PodTrouble
	// Conflict says, for people, which other autoscaler acts on the target; empty if none does.
	Conflict string

	// Samples are the newest readings, one for each queue of the spec.
	Samples []queue.Sample
	// Driver is the driver's newest reading; nil where the spec has none. Nothing that is done depends on it.
	Driver *queue.Sample
	// QueueServers are names and urls of the QueueServers that the queues and the driver name, as a text to be compared; empty where there are none, or not all are known.
	QueueServers string

	Slots []standby.Slot
	// Revisions are the templates that were kept.
	Revisions []*appsv1.ControllerRevision
	// Services of the namespace. One that comes to select an idle slot gets it replaced.
	Services []corev1.Service
	// Template of a slot of the revision that the pool runs; nil with a Refusal, and while there is none.
	Template *standby.SlotTemplate
	Refusal  *standby.Refusal
	// ConfigDigest is that of the data which the template refers to, ConfigSoaked whether slots made with other data may be
	// replaced.
	ConfigDigest string
	ConfigSoaked bool
	// KnownGoodTemplate is that of a slot of the known-good revision, where the pool runs another one; nil where none can be made.
	KnownGoodTemplate     *standby.SlotTemplate
	KnownGoodConfigDigest string
}
