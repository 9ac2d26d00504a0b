// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Reasons, in the API's words.
const (
	reasonTargetMissing      = v1alpha1.ReasonTargetMissing
	reasonConflict           = v1alpha1.ReasonConflictingAutoscaler
	reasonDisabled           = v1alpha1.ReasonScalingDisabled
	reasonSuspended          = v1alpha1.ReasonSuspended
	reasonContested          = v1alpha1.ReasonReplicasContested
	reasonReady              = v1alpha1.ReasonReadyForNewScale
	reasonFresh              = v1alpha1.ReasonReadingsFresh
	reasonStale              = v1alpha1.ReasonReadingsStale
	reasonFallback           = v1alpha1.ReasonFallback
	reasonWithinRange        = v1alpha1.ReasonDesiredWithinRange
	reasonTooMany            = v1alpha1.ReasonTooManyReplicas
	reasonTooFewPartitions   = v1alpha1.ReasonTooFewPartitions
	reasonTooFew             = v1alpha1.ReasonTooFewReplicas
	reasonScaleUpLimit       = v1alpha1.ReasonScaleUpLimit
	reasonScaleDownLimit     = v1alpha1.ReasonScaleDownLimit
	reasonDownStabilized     = v1alpha1.ReasonScaleDownStabilized
	reasonTolerance          = v1alpha1.ReasonWithinTolerance
	reasonRecommended        = v1alpha1.ReasonAsRecommended
	reasonRateUnknown        = v1alpha1.ReasonServiceRateUnknown
	reasonHoldReleased       = v1alpha1.ReasonHoldReleased
	reasonHoldTimedOut       = v1alpha1.ReasonHoldTimedOut
	reasonObjectiveMet       = v1alpha1.ReasonObjectiveMet
	reasonObjectiveMissed    = v1alpha1.ReasonObjectiveMissed
	reasonObjectiveUnknown   = v1alpha1.ReasonObjectiveUnknown
	reasonLongMessage        = v1alpha1.ReasonMessageLongerThanObjective
	reasonRolloutStuck       = v1alpha1.ReasonRolloutStuck
	reasonRolloutInProgress  = v1alpha1.ConditionRolloutInProgress
	annotationReleaseHold    = v1alpha1.AnnotationReleaseHold
	reasonUpStabilized       = v1alpha1.ReasonScaleUpStabilized
	reasonArrivalUnknown     = v1alpha1.ReasonArrivalRateUnknown
	reasonRedelivered        = v1alpha1.ReasonMessagesRedelivered
	reasonMessagesInFlight   = v1alpha1.ReasonMessagesInFlight
	reasonPodsFailing        = v1alpha1.ReasonPodsFailing
	reasonScalingInProgress  = v1alpha1.ReasonScalingInProgress
	reasonPodsUnavailable    = v1alpha1.ReasonPodsUnavailable
	reasonNotQuiet           = v1alpha1.ReasonNotQuietForWindow
	reasonJustStarted        = v1alpha1.ReasonJustStarted
	reasonSlotsFirst         = v1alpha1.ReasonSlotsFirst
	reasonStepNotVerified    = v1alpha1.ReasonStepNotVerified
	reasonScaleUpIneffective = v1alpha1.ReasonScaleUpIneffective
)

const (
	yes     = metav1.ConditionTrue
	no      = metav1.ConditionFalse
	unknown = metav1.ConditionUnknown
)
