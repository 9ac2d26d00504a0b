// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RabbitMQSource is a classic or quorum queue of RabbitMQ, read through the management API, or its length alone over AMQP.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^(https?|amqps?)://')",message="rabbitMQ.url must be that of the management API and begin with http:// or https://, for example http://rabbitmq.chat:15672; where there is none, begin it with amqp:// or amqps://"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^https?:|^[^/]*//[^/]*/?$')",message="rabbitMQ.url must not have a path if it begins with amqp:// or amqps://; put the virtual host into rabbitMQ.vhost"
type RabbitMQSource struct {
	Server `json:",inline"`

	// queue is the name of the queue. It must not be a stream, whose length is what it keeps and not what waits; over AMQP a stream looks like an empty queue.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Queue string `json:"queue,omitempty"`
	// vhost is the virtual host that the queue is in. Absent means /.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	VHost string `json:"vhost,omitempty"`
}
