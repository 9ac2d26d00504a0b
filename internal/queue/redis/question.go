// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// question is one queue with the commands that read it.
type question struct {
	index    int
	source   *capacityv1alpha1.RedisSource
	commands []command
	// none are in-flight keys that did not exist when their type was asked for.
	none map[string]bool
	// entriesAdded is true where the stream's own counter is needed.
	entriesAdded bool
	// passes is how often it was asked, open how many commands have no answer.
	passes, open int
}

// command is one command, and its reply.
type command struct {
	question *question
	use      use
	name     string
	// key that it is on; empty for a command about the server itself.
	key   string
	reply *redis.Cmd
	// large is true where the reply may be more than is accepted.
	large bool
	// failure is why there is no reply; alone is true where the node did not fail.
	failure *queue.Failure
	alone   bool

	// node is what was asked, in a cluster. elsewhere is the address it is to be asked at instead, asking where that does not have the slot yet.
	node         *node
	elsewhere    string
	asking       bool
	redirections int
}

// use is what a command's reply counts as.
type use int

const (
	depth use = iota
	inFlight
	typeOf
	arrived
	completed
	groups
	added
	layout
)

// args are the command as it is sent.
func (c *command) args() []any {
	args := make([]any, 0, 3)
	for word := range strings.FieldsSeq(c.name) {
		args = append(args, word)
	}
	if c.key != "" {
		args = append(args, c.key)
	}
	return args
}

// bytes is what the reply may take.
func (c *command) bytes() int64 {
	if c.use == layout {
		return layoutBytes
	}
	return commandBytes
}

// counts are the commands that count each type.
var counts = map[string]string{"list": "LLEN", "zset": "ZCARD", "set": "SCARD", "hash": "HLEN"}

// ask writes the commands. Of in-flight keys whose type is not known, the type is asked for.
func (q *question) ask(types map[string]string) {
	q.commands = q.commands[:0]
	add := func(u use, name, key string) {
		q.commands = append(q.commands, command{question: q, use: u, name: name, key: key, large: u == added})
	}
	if stream := q.source.Stream; stream.Key != "" {
		add(groups, "XINFO GROUPS", stream.Key)
		add(depth, "XLEN", stream.Key)
		if q.entriesAdded {
			add(added, "XINFO STREAM", stream.Key)
		}
		return
	}
	name, keys := "LLEN", &q.source.List
	if len(q.source.SortedSet.Keys) > 0 {
		name, keys = "ZCARD", &q.source.SortedSet
	}
	for _, key := range keys.Keys {
		add(depth, name, key)
	}
	for _, key := range keys.InFlightKeys {
		switch count := counts[types[key]]; {
		case count != "":
			add(inFlight, count, key)
		case !q.none[key]:
			add(typeOf, "TYPE", key)
		}
	}
	if keys.ArrivedTotalKey != "" {
		add(arrived, "GET", keys.ArrivedTotalKey)
	}
	if keys.CompletedTotalKey != "" {
		add(completed, "GET", keys.CompletedTotalKey)
	}
}

// answer makes a reading of the replies. more is true where the queue has to be asked again, with what was learned of its keys' types.
func (q *question) answer(types map[string]string) (reading queue.Reading, failure *queue.Failure, more bool) {
	for i := range q.commands {
		if failure := q.commands[i].failure; failure != nil {
			return queue.Reading{}, failure, false
		}
	}
	if q.source.Stream.Key != "" {
		return q.answerStream()
	}
	for i := range q.commands {
		c := &q.commands[i]
		value, err := c.reply.Result()
		if text, isReply := errorReply(err); isReply && !errors.Is(err, redis.Nil) {
			if c.use == inFlight && strings.HasPrefix(text, "WRONGTYPE") {
				delete(types, c.key) // another type than when it was asked for
				more = true
				continue
			}
			return queue.Reading{}, keyFailure(text, c.name, c.key), false
		}
		switch c.use {
		case depth:
			failure = addLength(&reading.Depth, c, value)
		case inFlight:
			reading.InFlight = orZero(reading.InFlight)
			failure = addLength(reading.InFlight, c, value)
		case typeOf:
			reading.InFlight = orZero(reading.InFlight)
			var known bool
			known, failure = q.learnType(types, c.key, value)
			more = more || known
		case arrived:
			reading.ArrivedTotal, failure = counter(c, value, err)
		case completed:
			reading.CompletedTotal, failure = counter(c, value, err)
		}
		if failure != nil {
			return queue.Reading{}, failure, false
		}
	}
	return reading, nil, more
}

func addLength(to *int64, c *command, value any) *queue.Failure {
	n, ok := parseLength(value)
	if !ok {
		return invalid(c.name)
	}
	*to += n
	return nil
}

func orZero(n *int64) *int64 {
	if n == nil {
		n = new(int64)
	}
	return n
}

// learnType remembers the type of an in-flight key; known is true where it can now be counted. A key that does not exist holds nothing.
func (q *question) learnType(types map[string]string, key string, value any) (known bool, failure *queue.Failure) {
	name, ok := value.(string)
	switch {
	case !ok:
		return false, invalid("TYPE")
	case name == "none":
		if q.none == nil {
			q.none = map[string]bool{}
		}
		q.none[key] = true
		return false, nil
	case counts[name] == "":
		return false, queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Name lists, sorted sets, sets or hashes in inFlightKeys",
			"holding a type that cannot be counted in key %q", key)
	}
	if len(types) >= typesMost {
		clear(types)
	}
	types[key] = name
	return true, nil
}

// counter reads a counter. One that does not exist yet is not told, rather than 0.
func counter(c *command, value any, err error) (*int64, *queue.Failure) {
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	n, ok := parseCounter(value)
	if !ok {
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Let it be written by INCR alone", "holding something else than a count in key %q", c.key)
	}
	return &n, nil
}
