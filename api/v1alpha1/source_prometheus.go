// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// PrometheusSource is a queue of which Prometheus, or a server with its HTTP API, tells by instant queries.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^https?://')",message="prometheus.url must begin with http:// or https://, for example http://prometheus.monitoring:9090"
type PrometheusSource struct {
	Server `json:",inline"`

	// depthQuery tells the messages that wait. Like the other queries it is PromQL for one number: a scalar, or a vector of one element. An empty result is no zero: the queue is missing then. Example:
	//   depthQuery: sum(rabbitmq_queue_messages_ready{queue="mail"})
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	DepthQuery string `json:"depthQuery,omitempty"`
	// inFlightQuery tells the messages that were taken and not yet completed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	InFlightQuery string `json:"inFlightQuery,omitempty"`
	// arrivedTotalQuery tells a counter of all messages that arrived: its value, not its rate. Example:
	//   arrivedTotalQuery: sum(mail_sent_total)
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	ArrivedTotalQuery string `json:"arrivedTotalQuery,omitempty"`
	// completedTotalQuery tells a counter of all messages that were completed: its value, not its rate.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CompletedTotalQuery string `json:"completedTotalQuery,omitempty"`
	// oldestAgeSecondsQuery tells how long the oldest waiting message has waited.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	OldestAgeSecondsQuery string `json:"oldestAgeSecondsQuery,omitempty"`
}
