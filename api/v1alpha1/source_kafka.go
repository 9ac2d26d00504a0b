// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// KafkaSource is a topic and the consumer group that reads it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^kafka://[^,/]+$')",message="kafka.url must be kafka:// and one bootstrap address, for example kafka://kafka.chat:9092; the other brokers are learnt from it"
// +kubebuilder:validation:XValidation:rule="has(self.auth) == has(self.mechanism)",message="kafka.auth and kafka.mechanism need each other; set mechanism to Plain, ScramSHA256 or ScramSHA512, and name the Secret with username and password in kafka.auth.secretRef"
type KafkaSource struct {
	Server `json:",inline"`

	// topic that the target's pods read.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=249
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9._-]+$')",message="kafka.topic must be the name of one topic: letters, digits, '.', '_' and '-'; a further topic is a further entry of queues"
	Topic string `json:"topic,omitempty"`
	// group is the consumer group (group.id) that the target's pods share.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Group string `json:"group,omitempty"`
	// partitions that the target's pods read. Absent means all, those that are added later included. Example:
	//   partitions: [0, 1, 2]
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:Minimum=0
	// +kubebuilder:validation:items:Maximum=1000000
	Partitions []int32 `json:"partitions,omitempty"`
	// consumersPerReplica is the number of consumers that one replica runs in the group, such as Spring Kafka's concurrency: topics of P partitions
	// never need more than P/consumersPerReplica replicas, rounded up. One consumer that hands messages to many workers is one. Default 1.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	ConsumersPerReplica int32 `json:"consumersPerReplica,omitempty"`
	// mechanism of SASL by which auth is used: Plain (which sends the password itself; use it with tls), ScramSHA256 or ScramSHA512.
	// +optional
	Mechanism KafkaMechanism `json:"mechanism,omitempty"`
}

// KafkaMechanism is a mechanism of SASL.
//
// +kubebuilder:validation:Enum=Plain;ScramSHA256;ScramSHA512
type KafkaMechanism string

const (
	// KafkaPlain sends the password itself; use it with TLS.
	KafkaPlain KafkaMechanism = "Plain"
	// KafkaScramSHA256 proves that the password is known.
	KafkaScramSHA256 KafkaMechanism = "ScramSHA256"
	// KafkaScramSHA512 proves that the password is known.
	KafkaScramSHA512 KafkaMechanism = "ScramSHA512"
)
