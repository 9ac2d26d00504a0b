// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AWSSQSSource is a queue of Amazon SQS, or of a server that speaks its protocol.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^https?://')",message="awsSQS.url must be the endpoint of the region and begin with http:// or https://, for example https://sqs.eu-west-1.amazonaws.com; the queue's name goes into awsSQS.queue"
type AWSSQSSource struct {
	Server `json:",inline"`

	// queue is the name of the queue, not its url. That of a FIFO queue ends with .fifo.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_-]+([.]fifo)?$')",message="awsSQS.queue must be the name of a queue and not its url: letters, digits, '-' and '_', with .fifo at the end of a FIFO queue's"
	Queue string `json:"queue,omitempty"`
	// region that requests are signed for, such as eu-west-1.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9-]+$')",message="awsSQS.region must be a region's code, for example eu-west-1"
	Region string `json:"region,omitempty"`
	// accountID is the account that owns the queue, 12 digits. Absent means that of the credentials.
	// +optional
	// +kubebuilder:validation:MinLength=12
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+$')",message="awsSQS.accountID must be 12 digits, in quotes"
	AccountID string `json:"accountID,omitempty"`
}
