// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// KafkaSource is a topic and the consumer group that reads it.
//
// +kubebuilder:validation:XValidation:rule="self.url.matches('^kafka://[^,/]+$')",message="kafka.url must be kafka:// and one bootstrap address, for example kafka://kafka.chat:9092; the other brokers are learnt from it"
// +kubebuilder:validation:XValidation:rule="!self.url.contains('@')",message="kafka.url must not carry credentials; put them into a Secret and name it in kafka.auth.secretRef"
// +kubebuilder:validation:XValidation:rule="has(self.auth) == has(self.mechanism)",message="kafka.auth and kafka.mechanism need each other; set mechanism to Plain, ScramSHA256 or ScramSHA512, and name the Secret with username and password in kafka.auth.secretRef"
type KafkaSource struct {
	// url of one bootstrap address, for example kafka://kafka.chat:9092. The other brokers are learnt from it. Credentials do not belong here: see auth.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	URL string `json:"url,omitempty"`
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
	// mechanism of SASL by which auth is used: Plain (which sends the password itself; use it with tls), ScramSHA256 or ScramSHA512.
	// +optional
	Mechanism KafkaMechanism `json:"mechanism,omitempty"`
	// auth names the Secret with the credentials: username and password.
	// +optional
	Auth Auth `json:"auth,omitzero"`
	// tls makes the connections to all brokers TLS ones and says whom to trust. Each broker's certificate has to be valid for the name by which
	// the cluster tells of it, or for serverName where that is set.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
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
