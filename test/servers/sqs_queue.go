// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sqsInput is what requests carry.
type sqsInput struct {
	QueueName, MessageBody, ReceiptHandle string
	QueueURL                              string `json:"QueueUrl"`
	Owner                                 string `json:"QueueOwnerAWSAccountId"`
	DelaySeconds, MaxNumberOfMessages     int
	VisibilityTimeout                     *int
	AttributeNames                        []string
	Entries                               []struct {
		ID                         string `json:"Id"`
		MessageBody, ReceiptHandle string
		DelaySeconds               int
	}
}

// sqsQueue is a queue: what waits in order, what was received and is not visible until a time, and what is delayed until one.
type sqsQueue struct {
	visible         []string
	hidden, delayed map[string]sqsHidden
	// next is when something of these becomes visible.
	next   time.Time
	handed int
}

type sqsHidden struct {
	body  string
	until time.Time
}

// act does what was asked for. The server's mutex is held.
func (s *SQS) act(action, name string, in *sqsInput) (any, *sqsError) {
	q := s.queues[name]
	if action == "CreateQueue" {
		if q == nil {
			s.queues[name] = &sqsQueue{hidden: map[string]sqsHidden{}, delayed: map[string]sqsHidden{}}
		}
		return map[string]string{"QueueUrl": s.queueURL(name)}, nil
	}
	if q == nil || in.Owner != "" && in.Owner != SQSAccount {
		return nil, sqsMissing
	}
	q.reveal(time.Now())
	switch action {
	case "DeleteQueue":
		delete(s.queues, name)
		return struct{}{}, nil
	case "GetQueueUrl":
		return map[string]string{"QueueUrl": s.queueURL(name)}, nil
	case "GetQueueAttributes":
		return map[string]any{"Attributes": q.attributes(in.AttributeNames)}, nil
	case "SendMessage":
		return map[string]string{"MessageId": q.send(in.MessageBody, in.DelaySeconds), "MD5OfMessageBody": md5Of(in.MessageBody)}, nil
	case "SendMessageBatch":
		done := []map[string]string{}
		for _, e := range in.Entries {
			done = append(done, map[string]string{"Id": e.ID, "MessageId": q.send(e.MessageBody, e.DelaySeconds), "MD5OfMessageBody": md5Of(e.MessageBody)})
		}
		return map[string]any{"Successful": done, "Failed": []string{}}, nil
	case "ReceiveMessage":
		return map[string]any{"Messages": q.receive(max(1, in.MaxNumberOfMessages), in.VisibilityTimeout)}, nil
	case "DeleteMessage":
		delete(q.hidden, in.ReceiptHandle)
		return struct{}{}, nil
	case "DeleteMessageBatch":
		done := []map[string]string{}
		for _, e := range in.Entries {
			delete(q.hidden, e.ReceiptHandle)
			done = append(done, map[string]string{"Id": e.ID})
		}
		return map[string]any{"Successful": done, "Failed": []string{}}, nil
	}
	return nil, sqsUnknown
}

func (s *SQS) queueURL(name string) string { return s.URL() + "/" + SQSAccount + "/" + name }

// reveal makes visible what is due.
func (q *sqsQueue) reveal(now time.Time) {
	if q.next.IsZero() || now.Before(q.next) {
		return
	}
	q.next = time.Time{}
	for _, from := range []map[string]sqsHidden{q.hidden, q.delayed} {
		for handle, m := range from {
			if now.Before(m.until) {
				q.note(m.until)
				continue
			}
			delete(from, handle)
			q.visible = append(q.visible, m.body)
		}
	}
}

// note keeps the earliest time at which something becomes visible.
func (q *sqsQueue) note(at time.Time) {
	if q.next.IsZero() || at.Before(q.next) {
		q.next = at
	}
}

func (q *sqsQueue) handle() string {
	q.handed++
	return strconv.Itoa(q.handed)
}

func (q *sqsQueue) send(body string, delay int) string {
	id := q.handle()
	if delay == 0 {
		q.visible = append(q.visible, body)
		return id
	}
	until := time.Now().Add(time.Duration(delay) * time.Second)
	q.delayed[id] = sqsHidden{body, until}
	q.note(until)
	return id
}

func (q *sqsQueue) receive(most int, visibility *int) []map[string]string {
	seconds := 30
	if visibility != nil {
		seconds = *visibility
	}
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	taken := []map[string]string{}
	for len(taken) < most && len(q.visible) > 0 {
		m := sqsHidden{q.visible[0], until}
		q.visible = q.visible[1:]
		handle := q.handle()
		q.hidden[handle] = m
		taken = append(taken, map[string]string{"MessageId": handle, "ReceiptHandle": handle, "Body": m.body, "MD5OfBody": md5Of(m.body)})
	}
	if len(taken) > 0 {
		q.note(until)
	}
	return taken
}

func (q *sqsQueue) attributes(names []string) map[string]string {
	all := map[string]int{"ApproximateNumberOfMessages": len(q.visible), "ApproximateNumberOfMessagesNotVisible": len(q.hidden), "ApproximateNumberOfMessagesDelayed": len(q.delayed)}
	wanted := map[string]string{}
	for _, name := range names {
		for known, n := range all {
			if name == known || name == "All" {
				wanted[known] = strconv.Itoa(n)
			}
		}
	}
	return wanted
}

// sqsPolicy is what of an IAM policy is followed: statements with actions and resources, and the asterisk in them.
type sqsPolicy struct {
	Version   string
	Statement []struct {
		Effect           string
		Action, Resource sqsWords
	}
}

// sqsWords are one string or several.
type sqsWords []string

// UnmarshalJSON is json.Unmarshaler's.
func (w *sqsWords) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*w = sqsWords{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(w))
}

// parsePolicy reads a policy; nil for none.
func parsePolicy(text string) (*sqsPolicy, error) {
	if text == "" {
		return nil, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	p := &sqsPolicy{}
	if err := decoder.Decode(p); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if p.Version != "2012-10-17" {
		return nil, errors.New("policy: of another version than 2012-10-17")
	}
	return p, nil
}

// permits follows the policy: what is denied is, and what is not allowed as well.
func (p *sqsPolicy) permits(action, resource string) bool {
	if p == nil {
		return true
	}
	allowed := false
	for _, s := range p.Statement {
		if !s.Action.match(action) || !s.Resource.match(resource) {
			continue
		}
		if s.Effect != "Allow" {
			return false
		}
		allowed = true
	}
	return allowed
}

// match is true where one of them is text, or its beginning if an asterisk follows.
func (w sqsWords) match(text string) bool {
	for _, word := range w {
		if begin, open := strings.CutSuffix(word, "*"); word == text || open && strings.HasPrefix(text, begin) {
			return true
		}
	}
	return false
}
