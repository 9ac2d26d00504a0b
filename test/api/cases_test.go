// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"fmt"
	"strings"
)

// Changes of the minimal object, as JSON merge patches.

// source is that of the minimal object.
const source = "natsJetStream: {url: 'nats://n:4222', stream: JOBS, consumer: workers}"

func queue(fields string) string {
	return "spec: {queues: [{name: jobs, " + fields + ", " + source + "}]}"
}
func nats(fields string) string {
	return "spec: {queues: [{name: jobs, natsJetStream: {" + fields + "}}]}"
}
func redisAt(fields string) string   { return "spec: {queues: [{name: jobs, redis: {" + fields + "}}]}" }
func drain(fields string) string     { return "spec: {objective: {drain: {" + fields + "}}}" }
func standby(fields string) string   { return "spec: {standby: {" + fields + "}}" }
func rollout(fields string) string   { return "spec: {rollout: {" + fields + "}}" }
func scaleDown(fields string) string { return "spec: {behavior: {scaleDown: {" + fields + "}}}" }
func fallback(fields string) string  { return "spec: {fallback: {" + fields + "}}" }

// workers is nats with url, stream and consumer as they should be, redis is redisAt with such a url.
func workers(fields string) string {
	return nats(`url: "nats://n:4222", stream: S, consumer: c, ` + fields)
}
func driver(fields string) string  { return "spec: {driver: {name: orders, " + fields + "}}" }
func kafkaAt(fields string) string { return "spec: {queues: [{name: jobs, kafka: {" + fields + "}}]}" }

// kafka is kafkaAt with url, topic and group as they should be.
func kafka(fields string) string {
	return kafkaAt(`url: "kafka://k:9092", topic: orders, group: billing, ` + fields)
}
func postgres(url, fields string) string {
	return `spec: {queues: [{name: jobs, postgreSQL: {url: "` + url + `", ` + fields + "}}]}"
}
func prometheus(url, fields string) string {
	return `spec: {queues: [{name: jobs, prometheus: {url: "` + url + `", ` + fields + "}}]}"
}
func externalAt(url, fields string) string {
	return `spec: {queues: [{name: jobs, external: {url: "` + url + `", ` + fields + "}}]}"
}
func awsSQS(url, fields string) string {
	return `spec: {queues: [{name: jobs, awsSQS: {url: "` + url + `", ` + fields + "}}]}"
}
func httpJSON(url, fields string) string {
	return `spec: {queues: [{name: jobs, http: {url: "` + url + `", ` + fields + "}}]}"
}
func redis(fields string) string { return redisAt(`url: "redis://r:6379/0", ` + fields) }

func rabbitMQ(fields string) string {
	return `spec: {queues: [{name: jobs, rabbitMQ: {url: "http://r:15672", ` + fields + "}}]}"
}

// pairs are n pairs of a key and a value.
func pairs(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("k%d: v", i))
	}
	return strings.Join(all, ", ")
}

func queues(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("{name: q%d, %s}", i, source))
	}
	return "spec: {queues: [" + strings.Join(all, ", ") + "]}"
}

func server(fields string) string { return "{kind: QueueServer, spec: {" + fields + "}}" }

// What is said more than once.
const (
	saySecret          = "secretRef.name must be the name of a Secret in this namespace: lowercase letters, digits, '-' and '.'; Secrets of other namespaces cannot be used"
	saySource          = "exactly one of natsJetStream, redis, rabbitMQ, kafka, postgreSQL, prometheus, external, awsSQS and http must be set; a further queue is a further entry of queues"
	sayBootstrap       = "kafka.url must be kafka:// and one bootstrap address, for example kafka://kafka.chat:9092; the other brokers are learnt from it"
	sayTopic           = "kafka.topic must be the name of one topic: letters, digits, '.', '_' and '-'; a further topic is a further entry of queues"
	sayMechanism       = "kafka.auth and kafka.mechanism need each other; set mechanism to Plain, ScramSHA256 or ScramSHA512, and name the Secret with username and password in kafka.auth.secretRef"
	sayForm            = "exactly one of redis.list, redis.sortedSet and redis.stream must be set"
	sayMaster          = "redis.masterName and topology Sentinel need each other; set masterName to the name that the Sentinels know the master by, and topology to Sentinel"
	sayDriver          = "exactly one of natsJetStream, redis, rabbitMQ, kafka, postgreSQL, prometheus, external, awsSQS and http must be set"
	sayServer          = "exactly one of url and serverRef must be set; give the server's url, or the name of a QueueServer in serverRef"
	sayServerAuth      = "auth and tls must not be set beside serverRef, because the QueueServer has its own; remove them"
	sayServerMechanism = "mechanism is for Kafka with auth, and needed there; set it to Plain, ScramSHA256 or ScramSHA512, or remove it"
	sayServerRef       = "serverRef.name must be the name of a QueueServer: lowercase letters, digits, '-' and '.'"
	sayDriverName      = "driver.name must consist of lowercase letters, digits and '-', at most 63; it names the unit of user work in messages, such as orders"
	sayObjective       = "exactly one of objective.drain and objective.backlog must be set"
	sayPgURL           = "postgreSQL.url must begin with postgres:// or postgresql:// and end with the database, for example postgres://db.shop:5432/orders"
	sayPgQuery         = "postgreSQL.query must be one SELECT, so it has to begin with SELECT or WITH, for example SELECT count(*) AS depth FROM jobs WHERE state = 'waiting'"
	sayPgDriver        = "driver.postgreSQL.query needs a column arrived_total, because the depth of a queue does not tell how much arrived; select a count of all that ever arrived under that name"
	sayExternal        = "external.url must be grpc:// or grpcs:// (TLS), a host and a port, for example grpc://scaler.chat:9090"
	sayJSONPath        = "must be names and indices with dots between them, such as stats.waiting, queues.0.waiting or queues.#(name==\"mail\").waiting; what of gjson makes much of little is not accepted: none of @ ! * ? % ~ { } [ ], no #. and no query within a query"
	sayHTTPPath        = "http.path must stay below the url and be escaped: without '..', '#' and blanks, for example /queues/mail"
	sayQueueName       = "queues[].name must consist of lowercase letters, digits and '-', at most 63; it names the queue here and need not be the server's name for it"
	sayStream          = "natsJetStream.stream must be a stream's name: no spaces, '.', '*', '>', '/' or backslash"
	sayConsumer        = "natsJetStream.consumer must be a durable consumer's name: no spaces, '.', '*', '>', '/' or backslash"
	sayPrior           = `objective.drain.messagesPerSecondPerReplica must be a decimal above 0 and at most 1000000, such as "8" or "0.25"`
	sayTolerance       = `tolerance must be between 0 and 1, such as "0.05"`
)

// accepted are changes that make a valid object.
var accepted = []struct{ name, change string }{
	{"the minimal object", "{}"},
	{"scale to zero", "spec: {minReplicas: 0}"},
	{"min equals max", "spec: {minReplicas: 10}"},
	{"the largest numbers", "spec: {minReplicas: 10000, maxReplicas: 10000}"},
	{"a name of 63 characters", "metadata: {name: " + strings.Repeat("a", 63) + "}"},
	{"a target with dots in its name", "spec: {scaleTargetRef: {name: web.v2}}"},
	{"queue with everything", queue("weight: 1000, drainSeconds: 86400, pollSeconds: 300")},
	{"NATS with TLS and credentials", nats(`url: "tls://n:4222", stream: a_b-C1, consumer: n-t_r, auth: {secretRef: {name: nats.reader}}, tls: {secretRef: {name: ca}, serverName: nats.chat}`)},
	{"TLS with the system's CAs", workers("tls: {}")},
	{"several NATS servers", nats(`url: "nats://a:4222,nats://b:4222", stream: S, consumer: c`)},
	{"NATS by a QueueServer", nats("serverRef: {name: chat.nats}, stream: S, consumer: c")},
	{"Kafka by a QueueServer", kafkaAt("serverRef: {name: kafka}, topic: t, group: g")},
	{"QueueServer for Kafka", server("source: Kafka, url: 'kafka://k', mechanism: ScramSHA256, auth: {secretRef: {name: kafka}}")},
	{"QueueServer for Kafka without credentials", server("source: Kafka, url: 'kafka://k'")},
	{"driver by a QueueServer", driver("natsJetStream: {serverRef: {name: chat-nats}, stream: S, consumer: c}")},
	{"QueueServer", server("")},
	{"QueueServer with everything", server(`url: "tls://n", auth: {secretRef: {name: nats-reader}}, tls: {secretRef: {name: ca}, serverName: nats.chat}, allowedNamespaces: [chat, "team-*", "*"]`)},
	{"Redis list with counters", redis(`list: {keys: ["{mail}:wait", b], inFlightKeys: [a], arrivedTotalKey: x, completedTotalKey: z}`)},
	{"Redis sorted set over TLS", redisAt(`url: "rediss://r:6380", sortedSet: {keys: [jobs]}, tls: {}`)},
	{"Redis stream", redis("stream: {key: orders, group: workers}, auth: {secretRef: {name: redis}}")},
	{"one Redis server, said aloud", redis("topology: Standalone, list: {keys: [a]}")},
	{"Redis Cluster", redis("topology: Cluster, list: {keys: [a]}")},
	{"Redis Cluster without a database", redisAt(`url: "rediss://r:6379", topology: Cluster, list: {keys: [a]}`)},
	{"Redis behind Sentinel", redisAt(`url: "redis://r:26379/3", topology: Sentinel, masterName: my_master.1-a, list: {keys: [a]}`)},
	{"NATS with a domain", workers("domain: edge_1-A")},
	{"Kafka", kafka("")},
	{"Kafka with everything", kafkaAt(`url: "kafka://k", topic: a.b_C-1, group: "a group", partitions: [0, 1000000], consumersPerReplica: 1000, mechanism: ScramSHA512, auth: {secretRef: {name: kafka}}, tls: {secretRef: {name: ca}, serverName: k.chat}`)},
	{"Kafka with a plain password", kafka("mechanism: Plain, auth: {secretRef: {name: kafka}}, tls: {}")},
	{"driver that is a Kafka topic", driver(`kafka: {url: "kafka://k:9092", topic: orders, group: billing}`)},
	{"PostgreSQL with everything", postgres("postgresql://db/orders", "query: \"  with n as (select 1 depth) select depth from n\", auth: {secretRef: {name: jobs}}, tls: {serverName: db.shop}")},
	{"RabbitMQ", rabbitMQ("queue: mail")},
	{"RabbitMQ with everything", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'https://r/behind/proxy', queue: 'a b/é', vhost: chat, auth: {secretRef: {name: rabbitmq}}, tls: {}}}]}"},
	{"RabbitMQ over AMQP", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'amqp://r:5672', queue: mail, vhost: chat, auth: {secretRef: {name: rabbitmq}}}}]}"},
	{"RabbitMQ over AMQP with TLS", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'amqps://r/', queue: mail, tls: {}}}]}"},
	{"driver in RabbitMQ", driver("rabbitMQ: {url: 'http://r:15672', queue: orders}")},
	{"Prometheus with everything", prometheus("https://p:9090/tenant", "depthQuery: a, inFlightQuery: b, arrivedTotalQuery: c, completedTotalQuery: d, oldestAgeSecondsQuery: e, auth: {secretRef: {name: p}}, tls: {}")},
	{"external scaler", externalAt("grpc://scaler:9090", "")},
	{"external scaler with everything", externalAt("grpcs://[::1]:9090/", "metadata: {queue: mail, empty: ''}, metricName: s0-mail, auth: {secretRef: {name: scaler}}, tls: {secretRef: {name: ca}, serverName: scaler.chat}")},
	{"external scaler with a token and tls", externalAt("grpc://scaler:9090", "auth: {secretRef: {name: scaler}}, tls: {}")},
	{"SQS", awsSQS("https://sqs.eu-west-1.amazonaws.com", "region: eu-west-1, queue: a_B-1, auth: {secretRef: {name: sqs}}")},
	{"SQS with everything", awsSQS("http://localstack.aws:4566", `region: us-gov-west-1, queue: orders.fifo, accountID: "000000000000", auth: {secretRef: {name: sqs}}, tls: {}`)},
	{"HTTP", httpJSON("http://jobs.shop:8080", "depthPath: '#'")},
	{"HTTP with everything", httpJSON("https://jobs/behind/proxy", `path: "/queues/a%2Fb?of=mail&x=1", depthPath: 'queues.#(name=="a b").waiting', inFlightPath: 'jobs.#(state=="running")#|#', arrivedTotalPath: 'a\.b', completedTotalPath: a.0, oldestAgeSecondsPath: d, auth: {secretRef: {name: p}}, tls: {}`)},
	{"driver that is a counter over HTTP", driver(`http: {url: "http://jobs:8080", depthPath: a, arrivedTotalPath: b}`)},
	{"16 queues", queues(16)},
	{"driver in NATS", driver(source + ", pollSeconds: 300")},
	{"driver with the name and the source of a queue", "spec: {driver: {name: jobs, " + source + "}}"},
	{"driver that is a Redis stream", driver(`redis: {url: "redis://r:6379/0", stream: {key: orders, group: billing}}`)},
	{"driver that is a counter beside a Redis list", driver(`redis: {url: "redis://r:6379/0", list: {keys: [orders], arrivedTotalKey: "orders:total"}}`)},
	{"driver that is a counter beside a Redis sorted set", driver(`redis: {url: "redis://r:6379/0", sortedSet: {keys: [orders], arrivedTotalKey: "orders:total"}}`)},
	{"driver that is a counter in PostgreSQL", driver(`postgreSQL: {url: "postgres://db:5432/orders", query: "SELECT 0 AS depth, max(id) AS ARRIVED_TOTAL FROM orders"}`)},
	{"driver that is a counter in Prometheus", driver(`prometheus: {url: "http://p:9090", depthQuery: vector(0), arrivedTotalQuery: sum(orders_total)}`)},
	{"driver beside a plain objective", "spec: {objective: {drain: null, backlog: {perReplica: 5}}, driver: {name: orders, " + source + "}}"},
	{"plain objective", "spec: {objective: {drain: null, backlog: {perReplica: 1000000000}}}"},
	{"drain objective with everything", drain(`seconds: 86400, messagesPerSecondPerReplica: "0.001", targetUtilizationPercent: 100, concurrency: 100000`)},
	{"the highest prior", drain(`messagesPerSecondPerReplica: "1000000"`)},
	{"standby with gate Service", standby("replicas: 50, gate: Service, priorityClassName: system-cluster-critical, withholdLabels: [app, capacity.queuescaler.io/serving]")},
	{"standby with gate File", standby("replicas: 1, gate: File, drainSeconds: 3600")},
	{"standby with gate Prepared", standby("replicas: 1, gate: Prepared")},
	{"all slots on the known-good revision", standby("replicas: 3, gate: File, knownGoodReplicas: 3")},
	{"no slot on the known-good revision", standby("replicas: 3, gate: File, knownGoodReplicas: 0")},
	{"no calibration", drain("seconds: 60, calibrate: Never")},
	{"rollback on regression", rollout("onRegression: RollBack")},
	{"rollout with everything", rollout("policy: ScaleUpOnly, lending: Forbid, holdTimeoutSeconds: 1, releaseAfterMissedSeconds: 1, soakSeconds: 0, rollbackPlan: see the runbook")},
	{"rollout ignored", rollout("policy: Ignore")},
	{"empty behavior", "spec: {behavior: {scaleUp: {}, scaleDown: {}}}"},
	{"behavior with everything", scaleDown(`stabilizationWindowSeconds: 0, selectPolicy: Min, tolerance: "0.05", policies: [{type: Pods, value: 1, periodSeconds: 1800}, {type: Percent, value: 100, periodSeconds: 1}]`)},
	{"tolerance 0 and 1, as integers", "spec: {behavior: {scaleUp: {tolerance: 0}, scaleDown: {tolerance: 1}}}"},
	{"tolerance in thousandths", "spec: {behavior: {scaleUp: {tolerance: 50m}}}"},
	{"no scale-down", scaleDown("selectPolicy: Disabled")},
	{"fallback", fallback("afterSeconds: 15, minReplicas: 10")},
	{"dry run", "spec: {mode: DryRun}"},
	{"suspended", "spec: {mode: Suspended}"},
	{"suspended with an end", `spec: {mode: Suspended, suspendUntil: "2026-12-01T08:00:00Z"}`},
}

// refused are changes that make an invalid object, and what the error has to say: where, and the remedy.
var refused = []struct {
	name, change string
	says         []string
}{
	{"name too long", "metadata: {name: " + strings.Repeat("a", 64) + "}", []string{"metadata.name must have at most 63 characters, because it becomes a label value; choose a shorter name"}},
	{"no spec", "spec: null", []string{"spec: Required value"}},
	{"unknown field", "spec: {minReplica: 1}", []string{`unknown field "spec.minReplica"`}},
	{"no target", "spec: {scaleTargetRef: null}", []string{"spec.scaleTargetRef: Required value"}},
	{"target without a name", "spec: {scaleTargetRef: {name: null}}", []string{"spec.scaleTargetRef.name: Required value"}},
	{"target with an empty name", `spec: {scaleTargetRef: {name: ""}}`, []string{"spec.scaleTargetRef.name"}},
	{"target with a name too long", "spec: {scaleTargetRef: {name: " + strings.Repeat("a", 254) + "}}", []string{"spec.scaleTargetRef.name: Too long", "253"}},
	{"target in another namespace", "spec: {scaleTargetRef: {name: shop/worker}}", []string{"spec.scaleTargetRef.name", "scaleTargetRef.name must be the name of a Deployment in this namespace: lowercase letters, digits, '-' and '.'"}},
	{"target of another kind", "spec: {scaleTargetRef: {kind: StatefulSet}}", []string{"spec.scaleTargetRef.kind: Unsupported value", `supported values: "Deployment"`}},
	{"target of another group", "spec: {scaleTargetRef: {apiVersion: apps/v2}}", []string{"spec.scaleTargetRef.apiVersion: Unsupported value", `supported values: "apps/v1"`}},
	{"minReplicas too low", "spec: {minReplicas: -1}", []string{"spec.minReplicas", "greater than or equal to 0"}},
	{"minReplicas too high", "spec: {minReplicas: 10001}", []string{"spec.minReplicas", "less than or equal to 10000"}},
	{"maxReplicas too low", "spec: {maxReplicas: 0}", []string{"spec.maxReplicas", "greater than or equal to 1"}},
	{"maxReplicas too high", "spec: {maxReplicas: 10001}", []string{"spec.maxReplicas", "less than or equal to 10000"}},
	{"no maxReplicas", "spec: {maxReplicas: null}", []string{"spec.maxReplicas: Required value"}},
	{"half a replica", "spec: {maxReplicas: 2.5}", []string{"spec.maxReplicas", "integer"}},
	{"min above max", "spec: {minReplicas: 11}", []string{"minReplicas must be at most maxReplicas; lower minReplicas or raise maxReplicas"}},
	{"fallback above max", fallback("minReplicas: 11"), []string{"fallback.minReplicas must be at most maxReplicas; lower fallback.minReplicas or raise maxReplicas"}},
	{"suspendUntil in mode Active", `spec: {suspendUntil: "2026-12-01T08:00:00Z"}`, []string{"suspendUntil needs mode: Suspended; set mode or remove suspendUntil"}},
	{"suspendUntil that is no time", "spec: {mode: Suspended, suspendUntil: tomorrow}", []string{"spec.suspendUntil", "date-time"}},
	{"unknown mode", "spec: {mode: Off}", []string{"spec.mode"}},
	{"unknown mode in words", "spec: {mode: Paused}", []string{"spec.mode: Unsupported value", `"Active", "DryRun", "Suspended"`}},
	{"no queues", "spec: {queues: null}", []string{"spec.queues: Required value"}},
	{"empty queues", "spec: {queues: []}", []string{"spec.queues", "at least 1 items"}},
	{"17 queues", queues(17), []string{"spec.queues: Too many", "at most 16"}},
	{"two queues of one name", nats("url: 'nats://n:4222', stream: JOBS, consumer: workers}}, {name: jobs, natsJetStream: {url: 'nats://n:4222', stream: JOBS, consumer: workers"), []string{"spec.queues[1]: Duplicate value"}},
	{"queue without a name", "spec: {queues: [{" + source + "}]}", []string{"spec.queues[0].name: Required value"}},
	{"queue name with capitals", "spec: {queues: [{name: Jobs, " + source + "}]}", []string{"spec.queues[0].name", sayQueueName}},
	{"queue name with dots", "spec: {queues: [{name: a.b, " + source + "}]}", []string{"spec.queues[0].name", sayQueueName}},
	{"queue name with a blank", "spec: {queues: [{name: a b, " + source + "}]}", []string{"spec.queues[0].name", sayQueueName}},
	{"queue name too long", "spec: {queues: [{name: " + strings.Repeat("a", 64) + ", " + source + "}]}", []string{"spec.queues[0].name: Too long", "63"}},
	{"queue without a source", "spec: {queues: [{name: jobs}]}", []string{"spec.queues[0]", saySource}},
	{"queue with two sources", nats(`url: 'nats://n:4222', stream: JOBS, consumer: workers}, redis: {url: "redis://r:6379/0", list: {keys: [a]}`), []string{"spec.queues[0]", saySource}},
	{"queue in RabbitMQ and Redis", rabbitMQ(`queue: mail}, redis: {url: "redis://r:6379/0", list: {keys: [a]}`), []string{"spec.queues[0]", saySource}},
	{"RabbitMQ without a queue", rabbitMQ("vhost: chat"), []string{"spec.queues[0].rabbitMQ.queue: Required value"}},
	{"RabbitMQ without a url", "spec: {queues: [{name: jobs, rabbitMQ: {queue: mail}}]}", []string{"spec.queues[0].rabbitMQ", sayServer}},
	{"RabbitMQ over STOMP", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'stomp://r:61613', queue: mail}}]}",
		[]string{"spec.queues[0].rabbitMQ", "rabbitMQ.url must be that of the management API and begin with http:// or https://, for example http://rabbitmq.chat:15672; where there is none, begin it with amqp:// or amqps://"}},
	{"RabbitMQ over AMQP with a virtual host in its url", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'amqp://r:5672/chat', queue: mail}}]}",
		[]string{"spec.queues[0].rabbitMQ", "rabbitMQ.url must not have a path if it begins with amqp:// or amqps://; put the virtual host into rabbitMQ.vhost"}},
	{"RabbitMQ url with a password", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'http://guest:guest@r:15672', queue: mail}}]}",
		[]string{"spec.queues[0].rabbitMQ", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"RabbitMQ url too long", "spec: {queues: [{name: jobs, rabbitMQ: {url: 'http://" + strings.Repeat("r", 506) + "', queue: mail}}]}", []string{"spec.queues[0].rabbitMQ.url: Too long", "512"}},
	{"RabbitMQ queue too long", rabbitMQ("queue: " + strings.Repeat("q", 256)), []string{"spec.queues[0].rabbitMQ.queue: Too long", "255"}},
	{"RabbitMQ vhost empty", rabbitMQ("queue: mail, vhost: ''"), []string{"spec.queues[0].rabbitMQ.vhost", "at least 1 chars"}},
	{"RabbitMQ vhost too long", rabbitMQ("queue: mail, vhost: " + strings.Repeat("v", 256)), []string{"spec.queues[0].rabbitMQ.vhost: Too long", "255"}},
	{"Secret of another namespace for RabbitMQ", rabbitMQ("queue: mail, auth: {secretRef: {name: other/rabbitmq}}"), []string{"spec.queues[0].rabbitMQ.auth.secretRef.name", saySecret}},
	{"weight of a queue too low", queue("weight: 0"), []string{"spec.queues[0].weight", "greater than or equal to 1"}},
	{"weight of a queue too high", queue("weight: 1001"), []string{"spec.queues[0].weight", "less than or equal to 1000"}},
	{"drainSeconds of a queue too low", queue("drainSeconds: 0"), []string{"spec.queues[0].drainSeconds", "greater than or equal to 1"}},
	{"drainSeconds of a queue too high", queue("drainSeconds: 86401"), []string{"spec.queues[0].drainSeconds", "less than or equal to 86400"}},
	{"pollSeconds of a queue too low", queue("pollSeconds: 0"), []string{"spec.queues[0].pollSeconds", "greater than or equal to 1"}},
	{"pollSeconds of a queue too high", queue("pollSeconds: 301"), []string{"spec.queues[0].pollSeconds", "less than or equal to 300"}},
	{"drainSeconds of a queue without a drain objective", "spec: {objective: {drain: null, backlog: {perReplica: 1}}, queues: [{name: jobs, drainSeconds: 5, " + source + "}]}", []string{"queues[].drainSeconds needs objective.drain; remove drainSeconds or use objective.drain"}},
	{"driver without a name", "spec: {driver: {" + source + "}}", []string{"spec.driver.name: Required value"}},
	{"driver name with capitals", "spec: {driver: {name: Orders, " + source + "}}", []string{"spec.driver.name", sayDriverName}},
	{"driver name too long", "spec: {driver: {name: " + strings.Repeat("a", 64) + ", " + source + "}}", []string{"spec.driver.name: Too long", "63"}},
	{"driver without a source", "spec: {driver: {name: orders}}", []string{"spec.driver", sayDriver}},
	{"driver with two sources", driver(source + `, redis: {url: "redis://r:6379/0", stream: {key: orders, group: billing}}`), []string{"spec.driver", sayDriver}},
	{"driver with a weight", driver("weight: 2, " + source), []string{`unknown field "spec.driver.weight"`}},
	{"pollSeconds of a driver too low", driver("pollSeconds: 0, " + source), []string{"spec.driver.pollSeconds", "greater than or equal to 1"}},
	{"pollSeconds of a driver too high", driver("pollSeconds: 301, " + source), []string{"spec.driver.pollSeconds", "less than or equal to 300"}},
	{"driver that is a Redis list without a counter", driver(`redis: {url: "redis://r:6379/0", list: {keys: [orders], completedTotalKey: done}}`),
		[]string{"spec.driver", "driver.redis.list needs arrivedTotalKey, because the length of a list does not tell how much arrived; INCR a counter for each unit of user work and name its key, or use driver.redis.stream"}},
	{"driver that is a Redis sorted set without a counter", driver(`redis: {url: "redis://r:6379/0", sortedSet: {keys: [orders]}}`),
		[]string{"spec.driver", "driver.redis.sortedSet needs arrivedTotalKey, because the size of a sorted set does not tell how much arrived; INCR a counter for each unit of user work and name its key, or use driver.redis.stream"}},
	{"driver in RabbitMQ over AMQP", driver("rabbitMQ: {url: 'amqp://r:5672', queue: orders}"),
		[]string{"spec.driver", "driver.rabbitMQ.url must be that of the management API, because over AMQP nothing tells how much arrived; begin it with http:// or https://"}},
	{"driver with credentials in its url", driver(`redis: {url: "redis://me:secret@r:6379/0", stream: {key: orders, group: billing}}`), []string{"spec.driver.redis", "url must not carry credentials"}},
	{"driver that is a query of PostgreSQL without a counter", driver(`postgreSQL: {url: "postgres://db:5432/orders", query: "SELECT count(*) AS depth FROM orders"}`), []string{"spec.driver", sayPgDriver}},
	{"driver of Prometheus without a counter", driver(`prometheus: {url: "http://p:9090", depthQuery: orders}`), []string{"spec.driver", "driver.prometheus needs arrivedTotalQuery, because the depth of a queue does not tell how much arrived; give a query for a counter of all that ever arrived"}},
	{"Prometheus without a url", "spec: {queues: [{name: jobs, prometheus: {depthQuery: a}}]}", []string{"spec.queues[0].prometheus", sayServer}},
	{"Prometheus url of another kind", prometheus("prometheus:9090", "depthQuery: a"), []string{"spec.queues[0].prometheus", "prometheus.url must begin with http:// or https://, for example http://prometheus.monitoring:9090"}},
	{"Prometheus url with a password", prometheus("http://me:secret@p:9090", "depthQuery: a"), []string{"spec.queues[0].prometheus", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"Prometheus url too long", prometheus("http://"+strings.Repeat("p", 506), "depthQuery: a"), []string{"spec.queues[0].prometheus.url: Too long", "512"}},
	{"Prometheus without depthQuery", prometheus("http://p:9090", "inFlightQuery: a"), []string{"spec.queues[0].prometheus.depthQuery: Required value"}},
	{"Prometheus with a query too long", prometheus("http://p:9090", "depthQuery: "+strings.Repeat("a", 1025)), []string{"spec.queues[0].prometheus.depthQuery: Too long", "1024"}},
	{"Prometheus with an empty query", prometheus("http://p:9090", `depthQuery: a, inFlightQuery: ""`), []string{"spec.queues[0].prometheus.inFlightQuery", "at least 1 chars"}},
	{"external scaler without a port", externalAt("grpc://scaler", ""), []string{"spec.queues[0].external", sayExternal}},
	{"external scaler with a path", externalAt("grpc://scaler:9090/x", ""), []string{"spec.queues[0].external", sayExternal}},
	{"external scaler as KEDA has it", externalAt("scaler:9090", ""), []string{"spec.queues[0].external", sayExternal}},
	{"external scaler with a token and no TLS", externalAt("grpc://scaler:9090", "auth: {secretRef: {name: scaler}}"), []string{"spec.queues[0].external", "external.auth needs TLS, because a token is sent with each call; begin the url with grpcs://, or add tls: {}"}},
	{"external scaler with empty metadata", externalAt("grpc://scaler:9090", "metadata: {}"), []string{"spec.queues[0].external.metadata", "at least 1 properties"}},
	{"external scaler with an empty key", externalAt("grpc://scaler:9090", "metadata: {'': a}"), []string{"spec.queues[0].external", "external.metadata must have keys of 1 to 128 characters"}},
	{"external scaler with a key too long", externalAt("grpc://scaler:9090", "metadata: {"+strings.Repeat("k", 129)+": a}"), []string{"spec.queues[0].external", "external.metadata must have keys of 1 to 128 characters"}},
	{"external scaler with a value too long", externalAt("grpc://scaler:9090", "metadata: {k: "+strings.Repeat("v", 2049)+"}"), []string{"spec.queues[0].external.metadata.k: Too long", "2048"}},
	{"external scaler with too much metadata", externalAt("grpc://scaler:9090", "metadata: {"+pairs(65)+"}"), []string{"spec.queues[0].external.metadata: Too many", "at most 64"}},
	{"external scaler with metadata that is no text", externalAt("grpc://scaler:9090", "metadata: {k: 7}"), []string{"spec.queues[0].external.metadata.k", "string"}},
	{"external scaler with an empty metric", externalAt("grpc://scaler:9090", "metricName: ''"), []string{"spec.queues[0].external.metricName", "at least 1 chars"}},
	{"driver that is an external scaler", driver("external: {url: 'grpc://scaler:9090'}"), []string{"spec.driver", "driver.external does not exist, because an external scaler does not tell how much arrived; count the units of user work in another source, for example driver.prometheus with arrivedTotalQuery"}},
	{"Secret of another namespace for Prometheus", prometheus("http://p:9090", "depthQuery: a, auth: {secretRef: {name: other/p}}"), []string{"spec.queues[0].prometheus.auth.secretRef.name", saySecret}},
	{"driver in SQS", driver(`awsSQS: {url: "https://sqs.eu-west-1.amazonaws.com", region: eu-west-1, queue: orders}`), []string{"spec.driver", "driver.awsSQS is not possible, because SQS does not tell how much arrived; use another source that counts the user work"}},
	{"SQS without a url", "spec: {queues: [{name: jobs, awsSQS: {region: eu-west-1, queue: mail}}]}", []string{"spec.queues[0].awsSQS", sayServer}},
	{"SQS url of another kind", awsSQS("sqs.eu-west-1.amazonaws.com", "region: eu-west-1, queue: mail"), []string{"spec.queues[0].awsSQS", "awsSQS.url must be the endpoint of the region and begin with http:// or https://, for example https://sqs.eu-west-1.amazonaws.com; the queue's name goes into awsSQS.queue"}},
	{"SQS url with a password", awsSQS("https://me:secret@sqs", "region: eu-west-1, queue: mail"), []string{"spec.queues[0].awsSQS", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"SQS without a queue", awsSQS("https://sqs", "region: eu-west-1"), []string{"spec.queues[0].awsSQS.queue: Required value"}},
	{"SQS without a region", awsSQS("https://sqs", "queue: mail"), []string{"spec.queues[0].awsSQS.region: Required value"}},
	{"SQS queue that is a url", awsSQS("https://sqs", "region: eu-west-1, queue: 'https://sqs.eu-west-1.amazonaws.com/1/mail'"), []string{"spec.queues[0].awsSQS.queue", "awsSQS.queue must be the name of a queue and not its url: letters, digits, '-' and '_', with .fifo at the end of a FIFO queue's"}},
	{"SQS queue with dots", awsSQS("https://sqs", "region: eu-west-1, queue: a.b"), []string{"spec.queues[0].awsSQS.queue", "awsSQS.queue must be the name of a queue"}},
	{"SQS queue too long", awsSQS("https://sqs", "region: eu-west-1, queue: "+strings.Repeat("q", 81)), []string{"spec.queues[0].awsSQS.queue: Too long", "80"}},
	{"SQS region in words", awsSQS("https://sqs", "region: Ireland, queue: mail"), []string{"spec.queues[0].awsSQS.region", "awsSQS.region must be a region's code, for example eu-west-1"}},
	{"SQS region too long", awsSQS("https://sqs", "queue: mail, region: "+strings.Repeat("r", 33)), []string{"spec.queues[0].awsSQS.region: Too long", "32"}},
	{"SQS account by name", awsSQS("https://sqs", "region: eu-west-1, queue: mail, accountID: our-account1"), []string{"spec.queues[0].awsSQS.accountID", "awsSQS.accountID must be 12 digits, in quotes"}},
	{"SQS account too short", awsSQS("https://sqs", `region: eu-west-1, queue: mail, accountID: "123"`), []string{"spec.queues[0].awsSQS.accountID", "at least 12 chars"}},
	{"Secret of another namespace for SQS", awsSQS("https://sqs", "region: eu-west-1, queue: mail, auth: {secretRef: {name: other/sqs}}"), []string{"spec.queues[0].awsSQS.auth.secretRef.name", saySecret}},
	{"driver over HTTP without a counter", driver(`http: {url: "http://jobs:8080", depthPath: a}`), []string{"spec.driver", "driver.http needs arrivedTotalPath, because the depth of a queue does not tell how much arrived; name where the reply has a counter of all that ever arrived"}},
	{"HTTP without a url", "spec: {queues: [{name: jobs, http: {depthPath: a}}]}", []string{"spec.queues[0].http", sayServer}},
	{"HTTP url of another kind", httpJSON("jobs:8080", "depthPath: a"), []string{"spec.queues[0].http", "http.url must begin with http:// or https:// and have no query, for example http://jobs.shop:8080; what comes after it goes into http.path"}},
	{"HTTP url with a query", httpJSON("http://jobs:8080?a=b", "depthPath: a"), []string{"spec.queues[0].http", "http.url must begin with http:// or https:// and have no query"}},
	{"HTTP url with a password", httpJSON("http://me:secret@jobs:8080", "depthPath: a"), []string{"spec.queues[0].http", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"HTTP without depthPath", httpJSON("http://jobs", "inFlightPath: a"), []string{"spec.queues[0].http.depthPath: Required value"}},
	{"HTTP path too long", httpJSON("http://jobs", "depthPath: a, path: "+strings.Repeat("a", 513)), []string{"spec.queues[0].http.path: Too long", "512"}},
	{"HTTP path that leads up", httpJSON("http://jobs/team", "depthPath: a, path: ../other"), []string{"spec.queues[0].http.path", sayHTTPPath}},
	{"HTTP path that leads up in disguise", httpJSON("http://jobs/team", "depthPath: a, path: '%2e%2E/other'"), []string{"spec.queues[0].http.path", sayHTTPPath}},
	{"HTTP path with a blank", httpJSON("http://jobs", "depthPath: a, path: a b"), []string{"spec.queues[0].http.path", sayHTTPPath}},
	{"HTTP path with a fragment", httpJSON("http://jobs", "depthPath: a, path: 'a#b'"), []string{"spec.queues[0].http.path", sayHTTPPath}},
	{"JSON path that is empty", httpJSON("http://jobs", `depthPath: ""`), []string{"spec.queues[0].http.depthPath", "at least 1 chars"}},
	{"JSON path too long", httpJSON("http://jobs", "depthPath: "+strings.Repeat("a", 257)), []string{"spec.queues[0].http.depthPath: Too long", "256"}},
	{"JSON path with a modifier", httpJSON("http://jobs", "depthPath: 'a|@tostr'"), []string{"spec.queues[0].http.depthPath", sayJSONPath}},
	{"JSON path with a wildcard", httpJSON("http://jobs", "depthPath: a, inFlightPath: 'a.*'"), []string{"spec.queues[0].http.inFlightPath", sayJSONPath}},
	{"JSON path that is a literal", httpJSON("http://jobs", "depthPath: '!5'"), []string{"spec.queues[0].http.depthPath", sayJSONPath}},
	{"JSON path to several numbers", httpJSON("http://jobs", "depthPath: 'queues.#.waiting'"), []string{"spec.queues[0].http.depthPath", sayJSONPath}},
	{"JSON path with a query within a query", httpJSON("http://jobs", "depthPath: 'a.#(b.#(c==1))'"), []string{"spec.queues[0].http.depthPath", sayJSONPath}},
	{"JSON path that makes a document", httpJSON("http://jobs", "depthPath: '[a,b]'"), []string{"spec.queues[0].http.depthPath", sayJSONPath}},
	{"PostgreSQL without a url", "spec: {queues: [{name: jobs, postgreSQL: {query: SELECT 1 AS depth}}]}", []string{"spec.queues[0].postgreSQL", sayServer}},
	{"PostgreSQL url of another kind", postgres("mysql://db/orders", "query: SELECT 1 AS depth"), []string{"spec.queues[0].postgreSQL", sayPgURL}},
	{"PostgreSQL url without a database", postgres("postgres://db:5432", "query: SELECT 1 AS depth"), []string{"spec.queues[0].postgreSQL", sayPgURL}},
	{"PostgreSQL url with an empty database", postgres("postgres://db:5432/", "query: SELECT 1 AS depth"), []string{"spec.queues[0].postgreSQL", sayPgURL}},
	{"PostgreSQL url with settings", postgres("postgres://db/orders?sslmode=disable", "query: SELECT 1 AS depth"), []string{"spec.queues[0].postgreSQL", sayPgURL}},
	{"PostgreSQL url with a password", postgres("postgres://me:secret@db/orders", "query: SELECT 1 AS depth"), []string{"spec.queues[0].postgreSQL", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"PostgreSQL url too long", postgres("postgres://db/"+strings.Repeat("d", 499), "query: SELECT 1 AS depth"), []string{"spec.queues[0].postgreSQL.url: Too long", "512"}},
	{"PostgreSQL without a query", postgres("postgres://db/orders", "query: null"), []string{"spec.queues[0].postgreSQL.query: Required value"}},
	{"PostgreSQL query that is none", postgres("postgres://db/orders", "query: DELETE FROM jobs"), []string{"spec.queues[0].postgreSQL.query", sayPgQuery}},
	{"PostgreSQL query that begins with a name", postgres("postgres://db/orders", "query: selected"), []string{"spec.queues[0].postgreSQL.query", sayPgQuery}},
	{"PostgreSQL query too long", postgres("postgres://db/orders", "query: SELECT "+strings.Repeat("1", 4090)), []string{"spec.queues[0].postgreSQL.query: Too long", "4096"}},
	{"Secret of another namespace for PostgreSQL", postgres("postgres://db/orders", "query: SELECT 1 AS depth, auth: {secretRef: {name: other/pg}}"), []string{"spec.queues[0].postgreSQL.auth.secretRef.name", saySecret}},
	{"NATS without a url", nats("stream: S, consumer: c"), []string{"spec.queues[0].natsJetStream", sayServer}},
	{"NATS url of another kind", nats(`url: "http://n:8222", stream: S, consumer: c`), []string{"spec.queues[0].natsJetStream", "natsJetStream.url must begin with nats:// or tls://, for example nats://nats.chat:4222"}},
	{"NATS url with a password", nats(`url: "nats://me:secret@n:4222", stream: S, consumer: c`), []string{"spec.queues[0].natsJetStream", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"NATS url too long", nats(`url: "nats://` + strings.Repeat("n", 506) + `", stream: S, consumer: c`), []string{"spec.queues[0].natsJetStream.url: Too long", "512"}},
	{"NATS without a stream", nats(`url: "nats://n:4222", consumer: c`), []string{"spec.queues[0].natsJetStream.stream: Required value"}},
	{"NATS stream empty", nats(`url: "nats://n:4222", stream: "", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", "at least 1 chars"}},
	{"NATS stream too long", nats(`url: "nats://n:4222", stream: ` + strings.Repeat("s", 256) + ", consumer: c"), []string{"spec.queues[0].natsJetStream.stream: Too long", "255"}},
	{"NATS stream with a blank", nats(`url: "nats://n:4222", stream: "a b", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a tab", nats(`url: "nats://n:4222", stream: "a\tb", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a newline", nats(`url: "nats://n:4222", stream: "a\nb", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a return", nats(`url: "nats://n:4222", stream: "a\rb", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a dot", nats(`url: "nats://n:4222", stream: "a.b", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a star", nats(`url: "nats://n:4222", stream: "a*", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a wildcard", nats(`url: "nats://n:4222", stream: "a>", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a slash", nats(`url: "nats://n:4222", stream: "a/b", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS stream with a backslash", nats(`url: "nats://n:4222", stream: "a\\b", consumer: c`), []string{"spec.queues[0].natsJetStream.stream", sayStream}},
	{"NATS without a consumer", nats(`url: "nats://n:4222", stream: S`), []string{"spec.queues[0].natsJetStream.consumer: Required value"}},
	{"NATS consumer empty", nats(`url: "nats://n:4222", consumer: "", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", "at least 1 chars"}},
	{"NATS consumer too long", nats(`url: "nats://n:4222", consumer: ` + strings.Repeat("s", 256) + ", stream: S"), []string{"spec.queues[0].natsJetStream.consumer: Too long", "255"}},
	{"NATS consumer with a blank", nats(`url: "nats://n:4222", consumer: "a b", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a tab", nats(`url: "nats://n:4222", consumer: "a\tb", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a newline", nats(`url: "nats://n:4222", consumer: "a\nb", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a return", nats(`url: "nats://n:4222", consumer: "a\rb", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a dot", nats(`url: "nats://n:4222", consumer: "a.b", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a star", nats(`url: "nats://n:4222", consumer: "a*", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a wildcard", nats(`url: "nats://n:4222", consumer: "a>", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a slash", nats(`url: "nats://n:4222", consumer: "a/b", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"NATS consumer with a backslash", nats(`url: "nats://n:4222", consumer: "a\\b", stream: S`), []string{"spec.queues[0].natsJetStream.consumer", sayConsumer}},
	{"credentials without a Secret", workers("auth: {}"), []string{"spec.queues[0].natsJetStream.auth.secretRef: Required value"}},
	{"Secret without a name", workers("auth: {secretRef: {}}"), []string{"spec.queues[0].natsJetStream.auth.secretRef.name: Required value"}},
	{"Secret of another namespace, by name", workers("auth: {secretRef: {name: kube-system/token}}"), []string{"spec.queues[0].natsJetStream.auth.secretRef.name", saySecret}},
	{"Secret of another namespace, by field", workers("auth: {secretRef: {name: token, namespace: kube-system}}"), []string{`unknown field "spec.queues[0].natsJetStream.auth.secretRef.namespace"`}},
	{"CA in a Secret of another namespace", workers("tls: {secretRef: {name: ../ca}}"), []string{"spec.queues[0].natsJetStream.tls.secretRef.name", saySecret}},
	{"Secret's name too long", workers("auth: {secretRef: {name: " + strings.Repeat("a", 254) + "}}"), []string{"spec.queues[0].natsJetStream.auth.secretRef.name: Too long", "253"}},
	{"empty server name", workers(`tls: {serverName: ""}`), []string{"spec.queues[0].natsJetStream.tls.serverName", "at least 1 chars"}},
	{"server name too long", workers("tls: {serverName: " + strings.Repeat("a", 254) + "}"), []string{"spec.queues[0].natsJetStream.tls.serverName: Too long", "253"}},
	{"Kafka without a url", kafkaAt("topic: t, group: g"), []string{"spec.queues[0].kafka", sayServer}},
	{"Kafka without a topic", kafkaAt(`url: "kafka://k", group: g`), []string{"spec.queues[0].kafka.topic: Required value"}},
	{"Kafka without a group", kafkaAt(`url: "kafka://k", topic: t`), []string{"spec.queues[0].kafka.group: Required value"}},
	{"Kafka url of another kind", kafkaAt(`url: "k:9092", topic: t, group: g`), []string{"spec.queues[0].kafka", sayBootstrap}},
	{"several Kafka brokers", kafkaAt(`url: "kafka://a:9092,b:9092", topic: t, group: g`), []string{"spec.queues[0].kafka", sayBootstrap}},
	{"Kafka url with a path", kafkaAt(`url: "kafka://k:9092/t", topic: t, group: g`), []string{"spec.queues[0].kafka", sayBootstrap}},
	{"url and QueueServer", workers("serverRef: {name: chat-nats}"), []string{"spec.queues[0].natsJetStream", sayServer}},
	{"credentials beside a QueueServer", nats("serverRef: {name: main}, auth: {secretRef: {name: s}}, stream: S, consumer: c"), []string{"spec.queues[0].natsJetStream", sayServerAuth}},
	{"TLS beside a QueueServer", redisAt("serverRef: {name: r}, tls: {}, list: {keys: [a]}"), []string{"spec.queues[0].redis", sayServerAuth}},
	{"QueueServer by a name that is none", nats("serverRef: {name: Chat_NATS}, stream: S, consumer: c"), []string{"spec.queues[0].natsJetStream.serverRef.name", sayServerRef}},
	{"QueueServer with a password in its url", server(`url: "nats://me:secret@n:4222"`), []string{"spec", "url must not carry credentials; put them into a Secret in the operator's namespace and name it in auth.secretRef"}},
	{"mechanism beside a QueueServer", kafkaAt("serverRef: {name: kafka}, topic: t, group: g, mechanism: ScramSHA256"), []string{"spec.queues[0].kafka", sayMechanism}},
	{"QueueServer for Kafka without a mechanism", server("source: Kafka, url: 'kafka://k', auth: {secretRef: {name: kafka}}"), []string{"spec", sayServerMechanism}},
	{"QueueServer for NATS with a mechanism", server("mechanism: Plain, auth: {secretRef: {name: nats}}"), []string{"spec", sayServerMechanism}},
	{"QueueServer for nothing", server("source: null"), []string{"spec.source", "Required value"}},
	{"QueueServer for something else", server("source: MQTT"), []string{"spec.source", "Unsupported value"}},
	{"QueueServer without a scheme", server(`url: "nats.chat:4222"`), []string{"spec", "url must begin with a scheme and a host, as in the url of the queues that it is for, for example nats://nats.chat:4222"}},
	{"QueueServer for nobody", server("allowedNamespaces: []"), []string{"spec.allowedNamespaces", "should have at least 1 items"}},
	{"QueueServer without namespaces", server("allowedNamespaces: null"), []string{"spec.allowedNamespaces", "Required value"}},
	{"QueueServer for a selector", server("allowedNamespaces: ['team=a']"), []string{"spec.allowedNamespaces", "allowedNamespaces must hold names of namespaces, in which * stands for any characters, such as chat or team-*"}},
	{"Kafka url with a password", kafkaAt(`url: "kafka://me:secret@k:9092", topic: t, group: g`), []string{"spec.queues[0].kafka", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"Kafka url too long", kafkaAt(`url: "kafka://` + strings.Repeat("k", 505) + `", topic: t, group: g`), []string{"spec.queues[0].kafka.url: Too long", "512"}},
	{"several Kafka topics", kafkaAt(`url: "kafka://k", topic: "a,b", group: g`), []string{"spec.queues[0].kafka.topic", sayTopic}},
	{"empty Kafka topic", kafkaAt(`url: "kafka://k", topic: "", group: g`), []string{"spec.queues[0].kafka.topic", "at least 1 chars"}},
	{"Kafka topic too long", kafkaAt(`url: "kafka://k", group: g, topic: ` + strings.Repeat("t", 250)), []string{"spec.queues[0].kafka.topic: Too long", "249"}},
	{"empty Kafka group", kafkaAt(`url: "kafka://k", topic: t, group: ""`), []string{"spec.queues[0].kafka.group", "at least 1 chars"}},
	{"Kafka group too long", kafkaAt(`url: "kafka://k", topic: t, group: ` + strings.Repeat("g", 256)), []string{"spec.queues[0].kafka.group: Too long", "255"}},
	{"empty Kafka partitions", kafka("partitions: []"), []string{"spec.queues[0].kafka.partitions", "at least 1 items"}},
	{"negative Kafka partition", kafka("partitions: [-1]"), []string{"spec.queues[0].kafka.partitions[0]", "greater than or equal to 0"}},
	{"Kafka partition too high", kafka("partitions: [1000001]"), []string{"spec.queues[0].kafka.partitions[0]", "less than or equal to 1000000"}},
	{"Kafka partition twice", kafka("partitions: [1, 1]"), []string{"spec.queues[0].kafka.partitions[1]: Duplicate value"}},
	{"Kafka replicas without consumers", kafka("consumersPerReplica: 0"), []string{"spec.queues[0].kafka.consumersPerReplica", "greater than or equal to 1"}},
	{"too many Kafka consumers of a replica", kafka("consumersPerReplica: 1001"), []string{"spec.queues[0].kafka.consumersPerReplica", "less than or equal to 1000"}},
	{"unknown Kafka mechanism", kafka("mechanism: GSSAPI, auth: {secretRef: {name: kafka}}"), []string{"spec.queues[0].kafka.mechanism: Unsupported value", "ScramSHA512"}},
	{"Kafka mechanism without auth", kafka("mechanism: Plain"), []string{"spec.queues[0].kafka", sayMechanism}},
	{"Kafka auth without a mechanism", kafka("auth: {secretRef: {name: kafka}}"), []string{"spec.queues[0].kafka", sayMechanism}},
	{"Secret of another namespace for Kafka", kafka("mechanism: Plain, auth: {secretRef: {name: other/kafka}}"), []string{"spec.queues[0].kafka.auth.secretRef.name", saySecret}},
	{"Redis without a form", redisAt(`url: "redis://r:6379/0"`), []string{"spec.queues[0].redis", sayForm}},
	{"Redis with two forms", redis("list: {keys: [a]}, stream: {key: a, group: b}"), []string{"spec.queues[0].redis", sayForm}},
	{"Redis topology of another kind", redis("topology: Ring, list: {keys: [a]}"), []string{"spec.queues[0].redis.topology: Unsupported value"}},
	{"Redis Cluster with a database", redisAt(`url: "redis://r:6379/1", topology: Cluster, list: {keys: [a]}`), []string{"spec.queues[0].redis", "redis.url must not name another database than 0 with topology Cluster, because Redis Cluster has no other; end it with /0, or after the port"}},
	{"Redis Sentinel without a master", redis("topology: Sentinel, list: {keys: [a]}"), []string{"spec.queues[0].redis", sayMaster}},
	{"Redis master without Sentinel", redis("masterName: mymaster, list: {keys: [a]}"), []string{"spec.queues[0].redis", sayMaster}},
	{"Redis Cluster with a master", redis("topology: Cluster, masterName: mymaster, list: {keys: [a]}"), []string{"spec.queues[0].redis", sayMaster}},
	{"Redis master with a blank", redis(`topology: Sentinel, masterName: "a b", list: {keys: [a]}`), []string{"spec.queues[0].redis.masterName", "redis.masterName must be a name that Sentinel has: letters, digits, '.', '_' and '-'"}},
	{"Redis master without a name", redis(`topology: Sentinel, masterName: "", list: {keys: [a]}`), []string{"spec.queues[0].redis.masterName", "at least 1 chars"}},
	{"Redis master with a name too long", redis("topology: Sentinel, masterName: " + strings.Repeat("m", 254) + ", list: {keys: [a]}"), []string{"spec.queues[0].redis.masterName: Too long", "253"}},
	{"NATS domain with a dot", workers("domain: a.b"), []string{"spec.queues[0].natsJetStream.domain", "natsJetStream.domain must be the name of a JetStream domain: no spaces, '.', '*', '>', '/' or backslash"}},
	{"NATS domain empty", workers(`domain: ""`), []string{"spec.queues[0].natsJetStream.domain", "at least 1 chars"}},
	{"NATS domain too long", workers("domain: " + strings.Repeat("d", 256)), []string{"spec.queues[0].natsJetStream.domain: Too long", "255"}},
	{"Redis with all forms", redis("list: {keys: [a]}, sortedSet: {keys: [a]}, stream: {key: a, group: b}"), []string{"spec.queues[0].redis", sayForm}},
	{"Redis without a url", redisAt("list: {keys: [a]}"), []string{"spec.queues[0].redis", sayServer}},
	{"Redis url of another kind", redisAt(`url: "r:6379", list: {keys: [a]}`), []string{"spec.queues[0].redis", "redis.url must begin with redis:// or rediss:// (TLS), for example redis://redis.chat:6379/0"}},
	{"Redis url with a password", redisAt(`url: "redis://:secret@r:6379", list: {keys: [a]}`), []string{"spec.queues[0].redis", "url must not carry credentials; put them into a Secret and name it in auth.secretRef"}},
	{"Redis url too long", redisAt(`url: "redis://` + strings.Repeat("r", 505) + `", list: {keys: [a]}`), []string{"spec.queues[0].redis.url: Too long", "512"}},
	{"Secret of another namespace for Redis", redis("list: {keys: [a]}, auth: {secretRef: {name: other/redis}}"), []string{"spec.queues[0].redis.auth.secretRef.name", saySecret}},
	{"list without keys", redis("list: {}"), []string{"spec.queues[0].redis.list.keys: Required value"}},
	{"list with empty keys", redis("list: {keys: []}"), []string{"spec.queues[0].redis.list.keys", "at least 1 items"}},
	{"list with an empty key", redis(`list: {keys: [""]}`), []string{"spec.queues[0].redis.list.keys[0]", "at least 1 chars"}},
	{"list with a key too long", redis("list: {keys: [" + strings.Repeat("k", 513) + "]}"), []string{"spec.queues[0].redis.list.keys[0]: Too long", "512"}},
	{"list with 17 keys", redis("list: {keys: [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15, k16]}"), []string{"spec.queues[0].redis.list.keys: Too many", "at most 16"}},
	{"list with a key twice", redis("list: {keys: [a, a]}"), []string{"spec.queues[0].redis.list.keys[1]: Duplicate value"}},
	{"list with empty inFlightKeys", redis("list: {keys: [a], inFlightKeys: []}"), []string{"spec.queues[0].redis.list.inFlightKeys", "at least 1 items"}},
	{"list with an empty counter", redis(`list: {keys: [a], arrivedTotalKey: ""}`), []string{"spec.queues[0].redis.list.arrivedTotalKey", "at least 1 chars"}},
	{"sortedSet without keys", redis("sortedSet: {}"), []string{"spec.queues[0].redis.sortedSet.keys: Required value"}},
	{"sortedSet with empty keys", redis("sortedSet: {keys: []}"), []string{"spec.queues[0].redis.sortedSet.keys", "at least 1 items"}},
	{"sortedSet with an empty key", redis(`sortedSet: {keys: [""]}`), []string{"spec.queues[0].redis.sortedSet.keys[0]", "at least 1 chars"}},
	{"sortedSet with a key too long", redis("sortedSet: {keys: [" + strings.Repeat("k", 513) + "]}"), []string{"spec.queues[0].redis.sortedSet.keys[0]: Too long", "512"}},
	{"sortedSet with 17 keys", redis("sortedSet: {keys: [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15, k16]}"), []string{"spec.queues[0].redis.sortedSet.keys: Too many", "at most 16"}},
	{"sortedSet with a key twice", redis("sortedSet: {keys: [a, a]}"), []string{"spec.queues[0].redis.sortedSet.keys[1]: Duplicate value"}},
	{"sortedSet with empty inFlightKeys", redis("sortedSet: {keys: [a], inFlightKeys: []}"), []string{"spec.queues[0].redis.sortedSet.inFlightKeys", "at least 1 items"}},
	{"sortedSet with an empty counter", redis(`sortedSet: {keys: [a], arrivedTotalKey: ""}`), []string{"spec.queues[0].redis.sortedSet.arrivedTotalKey", "at least 1 chars"}},
	{"stream without a key", redis("stream: {group: g}"), []string{"spec.queues[0].redis.stream.key: Required value"}},
	{"stream without a group", redis("stream: {key: k}"), []string{"spec.queues[0].redis.stream.group: Required value"}},
	{"stream with an empty group", redis(`stream: {key: k, group: ""}`), []string{"spec.queues[0].redis.stream.group", "at least 1 chars"}},
	{"no objective", "spec: {objective: null}", []string{"spec.objective: Required value"}},
	{"empty objective", "spec: {objective: {drain: null}}", []string{"spec.objective", sayObjective}},
	{"two objectives", "spec: {objective: {backlog: {perReplica: 1}}}", []string{"spec.objective", sayObjective}},
	{"drain without seconds", drain("seconds: null"), []string{"spec.objective.drain.seconds: Required value"}},
	{"seconds of drain too low", drain("seconds: 0"), []string{"spec.objective.drain.seconds", "greater than or equal to 1"}},
	{"seconds of drain too high", drain("seconds: 86401"), []string{"spec.objective.drain.seconds", "less than or equal to 86400"}},
	{"targetUtilizationPercent of drain too low", drain("targetUtilizationPercent: 9"), []string{"spec.objective.drain.targetUtilizationPercent", "greater than or equal to 10"}},
	{"targetUtilizationPercent of drain too high", drain("targetUtilizationPercent: 101"), []string{"spec.objective.drain.targetUtilizationPercent", "less than or equal to 100"}},
	{"concurrency of drain too low", drain("concurrency: 0"), []string{"spec.objective.drain.concurrency", "greater than or equal to 1"}},
	{"concurrency of drain too high", drain("concurrency: 100001"), []string{"spec.objective.drain.concurrency", "less than or equal to 100000"}},
	{"prior 0", drain(`messagesPerSecondPerReplica: "0"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior 0.000", drain(`messagesPerSecondPerReplica: "0.000"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior -1", drain(`messagesPerSecondPerReplica: "-1"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior 1e3", drain(`messagesPerSecondPerReplica: "1e3"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior eight", drain(`messagesPerSecondPerReplica: "eight"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior 8/s", drain(`messagesPerSecondPerReplica: "8/s"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior 1000000.1", drain(`messagesPerSecondPerReplica: "1000000.1"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior .5", drain(`messagesPerSecondPerReplica: ".5"`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior 5.", drain(`messagesPerSecondPerReplica: "5."`), []string{"spec.objective.drain.messagesPerSecondPerReplica", sayPrior}},
	{"prior as a number", drain("messagesPerSecondPerReplica: 8"), []string{"spec.objective.drain.messagesPerSecondPerReplica", "string"}},
	{"prior empty", drain(`messagesPerSecondPerReplica: ""`), []string{"spec.objective.drain.messagesPerSecondPerReplica", "at least 1 chars"}},
	{"prior too long", drain(`messagesPerSecondPerReplica: "0.0000000000000000001"`), []string{"spec.objective.drain.messagesPerSecondPerReplica: Too long", "20"}},
	{"perReplica 0", "spec: {objective: {drain: null, backlog: {perReplica: 0}}}", []string{"spec.objective.backlog.perReplica", "greater than or equal to 1"}},
	{"perReplica 1000000001", "spec: {objective: {drain: null, backlog: {perReplica: 1000000001}}}", []string{"spec.objective.backlog.perReplica", "less than or equal to 1000000000"}},
	{"backlog without perReplica", "spec: {objective: {drain: null, backlog: {}}}", []string{"spec.objective.backlog.perReplica: Required value"}},
	{"standby without replicas", standby("gate: File"), []string{"spec.standby.replicas: Required value"}},
	{"standby without a gate", standby("replicas: 1"), []string{"spec.standby.gate: Required value"}},
	{"gate that does not exist", standby("replicas: 1, gate: Door"), []string{"spec.standby.gate: Unsupported value", `"Service", "File", "Prepared"`}},
	{"standby with 0 replicas", standby("replicas: 0, gate: File"), []string{"spec.standby.replicas", "greater than or equal to 1"}},
	{"standby with 51 replicas", standby("replicas: 51, gate: File"), []string{"spec.standby.replicas", "less than or equal to 50"}},
	{"standby with drainSeconds -1", standby("replicas: 1, gate: File, drainSeconds: -1"), []string{"spec.standby.drainSeconds", "greater than or equal to 0"}},
	{"standby with drainSeconds 3601", standby("replicas: 1, gate: File, drainSeconds: 3601"), []string{"spec.standby.drainSeconds", "less than or equal to 3600"}},
	{"priority class with a capital", standby("replicas: 1, gate: File, priorityClassName: High"), []string{"spec.standby.priorityClassName", "standby.priorityClassName must be the name of a PriorityClass: lowercase letters, digits, '-' and '.'"}},
	{"more known-good slots than slots", standby("replicas: 2, gate: File, knownGoodReplicas: 3"), []string{"spec.standby", "standby.knownGoodReplicas must be at most standby.replicas; lower knownGoodReplicas or raise replicas"}},
	{"standby with knownGoodReplicas -1", standby("replicas: 1, gate: File, knownGoodReplicas: -1"), []string{"spec.standby.knownGoodReplicas", "greater than or equal to 0"}},
	{"calibration that does not exist", drain("seconds: 60, calibrate: Maybe"), []string{"spec.objective.drain.calibrate: Unsupported value", `"Auto", "Never"`}},
	{"what is no answer to a regression", rollout("onRegression: Panic"), []string{"spec.rollout.onRegression: Unsupported value", `"Advise", "RollBack"`}},
	{"empty priority class", standby(`replicas: 1, gate: File, priorityClassName: ""`), []string{"spec.standby.priorityClassName", "at least 1 chars"}},
	{"label with a value", standby(`replicas: 1, gate: Service, withholdLabels: ["app=web"]`), []string{"spec.standby.withholdLabels[0]", "standby.withholdLabels must hold keys of labels, such as app or capacity.queuescaler.io/serving"}},
	{"empty withholdLabels", standby("replicas: 1, gate: Service, withholdLabels: []"), []string{"spec.standby.withholdLabels", "at least 1 items"}},
	{"a label twice", standby("replicas: 1, gate: Service, withholdLabels: [app, app]"), []string{"spec.standby.withholdLabels[1]: Duplicate value"}},
	{"17 labels", standby("replicas: 1, gate: Service, withholdLabels: [l0, l1, l2, l3, l4, l5, l6, l7, l8, l9, l10, l11, l12, l13, l14, l15, l16]"), []string{"spec.standby.withholdLabels: Too many", "at most 16"}},
	{"unknown rollout policy", rollout("policy: Wait"), []string{"spec.rollout.policy: Unsupported value", `"Hold", "ScaleUpOnly", "Ignore"`}},
	{"unknown lending", rollout("lending: Sometimes"), []string{"spec.rollout.lending: Unsupported value", `"Allow", "Forbid"`}},
	{"holdTimeoutSeconds too low", rollout("holdTimeoutSeconds: 0"), []string{"spec.rollout.holdTimeoutSeconds", "greater than or equal to 1"}},
	{"holdTimeoutSeconds too high", rollout("holdTimeoutSeconds: 86401"), []string{"spec.rollout.holdTimeoutSeconds", "less than or equal to 86400"}},
	{"releaseAfterMissedSeconds too low", rollout("releaseAfterMissedSeconds: 0"), []string{"spec.rollout.releaseAfterMissedSeconds", "greater than or equal to 1"}},
	{"releaseAfterMissedSeconds too high", rollout("releaseAfterMissedSeconds: 86401"), []string{"spec.rollout.releaseAfterMissedSeconds", "less than or equal to 86400"}},
	{"soakSeconds too low", rollout("soakSeconds: -1"), []string{"spec.rollout.soakSeconds", "greater than or equal to 0"}},
	{"soakSeconds too high", rollout("soakSeconds: 604801"), []string{"spec.rollout.soakSeconds", "less than or equal to 604800"}},
	{"empty rollback plan", rollout(`rollbackPlan: ""`), []string{"spec.rollout.rollbackPlan", "at least 1 chars"}},
	{"rollback plan too long", rollout("rollbackPlan: " + strings.Repeat("x", 1025)), []string{"spec.rollout.rollbackPlan: Too long", "1024"}},
	{"window of -1 s", scaleDown("stabilizationWindowSeconds: -1"), []string{"spec.behavior.scaleDown.stabilizationWindowSeconds", "greater than or equal to 0"}},
	{"window of 3601 s", scaleDown("stabilizationWindowSeconds: 3601"), []string{"spec.behavior.scaleDown.stabilizationWindowSeconds", "less than or equal to 3600"}},
	{"unknown selectPolicy", scaleDown("selectPolicy: Median"), []string{"spec.behavior.scaleDown.selectPolicy: Unsupported value", `"Max", "Min", "Disabled"`}},
	{"empty policies", scaleDown("policies: []"), []string{"spec.behavior.scaleDown.policies", "at least 1 items"}},
	{"9 policies", scaleDown("policies: [{type: Pods, value: 1, periodSeconds: 1}, {type: Pods, value: 2, periodSeconds: 1}, {type: Pods, value: 3, periodSeconds: 1}, {type: Pods, value: 4, periodSeconds: 1}, {type: Pods, value: 5, periodSeconds: 1}, {type: Pods, value: 6, periodSeconds: 1}, {type: Pods, value: 7, periodSeconds: 1}, {type: Pods, value: 8, periodSeconds: 1}, {type: Pods, value: 9, periodSeconds: 1}]"), []string{"spec.behavior.scaleDown.policies: Too many", "at most 8"}},
	{"policy of an unknown type", scaleDown("policies: [{type: Nodes, value: 1, periodSeconds: 1}]"), []string{"spec.behavior.scaleDown.policies[0].type: Unsupported value", `"Pods", "Percent"`}},
	{"policy without type", scaleDown("policies: [{value: 1, periodSeconds: 1}]"), []string{"spec.behavior.scaleDown.policies[0].type: Required value"}},
	{"policy without value", scaleDown("policies: [{type: Pods, periodSeconds: 1}]"), []string{"spec.behavior.scaleDown.policies[0].value: Required value"}},
	{"policy without periodSeconds", scaleDown("policies: [{type: Pods, value: 1}]"), []string{"spec.behavior.scaleDown.policies[0].periodSeconds: Required value"}},
	{"policy with value too low", scaleDown("policies: [{type: Pods, periodSeconds: 1, value: 0}]"), []string{"spec.behavior.scaleDown.policies[0].value", "greater than or equal to 1"}},
	{"policy with value too high", scaleDown("policies: [{type: Pods, periodSeconds: 1, value: 10001}]"), []string{"spec.behavior.scaleDown.policies[0].value", "less than or equal to 10000"}},
	{"policy with periodSeconds too low", scaleDown("policies: [{type: Pods, value: 1, periodSeconds: 0}]"), []string{"spec.behavior.scaleDown.policies[0].periodSeconds", "greater than or equal to 1"}},
	{"policy with periodSeconds too high", scaleDown("policies: [{type: Pods, value: 1, periodSeconds: 1801}]"), []string{"spec.behavior.scaleDown.policies[0].periodSeconds", "less than or equal to 1800"}},
	{"tolerance -0.1", scaleDown(`tolerance: "-0.1"`), []string{"spec.behavior.scaleDown.tolerance", sayTolerance}},
	{"tolerance 1.5", scaleDown(`tolerance: "1.5"`), []string{"spec.behavior.scaleDown.tolerance", sayTolerance}},
	{"tolerance 2", scaleDown("tolerance: 2"), []string{"spec.behavior.scaleDown.tolerance", sayTolerance}},
	{"tolerance -1", scaleDown("tolerance: -1"), []string{"spec.behavior.scaleDown.tolerance", sayTolerance}},
	{"tolerance 1k", scaleDown("tolerance: 1k"), []string{"spec.behavior.scaleDown.tolerance", sayTolerance}},
	{"tolerance in words", scaleDown("tolerance: little"), []string{"spec.behavior.scaleDown.tolerance", "should match"}},
	{"fallback without minReplicas", fallback(""), []string{"spec.fallback.minReplicas: Required value"}},
	{"fallback with afterSeconds too low", fallback("afterSeconds: 14, minReplicas: 1"), []string{"spec.fallback.afterSeconds", "greater than or equal to 15"}},
	{"fallback with afterSeconds too high", fallback("afterSeconds: 86401, minReplicas: 1"), []string{"spec.fallback.afterSeconds", "less than or equal to 86400"}},
	{"fallback with minReplicas too low", fallback("minReplicas: 0"), []string{"spec.fallback.minReplicas", "greater than or equal to 1"}},
	{"fallback with minReplicas too high", fallback("minReplicas: 10001"), []string{"spec.fallback.minReplicas", "less than or equal to 10000"}},
}
