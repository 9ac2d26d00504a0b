// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kafkaq_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

// clock is ahead of the system's by what a test skips.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) skip(d time.Duration) { c.ahead.Add(int64(d)) }

// membersAfter reads after so long.
func (c *clock) membersAfter(t *testing.T, d time.Duration, reader queue.Reader, group string) *uint64 {
	t.Helper()
	c.skip(d)
	got := read(t, reader, source("orders", group))[0]
	if got.failure != nil {
		t.Fatal(got.failure)
	}
	return got.Members
}

// await reads until the members are as they should be, a few seconds apart by the reader's clock.
func (c *clock) await(t *testing.T, what string, reader queue.Reader, group string, holds func(*uint64) bool) *uint64 {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		members := c.membersAfter(t, 6*time.Second, reader, group)
		if holds(members) {
			return members
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// Who is in the group is told, in either protocol, and is another number when a consumer comes or goes.
func TestMembersOfAGroup(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{})
	k.Fill(t, "orders", 2, 6)
	for group, options := range map[string][]kgo.Opt{"classic": nil, "consumer": {kgo.ServerSideBalancer()}} {
		t.Run(group, func(t *testing.T) {
			c := &clock{}
			reader := connectAt(t, k, c.now)
			join := func() *kgo.Client {
				client := k.Client(t, append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics("orders"))...)
				if fetches := client.PollFetches(ctx); fetches.Err() != nil {
					t.Fatal(fetches.Err())
				}
				return client
			}
			first := join()
			settled := c.settled(t, reader, group)
			second := k.Client(t, append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics("orders"))...)
			c.await(t, "one came", reader, group, func(m *uint64) bool { return m != nil && *m != settled })
			two := c.settled(t, reader, group)
			if two == settled {
				t.Error("two members are told as one")
			}
			second.Close()
			c.await(t, "one went", reader, group, func(m *uint64) bool { return m != nil && *m != two })
			first.Close()
		})
	}
}

// settled is what the members are when they stay the same.
func (c *clock) settled(t *testing.T, reader queue.Reader, group string) uint64 {
	t.Helper()
	var last uint64
	same := 0
	return *c.await(t, "settled", reader, group, func(m *uint64) bool {
		if m == nil {
			return false
		}
		if same++; *m != last {
			last, same = *m, 0
		}
		return same >= 5
	})
}

// Groups are described every 5 s. What goes wrong with that fails no reading, and is tried again soon, or after minutes where it costs
// a connection.
func TestMembersAreAskedForSeldom(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{})
	k.Fill(t, "orders", 2, 6)
	k.Commit(t, "workers", "orders", 1, 1)
	c := &clock{}
	reader := connectAt(t, k, c.now)
	var asked atomic.Int32
	var refuse, enlarge atomic.Bool
	k.Cluster().ControlKey(kmsg.DescribeGroups.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		asked.Add(1)
		reply := r.ResponseKind().(*kmsg.DescribeGroupsResponse)
		group := kmsg.NewDescribeGroupsResponseGroup()
		group.Group, group.State = "workers", "Stable"
		switch {
		case refuse.Load():
			group.ErrorCode = kerr.GroupAuthorizationFailed.Code
		case enlarge.Load():
			member := kmsg.NewDescribeGroupsResponseGroupMember()
			member.ProtocolMetadata = make([]byte, 3<<20)
			group.Members = append(group.Members, member)
		}
		reply.Groups = append(reply.Groups, group)
		return reply, nil, true
	})
	for _, step := range []struct {
		name            string
		after           time.Duration
		refuse, enlarge bool
		asked           int32
		known           bool
	}{
		{"first", 0, false, false, 1, true},
		{"2 s later", 2 * time.Second, false, false, 0, true},
		{"5 s later", 4 * time.Second, false, false, 1, true},
		{"refused", 6 * time.Second, true, false, 1, false},
		{"permitted again", 6 * time.Second, false, false, 1, true},
	} {
		refuse.Store(step.refuse)
		before := asked.Load()
		members := c.membersAfter(t, step.after, reader, "workers")
		if n := asked.Load() - before; n != step.asked || (members != nil) != step.known {
			t.Errorf("%s: asked %d times, members %v", step.name, n, members)
		}
	}
	// The connection with the reply that is too large may be that of the reading, which then fails this once.
	enlarge.Store(true)
	c.skip(6 * time.Second)
	_ = reader.Read(ctx, queuesOf(source("orders", "workers")), func(int, queue.Reading, *queue.Failure) {})
	before := asked.Load()
	reader = reconnected(t, reader, k, c)
	for range 5 {
		if members := c.membersAfter(t, 20*time.Second, reader, "workers"); members != nil {
			t.Error("members are known of a group that is too large to be described")
		}
	}
	if n := asked.Load() - before; n > 2 {
		t.Errorf("asked %d times in 100 s", n)
	}
}

// A group whose description cannot be read is left alone for 10 min, also where each Read is about other groups than the one before.
func TestGroupIsRememberedBetweenItsReads(t *testing.T) {
	k := servers.StartKafka(t, servers.KafkaOptions{})
	k.Fill(t, "orders", 2, 6)
	k.Fill(t, "mail", 1, 1)
	k.Commit(t, "large", "orders", 1, 1)
	k.Commit(t, "small", "orders", 1, 1)
	c := &clock{}
	reader := connectAt(t, k, c.now)
	var asked atomic.Int32
	large := describedAs(func(g *kmsg.DescribeGroupsResponseGroup) {
		if g.State = "Stable"; g.Group == "large" {
			asked.Add(1)
			g.Protocol = strings.Repeat("x", 3<<20)
		}
	})
	k.Cluster().ControlKey(kmsg.DescribeGroups.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		return large(r)
	})
	// The connection with the reply that is too large may be that of the reading, which then fails this once.
	lost := reader.Read(ctx, queuesOf(source("orders", "large")), func(int, queue.Reading, *queue.Failure) {})
	once := asked.Load()
	if lost != nil || once == 0 {
		t.Fatalf("asked %d times, failure %v", once, lost)
	}
	for range 5 {
		if c.membersAfter(t, 10*time.Second, reader, "small") == nil {
			t.Error("members of the small group are not known")
		}
		if c.membersAfter(t, 10*time.Second, reader, "large") != nil {
			t.Error("members are known of a group that is too large to be described")
		}
		// Nor is it asked for where nothing else tells whether it exists.
		if f := read(t, reader, source("mail", "large"))[0].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueUnavailable {
			t.Errorf("without a commit: %v, want QueueUnavailable", f)
		}
	}
	if n := asked.Load(); n != once {
		t.Errorf("asked %d times more within 100 s", n-once)
	}
	c.skip(10 * time.Minute)
	_ = reader.Read(ctx, queuesOf(source("orders", "large")), func(int, queue.Reading, *queue.Failure) {})
	if n := asked.Load(); n == once {
		t.Error("not asked again after 10 min")
	}
}

// reconnected is the reader, or another one where that failed as a whole, as the pool would have it.
func reconnected(t *testing.T, reader queue.Reader, k *servers.Kafka, c *clock) queue.Reader {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		lost := reader.Read(ctx, queuesOf(source("orders", "workers")), func(_ int, _ queue.Reading, f *queue.Failure) {
			if f != nil {
				t.Logf("once: %v", f)
			}
		})
		if lost == nil {
			return reader
		}
		if time.Now().After(deadline) {
			t.Fatal(errors.New(lost.What))
		}
		reader = connectAt(t, k, c.now)
	}
}
