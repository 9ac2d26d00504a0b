// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/metrics"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// numbersEvery is how often status is written at most for changed numbers alone.
const numbersEvery = 5 * time.Second

// statusOf is the whole status of one reconcile, made from what was observed, decided and done.
func statusOf(seen *observed, d *decided, done *acted, s *scaler) capacityv1alpha1.QueueScalerStatus {
	old := &seen.qs.Status
	status := capacityv1alpha1.QueueScalerStatus{
		ObservedGeneration: seen.qs.Generation,
		DesiredReplicas:    d.plan.Desired,
		Backlog:            backlogOf(seen, d),
		Standby:            standbyOf(seen, d, s),
		Rollout:            rolloutOf(seen, s),
		LastScaleTime:      statusTime(s.lastScale),
		ScaledToZeroTime:   scaledToZero(seen, d, done),
	}
	if seen.target != nil {
		status.AvailableReplicas = ptr.To(seen.target.Status.AvailableReplicas)
	}
	status.Decision = decisionOf(seen, d, old.Decision)
	status.Diagnosis = diagnose(seen, d)
	if was := old.Diagnosis; was != nil && status.Diagnosis != nil && was.Cause == status.Diagnosis.Cause {
		status.Diagnosis.Since = was.Since
	}
	status.Summary = summaryOf(seen, d, status.Diagnosis)
	status.Conditions = conditionsOf(seen, d, done, old.Conditions)
	return status
}

// scaledToZero is the intent to set the target to 0, from before that is done until the target has replicas again.
func scaledToZero(seen *observed, d *decided, done *acted) *metav1.Time {
	if seen.target == nil {
		return nil
	}
	was := seen.qs.Status.ScaledToZeroTime
	switch wanted := d.plan.Replicas != nil && *d.plan.Replicas == 0; {
	case ptr.Deref(done.replicas, replicasOf(seen.target)) == 0, was != nil && wanted:
		return was
	case wanted:
		return statusTime(seen.now)
	}
	return nil
}

// worthWriting reports whether the new status differs from the old in more than numbers, or in numbers that may be written now.
func worthWriting(old, status *capacityv1alpha1.QueueScalerStatus, now, numbersAt time.Time) bool {
	if apiequality.Semantic.DeepEqual(old, status) {
		return false
	}
	if now.Before(numbersAt) || now.Sub(numbersAt) >= numbersEvery {
		return true
	}
	return !apiequality.Semantic.DeepEqual(withoutNumbers(old), withoutNumbers(status))
}

// withoutNumbers drops what changes with every reading: rounded numbers, and messages that carry them.
func withoutNumbers(status *capacityv1alpha1.QueueScalerStatus) *capacityv1alpha1.QueueScalerStatus {
	s := status.DeepCopy()
	s.Backlog, s.AvailableReplicas = nil, nil
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	if s.Decision != nil {
		s.Decision.Message, s.Decision.Time = "", nil
	}
	if s.Diagnosis != nil {
		s.Diagnosis.Message = ""
	}
	return s
}

func backlogOf(seen *observed, d *decided) *capacityv1alpha1.BacklogStatus {
	var total, inFlight int64
	var sampled time.Time
	knowsInFlight := true
	for _, sample := range seen.samples {
		if sample.Quality != queue.Fresh {
			return nil
		}
		total += sample.Reading.Depth
		if sample.Reading.InFlight == nil {
			knowsInFlight = false
		} else {
			inFlight += *sample.Reading.InFlight
		}
		if sampled.IsZero() || sample.Reading.Time.Before(sampled) {
			sampled = sample.Reading.Time
		}
	}
	if len(seen.samples) == 0 {
		return nil
	}
	b := &capacityv1alpha1.BacklogStatus{
		Messages:            &total,
		ArrivalPerSecond:    decimal(d.arrival),
		ThroughputPerSecond: decimal(d.throughput),
		SampledAt:           statusTime(sampled),
	}
	if total == 0 && inFlight == 0 && seen.qs.Status.Backlog != nil && ptr.Deref(seen.qs.Status.Backlog.Messages, -1) == 0 {
		// An idle queue is sampled again and again; that alone is nothing to write about.
		b.SampledAt = seen.qs.Status.Backlog.SampledAt
	}
	if knowsInFlight {
		b.InFlight = &inFlight
	}
	if rate := d.input.Rate; rate.PerReplica > 0 {
		b.ServicePerReplica = decimal(&rate.PerReplica)
		b.ServiceRateKnown = capacityv1alpha1.ServiceRateKnowledge(rate.Known)
	}
	switch {
	case d.plan.DrainNever:
		b.Drain = "never"
	case d.plan.DrainSeconds != nil:
		b.DrainSeconds = ptr.To(int64(math.Ceil(min(*d.plan.DrainSeconds, 1e9))))
		b.Drain = briefly(time.Duration(*b.DrainSeconds) * time.Second)
	}
	return b
}

func standbyOf(seen *observed, d *decided, s *scaler) *capacityv1alpha1.StandbyStatus {
	if !wantsPool(&seen.qs.Spec) && len(seen.slots) == 0 {
		return nil
	}
	status := &capacityv1alpha1.StandbyStatus{
		Warm:         &d.pool.Counts.Warm,
		Lent:         &d.pool.Counts.Lent,
		Starting:     &d.pool.Counts.Starting,
		TemplateHash: s.soak.SoakedHash,
		Revision:     revisionNumber(seen, s.soak.SoakedHash),
		Pending:      d.pool.Pending,
		RefillAfter:  statusTime(d.pool.RefillAfter),
	}
	return status
}

func rolloutOf(seen *observed, s *scaler) *capacityv1alpha1.RolloutStatus {
	if seen.target == nil {
		if s.rollout.UID == "" {
			return nil
		}
		return &capacityv1alpha1.RolloutStatus{Memory: s.memoryStatus()}
	}
	a := seen.assessment
	status := &capacityv1alpha1.RolloutStatus{
		State:    capacityv1alpha1.RolloutState(a.State),
		Revision: a.New.Number,
		Since:    statusTime(a.Since),
		Memory:   s.memoryStatus(),
	}
	if a.InProgress() {
		status.HeldReplicas = ptr.To(replicasOf(seen.target))
	}
	return status
}

func decisionOf(seen *observed, d *decided, old *capacityv1alpha1.Decision) *capacityv1alpha1.Decision {
	decision := &capacityv1alpha1.Decision{Reason: d.plan.Reason, Message: d.plan.Message, Time: statusTime(seen.now)}
	if d.plan.Replicas != nil {
		decision.Replicas = d.plan.Replicas
	} else if seen.target != nil {
		decision.Replicas = ptr.To(replicasOf(seen.target))
	}
	if old != nil && old.Reason == decision.Reason && ptr.Equal(old.Replicas, decision.Replicas) {
		decision.Time = old.Time
	}
	return decision
}

// summaryOf is the first true of the words of `kubectl get qs`.
func summaryOf(seen *observed, d *decided, diagnosis *capacityv1alpha1.Diagnosis) capacityv1alpha1.Summary {
	isSuspended, _ := suspended(&seen.qs.Spec, seen.now)
	switch {
	case seen.conflict != "":
		return capacityv1alpha1.SummaryConflict
	case seen.target == nil, !fresh(seen.samples):
		return capacityv1alpha1.SummaryNoData
	case diagnosis != nil && diagnosis.Cause == capacityv1alpha1.CauseRolloutStuck:
		return capacityv1alpha1.SummaryStuck
	case d.plan.Held:
		return capacityv1alpha1.SummaryHeld
	case d.plan.Limited.Status == metav1.ConditionTrue && d.plan.Limited.Reason == capacityv1alpha1.ReasonTooManyReplicas:
		return capacityv1alpha1.SummaryLimited
	case d.pool.Counts.Lent > 0:
		return capacityv1alpha1.SummaryLending
	case d.plan.Replicas != nil, scalingNow(seen):
		return capacityv1alpha1.SummaryScaling
	case isSuspended:
		return capacityv1alpha1.SummarySuspended
	}
	return capacityv1alpha1.SummaryHealthy
}

func scalingNow(seen *observed) bool {
	return seen.assessment.State == "Scaling" || seen.target.Status.AvailableReplicas < replicasOf(seen.target)
}

// fresh reports whether every queue has a reading that may be decided upon.
func fresh(samples []queue.Sample) bool {
	for _, sample := range samples {
		if sample.Quality != queue.Fresh {
			return false
		}
	}
	return len(samples) > 0
}

func revisionNumber(seen *observed, hash string) int64 {
	for _, rs := range seen.replicaSets {
		if hash != "" && rs.Labels["pod-template-hash"] == hash {
			n, err := strconv.ParseInt(rs.Annotations["deployment.kubernetes.io/revision"], 10, 64)
			if err == nil {
				return n
			}
		}
	}
	for _, cr := range seen.revisions {
		if _, number, err := standby.TemplateOf(cr); err == nil && hash != "" && cr.Labels[capacityv1alpha1.LabelRevision] == hash {
			return number
		}
	}
	return 0
}

// conditionsOf carries the old conditions on, so that a transition keeps its time.
func conditionsOf(seen *observed, d *decided, done *acted, old []metav1.Condition) []metav1.Condition {
	conditions := slices.Clone(old)
	set := func(kind string, f scaling.Finding) {
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type: kind, Status: f.Status, Reason: f.Reason, Message: clip(f.Message, 1024),
			ObservedGeneration: seen.qs.Generation, LastTransitionTime: metav1.NewTime(seen.now),
		})
	}
	set(capacityv1alpha1.ConditionReady, ready(seen, d, done))
	set(capacityv1alpha1.ConditionAbleToScale, ableToScale(d, done))
	set(capacityv1alpha1.ConditionScalingActive, scalingActive(seen, d))
	set(capacityv1alpha1.ConditionScalingLimited, d.plan.Limited)
	set(capacityv1alpha1.ConditionRolloutInProgress, rolloutInProgress(seen))
	set(capacityv1alpha1.ConditionStandbyReady, standbyReady(seen, d))
	set(capacityv1alpha1.ConditionObjectiveMet, d.plan.ObjectiveMet)
	set(capacityv1alpha1.ConditionRollbackAdvised, rollbackAdvised(seen))
	return conditions
}

// decimal rounds to three significant digits; empty for what is not known.
func decimal(v *float64) string {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return ""
	}
	if *v >= 100 {
		return strconv.FormatFloat(math.Round(*v), 'f', 0, 64)
	}
	digits := 2
	if *v >= 10 {
		digits = 1
	}
	return strconv.FormatFloat(math.Round(*v*math.Pow10(digits))/math.Pow10(digits), 'f', -1, 64)
}

// briefly writes a duration in one unit, as kubectl's columns do.
func briefly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	}
	return strconv.Itoa(int(d.Hours())) + "h"
}

// clip bounds a message to what the API accepts.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// statusTime has a grain of a second, as the API stores it, so that what was written equals what is read back.
func statusTime(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return ptr.To(metav1.NewTime(t.Truncate(time.Second)))
}

// snapshotOf is the status as metrics.
func snapshotOf(seen *observed, d *decided, status *capacityv1alpha1.QueueScalerStatus) metrics.Snapshot {
	s := metrics.Snapshot{
		Arrival: d.arrival, Throughput: d.throughput, Desired: d.plan.Desired,
		RolloutInProgress: seen.assessment.InProgress(), Held: d.plan.Held,
		Fresh: make(map[string]bool, len(seen.samples)),
	}
	if status.Backlog != nil {
		s.Backlog = ptr.To(float64(*status.Backlog.Messages))
		s.Drain = d.plan.DrainSeconds
		if d.plan.DrainNever {
			s.Drain = ptr.To(math.Inf(1))
		}
	}
	if seen.target != nil {
		s.Target, s.Available = replicasOf(seen.target), seen.target.Status.AvailableReplicas
	}
	if status.Standby != nil {
		s.Warm, s.Lent, s.Starting = status.Standby.Warm, status.Standby.Lent, status.Standby.Starting
	}
	for _, sample := range seen.samples {
		s.Fresh[sample.Name] = sample.Quality == queue.Fresh
	}
	return s
}

// told are the conditions whose turning is an event, with the status that is bad news.
var told = []struct {
	condition string
	bad       metav1.ConditionStatus
}{
	{capacityv1alpha1.ConditionReady, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionAbleToScale, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionScalingActive, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionScalingLimited, ""},
	{capacityv1alpha1.ConditionRolloutInProgress, ""},
	{capacityv1alpha1.ConditionStandbyReady, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionObjectiveMet, metav1.ConditionFalse},
	{capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionTrue},
}

// turnedOf are events for the conditions that turned. A first sight is no transition, unless it is bad news.
func turnedOf(old, status *capacityv1alpha1.QueueScalerStatus) []event {
	var events []event
	for _, t := range told {
		is, was := meta.FindStatusCondition(status.Conditions, t.condition), meta.FindStatusCondition(old.Conditions, t.condition)
		if is == nil || is.Status == metav1.ConditionUnknown || (was != nil && was.Status == is.Status && (was.Reason == is.Reason || is.Status != t.bad)) {
			continue
		}
		if is.Type == capacityv1alpha1.ConditionScalingLimited && is.Reason != capacityv1alpha1.ReasonTooManyReplicas {
			continue // minReplicas binds whenever it is calm
		}
		kind := corev1.EventTypeNormal
		if is.Status == t.bad {
			kind = corev1.EventTypeWarning
		} else if was == nil || was.Status == metav1.ConditionUnknown {
			continue
		}
		events = append(events, turned(kind, is.Reason, is.Type+": "+is.Message))
	}
	return events
}
