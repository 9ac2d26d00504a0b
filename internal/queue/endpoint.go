// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Kinds of servers.
const (
	KindNATS  = "nats"
	KindRedis = "redis"
	KindKafka = "kafka"
)

// Endpoint is where a server listens, in one form for all spellings of its url.
type Endpoint struct {
	// Kind is KindNATS, KindRedis or KindKafka.
	Kind string
	// Host is a name in lower case or an IP address; Port is a number.
	Host, Port string
	// DB is the database of Redis, else 0.
	DB int
	// Path is below which an HTTP server answers, else empty.
	Path string
	// Mechanism is how to log in to Kafka, empty without credentials.
	Mechanism capacityv1alpha1.KafkaMechanism
	// TLS is true where url or spec ask for it; ServerName is the name to verify.
	TLS        bool
	ServerName string
}

// Address is host:port.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, e.Port) }

// URL is the endpoint for messages; it never carries credentials.
func (e Endpoint) URL() string {
	scheme := e.Kind
	switch {
	case e.TLS && e.Kind == KindRedis:
		scheme = "rediss"
	case e.TLS && e.Kind == KindNATS:
		scheme = "tls"
	}
	text := scheme + "://" + e.Address()
	if e.Kind == KindRedis {
		text += "/" + strconv.Itoa(e.DB)
	}
	return text
}

type schemeOf struct {
	kind, port string
	tls        bool
}

var schemes = map[string]schemeOf{
	"nats":   {KindNATS, "4222", false},
	"tls":    {KindNATS, "4222", true},
	"redis":  {KindRedis, "6379", false},
	"rediss": {KindRedis, "6379", true},
	"kafka":  {KindKafka, "9092", false},
}

// settings are what all sources have in common.
type settings struct {
	url  string
	kind string
	auth string
	tls  *capacityv1alpha1.TLS
}

func settingsOf(q *capacityv1alpha1.Queue) settings {
	switch {
	case q.NATSJetStream.URL != "":
		return settings{q.NATSJetStream.URL, KindNATS, q.NATSJetStream.Auth.SecretRef.Name, q.NATSJetStream.TLS}
	case q.Redis.URL != "":
		return settings{q.Redis.URL, KindRedis, q.Redis.Auth.SecretRef.Name, q.Redis.TLS}
	case q.Kafka.URL != "":
		return settings{q.Kafka.URL, KindKafka, q.Kafka.Auth.SecretRef.Name, q.Kafka.TLS}
	default:
		return settings{}
	}
}

// endpointOf is where q is read, or why its url cannot be used. The url itself is not repeated: it might carry credentials.
func endpointOf(q *capacityv1alpha1.Queue) (Endpoint, *Failure) {
	s := settingsOf(q)
	refuse := func(what string) (Endpoint, *Failure) {
		return Endpoint{}, &Failure{Reason: capacityv1alpha1.ReasonAddressRefused, Subject: "the url of queue " + q.Name, What: what,
			Remedy: "Give a url such as nats://nats.chat:4222, redis://redis.chat:6379/0 or kafka://kafka.chat:9092"}
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return refuse("malformed")
	}
	scheme, known := schemes[u.Scheme]
	switch {
	case !known || scheme.kind != s.kind:
		return refuse("of a scheme that its source does not have")
	case u.User != nil:
		return refuse("refused because it carries credentials, which belong into a Secret,")
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(u.Host, ", "):
		return refuse("refused because it is not just a host, a port and a database,")
	}
	e := Endpoint{Kind: scheme.kind, Host: strings.ToLower(u.Hostname()), Port: u.Port(), TLS: scheme.tls || s.tls != nil, Mechanism: q.Kafka.Mechanism}
	if e.Port == "" {
		e.Port = scheme.port
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		e.DB, err = strconv.Atoi(path)
		if err != nil || e.DB < 0 || e.Kind != KindRedis {
			return refuse("refused because its path is not a database number,")
		}
	}
	if e.TLS {
		e.ServerName = e.Host
		if s.tls != nil && s.tls.ServerName != "" {
			e.ServerName = s.tls.ServerName
		}
	}
	if ip, err := netip.ParseAddr(e.Host); err == nil && refused(ip) {
		return Endpoint{}, addressRefused()
	}
	return e, nil
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
