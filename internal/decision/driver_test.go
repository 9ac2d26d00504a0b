// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// orders is a spec with a queue and a driver.
func orders() capacityv1alpha1.QueueScalerSpec {
	redis := func(key string) capacityv1alpha1.RedisSource {
		return capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: "redis://r:6379/0"}, Stream: capacityv1alpha1.RedisStream{Key: key, Group: "workers"}}
	}
	return capacityv1alpha1.QueueScalerSpec{
		MaxReplicas: 40, Queues: []capacityv1alpha1.Queue{{Name: "orders", QueueSource: capacityv1alpha1.QueueSource{Redis: redis("mails")}}},
		Objective: capacityv1alpha1.Objective{Drain: capacityv1alpha1.DrainObjective{Seconds: 60}},
		Driver:    capacityv1alpha1.Driver{Name: "orders", PollSeconds: 2, QueueSource: capacityv1alpha1.QueueSource{Redis: redis("orders")}},
		Rollout:   &capacityv1alpha1.Rollout{OnRegression: capacityv1alpha1.OnRegressionRollBack, RollbackPlan: "page 7 of the runbook"},
	}
}

func samplesOf(at ...float64) []revision.Sample {
	var out []revision.Sample
	for _, v := range at {
		out = append(out, revision.Sample{Value: v, At: 50})
	}
	return out
}

// inflatedBy is what is remembered of revision 7, which makes 2.6 messages of an order where 6 made 1.9, and an observation of it.
func inflatedBy(spec capacityv1alpha1.QueueScalerSpec, rate revision.Verdict) (*Observation, *Memory) {
	six := &revision.Record{Key: "six", Hash: "six", Number: 6, Standing: revision.KnownGood, Since: noon.Add(-time.Hour), Rates: samplesOf(10, 10), RatesSeen: 2,
		Arrivals: samplesOf(1.9, 1.9, 1.9, 1.9, 1.9, 1.9), ArrivalsSeen: 6, Driver: "d"}
	seven := &revision.Record{Key: "seven", Hash: "seven", Number: 7, Completed: noon.Add(-20 * time.Minute), Standing: revision.Soaked, Missed: 9, Rates: samplesOf(10, 10), RatesSeen: 2,
		Verdict: revision.Regressed, Basis: revision.Arrivals, RateWatch: revision.Watch{Looks: 1, Verdict: rate},
		ArrivalsWatch: revision.Watch{Looks: 2, Verdict: revision.Regressed, Stepped: true},
		Arrivals:      samplesOf(2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6, 2.6), ArrivalsSeen: 8, Driver: "d"}
	s := &Memory{Capacity: capacity.NewEstimator(), Ledger: revision.Restore([]*revision.Record{six, seven})}
	s.Ledger.Enter(noon, revision.Target{Hash: "seven", Number: 7, Settled: true, SoakedHash: "seven"})
	set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"pod-template-hash": "six"}, Annotations: map[string]string{"deployment.kubernetes.io/revision": "6"}}}
	return &Observation{
		Now: noon, QueueScaler: &capacityv1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: spec}, ReplicaSets: []*appsv1.ReplicaSet{set},
		Target:  &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "mailer"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](12)}, Status: appsv1.DeploymentStatus{AvailableReplicas: 12}},
		Samples: []queue.Sample{{Name: "orders", Quality: queue.Fresh, Reading: &queue.Reading{Time: noon}}},
	}, s
}

func TestArrivalsInflatedAdvisesARollback(t *testing.T) {
	missed := scaling.Plan{Desired: ptr.To[int32](12), ObjectiveMet: scaling.Finding{Status: metav1.ConditionFalse}}
	for rate, want := range map[revision.Verdict]struct {
		status metav1.ConditionStatus
		says   string
	}{
		revision.NoRegression:     {metav1.ConditionFalse, ": the revision makes more work, its replicas are not slower"},
		revision.InsufficientData: {metav1.ConditionUnknown, ": the revision makes more work; that its replicas are slower was not found"},
	} {
		seen, s := inflatedBy(orders(), rate)
		d := &Decision{Plan: missed, Rollback: rollbackOf(seen, s, &missed)}
		got := diagnose(seen, d, s)
		message := "revision 7 makes 2.6 messages per unit of orders, revision 6 made 1.9 (+37 %, 8 of 8 blocks)" + want.says +
			". Not rolled back automatically: only a measured service rate is acted on, and it is arrivals that tell: its replicas may do as much as any" +
			". Roll back: kubectl rollout undo deployment/mailer --to-revision=6 -n shop. Rollback plan: page 7 of the runbook."
		if got.Cause != capacityv1alpha1.CauseArrivalsInflated || got.Advice != "RollBack:6" || got.Message != message {
			t.Errorf("service rate %s: %s, %s:\n%s\nwant\n%s", rate, got.Cause, got.Advice, got.Message, message)
		}
		if f := throughputRegressed(seen, d, s); f.Status != want.status || f.Reason != capacityv1alpha1.ReasonArrivalsInflated {
			t.Errorf("service rate %s: ThroughputRegressed is %s, %s: %s", rate, f.Status, f.Reason, f.Message)
		}
		if f := rollbackAdvised(seen, d, s); f.Status != metav1.ConditionTrue || f.Reason != capacityv1alpha1.ReasonArrivalsInflated || f.Message != message {
			t.Errorf("service rate %s: RollbackAdvised is %+v", rate, f)
		}
		if summary := summaryOf(seen, d, got); summary != capacityv1alpha1.SummaryRegressed {
			t.Errorf("STATUS is %s", summary)
		}
		if d.Rollback == nil || d.Rollback.Refused == "" {
			t.Errorf("it would be rolled back: %+v", d.Rollback)
		}
		if lack := regressedInput(s); lack != nil {
			t.Errorf("its pods lack %+v", lack)
		}
	}
}

func TestArrivalsAreRevertedInGit(t *testing.T) {
	seen, s := inflatedBy(orders(), revision.NoRegression)
	seen.Target.Labels = map[string]string{"argocd.argoproj.io/instance": "shop"}
	if got := diagnose(seen, &Decision{}, s); got.Advice != "RollBack:6" || !strings.Contains(got.Message, "revert in Git, Argo CD owns deployment/mailer") {
		t.Errorf("%+v", got)
	}
}

// A restart has forgotten the day before: what was only suspected is over, and nothing else changes.
func TestASuspicionEndsWithARestart(t *testing.T) {
	spec := orders()
	spec.Driver = capacityv1alpha1.Driver{}
	seen, s := inflatedBy(spec, revision.InsufficientData)
	seven := s.Ledger.Present()
	seven.Verdict, seven.ArrivalsWatch = revision.Suspected, revision.Watch{}
	status := capacityv1alpha1.QueueScalerStatus{Revisions: ledgerStatus(&s.Ledger, nil)}
	restarted := Recall(&status)
	restarted.Ledger.Enter(noon, revision.Target{Hash: "seven", Number: 7, Settled: true, SoakedHash: "seven"})
	restarted.Capacity.Configure(capacity.Settings{Weights: []float64{1}})
	restarted.learnDriver(seen, [][]queue.Reading{nil})
	if r := restarted.Ledger.Present(); r.Flagged() || r.Verdict != revision.InsufficientData {
		t.Errorf("%s by %q", r.Verdict, r.Basis)
	}
}

func TestSourcesAreTheQueuesAndTheDriver(t *testing.T) {
	spec := orders()
	got := Sources(&spec)
	if len(got) != 2 || len(spec.Queues) != 1 || !cmp.Equal(got[0], spec.Queues[0]) || got[1].Redis.Stream.Key != "orders" || got[1].PollSeconds != 2 {
		t.Errorf("%+v", got)
	}
	if got[0].Name == got[1].Name {
		t.Errorf("a queue and the driver are both read as %s", got[0].Name)
	}
	seen := &Observation{QueueScaler: &capacityv1alpha1.QueueScaler{Spec: spec}}
	seen.TakeSamples([]queue.Sample{{Name: "a"}, {Name: "b"}})
	if len(seen.Samples) != 1 || seen.Driver == nil || seen.Driver.Name != "b" {
		t.Errorf("%+v, %+v", seen.Samples, seen.Driver)
	}
	seen.QueueScaler.Spec.Driver, seen.Driver = capacityv1alpha1.Driver{}, nil
	seen.TakeSamples([]queue.Sample{{Name: "a"}})
	if len(seen.Samples) != 1 || seen.Driver != nil || len(Sources(&seen.QueueScaler.Spec)) != 1 {
		t.Errorf("%+v, %+v", seen.Samples, seen.Driver)
	}
}

// A driver that cannot be read is told of, and changes nothing that is decided.
func TestADriverThatCannotBeReadChangesNothing(t *testing.T) {
	var plans []scaling.Plan
	var diagnoses []string
	for _, driver := range []*queue.Sample{
		{Quality: queue.Fresh, Reason: capacityv1alpha1.ReasonReadingsFresh, Message: "read from redis://r:6379", Reading: &queue.Reading{ArrivedTotal: new(int64)}},
		{Quality: queue.Fresh, Reason: capacityv1alpha1.ReasonReadingsFresh, Message: "read from redis://r:6379", Reading: &queue.Reading{}},
		{Quality: queue.Unavailable, Reason: capacityv1alpha1.ReasonQueueMissing, Message: "redis://r:6379 has no stream orders"},
		{Quality: queue.Stale, Reason: capacityv1alpha1.ReasonReadingsStale, Message: "late"},
	} {
		seen, s := inflatedBy(orders(), revision.NoRegression)
		seen.Driver = driver
		d := Decide(seen, s)
		plans = append(plans, d.Plan)
		status := StatusOf(seen, d, &Outcome{}, s)
		diagnoses = append(diagnoses, string(status.Diagnosis.Cause)+" "+string(status.Summary)+" "+status.Conditions[0].Reason)
		if !slices.ContainsFunc([]string{"arrivals are not compared", "read from"}, func(s string) bool { return strings.Contains(status.Driver.Message, s) }) {
			t.Errorf("%+v", status.Driver)
		}
		if fresh := driver.Quality == queue.Fresh && driver.Reading.ArrivedTotal != nil; fresh != (status.Driver.Reason == capacityv1alpha1.ReasonReadingsFresh) {
			t.Errorf("%+v is told as %+v", driver, status.Driver)
		}
	}
	for i := range plans {
		if diff := cmp.Diff(plans[0], plans[i]); diff != "" || diagnoses[i] != diagnoses[0] {
			t.Errorf("%s\n%s", diff, diagnoses[i])
		}
	}
}

// What was measured with a driver that was just replaced is not taken for the new one's.
func TestAnotherDriverTakesOverNoBlock(t *testing.T) {
	seen, s := inflatedBy(orders(), revision.NoRegression)
	s.learnSources(seen)
	s.blocks = []capacity.Block{{Driver: 50}}
	s.learnSources(seen)
	if s.blocks[0].Driver != 50 {
		t.Error("an unchanged driver's block is forgotten")
	}
	seen.QueueScaler.Spec.Driver.Redis.Stream.Key = "logins"
	s.learnSources(seen)
	if s.blocks[0].Driver != 0 {
		t.Error("another driver's block is kept")
	}
}
