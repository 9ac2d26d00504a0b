// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kafkaq

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// membersAge is how long the members of a group are believed. Groups whose description is no reply, or too large for replyBytes, which
	// costs the connection, are left alone for membersRetry.
	membersAge   = 5 * time.Second
	membersRetry = 10 * time.Minute
	// groupsAge is how long a group is remembered that no Read asks for; of more than groupsMost those are forgotten at once.
	groupsAge  = 2 * membersRetry
	groupsMost = 5000
	// groupsAtOnce bounds a reply: each member takes some hundred bytes of it. groupsOfRead bounds the time that one Read spends on it.
	groupsAtOnce = 16
	groupsOfRead = 64
)

// described is a group as its coordinator knows it.
type described struct {
	// missing: there is no such group. unknown is why it is not known whether there is one; nil where it is.
	missing bool
	unknown error
	// members is another number when a consumer came or went, or when the group is about to share its partitions anew.
	members uint64
}

// group is what is remembered of one: its members, 0 where they are not known, when to ask again, and when it was last wanted.
type group struct {
	members     uint64
	due, wanted time.Time
}

// members are those of the groups that are wanted, as far as they are known. They are asked for every membersAge, or as often as
// groupsOfRead of them at a time permits.
func (r *reader) members(ctx context.Context, wanted map[string][]partition) map[string]uint64 {
	now := r.now()
	for some := range slices.Chunk(r.dueGroups(now, wanted), groupsAtOnce) {
		told := r.describe(ctx, some)
		r.mu.Lock()
		for _, name := range some {
			next := group{due: now.Add(membersRetry), wanted: now}
			if d, ok := told[name]; ok {
				next.members, next.due = d.members, now.Add(membersAge)
			}
			r.groups[name] = next
		}
		r.mu.Unlock()
	}
	known := map[string]uint64{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range wanted {
		if members := r.groups[name].members; members != 0 {
			known[name] = members
		}
	}
	return known
}

// dueGroups are those to ask for now. Those that no Read wants any more are forgotten, by time: the next one is about other queues, whose
// turn it is, and a group that costs the connection would be asked for each time that its own turn comes.
func (r *reader) dueGroups(now time.Time, wanted map[string][]partition) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	many := len(r.groups) > groupsMost
	maps.DeleteFunc(r.groups, func(name string, g group) bool {
		return wanted[name] == nil && (many || now.Sub(g.wanted).Abs() > groupsAge)
	})
	var due []string
	for name := range wanted {
		g := r.groups[name]
		g.wanted = now
		r.groups[name] = g
		// A clock that was set back makes none wait for longer than ever meant.
		if !now.Before(g.due) || g.due.Sub(now) > membersRetry {
			due = append(due, name)
		}
	}
	slices.SortFunc(due, func(a, b string) int { return r.groups[a].due.Compare(r.groups[b].due) })
	return due[:min(len(due), groupsOfRead)]
}

// describeAll is describe for any number of groups, with a time of its own: what was asked for before cannot use it up. All are asked for
// at once, so that a coordinator that is silent keeps none of the others from telling.
func (r *reader) describeAll(ctx context.Context, groups []string) map[string]described {
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	var ask sync.WaitGroup
	var mu sync.Mutex
	all := map[string]described{}
	for some := range slices.Chunk(r.readable(groups), groupsAtOnce) {
		ask.Go(func() {
			told := r.describe(ctx, some)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(all, told)
		})
	}
	ask.Wait()
	return all
}

// readable leaves out groups that are left alone for membersRetry.
func (r *reader) readable(groups []string) []string {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(groups, func(name string) bool {
		wait := r.groups[name].due.Sub(now)
		return wait > membersAge && wait <= membersRetry
	})
}

// describe asks the coordinators of groups for them. One that cannot be asked for now is unknown; one whose description cannot be read is
// absent.
func (r *reader) describe(ctx context.Context, groups []string) map[string]described {
	all := map[string]described{}
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups = groups
	for _, shard := range r.client.RequestSharded(ctx, request) {
		if shard.Err == nil {
			takeGroups(all, shard.Resp.(*kmsg.DescribeGroupsResponse))
		} else if passes(shard.Err) {
			for _, name := range shard.Req.(*kmsg.DescribeGroupsRequest).Groups {
				all[name] = described{unknown: shard.Err}
			}
		}
	}
	var missing []string
	for _, name := range groups {
		if all[name].missing {
			missing = append(missing, name)
		}
	}
	r.describeNewer(ctx, all, missing)
	return all
}

// describeNewer describes groups of the protocol of Kafka 4, which have a request of their own: for the other one they are missing.
func (r *reader) describeNewer(ctx context.Context, all map[string]described, groups []string) {
	if len(groups) == 0 {
		return
	}
	request := kmsg.NewPtrConsumerGroupDescribeRequest()
	request.Groups = groups
	for _, shard := range r.client.RequestSharded(ctx, request) {
		if shard.Err == nil {
			takeNewerGroups(all, shard.Resp.(*kmsg.ConsumerGroupDescribeResponse))
		} else if passes(shard.Err) && !errors.Is(shard.Err, kerr.UnsupportedVersion) { // else the broker does not have the request, and so has no such groups
			for _, name := range shard.Req.(*kmsg.ConsumerGroupDescribeRequest).Groups {
				all[name] = described{unknown: shard.Err}
			}
		}
	}
}

// passes: it is worth another try soon.
func passes(err error) bool { return isNetwork(err) || kerrOf(err) != nil }

func takeGroups(into map[string]described, reply *kmsg.DescribeGroupsResponse) {
	for _, g := range reply.Groups {
		switch err := kerr.ErrorForCode(g.ErrorCode); {
		case errors.Is(err, kerr.GroupIDNotFound) || err == nil && g.State == "Dead":
			into[g.Group] = described{missing: true}
		case err != nil:
			into[g.Group] = described{unknown: err}
		default:
			var ids []string
			for _, m := range g.Members {
				ids = append(ids, m.MemberID)
			}
			into[g.Group] = described{members: identify(g.State, ids)}
		}
	}
}

func takeNewerGroups(into map[string]described, reply *kmsg.ConsumerGroupDescribeResponse) {
	for _, g := range reply.Groups {
		switch err := kerr.ErrorForCode(g.ErrorCode); {
		case errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnsupportedVersion):
		case err != nil:
			into[g.Group] = described{unknown: err}
		default:
			ids := []string{strconv.Itoa(int(g.Epoch))}
			for _, m := range g.Members {
				ids = append(ids, m.MemberID)
			}
			into[g.Group] = described{members: identify(g.State, ids)}
		}
	}
}

// identify is a number, never 0, that is another one for another state or other members.
func identify(state string, members []string) uint64 {
	slices.Sort(members)
	h := fnv.New64a()
	for _, text := range append(members, state) {
		_, _ = io.WriteString(h, strconv.Quote(text)) // a hash accepts everything
	}
	return h.Sum64() | 1
}
