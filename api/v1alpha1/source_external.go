// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ExternalSource is a queue of which an external scaler tells: a server of KEDA's external-scaler protocol.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^grpcs?://[^/]+:[0-9]+/?$')",message="external.url must be grpc:// or grpcs:// (TLS), a host and a port, for example grpc://scaler.chat:9090"
// +kubebuilder:validation:XValidation:rule="!has(self.auth) || has(self.tls) || !has(self.url) || self.url.startsWith('grpcs:')",message="external.auth needs TLS, because a token is sent with each call; begin the url with grpcs://, or add tls: {}"
// +kubebuilder:validation:XValidation:rule="!has(self.metadata) || self.metadata.all(key, key.size() >= 1 && key.size() <= 128)",message="external.metadata must have keys of 1 to 128 characters"
type ExternalSource struct {
	Server `json:",inline"`

	// metadata tells the scaler what to look at, as the metadata of KEDA's trigger does. Secrets do not belong here: everybody who may read the QueueScaler sees them. Example:
	//   metadata: {queue: mail, region: north}
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Metadata map[string]ExternalValue `json:"metadata,omitempty"`
	// metricName is which of the scaler's metrics the backlog is. It is needed where GetMetricSpec names several. Absent means the only one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	MetricName string `json:"metricName,omitempty"`
}

// ExternalValue is what a scaler is told under one key.
//
// +kubebuilder:validation:MaxLength=2048
type ExternalValue string
