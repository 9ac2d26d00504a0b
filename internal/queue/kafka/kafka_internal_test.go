// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kafkaq

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

func TestTotal(t *testing.T) {
	type offsets struct{ start, end, commit int64 }
	for _, c := range []struct {
		name                                           string
		partitions                                     []offsets
		depth, deepest, shallowest, arrived, completed int64
	}{
		{"nothing", nil, 0, 0, 0, 0, 0},
		{"all completed", []offsets{{0, 10, 10}}, 0, 0, 0, 10, 10},
		{"some wait", []offsets{{0, 10, 4}, {0, 5, 5}}, 6, 6, 0, 15, 9},
		{"without a commit", []offsets{{3, 10, -1}}, 7, 7, 7, 10, -1},
		{"one without a commit", []offsets{{0, 10, 10}, {0, 2, -1}}, 2, 2, 0, 12, -1},
		{"empty, without a commit", []offsets{{7, 7, -1}}, 0, 0, 0, 7, 7},
		{"deleted by retention", []offsets{{8, 10, 3}}, 2, 2, 2, 10, 3},
		{"unevenly", []offsets{{0, 10, 7}, {0, 9, 1}, {5, 9, -1}}, 15, 8, 3, 28, -1},
		{"committed beyond the end", []offsets{{0, 10, 12}}, 0, 0, 0, 10, 10},
		{"start beyond the end", []offsets{{12, 10, 4}}, 0, 0, 0, 12, 4},
	} {
		sum := total{completedKnown: true}
		for _, p := range c.partitions {
			sum.add(p.start, p.end, p.commit)
		}
		r := sum.reading()
		if r.Depth != c.depth || *r.DeepestPartition != c.deepest || *r.ShallowestPartition != c.shallowest || *r.ArrivedTotal != c.arrived || (r.CompletedTotal == nil) != (c.completed < 0) || r.CompletedTotal != nil && *r.CompletedTotal != c.completed {
			t.Errorf("%s: depth %d, deepest %d, shallowest %d, arrived %d, completed %v; want %d, %d, %d, %d, %d",
				c.name, r.Depth, *r.DeepestPartition, *r.ShallowestPartition, *r.ArrivedTotal, r.CompletedTotal, c.depth, c.deepest, c.shallowest, c.arrived, c.completed)
		}
	}
}

// FuzzReplies has replies decoded by the library, and a reading made of them: whatever they say, it panics on none, and no sum is negative.
func FuzzReplies(f *testing.F) {
	metadata := kmsg.NewPtrMetadataResponse()
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic = kmsg.StringPtr("jobs")
	topic.Partitions = []kmsg.MetadataResponseTopicPartition{{Partition: 0, Leader: 1}, {Partition: 1, Leader: 1}}
	metadata.Topics = append(metadata.Topics, topic)
	offsets := func(offset int64, code int16) *kmsg.ListOffsetsResponse {
		reply := kmsg.NewPtrListOffsetsResponse()
		of := kmsg.NewListOffsetsResponseTopic()
		of.Topic = "jobs"
		for number := range int32(2) {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Offset, p.ErrorCode = number, offset, code
			of.Partitions = append(of.Partitions, p)
		}
		reply.Topics = append(reply.Topics, of)
		return reply
	}
	commits := func(offset int64) *kmsg.OffsetFetchResponse {
		reply := kmsg.NewPtrOffsetFetchResponse()
		of := kmsg.NewOffsetFetchResponseGroupTopic()
		of.Topic = "jobs"
		of.Partitions = []kmsg.OffsetFetchResponseGroupTopicPartition{{Partition: 0, Offset: offset}, {Partition: 1, Offset: offset}}
		reply.Groups = []kmsg.OffsetFetchResponseGroup{{Group: "workers", Topics: []kmsg.OffsetFetchResponseGroupTopic{of}}}
		return reply
	}
	encode := func(version int16, reply kmsg.Response) []byte {
		reply.SetVersion(version)
		return reply.AppendTo(nil)
	}
	for version := range int16(9) {
		for _, offset := range []int64{10, -1, offsetMost, offsetMost + 1, 1<<63 - 1} {
			f.Add(version, encode(version, metadata), encode(version, offsets(0, 0)), encode(version, offsets(offset, 0)), encode(version, commits(offset)))
		}
		f.Add(version, encode(version, metadata), encode(version, offsets(0, 0)), encode(version, offsets(0, kerr.NotLeaderForPartition.Code)), encode(version, commits(1)))
	}
	f.Add(int16(0), []byte("garbage"), []byte("\x7f\xff\xff\xff"), []byte{}, []byte("\x00"))

	source := capacityv1alpha1.KafkaSource{Topic: "jobs", Group: "workers"}
	some := source
	some.Partitions = []int32{1}
	queues := []*capacityv1alpha1.Queue{
		{QueueSource: capacityv1alpha1.QueueSource{Kafka: source}}, {QueueSource: capacityv1alpha1.QueueSource{Kafka: some}},
	}
	f.Fuzz(func(t *testing.T, version int16, description, starts, ends, committed []byte) {
		read := func(into kmsg.Response, data []byte) {
			into.SetVersion(max(0, min(version, into.MaxVersion())))
			_ = into.ReadFrom(data)
		}
		told := kmsg.NewPtrMetadataResponse()
		read(told, description)
		topics := map[string]kmsg.MetadataResponseTopic{}
		for _, topic := range told.Topics {
			topics["jobs"] = topic
		}
		b := newBatch(queues, topics)
		first, last, group := kmsg.NewPtrListOffsetsResponse(), kmsg.NewPtrListOffsetsResponse(), kmsg.NewPtrOffsetFetchResponse()
		read(first, starts)
		read(last, ends)
		read(group, committed)
		b.starts, b.ends, b.commits = asMap(first), asMap(last), map[string]groupCommits{}
		takeCommits(b.commits, group)
		b.withoutCommit()
		for i := range queues {
			r, failure := b.result(i)
			if failure == nil && (r.Depth < 0 || *r.DeepestPartition < 0 || *r.DeepestPartition > r.Depth || *r.ArrivedTotal < 0 || r.CompletedTotal != nil && (*r.CompletedTotal < 0 || *r.CompletedTotal > *r.ArrivedTotal)) {
				t.Errorf("%+v", r)
			}
			if failure != nil && (failure.Reason == "" || failure.What == "" || *failure == queue.Failure{}) {
				t.Errorf("%+v", failure)
			}
		}
	})
}

func asMap(reply *kmsg.ListOffsetsResponse) map[partition]told {
	all := map[partition]told{}
	takeOffsets(all, reply)
	return all
}

// FuzzDescriptions has descriptions of groups decoded by the library: whatever they say, a group has members or is missing, or neither.
func FuzzDescriptions(f *testing.F) {
	older := func(code int16, state string, members ...string) *kmsg.DescribeGroupsResponse {
		reply, g := kmsg.NewPtrDescribeGroupsResponse(), kmsg.NewDescribeGroupsResponseGroup()
		g.Group, g.State, g.ErrorCode = "workers", state, code
		for _, id := range members {
			m := kmsg.NewDescribeGroupsResponseGroupMember()
			m.MemberID = id
			g.Members = append(g.Members, m)
		}
		reply.Groups = append(reply.Groups, g)
		return reply
	}
	newer := func(code int16, state string, members ...string) *kmsg.ConsumerGroupDescribeResponse {
		reply, g := kmsg.NewPtrConsumerGroupDescribeResponse(), kmsg.NewConsumerGroupDescribeResponseGroup()
		g.Group, g.State, g.ErrorCode, g.Epoch = "workers", state, code, 7
		for _, id := range members {
			m := kmsg.NewConsumerGroupDescribeResponseGroupMember()
			m.MemberID = id
			g.Members = append(g.Members, m)
		}
		reply.Groups = append(reply.Groups, g)
		return reply
	}
	encode := func(version int16, reply kmsg.Response) []byte {
		reply.SetVersion(min(version, reply.MaxVersion()))
		return reply.AppendTo(nil)
	}
	for version := range int16(7) {
		f.Add(version, encode(version, older(0, "Stable", "a", "b")), encode(version, newer(0, "Stable", "a")))
		f.Add(version, encode(version, older(0, "Dead")), encode(version, newer(0, "Reconciling", "a", "b")))
		f.Add(version, encode(version, older(kerr.GroupIDNotFound.Code, "")), encode(version, newer(kerr.GroupIDNotFound.Code, "")))
		f.Add(version, encode(version, older(kerr.CoordinatorLoadInProgress.Code, "")), encode(version, newer(kerr.GroupAuthorizationFailed.Code, "")))
	}
	f.Add(int16(0), []byte("garbage"), []byte("\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, version int16, classic, consumer []byte) {
		read := func(into kmsg.Response, data []byte) {
			into.SetVersion(max(0, min(version, into.MaxVersion())))
			_ = into.ReadFrom(data)
		}
		first, second := kmsg.NewPtrDescribeGroupsResponse(), kmsg.NewPtrConsumerGroupDescribeResponse()
		read(first, classic)
		read(second, consumer)
		all := map[string]described{}
		takeGroups(all, first)
		takeNewerGroups(all, second)
		for name, d := range all {
			if d.missing && d.members != 0 {
				t.Errorf("%q is missing and has members", name)
			}
		}
	})
}

// Groups are forgotten some time after they were wanted last, and at once where there are too many.
func TestGroupsAreForgotten(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	r := &reader{groups: map[string]group{}}
	want := func(after time.Duration, names ...string) {
		wanted := map[string][]partition{}
		for _, name := range names {
			wanted[name] = []partition{{"orders", 0}}
		}
		now = now.Add(after)
		r.dueGroups(now, wanted)
	}
	want(0, "a")
	for range 3 {
		want(groupsAge/3, "b")
	}
	if len(r.groups) != 2 {
		t.Errorf("%d groups after %s, want 2", len(r.groups), groupsAge)
	}
	if want(time.Second, "b"); len(r.groups) != 1 {
		t.Errorf("%d groups later, want 1", len(r.groups))
	}
	for i := range groupsMost + 10 {
		want(0, strconv.Itoa(i))
	}
	if len(r.groups) > groupsMost+1 {
		t.Errorf("%d groups, want at most %d", len(r.groups), groupsMost)
	}
	want(0, "a")
	if want(-24*time.Hour, "b"); len(r.groups) != 1 {
		t.Errorf("%d groups after the clock was set back, want 1", len(r.groups))
	}
}

func TestIdentify(t *testing.T) {
	same := identify("Stable", []string{"a", "b"})
	if identify("Stable", []string{"b", "a"}) != same {
		t.Error("the order of members counts")
	}
	for _, other := range []uint64{identify("Stable", []string{"a"}), identify("PreparingRebalance", []string{"a", "b"}), identify("Stable", []string{"ab"}), identify("Stable", nil), 0} {
		if other == same {
			t.Error("others are told as the same")
		}
	}
}
