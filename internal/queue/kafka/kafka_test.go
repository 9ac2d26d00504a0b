// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kafkaq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	kafkaq "github.com/queuescaler/queuescaler/internal/queue/kafka"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func connect(t testing.TB, k *servers.Kafka) queue.Reader {
	t.Helper()
	return connectAt(t, k, time.Now)
}

// connectAt is connect with another clock.
func connectAt(t testing.TB, k *servers.Kafka, now func() time.Time) queue.Reader {
	t.Helper()
	host, port, err := net.SplitHostPort(k.Address())
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	reader, failure := kafkaq.Open(ctx, queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindKafka, Host: host, Port: port},
		Dial:     func(ctx context.Context) (net.Conn, error) { return dial(ctx, k.Address()) }, DialAddress: dial, Now: now,
	})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	return reader
}

type result struct {
	queue.Reading
	failure *queue.Failure
}

func queuesOf(sources ...capacityv1alpha1.KafkaSource) []*capacityv1alpha1.Queue {
	queues := make([]*capacityv1alpha1.Queue, len(sources))
	for i := range sources {
		queues[i] = &capacityv1alpha1.Queue{Name: fmt.Sprint("q", i), QueueSource: capacityv1alpha1.QueueSource{Kafka: sources[i]}}
	}
	return queues
}

// read reads all sources at once; each has to be delivered once.
func read(t testing.TB, reader queue.Reader, sources ...capacityv1alpha1.KafkaSource) []result {
	t.Helper()
	results, delivered := make([]result, len(sources)), 0
	failure := reader.Read(ctx, queuesOf(sources...), func(i int, r queue.Reading, f *queue.Failure) {
		results[i] = result{r, f}
		delivered++
	})
	if failure != nil || delivered != len(sources) {
		t.Fatalf("%d of %d delivered, failure %v", delivered, len(sources), failure)
	}
	return results
}

// told is a reading; a completed of -1 is not told.
func told(depth, deepest, arrived, completed, partitions int64) queue.Reading {
	r := queue.Reading{Depth: depth, DeepestPartition: &deepest, ArrivedTotal: &arrived, MostConsumers: &partitions}
	if completed >= 0 {
		r.CompletedTotal = &completed
	}
	return r
}

func source(topic, group string, partitions ...int32) capacityv1alpha1.KafkaSource {
	return capacityv1alpha1.KafkaSource{Topic: topic, Group: group, Partitions: partitions}
}

// same compares what a reading tells, apart from its time.
func same(t *testing.T, what string, got result, want queue.Reading) {
	t.Helper()
	if got.failure != nil {
		t.Errorf("%s: %v", what, got.failure)
		return
	}
	if diff := cmp.Diff(want, got.Reading, cmpopts.IgnoreFields(queue.Reading{}, "Time", "Members", "ShallowestPartition")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	if age := time.Since(got.Time); age < 0 || age > time.Minute {
		t.Errorf("%s: time %v", what, got.Time)
	}
}

func TestLag(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 3})
	k.Fill(t, "orders", 4, 40) // 10 in each partition
	k.Fill(t, "mail", 1, 5)
	k.Commit(t, "all", "orders", 10, 10, 10, 10)
	k.Commit(t, "some", "orders", 10, 4, 0, 9)
	k.Commit(t, "few", "orders", 10, 3)
	k.Commit(t, "mailers", "mail", 5)
	k.Commit(t, "beyond", "mail", 7)
	reader := connect(t, k)
	for _, version := range []string{"first", "again"} {
		got := read(t, reader, source("orders", "all"), source("orders", "some"), source("orders", "some", 1, 3), source("orders", "few"),
			source("mail", "mailers"), source("mail", "beyond"), source("mail", "all"))
		same(t, version+" nothing waits", got[0], told(0, 0, 40, 40, 4))
		same(t, version+" some wait", got[1], told(17, 10, 40, 23, 4))
		same(t, version+" two partitions", got[2], told(7, 6, 20, 13, 2))
		same(t, version+" two without a commit", got[3], told(27, 10, 40, -1, 4))
		same(t, version+" another topic", got[4], told(0, 0, 5, 5, 1))
		same(t, version+" committed beyond the end", got[5], told(0, 0, 5, 5, 1))
		same(t, version+" a group that did not commit this topic", got[6], told(5, 5, 5, -1, 1))
	}
	if n := reader.Connections(); n > 4 {
		t.Errorf("%d connections to 3 brokers, want at most 4", n)
	}
}

func TestRetentionAndEmptyPartitions(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{})
	k.Fill(t, "orders", 2, 20)
	k.Fill(t, "empty", 2, 0)
	admin := kadm.NewClient(k.Client(t))
	gone := kadm.Offsets{}
	gone.Add(kadm.Offset{Topic: "orders", Partition: 0, At: 6})
	gone.Add(kadm.Offset{Topic: "orders", Partition: 1, At: 10})
	if _, err := admin.DeleteRecords(ctx, gone); err != nil {
		t.Fatal(err)
	}
	k.Commit(t, "late", "orders", 2)
	k.Commit(t, "late", "empty", 0)
	got := read(t, connect(t, k), source("orders", "late"), source("empty", "late"))
	// Of partition 0 the messages 6 to 9 are left; what retention deleted neither waits nor was completed. Partition 1 has none.
	same(t, "deleted by retention", got[0], told(4, 4, 20, 12, 2))
	same(t, "empty", got[1], told(0, 0, 0, 0, 2))
}

func TestOneBadQueueFailsAlone(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 2})
	k.Fill(t, "orders", 2, 6)
	k.Commit(t, "workers", "orders", 1, 1)
	reader := connect(t, k)
	got := read(t, reader, source("orders", "workers"), source("none", "workers"), source("orders", "nobody"), source("orders", "workers", 0, 2), source("orders", "workers", 1))
	for i, want := range map[int]string{1: `without topic "none"`, 2: `with topic "orders", but without group "nobody"`, 3: `with topic "orders", but without its partition 2,`} {
		if f := got[i].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueMissing || f.What != want {
			t.Errorf("%d: %v, want QueueMissing, %s", i, f, want)
		}
	}
	same(t, "the good one", got[0], told(4, 2, 6, 2, 2))
	same(t, "one partition", got[4], told(2, 2, 3, 1, 1))
}

// A group of Kafka 4's protocol is described by another request than one of the older protocol, and is there before its first commit.
func TestGroupWithMembersAndNoCommit(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{})
	k.Fill(t, "orders", 2, 6)
	for group, options := range map[string][]kgo.Opt{"classic": nil, "consumer": {kgo.ServerSideBalancer()}} {
		t.Run(group, func(t *testing.T) {
			client := k.Client(t, append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())...)
			if fetches := client.PollFetches(ctx); fetches.Err() != nil {
				t.Fatal(fetches.Err())
			}
			same(t, group, read(t, connect(t, k), source("orders", group))[0], told(6, 3, 6, -1, 2))
		})
	}
}

// noCommits answers as brokers do for groups that committed nothing, those included that do not exist.
func noCommits(k *servers.Kafka) {
	k.Cluster().ControlKey(kmsg.OffsetFetch.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		reply := r.ResponseKind().(*kmsg.OffsetFetchResponse)
		for _, g := range r.(*kmsg.OffsetFetchRequest).Groups {
			group := kmsg.NewOffsetFetchResponseGroup()
			group.Group = g.Group
			for _, asked := range g.Topics {
				topic := kmsg.NewOffsetFetchResponseGroupTopic()
				topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
				for _, number := range asked.Partitions {
					p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
					p.Partition, p.Offset = number, -1
					topic.Partitions = append(topic.Partitions, p)
				}
				group.Topics = append(group.Topics, topic)
			}
			reply.Groups = append(reply.Groups, group)
		}
		return reply, nil, true
	})
}

// describedAs answers a description of each group by what of makes of it.
func describedAs(of func(*kmsg.DescribeGroupsResponseGroup)) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(r kmsg.Request) (kmsg.Response, error, bool) {
		reply := r.ResponseKind().(*kmsg.DescribeGroupsResponse)
		for _, name := range r.(*kmsg.DescribeGroupsRequest).Groups {
			group := kmsg.NewDescribeGroupsResponseGroup()
			group.Group = name
			of(&group)
			reply.Groups = append(reply.Groups, group)
		}
		return reply, nil, true
	}
}

// A group that committed nothing, and of which nobody tells whether it exists, is not one for which all messages wait.
func TestGroupThatMayNotExist(t *testing.T) {
	hangUp := func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errors.New("gone"), true }
	const unavailable, denied, unanswered = capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonPermissionDenied, `without an answer from the broker that coordinates group "nobody"`
	for name, c := range map[string]struct {
		key          kmsg.Key
		answer       func(kmsg.Request) (kmsg.Response, error, bool)
		reason, what string
	}{
		"hangs up":             {kmsg.DescribeGroups, hangUp, unavailable, unanswered},
		"hangs up when newer":  {kmsg.ConsumerGroupDescribe, hangUp, unavailable, unanswered},
		"leaves it out":        {kmsg.DescribeGroups, func(r kmsg.Request) (kmsg.Response, error, bool) { return r.ResponseKind(), nil, true }, unavailable, unanswered},
		"answers another code": {kmsg.DescribeGroups, describedAs(func(g *kmsg.DescribeGroupsResponseGroup) { g.ErrorCode = kerr.UnknownServerError.Code }), unavailable, "answering UNKNOWN_SERVER_ERROR"},
		"denies":               {kmsg.DescribeGroups, describedAs(func(g *kmsg.DescribeGroupsResponseGroup) { g.ErrorCode = kerr.GroupAuthorizationFailed.Code }), denied, `denying a request about group "nobody"`},
		"is too large":         {kmsg.DescribeGroups, describedAs(func(g *kmsg.DescribeGroupsResponseGroup) { g.Protocol = strings.Repeat("x", 3<<20) }), unavailable, unanswered},
	} {
		t.Run(name, func(t *testing.T) {
			k := servers.StartKafka(t, servers.KafkaOptions{})
			k.Fill(t, "orders", 2, 6)
			reader := connect(t, k)
			noCommits(k)
			if f := read(t, reader, source("orders", "nobody"))[0].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueMissing {
				t.Fatalf("%v, want QueueMissing", f)
			}
			k.Cluster().ControlKey(c.key.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
				k.Cluster().KeepControl()
				return c.answer(r)
			})
			got := read(t, reader, source("orders", "nobody"), source("none", "nobody"))
			if f := got[0].failure; f == nil || f.Reason != c.reason || !strings.Contains(f.What, c.what) {
				t.Errorf("depth %d, failure %v; want %s, %s", got[0].Depth, f, c.reason, c.what)
			}
			if f := got[1].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueMissing {
				t.Errorf("a missing topic: %v", f)
			}
		})
	}
}

func TestPartitionsAreAddedAndTopicIsMadeAgain(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{})
	k.Fill(t, "orders", 1, 5)
	k.Commit(t, "workers", "orders", 2)
	admin := kadm.NewClient(k.Client(t))
	// A reader remembers the partitions for a while; a new one asks.
	reader := connect(t, k)
	same(t, "one partition", read(t, reader, source("orders", "workers"))[0], told(3, 3, 5, 2, 1))
	if _, err := admin.UpdatePartitions(ctx, 2, "orders"); err != nil {
		t.Fatal(err)
	}
	same(t, "two partitions", read(t, connect(t, k), source("orders", "workers"))[0], told(3, 3, 5, 2, 2))
	if _, err := admin.DeleteTopics(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	if f := read(t, reader, source("orders", "workers"))[0].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueMissing {
		t.Errorf("deleted: %v, want QueueMissing at once", f)
	}
	k.Fill(t, "orders", 1, 1)
	k.Commit(t, "workers", "orders", 1)
	same(t, "made again", read(t, connect(t, k), source("orders", "workers"))[0], told(0, 0, 1, 1, 1))
}

// One Read is one request for each of three things and broker, for any number of queues, and the description of topics is remembered.
func TestRequestsOfOneRead(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 2})
	var sources []capacityv1alpha1.KafkaSource
	for i := range 40 {
		topic := fmt.Sprint("topic-", i)
		k.Fill(t, topic, 3, 3)
		k.Commit(t, fmt.Sprint("group-", i%10), topic, 0, 1, 1)
		sources = append(sources, source(topic, fmt.Sprint("group-", i%10)))
	}
	reader := connect(t, k)
	check := func() {
		for i, r := range read(t, reader, sources...) {
			same(t, sources[i].Topic, r, told(1, 1, 3, 2, 3))
		}
	}
	check()
	var requests [100]atomic.Int32
	k.Cluster().Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		requests[r.Key()].Add(1)
		return nil, nil, false
	})
	check()
	for key := range requests {
		n := requests[key].Load()
		if name := kmsg.NameForKey(int16(key)); n > 0 && (n > 2 || name != "ListOffsets" && name != "OffsetFetch" && name != "DescribeGroups") {
			t.Errorf("%d requests %s", n, name)
		}
	}
	if n := reader.Connections(); n > 3 {
		t.Errorf("%d connections to 2 brokers", n)
	}
}

func TestOldBrokers(t *testing.T) {
	for name, versions := range map[string]*kversion.Versions{"1.0": kversion.V1_0_0(), "2.8": kversion.V2_8_0(), "3.0": kversion.V3_0_0(), "4.0": kversion.V4_0_0()} {
		t.Run(name, func(t *testing.T) {
			k := servers.StartKafka(t, servers.KafkaOptions{Options: []kfake.Opt{kfake.MaxVersions(versions)}})
			k.Fill(t, "orders", 2, 6)
			k.Commit(t, "a", "orders", 1, 1)
			k.Commit(t, "b", "orders", 3, 3)
			got := read(t, connect(t, k), source("orders", "a"), source("orders", "b"), source("orders", "nobody"))
			same(t, "a", got[0], told(4, 2, 6, 2, 2))
			same(t, "b", got[1], told(0, 0, 6, 6, 2))
			if f := got[2].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueMissing {
				t.Errorf("%v, want QueueMissing", f)
			}
		})
	}
}

// While the leader of one partition cannot tell, the queue on it fails alone: a sum over the others would be too small.
func TestPartitionWithoutLeader(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 2})
	k.Fill(t, "orders", 2, 6)
	k.Fill(t, "mail", 1, 1)
	k.Commit(t, "workers", "orders", 1, 1)
	k.Commit(t, "workers", "mail", 0)
	reader := connect(t, k)
	k.Cluster().ControlKey(kmsg.ListOffsets.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		reply := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range r.(*kmsg.ListOffsetsRequest).Topics {
			answer := kmsg.NewListOffsetsResponseTopic()
			answer.Topic = topic.Topic
			for _, p := range topic.Partitions {
				of := kmsg.NewListOffsetsResponseTopicPartition()
				of.Partition, of.Offset = p.Partition, 3
				if topic.Topic == "orders" && p.Partition == 1 {
					of.Offset, of.ErrorCode = -1, kerr.LeaderNotAvailable.Code
				}
				answer.Partitions = append(answer.Partitions, of)
			}
			reply.Topics = append(reply.Topics, answer)
		}
		return reply, nil, true
	})
	got := read(t, reader, source("orders", "workers"), source("mail", "workers"), source("orders", "workers", 0))
	if f := got[0].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueUnavailable {
		t.Errorf("%v, want QueueUnavailable", f)
	}
	if got[1].failure != nil || got[2].failure != nil {
		t.Errorf("the others: %v, %v", got[1].failure, got[2].failure)
	}
}

// A cluster of more brokers than may be connected to: the queue that needs them all says so, and no more are connected to.
func TestConnectionsAreBounded(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 70})
	k.Fill(t, "wide", 700, 0)
	k.Commit(t, "workers", "wide", make([]int64, 700)...)
	reader := connect(t, k)
	f := read(t, reader, source("wide", "workers"))[0].failure
	if f == nil || f.Reason != capacityv1alpha1.ReasonQueueUnavailable || !strings.Contains(f.What, "more than 64 connections") {
		t.Errorf("%v, want QueueUnavailable for more than 64 connections", f)
	}
	if n := reader.Connections(); n > 64 {
		t.Errorf("%d connections", n)
	}
}

// One broker of several goes for good: its partitions get other leaders, and are read from those.
func TestBrokerGoes(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 3})
	k.Fill(t, "orders", 6, 6)
	k.Commit(t, "workers", "orders", 0, 0, 0, 1, 1, 1)
	reader := connect(t, k)
	want := told(3, 1, 6, 3, 6)
	same(t, "before", read(t, reader, source("orders", "workers"))[0], want)
	if err := k.Cluster().RemoveNode(2); err != nil {
		t.Fatal(err)
	}
	var got result
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = read(t, reader, source("orders", "workers"))[0]; got.failure == nil {
			break
		}
	}
	same(t, "after", got, want)
}

func TestCountersAgreeToTheMessage(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 5_000
	}
	k := servers.StartKafka(t, servers.KafkaOptions{Brokers: 2})
	k.Fill(t, "orders", 6, 0)
	var sent, done atomic.Int64
	consume, stop := context.WithCancel(ctx)
	finished := make(chan struct{})
	group := k.Client(t, kgo.ConsumerGroup("workers"), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	go func() {
		defer close(finished)
		for done.Load() < int64(messages) {
			fetches := group.PollRecords(consume, 2000)
			if consume.Err() != nil {
				return
			}
			if err := group.CommitUncommittedOffsets(consume); err != nil {
				t.Errorf("commit: %v", err)
				return
			}
			done.Add(int64(fetches.NumRecords()))
		}
	}()
	defer func() { stop(); <-finished }()
	producer := k.Client(t)
	go func() {
		for i := range messages {
			producer.Produce(ctx, &kgo.Record{Topic: "orders", Partition: int32(i % 6), Value: []byte("m")}, func(*kgo.Record, error) { sent.Add(1) })
		}
	}()
	reader := connect(t, k)
	deadline := time.Now().Add(time.Minute)
	for readings := 0; ; readings++ {
		sentBefore, doneBefore := sent.Load(), done.Load()
		got := read(t, reader, source("orders", "workers"))[0]
		if got.failure != nil {
			if readings < 20 && got.failure.Reason == capacityv1alpha1.ReasonQueueMissing {
				time.Sleep(50 * time.Millisecond) // the group is not there yet
				continue
			}
			t.Fatal(got.failure)
		}
		if *got.ArrivedTotal < sentBefore || *got.ArrivedTotal > int64(messages) {
			t.Fatalf("arrived %d, %d were sent before", *got.ArrivedTotal, sentBefore)
		}
		if c := got.CompletedTotal; c != nil {
			if *c < doneBefore || *c > *got.ArrivedTotal || got.Depth != *got.ArrivedTotal-*c {
				t.Fatalf("completed %d, arrived %d, depth %d; %d were completed before", *c, *got.ArrivedTotal, got.Depth, doneBefore)
			}
			if *c == int64(messages) {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %+v", got.Reading)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	k := servers.StartKafka(b, servers.KafkaOptions{Brokers: 3})
	var sources []capacityv1alpha1.KafkaSource
	for i := range 50 {
		topic := fmt.Sprint("topic-", i)
		k.Fill(b, topic, 12, 12)
		k.Commit(b, topic, topic, 1)
		for range 12 {
			sources = append(sources, source(topic, topic))
		}
	}
	reader := connect(b, k)
	for b.Loop() {
		read(b, reader, sources...)
	}
}
