// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package prometheusq

import (
	"encoding/json"
	"math"
	"time"

	"github.com/prometheus/common/model"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// reply is what /api/v1/query sends.
type reply struct {
	Status string `json:"status"`
	Data   struct {
		Type   model.ValueType `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// parse reads the only number of a reply, which is at least 0 and at most most, and the time of its sample.
func parse(body []byte, field string, most float64) (float64, time.Time, *queue.Failure) {
	value, at, failure := number(body, field)
	switch {
	case failure != nil:
		return 0, time.Time{}, failure
	case math.IsNaN(value) || math.IsInf(value, 0):
		failure = invalid("with NaN or an infinite number", field, "Check for a division by zero")
	case value < 0:
		failure = invalid("with a negative number", field, "Correct the query, for example by clamp_min(..., 0)")
	case value > most:
		failure = invalid("with more than a queue holds", field, "Correct the query")
	}
	return value, at, failure
}

func number(body []byte, field string) (float64, time.Time, *queue.Failure) {
	var r reply
	if err := json.Unmarshal(body, &r); err != nil || r.Status != "success" {
		return 0, time.Time{}, invalid("with what makes no sense", field, "Check that the url leads to Prometheus")
	}
	switch r.Data.Type {
	case model.ValScalar:
		var scalar model.Scalar
		if err := json.Unmarshal(r.Data.Result, &scalar); err != nil {
			break
		}
		return float64(scalar.Value), scalar.Timestamp.Time(), nil
	case model.ValVector:
		var vector model.Vector
		if err := json.Unmarshal(r.Data.Result, &vector); err != nil {
			break
		}
		return only(vector, field)
	case model.ValMatrix, model.ValString:
		return 0, time.Time{}, invalid("with no instant vector", field, "Let it be one number: no range, no string")
	}
	return 0, time.Time{}, invalid("with what makes no sense", field, "Check that the url leads to Prometheus")
}

// only is the one element of a vector. None is no zero: the metric is not there.
func only(vector model.Vector, field string) (float64, time.Time, *queue.Failure) {
	switch {
	case len(vector) == 0:
		return 0, time.Time{}, queue.Fail(capacityv1alpha1.ReasonQueueMissing,
			"Check the metric's name and labels, and that its target is scraped. Where absence does mean zero, say so: ... or vector(0)", "answering %s with an empty result", field)
	case len(vector) > 1:
		return 0, time.Time{}, invalid("with more than one element", field, "Aggregate them, for example by sum(...)")
	case vector[0] == nil || vector[0].Histogram != nil || vector[0].Timestamp == 0:
		return 0, time.Time{}, invalid("with what is no number", field, "Let it be one number: no histogram")
	}
	return float64(vector[0].Value), vector[0].Timestamp.Time(), nil
}

func invalid(what, field, remedy string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, remedy, "answering %s %s", field, what)
}
