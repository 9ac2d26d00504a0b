// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// fillIn stands where only a person knows what belongs there.
const fillIn = "fill-in"

// trigger is one of a ScaledObject's, while it is migrated.
type trigger struct {
	source *triggerSource
	m      *migration
	// path of it in the ScaledObject, for messages; used are the metadata that were looked at.
	path string
	used map[string]bool
}

// kinds are the triggers that become a queue: each fills in the source, and returns a name for it and the messages for each replica.
var kinds = map[string]func(t *trigger, q *capacityv1alpha1.QueueSource) (name string, target int64){
	"redis":         (*trigger).redisList,
	"redis-streams": (*trigger).redisStream,
	"redis-cluster": (*trigger).redisList, "redis-cluster-streams": (*trigger).redisStream,
	"redis-sentinel": (*trigger).redisList, "redis-sentinel-streams": (*trigger).redisStream,
	"nats-jetstream": (*trigger).natsJetStream,
	"rabbitmq":       (*trigger).rabbitMQ,
	"kafka":          (*trigger).kafka,
	"apache-kafka":   (*trigger).kafka,
	"postgresql":     (*trigger).postgreSQL,
	"prometheus":     (*trigger).prometheus,
	"external":       (*trigger).external,
	"external-push":  (*trigger).external,
	"aws-sqs-queue":  (*trigger).awsSQS,
	"metrics-api":    (*trigger).metricsAPI,
}

// refusals are triggers that ask for something else than a backlog does.
var refusals = map[string]string{
	"cron":                "it keeps a number of replicas at certain times, which no QueueScaler does: at those times there would be fewer",
	"cpu":                 "it scales by CPU, and a QueueScaler by backlog: load without a queue would get no replicas. Leave such a target to its HorizontalPodAutoscaler",
	"memory":              "it scales by memory, and a QueueScaler by backlog: load without a queue would get no replicas. Leave such a target to its HorizontalPodAutoscaler",
	"kubernetes-workload": "it follows the number of other pods, which no QueueScaler does",
}

// queue makes a queue of the trigger.
func (t *trigger) queue() (q capacityv1alpha1.Queue, target int64, ok bool) {
	kind := t.source.Type
	fill, known := kinds[kind]
	if !known {
		why, told := refusals[kind]
		if !told {
			why = fmt.Sprintf("a source of that kind cannot be read; %s can", strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		}
		t.m.refuse("%s, %s: %s", t.path, cmp.Or(kind, "without a type"), why)
		return q, 0, false
	}
	if t.source.MetricType != "" && t.source.MetricType != "AverageValue" {
		t.m.refuse("%s, %s: metricType %s takes the backlog as a ratio to the present replicas; a QueueScaler has messages for each replica (AverageValue)", t.path, kind, t.source.MetricType)
		return q, 0, false
	}
	name, target := fill(t, &q.QueueSource)
	q.Name = label(cmp.Or(t.source.Name, name))
	t.leftOver()
	return q, target, target > 0
}

// take is a parameter of the trigger's metadata; empty where it is not given.
func (t *trigger) take(key string) string {
	t.used[key] = true
	return t.source.Metadata[key]
}

// need is a parameter without which there is nothing to read.
func (t *trigger) need(key string) string {
	v := t.take(key)
	if v == "" {
		t.m.refuse("%s.metadata.%s is not given", t.path, key)
	}
	return v
}

// count is the messages for each replica, in the first of the parameters that is given; 0 where it makes no sense, or
// is not given and KEDA has no default.
func (t *trigger) count(otherwise int64, keys ...string) int64 {
	for _, key := range keys {
		v := t.take(key)
		if v == "" {
			continue
		}
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || n < 1 || n > 1e9 {
			t.m.refuse("%s.metadata.%s: %q is no number of messages for each replica; it has to be from 1 to 1000000000", t.path, key, v)
			return 0
		}
		if n != float64(int64(n)) {
			t.m.note("%s.metadata.%s: %s is rounded to %d", t.path, key, v, int64(n))
		}
		return int64(n)
	}
	if otherwise == 0 {
		t.m.refuse("%s.metadata.%s is not given", t.path, keys[0])
		return 0
	}
	t.m.note("%s.metadata.%s: not given, so KEDA's default of %d stands", t.path, keys[0], otherwise)
	return otherwise
}

func (t *trigger) isTrue(key string) bool { return strings.EqualFold(t.take(key), "true") }

// field is the source in the QueueScaler that comes of the trigger, for messages.
func (t *trigger) field(kind string) string {
	return fmt.Sprintf("spec.queues[%d].%s", len(t.m.qs.Spec.Queues), kind)
}

// leftOver says what of the metadata nobody looked at.
func (t *trigger) leftOver() {
	if t.source.UseCachedMetrics {
		t.m.note("%s.useCachedMetrics: every decision is made on a reading that is a second or two old", t.path)
	}
	for _, key := range slices.Sorted(maps.Keys(t.source.Metadata)) {
		switch value := t.source.Metadata[key]; {
		case t.used[key]:
		case strings.HasPrefix(key, "activation") && value == "0":
		case strings.HasPrefix(key, "activation"):
			t.m.note("%s.metadata.%s: a QueueScaler makes the first replica for the first message", t.path, key)
		case key == "metricName":
		default:
			t.m.note("%s.metadata.%s has no equivalent", t.path, key) // its value may be a password
		}
	}
}

// address is host:port out of a parameter, or of host and port; fillIn and a port where it comes from elsewhere.
func (t *trigger) address(field, port string, keys ...string) string {
	for _, key := range keys {
		if v := t.take(key); v != "" {
			return withPort(v, port)
		}
	}
	host, given := t.take("host"), t.take("port")
	if host != "" {
		return withPort(host, cmp.Or(given, port))
	}
	t.m.do("%s.url: put the server's address in%s", field, t.from(append(slices.Clone(keys), "host", "port")...))
	return withPort(fillIn, port)
}

// from says where KEDA has parameters from, the last of those that are given elsewhere.
func (t *trigger) from(keys ...string) (from string) {
	for _, key := range keys {
		if v := t.take(key + "FromEnv"); v != "" {
			from = " (KEDA reads it from the environment variable " + v + " of the container)"
		}
		if p := t.parameter(key); p != nil && p.Name != "" {
			from = fmt.Sprintf(" (KEDA reads it from the key %s of Secret %s)", p.Key, p.Name)
		}
	}
	return from
}

// bare is host:port of an address that may be written as a url. Credentials in it are dropped, and belong into a Secret.
func bare(address string) string {
	if _, after, found := strings.Cut(address, "://"); found {
		address, _, _ = strings.Cut(after, "/")
	}
	return address[strings.LastIndex(address, "@")+1:]
}

// withPort is host:port of an address.
func withPort(address, port string) string {
	address = bare(address)
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

var notInLabels = regexp.MustCompile(`[^a-z0-9]+`)

// label makes a name of a queue.
func label(name string) string {
	name = strings.Trim(notInLabels.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if len(name) > 50 {
		name = strings.Trim(name[:50], "-")
	}
	return cmp.Or(name, "queue")
}
