// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// QueueScalerStatus is what a QueueScaler observed, decided and did last. What is not known is absent.
//
// +kubebuilder:validation:MinProperties=1
type QueueScalerStatus struct {
	// conditions are Ready, AbleToScale, ScalingActive, ScalingLimited, RolloutInProgress, StandbyReady, ObjectiveMet, ThroughputRegressed and RollbackAdvised.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// summary is the first true of Conflict, NoData, Regressed, Stuck, Held, Limited, Lending, Scaling, Suspended, Healthy.
	// +optional
	Summary Summary `json:"summary,omitempty"`
	// desiredReplicas is the number of replicas that was decided, after stabilization, minReplicas and maxReplicas, and holds apart.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DesiredReplicas *int32 `json:"desiredReplicas,omitempty"`
	// availableReplicas are the pods of the target that count as available, lent slots not included.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AvailableReplicas *int32 `json:"availableReplicas,omitempty"`
	// lastScaleTime is when the QueueScaler last wrote the target's replicas.
	// +optional
	LastScaleTime *metav1.Time `json:"lastScaleTime,omitempty"`
	// scaledToZeroTime is when the QueueScaler decided to set the target to 0. It is stored before that is done, and goes when the target has replicas again:
	// by it, a 0 of the QueueScaler's own is told from one that somebody else set.
	// +optional
	ScaledToZeroTime *metav1.Time `json:"scaledToZeroTime,omitempty"`
	// backlog is what the queues told last, all of them together. Absent while no reading is fresh.
	// +optional
	Backlog *BacklogStatus `json:"backlog,omitempty"`
	// standby is the pool of slots. Absent without a pool.
	// +optional
	Standby *StandbyStatus `json:"standby,omitempty"`
	// rollout is what is known of the target's rollout, and the memory by which one is told from scaling.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// diagnosis is what is going on, and what to do about it.
	// +optional
	Diagnosis *Diagnosis `json:"diagnosis,omitempty"`
	// decision is the last decision, with its reason and numbers.
	// +optional
	Decision *Decision `json:"decision,omitempty"`
	// revisions are the ledger: what each revision of the target was seen to do, the oldest first.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Revisions []RevisionStatus `json:"revisions,omitempty"`
	// driver tells whether spec.driver can be read. Absent without a driver.
	// +optional
	Driver *DriverStatus `json:"driver,omitempty"`
	// calibration is what came of trying with fewer replicas while no service rate was known. Absent where that was never done.
	// +optional
	Calibration *CalibrationStatus `json:"calibration,omitempty"`
}

// Summary is the state of a QueueScaler in one word.
//
// +kubebuilder:validation:Enum=Conflict;NoData;Regressed;Stuck;Held;Limited;Lending;Scaling;Suspended;Healthy
type Summary string

const (
	// SummaryConflict means another autoscaler acts on the target.
	SummaryConflict Summary = "Conflict"
	// SummaryNoData means no queue can be read.
	SummaryNoData Summary = "NoData"
	// SummaryRegressed means that the present revision does less per replica than the known-good one, or makes more work.
	SummaryRegressed Summary = "Regressed"
	// SummaryStuck means a rollout of the target makes no progress.
	SummaryStuck Summary = "Stuck"
	// SummaryHeld means that the target's replicas are wanted to change and are left alone.
	SummaryHeld Summary = "Held"
	// SummaryLimited means that more replicas are wanted than maxReplicas.
	SummaryLimited Summary = "Limited"
	// SummaryLending means that slots are in service.
	SummaryLending Summary = "Lending"
	// SummaryScaling means that the target is on its way to the desired number.
	SummaryScaling Summary = "Scaling"
	// SummarySuspended means that mode is Suspended.
	SummarySuspended Summary = "Suspended"
	// SummaryHealthy means none of the others.
	SummaryHealthy Summary = "Healthy"
)

// BacklogStatus is what the queues told last, all of them together. Numbers are rounded.
//
// +kubebuilder:validation:MinProperties=0
type BacklogStatus struct {
	// messages waiting, not yet taken by a consumer.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Messages *int64 `json:"messages,omitempty"`
	// inFlight messages, taken and not yet completed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	InFlight *int64 `json:"inFlight,omitempty"`
	// arrivalPerSecond is the rate at which messages enter, as a decimal.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	ArrivalPerSecond string `json:"arrivalPerSecond,omitempty"`
	// throughputPerSecond is the rate at which messages are completed by all replicas, as a decimal.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	ThroughputPerSecond string `json:"throughputPerSecond,omitempty"`
	// servicePerReplica is what one replica completes per second while it always has work, as a decimal.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	ServicePerReplica string `json:"servicePerReplica,omitempty"`
	// serviceRateKnown says how servicePerReplica is known: Given (the prior), AtLeast (a lower bound) or Measured.
	// +optional
	ServiceRateKnown ServiceRateKnowledge `json:"serviceRateKnown,omitempty"`
	// drainSeconds until the backlog is gone at the present capacity. Absent when that is never, or not known.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DrainSeconds *int64 `json:"drainSeconds,omitempty"`
	// drain is drainSeconds for reading, such as "48s", or "never" while arrivals exceed the capacity.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	Drain string `json:"drain,omitempty"`
	// sampledAt is the time of the oldest of the readings.
	// +optional
	SampledAt *metav1.Time `json:"sampledAt,omitempty"`
}

// DriverStatus tells whether the driver can be read. Nothing but the comparison of arrivals depends on it.
//
// +kubebuilder:validation:MinProperties=0
type DriverStatus struct {
	// reason in a word: ReadingsFresh, or why it cannot be read.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message has the address, and the remedy.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// ServiceRateKnowledge says how a service rate is known.
//
// +kubebuilder:validation:Enum=Given;AtLeast;Measured
type ServiceRateKnowledge string

const (
	// ServiceRateGiven is the prior of the spec.
	ServiceRateGiven ServiceRateKnowledge = "Given"
	// ServiceRateAtLeast is a lower bound, seen without saturation.
	ServiceRateAtLeast ServiceRateKnowledge = "AtLeast"
	// ServiceRateMeasured is the median over saturated blocks.
	ServiceRateMeasured ServiceRateKnowledge = "Measured"
)

// StandbyStatus is the pool of slots.
//
// +kubebuilder:validation:MinProperties=0
type StandbyStatus struct {
	// warm slots are ready and idle.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Warm *int32 `json:"warm,omitempty"`
	// lent slots are in service.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Lent *int32 `json:"lent,omitempty"`
	// starting slots are not ready yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Starting *int32 `json:"starting,omitempty"`
	// revision that the pool runs: the number that `kubectl rollout history` shows.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision,omitempty"`
	// templateHash of the revision that the pool runs.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	TemplateHash string `json:"templateHash,omitempty"`
	// pending are the names of slots that are about to be created. Stored first, so that a restart creates the same ones.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Pending []string `json:"pending,omitempty"`
	// refillAfter is when released slots are made again, after they gave way to the target's own pods.
	// +optional
	RefillAfter *metav1.Time `json:"refillAfter,omitempty"`
}

// RolloutState is what goes on in the target.
//
// +kubebuilder:validation:Enum=Stable;Scaling;Rolling;Settling;Stuck;PausedPending;PausedMidRollout;RollingBack
type RolloutState string

const (
	// RolloutStable means that no rollout is in progress; pods may be missing.
	RolloutStable RolloutState = "Stable"
	// RolloutScaling means that the number of replicas changes and the template does not.
	RolloutScaling RolloutState = "Scaling"
	// RolloutRolling means that pods of an older revision are being replaced.
	RolloutRolling RolloutState = "Rolling"
	// RolloutSettling means that only the new revision has pods, and not all have been available yet.
	RolloutSettling RolloutState = "Settling"
	// RolloutStuck means that the rollout exceeded its progress deadline.
	RolloutStuck RolloutState = "Stuck"
	// RolloutPausedPending means that the template was edited while the Deployment is paused.
	RolloutPausedPending RolloutState = "PausedPending"
	// RolloutPausedMidRollout means that the Deployment was paused in the middle of a rollout.
	RolloutPausedMidRollout RolloutState = "PausedMidRollout"
	// RolloutRollingBack means that an earlier revision is being rolled out again.
	RolloutRollingBack RolloutState = "RollingBack"
)

// RolloutStatus is what is known of the target's rollout.
//
// +kubebuilder:validation:MinProperties=0
type RolloutStatus struct {
	// state of the target.
	// +optional
	State RolloutState `json:"state,omitempty"`
	// revision of the target's present template: the number that `kubectl rollout history` shows.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision,omitempty"`
	// since is when the state began.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// heldReplicas is the number of replicas at which the target is held.
	// +optional
	// +kubebuilder:validation:Minimum=0
	HeldReplicas *int32 `json:"heldReplicas,omitempty"`
	// memory is what has to be remembered of the target to tell a rollout from scaling.
	// +optional
	Memory *RolloutMemory `json:"memory,omitempty"`
}

// RolloutMemory is what has to be remembered of the target to tell a rollout from scaling. Losing it costs holds, never safety.
//
// +kubebuilder:validation:MinProperties=0
type RolloutMemory struct {
	// uid of the Deployment that this is about.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	UID string `json:"uid,omitempty"`
	// settledHash is the pod-template-hash that last was complete.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	SettledHash string `json:"settledHash,omitempty"`
	// settledDigest is a digest of that template.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	SettledDigest string `json:"settledDigest,omitempty"`
	// settledReplicas is the number of replicas at that time.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SettledReplicas *int32 `json:"settledReplicas,omitempty"`
	// heldSince is when the present unbroken run of rollout states began: the hold timeout counts from here.
	// +optional
	HeldSince *metav1.Time `json:"heldSince,omitempty"`
	// unsettled names why the target is not settled: the rollout state that was seen since the last completeness.
	// +optional
	Unsettled RolloutState `json:"unsettled,omitempty"`
	// stuckHash is the pod-template-hash of a rollout that was stuck.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	StuckHash string `json:"stuckHash,omitempty"`
	// stuckReadyReplicas is the number of ready pods it had then.
	// +optional
	// +kubebuilder:validation:Minimum=0
	StuckReadyReplicas *int32 `json:"stuckReadyReplicas,omitempty"`
	// stuckAt is when the Deployment controller said so.
	// +optional
	StuckAt *metav1.Time `json:"stuckAt,omitempty"`
	// completedHash is the revision that completed its rollout last. Empty during a rollout.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	CompletedHash string `json:"completedHash,omitempty"`
	// completedAt is when it did: the soak time counts from here.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// soakedHash is the newest revision that completed its rollout and stayed for the soak time: the pool runs it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	SoakedHash string `json:"soakedHash,omitempty"`
	// restoredHash is the revision in whose rollout a lowered number of replicas was restored: that happens once.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	RestoredHash string `json:"restoredHash,omitempty"`
	// releasedHash is the revision whose hold was ended, by a person or by the timeout.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ReleasedHash string `json:"releasedHash,omitempty"`
}

// Diagnosis is what is going on, and what to do about it.
//
// +kubebuilder:validation:MinProperties=0
type Diagnosis struct {
	// cause of what is seen.
	// +optional
	Cause Cause `json:"cause,omitempty"`
	// advice in a word, such as Wait or RollBack:6. Empty when there is nothing to do.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Advice string `json:"advice,omitempty"`
	// message has the evidence, and the command or place to go to.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// since is when the cause was first seen.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}

// Cause is what a QueueScaler takes to be going on.
//
// +kubebuilder:validation:Enum=Healthy;DemandSurge;ArrivalsInflated;ThroughputRegressed;SlowedDown;RolloutStuck;CapacityMissing;ConsumersStalled;Ineffective;DataUnavailable
type Cause string

const (
	// CauseHealthy means that nothing is wrong.
	CauseHealthy Cause = "Healthy"
	// CauseDemandSurge means that more messages arrive than the present replicas complete.
	CauseDemandSurge Cause = "DemandSurge"
	// CauseArrivalsInflated means that the present revision makes more messages per unit of user work than the known-good one; without a driver, that this is suspected.
	CauseArrivalsInflated Cause = "ArrivalsInflated"
	// CauseThroughputRegressed means that the present revision does less per replica than the known-good one.
	CauseThroughputRegressed Cause = "ThroughputRegressed"
	// CauseSlowedDown means that the known-good revision itself does less than it did: it is not the revision.
	CauseSlowedDown Cause = "SlowedDown"
	// CauseRolloutStuck means that the pods of the new revision do not become available.
	CauseRolloutStuck Cause = "RolloutStuck"
	// CauseCapacityMissing means that pods are missing: unschedulable, quota, image.
	CauseCapacityMissing Cause = "CapacityMissing"
	// CauseConsumersStalled means that messages wait and nothing is completed.
	CauseConsumersStalled Cause = "ConsumersStalled"
	// CauseIneffective means that more replicas brought no more throughput: the limit is downstream.
	CauseIneffective Cause = "Ineffective"
	// CauseDataUnavailable means that no queue can be read.
	CauseDataUnavailable Cause = "DataUnavailable"
)

// Words of status.diagnosis.advice.
const (
	// AdviceWait: the backlog is being worked off.
	AdviceWait = "Wait"
	// AdviceScalingUp: replicas are being added.
	AdviceScalingUp = "ScalingUp"
	// AdviceRaiseMaxReplicas: maxReplicas binds; the message has the number it would take.
	AdviceRaiseMaxReplicas = "RaiseMaxReplicas"
	// AdviceRollBack is followed by a colon and the revision.
	AdviceRollBack = "RollBack"
	// AdviceCheckDownstream: what the consumers call is the limit.
	AdviceCheckDownstream = "CheckDownstream"
	// AdviceCheckConsumers: messages wait and nothing is completed.
	AdviceCheckConsumers = "CheckConsumers"
	// AdviceCheckQueue: the queue cannot be read, redelivers much, or has too few partitions.
	AdviceCheckQueue = "CheckQueue"
	// AdviceCheckCluster: pods cannot be scheduled, or a quota, an image or a node is missing.
	AdviceCheckCluster = "CheckCluster"
)

// Decision is the last decision, with its reason and numbers.
//
// +kubebuilder:validation:MinProperties=0
type Decision struct {
	// replicas of the target after this decision, holds included.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`
	// reason in a word.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message has the numbers.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// time of the decision.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// RevisionStatus is what one revision of the target was seen to do. Numbers are rounded.
type RevisionStatus struct {
	// key identifies the revision: its pod-template-hash, and a digest of the marked change, if it is one.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Key string `json:"key,omitempty"`
	// templateHash is its pod-template-hash.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	TemplateHash string `json:"templateHash,omitempty"`
	// change is the text of the annotation that marked a change without a new template.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Change string `json:"change,omitempty"`
	// revision is the number that `kubectl rollout history` showed for it last.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision,omitempty"`
	// completedAt is when its rollout completed, the last time.
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// standing is what it has proved: New, Soaked, Provisional (the first one, known-good for want of another) or KnownGood.
	// +optional
	Standing Standing `json:"standing,omitempty"`
	// standingSince is since when.
	// +optional
	StandingSince *metav1.Time `json:"standingSince,omitempty"`
	// verdict on it, against the known-good revision of that time.
	// +optional
	Verdict RevisionVerdict `json:"verdict,omitempty"`
	// basis is the kind of evidence that the verdict stands on.
	// +optional
	Basis VerdictBasis `json:"basis,omitempty"`
	// verdictAt is when that verdict was reached.
	// +optional
	VerdictAt *metav1.Time `json:"verdictAt,omitempty"`
	// servicePerReplica is what one replica completes per second while it always has work, as a decimal: the median of its saturated blocks.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	ServicePerReplica string `json:"servicePerReplica,omitempty"`
	// processingSeconds is how long one message takes, as a decimal: the median of its unsaturated blocks.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	ProcessingSeconds string `json:"processingSeconds,omitempty"`
	// messagesPerUnit is how many messages arrive for each unit of the driver, as a decimal: the median of its blocks.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	MessagesPerUnit string `json:"messagesPerUnit,omitempty"`
	// highestThroughputPerReplica is the most that one replica of it was seen to complete per second, as a decimal: a lower bound of what it can do.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	HighestThroughputPerReplica string `json:"highestThroughputPerReplica,omitempty"`
	// highestThroughputAt is when.
	// +optional
	HighestThroughputAt *metav1.Time `json:"highestThroughputAt,omitempty"`
	// highestArrivalPerSecond is the highest arrival rate that it served with the objective met, as a decimal.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	HighestArrivalPerSecond string `json:"highestArrivalPerSecond,omitempty"`
	// rolledBackAt is when the QueueScaler rolled it back. That is done once.
	// +optional
	RolledBackAt *metav1.Time `json:"rolledBackAt,omitempty"`
	// evidence is what the numbers and the verdict are made from.
	// +optional
	Evidence *RevisionEvidence `json:"evidence,omitempty"`
}

// RevisionEvidence is what the numbers and the verdict are made from: one entry for each block of a minute or more without rollout, scaling or lending inside it.
//
// +kubebuilder:validation:MinProperties=0
type RevisionEvidence struct {
	// serviceRates are messages per second and replica of the newest saturated blocks, each with the replicas in service, such as "6.21@43". The oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=48
	ServiceRates []string `json:"serviceRates,omitempty"`
	// serviceRatesSeen is how many of them there were in all.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ServiceRatesSeen int32 `json:"serviceRatesSeen,omitempty"`
	// processingTimes are seconds of the newest unsaturated blocks, each with messages per second and replica, such as "0.101@6.4". The oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=48
	ProcessingTimes []string `json:"processingTimes,omitempty"`
	// processingTimesSeen is how many of them there were in all.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ProcessingTimesSeen int32 `json:"processingTimesSeen,omitempty"`
	// arrivals are messages per unit of the driver of the newest blocks, each with units per second, such as "2.61@103". The oldest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=48
	Arrivals []string `json:"arrivals,omitempty"`
	// arrivalsSeen is how many of them there were in all.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ArrivalsSeen int32 `json:"arrivalsSeen,omitempty"`
	// arrivalsDriver identifies the driver's source. What was measured with another one is not compared.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ArrivalsDriver string `json:"arrivalsDriver,omitempty"`
	// arrivalsStep is AtDeploy where arrivals per unit changed with the rollout, and not some time after.
	// +optional
	ArrivalsStep ProcessingStep `json:"arrivalsStep,omitempty"`
	// lowerBounds are the highest messages per second and replica of unsaturated blocks, each with the replicas in service.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=48
	LowerBounds []string `json:"lowerBounds,omitempty"`
	// serviceRatesAtEntry is how many of serviceRatesSeen there were when its present stay began.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ServiceRatesAtEntry int32 `json:"serviceRatesAtEntry,omitempty"`
	// mostReplicas is the largest number of replicas in service that it was seen with.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MostReplicas int32 `json:"mostReplicas,omitempty"`
	// missedBlocks is how many blocks of its present stay ended with the objective missed.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MissedBlocks int32 `json:"missedBlocks,omitempty"`
	// flag is Withdrawn where the verdict no longer counts: after a rollback the rate stayed low, so that it was not this revision.
	// +optional
	Flag RevisionFlag `json:"flag,omitempty"`
	// shares of the queues in its completed work, in their order, as decimals.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=24
	Shares []string `json:"shares,omitempty"`
	// looks are how often each kind of evidence was tested, and what was found.
	// +optional
	Looks VerdictLooks `json:"looks,omitzero"`
	// step is AtDeploy where the processing time changed with the rollout, and not some time after.
	// +optional
	Step ProcessingStep `json:"step,omitempty"`
	// provingSince is since when it does as much per replica as the known-good revision ever did. After 10 minutes it is known-good too.
	// +optional
	ProvingSince *metav1.Time `json:"provingSince,omitempty"`
}

// VerdictLooks are how often each kind of evidence was tested.
//
// +kubebuilder:validation:MinProperties=1
type VerdictLooks struct {
	// serviceRate looks.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ServiceRate int32 `json:"serviceRate,omitempty"`
	// serviceRateVerdict is what they found.
	// +optional
	ServiceRateVerdict RevisionVerdict `json:"serviceRateVerdict,omitempty"`
	// processingTime looks.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ProcessingTime int32 `json:"processingTime,omitempty"`
	// processingTimeVerdict is what they found.
	// +optional
	ProcessingTimeVerdict RevisionVerdict `json:"processingTimeVerdict,omitempty"`
	// arrivals looks.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Arrivals int32 `json:"arrivals,omitempty"`
	// arrivalsVerdict is what they found.
	// +optional
	ArrivalsVerdict RevisionVerdict `json:"arrivalsVerdict,omitempty"`
}

// Standing is what a revision has proved.
//
// +kubebuilder:validation:Enum=New;Soaked;Provisional;KnownGood
type Standing string

const (
	// StandingNew means that it has not soaked.
	StandingNew Standing = "New"
	// StandingSoaked means that it completed its rollout and stayed for the soak time.
	StandingSoaked Standing = "Soaked"
	// StandingProvisional means that it is the baseline because there is no other. Nothing is rolled back to it automatically.
	StandingProvisional Standing = "Provisional"
	// StandingKnownGood means that it also proved itself under load.
	StandingKnownGood Standing = "KnownGood"
)

// RevisionVerdict says whether a revision does less per replica than the known-good one did.
//
// +kubebuilder:validation:Enum=InsufficientData;NoRegression;Suspected;Regressed;Inconclusive
type RevisionVerdict string

const (
	// VerdictInsufficientData means that there is too little evidence.
	VerdictInsufficientData RevisionVerdict = "InsufficientData"
	// VerdictNoRegression means that it does as much as the known-good one.
	VerdictNoRegression RevisionVerdict = "NoRegression"
	// VerdictSuspected means that something is wrong with it, and it is not proved that it does less.
	VerdictSuspected RevisionVerdict = "Suspected"
	// VerdictRegressed means that it does less, or makes more work.
	VerdictRegressed RevisionVerdict = "Regressed"
	// VerdictInconclusive means that the evidence says neither.
	VerdictInconclusive RevisionVerdict = "Inconclusive"
)

// VerdictBasis is the kind of evidence that a verdict stands on.
//
// +kubebuilder:validation:Enum=ServiceRate;ProcessingTime;Arrivals
type VerdictBasis string

const (
	// BasisServiceRate is what one replica completes while it always has work.
	BasisServiceRate VerdictBasis = "ServiceRate"
	// BasisProcessingTime is how long one message takes while there is no backlog.
	BasisProcessingTime VerdictBasis = "ProcessingTime"
	// BasisArrivals is how many messages arrive for each unit of user work.
	BasisArrivals VerdictBasis = "Arrivals"
)

// CalibrationStatus is what came of trying with fewer replicas while no service rate was known.
//
// +kubebuilder:validation:MinProperties=0
type CalibrationStatus struct {
	// percent by which the estimate of the service rate was raised.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=50
	Percent *int32 `json:"percent,omitempty"`
	// reason in a word.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message says what is being tried, or why it ended.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// stage is Trials from when on only short trials are made.
	// +optional
	Stage CalibrationStage `json:"stage,omitempty"`
	// notBefore is when the next trial may be made at the earliest.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
}

// RevisionFlag says what became of a verdict.
//
// +kubebuilder:validation:Enum=Withdrawn
type RevisionFlag string

// FlagWithdrawn means that it no longer counts.
const FlagWithdrawn RevisionFlag = "Withdrawn"

// ProcessingStep says when a processing time, or arrivals per unit, changed.
//
// +kubebuilder:validation:Enum=AtDeploy
type ProcessingStep string

// StepAtDeploy means with the rollout.
const StepAtDeploy ProcessingStep = "AtDeploy"

// CalibrationStage says how far a calibration is.
//
// +kubebuilder:validation:Enum=Trials
type CalibrationStage string

// CalibrationTrials means that only short trials are made.
const CalibrationTrials CalibrationStage = "Trials"
