// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kafkaq

import (
	"context"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// What ListOffsets is asked for.
const (
	startOffset int64 = -2
	endOffset   int64 = -1
)

// Read asks for all queues together; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	topics, err := r.topics(ctx, queues)
	if err != nil {
		return r.failureOf(err)
	}
	b := newBatch(queues, topics)
	if lost := r.ask(ctx, b); lost != nil {
		return lost
	}
	b.described = r.describeAll(ctx, b.withoutCommit())
	now := r.now()
	for i := range queues {
		reading, failure := b.result(i)
		reading.Time = now
		deliver(i, reading, failure)
	}
	return nil
}

// ask asks for what the batch is about, all at once. It returns why no broker answered.
func (r *reader) ask(ctx context.Context, b *batch) *queue.Failure {
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	var ask sync.WaitGroup
	var ends, starts, commits outcome
	ask.Go(func() { b.ends, ends = r.offsets(ctx, b.partitions, endOffset) })
	ask.Go(func() { b.starts, starts = r.startOffsets(ctx, b.partitions) })
	ask.Go(func() { b.commits, commits = r.committed(ctx, b.wanted()) })
	ask.Go(func() { b.members = r.members(ctx, b.wanted()) })
	ask.Wait()
	if all := ends.join(starts).join(commits); all.lost != nil && (!all.answered || all.lost.Reason == capacityv1alpha1.ReasonAuthenticationFailed) {
		return all.lost
	}
	return nil
}

// topics describes the topics of queues, which the client remembers for layoutAge.
func (r *reader) topics(ctx context.Context, queues []*capacityv1alpha1.Queue) (map[string]kmsg.MetadataResponseTopic, error) {
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	var names []string
	for _, q := range queues {
		names = append(names, q.Kafka.Topic)
	}
	slices.Sort(names)
	topics := map[string]kmsg.MetadataResponseTopic{}
	for some := range slices.Chunk(slices.Compact(names), topicsAtOnce) {
		request := kmsg.NewPtrMetadataRequest()
		for _, name := range some {
			request.Topics = append(request.Topics, kmsg.MetadataRequestTopic{Topic: &name})
		}
		reply, err := r.client.RequestCachedMetadata(ctx, request, layoutAge)
		if err != nil {
			return nil, err
		}
		for _, topic := range reply.Topics {
			if topic.Topic != nil {
				topics[*topic.Topic] = topic
			}
		}
	}
	return topics, nil
}

// outcome is whether brokers answered, and why one did not.
type outcome struct {
	answered bool
	lost     *queue.Failure
}

func (o outcome) join(other outcome) outcome {
	o.answered = o.answered || other.answered
	if o.lost == nil || other.lost != nil && other.lost.Reason == capacityv1alpha1.ReasonAuthenticationFailed {
		o.lost = other.lost
	}
	return o
}

// note takes the result of one broker. Error codes are answers.
func (r *reader) note(o *outcome, err error) {
	next := outcome{answered: err == nil || kerrOf(err) != nil}
	if failure := r.failureOf(err); err != nil && (!next.answered || failure.Reason == capacityv1alpha1.ReasonAuthenticationFailed) {
		next.lost = failure
	}
	*o = o.join(next)
}

// told is an offset, or why it is not known: an error code, or one of the connection.
type told struct {
	offset int64
	err    error
}

// offsets asks the leaders of partitions for their start or end offsets.
func (r *reader) offsets(ctx context.Context, partitions []partition, at int64) (map[partition]told, outcome) {
	all, seen := map[partition]told{}, outcome{}
	if len(partitions) == 0 {
		return all, seen
	}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	for topic, numbers := range byTopic(partitions) {
		asked := kmsg.NewListOffsetsRequestTopic()
		asked.Topic = topic
		for _, number := range numbers {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = number, at, -1
			asked.Partitions = append(asked.Partitions, p)
		}
		request.Topics = append(request.Topics, asked)
	}
	for _, shard := range r.client.RequestSharded(ctx, request) {
		r.note(&seen, shard.Err)
		if shard.Err != nil {
			for _, topic := range shard.Req.(*kmsg.ListOffsetsRequest).Topics {
				for _, p := range topic.Partitions {
					all[partition{topic.Topic, p.Partition}] = told{err: shard.Err}
				}
			}
			continue
		}
		takeOffsets(all, shard.Resp.(*kmsg.ListOffsetsResponse))
	}
	return all, seen
}

func takeOffsets(into map[partition]told, reply *kmsg.ListOffsetsResponse) {
	for _, topic := range reply.Topics {
		for _, p := range topic.Partitions {
			into[partition{topic.Topic, p.Partition}] = told{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
		}
	}
}

// startOffsets are those that were read within layoutAge; the others are asked for.
func (r *reader) startOffsets(ctx context.Context, partitions []partition) (map[partition]told, outcome) {
	known, now := map[partition]told{}, r.now()
	var unknown []partition
	r.mu.Lock()
	for _, p := range partitions {
		if s, ok := r.starts[p]; ok && now.Sub(s.read).Abs() < layoutAge {
			known[p] = told{offset: s.offset}
		} else {
			unknown = append(unknown, p)
		}
	}
	r.mu.Unlock()
	asked, seen := r.offsets(ctx, unknown, startOffset)
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, s := range r.starts {
		if now.Sub(s.read).Abs() >= layoutAge {
			delete(r.starts, p)
		}
	}
	for p, t := range asked {
		known[p] = t
		if t.err == nil {
			r.starts[p] = start{t.offset, now}
		}
	}
	return known, seen
}

// groupCommits are what a group committed, or why that is not known. A partition without commit is absent.
type groupCommits struct {
	offsets map[partition]told
	err     error
}

// committed asks the coordinators of groups for what they committed.
func (r *reader) committed(ctx context.Context, wanted map[string][]partition) (map[string]groupCommits, outcome) {
	all, seen := map[string]groupCommits{}, outcome{}
	if len(wanted) == 0 {
		return all, seen
	}
	request := kmsg.NewPtrOffsetFetchRequest()
	for group, partitions := range wanted {
		asked := kmsg.NewOffsetFetchRequestGroup()
		asked.Group = group
		for topic, numbers := range byTopic(partitions) {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.Partitions = topic, numbers
			asked.Topics = append(asked.Topics, t)
		}
		request.Groups = append(request.Groups, asked)
	}
	for _, shard := range r.client.RequestSharded(ctx, request) {
		r.note(&seen, shard.Err)
		if shard.Err != nil {
			for _, group := range groupsOf(shard.Req.(*kmsg.OffsetFetchRequest)) {
				all[group] = groupCommits{err: shard.Err}
			}
			continue
		}
		takeCommits(all, shard.Resp.(*kmsg.OffsetFetchResponse))
	}
	return all, seen
}

// groupsOf are the groups of a request, in its newer form or, for brokers before Kafka 3.0, in its older one.
func groupsOf(request *kmsg.OffsetFetchRequest) []string {
	if len(request.Groups) == 0 {
		return []string{request.Group}
	}
	var groups []string
	for _, g := range request.Groups {
		groups = append(groups, g.Group)
	}
	return groups
}

func takeCommits(into map[string]groupCommits, reply *kmsg.OffsetFetchResponse) {
	for _, g := range reply.Groups {
		group := groupCommits{offsets: map[partition]told{}, err: kerr.ErrorForCode(g.ErrorCode)}
		for _, topic := range g.Topics {
			for _, p := range topic.Partitions {
				err := kerr.ErrorForCode(p.ErrorCode)
				if p.Offset >= 0 || err != nil {
					group.offsets[partition{topic.Topic, p.Partition}] = told{p.Offset, err}
				}
			}
		}
		into[g.Group] = group
	}
}
