// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// group is what is needed of a consumer group. What the server does not tell is nil: servers before 7.0 tell neither entriesRead nor lag,
// and later ones have no lag while entries that were not delivered yet are deleted.
type group struct {
	pending          int64
	lastDelivered    string
	entriesRead, lag *int64
}

// parseLength reads the reply to LLEN and its like.
func parseLength(v any) (int64, bool) {
	n, ok := v.(int64)
	return n, ok && n >= 0 && n <= math.MaxInt64/64
}

// parseCounter reads the reply to GET: an integer of at least 0.
func parseCounter(v any) (int64, bool) {
	text, ok := v.(string)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0
}

// parseGroup finds a group in the reply to XINFO GROUPS; found is false where it is not there, ok where the reply makes no sense.
func parseGroup(v any, name string) (g group, found, ok bool) {
	groups, ok := v.([]any)
	if !ok {
		return g, false, false
	}
	for _, one := range groups {
		fields, ok := fieldsOf(one)
		if !ok {
			return g, false, false
		}
		if n, isText := fields["name"].(string); !isText || n != name {
			continue
		}
		var has bool
		if g.pending, has = parseLength(fields["pending"]); !has {
			return g, false, false
		}
		if g.lastDelivered, has = fields["last-delivered-id"].(string); !has {
			return g, false, false
		}
		if g.entriesRead, has = optional(fields["entries-read"]); !has {
			return g, false, false
		}
		g.lag, has = optional(fields["lag"])
		return g, true, has
	}
	return g, false, true
}

// parseEntriesAdded reads the reply to XINFO STREAM; nil where the server does not count.
func parseEntriesAdded(v any) (*int64, bool) {
	fields, ok := fieldsOf(v)
	if !ok {
		return nil, false
	}
	return optional(fields["entries-added"])
}

// fieldsOf reads names and values in turn.
func fieldsOf(v any) (map[string]any, bool) {
	list, ok := v.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, false
	}
	fields := make(map[string]any, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		name, ok := list[i].(string)
		if !ok {
			return nil, false
		}
		fields[name] = list[i+1]
	}
	return fields, true
}

func optional(v any) (*int64, bool) {
	if v == nil {
		return nil, true
	}
	n, ok := parseLength(v)
	return &n, ok
}

const checkServer = "Check that the url leads to a Redis server"

func invalid(command string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "answering %s with what makes no sense", command)
}

// errorReply tells an error that the server answered from a connection that fails.
func errorReply(err error) (text string, ok bool) {
	var reply redis.Error
	if errors.As(err, &reply) {
		return reply.Error(), true
	}
	return "", false
}

// serverFailure is the failure of the whole server that an error reply stands for, or nil.
func serverFailure(text string, anonymous bool) *queue.Failure {
	is := func(prefix string) bool { return strings.HasPrefix(text, prefix) }
	switch {
	case is("NOAUTH "), is("WRONGPASS "), is("ERR invalid password"), is("ERR AUTH "), is("ERR Client sent AUTH"):
		what := "rejecting the credentials"
		if anonymous {
			what = "requiring credentials"
		}
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "%s", what)
	case is("LOADING "):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Wait until Redis has loaded its data", "loading its data")
	case is("MASTERDOWN "):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check Redis replication", "a replica that lost its master")
	case is("BUSY "):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "See SCRIPT KILL", "busy with a script")
	case is("ERR max number of clients"):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Raise maxclients", "at its limit of connections")
	case is("ERR DB index"):
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct the number after the last / of the url", "without that database")
	}
	return nil
}

// keyFailure is why a command on a key was answered with an error.
func keyFailure(text, command, key string) *queue.Failure {
	switch code, _, _ := strings.Cut(text, " "); code {
	case "WRONGTYPE":
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct the key, or choose list, sortedSet or stream as it is",
			"holding another type than %s counts in key %q", command, key)
	case "NOPERM":
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit it to the user of the Secret: see ACL SETUSER",
			"denying %s on key %q", command, key)
	case "MOVED", "ASK":
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Set redis.topology to Cluster; if it is, wait until the slot has moved",
			"one node of a Redis Cluster, without key %q,", key)
	case "CLUSTERDOWN":
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "See redis-cli --cluster check", "a cluster that is down for key %q", key)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Try that command with redis-cli", "answering %s on key %q with an error", command, key)
}
