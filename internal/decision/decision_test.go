// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// What is remembered must be the same after a restart, but for what is finer than a second.
func TestMemorySurvivesInStatus(t *testing.T) {
	s := &Memory{

		Rollout: rollout.Memory{
			UID: types.UID("d"), SettledHash: "a", SettledTemplateDigest: "digest", SettledReplicas: 12, Unsettled: true,
			StuckHash: "b", StuckReadyReplicas: 3, StuckAt: noon.Add(time.Second), State: rollout.Rolling, Since: noon, HeldSince: noon.Add(-time.Minute),
		},
		Soak:     rollout.Soak{Hash: "c", Since: noon.Add(-time.Hour), SoakedHash: "a"},
		Restored: "b", Released: "c", LastScale: noon,
	}
	qs := &capacityv1alpha1.QueueScaler{}
	qs.Status.LastScaleTime = StatusTime(s.LastScale)
	qs.Status.Rollout = &capacityv1alpha1.RolloutStatus{State: capacityv1alpha1.RolloutRolling, Since: StatusTime(noon), Memory: s.memoryStatus()}
	got := Recall(&qs.Status)
	if diff := cmp.Diff(s.Rollout, got.Rollout); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(s.Soak, got.Soak); diff != "" {
		t.Error(diff)
	}
	if got.Restored != s.Restored || got.Released != s.Released || !got.LastScale.Equal(s.LastScale) {
		t.Errorf("restored %q, released %q, last scale %v", got.Restored, got.Released, got.LastScale)
	}
}

func TestPolicyOfADefaultedSpec(t *testing.T) {
	spec := &capacityv1alpha1.QueueScalerSpec{
		MinReplicas: ptr.To[int32](0), MaxReplicas: 40,
		Objective: capacityv1alpha1.Objective{Drain: capacityv1alpha1.DrainObjective{
			Seconds: 60, MessagesPerSecondPerReplica: "0.25", TargetUtilizationPercent: 80, Concurrency: 4}},
		Rollout: &capacityv1alpha1.Rollout{Policy: capacityv1alpha1.RolloutScaleUpOnly, Lending: capacityv1alpha1.LendingForbid, HoldTimeoutSeconds: 300},
		Behavior: &capacityv1alpha1.Behavior{ScaleUp: &capacityv1alpha1.ScalingRules{
			SelectPolicy: capacityv1alpha1.SelectMin,
			Policies:     []capacityv1alpha1.ScalingPolicy{{Type: capacityv1alpha1.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}}},
		Fallback: capacityv1alpha1.Fallback{AfterSeconds: 120, MinReplicas: 12},
	}
	want := scaling.Policy{
		Min: 0, Max: 40,
		Drain: &scaling.Drain{Seconds: 60, Utilization: 0.8, Concurrency: 4, Prior: 0.25},
		Behavior: scaling.Behavior{
			ScaleUp:   scaling.Rules{Tolerance: 0.1, SelectMin: true, Policies: []scaling.RatePolicy{{Percent: true, Value: 100, Period: 15 * time.Second}}},
			ScaleDown: scaling.DefaultBehavior().ScaleDown,
		},
		Rollout:  scaling.RolloutPolicy{Mode: scaling.ScaleUpOnly, ForbidLending: true, HoldTimeout: 5 * time.Minute},
		Fallback: &scaling.Fallback{After: 2 * time.Minute, Min: 12},
	}
	if diff := cmp.Diff(want, PolicyOf(spec)); diff != "" {
		t.Error(diff)
	}
}

func TestSuspendedEndsByItsTime(t *testing.T) {
	spec := &capacityv1alpha1.QueueScalerSpec{Mode: capacityv1alpha1.ModeSuspended, SuspendUntil: ptr.To(metav1.NewTime(noon))}
	if is, _ := Suspended(spec, noon.Add(-time.Second)); !is {
		t.Error("not suspended before suspendUntil")
	}
	if is, _ := Suspended(spec, noon); is {
		t.Error("still suspended at suspendUntil")
	}
}

// Partitions that a reading tells reach the decision, also while the queue cannot be read any more; what waits in them does not then.
func TestPartitionsOfReadings(t *testing.T) {
	s := &Memory{Capacity: capacity.NewEstimator()}
	s.Capacity.Configure(capacity.Settings{Weights: []float64{1, 1, 1, 1}})
	reading := &queue.Reading{Time: noon, Depth: 9, MostConsumers: new(int64(12)), DeepestPartition: new(int64(7))}
	seen := &Observation{
		Now: noon,
		QueueScaler: &capacityv1alpha1.QueueScaler{Spec: capacityv1alpha1.QueueScalerSpec{Queues: []capacityv1alpha1.Queue{
			{Name: "a", QueueSource: capacityv1alpha1.QueueSource{Kafka: capacityv1alpha1.KafkaSource{ConsumersPerReplica: 3}}}, {Name: "b"}, {Name: "c"}, {Name: "d"}}}},
		Samples: []queue.Sample{
			{Quality: queue.Fresh, Reading: reading}, {Quality: queue.Fresh, Reading: &queue.Reading{Time: noon}}, {Quality: queue.Stale, Reading: reading},
			{Quality: queue.Unavailable},
		},
	}
	var got [][3]int64
	for _, q := range queueInputs(seen, s) {
		got = append(got, [3]int64{q.MostConsumers, q.ConsumersPerReplica, q.DeepestPartition})
	}
	if diff := cmp.Diff([][3]int64{{12, 3, 7}, {}, {12, 1, 0}, {}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMaxUnavailable(t *testing.T) {
	for _, c := range []struct {
		strategy           appsv1.DeploymentStrategyType
		surge, unavailable string
		want               int32
	}{
		{appsv1.RollingUpdateDeploymentStrategyType, "25%", "25%", 2},
		{appsv1.RollingUpdateDeploymentStrategyType, "1", "0", 0},
		{appsv1.RollingUpdateDeploymentStrategyType, "0%", "5%", 1},
		{appsv1.RollingUpdateDeploymentStrategyType, "1", "99", 10},
		{appsv1.RecreateDeploymentStrategyType, "1", "1", 0},
	} {
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](10), Strategy: appsv1.DeploymentStrategy{
			Type: c.strategy, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.Parse(c.surge)), MaxUnavailable: ptr.To(intstr.Parse(c.unavailable))}}}}
		if got := maxUnavailable(d); got != c.want {
			t.Errorf("%s surge %s unavailable %s of 10: got %d, want %d", c.strategy, c.surge, c.unavailable, got, c.want)
		}
	}
}

func TestTroubleNamesAPodAndWhoIsToBlame(t *testing.T) {
	waiting := func(name, reason string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}}}
	}
	unschedulable := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: "0/3 nodes are available", LastTransitionTime: metav1.NewTime(noon)}}}}
	forbidden := func(why string) *appsv1.Deployment {
		return &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: `pods "a-7d9" is forbidden: ` + why}}}}
	}
	for _, c := range []struct {
		name    string
		d       *appsv1.Deployment
		pods    []corev1.Pod
		cluster bool
		quota   bool
		says    string
	}{
		{"nothing", &appsv1.Deployment{}, []corev1.Pod{waiting("a", "ContainerCreating")}, false, false, ""},
		{"a crash is the revision's own", &appsv1.Deployment{}, []corev1.Pod{waiting("a", "CrashLoopBackOff"), waiting("b", "CrashLoopBackOff")}, false, false, "2 pods cannot run, one is b: CrashLoopBackOff"},
		{"scheduling is the cluster's", &appsv1.Deployment{}, []corev1.Pod{waiting("a", "CrashLoopBackOff"), unschedulable}, true, false, "pod p cannot be scheduled: 0/3 nodes are available"},
		{"an image is the cluster's", &appsv1.Deployment{}, []corev1.Pod{waiting("a", "ImagePullBackOff")}, true, false, "pod a cannot pull the image"},
		{"a quota is the cluster's", forbidden("exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4"), nil, true, true, "exceeded quota: q"},
		{"a security level is no quota", forbidden(`violates PodSecurity "restricted:latest"`), nil, true, false, "violates PodSecurity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := TroubleOf(c.d, c.pods)
			if got.Cluster != c.cluster || got.QuotaExceeded != c.quota || !strings.Contains(got.Message, c.says) || (c.says == "") != (got.Message == "") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestNumbersAloneAreWrittenSeldom(t *testing.T) {
	of := func(messages int64, reason string) *capacityv1alpha1.QueueScalerStatus {
		return &capacityv1alpha1.QueueScalerStatus{
			Backlog:  &capacityv1alpha1.BacklogStatus{Messages: &messages},
			Decision: &capacityv1alpha1.Decision{Reason: reason, Message: reason + " " + time.Duration(messages).String()},
		}
	}
	for _, c := range []struct {
		name     string
		old, now *capacityv1alpha1.QueueScalerStatus
		since    time.Duration
		want     bool
	}{
		{"nothing changed", of(1, "a"), of(1, "a"), time.Hour, false},
		{"a number, just written", of(1, "a"), of(2, "a"), 4 * time.Second, false},
		{"a number, 5 s after", of(1, "a"), of(2, "a"), 5 * time.Second, true},
		{"a decision, at once", of(1, "a"), of(1, "b"), 0, true},
		{"the clock went back", of(1, "a"), of(2, "a"), -time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := WorthWriting(c.old, c.now, noon, noon.Add(-c.since)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// The last numbers before a queue is quiet are written too, and when they were read is none of them: or an idle queue would be written for ever.
func TestNumbersThatChangedAreWrittenLater(t *testing.T) {
	of := func(messages int64, read time.Time) *capacityv1alpha1.QueueScalerStatus {
		return &capacityv1alpha1.QueueScalerStatus{Backlog: &capacityv1alpha1.BacklogStatus{Messages: &messages, SampledAt: StatusTime(read)}}
	}
	if got := NumbersIn(of(7, noon), of(0, noon), noon, noon.Add(-time.Second)); got != 4*time.Second {
		t.Errorf("a number that changed is written in %s", got)
	}
	if got := NumbersIn(of(0, noon), of(0, noon.Add(time.Second)), noon, noon.Add(-time.Second)); got != 0 {
		t.Errorf("a number that is read again is written in %s", got)
	}
}

func TestBlocksAreAsLongAsIsSaid(t *testing.T) {
	for block, want := range map[time.Duration]string{0: "a minute", time.Minute: "a minute", 5 * time.Second: "5 s", 2500 * time.Millisecond: "2.5 s"} {
		if got := blockLength(&Memory{Block: block}); got != want {
			t.Errorf("blocks of %q, want %q", got, want)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 6.238: "6.24", 62.38: "62.4", 623.8: "624", 1e6: "1000000"} {
		if got := decimal(&v); got != want {
			t.Errorf("decimal(%v) = %q, want %q", v, got, want)
		}
	}
	if got := decimal(nil); got != "" {
		t.Errorf("what is not known is %q, want nothing", got)
	}
	for d, want := range map[time.Duration]string{48 * time.Second: "48s", 119 * time.Second: "119s", 10 * time.Minute: "10m", 3 * time.Hour: "3h"} {
		if got := briefly(d); got != want {
			t.Errorf("briefly(%v) = %q, want %q", d, got, want)
		}
	}
	if got := Clip("12 → 17", 6); got != "12 …" || len(got) > 6 {
		t.Errorf("clip cut a character in two, or too late: %q", got)
	}
}

// The intent to scale to 0 must outlive a cache that is behind: without it, our own 0 would count as somebody's emergency stop.
func TestTheIntentToScaleToZeroIsKept(t *testing.T) {
	at := StatusTime(noon.Add(-time.Minute))
	to := func(n int32) scaling.Plan { return scaling.Plan{Replicas: &n} }
	for _, c := range []struct {
		name   string
		cached int32
		live   *int32
		plan   scaling.Plan
		was    *metav1.Time
		want   *metav1.Time
	}{
		{"decided: stored before the write", 1, nil, to(0), nil, StatusTime(noon)},
		{"about to be written", 1, ptr.To[int32](0), to(0), at, at},
		{"written, and the cache is behind", 1, ptr.To[int32](0), scaling.Plan{}, at, at},
		{"at 0", 0, nil, scaling.Plan{}, at, at},
		{"at 0, by somebody else", 0, nil, scaling.Plan{}, nil, nil},
		{"at 0, and scaled up now", 0, ptr.To[int32](10), to(10), at, nil},
		{"replicas again", 10, nil, scaling.Plan{}, at, nil},
		{"no longer wanted", 1, nil, scaling.Plan{}, at, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := &Observation{Now: noon, QueueScaler: &capacityv1alpha1.QueueScaler{}, Target: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &c.cached}}}
			seen.QueueScaler.Status.ScaledToZeroTime = c.was
			if diff := cmp.Diff(c.want, scaledToZero(seen, &Decision{Plan: c.plan}, &Outcome{Replicas: c.live})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The target was stable, a backlog came: a person reads one line.
func TestDiagnosis(t *testing.T) {
	target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "availability"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](12)}, Status: appsv1.DeploymentStatus{AvailableReplicas: 12}}
	freshly := []queue.Sample{{Name: "q", Quality: queue.Fresh, Reading: &queue.Reading{Time: noon, Depth: 2400}}}
	old := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"pod-template-hash": "old"}, Annotations: map[string]string{"deployment.kubernetes.io/revision": "6"}}}
	stuck := rollout.Assessment{State: rollout.Stuck, SettledHash: "old", Message: "revision 7 stuck"}
	surge := scaling.Plan{Desired: ptr.To[int32](17), Replicas: ptr.To[int32](17), Message: "12 → 17"}
	back := rollout.Assessment{State: rollout.RollingBack, Message: "rolling back to an earlier template for 3 s"}
	bound := scaling.Plan{Desired: ptr.To[int32](12), ObjectiveMet: scaling.Finding{Status: "False"},
		Limited: scaling.Finding{Status: "True", Reason: capacityv1alpha1.ReasonTooManyReplicas, Message: "30 wanted, maxReplicas is 12; raise maxReplicas to at least 30"}}
	for _, c := range []struct {
		name   string
		seen   Observation
		d      Decision
		cause  capacityv1alpha1.Cause
		advice string
		says   string
	}{
		{"calm", Observation{Target: target, Samples: freshly}, Decision{Plan: scaling.Plan{Desired: ptr.To[int32](12)}},
			capacityv1alpha1.CauseHealthy, "", ""},
		{"a surge", Observation{Target: target, Samples: freshly}, Decision{Plan: surge},
			capacityv1alpha1.CauseDemandSurge, "ScalingUp", "12 → 17"},
		{"a surge in a rollout", Observation{Target: target, Samples: freshly}, Decision{Plan: scaling.Plan{Desired: ptr.To[int32](17), Held: true}},
			capacityv1alpha1.CauseDemandSurge, "Wait", ""},
		{"more wanted than there are partitions", Observation{Target: target, Samples: freshly}, Decision{Plan: scaling.Plan{Desired: ptr.To[int32](12),
			Limited:      scaling.Finding{Status: "True", Reason: capacityv1alpha1.ReasonTooFewPartitions, Message: "17 wanted, 12 partitions keep at most 12 replicas busy; add partitions"},
			ObjectiveMet: scaling.Finding{Status: "False"}}},
			capacityv1alpha1.CauseDemandSurge, "CheckQueue", "add partitions"},
		{"more wanted than may be", Observation{Target: target, Samples: freshly}, Decision{Plan: bound},
			capacityv1alpha1.CauseDemandSurge, "RaiseMaxReplicas", "raise maxReplicas to at least 30"},
		{"more wanted by the revision that is rolled back", Observation{Target: target, Samples: freshly, Assessment: back}, Decision{Plan: bound},
			capacityv1alpha1.CauseDemandSurge, "Wait", "rolling back to an earlier template for 3 s. How many"},
		{"a stuck rollout", Observation{Target: target, Samples: freshly, Assessment: stuck, ReplicaSets: []*appsv1.ReplicaSet{old}}, Decision{Plan: surge},
			capacityv1alpha1.CauseRolloutStuck, "RollBack:6", "kubectl rollout undo deployment/availability --to-revision=6"},
		{"a rollout stuck for want of nodes blames no revision", Observation{Target: target, Samples: freshly, Assessment: stuck, Trouble: PodTrouble{Cluster: true, Message: "no nodes"}}, Decision{Plan: surge},
			capacityv1alpha1.CauseCapacityMissing, "CheckCluster", "no nodes"},
		{"no data", Observation{Target: target, Samples: []queue.Sample{{Name: "q", Quality: queue.Unavailable, Reason: capacityv1alpha1.ReasonQueueTimeout, Message: "no answer.", SharedBy: 38, ServerWide: true}}}, Decision{Plan: surge},
			capacityv1alpha1.CauseDataUnavailable, "CheckQueue", "queue q: no answer. 12 replicas kept: without fresh readings nothing scales down. 38 other QueueScalers affected."},
		{"stalled", Observation{Target: target, Samples: freshly}, Decision{Plan: surge, stalledSince: noon.Add(-6 * time.Minute)},
			capacityv1alpha1.CauseConsumersStalled, "CheckConsumers", "11:54:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.seen.Now, c.seen.QueueScaler = noon, &capacityv1alpha1.QueueScaler{}
			got := diagnose(&c.seen, &c.d, &Memory{})
			if got.Cause != c.cause || got.Advice != c.advice || !strings.Contains(got.Message, c.says) {
				t.Errorf("got %s, %q: %s", got.Cause, got.Advice, got.Message)
			}
		})
	}
}

// Pods that have just come into service tell little of what a revision does; a few of them do no harm.
func TestManyYoungPodsAreNoEvidence(t *testing.T) {
	type change struct {
		after     time.Duration
		available int32
	}
	for _, c := range []struct {
		name    string
		changes []change
		at      time.Duration
		want    bool
	}{
		{"none came", nil, 0, false},
		{"a third, just now", []change{{time.Minute, 60}}, time.Minute, true},
		{"a third, 59 s ago", []change{{time.Minute, 60}}, 119 * time.Second, true},
		{"a third, a minute ago, and they took long to start", []change{{time.Minute, 60}}, 2 * time.Minute, false},
		{"a few, just now", []change{{time.Minute, 44}}, time.Minute, false},
		{"one by one, and many in all", []change{{61 * time.Second, 41}, {62 * time.Second, 42}, {63 * time.Second, 43}, {64 * time.Second, 44},
			{65 * time.Second, 45}, {66 * time.Second, 46}, {67 * time.Second, 47}, {68 * time.Second, 48}, {69 * time.Second, 49}, {70 * time.Second, 50}}, 75 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			look := func(after time.Duration, asked, available int32) *Observation {
				return &Observation{Now: noon.Add(after), Target: &appsv1.Deployment{
					Spec: appsv1.DeploymentSpec{Replicas: &asked}, Status: appsv1.DeploymentStatus{AvailableReplicas: available}}}
			}
			g := growth{}.next(look(-time.Minute, 40, 40))
			g = g.next(look(0, 60, 40))
			for _, change := range c.changes {
				g = g.next(look(change.after, 60, change.available))
			}
			if got := g.young(noon.Add(c.at), time.Minute); got != c.want {
				t.Errorf("young: %v, want %v", got, c.want)
			}
		})
	}
}

// Readings of a queue that is quiet bring nobody back. Until the rates are those of a quiet queue, too many replicas may be there.
func TestLooksAgainUntilAllIsAtRest(t *testing.T) {
	quiet := scaling.Queue{Fresh: true, QuietSince: noon.Add(-time.Second), Arrival: new(0.0), Throughput: new(0.0)}
	for _, c := range []struct {
		name   string
		change func(*scaling.Queue, *Decision, *Outcome)
		want   time.Duration
	}{
		{"all is at rest", func(*scaling.Queue, *Decision, *Outcome) {}, 0},
		{"rates are not known", func(q *scaling.Queue, _ *Decision, _ *Outcome) { q.Arrival, q.Throughput = nil, nil }, 0},
		{"it is not quiet", func(q *scaling.Queue, _ *Decision, _ *Outcome) { q.QuietSince = time.Time{} }, lookAgain},
		{"much arrived, a minute ago", func(q *scaling.Queue, _ *Decision, _ *Outcome) { q.Arrival = new(89.7) }, lookAgain},
		{"much was completed, just now", func(q *scaling.Queue, _ *Decision, _ *Outcome) { q.Throughput = new(161.0) }, lookAgain},
		{"replicas are on their way", func(_ *scaling.Queue, d *Decision, _ *Outcome) { d.Plan.Desired = ptr.To(int32(5)) }, lookAgain},
		{"slots are lent", func(_ *scaling.Queue, d *Decision, _ *Outcome) { d.Pool.Counts.Lent = 1 }, lookAgain},
		{"numbers were written a second ago", func(_ *scaling.Queue, _ *Decision, done *Outcome) { done.NumbersIn = 4 * time.Second }, 4 * time.Second},
		{"something was done", func(_ *scaling.Queue, _ *Decision, done *Outcome) { done.Wrote = true }, lookAgain},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, d, done := quiet, &Decision{Plan: scaling.Plan{Desired: ptr.To(int32(4))}}, &Outcome{}
			c.change(&q, d, done)
			d.Input.Queues = []scaling.Queue{q}
			seen := &Observation{Now: noon, QueueScaler: &capacityv1alpha1.QueueScaler{},
				Target: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(4))}, Status: appsv1.DeploymentStatus{AvailableReplicas: 4}}}
			if got := d.Again(seen, done); got != c.want {
				t.Errorf("again after %s, want %s", got, c.want)
			}
		})
	}
}

// A lent slot whose process does not work yet is no replica that does little.
func TestWhoServes(t *testing.T) {
	lent := func(change func(*standby.Slot)) standby.Slot {
		s := standby.Slot{State: standby.Lent, Revision: "a", Gate: capacityv1alpha1.GatePrepared}
		change(&s)
		return s
	}
	for _, c := range []struct {
		name             string
		slot             standby.Slot
		replicas, others int32
	}{
		{"lent", lent(func(*standby.Slot) {}), 5, 0},
		{"lent, of another revision", lent(func(s *standby.Slot) { s.Revision = "b" }), 4, 1},
		{"lent, and it does not see that yet", lent(func(s *standby.Slot) { s.Waiting = true }), 4, 0},
		{"lent, and its process begins", lent(func(s *standby.Slot) { s.Beginning = true }), 4, 0},
		{"warm", lent(func(s *standby.Slot) { s.State, s.Waiting = standby.Warm, true }), 4, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := &Observation{
				Now: noon, QueueScaler: &capacityv1alpha1.QueueScaler{}, Slots: []standby.Slot{c.slot},
				Target:     &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 4}},
				Assessment: rollout.Assessment{New: rollout.Revision{Hash: "a"}},
			}
			got := serving(seen, &Memory{})
			if got.Replicas != c.replicas || got.Others != c.others {
				t.Errorf("%d replicas and %d of other revisions serve, want %d and %d", got.Replicas, got.Others, c.replicas, c.others)
			}
		})
	}
}
