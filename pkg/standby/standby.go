// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package standby lets a consumer start warm without consuming.
//
// A standby pod with gate File has a file, /etc/queuescaler/role, that holds one word:
//
//   - standby: start, connect, warm up, be ready, and take no message;
//   - active: take messages;
//   - draining: take no new message, finish those at hand, then call [Drained].
//
// The simplest use is one call between warming up and consuming:
//
//	if err := standby.Wait(ctx); err != nil {
//		return err
//	}
//
// A consumer that also drains follows the role with [Watch], and serves [Handler] to its readiness probe.
//
// # What the role is when the file does not say
//
// No file means active: the pods of the Deployment itself have none and need nothing. A file that was there and is gone,
// that is empty, or that holds anything else changes nothing: the role stays what it was. If that is so from the start, the
// role is standby, because a message that waits is a smaller harm than one taken by a pod that was not to take any; the
// pod is then not ready, and the answer to its readiness probe says why.
//
// The directory must be mounted as a whole: a file mounted with subPath never changes.
package standby

import (
	"context"
	"net/http"
)

// Role is what a pod is to do with messages.
type Role string

const (
	// Standby: take no message, and be ready.
	Standby Role = "standby"
	// Active: take messages.
	Active Role = "active"
	// Draining: take no new message, finish those at hand. The pod is ended afterwards.
	Draining Role = "draining"
)

// DefaultPath is where the role file of a standby pod is.
const DefaultPath = "/etc/queuescaler/role"

// process is the gate of this process.
var process Gate

// Wait returns nil as soon as the role in [DefaultPath] is active, at once if there is no such file. It returns an error,
// which wraps ctx.Err(), only when ctx ends first. See [Gate.Wait].
func Wait(ctx context.Context) error { return process.Wait(ctx) }

// Watch sends the role in [DefaultPath] now, and then each change of it, until ctx ends. See [Gate.Watch].
func Watch(ctx context.Context) <-chan Role { return process.Watch(ctx) }

// Drained reports that the last message at hand is finished. See [Gate.Drained].
func Drained() { process.Drained() }

// Handler answers the readiness probe. See [Gate.Handler].
func Handler() http.Handler { return process.Handler() }
