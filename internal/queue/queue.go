// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package queue reads backlogs. A Reader asks one kind of server; the Pool shares one connection (pool) per server and
// credentials among all QueueScalers, polls in batches, and keeps what each queue told last together with its quality.
package queue

import (
	"time"
)

// Reading is what a queue told at one instant. What the source cannot tell is nil, never zero.
type Reading struct {
	// Time of the sample itself, which may be earlier than when it was received.
	Time time.Time
	// Depth is the number of messages waiting, not yet taken by a consumer. At least 0.
	Depth int64
	// InFlight is the number of messages taken and not yet completed. At least 0.
	InFlight *int64
	// ArrivedTotal and CompletedTotal count messages since some fixed time. They may restart.
	ArrivedTotal   *int64
	CompletedTotal *int64
	// RedeliveredTotal counts messages that were delivered again, where the source tells.
	RedeliveredTotal *int64
	// OldestAge is how long the oldest waiting message has waited.
	OldestAge *time.Duration
}

// Quality says whether a reading may be decided upon.
type Quality string

const (
	// Fresh: the newest reading is younger than the larger of 3 polls and 15 s.
	Fresh Quality = "Fresh"
	// Stale: there is a reading, but it is older than that.
	Stale Quality = "Stale"
	// Unavailable: the last poll failed, or nothing was read yet.
	Unavailable Quality = "Unavailable"
)

// Sample is the state of one queue: its newest reading, the quality of that, and why.
type Sample struct {
	// Name of the queue in the QueueScaler's spec.
	Name string
	// Reading is the newest one, nil when there was none yet. It stays while the queue is unavailable.
	Reading *Reading
	Quality Quality
	// Reason is one of the API's reasons (QueueUnavailable, AuthenticationFailed, SecretMissing, ...); ReadingsFresh when fresh.
	Reason string
	// Message says for a person what is wrong and what to do. It carries no credentials and no reply of the server.
	Message string
	// Since is when the present quality began.
	Since time.Time
	// SharedBy is the number of other QueueScalers that read from the same server.
	SharedBy int
}
