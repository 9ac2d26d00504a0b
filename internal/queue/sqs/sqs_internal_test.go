// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package sqsq

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canned answers every request alike, and the one for the queue's url with one if url is set.
type canned struct {
	url, body, code string
	status          int
}

func (c canned) Do(r *http.Request) (*http.Response, error) {
	reply := &http.Response{StatusCode: c.status, Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader(c.body))}
	if c.code != "" {
		reply.Header.Set("X-Amzn-Query-Error", c.code)
	}
	if c.url != "" && strings.HasSuffix(r.Header.Get("X-Amz-Target"), "GetQueueUrl") {
		reply.StatusCode, reply.Body = http.StatusOK, io.NopCloser(strings.NewReader(`{"QueueUrl":"`+c.url+`"}`))
	}
	return reply, nil
}

func readCanned(c canned) (queue.Reading, *queue.Failure, bool) {
	ctx := context.Background()
	e := queue.Endpoint{Kind: queue.KindSQS, Scheme: "http", Host: "sqs.example", Port: "80", Region: "eu-west-1"}
	r := &reader{now: time.Now, urls: map[id]string{}, sqs: newClient(e, credentials.NewStaticCredentialsProvider("id", "secret", ""), c)}
	return r.readOne(ctx, ctx, &capacityv1alpha1.AWSSQSSource{Queue: "jobs"})
}

const (
	missing, denied, refused        = capacityv1alpha1.ReasonQueueMissing, capacityv1alpha1.ReasonPermissionDenied, capacityv1alpha1.ReasonAuthenticationFailed
	unavailable, nonsense, itsQueue = capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueReplyInvalid, "http://sqs.example/1/jobs"
)

var replies = []struct {
	name string
	canned
	reason     string
	everywhere bool
}{
	{"lengths", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessages":"7","ApproximateNumberOfMessagesNotVisible":"2"}}`, "", 200}, "", false},
	{"depth alone", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessages":"7"}}`, "", 200}, "", false},
	{"no depth", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessagesNotVisible":"2"}}`, "", 200}, nonsense, false},
	{"no attributes", canned{itsQueue, `{}`, "", 200}, nonsense, false},
	{"empty body", canned{itsQueue, ``, "", 200}, nonsense, false},
	{"negative", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessages":"-1"}}`, "", 200}, nonsense, false},
	{"fraction", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessages":"1.5"}}`, "", 200}, nonsense, false},
	{"absurd", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessages":"9223372036854775807"}}`, "", 200}, nonsense, false},
	{"number instead of text", canned{itsQueue, `{"Attributes":{"ApproximateNumberOfMessages":7}}`, "", 200}, nonsense, false},
	{"text of another form", canned{itsQueue, `{"Attributes":"garbage"}`, "", 200}, nonsense, false},
	{"no JSON", canned{itsQueue, `<html>garbage`, "", 200}, nonsense, false},
	{"url without end", canned{itsQueue + strings.Repeat("x", 2000), `{}`, "", 200}, nonsense, false},
	{"missing", canned{"", `{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"garbage"}`, "AWS.SimpleQueueService.NonExistentQueue;Sender", 400}, missing, false},
	{"missing, without the older code", canned{"", `{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}`, "", 400}, missing, false},
	{"deleted", canned{itsQueue, `{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}`, "", 400}, missing, false},
	{"denied", canned{itsQueue, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"garbage"}`, "", 400}, denied, false},
	{"denied, by the older code", canned{itsQueue, `{"__type":"com.amazonaws.sqs#garbage"}`, "AccessDenied;Sender", 403}, denied, false},
	{"unknown key", canned{itsQueue, `{"__type":"com.amazon.coral.service#UnrecognizedClientException"}`, "", 400}, refused, true},
	{"unknown key, by the older code", canned{itsQueue, `{"__type":"garbage"}`, "InvalidClientTokenId;Sender", 403}, refused, true},
	{"wrong signature", canned{itsQueue, `{"__type":"com.amazon.coral.service#InvalidSignatureException"}`, "", 400}, refused, true},
	{"wrong signature, by the older code", canned{itsQueue, `{"__type":"garbage"}`, "SignatureDoesNotMatch;Sender", 403}, refused, true},
	{"expired", canned{itsQueue, `{"__type":"com.amazon.coral.service#ExpiredTokenException"}`, "", 400}, refused, true},
	{"throttled", canned{itsQueue, `{"__type":"com.amazonaws.sqs#RequestThrottled"}`, "RequestThrottled;Sender", 400}, unavailable, false},
	{"throttled before SQS", canned{itsQueue, `garbage`, "", 429}, unavailable, false},
	{"internal error", canned{itsQueue, `{"__type":"com.amazon.coral.service#InternalFailure"}`, "", 500}, unavailable, false},
	{"another error", canned{itsQueue, `{"__type":"com.amazonaws.sqs#garbage"}`, "garbage;Sender", 400}, nonsense, false},
	{"error without a body", canned{itsQueue, ``, "", 404}, nonsense, false},
}

func TestReplies(t *testing.T) {
	for _, c := range replies {
		got, failure, everywhere := readCanned(c.canned)
		switch {
		case c.reason == "" && (failure != nil || got.Depth != 7 || got.Time.IsZero() || c.name == "lengths" && *got.InFlight != 2 || c.name != "lengths" && got.InFlight != nil):
			t.Errorf("%s: %+v, %v", c.name, got, failure)
		case c.reason == "":
		case failure == nil || failure.Reason != c.reason || everywhere != c.everywhere || failure.Remedy == "" || strings.Contains(failure.What+failure.Remedy, "garbage"):
			t.Errorf("%s: %+v, everywhere %v; want %s, %v", c.name, failure, everywhere, c.reason, c.everywhere)
		}
	}
}

func TestFailuresOfTheConnection(t *testing.T) {
	for _, c := range []struct {
		err        error
		reason     string
		everywhere bool
	}{
		{context.DeadlineExceeded, capacityv1alpha1.ReasonQueueTimeout, false},
		{context.Canceled, unavailable, true},
		{queue.Fail(unavailable, "r", "refused"), unavailable, true},
		{queue.Fail(nonsense, "r", "sending"), nonsense, false},
		{errors.New("garbage"), nonsense, false},
	} {
		if f, everywhere := failureOf(c.err, &request{}); f == nil || f.Reason != c.reason || everywhere != c.everywhere || strings.Contains(f.What, "garbage") {
			t.Errorf("%v: %+v, everywhere %v", c.err, f, everywhere)
		}
	}
}

// Whatever a server replies, it ends in a reading in range or a failure.
func FuzzReply(f *testing.F) {
	for _, c := range replies {
		f.Add(c.url == "", c.status, c.code, c.body)
	}
	f.Fuzz(func(t *testing.T, first bool, status int, code, body string) {
		c := canned{itsQueue, body, code, status}
		if first {
			c.url = ""
		}
		got, failure, _ := readCanned(c)
		if failure == nil && (got.Depth < 0 || got.Depth > queue.CountMost || got.InFlight != nil && *got.InFlight < 0) {
			t.Errorf("%q makes %+v", body, got)
		}
	})
}

// A connection that cannot be made in time is the server's failure, and no queue's.
func TestSilentServerIsNoSlowQueue(t *testing.T) {
	o := queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindSQS, Scheme: "http", Host: "sqs.example", Port: "80", Region: "eu-west-1"},
		Username: "id", Password: "secret", Now: time.Now,
		Dial: func(context.Context) (net.Conn, error) { return nil, os.ErrDeadlineExceeded },
	}
	opened, failure := Open(t.Context(), o)
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(opened.Close)
	queues := []*capacityv1alpha1.Queue{{QueueSource: capacityv1alpha1.QueueSource{AwsSQS: capacityv1alpha1.AWSSQSSource{Queue: "jobs"}}}}
	everywhere := opened.Read(t.Context(), queues, func(_ int, _ queue.Reading, f *queue.Failure) { t.Errorf("%v fails the queue alone", f) })
	if everywhere == nil || everywhere.Reason != capacityv1alpha1.ReasonQueueTimeout {
		t.Errorf("%v, want the server to be silent", everywhere)
	}
}
