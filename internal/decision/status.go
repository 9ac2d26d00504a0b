// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// numbersEvery is how often status is written at most for changed numbers alone.
const numbersEvery = 5 * time.Second

// StatusOf is the whole status of one reconcile, made from what was observed, decided and done.
func StatusOf(seen *Observation, d *Decision, done *Outcome, s *Memory) capacityv1alpha1.QueueScalerStatus {
	old := &seen.QueueScaler.Status
	status := capacityv1alpha1.QueueScalerStatus{
		ObservedGeneration: seen.QueueScaler.Generation,
		DesiredReplicas:    d.Plan.Desired,
		Backlog:            backlogOf(seen, d),
		Standby:            standbyOf(seen, d, s),
		Rollout:            rolloutOf(seen, s),
		LastScaleTime:      StatusTime(s.LastScale),
		ScaledToZeroTime:   scaledToZero(seen, d, done),
	}
	if seen.Target != nil {
		status.AvailableReplicas = ptr.To(seen.Target.Status.AvailableReplicas)
	}
	status.Decision = decisionOf(seen, d, old.Decision)
	status.Diagnosis = diagnose(seen, d, s)
	if was := old.Diagnosis; was != nil && status.Diagnosis != nil && was.Cause == status.Diagnosis.Cause {
		status.Diagnosis.Since = was.Since
	}
	status.Summary = summaryOf(seen, d, status.Diagnosis)
	status.Conditions = conditionsOf(seen, d, done, s, old.Conditions)
	status.Revisions = ledgerStatus(&s.Ledger, old.Revisions)
	status.Calibration = calibrationStatus(s)
	status.Driver = driverStatus(seen)
	return status
}

// scaledToZero is the intent to set the target to 0, from before that is done until the target has replicas again.
func scaledToZero(seen *Observation, d *Decision, done *Outcome) *metav1.Time {
	if seen.Target == nil {
		return nil
	}
	was := seen.QueueScaler.Status.ScaledToZeroTime
	switch wanted := d.Plan.Replicas != nil && *d.Plan.Replicas == 0; {
	case ptr.Deref(done.Replicas, ReplicasOf(seen.Target)) == 0, was != nil && wanted:
		return was
	case wanted:
		return StatusTime(seen.Now)
	}
	return nil
}

// WorthWriting reports whether the new status differs from the old, which was written at writtenAt, in more than numbers, or in numbers that
// may be written now.
func WorthWriting(old, status *capacityv1alpha1.QueueScalerStatus, now, writtenAt time.Time) bool {
	if apiequality.Semantic.DeepEqual(old, status) {
		return false
	}
	if now.Before(writtenAt) || now.Sub(writtenAt) >= numbersEvery {
		return true
	}
	return !apiequality.Semantic.DeepEqual(withoutNumbers(old), withoutNumbers(status))
}

// NumbersIn is how long until numbers that changed may be written, while they are not; 0: status has them. When they were read does not count:
// that changes with every reading.
func NumbersIn(old, status *capacityv1alpha1.QueueScalerStatus, now, writtenAt time.Time) time.Duration {
	of := func(s *capacityv1alpha1.QueueScalerStatus) capacityv1alpha1.QueueScalerStatus {
		numbers := capacityv1alpha1.QueueScalerStatus{AvailableReplicas: s.AvailableReplicas, Backlog: s.Backlog.DeepCopy()}
		if numbers.Backlog != nil {
			numbers.Backlog.SampledAt = nil
		}
		return numbers
	}
	if apiequality.Semantic.DeepEqual(of(old), of(status)) {
		return 0
	}
	return numbersEvery - now.Sub(writtenAt)
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
	if s.Driver != nil {
		s.Driver.Message = ""
	}
	return s
}

func backlogOf(seen *Observation, d *Decision) *capacityv1alpha1.BacklogStatus {
	var total, inFlight int64
	var sampled time.Time
	knowsInFlight := true
	for _, sample := range seen.Samples {
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
	if len(seen.Samples) == 0 {
		return nil
	}
	b := &capacityv1alpha1.BacklogStatus{
		Messages:            &total,
		ArrivalPerSecond:    decimal(d.Arrival),
		ThroughputPerSecond: decimal(d.Throughput),
		SampledAt:           StatusTime(sampled),
	}
	if total == 0 && inFlight == 0 && seen.QueueScaler.Status.Backlog != nil && ptr.Deref(seen.QueueScaler.Status.Backlog.Messages, -1) == 0 {
		// An idle queue is sampled again and again; that alone is nothing to write about.
		b.SampledAt = seen.QueueScaler.Status.Backlog.SampledAt
	}
	if knowsInFlight {
		b.InFlight = &inFlight
	}
	if rate := d.Input.Rate; rate.PerReplica > 0 {
		b.ServicePerReplica = decimal(&rate.PerReplica)
		b.ServiceRateKnown = capacityv1alpha1.ServiceRateKnowledge(rate.Known)
	}
	switch {
	case d.Plan.DrainNever:
		b.Drain = "never"
	case d.Plan.DrainSeconds != nil:
		b.DrainSeconds = ptr.To(int64(math.Ceil(min(*d.Plan.DrainSeconds, 1e9))))
		b.Drain = briefly(time.Duration(*b.DrainSeconds) * time.Second)
	}
	return b
}

func standbyOf(seen *Observation, d *Decision, s *Memory) *capacityv1alpha1.StandbyStatus {
	if !WantsPool(&seen.QueueScaler.Spec) && len(seen.Slots) == 0 {
		return nil
	}
	status := &capacityv1alpha1.StandbyStatus{
		Warm:         &d.Pool.Counts.Warm,
		Lent:         &d.Pool.Counts.Lent,
		Starting:     &d.Pool.Counts.Starting,
		TemplateHash: s.PoolRevision(),
		Revision:     RevisionNumber(seen, s.PoolRevision()),
		Pending:      d.Pool.Pending,
		RefillAfter:  StatusTime(d.Pool.RefillAfter),
	}
	return status
}

func rolloutOf(seen *Observation, s *Memory) *capacityv1alpha1.RolloutStatus {
	if seen.Target == nil {
		if s.Rollout.UID == "" {
			return nil
		}
		return &capacityv1alpha1.RolloutStatus{Memory: s.memoryStatus()}
	}
	a := seen.Assessment
	status := &capacityv1alpha1.RolloutStatus{
		State:    capacityv1alpha1.RolloutState(a.State),
		Revision: a.New.Number,
		Since:    StatusTime(a.Since),
		Memory:   s.memoryStatus(),
	}
	if a.InProgress() {
		status.HeldReplicas = ptr.To(ReplicasOf(seen.Target))
	}
	return status
}

func decisionOf(seen *Observation, d *Decision, old *capacityv1alpha1.Decision) *capacityv1alpha1.Decision {
	decision := &capacityv1alpha1.Decision{Reason: d.Plan.Reason, Message: d.Plan.Message, Time: StatusTime(seen.Now)}
	if d.Plan.Replicas != nil {
		decision.Replicas = d.Plan.Replicas
	} else if seen.Target != nil {
		decision.Replicas = ptr.To(ReplicasOf(seen.Target))
	}
	if old != nil && old.Reason == decision.Reason && ptr.Equal(old.Replicas, decision.Replicas) {
		decision.Time = old.Time
	}
	return decision
}

// summaryOf is the first true of the words of `kubectl get qs`.
func summaryOf(seen *Observation, d *Decision, diagnosis *capacityv1alpha1.Diagnosis) capacityv1alpha1.Summary {
	isSuspended, _ := Suspended(&seen.QueueScaler.Spec, seen.Now)
	switch {
	case seen.Conflict != "":
		return capacityv1alpha1.SummaryConflict
	case seen.Target == nil, !fresh(seen.Samples):
		return capacityv1alpha1.SummaryNoData
	case diagnosis != nil && (diagnosis.Cause == capacityv1alpha1.CauseThroughputRegressed || inflated(diagnosis)):
		return capacityv1alpha1.SummaryRegressed
	case diagnosis != nil && diagnosis.Cause == capacityv1alpha1.CauseRolloutStuck:
		return capacityv1alpha1.SummaryStuck
	case d.Plan.Held:
		return capacityv1alpha1.SummaryHeld
	case d.Plan.Limited.Status == metav1.ConditionTrue && LimitsGrowth(d.Plan.Limited.Reason):
		return capacityv1alpha1.SummaryLimited
	case d.Pool.Counts.Lent > 0:
		return capacityv1alpha1.SummaryLending
	case d.Plan.Replicas != nil, scalingNow(seen):
		return capacityv1alpha1.SummaryScaling
	case isSuspended:
		return capacityv1alpha1.SummarySuspended
	}
	return capacityv1alpha1.SummaryHealthy
}

// LimitsGrowth reports whether a reason of ScalingLimited says that there may not be more replicas; it is false for minReplicas and behavior, which bind on calm days too.
func LimitsGrowth(reason string) bool {
	return reason == capacityv1alpha1.ReasonTooManyReplicas || reason == capacityv1alpha1.ReasonTooFewPartitions
}

func scalingNow(seen *Observation) bool {
	return seen.Assessment.State == "Scaling" || seen.Target.Status.AvailableReplicas < ReplicasOf(seen.Target)
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

// RevisionNumber is the number of a revision: by the Deployment's history, or as it was when its template was kept; 0 where
// it is not known.
func RevisionNumber(seen *Observation, hash string) int64 {
	if n := numberInHistory(seen, hash); n > 0 {
		return n
	}
	for _, cr := range seen.Revisions {
		if hash != "" && cr.Labels[capacityv1alpha1.LabelRevision] == hash {
			return cr.Revision
		}
	}
	return 0
}

func numberOf(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations["deployment.kubernetes.io/revision"], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// conditionsOf carries the old conditions on, so that a transition keeps its time.
func conditionsOf(seen *Observation, d *Decision, done *Outcome, s *Memory, old []metav1.Condition) []metav1.Condition {
	conditions := slices.Clone(old)
	set := func(kind string, f scaling.Finding) {
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type: kind, Status: f.Status, Reason: f.Reason, Message: Clip(f.Message, 1024),
			ObservedGeneration: seen.QueueScaler.Generation, LastTransitionTime: metav1.NewTime(seen.Now),
		})
	}
	set(capacityv1alpha1.ConditionReady, ready(seen, d, done))
	set(capacityv1alpha1.ConditionAbleToScale, ableToScale(d, done))
	set(capacityv1alpha1.ConditionScalingActive, scalingActive(seen, d))
	set(capacityv1alpha1.ConditionScalingLimited, d.Plan.Limited)
	set(capacityv1alpha1.ConditionRolloutInProgress, rolloutInProgress(seen))
	set(capacityv1alpha1.ConditionStandbyReady, standbyReady(seen, d))
	set(capacityv1alpha1.ConditionObjectiveMet, d.Plan.ObjectiveMet)
	set(capacityv1alpha1.ConditionThroughputRegressed, throughputRegressed(seen, d, s))
	set(capacityv1alpha1.ConditionRollbackAdvised, rollbackAdvised(seen, d, s))
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

// Clip bounds a message to what the API accepts.
func Clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}

// TimeOf is a time of status; zero where there is none.
func TimeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// StatusTime has a grain of a second, as the API stores it, so that what was written equals what is read back.
func StatusTime(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return ptr.To(metav1.NewTime(t.Truncate(time.Second)))
}
