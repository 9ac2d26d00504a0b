// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulate plays scaling policies against a plant: a queue, the Deployment that works it off, and time.
//
//	Scenario   what happens: arrivals, revisions and their service rates, rollouts, limits
//	Plant      one second per step: messages in order, pods that take their time to start, a limit downstream
//	Policy     what acts on the plant: fixed, people, hpa, oracle, queuescaler
//	Result     what came of it
//
// The policy queuescaler runs the code that the operator runs, package decision, on objects made from the plant. Nothing
// that decides is written twice.
//
// One seed gives the same arrivals and the same noise to every policy, so that what differs is theirs.
package simulate
