// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"strconv"
	"time"

	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// PolicyOf turns a validated spec into what is decided by.
func PolicyOf(spec *capacityv1alpha1.QueueScalerSpec) scaling.Policy {
	p := scaling.Policy{
		Min:        ptr.Deref(spec.MinReplicas, 1),
		Max:        spec.MaxReplicas,
		PerReplica: spec.Objective.Backlog.PerReplica,
		Behavior:   behaviorOf(spec.Behavior),
		Rollout:    rolloutPolicyOf(spec.Rollout),
	}
	if drain := spec.Objective.Drain; drain.Seconds > 0 {
		p.Drain = &scaling.Drain{
			Seconds:     float64(drain.Seconds),
			Utilization: float64(or(drain.TargetUtilizationPercent, 80)) / 100,
			Concurrency: float64(or(drain.Concurrency, 1)),
			Prior:       priorRate(spec),
		}
	}
	if spec.Fallback.MinReplicas > 0 {
		p.Fallback = &scaling.Fallback{After: seconds(or(spec.Fallback.AfterSeconds, 120)), Min: spec.Fallback.MinReplicas}
	}
	return p
}

func rolloutPolicyOf(r *capacityv1alpha1.Rollout) scaling.RolloutPolicy {
	if r == nil {
		return scaling.RolloutPolicy{Mode: scaling.Hold, HoldTimeout: seconds(600)}
	}
	return scaling.RolloutPolicy{
		Mode:               scaling.RolloutMode(or(r.Policy, capacityv1alpha1.RolloutHold)),
		ForbidLending:      r.Lending == capacityv1alpha1.LendingForbid,
		HoldTimeout:        seconds(or(r.HoldTimeoutSeconds, 600)),
		ReleaseAfterMissed: seconds(r.ReleaseAfterMissedSeconds),
	}
}

func behaviorOf(b *capacityv1alpha1.Behavior) scaling.Behavior {
	behavior := scaling.DefaultBehavior()
	if b == nil {
		return behavior
	}
	behavior.ScaleUp = rulesOf(b.ScaleUp, behavior.ScaleUp)
	behavior.ScaleDown = rulesOf(b.ScaleDown, behavior.ScaleDown)
	return behavior
}

func rulesOf(spec *capacityv1alpha1.ScalingRules, rules scaling.Rules) scaling.Rules {
	if spec == nil {
		return rules
	}
	if spec.StabilizationWindowSeconds != nil {
		rules.Window = seconds(*spec.StabilizationWindowSeconds)
	}
	if spec.Tolerance != nil {
		rules.Tolerance = spec.Tolerance.AsApproximateFloat64()
	}
	rules.Disabled = spec.SelectPolicy == capacityv1alpha1.SelectDisabled
	rules.SelectMin = spec.SelectPolicy == capacityv1alpha1.SelectMin
	for _, policy := range spec.Policies {
		rules.Policies = append(rules.Policies, scaling.RatePolicy{
			Percent: policy.Type == capacityv1alpha1.PercentScalingPolicy,
			Value:   policy.Value,
			Period:  seconds(policy.PeriodSeconds),
		})
	}
	return rules
}

// priorRate is messagesPerSecondPerReplica; 0 when it is not given.
func priorRate(spec *capacityv1alpha1.QueueScalerSpec) float64 {
	rate, err := strconv.ParseFloat(spec.Objective.Drain.MessagesPerSecondPerReplica, 64)
	if err != nil || rate <= 0 {
		return 0
	}
	return rate
}

// SoakTime is how long a revision stays after its rollout until the pool may run it.
func SoakTime(spec *capacityv1alpha1.QueueScalerSpec) time.Duration {
	if spec.Rollout == nil {
		return seconds(600)
	}
	return seconds(ptr.Deref(spec.Rollout.SoakSeconds, 600))
}

// Suspended reports whether the mode is Suspended now, and until when; a zero end means until the mode is changed.
func Suspended(spec *capacityv1alpha1.QueueScalerSpec, now time.Time) (bool, time.Time) {
	if spec.Mode != capacityv1alpha1.ModeSuspended {
		return false, time.Time{}
	}
	if spec.SuspendUntil == nil {
		return true, time.Time{}
	}
	return now.Before(spec.SuspendUntil.Time), spec.SuspendUntil.Time
}

// WantsPool reports whether a pool is asked for.
func WantsPool(spec *capacityv1alpha1.QueueScalerSpec) bool { return spec.Standby.Replicas > 0 }

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// or is the value, or what its zero stands for.
func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// settingsOf is what the estimator needs of a spec.
func settingsOf(spec *capacityv1alpha1.QueueScalerSpec, block time.Duration) capacity.Settings {
	settings := capacity.Settings{Concurrency: float64(or(spec.Objective.Drain.Concurrency, 1)), Block: block}
	for i := range spec.Queues {
		settings.Weights = append(settings.Weights, float64(or(spec.Queues[i].Weight, 1)))
		settings.ConsumersPerReplica = append(settings.ConsumersPerReplica, float64(or(spec.Queues[i].Kafka.ConsumersPerReplica, 1)))
	}
	return settings
}
