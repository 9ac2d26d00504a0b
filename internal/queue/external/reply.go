// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package external

import (
	"math"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

const (
	invalid = capacityv1alpha1.ReasonQueueReplyInvalid
	missing = capacityv1alpha1.ReasonQueueMissing
)

// onlyName is the name of the scaler's metric, where it has just one.
func onlyName(reply *externalscaler.GetMetricSpecResponse) (string, *queue.Failure) {
	specs := reply.GetMetricSpecs()
	switch {
	case len(specs) == 0:
		return "", queue.Fail(missing, "Check external.metadata, or name the metric in external.metricName", "naming no metric in GetMetricSpec")
	case len(specs) > 1:
		return "", queue.Fail(invalid, "Say which one the backlog is in external.metricName", "naming %d metrics in GetMetricSpec", len(specs))
	}
	return specs[0].GetMetricName(), nil
}

// depthOf adds up the values of the metric, rounded up. Like KEDA it takes all values where none has the name that was asked for.
func depthOf(reply *externalscaler.GetMetricsResponse, name string) (int64, *queue.Failure) {
	values := reply.GetMetricValues()
	if len(values) == 0 {
		return 0, queue.Fail(missing, "Check external.metadata and external.metricName; a scaler says 0 of an empty queue", "giving no value of the metric in GetMetrics")
	}
	var named, all float64
	found := false
	for _, v := range values {
		value := valueOf(v)
		if !(value >= 0) || math.IsInf(value, 0) {
			return 0, queue.Fail(invalid, "Correct the scaler: a backlog is a number from 0", "giving a value in GetMetrics that is no number of messages")
		}
		all += value
		if v.GetMetricName() == name {
			named += value
			found = true
		}
	}
	sum := all
	if found {
		sum = named
	}
	if sum > queue.CountMost {
		return 0, queue.Fail(invalid, "Correct the scaler", "giving a value in GetMetrics that is more than a queue holds")
	}
	return int64(math.Ceil(sum)), nil
}

// valueOf is the float where it is set: the other field is the older one.
func valueOf(v *externalscaler.MetricValue) float64 {
	if v.GetMetricValueFloat() != 0 {
		return v.GetMetricValueFloat()
	}
	return float64(v.GetMetricValue())
}
