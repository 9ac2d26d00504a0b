// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/revision"
)

// witness watches what the operator says.
type witness struct {
	*QueueScaler
	causes, advice, verdicts []string
	// message and reason are of the newest ArrivalsInflated: the diagnosis, and the condition ThroughputRegressed.
	message, reason string
	// seconds in which ThroughputRegressed was True, and the last one in which arrivals were suspect.
	regressed, suspected int
	// first is the second of the first ArrivalsInflated; -1: never.
	first int
}

func (o *witness) Act(t int, w *Plant) {
	o.QueueScaler.Act(t, w)
	note := func(all *[]string, what string) {
		if what != "" && !slices.Contains(*all, what) {
			*all = append(*all, what)
		}
	}
	status := &o.qs.Status
	if meta.IsStatusConditionTrue(status.Conditions, capacityv1alpha1.ConditionThroughputRegressed) {
		o.regressed++
	}
	for _, r := range o.memory.Ledger.Records() {
		note(&o.verdicts, fmt.Sprintf("%d %s", r.Number, r.Verdict))
		if r.Verdict == revision.Suspected && r.Basis == revision.Arrivals {
			o.suspected = t
		}
	}
	d := status.Diagnosis
	if d == nil {
		return
	}
	note(&o.causes, string(d.Cause))
	note(&o.advice, d.Advice)
	if d.Cause == capacityv1alpha1.CauseArrivalsInflated {
		if o.first < 0 {
			o.first = t
		}
		o.message = d.Message
		if c := meta.FindStatusCondition(status.Conditions, capacityv1alpha1.ConditionThroughputRegressed); c != nil {
			o.reason = string(c.Status) + " " + c.Reason
		}
	}
}

// work plays user work, so many units per second at each time, and the deploy of a revision that makes inflation messages of
// each, at the hour of deploy.
func work(t *testing.T, driver bool, hours int, deploy, inflation float64, units func(hour float64) float64) *witness {
	t.Helper()
	begin := time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)
	s := &Scenario{
		Name: "work", Start: begin, End: begin.Add(time.Duration(hours) * time.Hour), Arrivals: Arrivals{Poisson: true},
		Replicas: 20, MinReplicas: 4, MaxReplicas: 60, ColdStartSeconds: 60, Concurrency: 1, ObjectiveSeconds: 60, LateSeconds: 120,
		Revisions: []Revision{{Number: 6, PerReplica: 10}, {Number: 7, PerReplica: 10, Inflation: inflation}},
		Noise:     Noise{Deviation: 0.03, Seconds: 60},
		Deploys:   []Deploy{{At: begin.Add(time.Duration(deploy * float64(time.Hour))), Revision: 7, Seconds: 240}},
	}
	for second := range hours * 3600 {
		s.Arrivals.PerSecond = append(s.Arrivals.PerSecond, units(float64(second)/3600))
	}
	if err := s.validate(); err != nil {
		t.Fatal(err)
	}
	qs := manifest(t)
	if driver {
		qs.Spec.Driver = capacityv1alpha1.Driver{Name: "presences",
			QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: "redis://redis.chat:6379/0"}, Stream: capacityv1alpha1.RedisStream{Key: "presences", Group: "workers"}}}}
	}
	o := &witness{QueueScaler: &QueueScaler{Label: "queuescaler", Manifest: qs}, first: -1}
	Run(s, o, 1)
	t.Logf("causes %v, advice %v, verdicts %v, first after %d s: %s", o.causes, o.advice, o.verdicts, o.first, o.message)
	return o
}

func (o *witness) wantNothing(t *testing.T) {
	t.Helper()
	for _, v := range o.verdicts {
		if strings.Contains(v, "Regressed") || strings.Contains(v, "Suspected") {
			t.Errorf("a verdict: %s", v)
		}
	}
	if o.first >= 0 || o.regressed > 0 {
		t.Errorf("ArrivalsInflated after %d s, %d s of ThroughputRegressed", o.first, o.regressed)
	}
}

// An hour of an ordinary revision, and then one that makes 35 % more messages of the same user work, and is as fast.
func TestARevisionThatMakesMoreWork(t *testing.T) {
	o := work(t, true, 3, 1, 1.35, func(float64) float64 { return 150 })
	if !slices.Contains(o.advice, "RollBack:6") || o.first < 3600 || o.first > 3600+30*60 {
		t.Errorf("advice %v; ArrivalsInflated %d s after the start, the deploy was after 3600 s", o.advice, o.first)
	}
	for _, word := range []string{"revision 7 makes 1.35 messages per unit of presences, revision 6 made 1 (+35 %, 8 of 8 blocks): the revision makes more work",
		"kubectl rollout undo deployment/availability --to-revision=6", "Rollback plan: RUNBOOK.md"} {
		if !strings.Contains(o.message, word) {
			t.Errorf("the message lacks %q", word)
		}
	}
	if o.regressed > 0 || slices.Contains(o.causes, string(capacityv1alpha1.CauseThroughputRegressed)) {
		t.Errorf("throughput did not regress, and for %d s the condition said so; causes %v", o.regressed, o.causes)
	}
	if !strings.HasSuffix(o.reason, capacityv1alpha1.ReasonArrivalsInflated) {
		t.Errorf("ThroughputRegressed is %s", o.reason)
	}
}

func TestMoreUsersAreNoInflation(t *testing.T) {
	double := func(hour float64) float64 {
		if hour > 1 {
			return 300
		}
		return 150
	}
	work(t, true, 3, 1, 1, double).wantNothing(t)
}

// Without a driver a step at the deploy is suspect and no more, for as long as the day before had none.
func TestWithoutADriverAStepIsSuspect(t *testing.T) {
	o := work(t, false, 60, 30, 1.35, dailyWork)
	deploy := 30 * 3600
	if o.first < deploy+3600 || o.first > deploy+2*3600 {
		t.Errorf("suspect %d s after the deploy, want one or two hours", o.first-deploy)
	}
	if o.suspected < deploy+23*3600 || o.suspected > deploy+24*3600+600 {
		t.Errorf("suspect until %.1f h after the deploy, want a day", float64(o.suspected-deploy)/3600)
	}
	for _, advice := range o.advice {
		if strings.HasPrefix(advice, capacityv1alpha1.AdviceRollBack) {
			t.Errorf("advice %s", advice)
		}
	}
	if !strings.Contains(o.message, "set spec.driver") || o.regressed > 0 || o.reason != "Unknown Suspected" {
		t.Errorf("%s: %s", o.reason, o.message)
	}
}

func TestWithoutADriverTheSameAsTheDayBeforeIsNothing(t *testing.T) {
	work(t, false, 40, 30, 1, dailyWork).wantNothing(t)
}

// dailyWork goes with the time of the day.
func dailyWork(hour float64) float64 { return 150 + 100*math.Sin(hour*math.Pi/12) }
