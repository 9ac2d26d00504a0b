// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"
)

const (
	// maxFirstSlot is how long a backlog may wait for the first slot in service, in seconds.
	maxFirstSlot = 2.0
	// maxFound is how long after its rollout a bad revision may go unnoticed, in seconds: until its pods are no longer young,
	// and then for the 4 measurements that a first verdict takes, twice.
	maxFound = podReadySeconds + 2*4*2 + 10.0
)

// result is out/demo.json.
type result struct {
	FirstSlotInService     float64  `json:"first_slot_in_service_s"`    // from the first message of the backlog to the first message that a slot took
	CapacityWithStandby    float64  `json:"capacity_with_standby_s"`    // the same, for all slots that were lent for it
	CapacityWithoutStandby float64  `json:"capacity_without_standby_s"` // from the same message to the first pod that the Deployment was scaled to being Ready
	SlotsLent              int      `json:"slots_lent"`                 // for that backlog
	RolloutSeconds         float64  `json:"rollout_s"`
	TargetWrites           int      `json:"target_writes_during_rollout"` // in the API server's audit log
	MessagesSent           int64    `json:"messages_sent"`
	MessagesDone           int64    `json:"messages_done"` // different ones
	MessagesLost           int64    `json:"messages_lost"`
	MessagesDoneAgain      int64    `json:"messages_done_again"`
	MessagesRedelivered    int64    `json:"messages_redelivered"`
	MessagesTakenBySlots   int64    `json:"messages_taken_by_slots"`
	SlotMessagesVerified   int64    `json:"slot_messages_verified"` // those of them whose pod was read from the API at that moment
	MessagesTakenByUnlent  int64    `json:"messages_taken_by_unlent_slots"`
	SlotsWarm              int      `json:"slots_warm_at_end"`
	SlotsWanted            int      `json:"slots_wanted"`
	RegressionFound        float64  `json:"regression_found_s"` // from the end of the bad revision's rollout to the operator's verdict
	AdvisedRevision        int      `json:"advised_revision"`
	RollbackCured          float64  `json:"rollback_cured_s"` // from the advised command to the objective being met again
	ForbiddenRequests      int      `json:"operator_requests_forbidden"`
	ChecksFailed           []string `json:"checks_failed"`

	firstTakenByUnlent  string
	forbidden           []string
	writesDuringRollout []auditEvent
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// check returns what is not as it has to be, in words.
func (r *result) check() []string {
	var failed []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			failed = append(failed, fmt.Sprintf(format, args...))
		}
	}
	expect(r.FirstSlotInService <= maxFirstSlot, "the first slot was in service %.1f s after the backlog, later than %.0f s", r.FirstSlotInService, maxFirstSlot)
	if r.TargetWrites > 0 {
		w := r.writesDuringRollout[0]
		expect(false, "the Deployment was written to %d times during the rollout, first by %s (%s %s)",
			r.TargetWrites, w.User.Username, w.Verb, w.ObjectRef.Resource+"/"+w.ObjectRef.Subresource)
	}
	expect(r.MessagesLost == 0, "%d of %d messages were lost: sent, and not completed within a minute of the end", r.MessagesLost, r.MessagesSent)
	expect(r.MessagesDone-(r.MessagesSent-r.MessagesLost) == 0, "%d messages were completed, %d were sent", r.MessagesDone, r.MessagesSent)
	expect(r.MessagesTakenBySlots > 0, "no slot took a message")
	expect(r.SlotMessagesVerified == r.MessagesTakenBySlots, "%d messages were taken by slots, and for %d it was checked whether the slot was lent",
		r.MessagesTakenBySlots, r.SlotMessagesVerified)
	expect(r.MessagesTakenByUnlent == 0, "%d messages were taken by slots that were not lent: %s", r.MessagesTakenByUnlent, r.firstTakenByUnlent)
	expect(r.SlotsWarm == r.SlotsWanted, "%d slots are warm at the end, %d are wanted", r.SlotsWarm, r.SlotsWanted)
	expect(r.RegressionFound <= maxFound, "the regression was found %.0f s after the rollout, later than %.0f s", r.RegressionFound, maxFound)
	expect(r.AdvisedRevision == goodRevision, "the advice is to roll back to revision %d, and revision %d is the known-good one", r.AdvisedRevision, goodRevision)
	if len(r.forbidden) > 0 {
		expect(false, "the operator's role lacks something: %d requests were forbidden, first %s", len(r.forbidden), r.forbidden[0])
	}
	return failed
}

func (r *result) write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
