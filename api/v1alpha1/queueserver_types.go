// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// QueueServer is a server of queues that QueueScalers of several namespaces read: its address, and credentials that these namespaces
// need not have. A queue names it in the serverRef of its source. Example:
//
//	apiVersion: capacity.queuescaler.io/v1alpha1
//	kind: QueueServer
//	metadata: {name: chat-nats}
//	spec:
//	  source: NATSJetStream
//	  url: nats://nats.messaging:4222
//	  auth: {secretRef: {name: nats-reader}}
//	  allowedNamespaces: [chat, "team-*"]
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.source`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.spec.auth.secretRef.name`
// +kubebuilder:printcolumn:name="Namespaces",type=string,JSONPath=`.spec.allowedNamespaces`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type QueueServer struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is where the server is, as whom to read, and who may.
	// +required
	Spec QueueServerSpec `json:"spec,omitzero"`
}

// QueueServerSpec is where a server is, as whom to read, and who may.
//
// +kubebuilder:validation:XValidation:rule="self.url.matches('^[a-z][a-z0-9+.-]*://[^/]')",message="url must begin with a scheme and a host, as in the url of the queues that it is for, for example nats://nats.chat:4222"
// +kubebuilder:validation:XValidation:rule="!self.url.contains('@')",message="url must not carry credentials; put them into a Secret in the operator's namespace and name it in auth.secretRef"
// +kubebuilder:validation:XValidation:rule="has(self.mechanism) == (self.source == 'Kafka' && has(self.auth))",message="mechanism is for Kafka with auth, and needed there; set it to Plain, ScramSHA256 or ScramSHA512, or remove it"
type QueueServerSpec struct {
	// source is the kind of source that may name it: NATSJetStream, Redis, RabbitMQ, Kafka, PostgreSQL, Prometheus, AWSSQS, HTTP or External. Another one would send the credentials in another way than they are meant for.
	// +required
	Source QueueServerSource `json:"source,omitempty"`
	// url of the server, as the queues that name it would give it themselves, for example nats://nats.chat:4222 or postgres://db.shop:5432/orders. Credentials do not belong here: see auth.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	URL string `json:"url,omitempty"`
	// auth names the Secret with the credentials. It is in the operator's namespace.
	// +optional
	Auth Auth `json:"auth,omitzero"`
	// mechanism of SASL by which auth is used, for Kafka alone: Plain (which sends the password itself; use it with tls), ScramSHA256 or ScramSHA512.
	// +optional
	Mechanism KafkaMechanism `json:"mechanism,omitempty"`
	// tls makes the connection a TLS one and says whom to trust. Its Secret is in the operator's namespace.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
	// allowedNamespaces are those whose QueueScalers may read here: names, in which * stands for any characters. Example:
	//   allowedNamespaces: [chat, "team-*"]
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9*-]+$')",message="allowedNamespaces must hold names of namespaces, in which * stands for any characters, such as chat or team-*"
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`
}

// QueueServerSource is a kind of source.
//
// +kubebuilder:validation:Enum=NATSJetStream;Redis;RabbitMQ;Kafka;PostgreSQL;Prometheus;AWSSQS;HTTP;External
type QueueServerSource string

// Kinds of sources, one for each field of QueueSource.
const (
	SourceNATSJetStream QueueServerSource = "NATSJetStream"
	SourceRedis         QueueServerSource = "Redis"
	SourceRabbitMQ      QueueServerSource = "RabbitMQ"
	SourceKafka         QueueServerSource = "Kafka"
	SourcePostgreSQL    QueueServerSource = "PostgreSQL"
	SourcePrometheus    QueueServerSource = "Prometheus"
	SourceAWSSQS        QueueServerSource = "AWSSQS"
	SourceHTTP          QueueServerSource = "HTTP"
	SourceExternal      QueueServerSource = "External"
)

// Allows reports whether QueueScalers of a namespace may read here.
func (s *QueueServerSpec) Allows(namespace string) bool {
	for _, pattern := range s.AllowedNamespaces {
		if matched, err := path.Match(pattern, namespace); err == nil && matched {
			return true
		}
	}
	return false
}

// QueueServerList is a list of QueueServers.
//
// +kubebuilder:object:root=true
type QueueServerList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list's metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the QueueServers.
	Items []QueueServer `json:"items"`
}
