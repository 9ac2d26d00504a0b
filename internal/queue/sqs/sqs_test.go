// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package sqsq_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	sqsq "github.com/queuescaler/queuescaler/internal/queue/sqs"
	"github.com/queuescaler/queuescaler/test/servers"
)

func connect(t *testing.T, s *servers.SQS) queue.Reader {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	reader, failure := sqsq.Open(t.Context(), queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindSQS, Scheme: "http", Host: host, Port: port, Region: servers.SQSRegion},
		Username: "admin", Password: "admin", Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.Address())
		},
	})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	return reader
}

func source(name string) *capacityv1alpha1.Queue {
	return &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{AwsSQS: capacityv1alpha1.AWSSQSSource{Queue: name, Region: servers.SQSRegion}}}
}

// read reads one queue, which may not fail.
func read(t *testing.T, reader queue.Reader, name string) (depth, inFlight int64) {
	t.Helper()
	failure := reader.Read(t.Context(), []*capacityv1alpha1.Queue{source(name)}, func(_ int, r queue.Reading, f *queue.Failure) {
		if f != nil {
			t.Fatal(f)
		}
		depth, inFlight = r.Depth, *r.InFlight
	})
	if failure != nil {
		t.Fatal(failure)
	}
	return depth, inFlight
}

// atOnce does something a number of times, a few at once.
func atOnce(times int, do func(i int) error) error {
	var all sync.WaitGroup
	errs := make(chan error, 4)
	for worker := range 4 {
		all.Go(func() {
			for i := worker; i < times; i += 4 {
				if err := do(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

// There are no counters. What waits and what is in flight is right to the message, whatever was sent, received, completed and given back.
func TestLengthsAgree(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 2_000
	}
	s := servers.StartSQS(t, servers.SQSOptions{})
	client, url, reader := s.Client(t), s.Create(t, "jobs"), connect(t, s)
	ctx := t.Context()
	send := func(int) error {
		in := &sqs.SendMessageBatchInput{QueueUrl: &url}
		for i := range 10 {
			id := strconv.Itoa(i)
			in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &id})
		}
		_, err := client.SendMessageBatch(ctx, in)
		return err
	}
	// Of each batch of ten, nine are completed and one stays in flight.
	consume := func(int) error {
		got, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, VisibilityTimeout: 3600})
		if err != nil || len(got.Messages) != 10 {
			return fmt.Errorf("%d messages received: %w", len(got.Messages), err)
		}
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &url}
		for _, m := range got.Messages[1:] {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: m.MessageId, ReceiptHandle: m.ReceiptHandle})
		}
		_, err = client.DeleteMessageBatch(ctx, in)
		return err
	}
	waiting, taken := 0, 0
	for range 5 {
		if err := atOnce(messages/50, send); err != nil {
			t.Fatal(err)
		}
		waiting += messages / 5
		if depth, inFlight := read(t, reader, "jobs"); depth != int64(waiting) || inFlight != int64(taken) {
			t.Fatalf("%d wait and %d are in flight, want %d and %d", depth, inFlight, waiting, taken)
		}
		if err := atOnce(messages/100, consume); err != nil {
			t.Fatal(err)
		}
		waiting, taken = waiting-messages/10, taken+messages/100
		if depth, inFlight := read(t, reader, "jobs"); depth != int64(waiting) || inFlight != int64(taken) {
			t.Fatalf("%d wait and %d are in flight, want %d and %d", depth, inFlight, waiting, taken)
		}
	}
}

// Many queues are read over at most four connections, with one request for each once their urls are known; bad ones fail alone.
func TestManyQueues(t *testing.T) {
	const many = 300
	s := servers.StartSQS(t, servers.SQSOptions{})
	client, reader := s.Client(t), connect(t, s)
	queues := []*capacityv1alpha1.Queue{source("missing")}
	for i := range many {
		name := fmt.Sprint("q", i)
		if _, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name}); err != nil {
			t.Fatal(err)
		}
		queues = append(queues, source(name))
	}
	for round := range 2 {
		results := make([]*queue.Failure, len(queues))
		calls := 0
		failure := reader.Read(t.Context(), queues, func(i int, _ queue.Reading, f *queue.Failure) { results[i], calls = f, calls+1 })
		if failure != nil || calls != len(queues) {
			t.Fatalf("round %d: %d results, failure %v", round, calls, failure)
		}
		for i, f := range results {
			if missing := f != nil && f.Reason == capacityv1alpha1.ReasonQueueMissing; missing != (i == 0) || f != nil && !missing {
				t.Errorf("queue %d: %v", i, f)
			}
		}
	}
	if n := reader.Connections(); n < 1 || n > 4 {
		t.Errorf("%d connections, want 1 to 4", n)
	}
	if urls, lengths := s.Requests("GetQueueUrl"), s.Requests("GetQueueAttributes"); urls != many+2 || lengths != 2*many {
		t.Errorf("%d requests for urls and %d for lengths, want %d and %d", urls, lengths, many+2, 2*many)
	}
}

// A Read ends when the reader is closed, though the server says nothing.
func TestCloseEndsRead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	reader, failure := sqsq.Open(t.Context(), queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindSQS, Scheme: "http", Host: host, Port: port, Region: servers.SQSRegion}, Username: "a", Password: "b", Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		},
	})
	if failure != nil {
		t.Fatal(failure)
	}
	ended := make(chan *queue.Failure, 1)
	go func() {
		ended <- reader.Read(context.Background(), []*capacityv1alpha1.Queue{source("jobs")}, func(int, queue.Reading, *queue.Failure) {})
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	reader.Close()
	select {
	case f := <-ended:
		if f == nil || time.Since(start) > 2*time.Second {
			t.Errorf("ended with %v after %v, want a failure at once", f, time.Since(start))
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Read goes on")
	}
}
