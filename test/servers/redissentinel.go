// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisSentinelOptions are how a master, its replica and its Sentinel are to be started.
type RedisSentinelOptions struct {
	// Redis are the options of master and replica.
	Redis RedisOptions
	// Sentinel are those of the Sentinel. TLS is as Redis has it.
	Sentinel RedisOptions
}

// RedisSentinel is a master named mymaster, a replica, and a Sentinel that makes the replica the master when that is away for half a second.
type RedisSentinel struct {
	Servers  [2]*Redis
	Sentinel *Redis
	options  RedisSentinelOptions
}

// StartRedisSentinel starts them for a test, and ends them with the test. Servers[0] is the master at first.
func StartRedisSentinel(t testing.TB, o RedisSentinelOptions) *RedisSentinel {
	t.Helper()
	s := &RedisSentinel{options: o}
	tls := []string{}
	if o.Redis.TLS != nil {
		tls = append(tls, "tls-replication yes")
	}
	for i := range s.Servers {
		server := o.Redis
		server.Config = append([]string{"repl-diskless-sync-delay 0", "repl-ping-replica-period 1"}, tls...)
		if o.Redis.Password != "" {
			server.Config = append(server.Config, "masterauth "+o.Redis.Password)
		}
		if i == 1 {
			server.Config = append(server.Config, fmt.Sprint("replicaof 127.0.0.1 ", s.Servers[0].port))
		}
		s.Servers[i] = StartRedis(t, server)
	}
	sentinel := o.Sentinel
	sentinel.sentinel, sentinel.TLS = true, o.Redis.TLS
	sentinel.Config = append([]string{fmt.Sprintf("sentinel monitor mymaster 127.0.0.1 %d 1", s.Servers[0].port)}, tls...)
	if o.Redis.Password != "" {
		sentinel.Config = append(sentinel.Config, "sentinel auth-pass mymaster "+o.Redis.Password)
	}
	sentinel.Config = append(sentinel.Config, "sentinel down-after-milliseconds mymaster 500", "sentinel failover-timeout mymaster 5000")
	s.Sentinel = StartRedis(t, sentinel)
	s.awaitReplica(t)
	return s
}

// awaitReplica waits until the replica has what the master has, and the Sentinel knows of it.
func (s *RedisSentinel) awaitReplica(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	replica := s.Client(t, 1)
	Await(t, "the replica does not follow", func() bool {
		return strings.Contains(replica.Info(ctx, "replication").Val(), "master_link_status:up")
	})
	sentinel := s.client(t, s.Sentinel, s.options.Sentinel.Password)
	Await(t, "the Sentinel does not know of the replica", func() bool {
		return strings.Contains(sentinel.Info(ctx, "sentinel").Val(), "status=ok") && strings.Contains(sentinel.Info(ctx, "sentinel").Val(), "slaves=1")
	})
}

// URL is the url of the Sentinel for a QueueScaler, database 0.
func (s *RedisSentinel) URL() string { return s.Sentinel.URL() }

// Client is a client of the master or its replica as the default user, which ends with the test.
func (s *RedisSentinel) Client(t testing.TB, server int) *redis.Client {
	return s.client(t, s.Servers[server], s.options.Redis.Password)
}

func (s *RedisSentinel) client(t testing.TB, r *Redis, password string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: r.Address(), Password: password, TLSConfig: (&RedisCluster{options: s.options.Redis}).tls(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// AwaitMaster waits until the Sentinel says that a server is the master.
func (s *RedisSentinel) AwaitMaster(t testing.TB, server int) {
	t.Helper()
	sentinel := s.client(t, s.Sentinel, s.options.Sentinel.Password)
	host, port, _ := net.SplitHostPort(s.Servers[server].Address())
	Await(t, "the Sentinel has another master", func() bool {
		told, _ := sentinel.Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").StringSlice()
		return len(told) == 2 && told[0] == host && told[1] == port
	})
}

// FailOver has the Sentinel make the replica the master, while both run.
func (s *RedisSentinel) FailOver(t testing.TB) {
	t.Helper()
	sentinel := s.client(t, s.Sentinel, s.options.Sentinel.Password)
	// A replica that it heard of a moment ago is not good enough.
	Await(t, "the Sentinel has no replica to promote", func() bool {
		return sentinel.Do(context.Background(), "SENTINEL", "FAILOVER", "mymaster").Err() == nil
	})
}
