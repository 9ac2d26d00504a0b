// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RabbitMQSource is a classic or quorum queue of RabbitMQ, read through the management API.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^https?://')",message="rabbitMQ.url must be that of the management API and begin with http:// or https://, for example http://rabbitmq.chat:15672"
type RabbitMQSource struct {
	Server `json:",inline"`

	// queue is the name of the queue. It must not be a stream, whose length is what it keeps and not what waits.
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
