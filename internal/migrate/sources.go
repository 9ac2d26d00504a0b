// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"cmp"
	"net"
	"strings"

	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

var userAndPassword = map[string][]string{"username": {"username"}, "password": {"password"}}

var withSentinels = map[string][]string{"username": {"username"}, "password": {"password"}, "sentinelUsername": {"sentinelUsername"}, "sentinelPassword": {"sentinelPassword"}}

// redisURL is the server of all kinds of Redis triggers.
func (t *trigger) redisURL(r *capacityv1alpha1.RedisSource) {
	field := t.field("redis")
	scheme := "redis"
	if t.isTrue("enableTLS") || t.parameter("ca") != nil || t.parameter("cert") != nil {
		scheme, r.TLS = "rediss", &capacityv1alpha1.TLS{}
		t.tls(field)
	}
	database := "/" + cmp.Or(t.take("databaseIndex"), "0")
	parameters := userAndPassword
	switch {
	case strings.HasPrefix(t.source.Type, "redis-cluster"):
		r.Topology = capacityv1alpha1.RedisCluster
		r.URL = scheme + "://" + t.oneAddress(field, "6379") + "/0"
	case strings.HasPrefix(t.source.Type, "redis-sentinel"):
		r.Topology, r.MasterName = capacityv1alpha1.RedisSentinel, t.take("sentinelMaster")
		if r.MasterName == "" {
			r.MasterName = fillIn
			t.m.do("%s.masterName: put the name that the Sentinels know the master by in%s", field, t.from("sentinelMaster"))
		}
		parameters = withSentinels
		r.URL = scheme + "://" + t.oneAddress(field, "26379") + database
	default:
		r.URL = scheme + "://" + t.address(field, "6379", "address") + database
	}
	r.Auth = t.auth(field, parameters)
}

// oneAddress is the first of several servers', any of which tells of the others.
func (t *trigger) oneAddress(field, port string) string {
	first, more, several := strings.Cut(t.take("addresses"), ",")
	if first == "" {
		var hosts bool
		first, more, hosts = strings.Cut(t.take("hosts"), ",")
		ports, _, _ := strings.Cut(t.take("ports"), ",")
		several, port = hosts, cmp.Or(strings.TrimSpace(ports), port)
	}
	if first = strings.TrimSpace(first); first == "" {
		t.m.do("%s.url: put the address of a Service for all of them in%s", field, t.from("addresses", "hosts", "ports"))
		return withPort(fillIn, port)
	}
	if several && more != "" {
		t.m.note("%s.metadata: the first address is taken, and the others are learnt from it; better is that of a Service for all of them", t.path)
	}
	return withPort(first, port)
}

// tls says what has to be done for the connection to be trusted.
func (t *trigger) tls(field string) {
	if t.isTrue("unsafeSsl") {
		t.m.do("%s.tls: KEDA does not verify the server (unsafeSsl); QueueScaler always does. Put its CA into the key ca.crt of a Secret, and name that in secretRef", field)
		return
	}
	if p := cmp.Or(t.parameter("ca"), t.parameter("cert"), t.parameter("key")); p != nil {
		t.m.do("%s.tls.secretRef: name a Secret with the CA under the key ca.crt, and the client's certificate under tls.crt and tls.key, if it has one (KEDA reads the keys of Secret %s)", field, p.Name)
	}
}

func (t *trigger) redisList(q *capacityv1alpha1.QueueSource) (string, int64) {
	r := &q.Redis
	t.redisURL(r)
	list := t.need("listName")
	r.List.Keys = []string{list}
	if ptr.Deref(t.m.qs.Spec.MinReplicas, 1) == 0 {
		t.m.do("%s.list.inFlightKeys: without it, or both counters, nobody knows whether a message is being worked on, and the last replica stays; see docs/queues/redis.md", t.field("redis"))
	}
	return list, t.count(5, "listLength")
}

func (t *trigger) redisStream(q *capacityv1alpha1.QueueSource) (string, int64) {
	r := &q.Redis
	t.redisURL(r)
	r.Stream = capacityv1alpha1.RedisStream{Key: t.need("stream"), Group: t.take("consumerGroup")}
	if r.Stream.Group == "" {
		t.m.refuse("%s.metadata.consumerGroup is not given: KEDA counts the entries of the stream then, which do not become fewer when they are worked on", t.path)
	}
	if t.source.Metadata["lagCount"] == "" {
		t.m.note("%s: KEDA counts the entries that are pending, which consumers have taken and not acknowledged; QueueScaler counts those and the ones that nobody took yet", t.path)
	}
	return r.Stream.Key, t.count(5, "lagCount", "pendingEntriesCount", "streamLength")
}

func (t *trigger) natsJetStream(q *capacityv1alpha1.QueueSource) (string, int64) {
	n := &q.NATSJetStream
	field := t.field("natsJetStream")
	host := fillIn
	if monitoring := t.take("natsServerMonitoringEndpoint"); monitoring != "" {
		host = bare(monitoring)
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		t.m.note("%s.metadata.natsServerMonitoringEndpoint: KEDA asks the monitoring port; QueueScaler is a client like any other, so the port is taken to be 4222", t.path)
	} else {
		t.m.do("%s.url: put the server's address in", field)
	}
	if account := t.take("account"); account != "" && account != "$G" {
		t.m.do("%s.auth: name a Secret with the credentials of a user of the account %s; the monitoring port needs none", field, account)
		n.Auth = secret(t.secretName())
	}
	t.isTrue("useHttps") // says nothing about the clients' port
	n.URL, n.Stream, n.Consumer = "nats://"+withPort(host, "4222"), t.need("stream"), t.need("consumer")
	return n.Consumer, t.count(10, "lagThreshold")
}
