// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// A quorum queue without a leader is told as empty and without consumers. That is no reading until it has been so for a minute.
func TestEmptyWithoutConsumersIsDoubted(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &amqpReader{memory: map[string]*memory{}, now: func() time.Time { return now }}
	for i, c := range []struct {
		after               time.Duration
		messages, consumers int
		doubted             bool
	}{
		{0, 0, 0, false}, // it never had consumers
		{time.Second, 5, 2, false},
		{time.Second, 0, 2, false},
		{time.Second, 0, 0, true},
		{59 * time.Second, 0, 0, true},
		{time.Second, 0, 0, false},
		{time.Second, 0, 0, false},
		{time.Second, 0, 1, false},
		{time.Second, 0, 0, true},
		{30 * time.Second, 3, 0, false}, // it has a leader
		{time.Second, 0, 0, false},
	} {
		now = now.Add(c.after)
		got, failure := r.believe("jobs", amqp.Queue{Name: "jobs", Messages: c.messages, Consumers: c.consumers})
		switch {
		case (failure != nil) != c.doubted:
			t.Errorf("look %d: %v, want it doubted: %v", i, failure, c.doubted)
		case failure != nil && failure.Reason != capacityv1alpha1.ReasonQueueUnavailable:
			t.Errorf("look %d: %v", i, failure)
		case failure == nil && (got.Depth != int64(c.messages) || !got.Time.Equal(now)):
			t.Errorf("look %d: %+v", i, got)
		}
	}
	_, _ = r.believe("jobs", amqp.Queue{Consumers: 1})
	r.refused("jobs") // as when it is deleted, and then made again
	if _, failure := r.believe("jobs", amqp.Queue{}); failure != nil {
		t.Errorf("made again: %v", failure)
	}
}
