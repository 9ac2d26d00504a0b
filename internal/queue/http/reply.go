// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package httpq

import (
	"encoding/json"
	"time"

	"github.com/tidwall/gjson"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// parse reads the numbers that the paths lead to.
func parse(body []byte, source *capacityv1alpha1.HTTPSource) (queue.Reading, *queue.Failure) {
	if !json.Valid(body) { // it bounds the nesting, and gjson looks no further than it has to
		return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that url and http.path lead to JSON", "answering with what is no JSON")
	}
	var depth, inFlight, arrived, completed, age *float64
	for _, p := range []struct {
		field string
		path  capacityv1alpha1.JSONPath
		to    **float64
		most  float64
	}{
		{"depthPath", source.DepthPath, &depth, queue.CountMost},
		{"inFlightPath", source.InFlightPath, &inFlight, queue.CountMost},
		{"arrivedTotalPath", source.ArrivedTotalPath, &arrived, queue.CountMost},
		{"completedTotalPath", source.CompletedTotalPath, &completed, queue.CountMost},
		{"oldestAgeSecondsPath", source.OldestAgeSecondsPath, &age, queue.AgeMost},
	} {
		if p.path == "" && p.field != "depthPath" {
			continue
		}
		value, failure := number(body, p.field, p.path, p.most)
		if failure != nil {
			return queue.Reading{}, failure
		}
		*p.to = &value
	}
	reading := queue.Reading{Depth: *queue.RoundUp(depth), InFlight: queue.RoundUp(inFlight), ArrivedTotal: queue.RoundUp(arrived), CompletedTotal: queue.RoundUp(completed)}
	if age != nil {
		d := time.Duration(*age * float64(time.Second))
		reading.OldestAge = &d
	}
	return reading, nil
}

// number is what path leads to: a number, or one in a string, that is at least 0 and at most most.
func number(body []byte, field string, path capacityv1alpha1.JSONPath, most float64) (float64, *queue.Failure) {
	found := gjson.GetBytes(body, string(path))
	if found.Type == gjson.Null { // or nothing at all
		return 0, queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct the path. Where absence does mean zero, let the server send 0", "answering without what %s leads to", field)
	}
	var digits json.Number
	isNumber := found.Type == gjson.Number || found.Type == gjson.String
	if err := json.Unmarshal([]byte(found.String()), &digits); err != nil || !isNumber {
		return 0, invalid(field, "with what is no number", "Let the path lead to a number")
	}
	value, err := digits.Float64()
	switch {
	case err != nil:
		return 0, invalid(field, "with what is no number", "Let the path lead to a number")
	case value < 0:
		return 0, invalid(field, "with a negative number", "Correct the path, or the server")
	case value > most:
		return 0, invalid(field, "with more than a queue holds", "Correct the path, or the server")
	}
	return value, nil
}

func invalid(field, what, remedy string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, remedy, "answering %s %s", field, what)
}
