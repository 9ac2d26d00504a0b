// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs

import (
	"encoding/json"
	"math"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// apiError is an error of the JetStream API. Its description is left out: replies never appear in messages.
type apiError struct {
	Code    int `json:"code"`
	ErrCode int `json:"err_code"`
}

// Error codes of the JetStream API.
const (
	codeConsumerMissing = 10014
	codeStreamMissing   = 10059
	codeNotEnabled      = 10076
	codeNotForAccount   = 10039
)

// consumerReply is what is needed of the reply to $JS.API.CONSUMER.INFO.
type consumerReply struct {
	Error  *apiError `json:"error"`
	Config struct {
		FilterSubject  string   `json:"filter_subject"`
		FilterSubjects []string `json:"filter_subjects"`
	} `json:"config"`
	Delivered *struct {
		Consumer *int64 `json:"consumer_seq"`
		Stream   *int64 `json:"stream_seq"`
	} `json:"delivered"`
	AckPending *int64 `json:"num_ack_pending"`
	Pending    *int64 `json:"num_pending"`
}

// streamReply is what is needed of the reply to $JS.API.STREAM.INFO.
type streamReply struct {
	Error *apiError `json:"error"`
	State *struct {
		LastSequence *int64 `json:"last_seq"`
	} `json:"state"`
}

func invalid() *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a NATS server with JetStream", "sending replies that make no sense")
}

// parseConsumer reads the reply about a consumer; what it returns without a failure is complete and in range.
func parseConsumer(data []byte, q *capacityv1alpha1.NATSJetStreamSource) (consumerReply, *queue.Failure) {
	var c consumerReply
	if json.Unmarshal(data, &c) != nil {
		return c, invalid()
	}
	if c.Error != nil {
		return c, apiFailure(c.Error, q)
	}
	if c.Delivered == nil || !inRange(c.Delivered.Consumer) || !inRange(c.Delivered.Stream) || !inRange(c.AckPending) || !inRange(c.Pending) {
		return c, invalid()
	}
	return c, nil
}

// parseStream reads the last sequence from the reply about a stream.
func parseStream(data []byte, q *capacityv1alpha1.NATSJetStreamSource) (int64, *queue.Failure) {
	var s streamReply
	if json.Unmarshal(data, &s) != nil {
		return 0, invalid()
	}
	if s.Error != nil {
		return 0, apiFailure(s.Error, q)
	}
	if s.State == nil || !inRange(s.State.LastSequence) {
		return 0, invalid()
	}
	return *s.State.LastSequence, nil
}

// inRange keeps sums of two within int64.
func inRange(n *int64) bool { return n != nil && *n >= 0 && *n <= math.MaxInt64/2 }

func apiFailure(e *apiError, q *capacityv1alpha1.NATSJetStreamSource) *queue.Failure {
	switch e.ErrCode {
	case codeConsumerMissing:
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Create the durable consumer, or correct natsJetStream.consumer",
			"without consumer %q on stream %q", q.Consumer, q.Stream)
	case codeStreamMissing:
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Create the stream, or correct natsJetStream.stream",
			"without stream %q, which consumer %q is to be on,", q.Stream, q.Consumer)
	case codeNotEnabled, codeNotForAccount:
		return noJetStream(q.Domain)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check it: "+infoCommand(q),
		"answering with JetStream error %d for stream %q", e.ErrCode, q.Stream)
}

// infoCommand is what a person looks at a stream with.
func infoCommand(q *capacityv1alpha1.NATSJetStreamSource) string {
	command := "nats stream info " + q.Stream
	if q.Domain != "" {
		command += " --js-domain " + q.Domain
	}
	return command
}

// noJetStream is the failure where nobody answers for JetStream, in this domain.
func noJetStream(domain string) *queue.Failure {
	if domain != "" {
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Correct natsJetStream.domain, check the connection of the leaf node that has it, and the account of these credentials",
			"not reaching JetStream domain %q", domain)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Switch JetStream on for the server and the account of these credentials", "without JetStream")
}

// reading makes one of what consumer and stream told.
//
// Without a filter the consumer is to see every message of the stream: arrived is the stream's last sequence, completed the delivered
// sequence less what is not acknowledged (the ack floor would freeze on one unacknowledged message), and what was delivered more often than
// the stream has sequences was delivered again. With a filter the stream's sequences count other messages too: arrived is pending + delivered,
// completed delivered less unacknowledged, which count a message again when it is delivered again; so what was redelivered is not told.
func (c *consumerReply) reading(last int64, now time.Time) queue.Reading {
	r := queue.Reading{Time: now, Depth: *c.Pending, InFlight: c.AckPending}
	if c.filtered() {
		arrived, completed := *c.Pending+*c.Delivered.Consumer, *c.Delivered.Consumer-*c.AckPending
		r.ArrivedTotal, r.CompletedTotal = &arrived, &completed
		return r
	}
	completed, redelivered := *c.Delivered.Stream-*c.AckPending, *c.Delivered.Consumer-*c.Delivered.Stream
	r.ArrivedTotal, r.CompletedTotal, r.RedeliveredTotal = &last, &completed, &redelivered
	return r
}

func (c *consumerReply) filtered() bool {
	return c.Config.FilterSubject != "" && c.Config.FilterSubject != ">" || len(c.Config.FilterSubjects) > 0
}
