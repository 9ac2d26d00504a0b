// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package postgresq

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// answer is what a query was answered with.
type answer struct {
	// rows are JSON objects, at most three are kept.
	rows []string
	// code is the SQLSTATE of its failure, or empty.
	code string
}

func (a *answer) add(values [][]byte) {
	switch {
	case len(a.rows) > 2:
	case len(values) == 1:
		a.rows = append(a.rows, string(values[0]))
	default:
		a.rows = append(a.rows, "")
	}
}

// reading makes one of the only row.
func (a *answer) reading() (queue.Reading, *queue.Failure) {
	switch {
	case a.code != "":
		return queue.Reading{}, queryFailure(a.code)
	case len(a.rows) == 0:
		return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Let it return one row always, as count(*) without GROUP BY does",
			"answering the query with no row")
	case len(a.rows) > 1:
		return queue.Reading{}, invalid("with more than one row", "Let it return one row, as count(*) without GROUP BY does")
	}
	return parseRow(a.rows[0])
}

func invalid(what, remedy string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, remedy, "answering the query %s", what)
}

// parseRow reads a row: a JSON object of numbers.
func parseRow(text string) (queue.Reading, *queue.Failure) {
	const columns = "Let it have the columns depth and, where there are any, in_flight, arrived_total, completed_total and oldest_age_seconds"
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return queue.Reading{}, invalid("with what is no row", checkServer)
	}
	var row row
	for d.More() {
		name, err := d.Token()
		column, known := row.column(name)
		switch {
		case err != nil:
			return queue.Reading{}, invalid("with what is no row", columns)
		case !known:
			return queue.Reading{}, invalid("with a column of another name", columns)
		case column.seen:
			return queue.Reading{}, invalid("with two columns of one name", columns)
		}
		column.seen = true
		if column.value, err = d.Token(); err != nil {
			return queue.Reading{}, invalid("with more than a few numbers", columns)
		}
		if _, nested := column.value.(json.Delim); nested {
			return queue.Reading{}, notNumber(name)
		}
	}
	if _, err := d.Token(); err != nil {
		return queue.Reading{}, invalid("with more than a few numbers", columns)
	}
	if !row.depth.seen {
		return queue.Reading{}, invalid("without a column depth", columns)
	}
	return row.reading()
}

// row is the value of each column; nil is NULL.
type row struct{ depth, inFlight, arrived, completed, age column }

type column struct {
	seen  bool
	value json.Token
}

func (r *row) column(name json.Token) (*column, bool) {
	switch name {
	case "depth":
		return &r.depth, true
	case "in_flight":
		return &r.inFlight, true
	case "arrived_total":
		return &r.arrived, true
	case "completed_total":
		return &r.completed, true
	case "oldest_age_seconds":
		return &r.age, true
	}
	return nil, false
}

func (r *row) reading() (queue.Reading, *queue.Failure) {
	var reading queue.Reading
	var depth *int64
	for _, c := range []struct {
		name string
		column
		to **int64
	}{
		{"depth", r.depth, &depth},
		{"in_flight", r.inFlight, &reading.InFlight},
		{"arrived_total", r.arrived, &reading.ArrivedTotal},
		{"completed_total", r.completed, &reading.CompletedTotal},
	} {
		if !c.seen {
			continue
		}
		n, failure := count(c.name, c.value)
		if failure != nil {
			return queue.Reading{}, failure
		}
		*c.to = &n
	}
	reading.Depth = *depth
	if !r.age.seen || r.age.value == nil && reading.Depth == 0 {
		return reading, nil // nothing waits, so nothing is the oldest
	}
	age, failure := seconds("oldest_age_seconds", r.age.value)
	if failure != nil {
		return queue.Reading{}, failure
	}
	reading.OldestAge = &age
	return reading, nil
}

// number is the text of a column, which must not be NULL.
func number(name string, value json.Token) (string, *queue.Failure) {
	if value == nil {
		return "", invalid("with NULL in column "+name, "Use coalesce")
	}
	n, ok := value.(json.Number)
	if !ok {
		return "", notNumber(name)
	}
	if strings.HasPrefix(n.String(), "-") {
		return "", invalid("with a negative number in column "+name, "Correct the query")
	}
	return n.String(), nil
}

// notNumber is of a column that is known by name.
func notNumber(name json.Token) *queue.Failure {
	column, _ := name.(string)
	return invalid("with something else than a number in column "+column, "Cast it to bigint; of an interval, use extract(epoch from ...)")
}

func count(name string, value json.Token) (int64, *queue.Failure) {
	text, failure := number(name, value)
	if failure != nil {
		return 0, failure
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil && strings.ContainsAny(text, ".eE"):
		return 0, invalid("with no whole number in column "+name, "Cast it to bigint")
	case err != nil || n > queue.CountMost:
		return 0, invalid("with more than a queue holds in column "+name, "Correct the query")
	}
	return n, nil
}

func seconds(name string, value json.Token) (time.Duration, *queue.Failure) {
	text, failure := number(name, value)
	if failure != nil {
		return 0, failure
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n > queue.AgeMost {
		return 0, invalid("with more than 100 years in column "+name, "Correct the query")
	}
	return time.Duration(n * float64(time.Second)), nil
}

var sqlState = regexp.MustCompile(`^[0-9A-Z]{5}$`)

// queryFailure is why a query failed alone.
func queryFailure(code string) *queue.Failure {
	switch code {
	case "57014":
		return queue.Fail(capacityv1alpha1.ReasonQueueTimeout, "Give the query an index, or narrow it to the rows that wait", "not finished with the query within 2 s")
	case "42501":
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "GRANT its role SELECT on the tables of the query, and USAGE on their schema", "denying what the query reads")
	case "25006":
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Let the query read alone: no FOR UPDATE, and no function that writes", "denying the query, because it writes,")
	case "42P01", "3F000":
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Create it, or correct the query. Name the schema, unless the role's search_path has it", "without a table that the query names")
	case "42703", "42883":
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct the query, or migrate the database", "without a column or function that the query names")
	case "42601":
		return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Write one SELECT; try it with psql", "not understanding the query")
	}
	if !sqlState.MatchString(code) {
		return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "sending replies that make no sense")
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Try it with psql, as its role", "failing at the query (SQLSTATE %s)", code)
}

// serverFailure is why the server ended a connection, or did not let it be made.
func serverFailure(code string) *queue.Failure {
	switch code {
	case "28P01":
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting the credentials")
	case "28000":
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting the credentials, or by pg_hba.conf their use from here or without TLS")
	case "3D000":
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct what follows the last / of the url", "without that database")
	case "42501":
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "GRANT its role CONNECT on the database", "denying its database")
	case "53300":
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Raise max_connections, or the CONNECTION LIMIT of the role or database; QueueScaler uses 1 to 4", "at its limit of connections")
	case "57P03":
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Wait until PostgreSQL has started", "starting or stopping")
	case "57P01", "57P02":
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "ending connections")
	}
	if !sqlState.MatchString(code) {
		return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "sending replies that make no sense")
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "refusing connections (SQLSTATE %s)", code)
}
