// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	count := totals{sent: 100, done: 100, bySlots: 10, verified: 10}
	tests := []struct {
		name   string
		change func(*result)
		want   string // the one check that fails; empty: none
	}{
		{"all well", func(*result) {}, ""},
		{"late", func(r *result) { r.FirstSlotInService = 2.1 }, "the first slot was in service 2.1 s after the backlog, later than 2 s"},
		{"written", func(r *result) {
			e := auditEvent{Verb: "update"}
			e.User.Username, e.ObjectRef.Resource, e.ObjectRef.Subresource = "somebody", "deployments", "scale"
			r.TargetWrites, r.writesDuringRollout = 1, []auditEvent{e}
		}, "the Deployment was written to 1 times during the rollout, first by somebody (update deployments/scale)"},
		{"lost", func(r *result) { r.MessagesLost, r.MessagesDone = 1, 99 }, "1 of 100 messages were lost"},
		{"out of nothing", func(r *result) { r.MessagesDone = 101 }, "101 messages were completed, 100 were sent"},
		{"unlent", func(r *result) { r.MessagesTakenByUnlent, r.firstTakenByUnlent = 3, "message 7" }, "3 messages were taken by slots that were not lent: message 7"},
		{"not looked up", func(r *result) { r.SlotMessagesVerified = 9 }, "10 messages were taken by slots, and for 9 it was checked"},
		{"idle slots", func(r *result) { r.MessagesTakenBySlots, r.SlotMessagesVerified = 0, 0 }, "no slot took a message"},
		{"pool short", func(r *result) { r.SlotsWarm = 2 }, "2 slots are warm at the end, 3 are wanted"},
		{"found late", func(r *result) { r.RegressionFound = 100 }, "the regression was found 100 s after the rollout"},
		{"wrong advice", func(r *result) { r.AdvisedRevision = badRevision - 2 }, "the advice is to roll back to revision 1, and revision 2 is the known-good one"},
		{"role too small", func(r *result) { r.forbidden = []string{"get secrets"} }, "first get secrets"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := good(count)
			test.change(r)
			failed := r.check()
			switch {
			case test.want == "" && len(failed) > 0:
				t.Errorf("checks failed: %q", failed)
			case test.want != "" && (len(failed) != 1 || !strings.Contains(failed[0], test.want)):
				t.Errorf("checks say %q, want %q", failed, test.want)
			}
		})
	}
}

func TestJSONNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "demo.json")
	if err := good(totals{}).write(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first_slot_in_service_s", "capacity_with_standby_s", "capacity_without_standby_s", "target_writes_during_rollout",
		"regression_found_s", "advised_revision", "rollback_cured_s", "messages_sent", "messages_done", "messages_taken_by_unlent_slots", "slots_warm_at_end", "slots_wanted"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}
