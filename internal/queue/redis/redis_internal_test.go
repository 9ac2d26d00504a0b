// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

func ptr(n int64) *int64 { return &n }

func reason(f *queue.Failure) string {
	if f == nil {
		return ""
	}
	return f.Reason
}

// groupReply is a reply to XINFO GROUPS with one group and these further fields.
func groupReply(fields ...any) any {
	return []any{append([]any{"name", "g", "consumers", int64(1), "pending", int64(4)}, fields...)}
}

func answered(name string, value any, err error) command {
	c := redis.NewCmd(context.Background(), name)
	c.SetVal(value)
	c.SetErr(err)
	return command{name: name, key: "s", reply: c}
}

func TestStreamReading(t *testing.T) {
	unknown := capacityv1alpha1.ReasonQueueUnavailable
	for _, c := range []struct {
		name     string
		groups   any
		length   int64
		added    *int64
		want     queue.Reading
		reason   string
		asksMore bool
	}{
		{"7.0", groupReply("last-delivered-id", "5-0", "entries-read", int64(10), "lag", int64(3)), 8, nil,
			queue.Reading{Depth: 3, InFlight: ptr(4), ArrivedTotal: ptr(13), CompletedTotal: ptr(6)}, "", false},
		{"trimmed away unread", groupReply("last-delivered-id", "5-0", "entries-read", int64(10), "lag", int64(30)), 8, nil,
			queue.Reading{Depth: 8, InFlight: ptr(4), ArrivedTotal: ptr(40), CompletedTotal: ptr(6)}, "", false},
		{"made at the end", groupReply("last-delivered-id", "5-0", "entries-read", nil, "lag", int64(0)), 8, nil,
			queue.Reading{Depth: 0, InFlight: ptr(4)}, "", false},
		{"unread deleted", groupReply("last-delivered-id", "5-0", "entries-read", int64(10), "lag", nil), 8, ptr(15),
			queue.Reading{Depth: 5, InFlight: ptr(4), ArrivedTotal: ptr(15), CompletedTotal: ptr(6)}, "", true},
		{"made in mid-stream", groupReply("last-delivered-id", "5-0", "entries-read", nil, "lag", nil), 8, nil, queue.Reading{}, unknown, false},
		{"6.2", groupReply("last-delivered-id", "5-0"), 8, nil, queue.Reading{}, unknown, false},
		{"6.2, nothing read", groupReply("last-delivered-id", "0-0"), 8, nil, queue.Reading{Depth: 8, InFlight: ptr(4)}, "", false},
		{"6.2, empty", groupReply("last-delivered-id", "5-0"), 0, nil, queue.Reading{InFlight: ptr(4)}, "", false},
		{"no such group", []any{}, 0, nil, queue.Reading{}, capacityv1alpha1.ReasonQueueMissing, false},
		{"no list", "x", 0, nil, queue.Reading{}, capacityv1alpha1.ReasonQueueReplyInvalid, false},
		{"negative lag", groupReply("last-delivered-id", "5-0", "lag", int64(-1)), 0, nil, queue.Reading{}, capacityv1alpha1.ReasonQueueReplyInvalid, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := question{source: &capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: "s", Group: "g"}},
				commands: []command{answered("XINFO GROUPS", c.groups, nil), answered("XLEN", c.length, nil)}}
			got, failure, asks := q.answerStream()
			if asks {
				q.commands = append(q.commands, answered("XINFO STREAM", []any{"entries-added", *c.added}, nil))
				got, failure, _ = q.answerStream()
			}
			if reason(failure) != c.reason || asks != c.asksMore {
				t.Fatalf("failure %v, asked for entries-added: %v", failure, asks)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorReplies(t *testing.T) {
	for _, c := range []struct{ text, server, key string }{
		{"WRONGTYPE Operation against a key", "", capacityv1alpha1.ReasonQueueMissing},
		{"NOPERM this user has no permissions", "", capacityv1alpha1.ReasonPermissionDenied},
		{"MOVED 3999 127.0.0.1:6381", "", capacityv1alpha1.ReasonQueueUnavailable},
		{"ERR unknown command `LLEN`, with args beginning with: `AUTH`", "", capacityv1alpha1.ReasonQueueUnavailable},
		{"NOAUTH Authentication required.", capacityv1alpha1.ReasonAuthenticationFailed, ""},
		{"WRONGPASS invalid username-password pair", capacityv1alpha1.ReasonAuthenticationFailed, ""},
		{"ERR AUTH <password> called without any password configured", capacityv1alpha1.ReasonAuthenticationFailed, ""},
		{"LOADING Redis is loading the dataset in memory", capacityv1alpha1.ReasonQueueUnavailable, ""},
		{"BUSY Redis is busy running a script.", capacityv1alpha1.ReasonQueueUnavailable, ""},
		{"MASTERDOWN Link with MASTER is down", capacityv1alpha1.ReasonQueueUnavailable, ""},
		{"ERR max number of clients reached", capacityv1alpha1.ReasonQueueUnavailable, ""},
		{"ERR DB index is out of range", capacityv1alpha1.ReasonQueueMissing, ""},
	} {
		failure := serverFailure(c.text, false)
		if got := reason(failure); got != c.server {
			t.Errorf("%s: reason %q for the server, want %q", c.text, got, c.server)
		}
		if c.server == "" {
			failure = keyFailure(c.text, "LLEN", "jobs")
			if failure.Reason != c.key {
				t.Errorf("%s: reason %q for the key, want %q", c.text, failure.Reason, c.key)
			}
		}
		if strings.Contains(failure.What, "`") || strings.Contains(failure.What, "3999") {
			t.Errorf("%q repeats the reply", failure.What)
		}
	}
}

var scanSeeds = map[string]bool{
	"+OK\r\n-ERR x\r\n:5\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n": true,
	"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n+OK\r\n":               true,
	"*0\r\n$0\r\n\r\n":                                   true,
	strings.Repeat("*1\r\n", depthMost) + ":1\r\n:2\r\n": true,
	strings.Repeat("*1\r\n", depthMost+1):                false,
	"$9223372036854775807\r\n":                           false,
	"$1048577\r\n":                                       false,
	"*65537\r\n":                                         false,
	"$-2\r\n":                                            false,
	"*+1\r\n":                                            false,
	"%1\r\n":                                             false,
	":1\n":                                               false,
	"\r\n":                                               false,
	"HTTP/1.1\r\n":                                       false,
	"+" + strings.Repeat("x", lineMost+1):                false,
	strings.Repeat("*1\r\n:1\r\n", 100) + "*1\r\n$1\r\nx\n": true,
}

func TestScan(t *testing.T) {
	for text, want := range scanSeeds {
		if got := new(scanner).scan([]byte(text)); got != want {
			t.Errorf("%.60q: %v, want %v", text, got, want)
		}
	}
}

// How the bytes are cut into reads changes nothing, and what is kept between them is bounded.
func FuzzScan(f *testing.F) {
	for text := range scanSeeds {
		f.Add([]byte(text), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		whole := new(scanner).scan(append([]byte(nil), data...))
		pieces, ok := new(scanner), true
		for rest := data; ok && len(rest) > 0; {
			n := min(int(cut%16)+1, len(rest))
			ok = pieces.scan(rest[:n])
			rest = rest[n:]
		}
		if ok != whole {
			t.Errorf("%q: %v at once, %v in pieces", data, whole, ok)
		}
		if ok && (len(pieces.line) > lineMost+16 || pieces.skip > stringMost+2 || pieces.skip < 0 || len(pieces.missing) > depthMost) {
			t.Errorf("%d bytes of a line, %d to skip, %d arrays", len(pieces.line), pieces.skip, len(pieces.missing))
		}
	})
}

// dialing makes connections to a server that replies data to what is not its login.
func dialing(data []byte) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		go replying(server, data)
		return client, nil
	}
}

// readAny reads a stream and a list, and checks that each ends in a reading in range or a failure, unless the whole server fails.
func readAny(t *testing.T, r queue.Reader, data []byte) {
	t.Helper()
	stream := capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Stream: capacityv1alpha1.RedisStream{Key: "s", Group: "g"}}}}
	list := capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{List: capacityv1alpha1.RedisKeys{Keys: []string{"k"}, InFlightKeys: []string{"f"}, ArrivedTotalKey: "a"}}}}
	results := 0
	failure := r.Read(context.Background(), []*capacityv1alpha1.Queue{&stream, &list}, func(_ int, r queue.Reading, f *queue.Failure) {
		results++
		if f == nil && (r.Depth < 0 || r.InFlight == nil || *r.InFlight < 0 || r.ArrivedTotal != nil && *r.ArrivedTotal < 0) {
			t.Errorf("%q makes %+v", data, r)
		}
	})
	if failure == nil && results != 2 {
		t.Errorf("%q: %d results and no failure", data, results)
	}
}

// Whatever a server replies, reading a stream and a list ends in a reading in range or a failure.
func FuzzReplies(f *testing.F) {
	for text := range scanSeeds {
		f.Add([]byte(text))
	}
	f.Add([]byte("*1\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:1\r\n$7\r\npending\r\n:4\r\n$17\r\nlast-delivered-id\r\n$3\r\n5-0\r\n" +
		"$12\r\nentries-read\r\n:10\r\n$3\r\nlag\r\n:3\r\n:8\r\n:5\r\n+list\r\n$2\r\n17\r\n:2\r\n:2\r\n$1\r\n9\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, failure := Open(context.Background(), queue.ConnectOptions{Dial: dialing(data), Now: time.Now})
		if failure != nil {
			t.Fatal(failure)
		}
		defer r.Close()
		readAny(t, r, data)
	})
}

// Whatever a node or a Sentinel replies first, it is a failure, or queues can be read where that leads to.
func FuzzTopologies(f *testing.F) {
	for text := range scanSeeds {
		f.Add([]byte(text))
	}
	f.Add([]byte("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7001\r\n"))
	f.Add([]byte("*1\r\n*4\r\n:0\r\n:5\r\n*3\r\n$-1\r\n:7001\r\n$1\r\nx\r\n*3\r\n$1\r\n?\r\n:7002\r\n$1\r\ny\r\n"))
	f.Add([]byte("*1\r\n*3\r\n:5\r\n:16384\r\n*2\r\n$1\r\nn\r\n:0\r\n"))
	f.Add([]byte("*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n"))
	f.Add([]byte("-MOVED 1 n:1\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, topology := range []capacityv1alpha1.RedisTopology{capacityv1alpha1.RedisCluster, capacityv1alpha1.RedisSentinel} {
			r, failure := Open(context.Background(), queue.ConnectOptions{
				Endpoint: queue.Endpoint{Topology: topology, MasterName: "m", Host: "127.0.0.1", Port: "1"}, Dial: dialing(data), Now: time.Now,
				DialAddress: func(ctx context.Context, address string) (net.Conn, error) {
					if _, port, err := net.SplitHostPort(address); err != nil || port == "0" {
						t.Errorf("%q leads to %q", data, address)
					}
					return dialing(data)(ctx)
				},
			})
			if failure != nil {
				continue
			}
			readAny(t, r, data)
			r.Close()
		}
	})
}

// Whatever an error says, a redirection that is made of it is to a slot and an address that there can be.
func FuzzRedirection(f *testing.F) {
	for _, text := range []string{"MOVED 3999 127.0.0.1:6381", "ASK 0 redis-2.chat:6379", "MOVED 16383 :7002", "MOVED 16384 n:1", "MOVED 1 [::1]:7", "ASK 1 ::1:7", "MOVED 1 n:0", "MOVED 1 n", "MOVED", "ERR x", "MOVED 1 a@b:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseRedirection(text, "10.0.0.1")
		if !ok {
			return
		}
		host, port, err := net.SplitHostPort(r.address)
		if n, _ := strconv.Atoi(port); err != nil || host == "" || n < 1 || n > 65535 || r.slot < 0 || r.slot >= slotCount || strings.ContainsAny(host, " /@,%") {
			t.Errorf("%q leads to %+v", text, r)
		}
	})
}

func TestRedirections(t *testing.T) {
	for text, want := range map[string]redirection{
		"MOVED 3999 127.0.0.1:6381": {false, 3999, "127.0.0.1:6381"},
		"ASK 0 redis-2.chat:6379":   {true, 0, "redis-2.chat:6379"},
		"MOVED 16383 :7002":         {false, 16383, "10.0.0.1:7002"},
		"MOVED 1 ::1:7":             {false, 1, "[::1]:7"},
	} {
		if got, ok := parseRedirection(text, "10.0.0.1"); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{"MOVED 16384 n:1", "MOVED 1 n:0", "MOVED 1 n", "MOVED 1 ?:1", "MOVED", "ERR x", "MOVED 1 a@b:1", "MOVED -1 n:1"} {
		if got, ok := parseRedirection(text, "10.0.0.1"); ok {
			t.Errorf("%s: %+v, want none", text, got)
		}
	}
}

// The slots are those that CLUSTER KEYSLOT tells.
func TestSlots(t *testing.T) {
	for key, want := range map[string]int{"": 0, "123456789": 12739, "foo": 12182, "{foo}bar": 12182, "a{foo}{b}": 12182, "foo{}": 5542, "{": 4092} {
		if got := slotOf(key); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
}

// replying lets a client log in, sends data after the first other command, and closes.
func replying(conn net.Conn, data []byte) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		words, err := readCommand(in)
		if err != nil {
			return
		}
		switch strings.ToUpper(words[0]) {
		case "HELLO":
			_, err = io.WriteString(conn, "-ERR unknown command\r\n")
		case "PING":
			_, err = io.WriteString(conn, "+PONG\r\n")
		default:
			go func() { _, _ = io.Copy(io.Discard, in) }() // the client writes its whole pipeline before it reads
			_, _ = conn.Write(data)
			return
		}
		if err != nil {
			return
		}
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	var count int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &count); err != nil || count < 1 {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	words := make([]string, count)
	for i := range words {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, err := strconv.Atoi(strings.Trim(line, "$\r\n"))
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:size])
	}
	return words, nil
}
