// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	redisq "github.com/queuescaler/queuescaler/internal/queue/redis"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func ptr(n int64) *int64 { return &n }

// connect returns a reader and a client of a real server.
func connect(t *testing.T) (queue.Reader, *redis.Client) {
	t.Helper()
	server := servers.StartRedis(t, servers.RedisOptions{})
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Address())
	}
	reader, failure := redisq.Open(ctx, queue.ConnectOptions{Dial: dial, Now: time.Now})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	client := redis.NewClient(&redis.Options{Addr: server.Address(), Protocol: 2})
	t.Cleanup(func() { _ = client.Close() })
	return reader, client
}

// do sends commands, one in each line.
func do(t *testing.T, client *redis.Client, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		var args []any
		for word := range strings.FieldsSeq(line) {
			args = append(args, word)
		}
		if len(args) == 0 {
			continue
		}
		if err := client.Do(ctx, args...).Err(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

type result struct {
	queue.Reading
	failure *queue.Failure
}

func read(t *testing.T, reader queue.Reader, sources ...capacityv1alpha1.RedisSource) []result {
	t.Helper()
	queues := make([]*capacityv1alpha1.Queue, len(sources))
	for i, s := range sources {
		queues[i] = &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{Redis: s}}
	}
	results := make([]result, len(sources))
	calls := make([]int, len(sources))
	failure := reader.Read(ctx, queues, func(i int, r queue.Reading, f *queue.Failure) {
		results[i], calls[i] = result{r, f}, calls[i]+1
	})
	if failure != nil {
		t.Fatal(failure)
	}
	for i, n := range calls {
		if n != 1 {
			t.Fatalf("%d results for queue %d", n, i)
		}
	}
	return results
}

func list(keys capacityv1alpha1.RedisKeys) capacityv1alpha1.RedisSource {
	return capacityv1alpha1.RedisSource{List: keys}
}

func TestKeys(t *testing.T) {
	reader, client := connect(t)
	do(t, client, `
		RPUSH a 1 2 3
		RPUSH b 1
		ZADD z 1 x 2 y
		RPUSH fl 1 2
		ZADD fz 1 a
		SADD fs a b c
		HSET fh a 1 b 2 c 3 d 4
		INCRBY in 17
		INCRBY out 9
		SET text many
		SET negative -4
		XADD stream * a b`)
	zset := capacityv1alpha1.RedisSource{SortedSet: capacityv1alpha1.RedisKeys{Keys: []string{"z", "none"}}}
	inFlight := []string{"fl", "fz", "fs", "fh", "none"}
	got := read(t, reader,
		list(capacityv1alpha1.RedisKeys{Keys: []string{"a", "b", "none"}}),
		zset,
		list(capacityv1alpha1.RedisKeys{Keys: []string{"a"}, InFlightKeys: inFlight, ArrivedTotalKey: "in", CompletedTotalKey: "out"}),
		list(capacityv1alpha1.RedisKeys{Keys: []string{"none"}, ArrivedTotalKey: "none"}),
	)
	want := []queue.Reading{
		{Depth: 4},
		{Depth: 2},
		{Depth: 3, InFlight: ptr(10), ArrivedTotal: ptr(17), CompletedTotal: ptr(9)},
		{Depth: 0}, // a counter that does not exist is not told
	}
	for i := range want {
		if got[i].failure != nil || got[i].Time.IsZero() {
			t.Errorf("queue %d: %v at %v", i, got[i].failure, got[i].Time)
		}
		if diff := cmp.Diff(want[i], got[i].Reading, cmpopts.IgnoreFields(queue.Reading{}, "Time")); diff != "" {
			t.Errorf("queue %d: %s", i, diff)
		}
	}
	for key, c := range map[string]struct {
		keys   capacityv1alpha1.RedisKeys
		reason string
	}{
		"text":     {capacityv1alpha1.RedisKeys{Keys: []string{"a"}, ArrivedTotalKey: "text"}, capacityv1alpha1.ReasonQueueReplyInvalid},
		"negative": {capacityv1alpha1.RedisKeys{Keys: []string{"a"}, CompletedTotalKey: "negative"}, capacityv1alpha1.ReasonQueueReplyInvalid},
		"stream":   {capacityv1alpha1.RedisKeys{Keys: []string{"a"}, InFlightKeys: []string{"stream"}}, capacityv1alpha1.ReasonQueueMissing},
		"z":        {capacityv1alpha1.RedisKeys{Keys: []string{"z"}}, capacityv1alpha1.ReasonQueueMissing},
	} {
		f := read(t, reader, list(c.keys))[0].failure
		if f == nil || f.Reason != c.reason || !strings.Contains(f.What, strconv.Quote(key)) || strings.Contains(f.What, "many") {
			t.Errorf("key %s: %+v, want %s that names the key and no value", key, f, c.reason)
		}
	}
}

// An in-flight key may vanish, and come back as another type.
func TestInFlightKeyChangesItsType(t *testing.T) {
	reader, client := connect(t)
	source := list(capacityv1alpha1.RedisKeys{Keys: []string{"a"}, InFlightKeys: []string{"f", "g"}})
	for _, step := range []struct {
		commands string
		want     int64
	}{
		{"RPUSH f 1 2", 2}, {"DEL f", 0}, {"SADD f 1 2 3", 3}, {"DEL f\nHSET f a 1", 1}, {"DEL f\nZADD f 1 a 2 b\nSADD g 1", 3},
	} {
		do(t, client, step.commands)
		if got := read(t, reader, source)[0]; got.failure != nil || *got.InFlight != step.want {
			t.Errorf("after %q: %+v, want %d in flight", step.commands, got, step.want)
		}
	}
}

func TestStreamOnRealServer(t *testing.T) {
	reader, client := connect(t)
	stream := capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: "s", Group: "g"}}
	check := func(what string, want queue.Reading) {
		t.Helper()
		got := read(t, reader, stream)[0]
		if got.failure != nil {
			t.Errorf("%s: %+v", what, got.failure)
		}
		if diff := cmp.Diff(want, got.Reading, cmpopts.IgnoreFields(queue.Reading{}, "Time")); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	do(t, client, "XGROUP CREATE s g 0 MKSTREAM")
	check("empty", queue.Reading{Depth: 0, InFlight: ptr(0)})
	for i := 1; i <= 10; i++ {
		do(t, client, "XADD s "+strconv.Itoa(i)+"-0 a b")
	}
	check("ten added", queue.Reading{Depth: 10, InFlight: ptr(0)}) // the counters begin when the group reads
	do(t, client, "XREADGROUP GROUP g c COUNT 4 STREAMS s >\nXACK s g 1-0")
	check("four read, one acknowledged", queue.Reading{Depth: 6, InFlight: ptr(3), ArrivedTotal: ptr(10), CompletedTotal: ptr(1)})
	do(t, client, "XDEL s 1-0")
	check("a done one deleted", queue.Reading{Depth: 6, InFlight: ptr(3), ArrivedTotal: ptr(10), CompletedTotal: ptr(1)})
	do(t, client, "XDEL s 8-0")
	check("an unread one deleted: an upper bound", queue.Reading{Depth: 6, InFlight: ptr(3), ArrivedTotal: ptr(10), CompletedTotal: ptr(1)})
	do(t, client, "XREADGROUP GROUP g c COUNT 100 STREAMS s >")
	if got := read(t, reader, stream)[0]; got.failure != nil || got.Depth != 0 || *got.InFlight != 8 {
		t.Errorf("all read: %+v", got)
	}
	do(t, client, "DEL s\nXADD s 1-0 a b\nXADD s 2-0 a b\nXADD s 3-0 a b\nXGROUP CREATE s g 2-0")
	if f := read(t, reader, stream)[0].failure; f == nil || f.Reason != capacityv1alpha1.ReasonQueueUnavailable || !strings.Contains(f.Remedy, "ENTRIESREAD") {
		t.Errorf("a group made in mid-stream: %+v", f)
	}
	do(t, client, "XGROUP SETID s g 2-0 ENTRIESREAD 2")
	check("after the remedy", queue.Reading{Depth: 1, InFlight: ptr(0), ArrivedTotal: ptr(3), CompletedTotal: ptr(2)})
}

// A stream whose entries are too large for a reply fails alone, where its entries would have to be replied at all.
func TestLargeEntries(t *testing.T) {
	reader, client := connect(t)
	do(t, client, "XGROUP CREATE s g 0 MKSTREAM\nRPUSH jobs 1")
	large := strings.Repeat("x", 2<<20)
	for range 4 {
		client.XAdd(ctx, &redis.XAddArgs{Stream: "s", Values: []string{"a", large}})
	}
	stream := capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: "s", Group: "g"}}
	jobs := list(capacityv1alpha1.RedisKeys{Keys: []string{"jobs"}})
	if got := read(t, reader, stream, jobs); got[0].failure != nil || got[0].Depth != 4 || got[1].Depth != 1 {
		t.Errorf("%+v, want 4 waiting, whatever their size", got)
	}
	do(t, client, "XREADGROUP GROUP g c COUNT 1 STREAMS s >")
	entries := client.XRange(ctx, "s", "-", "+").Val()
	client.XDel(ctx, "s", entries[2].ID)
	for range 2 {
		got := read(t, reader, stream, jobs, jobs)
		if got[0].failure == nil || got[0].failure.Reason != capacityv1alpha1.ReasonQueueUnavailable || got[1].failure != nil || got[2].Depth != 1 {
			t.Errorf("%+v, want the stream to fail alone", got)
		}
	}
}

// The counters account for every message, at every reading of a run in which messages are sent, taken and completed.
func TestCountersAgreeToTheMessage(t *testing.T) {
	const messages = 10_000
	reader, client := connect(t)
	do(t, client, "XGROUP CREATE s g 0 MKSTREAM")
	stream := capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: "s", Group: "g"}}
	keys := list(capacityv1alpha1.RedisKeys{Keys: []string{"jobs"}, InFlightKeys: []string{"active"}, ArrivedTotalKey: "in", CompletedTotalKey: "out"})
	sent, done := 0, 0
	for sent < messages || done < messages {
		pipe := client.TxPipeline()
		for range min(137, messages-sent) {
			sent++
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "s", Values: []string{"a", "b"}})
			pipe.RPush(ctx, "jobs", sent)
			pipe.Incr(ctx, "in")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		taken, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"s", ">"}, Count: 101, Block: -1}).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		var ids []string
		pipe = client.TxPipeline()
		if len(taken) > 0 {
			for _, m := range taken[0].Messages {
				ids = append(ids, m.ID)
				pipe.LMove(ctx, "jobs", "active", "LEFT", "RIGHT")
			}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for i, r := range read(t, reader, stream, keys) {
			if r.failure != nil || r.Depth != int64(sent-done-len(ids)) || *r.InFlight != int64(len(ids)) || *r.ArrivedTotal != int64(sent) ||
				r.CompletedTotal != nil && *r.CompletedTotal != int64(done) {
				t.Fatalf("queue %d with %d sent, %d in flight, %d done: %+v", i, sent, len(ids), done, r)
			}
		}
		pipe = client.TxPipeline()
		if len(ids) > 0 {
			pipe.XAck(ctx, "s", "g", ids...)
		}
		for range ids {
			pipe.LPop(ctx, "active")
			pipe.Incr(ctx, "out")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		done += len(ids)
	}
	for i, r := range read(t, reader, stream, keys) {
		if r.Depth != 0 || *r.InFlight != 0 || *r.ArrivedTotal != messages || *r.CompletedTotal != messages {
			t.Errorf("queue %d at the end: %+v, want %d arrived and completed", i, r, messages)
		}
	}
}

// connectTo returns a reader of a topology.
func connectTo(t *testing.T, endpoint queue.Endpoint, address string) queue.Reader {
	t.Helper()
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	endpoint.Host, endpoint.Port, _ = net.SplitHostPort(address)
	reader, failure := redisq.Open(ctx, queue.ConnectOptions{
		Endpoint: endpoint, DialAddress: dial, Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, address) },
	})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	return reader
}

// The counters account for every message of 100,000 that are sent, taken and completed while the slot of their stream moves from node to node.
func TestCountersAgreeWhileSlotsMove(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	const round = 1000
	cluster := servers.StartRedisCluster(t, servers.RedisOptions{})
	reader := connectTo(t, queue.Endpoint{Topology: capacityv1alpha1.RedisCluster}, cluster.Nodes[0].Address())
	client := cluster.Everywhere(t)
	const key = "{orders}:stream"
	if err := client.XGroupCreateMkStream(ctx, key, "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	stream := capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: key, Group: "g"}}
	keys := list(capacityv1alpha1.RedisKeys{Keys: []string{"{orders}:jobs", "elsewhere"}, InFlightKeys: []string{"{orders}:active"}, ArrivedTotalKey: "{orders}:in", CompletedTotalKey: "{orders}:out"})
	check := func(sent, inFlight, done int) {
		t.Helper()
		for i, r := range read(t, reader, stream, keys) {
			if r.failure != nil || r.Depth != int64(sent-done-inFlight) || *r.InFlight != int64(inFlight) || *r.ArrivedTotal != int64(sent) || r.CompletedTotal != nil && *r.CompletedTotal != int64(done) {
				t.Fatalf("queue %d with %d sent, %d in flight, %d done: %+v", i, sent, inFlight, done, r)
			}
		}
	}
	for done := 0; done < messages; done += round {
		pipe := client.Pipeline()
		for i := range round {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []string{"a", "b"}})
			pipe.RPush(ctx, "{orders}:jobs", i)
		}
		pipe.IncrBy(ctx, "{orders}:in", round)
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		taken := client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{key, ">"}, Count: round, Block: -1}).Val()
		pipe = client.Pipeline()
		var ids []string
		for _, m := range taken[0].Messages {
			ids = append(ids, m.ID)
			pipe.LMove(ctx, "{orders}:jobs", "{orders}:active", "LEFT", "RIGHT")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		check(done+round, round, done)
		if done/round%10 == 5 {
			move := cluster.NewMove(t, key, (cluster.Of(t, key)+1)%len(cluster.Nodes))
			move.Begin(t)
			check(done+round, round, done)
			move.Keys(t)
			check(done+round, round, done)
			move.End(t)
			check(done+round, round, done)
		}
		pipe = client.Pipeline()
		pipe.XAck(ctx, key, "g", ids...)
		pipe.XTrimMaxLen(ctx, key, 0)
		pipe.Del(ctx, "{orders}:active")
		pipe.IncrBy(ctx, "{orders}:out", round)
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		check(done+round, 0, done+round)
	}
}

// Keys of one queue may be on several nodes, which are asked at once; a Sentinel leads to the master.
func TestTopologies(t *testing.T) {
	cluster := servers.StartRedisCluster(t, servers.RedisOptions{})
	client := cluster.Everywhere(t)
	var keys []string
	for i := range 16 {
		keys = append(keys, "jobs:"+strconv.Itoa(i))
		client.RPush(ctx, keys[i], "1", "2")
	}
	client.SAdd(ctx, "busy", "1")
	reader := connectTo(t, queue.Endpoint{Topology: capacityv1alpha1.RedisCluster}, cluster.Nodes[1].Address())
	got := read(t, reader, list(capacityv1alpha1.RedisKeys{Keys: keys, InFlightKeys: []string{"busy", "none"}}))[0]
	if got.failure != nil || got.Depth != 32 || *got.InFlight != 1 {
		t.Errorf("%+v, want 32 waiting and 1 in flight", got)
	}
	if n := reader.Connections(); n != 4 {
		t.Errorf("%d connections, want one to each node and one to the url's", n)
	}

	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{})
	s.Client(t, 0).RPush(ctx, "jobs", "1", "2", "3")
	reader = connectTo(t, queue.Endpoint{Topology: capacityv1alpha1.RedisSentinel, MasterName: "mymaster"}, s.Sentinel.Address())
	if got := read(t, reader, list(capacityv1alpha1.RedisKeys{Keys: []string{"jobs"}}))[0]; got.failure != nil || got.Depth != 3 {
		t.Errorf("%+v, want 3 waiting", got)
	}
}

// One operation reads 10,000 queues, as a poll of 10,000 QueueScalers on one server does.
func BenchmarkRead(b *testing.B) {
	const queues = 10_000
	server := servers.StartRedis(b, servers.RedisOptions{})
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", server.Address())
	}
	reader, failure := redisq.Open(ctx, queue.ConnectOptions{Dial: dial, Now: time.Now})
	if failure != nil {
		b.Fatal(failure)
	}
	b.Cleanup(reader.Close)
	all := make([]*capacityv1alpha1.Queue, queues)
	for i := range all {
		all[i] = &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{Redis: list(capacityv1alpha1.RedisKeys{Keys: []string{"jobs:" + strconv.Itoa(i)}})}}
	}
	b.ReportAllocs()
	for b.Loop() {
		read := 0
		failure := reader.Read(ctx, all, func(_ int, _ queue.Reading, f *queue.Failure) {
			if f == nil {
				read++
			}
		})
		if failure != nil || read != queues {
			b.Fatal(failure, read)
		}
	}
}
