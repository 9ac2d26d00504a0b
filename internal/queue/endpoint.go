// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Kinds of servers.
const (
	KindNATS       = "nats"
	KindRedis      = "redis"
	KindRabbitMQ   = "rabbitmq"
	KindKafka      = "kafka"
	KindPostgreSQL = "postgresql"
	KindPrometheus = "prometheus"
	KindExternal   = "external"
	KindSQS        = "sqs"
	KindHTTP       = "http"
)

// Endpoint is where a server listens, in one form for all spellings of its url.
type Endpoint struct {
	// Kind of server, Scheme that its url begins with.
	Kind, Scheme string
	// Host is a name in lower case or an IP address; Port is a number.
	Host, Port string
	// Path of the url without slashes around it: the database of Redis, by number, or of PostgreSQL, by name; the virtual host of AMQP, where that is not /;
	// else of an HTTP server.
	Path string
	// Mechanism is how to log in to Kafka, empty without credentials.
	Mechanism capacityv1alpha1.KafkaMechanism
	// Region that requests to SQS are signed for.
	Region string
	// Topology is what the address leads to of Redis, empty for one server; Sentinels know the master by MasterName.
	Topology   capacityv1alpha1.RedisTopology
	MasterName string
	// TLS is true where url or spec ask for it; ServerName is the name to verify.
	TLS        bool
	ServerName string
}

// Address is host:port.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, e.Port) }

// URL is the endpoint for messages; it never carries credentials.
func (e Endpoint) URL() string {
	text := e.Scheme + "://" + e.Address()
	if e.Path != "" {
		text += "/" + e.Path
	}
	return text
}

// scheme says what a url of one kind of server means by how it begins.
type scheme struct {
	port string
	tls  bool
}

// kinds are the schemes of each kind of server.
var kinds = map[string]map[string]scheme{
	KindNATS:       {"nats": {"4222", false}, "tls": {"4222", true}},
	KindRedis:      {"redis": {"6379", false}, "rediss": {"6379", true}},
	KindRabbitMQ:   {"http": {"15672", false}, "https": {"15671", true}, "amqp": {"5672", false}, "amqps": {"5671", true}},
	KindKafka:      {"kafka": {"9092", false}},
	KindPostgreSQL: {"postgres": {"5432", false}, "postgresql": {"5432", false}},
	KindPrometheus: {"http": {"80", false}, "https": {"443", true}},
	KindExternal:   {"grpc": {"", false}, "grpcs": {"", true}},
	KindSQS:        {"http": {"80", false}, "https": {"443", true}},
	KindHTTP:       {"http": {"80", false}, "https": {"443", true}},
}

// sentinelPort is where Sentinels of Redis listen, unless a url says otherwise.
const sentinelPort = "26379"

// sources are the kinds of servers by the names that a QueueServer has for them.
var sources = map[capacityv1alpha1.QueueServerSource]string{
	capacityv1alpha1.SourceNATSJetStream: KindNATS, capacityv1alpha1.SourceRedis: KindRedis, capacityv1alpha1.SourceRabbitMQ: KindRabbitMQ,
	capacityv1alpha1.SourceKafka: KindKafka, capacityv1alpha1.SourcePostgreSQL: KindPostgreSQL, capacityv1alpha1.SourcePrometheus: KindPrometheus,
	capacityv1alpha1.SourceAWSSQS: KindSQS, capacityv1alpha1.SourceHTTP: KindHTTP, capacityv1alpha1.SourceExternal: KindExternal,
}

// examples are urls for people.
var examples = map[string]string{
	KindNATS:       "nats://nats.chat:4222",
	KindRedis:      "redis://redis.chat:6379/0",
	KindRabbitMQ:   "http://rabbitmq.chat:15672",
	KindKafka:      "kafka://kafka.chat:9092",
	KindPostgreSQL: "postgres://db.chat:5432/jobs",
	KindPrometheus: "http://prometheus.monitoring:9090",
	KindExternal:   "grpc://scaler.chat:9090",
	KindSQS:        "https://sqs.eu-west-1.amazonaws.com",
	KindHTTP:       "http://jobs.shop:8080",
}

// secure is the scheme that says of a kind what its tls does.
var secure = map[string]string{"nats": "tls", "redis": "rediss", "http": "https", "amqp": "amqps", "grpc": "grpcs"}

// serverOf is the kind of server that a source is read from, and where that is.
func serverOf(s *capacityv1alpha1.QueueSource) (string, *capacityv1alpha1.Server) {
	for _, at := range [...]struct {
		kind   string
		server *capacityv1alpha1.Server
	}{
		{KindNATS, &s.NATSJetStream.Server}, {KindRedis, &s.Redis.Server}, {KindRabbitMQ, &s.RabbitMQ.Server},
		{KindKafka, &s.Kafka.Server}, {KindPostgreSQL, &s.PostgreSQL.Server}, {KindPrometheus, &s.Prometheus.Server},
		{KindExternal, &s.External.Server}, {KindSQS, &s.AwsSQS.Server}, {KindHTTP, &s.HTTP.Server},
	} {
		if at.server.URL != "" || at.server.ServerRef.Name != "" {
			return at.kind, at.server
		}
	}
	return "", &capacityv1alpha1.Server{}
}

// ServerOf is where a source is read, to be looked at or replaced.
func ServerOf(s *capacityv1alpha1.QueueSource) *capacityv1alpha1.Server {
	_, server := serverOf(s)
	return server
}

// endpointOf is where a source is read, or why its url cannot be used. The url itself is not repeated: it might carry credentials.
func endpointOf(source *Source) (Endpoint, *Failure) {
	q := source.Queue
	kind, server := serverOf(&q.QueueSource)
	refuse := func(what string) (Endpoint, *Failure) {
		return Endpoint{}, &Failure{Reason: capacityv1alpha1.ReasonAddressRefused, Subject: source.subject(), What: what,
			Remedy: "Give a url such as " + cmp.Or(examples[kind], examples[KindNATS])}
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		return refuse("malformed")
	}
	scheme, known := kinds[kind][u.Scheme]
	switch {
	case !known:
		return refuse("of a scheme that its source does not have")
	case u.User != nil:
		return refuse("refused because it carries credentials, which belong into a Secret,")
	case !IsHost(u.Hostname()) || u.RawQuery != "" || u.Fragment != "":
		return refuse("refused because it is not just a host, a port and a path,")
	}
	e := Endpoint{Kind: kind, Scheme: u.Scheme, Host: strings.ToLower(u.Hostname()), Port: u.Port(), Path: strings.Trim(u.Path, "/"), TLS: scheme.tls || server.TLS != nil, Mechanism: q.Kafka.Mechanism, Region: q.AwsSQS.Region}
	if with := secure[e.Scheme]; e.TLS && with != "" {
		e.Scheme = with
	}
	e.Topology, e.MasterName = topologyOf(&q.Redis), q.Redis.MasterName
	e.Port = cmp.Or(e.Port, e.defaultPort())
	if wrong := e.wrongPath(); wrong != "" {
		return refuse(wrong)
	}
	if e.isAMQP() {
		e.Path = pathOf(q.RabbitMQ.VHost) // a connection is one to a virtual host
	}
	if e.TLS {
		e.ServerName = nameToVerify(e.Host, server.TLS)
	}
	if ip, err := netip.ParseAddr(e.Host); err == nil && refused(ip) {
		failure := addressRefused()
		failure.Subject = source.subject()
		return Endpoint{}, failure
	}
	return e, nil
}

// IsHost reports whether text can be the name of a host, or is an IP address without a zone.
func IsHost(text string) bool {
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.Zone() == ""
	}
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	})
}

// pathOf is a virtual host as the path of a url, where / is the default and not told.
func pathOf(vhost string) string {
	if vhost == "/" {
		return ""
	}
	return vhost
}

// nameToVerify is what the certificate of a host has to be valid for.
func nameToVerify(host string, t *capacityv1alpha1.TLS) string {
	if t != nil && t.ServerName != "" {
		return t.ServerName
	}
	return host
}

func (e *Endpoint) isAMQP() bool {
	return e.Kind == KindRabbitMQ && strings.HasPrefix(e.Scheme, "amqp")
}

// topologyOf is empty for one server, whether that is said or not.
func topologyOf(r *capacityv1alpha1.RedisSource) capacityv1alpha1.RedisTopology {
	if r.Topology == capacityv1alpha1.RedisStandalone {
		return ""
	}
	return r.Topology
}

// defaultPort is the port of a url without one.
func (e *Endpoint) defaultPort() string {
	if e.Topology == capacityv1alpha1.RedisSentinel {
		return sentinelPort
	}
	return kinds[e.Kind][e.Scheme].port
}

// wrongPath says what is wrong with the path; empty where nothing is. It brings scheme and database to one form.
func (e *Endpoint) wrongPath() string {
	switch {
	case e.Kind == KindRedis:
		db, err := strconv.Atoi(cmp.Or(e.Path, "0"))
		if err != nil || db < 0 {
			return "refused because its path is not a database number,"
		}
		if db != 0 && e.Topology == capacityv1alpha1.RedisCluster {
			return "refused because Redis Cluster has no database but 0,"
		}
		e.Path = strconv.Itoa(db)
	case e.Kind == KindPostgreSQL:
		if e.Path == "" || strings.ContainsFunc(e.Path, unicode.IsControl) {
			return "refused because it does not end with a database,"
		}
		e.Scheme = "postgres"
	case e.isAMQP() && e.Path != "":
		return "refused because it has a path, though the virtual host belongs into rabbitMQ.vhost,"
	case e.Port == "":
		return "refused because it has no port,"
	case (e.Kind == KindNATS || e.Kind == KindKafka || e.Kind == KindExternal) && e.Path != "":
		return "refused because its server has no paths,"
	}
	return ""
}

// refused addresses are link-local ones: cloud metadata services listen there, and no queue does.
func refused(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsMulticast() || ip.IsUnspecified()
}

func addressRefused() *Failure {
	return &Failure{Reason: capacityv1alpha1.ReasonAddressRefused, What: "refused because its address is link-local, multicast or unspecified,",
		Remedy: "Use the name of the queue server's Service"}
}
