// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// HTTPSource is a queue of which an HTTP server tells in JSON.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^https?://[^?#]+$')",message="http.url must begin with http:// or https:// and have no query, for example http://jobs.shop:8080; what comes after it goes into http.path"
type HTTPSource struct {
	Server `json:",inline"`

	// path of the queue below the url, and its query if it has one. Absent means the url itself. Example:
	//   path: /queues/mail?pretty=false
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$') && !self.contains('#') && !self.contains('..') && !self.lowerAscii().contains('%2e')",message="http.path must stay below the url and be escaped: without '..', '#' and blanks, for example /queues/mail"
	Path string `json:"path,omitempty"`
	// depthPath is where the reply has the messages that wait: names and indices with dots between them, as gjson has them, for one number. A path that leads nowhere is no zero: the queue is missing then. Example:
	//   depthPath: queues.#(name=="mail").waiting
	// +required
	DepthPath JSONPath `json:"depthPath,omitempty"`
	// inFlightPath is where it has the messages that were taken and not yet completed.
	// +optional
	InFlightPath JSONPath `json:"inFlightPath,omitempty"`
	// arrivedTotalPath is where it has a counter of all messages that arrived.
	// +optional
	ArrivedTotalPath JSONPath `json:"arrivedTotalPath,omitempty"`
	// completedTotalPath is where it has a counter of all messages that were completed.
	// +optional
	CompletedTotalPath JSONPath `json:"completedTotalPath,omitempty"`
	// oldestAgeSecondsPath is where it has how long the oldest waiting message has waited.
	// +optional
	OldestAgeSecondsPath JSONPath `json:"oldestAgeSecondsPath,omitempty"`
}

// JSONPath leads to one number in a JSON document: names, indices, # and #(name=="value") as gjson has them, without its wildcards, modifiers, literals and nested queries.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^[^][@!*?%~{}]+$') && !self.matches('#[.]|[(][^)]*[(]')",message="must be names and indices with dots between them, such as stats.waiting, queues.0.waiting or queues.#(name==\"mail\").waiting; what of gjson makes much of little is not accepted: none of @ ! * ? % ~ { } [ ], no #. and no query within a query"
type JSONPath string
