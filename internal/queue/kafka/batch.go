// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kafkaq

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// offsetMost is an offset that no partition reaches: a million messages a second for a year.
const offsetMost = 1 << 45

// partition of a topic.
type partition struct {
	topic  string
	number int32
}

func byTopic(partitions []partition) map[string][]int32 {
	topics := map[string][]int32{}
	for _, p := range partitions {
		topics[p.topic] = append(topics[p.topic], p.number)
	}
	return topics
}

// batch turns queues into partitions to ask for, and what was told of those into readings. It does no I/O.
type batch struct {
	queues []*capacityv1alpha1.Queue
	// of are the partitions of each queue, failures why there are none.
	of       [][]partition
	failures []*queue.Failure
	// partitions are those of all queues, each once.
	partitions []partition

	ends, starts map[partition]told
	commits      map[string]groupCommits
	// described are groups that committed nothing, members those of all groups, as far as they are known.
	described map[string]described
	members   map[string]uint64
}

func newBatch(queues []*capacityv1alpha1.Queue, topics map[string]kmsg.MetadataResponseTopic) *batch {
	b := &batch{queues: queues, of: make([][]partition, len(queues)), failures: make([]*queue.Failure, len(queues))}
	once := map[partition]bool{}
	for i, q := range queues {
		topic, ok := topics[q.Kafka.Topic]
		if !ok {
			topic.ErrorCode = kerr.UnknownTopicOrPartition.Code
		}
		b.of[i], b.failures[i] = partitionsOf(&q.Kafka, &topic)
		for _, p := range b.of[i] {
			if !once[p] {
				once[p] = true
				b.partitions = append(b.partitions, p)
			}
		}
	}
	return b
}

// partitionsOf are the partitions that a queue is about.
func partitionsOf(source *capacityv1alpha1.KafkaSource, topic *kmsg.MetadataResponseTopic) ([]partition, *queue.Failure) {
	if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
		return nil, codeFailure(source, err)
	}
	var all []int32
	for _, p := range topic.Partitions {
		all = append(all, p.Partition)
	}
	if len(all) == 0 {
		return nil, codeFailure(source, kerr.UnknownTopicOrPartition)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	wanted := all
	if len(source.Partitions) > 0 {
		wanted = source.Partitions
	}
	partitions := make([]partition, 0, len(wanted))
	for _, number := range wanted {
		if _, ok := slices.BinarySearch(all, number); !ok {
			return nil, queue.Fail(capacityv1alpha1.ReasonQueueMissing, fmt.Sprintf("Correct partitions: the topic has %d", len(all)),
				"with topic %q, but without its partition %d,", source.Topic, number)
		}
		partitions = append(partitions, partition{source.Topic, number})
	}
	return partitions, nil
}

// wanted are the partitions to ask each group for.
func (b *batch) wanted() map[string][]partition {
	groups := map[string][]partition{}
	for i, q := range b.queues {
		groups[q.Kafka.Group] = append(groups[q.Kafka.Group], b.of[i]...)
	}
	for group, partitions := range groups {
		slices.SortFunc(partitions, compare)
		if groups[group] = slices.Compact(partitions); len(partitions) == 0 {
			delete(groups, group)
		}
	}
	return groups
}

func compare(a, b partition) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.number, b.number))
}

// withoutCommit are the groups of queues that committed nothing at all: they may not exist.
func (b *batch) withoutCommit() []string {
	var groups []string
	for i, q := range b.queues {
		if b.failures[i] == nil && b.committedNothing(i) {
			groups = append(groups, q.Kafka.Group)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// committedNothing: the group of the queue was asked for, and has no commit in any of the queue's partitions.
func (b *batch) committedNothing(i int) bool {
	commits, ok := b.commits[b.queues[i].Kafka.Group]
	return ok && commits.err == nil && !slices.ContainsFunc(b.of[i], func(p partition) bool { _, has := commits.offsets[p]; return has })
}

// absent is why a queue whose group committed nothing is not one where everything waits: there is no such group, or that is not known.
func (b *batch) absent(i int) *queue.Failure {
	source := &b.queues[i].Kafka
	d, told := b.described[source.Group]
	switch {
	case !b.committedNothing(i) || told && !d.missing && d.unknown == nil:
		return nil
	case d.missing:
		return codeFailure(source, kerr.GroupIDNotFound)
	case kerrOf(d.unknown) != nil:
		return codeFailure(source, d.unknown)
	}
	reason := capacityv1alpha1.ReasonQueueUnavailable
	if told && queue.ConnectFailure(d.unknown).Reason == capacityv1alpha1.ReasonQueueTimeout {
		reason = capacityv1alpha1.ReasonQueueTimeout
	}
	return queue.Fail(reason, "Check the brokers, and network policies between operator and each of them",
		"without an answer from the broker that coordinates group %q", source.Group)
}

// result is the reading of one queue, or why there is none: all of its partitions have to be known, because a sum over some of them
// would be an empty queue where there is a full one.
func (b *batch) result(i int) (queue.Reading, *queue.Failure) {
	source := &b.queues[i].Kafka
	if b.failures[i] != nil {
		return queue.Reading{}, b.failures[i]
	}
	commits, ok := b.commits[source.Group]
	switch {
	case !ok:
		return queue.Reading{}, invalid()
	case commits.err != nil:
		return queue.Reading{}, failureOf(source, commits.err)
	}
	if failure := b.absent(i); failure != nil {
		return queue.Reading{}, failure
	}
	sum := total{completedKnown: true}
	for _, p := range b.of[i] {
		end, hasEnd := b.ends[p]
		start, hasStart := b.starts[p]
		commit, hasCommit := commits.offsets[p]
		switch {
		case !hasEnd || !hasStart || !end.plausible() || !start.plausible():
			return queue.Reading{}, invalid()
		case end.err != nil:
			return queue.Reading{}, failureOf(source, end.err)
		case start.err != nil:
			return queue.Reading{}, failureOf(source, start.err)
		case commit.err != nil:
			return queue.Reading{}, failureOf(source, commit.err)
		}
		if !hasCommit {
			commit.offset = -1
		}
		sum.add(start.offset, end.offset, commit.offset)
	}
	reading := sum.reading()
	reading.MostConsumers = new(int64(len(b.of[i])))
	if members, known := b.members[source.Group]; known {
		reading.Members = &members
	}
	return reading, nil
}

// plausible offsets cannot make a sum overflow, however many partitions fit into a reply.
func (t told) plausible() bool { return t.err != nil || t.offset >= 0 && t.offset <= offsetMost }

// total is the sum over partitions.
type total struct {
	depth, arrived, completed int64
	// deepest and shallowest are the largest and the smallest depth of one partition.
	deepest, shallowest int64
	partitions          int
	// completedKnown is false where a partition has messages and no commit: its first commit would look like the completion of all before it.
	completedKnown bool
}

// add takes one partition: the offsets of its first message and behind its last one, and of the first that the group has not
// completed, -1 where it committed nothing. Requests do not see one instant, so the committed offset may be ahead.
func (t *total) add(start, end, commit int64) {
	end = max(start, end)
	t.arrived += end
	if commit < 0 {
		t.wait(end - start)
		t.completed += start
		t.completedKnown = t.completedKnown && start == end
		return
	}
	commit = min(commit, end)
	t.wait(end - max(start, commit))
	t.completed += commit
}

// wait adds what waits in one partition.
func (t *total) wait(depth int64) {
	t.depth += depth
	t.deepest = max(t.deepest, depth)
	if t.shallowest = min(t.shallowest, depth); t.partitions == 0 {
		t.shallowest = depth
	}
	t.partitions++
}

func (t *total) reading() queue.Reading {
	r := queue.Reading{Depth: t.depth, ArrivedTotal: &t.arrived, DeepestPartition: &t.deepest, ShallowestPartition: &t.shallowest}
	if t.completedKnown {
		r.CompletedTotal = &t.completed
	}
	return r
}

func invalid() *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a Kafka broker", "leaving out some of what it was asked for")
}

// failureOf is the failure of one queue, some of whose partitions, or whose group, could not be asked for.
func failureOf(source *capacityv1alpha1.KafkaSource, err error) *queue.Failure {
	if kerrOf(err) != nil {
		return codeFailure(source, err)
	}
	if f := (*queue.Failure)(nil); errors.As(err, &f) {
		return queue.Fail(f.Reason, f.Remedy, "with a broker of topic %q or group %q that is %s", source.Topic, source.Group, f.What)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check the brokers, and network policies between operator and each of them",
		"without an answer from a broker of topic %q or group %q", source.Topic, source.Group)
}

// codeFailure is what an error code of Kafka says of a queue.
func codeFailure(source *capacityv1alpha1.KafkaSource, err error) *queue.Failure {
	missing, denied := capacityv1alpha1.ReasonQueueMissing, capacityv1alpha1.ReasonPermissionDenied
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InvalidTopicException):
		return queue.Fail(missing, "Create the topic, or correct kafka.topic", "without topic %q", source.Topic)
	case errors.Is(err, kerr.GroupIDNotFound):
		return queue.Fail(missing, "Start a consumer of that group once, or correct kafka.group", "with topic %q, but without group %q", source.Topic, source.Group)
	case errors.Is(err, kerr.InvalidGroupID):
		return queue.Fail(missing, "Correct kafka.group", "not having groups of the name %q", source.Group)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return queue.Fail(denied, "Permit the user to DESCRIBE topic "+source.Topic, "denying a request about topic %q", source.Topic)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return queue.Fail(denied, "Permit the user to DESCRIBE group "+source.Group, "denying a request about group %q", source.Group)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the brokers: a partition may be without a leader, or a group without a coordinator",
		"answering %s about topic %q or group %q", kerrOf(err).Message, source.Topic, source.Group)
}
