// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	sqsq "github.com/queuescaler/queuescaler/internal/queue/sqs"
	"github.com/queuescaler/queuescaler/test/servers"
)

// reads is a policy by which the queues whose names begin with jobs can be read.
const reads = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sqs:GetQueueUrl", "sqs:GetQueueAttributes"], "Resource": "arn:aws:sqs:*"},
	{"Effect": "Deny", "Action": "sqs:GetQueueUrl", "Resource": "arn:aws:sqs:eu-west-1:123456789012:hidden"},
	{"Effect": "Deny", "Action": "sqs:GetQueueAttributes", "Resource": "arn:aws:sqs:eu-west-1:123456789012:secret"}]}`

var sqsReader = servers.SQSUser{AccessKeyID: "AKIAREADER", SecretAccessKey: "hunter2", Policy: reads}

func sqsQueue(url, name string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", PollSeconds: 1, QueueSource: capacityv1alpha1.QueueSource{
		AwsSQS: capacityv1alpha1.AWSSQSSource{Server: capacityv1alpha1.Server{URL: url, Auth: authBy("creds")}, Queue: name, Region: servers.SQSRegion}}}
}

// newSQSHarness is a harness with the credentials of sqsReader.
func newSQSHarness(t *testing.T, change ...func(*queue.Options)) *harness {
	h := newHarness(t, change...)
	h.setSecret("chat/creds", "username", "AKIAREADER", "password", "hunter2\n")
	return h
}

func sendTo(t *testing.T, client *sqs.Client, url string, delay int32, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		must(client.SendMessage(context.Background(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, DelaySeconds: delay}))
	}
}

func TestSQSReadings(t *testing.T) {
	ctx := context.Background()
	s := servers.StartSQS(t, servers.SQSOptions{Users: []servers.SQSUser{sqsReader}})
	client, url := s.Client(t), s.Create(t, "jobs")
	sendTo(t, client, url, 0, "a", "b", "c")
	sendTo(t, client, url, 900, "later")
	h := newSQSHarness(t)
	q := sqsQueue(s.URL(), "jobs")
	h.Subscribe(scaler, one(q))
	got := h.awaitDepth(scaler, 3).Reading // what is delayed does not wait for a consumer
	if *got.InFlight != 0 || got.ArrivedTotal != nil || got.CompletedTotal != nil || got.OldestAge != nil {
		t.Errorf("%+v, want lengths alone", got)
	}
	taken := must(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 2, VisibilityTimeout: 600})).Messages
	if got := h.awaitDepth(scaler, 1); *got.Reading.InFlight != 2 {
		t.Errorf("%d in flight, want 2", *got.Reading.InFlight)
	}
	must(client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: taken[0].ReceiptHandle}))
	h.await("1 in flight", func() bool { return *h.sample(scaler).Reading.InFlight == 1 }, func() any { return h.sample(scaler) })
	must(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, VisibilityTimeout: 2}))
	h.awaitDepth(scaler, 0)
	if got := h.awaitDepth(scaler, 1); *got.Reading.InFlight != 1 { // it was not completed in time
		t.Errorf("%d in flight, want 1", *got.Reading.InFlight)
	}
	if n := s.Requests("GetQueueUrl"); n != 1 {
		t.Errorf("the url was asked for %d times", n)
	}

	must(client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url}))
	missing := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	says(t, missing, `without queue "jobs".*Create the queue`)
	if missing.ServerWide || missing.Reading == nil {
		t.Errorf("%+v, want a failure of this queue alone, with its last reading", missing)
	}
	sendTo(t, client, s.Create(t, "jobs"), 0, "anew")
	h.awaitDepth(scaler, 1)
}

func TestSQSQueuesFailAlone(t *testing.T) {
	s := servers.StartSQS(t, servers.SQSOptions{Users: []servers.SQSUser{sqsReader}})
	client := s.Client(t)
	sendTo(t, client, s.Create(t, "jobs"), 0, "a", "b", "c")
	s.Create(t, "hidden")
	s.Create(t, "secret")
	h := newSQSHarness(t)
	h.Subscribe(scaler, one(sqsQueue(s.URL(), "jobs")))
	h.awaitDepth(scaler, 3)
	foreign := sqsQueue(s.URL(), "jobs")
	foreign.AwsSQS.AccountID = "000000000000"
	own := sqsQueue(s.URL(), "jobs")
	own.AwsSQS.AccountID = servers.SQSAccount
	for i, c := range []struct {
		queue        capacityv1alpha1.Queue
		reason, says string
	}{
		{sqsQueue(s.URL(), "none"), capacityv1alpha1.ReasonQueueMissing, `without queue "none"; no reading`},
		{foreign, capacityv1alpha1.ReasonQueueMissing, `without queue "jobs" of account 000000000000`},
		{sqsQueue(s.URL(), "hidden"), capacityv1alpha1.ReasonPermissionDenied, `denying sqs:GetQueueUrl on queue "hidden".*Permit sqs:GetQueueUrl on the queue`},
		{sqsQueue(s.URL(), "secret"), capacityv1alpha1.ReasonPermissionDenied, `denying sqs:GetQueueAttributes on queue "secret".*Permit sqs:GetQueueAttributes`},
	} {
		h.Subscribe(subscriber(i+1), one(c.queue))
		got := h.awaitReason(subscriber(i+1), c.reason)
		says(t, got, c.says)
		if got.ServerWide {
			t.Errorf("%s fails the server", c.says)
		}
	}
	h.Subscribe(subscriber(10), one(own))
	h.awaitDepth(subscriber(10), 3)
	if got := h.sample(scaler); got.Quality != queue.Fresh {
		t.Errorf("the good queue: %+v", got)
	}
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections > 4 { // a reply that is an error may end its connection
		t.Errorf("servers: %+v, want one with at most 4 connections", stats)
	}
	s.Throttle(true)
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable), "asking for fewer requests.*Raise pollSeconds")
	s.Throttle(false)
	h.awaitDepth(scaler, 3)
	s.Stop()
	h.await("refused", func() bool { return strings.Contains(h.sample(scaler).Message, "refused for") }, func() any { return h.sample(scaler) })
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable), `^http://127.0.0.1:\d+ refused.*Check that the server runs`)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 3)
}

func TestSQSCredentialsAndTLS(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	temporary := servers.SQSUser{AccessKeyID: "ASIATEMPORARY", SecretAccessKey: "hunter2", SessionToken: "hunter2-session", Policy: reads}
	s := servers.StartSQS(t, servers.SQSOptions{TLS: good, Users: []servers.SQSUser{sqsReader, temporary}})
	outdated := servers.StartSQS(t, servers.SQSOptions{TLS: expired, Users: []servers.SQSUser{sqsReader}})
	sendTo(t, s.Client(t), s.Create(t, "jobs"), 0, "a")
	h := newSQSHarness(t)
	h.setSecret("chat/creds", "username", "AKIAREADER", "password", "wrong")
	h.setSecret("chat/right", "username", "AKIAREADER", "password", "hunter2")
	h.setSecret("chat/unknown", "username", "AKIANOBODY", "password", "hunter2")
	h.setSecret("chat/temporary", "username", "ASIATEMPORARY", "password", "hunter2", "token", "hunter2-session")
	h.setSecret("chat/over", "username", "ASIATEMPORARY", "password", "hunter2", "token", "hunter2-old")
	h.setSecret("chat/half", "username", "AKIAREADER", "token", "hunter2")
	h.setSecret("chat/ca", "ca.crt", string(good.CA))
	h.setSecret("chat/foreign", "ca.crt", string(foreign.CA))
	h.setSecret("chat/expired", "ca.crt", string(expired.CA))
	secured := func(url, secret, ca, name string) capacityv1alpha1.Queue {
		q := sqsQueue(url, "jobs")
		q.AwsSQS.Auth = capacityv1alpha1.Auth{}
		if secret != "" {
			q.AwsSQS.Auth = authBy(secret)
		}
		q.AwsSQS.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: ca}, ServerName: name}
		return q
	}
	h.Subscribe(other, one(listQueue(servers.StartRedis(t, servers.RedisOptions{}).URL(), "jobs")))
	h.Subscribe(scaler, one(secured(s.URL(), "creds", "ca", "")))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `refusing the credentials or the region.*Correct Secret chat/creds`)
	h.setSecret("chat/creds", "username", "AKIAREADER", "password", "hunter2")
	h.awaitDepth(scaler, 1)
	h.Subscribe(subscriber(20), one(secured(s.URL(), "temporary", "ca", "localhost")))
	h.awaitDepth(subscriber(20), 1)
	elsewhere := secured(s.URL(), "right", "ca", "")
	elsewhere.AwsSQS.Region = "us-east-1"
	const failed, tls = capacityv1alpha1.ReasonAuthenticationFailed, capacityv1alpha1.ReasonTLSFailed
	for i, c := range []struct {
		queue        capacityv1alpha1.Queue
		reason, says string
	}{
		{secured(s.URL(), "unknown", "ca", ""), failed, "refusing the credentials"},
		{secured(s.URL(), "over", "ca", ""), failed, "refusing the credentials"},
		{elsewhere, failed, "refusing the credentials or the region"},
		{secured(s.URL(), "half", "ca", ""), capacityv1alpha1.ReasonSecretInvalid, "in need of an access key ID and its secret.*keys username.*password.*token"},
		{secured(s.URL(), "", "ca", ""), failed, `lack of credentials.*in auth\.secretRef, or let the operator.*--cloud-identity=Allow`},
		{secured(s.URL(), "right", "foreign", ""), tls, "unknown authority"},
		{secured(s.URL(), "right", "ca", "other.example"), tls, "for another name"},
		{secured(outdated.URL(), "right", "expired", ""), tls, "has expired"},
	} {
		h.Subscribe(subscriber(i+1), one(c.queue))
		says(t, h.awaitReason(subscriber(i+1), c.reason), c.says)
	}
	h.awaitDepth(scaler, 1)
	h.awaitDepth(other, 0)
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
}

// With the flag, queues without a Secret are read as the role of the operator's pod.
func TestSQSWithTheOperatorsIdentity(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/queuescaler"
	assumed := servers.SQSUser{AccessKeyID: "ASIAROLE", SecretAccessKey: "hunter2", SessionToken: "hunter2-session", Policy: reads}
	s := servers.StartSQS(t, servers.SQSOptions{Users: []servers.SQSUser{assumed}, Role: role, Token: "hunter2-token"})
	sendTo(t, s.Client(t), s.Create(t, "jobs"), 0, "a", "b")
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := newHarness(t, func(o *queue.Options) { o.Open[queue.KindSQS] = sqsq.OpenWithIdentity })
	q := sqsQueue(s.URL(), "jobs")
	q.AwsSQS.Auth = capacityv1alpha1.Auth{}

	const failed = capacityv1alpha1.ReasonAuthenticationFailed
	for name, value := range map[string]string{"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_REGION": "", "AWS_ENDPOINT_URL_STS": s.URL()} {
		t.Setenv(name, value)
	}
	awaitMessage := func(reason, pattern string) {
		t.Helper()
		h.await(pattern, func() bool { return strings.Contains(h.sample(scaler).Message, pattern) }, func() any { return h.sample(scaler) })
		says(t, h.awaitReason(scaler, reason), pattern)
	}
	h.Subscribe(scaler, one(q))
	awaitMessage(failed, "the operator's pod has no cloud identity")
	t.Setenv("AWS_REGION", servers.SQSRegion)
	awaitMessage(failed, "the operator's pod cannot read its token")
	write("another")
	awaitMessage(failed, "STS refused the operator's role")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://169.254.169.254")
	awaitMessage(capacityv1alpha1.ReasonQueueUnavailable, "STS gave no credentials")
	t.Setenv("AWS_ENDPOINT_URL_STS", s.URL())
	write("hunter2-token")
	h.awaitDepth(scaler, 2)
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
}

func TestHostileSQS(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	const invalid, timeout, unavailable = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout, capacityv1alpha1.ReasonQueueUnavailable
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"closes", func(net.Conn) {}, unavailable},
		{"no HTTP", sayHTTP("\x00\xff\x17garbage\n", true), invalid},
		{"endless body", sayHTTP("HTTP/1.1 200 OK\r\n\r\n", true), invalid},
		{"endless JSON", sayHTTP("HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n\r\n{\"QueueUrl\":\"", true), invalid},
		{"endless error", sayHTTP("HTTP/1.1 400 Bad\r\n\r\n", true), invalid},
		{"endless header", sayHTTP("HTTP/1.1 200 OK\r\nA: ", true), invalid},
		{"no JSON", sayHTTP("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage", false), invalid},
		{"no queue", sayHTTP("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false), invalid},
		{"another reply", sayHTTP("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"QueueUrl\":[\"garbage\"]}", false), invalid},
		{"an unknown error", sayHTTP("HTTP/1.1 400 Bad\r\nX-Amzn-Query-Error: garbage;Sender\r\nContent-Length: 20\r\n\r\n{\"__type\":\"garbage\"}", false), invalid},
		{"redirect", sayHTTP("HTTP/1.1 302 Found\r\nLocation: http://garbage/\r\nContent-Length: 0\r\n\r\n", false), invalid},
		{"server error", sayHTTP("HTTP/1.1 503 garbage\r\nContent-Length: 7\r\n\r\ngarbage", false), unavailable},
		{"too many", sayHTTP("HTTP/1.1 429 garbage\r\nContent-Length: 0\r\n\r\n", false), unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			newSQSHarness(t).withstands(good, sqsQueue("http://"+hostile(t, c.serve), "jobs"), c.reason)
		})
	}
}

func TestSQSNoMetadataService(t *testing.T) {
	h := newSQSHarness(t)
	h.Subscribe(scaler, one(sqsQueue("http://169.254.169.254", "jobs")))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAddressRefused), "address is link-local")
}
