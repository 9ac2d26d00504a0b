// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Types of conditions.
const (
	// ConditionReady is True while the QueueScaler does its work. Waiting out a rollout is normal, and leaves it True.
	ConditionReady = "Ready"
	// ConditionAbleToScale is True while the target's replicas can be read and written.
	ConditionAbleToScale = "AbleToScale"
	// ConditionScalingActive is True while decisions are made from fresh readings.
	ConditionScalingActive = "ScalingActive"
	// ConditionScalingLimited is True while minReplicas, maxReplicas, behavior or the number of partitions binds.
	ConditionScalingLimited = "ScalingLimited"
	// ConditionRolloutInProgress is True while a rollout of the target is in progress.
	ConditionRolloutInProgress = "RolloutInProgress"
	// ConditionStandbyReady is True while the pool has its number of warm slots, those that are lent counted in.
	ConditionStandbyReady = "StandbyReady"
	// ConditionObjectiveMet is True while the backlog is worked off within the objective.
	ConditionObjectiveMet = "ObjectiveMet"
	// ConditionThroughputRegressed is True while the present revision does less per replica than the known-good one did.
	ConditionThroughputRegressed = "ThroughputRegressed"
	// ConditionRollbackAdvised is True while a rollback is advised. The message has the command.
	ConditionRollbackAdvised = "RollbackAdvised"
)

// Reasons of conditions, events and decisions.
const (
	// ReasonReady is the reason of Ready=True.
	ReasonReady = "AsExpected"

	// ReasonTargetMissing: the Deployment does not exist.
	ReasonTargetMissing = "TargetMissing"
	// ReasonTargetDeleting: the Deployment is being deleted.
	ReasonTargetDeleting = "TargetDeleting"
	// ReasonConflictingAutoscaler: an HPA or an older QueueScaler acts on the target.
	ReasonConflictingAutoscaler = "ConflictingAutoscaler"
	// ReasonScalingDisabled: the target was set to 0 replicas by somebody else.
	ReasonScalingDisabled = "ScalingDisabled"
	// ReasonSuspended: mode is Suspended.
	ReasonSuspended = "Suspended"
	// ReasonDryRun: mode is DryRun.
	ReasonDryRun = "DryRun"
	// ReasonReplicasContested: somebody else keeps writing the target's replicas.
	ReasonReplicasContested = "ReplicasContested"
	// ReasonReplicasAdopted: somebody else's number of replicas was taken over.
	ReasonReplicasAdopted = "ReplicasAdopted"
	// ReasonReplicasRestored: replicas lowered together with a new template were restored.
	ReasonReplicasRestored = "ReplicasRestored"
	// ReasonScaleFailed: the target's replicas could not be written.
	ReasonScaleFailed = "FailedUpdateScale"
	// ReasonSucceededRescale: the target's replicas were written.
	ReasonSucceededRescale = "SucceededRescale"
	// ReasonReadyForNewScale: the target's replicas can be written.
	ReasonReadyForNewScale = "ReadyForNewScale"
	// ReasonNamespaceTerminating: the namespace is being deleted.
	ReasonNamespaceTerminating = "NamespaceTerminating"

	// ReasonReadingsFresh: every queue has a fresh reading.
	ReasonReadingsFresh = "ReadingsFresh"
	// ReasonWaitingForReadings: no queue was read yet.
	ReasonWaitingForReadings = "WaitingForReadings"
	// ReasonReadingsStale: the last reading of a queue is too old.
	ReasonReadingsStale = "ReadingsStale"
	// ReasonQueueUnavailable: the server cannot be reached, or gives no usable answer.
	ReasonQueueUnavailable = "QueueUnavailable"
	// ReasonQueueMissing: the server has no such queue.
	ReasonQueueMissing = "QueueMissing"
	// ReasonQueueReplyInvalid: the server's answer makes no sense.
	ReasonQueueReplyInvalid = "QueueReplyInvalid"
	// ReasonQueueTimeout: the server accepts and does not answer in time.
	ReasonQueueTimeout = "QueueTimeout"
	// ReasonAuthenticationFailed: the server refuses the credentials.
	ReasonAuthenticationFailed = "AuthenticationFailed"
	// ReasonPermissionDenied: the credentials do not permit the reading.
	ReasonPermissionDenied = "PermissionDenied"
	// ReasonTLSFailed: the server's certificate cannot be verified, or the TLS settings do not fit.
	ReasonTLSFailed = "TLSFailed"
	// ReasonSecretMissing: the Secret does not exist.
	ReasonSecretMissing = "SecretMissing"
	// ReasonSecretInvalid: the Secret lacks a key, or a key makes no sense.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonQueueServerMissing: no QueueServer has the name that serverRef gives.
	ReasonQueueServerMissing = "QueueServerMissing"
	// ReasonQueueServerDenied: the QueueServer does not allow the namespace.
	ReasonQueueServerDenied = "QueueServerDenied"
	// ReasonAddressRefused: the address is link-local or malformed, or addresses of one's own are forbidden.
	ReasonAddressRefused = "AddressRefused"
	// ReasonFallback: no queue can be read, and the fallback floor applies.
	ReasonFallback = "Fallback"

	// ReasonDesiredWithinRange: neither minReplicas nor maxReplicas nor behavior nor partitions bind.
	ReasonDesiredWithinRange = "DesiredWithinRange"
	// ReasonTooManyReplicas: maxReplicas binds.
	ReasonTooManyReplicas = "TooManyReplicas"
	// ReasonTooFewPartitions: the partitions of the queues keep no more replicas busy.
	ReasonTooFewPartitions = "TooFewPartitions"
	// ReasonTooFewReplicas: minReplicas binds.
	ReasonTooFewReplicas = "TooFewReplicas"
	// ReasonScaleUpLimit: a policy of behavior.scaleUp binds.
	ReasonScaleUpLimit = "ScaleUpLimit"
	// ReasonScaleDownLimit: a policy of behavior.scaleDown binds.
	ReasonScaleDownLimit = "ScaleDownLimit"
	// ReasonScaleDownStabilized: a higher recommendation within the scale-down window binds.
	ReasonScaleDownStabilized = "ScaleDownStabilized"
	// ReasonWithinTolerance: the recommendation is too near to the present number for a change.
	ReasonWithinTolerance = "WithinTolerance"
	// ReasonAsRecommended: the recommendation binds.
	ReasonAsRecommended = "AsRecommended"
	// ReasonServiceRateUnknown: the service rate is not known, and the number grows by doubling.
	ReasonServiceRateUnknown = "ServiceRateUnknown"

	// ReasonScaleUpStabilized: a lower recommendation within the scale-up window binds.
	ReasonScaleUpStabilized = "ScaleUpStabilized"
	// ReasonArrivalRateUnknown: the arrival rate is not known, and the number stays while messages wait.
	ReasonArrivalRateUnknown = "ArrivalRateUnknown"
	// ReasonMessagesRedelivered: so many messages are delivered again that more replicas would not help.
	ReasonMessagesRedelivered = "MessagesRedelivered"
	// ReasonMessagesInFlight: messages that take long are in flight, and a scale-down would interrupt them.
	ReasonMessagesInFlight = "MessagesInFlight"
	// ReasonPodsFailing: new pods crash or cannot be scheduled, and more of them would not help.
	ReasonPodsFailing = "PodsFailing"
	// ReasonStepNotVerified: what the last step of scale-up brought is not known yet.
	ReasonStepNotVerified = "StepNotVerified"
	// ReasonScaleUpIneffective: more pods completed no more, and scale-up is frozen.
	ReasonScaleUpIneffective = "ScaleUpIneffective"
	// ReasonScalingInProgress: the target is on its way to another number of replicas.
	ReasonScalingInProgress = "ScalingInProgress"
	// ReasonPodsUnavailable: pods of the target are missing or not available.
	ReasonPodsUnavailable = "PodsUnavailable"
	// ReasonNotQuietForWindow: to zero only after nothing waited or was in flight for a whole scale-down window.
	ReasonNotQuietForWindow = "NotQuietForWindow"
	// ReasonSlotsFirst: slots of the known-good revision make up for a regressed one, before replicas of it do.
	ReasonSlotsFirst = "SlotsFirst"
	// ReasonJustStarted: after a restart nothing scales down for one scale-down window.
	ReasonJustStarted = "JustStarted"
	// ReasonSlotWriteFailed: a slot could not be written.
	ReasonSlotWriteFailed = "SlotWriteFailed"

	// ReasonNoRollout: no rollout is in progress.
	ReasonNoRollout = "NoRollout"
	// ReasonHoldReleased: a hold ended early, by a person, the timeout or a missed objective.
	ReasonHoldReleased = "HoldReleased"
	// ReasonHoldTimedOut: a hold lasted for rollout.holdTimeoutSeconds.
	ReasonHoldTimedOut = "HoldTimedOut"

	// ReasonStandbyDisabled: no pool is asked for.
	ReasonStandbyDisabled = "NoPool"
	// ReasonSlotsWarm: the pool is full.
	ReasonSlotsWarm = "SlotsWarm"
	// ReasonSlotsStarting: slots are starting.
	ReasonSlotsStarting = "SlotsStarting"
	// ReasonNoSoakedRevision: no revision of the target has soaked yet.
	ReasonNoSoakedRevision = "NoSoakedRevision"
	// ReasonGateNotDeclared: gate File needs the annotation capacity.queuescaler.io/gate: file in the target's template.
	ReasonGateNotDeclared = "GateNotDeclared"
	// ReasonGateImageMissing: gate Prepared needs the operator's flag --gate-image.
	ReasonGateImageMissing = "GateImageMissing"
	// ReasonTemplateUnsuitable: the target's template cannot be copied into a slot.
	ReasonTemplateUnsuitable = "TemplateUnsuitable"
	// ReasonReleasedUnderPressure: slots gave way to pods of the target.
	ReasonReleasedUnderPressure = "ReleasedUnderPressure"
	// ReasonSlotsFailing: containers of slots crash or cannot start, or their pods cannot be created.
	ReasonSlotsFailing = "SlotsFailing"
	// ReasonSlotsUnschedulable: there is no node for pods of slots.
	ReasonSlotsUnschedulable = "SlotsUnschedulable"
	// ReasonNothingToWithhold: no label keeps Services and PodDisruptionBudgets from selecting an idle slot.
	ReasonNothingToWithhold = "NothingToWithhold"
	// ReasonNetworkPolicySelectsLabel: a NetworkPolicy selects on a label that would be withheld.
	ReasonNetworkPolicySelectsLabel = "NetworkPolicySelectsLabel"
	// ReasonSlotsLent: slots were put in service.
	ReasonSlotsLent = "SlotsLent"
	// ReasonSlotsReturned: slots were taken out of service.
	ReasonSlotsReturned = "SlotsReturned"

	// ReasonObjectiveMet: the backlog is worked off in time.
	ReasonObjectiveMet = "WithinObjective"
	// ReasonObjectiveMissed: the backlog is not worked off in time.
	ReasonObjectiveMissed = "ObjectiveMissed"
	// ReasonObjectiveUnknown: the drain time is not known.
	ReasonObjectiveUnknown = "DrainTimeUnknown"
	// ReasonMessageLongerThanObjective: one message takes longer than the objective.
	ReasonMessageLongerThanObjective = "MessageLongerThanObjective"

	// ReasonNoRollbackAdvised: there is no reason to roll back.
	ReasonNoRollbackAdvised = "NotAdvised"
	// ReasonRolloutStuck: the pods of the new revision do not become available.
	ReasonRolloutStuck = "RolloutStuck"

	// ReasonServiceRateRegressed: a replica of the present revision completes less than one of the known-good revision did.
	ReasonServiceRateRegressed = "ServiceRateRegressed"
	// ReasonProcessingTimeRegressed: a message takes the present revision longer than it took the known-good one.
	ReasonProcessingTimeRegressed = "ProcessingTimeRegressed"
	// ReasonArrivalsInflated: the present revision makes more messages per unit of user work than the known-good one did. Its replicas need not be slower.
	ReasonArrivalsInflated = "ArrivalsInflated"
	// ReasonInsufficientData: there is too little evidence for a verdict.
	ReasonInsufficientData = "InsufficientData"
	// ReasonNoRegression: the present revision does as much as the known-good one, or is it.
	ReasonNoRegression = "NoRegression"
	// ReasonSuspected: something is wrong with the present revision, and it is not proved that it does less.
	ReasonSuspected = "Suspected"
	// ReasonInconclusive: the evidence says neither.
	ReasonInconclusive = "Inconclusive"
	// ReasonRolledBack: the target's template was patched back to the known-good revision.
	ReasonRolledBack = "RolledBack"
	// ReasonRollbackRefused: a rollback was asked for and is not carried out; the message says why.
	ReasonRollbackRefused = "RollbackRefused"
	// ReasonRollbackFailed: the target's template could not be patched.
	ReasonRollbackFailed = "RollbackFailed"
	// ReasonNoRollbackPlan: a rollout began, and no rollback plan is written down.
	ReasonNoRollbackPlan = "NoRollbackPlan"
	// ReasonFlagWithdrawn: after a rollback the service rate stayed low, so that it was not the revision.
	ReasonFlagWithdrawn = "FlagWithdrawn"
)

// Labels and annotations.
const (
	// LabelPrefix begins every label and annotation of QueueScaler.
	LabelPrefix = "capacity.queuescaler.io/"

	// LabelScaler is on every slot's ReplicaSet and pod: the name of the QueueScaler.
	LabelScaler = LabelPrefix + "queuescaler"
	// LabelSlot is on every slot's ReplicaSet and pod, and is what the ReplicaSet selects on: the name of the slot.
	LabelSlot = LabelPrefix + "slot"
	// LabelRole is on every slot's pod: standby, active or draining.
	LabelRole = LabelPrefix + "role"
	// LabelRevision is on every slot's ReplicaSet and pod: the pod-template-hash of the revision that it runs.
	LabelRevision = LabelPrefix + "revision"
	// LabelServing is a label that users may put into a template and select on in Services and budgets; it is then all that is withheld.
	LabelServing = LabelPrefix + "serving"

	// AnnotationGate on a pod template declares that the app obeys a gate: "file".
	AnnotationGate = LabelPrefix + "gate"
	// AnnotationReleaseHold on a QueueScaler ends the present hold; its value is the template hash of the rollout.
	AnnotationReleaseHold = LabelPrefix + "release-hold"
	// AnnotationIncompatible on a pod template forbids mixing it with the revision before: "true".
	AnnotationIncompatible = LabelPrefix + "incompatible-with-previous"
	// AnnotationRollbackPlan on a Deployment is quoted wherever a rollback is advised, where the QueueScaler has none.
	AnnotationRollbackPlan = LabelPrefix + "rollback-plan"

	// AnnotationChange on a Deployment marks a change that has no new template, such as a flag: its text opens a new revision in the ledger.
	AnnotationChange = LabelPrefix + "change"
	// AnnotationForceRollback on a Deployment has a rollback carried out although Argo CD, Flux or Helm own the object: "true".
	AnnotationForceRollback = LabelPrefix + "force-rollback"

	// AnnotationOnLend on a slot's pod is what lending puts on it besides the role: labels and annotations, as JSON.
	AnnotationOnLend = LabelPrefix + "on-lend"
	// AnnotationTemplateDigest on a slot's pod identifies the template that it was made from, as rewritten.
	AnnotationTemplateDigest = LabelPrefix + "template-digest"
	// AnnotationConfigDigest on a slot's pod identifies the ConfigMaps and Secrets that it was made with.
	AnnotationConfigDigest = LabelPrefix + "config-digest"
	// AnnotationLentAt on a slot's pod is when it was lent.
	AnnotationLentAt = LabelPrefix + "lent-at"
	// AnnotationDrainingSince on a slot's pod is when it was told to drain.
	AnnotationDrainingSince = LabelPrefix + "draining-since"
	// AnnotationTouched on a lent pod counts the changes by which its role file is brought up to date for certain.
	AnnotationTouched = LabelPrefix + "touched"

	// RoleStandby: the pod is idle and takes no work.
	RoleStandby = "standby"
	// RoleActive: the pod is lent and works.
	RoleActive = "active"
	// RoleDraining: the pod finishes what it has and takes nothing new.
	RoleDraining = "draining"

	// Finalizer is on a QueueScaler while slots are lent.
	Finalizer = LabelPrefix + "lent-slots"
	// FieldOwner is the field manager of every write.
	FieldOwner = "queuescaler"
)
