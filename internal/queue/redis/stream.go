// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// answerStream makes a reading of what XINFO GROUPS and XLEN replied, and XINFO STREAM where the stream's own counter is needed: more is true
// where that has to be asked for. Its reply has the first and the last entry in it, which may be too large to be accepted, so it is not asked for before.
func (q *question) answerStream() (reading queue.Reading, failure *queue.Failure, more bool) {
	stream := &q.source.Stream
	for i := range q.commands {
		c := &q.commands[i]
		if text, isReply := errorReply(c.reply.Err()); isReply {
			if strings.HasPrefix(text, "ERR no such key") {
				return queue.Reading{}, missing(stream, "without stream %q, which group %q is to be of,"), false
			}
			return queue.Reading{}, keyFailure(text, c.name, c.key), false
		}
	}
	g, found, ok := parseGroup(q.commands[0].reply.Val(), stream.Group)
	length, ok2 := parseLength(q.commands[1].reply.Val())
	switch {
	case !ok || !ok2:
		return queue.Reading{}, invalid("XINFO GROUPS"), false
	case !found:
		return queue.Reading{}, missing(stream, "with stream %q, but without its group %q,"), false
	case g.lag != nil:
		return g.reading(*g.lag, length), nil, false
	case length == 0, g.lastDelivered == "0-0":
		return queue.Reading{Depth: length, InFlight: &g.pending}, nil, false
	case g.entriesRead == nil:
		return queue.Reading{}, lagUnknown(stream), false
	case !q.entriesAdded:
		q.entriesAdded = true
		return queue.Reading{}, nil, true
	}
	added, ok := parseEntriesAdded(q.commands[2].reply.Val())
	switch {
	case !ok:
		return queue.Reading{}, invalid("XINFO STREAM"), false
	case added == nil || *added < *g.entriesRead:
		return queue.Reading{}, lagUnknown(stream), false
	}
	return g.reading(*added-*g.entriesRead, length), nil, false
}

func missing(stream *capacityv1alpha1.RedisStream, what string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Create it with XGROUP CREATE ... MKSTREAM, or correct redis.stream", what, stream.Key, stream.Group)
}

// reading makes one of a group with so many entries waiting, in a stream of so many. Arrived is entries-added = entries-read + lag;
// completed is entries-read without those that are pending; both are not told before the group has read anything, because Redis then
// does not say where it began. More cannot wait than there are: entries that were trimmed away unread count
// in lag for ever.
func (g *group) reading(lag, length int64) queue.Reading {
	r := queue.Reading{Depth: min(lag, length), InFlight: &g.pending}
	if g.entriesRead != nil {
		arrived, completed := *g.entriesRead+lag, *g.entriesRead-g.pending
		r.ArrivedTotal, r.CompletedTotal = &arrived, &completed
	}
	return r
}

// lagUnknown is the failure of a stream whose depth is not told. Nothing waits in an empty stream, everything for a group that read nothing; and
// while entries that the group has not read are deleted, entries-added less entries-read counts those too: that is an upper bound, right
// again when the group has passed them. What remains are servers before 7.0, and groups made in mid-stream.
func lagUnknown(stream *capacityv1alpha1.RedisStream) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable,
		"Use Redis 7.0 or later. There, a group made in mid-stream needs once: XGROUP SETID key group id ENTRIESREAD number",
		"not telling how many entries of stream %q wait for group %q (its lag is nil)", stream.Key, stream.Group)
}
