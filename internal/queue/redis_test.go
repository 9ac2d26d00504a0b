// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

func inCluster(q capacityv1alpha1.Queue) capacityv1alpha1.Queue {
	q.Redis.Topology = capacityv1alpha1.RedisCluster
	return q
}

func behindSentinel(q capacityv1alpha1.Queue) capacityv1alpha1.Queue {
	q.Redis.Topology, q.Redis.MasterName = capacityv1alpha1.RedisSentinel, "mymaster"
	return q
}

// keyOn is a key that a node of the cluster has.
func keyOn(t *testing.T, c *servers.RedisCluster, node int) string {
	t.Helper()
	for i := range 1000 {
		if key := fmt.Sprint("jobs:", i); c.Of(t, key) == node {
			return key
		}
	}
	t.Fatalf("node %d has no key", node)
	return ""
}

// keysOfAll are a key of each node.
func keysOfAll(t *testing.T, c *servers.RedisCluster) (keys []string) {
	t.Helper()
	for i := range c.Nodes {
		keys = append(keys, keyOn(t, c, i))
	}
	return keys
}

// gaps collects the readings of s until there are so many, and fails where two are further apart than allowed at polls of 1 s.
func gaps(t *testing.T, h *harness, s queue.Subscriber, count int, most time.Duration) {
	t.Helper()
	var times []time.Time
	h.Take(s)
	enough := func() bool {
		for _, r := range h.Take(s)[0] {
			times = append(times, r.Time)
		}
		return len(times) >= count
	}
	h.await("readings", enough, func() any { return times })
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); gap > most {
			t.Errorf("%v between two readings at polls of 1 s", gap)
		}
	}
}

// A thousand queues on all nodes are read over one connection to each, and one to the url's; a node that is away fails its own queues alone.
func TestRedisCluster(t *testing.T) {
	ctx := context.Background()
	c := servers.StartRedisCluster(t, servers.RedisOptions{})
	client := c.Everywhere(t)
	keys := keysOfAll(t, c)
	for i, key := range keys {
		for range i + 1 {
			client.RPush(ctx, key, "m")
		}
	}
	h := newHarness(t)
	all := inCluster(listQueue(c.URL(0), keys...))
	h.Subscribe(other, one(all))
	for i, key := range keys {
		h.Subscribe(subscriber(i), one(inCluster(listQueue(c.URL(0), key))))
	}
	for i := 3; i < manyQueues; i++ {
		h.Subscribe(subscriber(i), one(inCluster(listQueue(c.URL(0), fmt.Sprint("more:", i)))))
	}
	for i := range keys {
		h.awaitDepth(subscriber(i), int64(i+1))
	}
	h.awaitDepth(other, 6)
	h.awaitDepth(subscriber(manyQueues-1), 0)
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections != 4 || !stats[0].Up {
		t.Errorf("servers: %+v, want one with 4 connections", stats)
	}

	c.Nodes[2].Stop()
	got := h.awaitReason(subscriber(2), capacityv1alpha1.ReasonQueueUnavailable)
	says(t, got, `^the node of redis://127.0.0.1:\d+/0 with key "jobs:\d+" (refused|closing connections).*Check that the server runs`)
	if got.ServerWide {
		t.Error("one node counts as the whole cluster")
	}
	h.awaitReason(other, capacityv1alpha1.ReasonQueueUnavailable)
	gaps(t, h, subscriber(0), 5, 2*time.Second)
	if got := h.sample(subscriber(1)); got.Quality != queue.Fresh {
		t.Errorf("a queue of another node: %+v", got)
	}
	if err := c.Nodes[2].Start(); err != nil {
		t.Fatal(err)
	}
	h.await("the cluster is one again", func() bool {
		return strings.Contains(c.Client(t, 2).ClusterInfo(ctx).Val(), "cluster_state:ok")
	}, func() any { return c.Client(t, 2).ClusterInfo(ctx).Val() })
	h.awaitDepth(subscriber(2), 0) // it lost its keys
	h.awaitDepth(other, 3)

	for i := range manyQueues {
		h.Unsubscribe(subscriber(i))
	}
	h.Unsubscribe(other)
	h.await("closed with the last subscriber", func() bool { return len(h.Servers()) == 0 }, func() any { return h.Servers() })
}

// A node that accepts and says nothing delays no queue of the others.
func TestRedisClusterWithASilentNode(t *testing.T) {
	c := servers.StartRedisCluster(t, servers.RedisOptions{})
	keys := keysOfAll(t, c)
	silent := hostile(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	front := hostile(t, telling(c.Nodes[0].Address(), silent))
	h := newHarness(t)
	h.Subscribe(scaler, one(inCluster(listQueue("redis://"+front, keys[0]))))
	for i := range 50 {
		h.Subscribe(subscriber(i+1), one(inCluster(listQueue("redis://"+front, keys[1]))))
	}
	h.awaitDepth(scaler, 0)
	says(t, h.awaitReason(subscriber(50), capacityv1alpha1.ReasonQueueTimeout), `the node of redis://.* with key "jobs:\d+" silent`)
	gaps(t, h, scaler, 8, 2*time.Second)
}

// slotsOf is an element of the reply to CLUSTER SLOTS, slotsOfAll a reply with all slots at one address, masterAt that of a Sentinel.
func slotsOf(first, last int, host, port string) string {
	return fmt.Sprintf("*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:%s\r\n", first, last, len(host), host, port)
}

func slotsOfAll(host, port string) string { return "*1\r\n" + slotsOf(0, 16383, host, port) }

func masterAt(host, port string) string {
	return fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port)
}

// answering lets clients log in, and answers commands by one of their words, again and again if endless.
func answering(answers map[string]string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch word := strings.ToUpper(strings.TrimSpace(line)); word {
			case "HELLO":
				_, _ = io.WriteString(conn, "-ERR unknown command\r\n")
			case "PING":
				_, _ = io.WriteString(conn, "+PONG\r\n")
			default:
				for reply, err := answers[word], error(nil); reply != "" && err == nil; {
					_, err = io.WriteString(conn, reply)
					if !endless {
						break
					}
				}
			}
		}
	}
}

// telling says of the first third of the slots that they are at one address, and of the others that they are at another.
func telling(first, second string) func(net.Conn) {
	host, port, _ := net.SplitHostPort(first)
	host2, port2, _ := net.SplitHostPort(second)
	return answering(map[string]string{"SLOTS": "*2\r\n" + slotsOf(0, 5460, host, port) + slotsOf(5461, 16383, host2, port2)}, false)
}

// Whatever a node tells, no link-local address is connected to, and replies do not appear in messages.
func TestHostileClusterAndSentinel(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	noise := hostile(t, greetRedis(strings.Repeat("\x00\xff\x17garbage\n", 100), false))
	_, noisePort, _ := net.SplitHostPort(noise)
	_, worsePort, _ := net.SplitHostPort(hostile(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "garbage\r\n") }))
	const slots, ask = "SLOTS", "GET-MASTER-ADDR-BY-NAME"
	const invalid, refused = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonAddressRefused
	for _, c := range []struct {
		name, word, reply string
		endless           bool
		reason            string
	}{
		{"cluster at a link-local address", slots, slotsOfAll("169.254.169.254", "80"), false, refused},
		{"cluster at a host that is none", slots, slotsOfAll("garbage@x", "80"), false, invalid},
		{"cluster at a port that is none", slots, slotsOfAll("127.0.0.1", "65536"), false, invalid},
		{"cluster's node sends garbage", slots, slotsOfAll("127.0.0.1", noisePort), false, invalid},
		{"cluster without nodes", slots, "*0\r\n", false, capacityv1alpha1.ReasonQueueUnavailable},
		{"cluster layout is text", slots, "+garbage\r\n", false, invalid},
		{"cluster layout without end", slots, "*1\r\n", true, invalid},
		{"cluster layout is garbage", slots, "garbage\r\n", false, invalid},
		{"cluster silent", slots, "", false, capacityv1alpha1.ReasonQueueTimeout},
		{"cluster moves in circles", "LLEN", "", false, capacityv1alpha1.ReasonQueueUnavailable},
		{"sentinel tells a link-local address", ask, masterAt("169.254.169.254", "80"), false, refused},
		{"sentinel tells a host that is none", ask, masterAt("garbage@x", "80"), false, invalid},
		{"sentinel tells garbage", ask, "garbage\r\n", false, invalid},
		{"sentinel tells a number", ask, ":1\r\n", false, invalid},
		{"sentinel without end", ask, "$10\r\n0123456789\r\n", true, invalid},
		{"sentinel silent", ask, "", false, capacityv1alpha1.ReasonQueueTimeout},
		{"sentinel's master sends garbage", ask, masterAt("127.0.0.1", worsePort), false, invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			serve := answering(map[string]string{c.word: c.reply}, c.endless)
			if c.word == "LLEN" {
				serve = circling
			}
			address := hostile(t, serve)
			q := inCluster(listQueue("redis://"+address, "jobs"))
			if c.word == ask {
				q = behindSentinel(listQueue("redis://"+address, "jobs"))
			}
			newHarness(t).withstands(good, q, c.reason, "169.254", "65536", "0123456789")
		})
	}
}

// circling is a node that has all slots, and says of each key that it has moved there.
func circling(conn net.Conn) {
	address := conn.LocalAddr().String()
	host, port, _ := net.SplitHostPort(address)
	answering(map[string]string{"SLOTS": slotsOfAll(host, port), "LLEN": "-MOVED 1 " + address + "\r\n"}, false)(conn)
}

// A slot that moves takes its queue with it: no depth is wrong on the way, and what is not there yet is found by ASK.
func TestRedisClusterResharding(t *testing.T) {
	ctx := context.Background()
	c := servers.StartRedisCluster(t, servers.RedisOptions{})
	client := c.Everywhere(t)
	key := keyOn(t, c, 1)
	other := "{" + key + "}:more"
	client.RPush(ctx, key, "1", "2", "3")
	h := newHarness(t)
	stay, gone := subscriber(1), subscriber(2)
	h.Subscribe(scaler, one(inCluster(listQueue(c.URL(0), key))))
	h.Subscribe(stay, one(inCluster(listQueue(c.URL(0), keyOn(t, c, 2)))))
	h.Subscribe(gone, one(inCluster(listQueue(c.URL(0), other, key))))
	h.awaitDepth(scaler, 3)
	h.awaitDepth(gone, 3)

	move := c.NewMove(t, key, 0)
	move.Begin(t)
	wrong := 0
	check := func() {
		for _, r := range h.Take(scaler)[0] {
			if r.Depth != 3 {
				wrong++
			}
		}
	}
	h.awaitDepth(gone, 3) // its other key is asked for at the new node
	pipe := c.Client(t, 0).Pipeline()
	pipe.Do(ctx, "ASKING")
	pipe.RPush(ctx, other, "4", "5")
	must(pipe.Exec(ctx))
	h.awaitDepth(gone, 5)
	check()
	move.Keys(t)
	h.awaitDepth(gone, 5)
	check()
	move.End(t)
	h.awaitDepth(gone, 5)
	client.RPush(ctx, key, "4")
	h.awaitDepth(gone, 6)
	h.awaitDepth(scaler, 4)
	if wrong > 0 {
		t.Errorf("%d wrong depths while the slot moved", wrong)
	}
	for _, s := range []queue.Subscriber{scaler, stay, gone} {
		if got := h.sample(s); got.Quality != queue.Fresh {
			t.Errorf("%v: %+v", s, got)
		}
	}
}

// The master is asked for when the connection is made, and followed when another takes over because it died.
func TestRedisSentinelFailover(t *testing.T) {
	ctx := context.Background()
	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{})
	s.Client(t, 0).RPush(ctx, "jobs", "1", "2")
	h := newHarness(t)
	h.Subscribe(scaler, one(behindSentinel(listQueue(s.URL(), "jobs"))))
	h.awaitDepth(scaler, 2)
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections != 2 {
		t.Errorf("servers: %+v, want one with a connection to the Sentinel and one to the master", stats)
	}
	h.await("the replica has it", func() bool { return s.Client(t, 1).LLen(ctx, "jobs").Val() == 2 }, func() any { return nil })
	s.Servers[0].Stop()
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
	says(t, got, "(refused|closing connections|a replica now).*last reading")
	s.AwaitMaster(t, 1)
	h.awaitDepth(scaler, 2)
	s.Client(t, 1).RPush(ctx, "jobs", "3")
	h.awaitDepth(scaler, 3)

	// The old one comes back as a master for a moment, until the Sentinel makes it a replica, and is not read.
	if err := s.Servers[0].Start(); err != nil {
		t.Fatal(err)
	}
	h.Take(scaler)
	var readings []queue.Reading
	h.await("more readings", func() bool {
		readings = append(readings, h.Take(scaler)[0]...)
		return len(readings) >= 5
	}, func() any { return h.sample(scaler) })
	for _, r := range readings {
		if r.Depth != 3 {
			t.Errorf("depth %d, want the new master's 3", r.Depth)
		}
	}
}

// A master that is replaced while it runs is left for the new one.
func TestRedisSentinelReplacesTheMaster(t *testing.T) {
	ctx := context.Background()
	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{})
	s.Client(t, 0).RPush(ctx, "jobs", "1", "2")
	h := newHarness(t)
	h.Subscribe(scaler, one(behindSentinel(listQueue(s.URL(), "jobs"))))
	h.awaitDepth(scaler, 2)
	h.await("the replica has it", func() bool { return s.Client(t, 1).LLen(ctx, "jobs").Val() == 2 }, func() any { return nil })
	s.FailOver(t)
	s.AwaitMaster(t, 1)
	h.await("the new master takes a message", func() bool { return s.Client(t, 1).RPush(ctx, "jobs", "3").Err() == nil }, func() any { return nil })
	h.awaitDepth(scaler, 3)
}

// While the Sentinel is away, the master is read on.
func TestRedisSentinelStops(t *testing.T) {
	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{})
	h := newHarness(t)
	h.Subscribe(scaler, one(behindSentinel(listQueue(s.URL(), "jobs"))))
	h.awaitDepth(scaler, 0)
	s.Sentinel.Stop()
	gaps(t, h, scaler, 8, 2*time.Second)
	h.Subscribe(other, one(behindSentinel(listQueue(s.URL(), "other"))))
	h.awaitDepth(other, 0)
	fresh := subscriber(1)
	unknown := listQueue(s.URL(), "jobs")
	unknown.Redis.Topology, unknown.Redis.MasterName = capacityv1alpha1.RedisSentinel, "another"
	h.Subscribe(fresh, one(unknown))
	says(t, h.awaitReason(fresh, capacityv1alpha1.ReasonQueueUnavailable), `^redis://127.0.0.1:\d+/0 refused`)
	if err := s.Sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	says(t, h.awaitReason(fresh, capacityv1alpha1.ReasonQueueMissing), `without a master "another".*Correct redis.masterName`)
}

func TestRedisClusterAndSentinelCredentials(t *testing.T) {
	c := servers.StartRedisCluster(t, servers.RedisOptions{Password: "hunter2", ACL: []string{"user blind on >hunter2 ~* +llen +ping"}})
	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{Redis: servers.RedisOptions{Password: "hunter2"}, Sentinel: servers.RedisOptions{Password: "hunter3"}})
	plain := servers.StartRedis(t, servers.RedisOptions{Password: "hunter2"})
	const rejected, unavailable = capacityv1alpha1.ReasonAuthenticationFailed, capacityv1alpha1.ReasonQueueUnavailable
	for _, k := range []struct {
		name         string
		queue        capacityv1alpha1.Queue
		wrong, right []string
		reason, says string
	}{
		{"cluster", inCluster(listQueue(c.URL(1), "jobs")), []string{"password", "wrong"}, []string{"password", "hunter2"}, rejected, "rejecting the credentials.*Correct Secret chat/creds"},
		{"cluster without permission", inCluster(listQueue(c.URL(1), "jobs")), []string{"username", "blind", "password", "hunter2"}, []string{"password", "hunter2"},
			capacityv1alpha1.ReasonPermissionDenied, `denying CLUSTER SLOTS.*\+cluster\|slots`},
		{"no cluster", inCluster(listQueue(plain.URL(), "jobs")), []string{"password", "hunter2"}, nil, unavailable, "no node of a Redis Cluster.*Remove redis.topology"},
		{"sentinel, master", behindSentinel(listQueue(s.URL(), "jobs")), []string{"password", "wrong", "sentinelPassword", "hunter3"},
			[]string{"password", "hunter2", "sentinelUsername", "default", "sentinelPassword", "hunter3"}, rejected, `^master mymaster of redis://127.0.0.1:\d+/0 rejecting the credentials`},
		{"sentinel, itself", behindSentinel(listQueue(s.URL(), "jobs")), []string{"password", "hunter2", "sentinelPassword", "wrong"},
			[]string{"password", "hunter2", "sentinelPassword", "hunter3"}, rejected, "a Sentinel that rejects sentinelUsername and sentinelPassword of the Secret"},
		{"sentinel, without", behindSentinel(listQueue(s.URL(), "jobs")), []string{"password", "hunter2"},
			[]string{"password", "hunter2", "sentinelPassword", "hunter3"}, rejected, "a Sentinel that requires sentinelPassword in the Secret"},
		{"sentinel's keys for one server", listQueue(plain.URL(), "jobs"), []string{"sentinelPassword", "hunter2"}, []string{"password", "hunter2"},
			capacityv1alpha1.ReasonSecretInvalid, "in need of a password, which its Secret lacks"},
		{"no sentinel", behindSentinel(listQueue(plain.URL(), "jobs")), []string{"sentinelPassword", "hunter2"}, nil, unavailable, "answering SENTINEL GET-MASTER-ADDR-BY-NAME with an error.*26379"},
	} {
		t.Run(k.name, func(t *testing.T) {
			k.queue.Redis.Auth = authBy("creds")
			h := newHarness(t)
			h.setSecret("chat/creds", k.wrong...)
			h.Subscribe(scaler, one(k.queue))
			if k.right != nil {
				h.setSecret("shop/creds", k.right...)
				h.Subscribe(other, one(k.queue))
			}
			got := h.awaitReason(scaler, k.reason)
			says(t, got, k.says)
			if k.right == nil {
				return
			}
			h.awaitDepth(other, 0)
			h.setSecret("chat/creds", k.right...)
			h.awaitDepth(scaler, 0)
			if strings.Contains(h.logged()+got.Message, "hunter") {
				t.Error("a password is told")
			}
		})
	}
}

// Users are of a node: one that rejects them, as while passwords are changed node by node, fails the queues with a key on it. All of them fail the server.
func TestRedisClusterNodesRejectTheCredentials(t *testing.T) {
	ctx := context.Background()
	c := servers.StartRedisCluster(t, servers.RedisOptions{Password: "hunter2", ACL: []string{"user reader on >pw ~* +@all"}})
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "pw")
	keys := keysOfAll(t, c)
	for i, key := range keys {
		q := inCluster(listQueue(c.URL(1), key))
		q.Redis.Auth = authBy("creds")
		h.Subscribe(subscriber(i), one(q))
	}
	for i := range keys {
		h.awaitDepth(subscriber(i), 0)
	}
	set := func(node int, rule string) {
		t.Helper()
		for _, command := range [][]any{{"ACL", "SETUSER", "reader", "resetpass", rule}, {"CLIENT", "KILL", "USER", "reader"}} {
			if err := c.Client(t, node).Do(ctx, command...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	const rejected = capacityv1alpha1.ReasonAuthenticationFailed
	set(2, ">other")
	got := h.awaitReason(subscriber(2), rejected)
	says(t, got, `^the node of redis://127.0.0.1:\d+/0 with key "jobs:\d+" rejecting the credentials.*Let its ACL accept`)
	if got.ServerWide {
		t.Error("one node counts as the whole cluster")
	}
	gaps(t, h, subscriber(0), 5, 2*time.Second)
	if got := h.sample(subscriber(1)); got.Quality != queue.Fresh {
		t.Errorf("a queue of another node: %+v", got)
	}
	set(2, ">pw")
	h.awaitDepth(subscriber(2), 0)
	for node := range keys {
		set(node, ">other")
	}
	for i := range keys {
		h.await("the server rejects", func() bool {
			got = h.sample(subscriber(i))
			return got.Reason == rejected && got.ServerWide
		}, func() any { return got })
		says(t, got, "rejecting the credentials.*Correct Secret chat/creds")
	}
	h.setSecret("chat/creds", "username", "reader", "password", "other")
	for i := range keys {
		h.awaitDepth(subscriber(i), 0)
	}
}

func TestRedisClusterAndSentinelTLS(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	c := servers.StartRedisCluster(t, servers.RedisOptions{TLS: good})
	s := servers.StartRedisSentinel(t, servers.RedisSentinelOptions{Redis: servers.RedisOptions{TLS: good}})
	outdated := servers.StartRedis(t, servers.RedisOptions{TLS: expired})
	keys := keysOfAll(t, c)
	for name, k := range map[string]struct {
		queue      capacityv1alpha1.Queue
		ca         *servers.Certificates
		serverName string
		says       string
	}{
		"cluster":                  {inCluster(listQueue(c.URL(0), keys...)), good, "", ""},
		"cluster by a server name": {inCluster(listQueue(c.URL(0), keys...)), good, "localhost", ""},
		"cluster, unknown CA":      {inCluster(listQueue(c.URL(0), keys...)), foreign, "", "serving a certificate of an unknown authority"},
		"cluster, expired":         {inCluster(listQueue(outdated.URL(), keys...)), expired, "", "serving a certificate that has expired"},
		"sentinel":                 {behindSentinel(listQueue(s.URL(), "jobs")), good, "", ""},
		"sentinel, unknown CA":     {behindSentinel(listQueue(s.URL(), "jobs")), foreign, "", "serving a certificate of an unknown authority"},
		"sentinel, another name":   {behindSentinel(listQueue(s.URL(), "jobs")), good, "queue.example", "serving a certificate for another name"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.setSecret("chat/ca", "ca.crt", string(k.ca.CA))
			k.queue.Redis.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: "ca"}, ServerName: k.serverName}
			h.Subscribe(scaler, one(k.queue))
			if k.says != "" {
				says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonTLSFailed), k.says)
				return
			}
			h.awaitDepth(scaler, 0)
		})
	}
}

// Streams, counters and what is wrong with a queue are as on one server, wherever the keys are.
func TestRedisClusterStreamsAndBadQueues(t *testing.T) {
	ctx := context.Background()
	c := servers.StartRedisCluster(t, servers.RedisOptions{})
	client := c.Everywhere(t)
	keys := keysOfAll(t, c)
	client.XGroupCreateMkStream(ctx, keys[0], "workers", "0")
	client.XAdd(ctx, &redis.XAddArgs{Stream: keys[0], Values: []string{"a", "b"}})
	client.Set(ctx, keys[1], "x", 0)
	h := newHarness(t)
	stream, group, text := subscriber(1), subscriber(2), subscriber(3)
	h.Subscribe(stream, one(inCluster(streamQueue(c.URL(2), keys[0], "workers"))))
	h.Subscribe(group, one(inCluster(streamQueue(c.URL(2), keys[2], "workers"))))
	h.Subscribe(text, one(inCluster(listQueue(c.URL(2), keys[0]+"x", keys[1]))))
	h.awaitDepth(stream, 1)
	says(t, h.awaitReason(group, capacityv1alpha1.ReasonQueueMissing), "without stream")
	says(t, h.awaitReason(text, capacityv1alpha1.ReasonQueueMissing), "holding another type than LLEN counts")
	client.Del(ctx, keys[0])
	h.awaitReason(stream, capacityv1alpha1.ReasonQueueMissing)
	client.XGroupCreateMkStream(ctx, keys[0], "workers", "0")
	h.awaitDepth(stream, 0)
}
