// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// QueueScaler scales one Deployment from the backlog of the queues that its pods consume.
// It lends pre-warmed standby pods within about a second of a backlog, and leaves the Deployment alone while a rollout is in progress.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=qs,categories=autoscaling
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Backlog",type=integer,JSONPath=`.status.backlog.messages`
// +kubebuilder:printcolumn:name="Drain",type=string,JSONPath=`.status.backlog.drain`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desiredReplicas`
// +kubebuilder:printcolumn:name="Available",type=integer,JSONPath=`.status.availableReplicas`
// +kubebuilder:printcolumn:name="Lent",type=integer,JSONPath=`.status.standby.lent`
// +kubebuilder:printcolumn:name="Warm",type=integer,JSONPath=`.status.standby.warm`
// +kubebuilder:printcolumn:name="Advice",type=string,JSONPath=`.status.diagnosis.advice`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.scaleTargetRef.name`,priority=1
// +kubebuilder:printcolumn:name="Min",type=integer,JSONPath=`.spec.minReplicas`,priority=1
// +kubebuilder:printcolumn:name="Max",type=integer,JSONPath=`.spec.maxReplicas`,priority=1
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.status.rollout.state`,priority=1
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.decision.message`,priority=1
// +kubebuilder:printcolumn:name="Diagnosis",type=string,JSONPath=`.status.diagnosis.message`,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must have at most 63 characters, because it becomes a label value; choose a shorter name"
type QueueScaler struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the QueueScaler is to do.
	// +required
	Spec QueueScalerSpec `json:"spec,omitzero"`
	// status is what it observed, decided and did last.
	// +optional
	Status QueueScalerStatus `json:"status,omitzero"`
}

// QueueScalerList is a list of QueueScalers.
//
// +kubebuilder:object:root=true
type QueueScalerList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the QueueScalers.
	Items []QueueScaler `json:"items"`
}

// QueueScalerSpec is what a QueueScaler is to do.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",message="minReplicas must be at most maxReplicas; lower minReplicas or raise maxReplicas"
// +kubebuilder:validation:XValidation:rule="!has(self.fallback) || self.fallback.minReplicas <= self.maxReplicas",message="fallback.minReplicas must be at most maxReplicas; lower fallback.minReplicas or raise maxReplicas"
// +kubebuilder:validation:XValidation:rule="!has(self.suspendUntil) || self.mode == 'Suspended'",message="suspendUntil needs mode: Suspended; set mode or remove suspendUntil"
// +kubebuilder:validation:XValidation:rule="!has(self.objective.backlog) || self.queues.all(q, !has(q.drainSeconds))",message="queues[].drainSeconds needs objective.drain; remove drainSeconds or use objective.drain"
type QueueScalerSpec struct {
	// scaleTargetRef names the Deployment to scale, in the same namespace. It cannot be changed: create another QueueScaler instead.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="scaleTargetRef cannot be changed; delete this QueueScaler and create another for the new target"
	ScaleTargetRef ScaleTargetReference `json:"scaleTargetRef,omitzero"`

	// minReplicas is the least number of replicas. 0 lets the target be scaled to zero after nothing waited or was in flight for a whole scale-down window. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// maxReplicas is the largest number of replicas, standby pods in service included.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxReplicas int32 `json:"maxReplicas,omitempty"`

	// queues are what the pods of the target consume, all of them by each pod. 1 to 16.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Queues []Queue `json:"queues,omitempty"`

	// driver counts user work, such as orders placed, however many messages each unit of it makes. With it, a revision that makes more messages per unit is told from more users. Nothing scales by it. Example, for messages that are made of orders:
	//   driver:
	//     name: orders
	//     redis:
	//       url: redis://redis.shop:6379/0
	//       stream: {key: orders, group: billing}
	// +optional
	Driver Driver `json:"driver,omitzero"`

	// objective is what the number of replicas has to achieve: exactly one of drain and backlog. Example:
	//   objective:
	//     drain: {seconds: 60}
	// +required
	Objective Objective `json:"objective,omitzero"`

	// standby asks for a pool of warm pods outside the traffic, which are lent when a backlog appears. Absent means no pool. Example:
	//   standby: {replicas: 3, gate: Service}
	// +optional
	Standby Standby `json:"standby,omitzero"`

	// rollout says what may happen while a rollout of the target is in progress.
	// +optional
	// +default={}
	Rollout *Rollout `json:"rollout,omitempty"`

	// behavior limits how fast the number of replicas changes, with the field names and meaning of a HorizontalPodAutoscaler's behavior.
	// Without it a scale-up takes one step, and a scale-down waits for a window of 300 s. Example:
	//   behavior:
	//     scaleDown:
	//       stabilizationWindowSeconds: 600
	//       policies: [{type: Percent, value: 10, periodSeconds: 60}]
	// +optional
	Behavior *Behavior `json:"behavior,omitempty"`

	// fallback is a floor under the number of replicas while no queue can be read. Example:
	//   fallback: {afterSeconds: 120, minReplicas: 12}
	// +optional
	Fallback Fallback `json:"fallback,omitzero"`

	// mode is Active (decide and act), DryRun (decide and report, write nothing but status) or Suspended (leave everything as it is). Default Active.
	// +optional
	// +default="Active"
	Mode Mode `json:"mode,omitempty"`

	// suspendUntil ends mode Suspended at this time. Absent means until mode is changed.
	// +optional
	SuspendUntil *metav1.Time `json:"suspendUntil,omitempty"`
}

// ScaleTargetReference names the Deployment that is scaled.
type ScaleTargetReference struct {
	// apiVersion of the target: apps/v1, which is the default.
	// +optional
	// +default="apps/v1"
	// +kubebuilder:validation:Enum=apps/v1
	APIVersion string `json:"apiVersion,omitempty"`
	// kind of the target: Deployment, which is the default.
	// +optional
	// +default="Deployment"
	// +kubebuilder:validation:Enum=Deployment
	Kind string `json:"kind,omitempty"`
	// name of the Deployment, in the namespace of the QueueScaler.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="scaleTargetRef.name must be the name of a Deployment in this namespace: lowercase letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`
}

// Mode is what a QueueScaler may do.
//
// +kubebuilder:validation:Enum=Active;DryRun;Suspended
type Mode string

const (
	// ModeActive decides and acts.
	ModeActive Mode = "Active"
	// ModeDryRun decides and reports, and writes nothing but status.
	ModeDryRun Mode = "DryRun"
	// ModeSuspended leaves target and slots as they are.
	ModeSuspended Mode = "Suspended"
)

// Queue is one queue and where it is read.
type Queue struct {
	// name of the queue in messages, conditions and metrics, unique in this QueueScaler.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="queues[].name must consist of lowercase letters, digits and '-', at most 63; it names the queue here and need not be the server's name for it"
	Name string `json:"name,omitempty"`

	// weight is the work per message relative to the other queues. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Weight int32 `json:"weight,omitempty"`

	// drainSeconds is the drain objective of this queue alone. Absent means objective.drain.seconds.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	DrainSeconds int32 `json:"drainSeconds,omitempty"`

	// pollSeconds is the time between two readings. Absent means the operator's default, 1 s; of prometheus and awsSQS 15 s.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	PollSeconds int32 `json:"pollSeconds,omitempty"`

	QueueSource `json:",inline"`
}

// Driver is a counter of user work, and where it is read: what arrives there is counted.
//
// +kubebuilder:validation:XValidation:rule="!has(self.redis) || !has(self.redis.list) || has(self.redis.list.arrivedTotalKey)",message="driver.redis.list needs arrivedTotalKey, because the length of a list does not tell how much arrived; INCR a counter for each unit of user work and name its key, or use driver.redis.stream"
// +kubebuilder:validation:XValidation:rule="!has(self.redis) || !has(self.redis.sortedSet) || has(self.redis.sortedSet.arrivedTotalKey)",message="driver.redis.sortedSet needs arrivedTotalKey, because the size of a sorted set does not tell how much arrived; INCR a counter for each unit of user work and name its key, or use driver.redis.stream"
// +kubebuilder:validation:XValidation:rule="!has(self.rabbitMQ) || !has(self.rabbitMQ.url) || !self.rabbitMQ.url.startsWith('amqp')",message="driver.rabbitMQ.url must be that of the management API, because over AMQP nothing tells how much arrived; begin it with http:// or https://"
// +kubebuilder:validation:XValidation:rule="!has(self.postgreSQL) || self.postgreSQL.query.lowerAscii().contains('arrived_total')",message="driver.postgreSQL.query needs a column arrived_total, because the depth of a queue does not tell how much arrived; select a count of all that ever arrived under that name"
// +kubebuilder:validation:XValidation:rule="!has(self.prometheus) || has(self.prometheus.arrivedTotalQuery)",message="driver.prometheus needs arrivedTotalQuery, because the depth of a queue does not tell how much arrived; give a query for a counter of all that ever arrived"
// +kubebuilder:validation:XValidation:rule="!has(self.external)",message="driver.external does not exist, because an external scaler does not tell how much arrived; count the units of user work in another source, for example driver.prometheus with arrivedTotalQuery"
// +kubebuilder:validation:XValidation:rule="!has(self.awsSQS)",message="driver.awsSQS is not possible, because SQS does not tell how much arrived; use another source that counts the user work"
// +kubebuilder:validation:XValidation:rule="!has(self.http) || has(self.http.arrivedTotalPath)",message="driver.http needs arrivedTotalPath, because the depth of a queue does not tell how much arrived; name where the reply has a counter of all that ever arrived"
type Driver struct {
	// name of the unit of user work in messages, such as orders: "2.6 messages per unit of orders".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Label().validate(self).hasValue()",message="driver.name must consist of lowercase letters, digits and '-', at most 63; it names the unit of user work in messages, such as orders"
	Name string `json:"name,omitempty"`

	// pollSeconds is the time between two readings. Absent means the operator's default, 1 s; of prometheus and awsSQS 15 s. Best at most 15: blocks of a minute are compared.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	PollSeconds int32 `json:"pollSeconds,omitempty"`

	QueueSource `json:",inline"`
}

// QueueSource is where something is read: exactly one kind of server.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="[has(self.natsJetStream), has(self.redis), has(self.rabbitMQ), has(self.kafka), has(self.postgreSQL), has(self.prometheus), has(self.external), has(self.awsSQS), has(self.http)].filter(s, s).size() == 1",message="exactly one of natsJetStream, redis, rabbitMQ, kafka, postgreSQL, prometheus, external, awsSQS and http must be set; a further queue is a further entry of queues"
type QueueSource struct {
	// natsJetStream reads one durable consumer of a NATS JetStream stream. Example:
	//   natsJetStream:
	//     url: nats://nats.chat:4222
	//     stream: STATUS
	//     consumer: workers
	//     auth: {secretRef: {name: nats-reader}}
	// +optional
	NATSJetStream NATSJetStreamSource `json:"natsJetStream,omitzero"`

	// redis reads lists, sorted sets, or a stream with its consumer group. Its url ends with the database; rediss:// is TLS. With topology Cluster it
	// is that of any node, best of a Service for all of them, with Sentinel that of the Sentinels. Example:
	//   redis:
	//     url: redis://redis.chat:6379/0
	//     list: {keys: [jobs]}
	// +optional
	Redis RedisSource `json:"redis,omitzero"`

	// rabbitMQ reads a classic or quorum queue of RabbitMQ through its management API, whose url this is; https:// is TLS, at port 15671 where none is given.
	// Without that API a url of amqp:// or amqps:// reads how much waits, but neither what is in flight nor rates. Example:
	//   rabbitMQ:
	//     url: http://rabbitmq.chat:15672
	//     queue: mail
	//     auth: {secretRef: {name: rabbitmq-reader}}
	// +optional
	RabbitMQ RabbitMQSource `json:"rabbitMQ,omitzero"`

	// kafka reads a topic through its consumer group. Its url is one bootstrap address: the other brokers are learnt from it. With tls, each broker's certificate has to be valid for the name by which the cluster tells of it, or for tls.serverName where that is set. Example:
	//   kafka:
	//     url: kafka://kafka.chat:9092
	//     topic: orders
	//     group: billing
	// +optional
	Kafka KafkaSource `json:"kafka,omitzero"`

	// postgreSQL reads a queue that is a table, by a query. Its url ends with the database. Example:
	//   postgreSQL:
	//     url: postgres://db.shop:5432/orders
	//     query: SELECT count(*) AS depth FROM jobs WHERE state = 'waiting'
	//     auth: {secretRef: {name: jobs-reader}}
	// +optional
	PostgreSQL PostgreSQLSource `json:"postgreSQL,omitzero"`

	// prometheus reads a queue of which Prometheus tells, by a query for each number. Its url is what comes before /api/v1. Example:
	//   prometheus:
	//     url: http://prometheus.monitoring:9090
	//     depthQuery: sum(mail_queue_messages)
	// +optional
	Prometheus PrometheusSource `json:"prometheus,omitzero"`

	// external asks an external scaler, by the gRPC protocol of KEDA. Its url has a port; grpcs:// is TLS. Example:
	//   external:
	//     url: grpc://scaler.chat:9090
	//     metadata: {queue: mail}
	// +optional
	External ExternalSource `json:"external,omitzero"`

	// awsSQS reads a queue of Amazon SQS. Its url is the endpoint of the region, or of a server with the same protocol. The Secret has the access key ID as username, the secret access key as
	// password and, with temporary credentials, the session token as token. Example:
	//   awsSQS:
	//     url: https://sqs.eu-west-1.amazonaws.com
	//     region: eu-west-1
	//     queue: mail
	//     auth: {secretRef: {name: sqs-reader}}
	// +optional
	AwsSQS AWSSQSSource `json:"awsSQS,omitzero"`

	// http reads a queue of which an HTTP server tells in JSON, by a path for each number. Its url is what the paths of several queues have in common. Example:
	//   http:
	//     url: http://jobs.shop:8080
	//     path: /queues/mail
	//     depthPath: stats.waiting
	// +optional
	HTTP HTTPSource `json:"http,omitzero"`
}

// NATSJetStreamSource is a durable consumer of a JetStream stream.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^(nats|tls)://')",message="natsJetStream.url must begin with nats:// or tls://, for example nats://nats.chat:4222"
type NATSJetStreamSource struct {
	Server `json:",inline"`

	// stream is the name of the stream.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^ \\t\\r\\n.*>/\\\\\\\\]+$')",message="natsJetStream.stream must be a stream's name: no spaces, '.', '*', '>', '/' or backslash"
	Stream string `json:"stream,omitempty"`
	// consumer is the name of the durable consumer that the target's pods share.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^ \\t\\r\\n.*>/\\\\\\\\]+$')",message="natsJetStream.consumer must be a durable consumer's name: no spaces, '.', '*', '>', '/' or backslash"
	Consumer string `json:"consumer,omitempty"`
	// domain is the JetStream domain that the stream is in, where it is another than the server's own: that of a leaf node behind it, for example. Absent means the server's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^ \\t\\r\\n.*>/\\\\\\\\]+$')",message="natsJetStream.domain must be the name of a JetStream domain: no spaces, '.', '*', '>', '/' or backslash"
	Domain string `json:"domain,omitempty"`
}

// RedisSource is a queue in Redis, in exactly one of three forms.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="[has(self.list), has(self.sortedSet), has(self.stream)].filter(s, s).size() == 1",message="exactly one of redis.list, redis.sortedSet and redis.stream must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^rediss?://')",message="redis.url must begin with redis:// or rediss:// (TLS), for example redis://redis.chat:6379/0"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || !has(self.topology) || self.topology != 'Cluster' || self.url.matches('^rediss?://[^/]*/?0?$')",message="redis.url must not name another database than 0 with topology Cluster, because Redis Cluster has no other; end it with /0, or after the port"
// +kubebuilder:validation:XValidation:rule="(has(self.topology) && self.topology == 'Sentinel') == has(self.masterName)",message="redis.masterName and topology Sentinel need each other; set masterName to the name that the Sentinels know the master by, and topology to Sentinel"
type RedisSource struct {
	Server `json:",inline"`

	// topology is what url leads to: Standalone, one server; Cluster, any node of a Redis Cluster; Sentinel, a Sentinel, which tells of the master. Default Standalone.
	// +optional
	// +default="Standalone"
	Topology RedisTopology `json:"topology,omitempty"`
	// masterName is the name that the Sentinels know the master by, such as mymaster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]+$')",message="redis.masterName must be a name that Sentinel has: letters, digits, '.', '_' and '-'"
	MasterName string `json:"masterName,omitempty"`
	// list reads the length of one or more lists (Celery, Sidekiq, BullMQ, RPUSH/BLPOP). Example, for a BullMQ queue named mail:
	//   list:
	//     keys: ["bull:mail:wait"]
	//     inFlightKeys: ["bull:mail:active"]
	// +optional
	List RedisKeys `json:"list,omitzero"`
	// sortedSet reads the size of one or more sorted sets. Example:
	//   sortedSet: {keys: [jobs]}
	// +optional
	SortedSet RedisKeys `json:"sortedSet,omitzero"`
	// stream reads a stream through its consumer group. Example:
	//   stream: {key: orders, group: workers}
	// +optional
	Stream RedisStream `json:"stream,omitzero"`
}

// RedisTopology is how servers make up one Redis.
//
// +kubebuilder:validation:Enum=Standalone;Cluster;Sentinel
type RedisTopology string

const (
	// RedisStandalone is one server, or one address behind which another takes over.
	RedisStandalone RedisTopology = "Standalone"
	// RedisCluster is a Redis Cluster: each node has some of the keys.
	RedisCluster RedisTopology = "Cluster"
	// RedisSentinel is a master and replicas that Sentinels watch over.
	RedisSentinel RedisTopology = "Sentinel"
)

// RedisKeys are lists or sorted sets that make up one queue, and optional counters.
type RedisKeys struct {
	// keys hold the waiting messages; their lengths add up. A key that does not exist is an empty queue, as Redis has it.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Keys []string `json:"keys,omitempty"`
	// inFlightKeys hold the messages that consumers work on (BullMQ's active list, a reliable queue's processing list). Lists, sorted sets, sets and hashes are counted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	InFlightKeys []string `json:"inFlightKeys,omitempty"`
	// arrivedTotalKey is a counter that producers INCR for each message they push.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	ArrivedTotalKey string `json:"arrivedTotalKey,omitempty"`
	// completedTotalKey is a counter that consumers INCR for each message they completed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	CompletedTotalKey string `json:"completedTotalKey,omitempty"`
}

// RedisStream is a stream and the consumer group that the target's pods share.
type RedisStream struct {
	// key of the stream.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Key string `json:"key,omitempty"`
	// group is the consumer group.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Group string `json:"group,omitempty"`
}

// Objective is what the number of replicas has to achieve.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="[has(self.drain), has(self.backlog)].filter(s, s).size() == 1",message="exactly one of objective.drain and objective.backlog must be set"
type Objective struct {
	// drain asks for enough replicas to work off any backlog within a time.
	// +optional
	Drain DrainObjective `json:"drain,omitzero"`
	// backlog is the plain form: ceil(backlog / perReplica) replicas.
	// +optional
	Backlog BacklogObjective `json:"backlog,omitzero"`
}

// DrainObjective is a time within which any backlog can be worked off.
type DrainObjective struct {
	// seconds within which any backlog can be worked off.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	Seconds int32 `json:"seconds,omitempty"`
	// messagesPerSecondPerReplica is what one replica completes while it always has work, as a decimal such as "8" or "0.25".
	// A prior: the rate is measured as soon as it can be.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+([.][0-9]+)?$') && double(self) > 0.0 && double(self) <= 1000000.0",message="objective.drain.messagesPerSecondPerReplica must be a decimal above 0 and at most 1000000, such as \"8\" or \"0.25\""
	MessagesPerSecondPerReplica string `json:"messagesPerSecondPerReplica,omitempty"`
	// targetUtilizationPercent is the part of the service rate that is used in steady state. Default 80.
	// +optional
	// +default=80
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=100
	TargetUtilizationPercent int32 `json:"targetUtilizationPercent,omitempty"`
	// concurrency is the number of messages that one replica works on at once. A backlog of B messages never needs more than B/concurrency replicas. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Concurrency int32 `json:"concurrency,omitempty"`
	// calibrate is Auto (while no service rate was ever measured, and it has long been quiet, try with slightly fewer replicas until short, bounded backlogs have measured it) or Never.
	// Auto does so only with a warm slot at hand, above minReplicas, outside rollouts, and by at most 50 percent. Default Auto.
	// +optional
	// +default="Auto"
	Calibrate Calibrate `json:"calibrate,omitempty"`
}

// Calibrate says whether a service rate that was never measured may be found out.
//
// +kubebuilder:validation:Enum=Auto;Never
type Calibrate string

const (
	// CalibrateAuto finds the service rate out by trying with slightly fewer replicas while it is quiet.
	CalibrateAuto Calibrate = "Auto"
	// CalibrateNever measures it only when there happens to be a backlog. ("Off" would be a boolean in YAML.)
	CalibrateNever Calibrate = "Never"
)

// BacklogObjective is a number of messages for each replica.
type BacklogObjective struct {
	// perReplica is the number of messages, waiting or in flight, for each replica.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	PerReplica int64 `json:"perReplica,omitempty"`
}

// Standby is a pool of warm pods outside the traffic.
//
// +kubebuilder:validation:XValidation:rule="!has(self.knownGoodReplicas) || self.knownGoodReplicas <= self.replicas",message="standby.knownGoodReplicas must be at most standby.replicas; lower knownGoodReplicas or raise replicas"
type Standby struct {
	// replicas is the number of warm slots to keep.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	Replicas int32 `json:"replicas,omitempty"`
	// gate is what keeps a standby pod from doing work until it is lent: Service for pods that get work through Services, File for consumers that pull and obey the file /etc/queuescaler/role, Prepared for consumers that pull and cannot be changed: everything is done but starting their process.
	// +required
	Gate Gate `json:"gate,omitempty"`
	// drainSeconds is how long a returned pod of gate File may take to finish its work after it reads "draining", before it is ended. It is ended earlier when it turns unready. Default 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`
	// knownGoodReplicas is how many of the slots stay on the known-good revision after a newer one has soaked, until that has proved itself under load. They are lent last, and are there when a regression is found. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=50
	KnownGoodReplicas *int32 `json:"knownGoodReplicas,omitempty"`
	// priorityClassName is the priority class of the slots' pods. Absent means the target's own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="standby.priorityClassName must be the name of a PriorityClass: lowercase letters, digits, '-' and '.'"
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// withholdLabels are the labels of the target's template that an idle slot does not carry. Absent means that they are found out from the Services and PodDisruptionBudgets that select the target's pods.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="standby.withholdLabels must hold keys of labels, such as app or capacity.queuescaler.io/serving"
	WithholdLabels []string `json:"withholdLabels,omitempty"`
}

// Gate keeps a standby pod from doing work until it is lent.
//
// +kubebuilder:validation:Enum=Service;File;Prepared
type Gate string

const (
	// GateService withholds the labels by which Services select the target's pods.
	GateService Gate = "Service"
	// GateFile gives the pod the file /etc/queuescaler/role, which holds standby, active or draining.
	GateFile Gate = "File"
	// GatePrepared gives the pod init containers that pull every image and wait. The pod's own containers start when it is lent.
	GatePrepared Gate = "Prepared"
)

// Rollout says what may happen while a rollout of the target is in progress.
//
// +kubebuilder:validation:MinProperties=0
type Rollout struct {
	// policy is Hold (leave the target's replicas alone), ScaleUpOnly (let scale-up through), or Ignore (scale as if there were no rollout). Default Hold.
	// +optional
	// +default="Hold"
	Policy RolloutPolicy `json:"policy,omitempty"`
	// lending says whether slots are lent during a rollout: Allow or Forbid. Default Allow.
	// +optional
	// +default="Allow"
	Lending LendingPolicy `json:"lending,omitempty"`
	// holdTimeoutSeconds is how long a hold lasts at most, from the last time the target was stable. Scale-up is then allowed again, with a Warning event. It never releases a stuck rollout. Default 600.
	// +optional
	// +default=600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	HoldTimeoutSeconds int32 `json:"holdTimeoutSeconds,omitempty"`
	// releaseAfterMissedSeconds ends a hold for scale-up when the objective has been missed for that long, no warm slot is left and the rollout makes progress. Absent means never. For targets without a pool.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	ReleaseAfterMissedSeconds int32 `json:"releaseAfterMissedSeconds,omitempty"`
	// soakSeconds is how long a revision stays after its rollout before the pool may run it. Default 600.
	// +optional
	// +default=600
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	SoakSeconds *int32 `json:"soakSeconds,omitempty"`
	// onRegression is what is done when the present revision is found to do less per replica than the known-good one: Advise (say so, with the command), or RollBack (patch the target's template back, once for each revision; the operator needs the right that config/rollback gives).
	// Where Argo CD, Flux or Helm own the target, nothing is rolled back: the advice is to revert in Git. Default Advise.
	// +optional
	// +default="Advise"
	OnRegression OnRegression `json:"onRegression,omitempty"`
	// rollbackPlan is a URL or a sentence that is quoted wherever a rollback is advised.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	RollbackPlan string `json:"rollbackPlan,omitempty"`
}

// OnRegression says what is done about a revision that does less per replica.
//
// +kubebuilder:validation:Enum=Advise;RollBack
type OnRegression string

const (
	// OnRegressionAdvise says so, with the evidence and the command.
	OnRegressionAdvise OnRegression = "Advise"
	// OnRegressionRollBack patches the target's template back.
	OnRegressionRollBack OnRegression = "RollBack"
)

// RolloutPolicy says what is done to the target's replicas while a rollout is in progress.
//
// +kubebuilder:validation:Enum=Hold;ScaleUpOnly;Ignore
type RolloutPolicy string

const (
	// RolloutHold leaves the target's replicas alone.
	RolloutHold RolloutPolicy = "Hold"
	// RolloutScaleUpOnly lets scale-up through and holds scale-down.
	RolloutScaleUpOnly RolloutPolicy = "ScaleUpOnly"
	// RolloutIgnore lets scale-up through whatever the rollout does. Scale-down is held all the same.
	RolloutIgnore RolloutPolicy = "Ignore"
)

// LendingPolicy says whether slots are lent during a rollout.
//
// +kubebuilder:validation:Enum=Allow;Forbid
type LendingPolicy string

const (
	// LendingAllow lends slots of a soaked revision during a rollout.
	LendingAllow LendingPolicy = "Allow"
	// LendingForbid lends no slot of another revision from the start of a rollout until the pool runs the current one.
	LendingForbid LendingPolicy = "Forbid"
)

// Behavior limits how fast the number of replicas changes.
//
// +kubebuilder:validation:MinProperties=0
type Behavior struct {
	// scaleUp limits increases. Absent means the full number in one step, without a window.
	// +optional
	ScaleUp *ScalingRules `json:"scaleUp,omitempty"`
	// scaleDown limits decreases. Absent means a stabilization window of 300 s and no rate limit.
	// +optional
	ScaleDown *ScalingRules `json:"scaleDown,omitempty"`
}

// ScalingRules limits changes in one direction.
//
// +kubebuilder:validation:MinProperties=0
type ScalingRules struct {
	// stabilizationWindowSeconds is the window over which the safest recommendation counts: the highest for scale-down, the lowest for scale-up.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	StabilizationWindowSeconds *int32 `json:"stabilizationWindowSeconds,omitempty"`
	// selectPolicy is Max (the policy that allows the largest change; the default), Min, or Disabled (no change in this direction).
	// +optional
	SelectPolicy ScalingPolicySelect `json:"selectPolicy,omitempty"`
	// policies each allow a change within a period.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Policies []ScalingPolicy `json:"policies,omitempty"`
	// tolerance is the deviation from the present number that causes no change, as a fraction such as "0.05". Absent means 0.1.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 && self <= 1 : quantity(self).compareTo(quantity('0')) >= 0 && quantity(self).compareTo(quantity('1')) <= 0",message="tolerance must be between 0 and 1, such as \"0.05\""
	Tolerance *resource.Quantity `json:"tolerance,omitempty"`
}

// ScalingPolicySelect chooses among policies.
//
// +kubebuilder:validation:Enum=Max;Min;Disabled
type ScalingPolicySelect string

const (
	// SelectMax chooses the policy that allows the largest change.
	SelectMax ScalingPolicySelect = "Max"
	// SelectMin chooses the policy that allows the smallest change.
	SelectMin ScalingPolicySelect = "Min"
	// SelectDisabled forbids changes in this direction.
	SelectDisabled ScalingPolicySelect = "Disabled"
)

// ScalingPolicy allows a change within a period.
type ScalingPolicy struct {
	// type is Pods or Percent.
	// +required
	Type ScalingPolicyType `json:"type,omitempty"`
	// value is the change that is allowed: a number of pods, or a percentage of the replicas at the start of the period.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Value int32 `json:"value,omitempty"`
	// periodSeconds is the window in which the change is allowed once.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1800
	PeriodSeconds int32 `json:"periodSeconds,omitempty"`
}

// ScalingPolicyType is the unit of a policy's value.
//
// +kubebuilder:validation:Enum=Pods;Percent
type ScalingPolicyType string

const (
	// PodsScalingPolicy counts pods.
	PodsScalingPolicy ScalingPolicyType = "Pods"
	// PercentScalingPolicy is a percentage of the present replicas.
	PercentScalingPolicy ScalingPolicyType = "Percent"
)

// Fallback is a floor under the number of replicas while no queue can be read.
type Fallback struct {
	// afterSeconds is how long no queue has had a fresh reading before the floor applies. Default 120.
	// +optional
	// +default=120
	// +kubebuilder:validation:Minimum=15
	// +kubebuilder:validation:Maximum=86400
	AfterSeconds int32 `json:"afterSeconds,omitempty"`
	// minReplicas is the floor.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MinReplicas int32 `json:"minReplicas,omitempty"`
}
