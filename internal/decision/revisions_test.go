// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/revision"
)

// A restart, or another leader, must not change a verdict: all that it stands on is in status.
func TestTheLedgerSurvivesInStatus(t *testing.T) {
	records := []*revision.Record{
		{
			Key: "six", Hash: "six", Number: 6, Completed: noon, Standing: revision.KnownGood, Since: noon.Add(time.Hour),
			Verdict: revision.InsufficientData, Rates: []revision.Sample{{Value: 10.12, At: 43}, {Value: 9.87, At: 42}}, RatesSeen: 70, RatesAtEntry: 64,
			Times: []revision.Sample{{Value: 0.1012, At: 6.4}}, TimesSeen: 300,
			Arrivals: []revision.Sample{{Value: 1.912, At: 103}}, ArrivalsSeen: 80, Driver: "0123456789abcdef", Bounds: []revision.Sample{{Value: 8.2, At: 44}},
			Highest: 10.1, HighestAt: noon, HighestArrival: 274, MostReplicas: 45, Shares: []float64{0.75, 0.25},
		},
		{
			Key: revision.KeyOf("seven", "flag on"), Hash: "seven", Change: "flag on", Number: 7, Completed: noon.Add(2 * time.Hour), Standing: revision.Soaked,
			Since: noon, Proving: noon, Verdict: revision.Regressed, Basis: revision.ServiceRate, VerdictAt: noon.Add(3 * time.Hour),
			RateWatch: revision.Watch{Looks: 2, Verdict: revision.Regressed}, TimeWatch: revision.Watch{Looks: 1, Verdict: revision.Inconclusive, Stepped: true},
			ArrivalsWatch: revision.Watch{Looks: 2, Verdict: revision.Regressed, Stepped: true},
			Missed:        5, RolledBack: noon.Add(4 * time.Hour), Withdrawn: true,
		},
	}
	ledger := revision.Restore(records)
	written, err := json.Marshal(capacityv1alpha1.QueueScalerStatus{Revisions: ledgerStatus(&ledger, nil)})
	if err != nil {
		t.Fatal(err)
	}
	var status capacityv1alpha1.QueueScalerStatus
	if err := json.Unmarshal(written, &status); err != nil {
		t.Fatal(err)
	}
	m := Recall(&status)
	sameTime := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
	if diff := cmp.Diff(records, m.Ledger.Records(), sameTime, cmpopts.IgnoreUnexported(revision.Record{})); diff != "" {
		t.Error(diff)
	}
	t.Logf("two revisions take %d bytes", len(written))
}

// What did not change is taken from the status before: that must not show.
func TestTheLedgerIsWrittenTheSameFromAnOldStatus(t *testing.T) {
	r := &revision.Record{Key: "six", Hash: "six", Standing: revision.KnownGood}
	ledger := revision.Restore([]*revision.Record{r})
	var old []capacityv1alpha1.RevisionStatus
	for i, next := range []revision.Sample{{Value: 10, At: 43}, {Value: 10, At: 43}, {Value: 9.9, At: 43}, {Value: 9.9, At: 42}, {Value: 9.9, At: 42}} {
		if i%2 == 0 {
			r.Times, r.TimesSeen = append(r.Times, next), r.TimesSeen+1
		}
		if r.Rates, r.RatesSeen = append(r.Rates, next), r.RatesSeen+1; len(r.Rates) > 2 {
			r.Rates = r.Rates[1:]
		}
		old = ledgerStatus(&ledger, old)
		if diff := cmp.Diff(ledgerStatus(&ledger, nil), old); diff != "" {
			t.Fatal(diff)
		}
	}
}

// What somebody else wrote into status makes no number of nonsense.
func TestNonsenseInTheLedgerIsLeftOut(t *testing.T) {
	m := Recall(&capacityv1alpha1.QueueScalerStatus{Revisions: []capacityv1alpha1.RevisionStatus{{
		Key: "a", TemplateHash: "a", HighestThroughputPerReplica: "NaN",
		Evidence: &capacityv1alpha1.RevisionEvidence{ServiceRates: []string{"-1@2", "x@y", "1e400@3", "7@", "@", "Inf@1"}, ServiceRatesSeen: 6},
	}}})
	r := m.Ledger.Records()[0]
	if want := []revision.Sample{{Value: 7}}; !cmp.Equal(r.Rates, want) || r.Highest != 0 {
		t.Errorf("%+v", r)
	}
}
