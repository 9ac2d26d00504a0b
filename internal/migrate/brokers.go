// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

func (t *trigger) rabbitMQ(q *capacityv1alpha1.QueueSource) (string, int64) {
	r := &q.RabbitMQ
	field := t.field("rabbitMQ")
	if mode := t.take("mode"); mode != "" && mode != "QueueLength" {
		t.m.refuse("%s.metadata.mode: %s scales by a rate and not by a backlog; with objective.drain a QueueScaler does both, once it knows what a replica completes. Write that one by hand", t.path, mode)
	}
	if t.isTrue("useRegex") {
		t.m.refuse("%s.metadata.useRegex: each queue is an entry of queues", t.path)
	}
	if t.isTrue("excludeUnacknowledged") {
		t.m.note("%s.metadata.excludeUnacknowledged: objective.backlog counts the messages in flight too", t.path)
	}
	r.URL = t.management(field, r)
	r.Queue, r.VHost = t.need("queueName"), vhost(t.take("vhostName"), r.VHost)
	r.Auth = t.auth(field, map[string][]string{"username": {"username", "host"}, "password": {"password", "host"}})
	return r.Queue, t.count(20, "value", "queueLength")
}

// management is the url of the management API. KEDA's host is one with credentials and a virtual host in it, of either protocol.
func (t *trigger) management(field string, r *capacityv1alpha1.RabbitMQSource) string {
	host, protocol := t.source.Metadata["host"], t.take("protocol")
	u, err := url.Parse(host)
	if host == "" || err != nil || u.Hostname() == "" {
		t.m.do("%s.url: put the address of the management API in (KEDA reads it, with credentials, %s)", field, t.hostFrom())
		return "http://" + fillIn + ":15672"
	}
	r.VHost = strings.Trim(u.Path, "/")
	if strings.HasPrefix(u.Scheme, "http") && protocol != "amqp" {
		return u.Scheme + "://" + u.Host
	}
	t.m.note("%s.metadata.host: KEDA speaks AMQP there; here the management API is read, and its port is taken to be 15672. Where there is none, give the url that begins with amqp://; docs/queues/rabbitmq.md says what is not known then", t.path)
	return "http://" + net.JoinHostPort(u.Hostname(), "15672")
}

// hostFrom says where KEDA has a host from that is not in the ScaledObject.
func (t *trigger) hostFrom() string {
	t.used["host"] = true
	if env := t.take("hostFromEnv"); env != "" {
		return "from the environment variable " + env + " of the container"
	}
	if p := t.parameter("host"); p != nil && p.Name != "" {
		return "from the key " + p.Key + " of Secret " + p.Name
	}
	return "by authenticationRef"
}

// vhost is the first that is given; the default one is left out.
func vhost(names ...string) string {
	for _, name := range names {
		if name, err := url.PathUnescape(name); err == nil && name != "" {
			return strings.TrimSuffix(name, "/")
		}
	}
	return ""
}

var mechanisms = map[string]capacityv1alpha1.KafkaMechanism{
	"plaintext": capacityv1alpha1.KafkaPlain, "scram_sha256": capacityv1alpha1.KafkaScramSHA256, "scram_sha512": capacityv1alpha1.KafkaScramSHA512,
}

func (t *trigger) kafka(q *capacityv1alpha1.QueueSource) (string, int64) {
	k := &q.Kafka
	field := t.field("kafka")
	first, more, _ := strings.Cut(t.take("bootstrapServers"), ",")
	if first == "" {
		first = t.address(field, "9092", "bootstrapServers")
	}
	if more != "" {
		t.m.note("%s.metadata.bootstrapServers: the first one is enough, if it is a Service; the other brokers are learnt from it", t.path)
	}
	k.URL, k.Topic, k.Group = "kafka://"+withPort(strings.TrimSpace(first), "9092"), t.take("topic"), t.need("consumerGroup")
	if k.Topic == "" {
		t.m.refuse("%s.metadata.topic is not given: KEDA adds all topics of the group up then; give each an entry of queues", t.path)
	}
	k.Partitions = t.partitions()
	if t.isTrue("allowIdleConsumers") {
		t.m.note("%s.metadata.allowIdleConsumers: no more replicas are asked for than find a partition", t.path)
	}
	t.take("version") // it is negotiated
	if t.source.Metadata["tls"] == "enable" || t.parameter("tls") != nil || t.parameter("ca") != nil {
		k.TLS = &capacityv1alpha1.TLS{}
		t.tls(field)
	}
	t.take("tls")
	t.kafkaLogin(field, k)
	return k.Topic, t.count(10, "lagThreshold")
}

func (t *trigger) kafkaLogin(field string, k *capacityv1alpha1.KafkaSource) {
	sasl := t.take("sasl")
	switch mechanism, known := mechanisms[sasl]; {
	case known:
		k.Mechanism = mechanism
	case sasl == "none", sasl == "" && t.source.AuthenticationRef == nil:
		return
	case sasl == "":
		t.m.do("%s.mechanism: put Plain, ScramSHA256 or ScramSHA512 in, as the parameter sasl of the TriggerAuthentication says", field)
		k.Mechanism = capacityv1alpha1.KafkaScramSHA512
	default:
		t.m.refuse("%s.metadata.sasl: %s cannot be used to log in; plaintext, scram_sha256 and scram_sha512 can", t.path, sasl)
		return
	}
	if k.Auth = t.auth(field, userAndPassword); k.Auth.SecretRef.Name == "" {
		t.m.do("%s.auth: name a Secret with the keys username and password", field)
		k.Auth = secret(t.secretName())
	}
}

// partitions of partitionLimitation, such as 1,2,10-12.
func (t *trigger) partitions() (all []int32) {
	text := t.take("partitionLimitation")
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseInt(strings.TrimSpace(from), 10, 31)
		last, err2 := strconv.ParseInt(strings.TrimSpace(to), 10, 31)
		if err != nil || err2 != nil || first > last || last-first > 1000 {
			t.m.refuse("%s.metadata.partitionLimitation: %q are no partitions", t.path, part)
			return nil
		}
		for n := first; n <= last; n++ {
			all = append(all, int32(n))
		}
	}
	return all
}

func (t *trigger) postgreSQL(q *capacityv1alpha1.QueueSource) (string, int64) {
	p := &q.PostgreSQL
	field := t.field("postgreSQL")
	if mode := t.take("sslmode"); mode != "" && mode != "disable" {
		p.TLS = &capacityv1alpha1.TLS{}
		t.m.do("%s.tls: the server's certificate is always verified, as by sslmode verify-full; if no public CA signed it, name a Secret with ca.crt in secretRef", field)
	}
	database := t.take("dbName")
	if database == "" {
		database = fillIn
		t.m.do("%s.url: put the server's address and the database in%s", field, t.connection())
	}
	port := t.take("port")
	if port == "" {
		port = "5432"
	}
	host := fillIn
	if given := t.take("host"); given != "" {
		host = given
	} else if database != fillIn {
		t.m.do("%s.url: put the server's address in", field)
	}
	p.URL = "postgres://" + withPort(host, port) + "/" + url.PathEscape(database)
	if user := t.take("userName"); user != "" {
		t.m.note("%s.metadata.userName: the key username of the Secret has to be %s", t.path, strconv.Quote(user))
	}
	p.Auth = t.auth(field, map[string][]string{"username": {"userName", "connection"}, "password": {"password", "connection"}})
	query := strings.TrimSuffix(strings.TrimSpace(t.need("query")), ";")
	p.Query = "SELECT (" + query + ") AS depth"
	t.m.note("%s.metadata.query: it has to return a number of messages, and gets the name depth; with in_flight, arrived_total and completed_total beside it the rates are known, see docs/queues/postgresql.md", t.path)
	return t.m.object.Metadata.Name, t.count(5, "targetQueryValue")
}

// connection says where KEDA has the connection string from.
func (t *trigger) connection() string {
	if env := t.take("connectionFromEnv"); env != "" {
		return " (KEDA reads them, with credentials, from the environment variable " + env + " of the container)"
	}
	if p := t.parameter("connection"); p != nil && p.Name != "" {
		return " (KEDA reads them, with credentials, from the key " + p.Key + " of Secret " + p.Name + ")"
	}
	return ""
}

func (t *trigger) prometheus(q *capacityv1alpha1.QueueSource) (string, int64) {
	p := &q.Prometheus
	field := t.field("prometheus")
	p.URL = t.take("serverAddress")
	if p.URL == "" || strings.Contains(p.URL, "@") {
		p.URL = "http://" + fillIn
		t.m.do("%s.url: put the server's address in, without credentials", field)
	}
	if strings.HasPrefix(p.URL, "https:") || t.parameter("ca") != nil {
		t.tls(field)
	}
	t.take("authModes")
	p.Auth = t.auth(field, map[string][]string{"username": {"username"}, "password": {"password"}, "token": {"bearerToken"}})
	p.DepthQuery = t.need("query")
	t.m.note("%s.metadata.query: it has to return one number of messages; a rate is none", t.path)
	if t.take("ignoreNullValues") != "false" {
		t.m.note("%s.metadata.ignoreNullValues: without a result KEDA takes 0; here the queue is unavailable then, and nothing scales down. Append `or vector(0)` if no result means no messages", t.path)
	}
	return t.m.object.Metadata.Name, t.count(0, "threshold")
}
