// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// clusterNodes are the masters of a cluster; each has a third of the slots.
const clusterNodes = 3

// RedisCluster is a Redis Cluster of three masters without replicas.
type RedisCluster struct {
	Nodes   []*Redis
	options RedisOptions
}

// StartRedisCluster starts a cluster for a test, and ends it with the test. A node that is stopped and started again has its slots, and no keys.
func StartRedisCluster(t testing.TB, o RedisOptions) *RedisCluster {
	t.Helper()
	c := &RedisCluster{options: o}
	o.Config = append([]string{"cluster-enabled yes", "cluster-node-timeout 2000", "cluster-require-full-coverage no"}, o.Config...)
	if o.TLS != nil {
		o.Config = append(o.Config, "tls-cluster yes")
	}
	for range clusterNodes {
		port, bus, err := twoPorts()
		if err != nil {
			t.Fatal(err)
		}
		own := o
		own.Config = append([]string{fmt.Sprint("cluster-port ", bus)}, o.Config...)
		r, err := NewRedis(own)
		if err != nil {
			t.Fatal(err)
		}
		r.port, r.bus = port, bus
		t.Cleanup(r.Close)
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		c.Nodes = append(c.Nodes, r)
	}
	c.join(t)
	return c
}

// twoPorts are free ones.
func twoPorts() (int, int, error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer first.Close()
	second, err := freePort()
	return first.Addr().(*net.TCPAddr).Port, second, err
}

// join makes the nodes one cluster, and returns when each says that it is one.
func (c *RedisCluster) join(t testing.TB) {
	t.Helper()
	for i, n := range c.Nodes {
		client := c.Client(t, i)
		first, last := i*16384/clusterNodes, (i+1)*16384/clusterNodes-1
		if err := client.ClusterAddSlotsRange(context.Background(), first, last).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Client(t, 0).Do(context.Background(), "CLUSTER", "MEET", "127.0.0.1", n.port, n.bus).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.AwaitOK(t)
}

// AwaitOK waits until each node says that all slots are served.
func (c *RedisCluster) AwaitOK(t testing.TB) {
	t.Helper()
	for i := range c.Nodes {
		client := c.Client(t, i)
		Await(t, "the cluster is not ok", func() bool {
			info := client.ClusterInfo(context.Background()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") &&
				strings.Contains(info, fmt.Sprint("cluster_known_nodes:", len(c.Nodes)))
		})
	}
}

// Client is a client of one node as the default user, which ends with the test.
func (c *RedisCluster) Client(t testing.TB, node int) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: c.Nodes[node].Address(), Password: c.options.Password, TLSConfig: c.tls(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Everywhere is a client that finds the node of a key, as the default user. It ends with the test.
func (c *RedisCluster) Everywhere(t testing.TB) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.Nodes[0].Address()}, Password: c.options.Password, TLSConfig: c.tls(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (c *RedisCluster) tls() *tls.Config {
	if c.options.TLS == nil {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.options.TLS.CA)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// URL is the url of a node for a QueueScaler.
func (c *RedisCluster) URL(node int) string { return c.Nodes[node].URL() }

// Of is the number of the node that has a key; -1 where none has.
func (c *RedisCluster) Of(t testing.TB, key string) int {
	t.Helper()
	ctx := context.Background()
	client := c.Client(t, 0)
	slot := client.ClusterKeySlot(ctx, key).Val()
	for _, shard := range client.ClusterShards(ctx).Val() {
		for _, r := range shard.Slots {
			if r.Start <= slot && slot <= r.End {
				return c.number(shard.Nodes[0])
			}
		}
	}
	return -1
}

// number is that of a node by its port; -1 where there is none.
func (c *RedisCluster) number(node redis.Node) int {
	for i, n := range c.Nodes {
		if int64(n.port) == node.Port || int64(n.port) == node.TLSPort {
			return i
		}
	}
	return -1
}

// Move is the slot of a key on its way from its node to another. Begin lets new keys of it be at the other one alone, Keys moves those that
// there are, End tells all nodes.
type Move struct {
	cluster  *RedisCluster
	slot     int64
	from, to int
}

// NewMove prepares the move of a key's slot to a node.
func (c *RedisCluster) NewMove(t testing.TB, key string, to int) *Move {
	t.Helper()
	return &Move{cluster: c, slot: c.Client(t, 0).ClusterKeySlot(context.Background(), key).Val(), from: c.Of(t, key), to: to}
}

// Begin is CLUSTER SETSLOT IMPORTING and MIGRATING.
func (m *Move) Begin(t testing.TB) {
	t.Helper()
	m.set(t, m.to, "IMPORTING", m.id(t, m.from))
	m.set(t, m.from, "MIGRATING", m.id(t, m.to))
}

// Keys is MIGRATE.
func (m *Move) Keys(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	from := m.cluster.Client(t, m.from)
	for _, key := range from.ClusterGetKeysInSlot(ctx, int(m.slot), 1000).Val() {
		if err := from.Do(ctx, "MIGRATE", "127.0.0.1", m.cluster.Nodes[m.to].port, key, 0, 5000).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// End is CLUSTER SETSLOT NODE, at the new node first.
func (m *Move) End(t testing.TB) {
	t.Helper()
	for i := range m.cluster.Nodes {
		m.set(t, (m.to+i)%len(m.cluster.Nodes), "NODE", m.id(t, m.to))
	}
}

func (m *Move) id(t testing.TB, node int) string {
	t.Helper()
	return m.cluster.Client(t, node).Do(context.Background(), "CLUSTER", "MYID").Val().(string)
}

func (m *Move) set(t testing.TB, node int, state, id string) {
	t.Helper()
	if err := m.cluster.Client(t, node).Do(context.Background(), "CLUSTER", "SETSLOT", m.slot, state, id).Err(); err != nil {
		t.Fatal(err)
	}
}
