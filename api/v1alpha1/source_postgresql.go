// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// PostgreSQLSource is a queue in a table of PostgreSQL, read by a query.
//
// +kubebuilder:validation:XValidation:rule="!has(self.url) || self.url.matches('^postgres(ql)?://[^/?#]+/[^/?#]+$')",message="postgreSQL.url must begin with postgres:// or postgresql:// and end with the database, for example postgres://db.shop:5432/orders"
type PostgreSQLSource struct {
	Server `json:",inline"`

	// query is one SELECT that returns one row. Its columns go by their names: depth, the messages that wait, is required; in_flight, arrived_total, completed_total and oldest_age_seconds are optional.
	// It runs at each poll in a read-only transaction, and is cancelled after 2 s. Example:
	//   query: >-
	//     SELECT count(*) FILTER (WHERE state = 'waiting') AS depth,
	//     count(*) FILTER (WHERE state = 'running') AS in_flight
	//     FROM jobs WHERE state IN ('waiting', 'running')
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('(?i)^\\\\s*(select|with)\\\\b')",message="postgreSQL.query must be one SELECT, so it has to begin with SELECT or WITH, for example SELECT count(*) AS depth FROM jobs WHERE state = 'waiting'"
	Query string `json:"query,omitempty"`
}
