// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sqsq reads queues of Amazon SQS, or of a server that speaks its protocol: one request for each at a poll. No message enters this process.
package sqsq

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/logging"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// replyBytes bounds a reply, requestTimeout the wait for one.
	replyBytes     = 64 << 10
	requestTimeout = queue.ConnectTimeout + queue.ReplyTimeout
	// urlsMost bounds the urls of queues that are kept.
	urlsMost = 4096
)

// reader is a queue.Reader.
type reader struct {
	http *queue.HTTPClient
	sqs  *sqs.Client
	now  func() time.Time
	// closed ends with Close.
	closed context.Context
	close  context.CancelFunc

	mu sync.Mutex
	// urls are those of queues, which the server gives for their names.
	urls map[id]string
}

// id is a queue on the server. account is empty for that of the credentials.
type id struct{ account, name string }

var _, _ queue.Open = Open, OpenWithIdentity

// Open takes the credentials of a Secret, and fails without. There is no request that every user of SQS may make, so the first Read tells whether they are good.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	return open(ctx, o, func(context.Context, queue.ConnectOptions) (aws.CredentialsProvider, *queue.Failure) {
		return nil, queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed,
			"Name a Secret with username (the access key ID) and password (the secret access key) in auth.secretRef, or let the operator use its own cloud identity by --cloud-identity=Allow",
			"not asked for lack of credentials")
	})
}

// OpenWithIdentity is Open that without a Secret uses the cloud identity of the operator's pod.
func OpenWithIdentity(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	return open(ctx, o, podIdentity)
}

func open(ctx context.Context, o queue.ConnectOptions, anonymous func(context.Context, queue.ConnectOptions) (aws.CredentialsProvider, *queue.Failure)) (queue.Reader, *queue.Failure) {
	r := &reader{now: o.Now, urls: map[id]string{}}
	r.closed, r.close = context.WithCancel(context.Background())
	provider, failure := credentialsOf(o)
	if provider == nil && failure == nil {
		provider, failure = anonymous(r.closed, o)
	}
	if failure == nil {
		_, err := provider.Retrieve(ctx)
		failure, _ = failureOf(err, nil)
	}
	if failure != nil {
		r.close()
		return nil, failure
	}
	o.Username, o.Password, o.Token = "", "", "" // requests are signed, and carry no credentials
	r.http = queue.NewHTTPClient(o)
	r.sqs = newClient(o.Endpoint, provider, transport{r.http})
	return r, nil
}

// credentialsOf are those of the Secret; nil where there is none.
func credentialsOf(o queue.ConnectOptions) (aws.CredentialsProvider, *queue.Failure) {
	switch {
	case o.Username != "" && o.Password != "":
		return credentials.NewStaticCredentialsProvider(o.Username, o.Password, o.Token), nil
	case o.Username != "" || o.Password != "" || o.Token != "":
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid,
			"Give the Secret in auth.secretRef the keys username (the access key ID) and password (the secret access key), and token (the session token) if they are temporary", "in need of an access key ID and its secret,")
	}
	return nil, nil
}

// newClient is one that retries nothing, logs nothing, and takes nothing from files or the environment.
func newClient(e queue.Endpoint, provider aws.CredentialsProvider, over sqs.HTTPClient) *sqs.Client {
	return sqs.New(sqs.Options{
		BaseEndpoint: aws.String(e.URL()), Region: e.Region, Credentials: provider, HTTPClient: over,
		Retryer: aws.NopRetryer{}, Logger: logging.Nop{},
	})
}

// transport sends what the client library signed.
type transport struct{ http *queue.HTTPClient }

// Do is sqs.HTTPClient's.
func (t transport) Do(request *http.Request) (*http.Response, error) {
	request.Header.Set("User-Agent", "queuescaler") // the library's own tells of the machine; it is not signed
	return t.http.Do(request, replyBytes)
}

// Connections is the number of open connections.
func (r *reader) Connections() int { return r.http.Connections() }

// Close ends the connections, and Reads.
func (r *reader) Close() {
	r.close()
	r.http.Close()
}

// Read asks for all queues; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	read := func(ctx, begin context.Context, i int) (queue.Reading, *queue.Failure, bool) {
		return r.readOne(ctx, begin, &queues[i].AwsSQS)
	}
	return queue.ReadEach(ctx, r.closed, len(queues), read, deliver)
}

// readOne reads one queue; everywhere is true for a failure of the server.
func (r *reader) readOne(ctx, begin context.Context, source *capacityv1alpha1.AWSSQSSource) (queue.Reading, *queue.Failure, bool) {
	url, failure, everywhere := r.url(ctx, source)
	if failure == nil {
		failure = queue.WaitsTooLong(ctx, begin)
	}
	if failure != nil {
		return queue.Reading{}, failure, everywhere
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	at := r.now()
	output, err := r.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &url,
		AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible}})
	if failure, everywhere := failureOf(err, about(source, "sqs:GetQueueAttributes")); failure != nil {
		if failure.Reason == capacityv1alpha1.ReasonQueueMissing {
			r.forget(source)
		}
		return queue.Reading{}, failure, everywhere
	}
	reading, failure := parse(output.Attributes)
	reading.Time = at
	return reading, failure, false
}

// url is that of the queue, asked for once.
func (r *reader) url(ctx context.Context, source *capacityv1alpha1.AWSSQSSource) (url string, failure *queue.Failure, everywhere bool) {
	key := id{source.AccountID, source.Queue}
	r.mu.Lock()
	url = r.urls[key]
	r.mu.Unlock()
	if url != "" {
		return url, nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	input := &sqs.GetQueueUrlInput{QueueName: &source.Queue}
	if source.AccountID != "" {
		input.QueueOwnerAWSAccountId = &source.AccountID
	}
	output, err := r.sqs.GetQueueUrl(ctx, input)
	if failure, everywhere := failureOf(err, about(source, "sqs:GetQueueUrl")); failure != nil {
		return "", failure, everywhere
	}
	url = aws.ToString(output.QueueUrl)
	if url == "" || len(url) > 1024 {
		return "", invalid("with no url for the queue"), false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.urls) >= urlsMost {
		clear(r.urls)
	}
	r.urls[key] = url
	return url, nil, false
}

// forget has the url asked for again: a queue that is made anew may have another.
func (r *reader) forget(source *capacityv1alpha1.AWSSQSSource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.urls, id{source.AccountID, source.Queue})
}

// parse reads the lengths of a queue. What is not visible may be missing, what waits may not.
func parse(attributes map[string]string) (queue.Reading, *queue.Failure) {
	number := func(name types.QueueAttributeName) (*int64, *queue.Failure) {
		text, told := attributes[string(name)]
		if !told {
			return nil, nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > queue.CountMost {
			return nil, invalid("with a length that is no number of messages")
		}
		return &n, nil
	}
	depth, failure := number(types.QueueAttributeNameApproximateNumberOfMessages)
	if failure == nil && depth == nil {
		failure = invalid("without the length of the queue")
	}
	if failure != nil {
		return queue.Reading{}, failure
	}
	inFlight, failure := number(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
	if failure != nil {
		return queue.Reading{}, failure
	}
	return queue.Reading{Depth: *depth, InFlight: inFlight}, nil
}
