// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// RabbitMQSource is a classic or quorum queue of RabbitMQ, read through the management API.
//
// +kubebuilder:validation:XValidation:rule="self.url.matches('^https?://')",message="rabbitMQ.url must be that of the management API and begin with http:// or https://, for example http://rabbitmq.chat:15672"
// +kubebuilder:validation:XValidation:rule="!self.url.contains('@')",message="rabbitMQ.url must not carry credentials; put them into a Secret and name it in rabbitMQ.auth.secretRef"
type RabbitMQSource struct {
	// url of the management API, for example http://rabbitmq.chat:15672; https:// for TLS, port 15671 where none is given. Credentials do not belong here: see auth.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	URL string `json:"url,omitempty"`
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
	// auth names the Secret with the credentials: username and password.
	// +optional
	Auth Auth `json:"auth,omitzero"`
	// tls makes the connection a TLS one and says whom to trust.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
}
