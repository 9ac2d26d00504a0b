// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package standby decides about the slots of one QueueScaler: which to make, lend, return and remove, what a slot's pod
// looks like, and the patches that move a slot from one state to the next. It takes values and returns values; the
// controller reads and writes.
//
// A slot is a ReplicaSet with one replica and a selector of its own. Its life is one way:
//
//	Starting → Warm → Lent → (Draining →) Ending → gone
//
// Every state is visible on the objects themselves, so that an operator that is killed between any two writes continues
// from what it finds. What the objects cannot tell is in PoolInput, and the controller keeps it in status: the names of
// slots that are about to be created, and until when released slots are not made again.
package standby
