// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package postgresq_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	postgresq "github.com/queuescaler/queuescaler/internal/queue/postgresql"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func ptr[T any](v T) *T { return &v }

func options(address, username, password string) queue.ConnectOptions {
	return queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindPostgreSQL, Path: "postgres"}, Username: username, Password: password,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		Now: time.Now,
	}
}

// connect returns a reader of a real server.
func connect(t testing.TB, server *servers.PostgreSQL) queue.Reader {
	t.Helper()
	reader, failure := postgresq.Open(ctx, options(server.Address(), servers.PostgreSQLAdmin, servers.PostgreSQLAdmin))
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(reader.Close)
	return reader
}

func queues(queries ...string) []*capacityv1alpha1.Queue {
	all := make([]*capacityv1alpha1.Queue, len(queries))
	for i, q := range queries {
		all[i] = &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{PostgreSQL: capacityv1alpha1.PostgreSQLSource{Query: q}}}
	}
	return all
}

type result struct {
	queue.Reading
	failure *queue.Failure
}

func read(t testing.TB, reader queue.Reader, queries ...string) []result {
	t.Helper()
	results := make([]result, len(queries))
	calls := make([]int, len(queries))
	failure := reader.Read(ctx, queues(queries...), func(i int, r queue.Reading, f *queue.Failure) {
		results[i], calls[i] = result{r, f}, calls[i]+1
	})
	if failure != nil {
		t.Fatal(failure)
	}
	for i, n := range calls {
		if n != 1 {
			t.Fatalf("%d results for queue %d", n, i)
		}
	}
	return results
}

// One server for all, because it takes seconds to make one.
func TestPostgreSQL(t *testing.T) {
	server := servers.StartPostgreSQL(t, servers.PostgreSQLOptions{})
	for name, test := range map[string]func(*testing.T, *servers.PostgreSQL){
		"Queries": testQueries, "SlowQueriesFailAlone": testSlowQueriesFailAlone, "ConnectionLimit": testConnectionLimit,
		"EnvironmentIsNotUsed": testEnvironmentIsNotUsed, "Login": testLogin, "CountersAgreeToTheMessage": testCountersAgreeToTheMessage,
	} {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
}

func testQueries(t *testing.T, server *servers.PostgreSQL) {
	server.Exec(t, `
		CREATE TABLE jobs (id bigserial, state text, created timestamptz DEFAULT now());
		INSERT INTO jobs (state) SELECT 'waiting' FROM generate_series(1, 7);
		INSERT INTO jobs (state) SELECT 'running' FROM generate_series(1, 3);
		CREATE ROLE reader LOGIN PASSWORD 'hunter2'`)
	reader := connect(t, server)
	t.Run("readings", func(t *testing.T) {
		const all = `WITH n AS (SELECT count(*) FILTER (WHERE state = 'waiting') AS depth, count(*) FILTER (WHERE state = 'running') AS in_flight FROM jobs)
			SELECT depth, in_flight, 12::numeric AS arrived_total, 2 AS completed_total, 1.5 AS oldest_age_seconds FROM n -- a comment`
		for query, want := range map[string]queue.Reading{
			"SELECT count(*) AS depth FROM jobs WHERE state = 'waiting'": {Depth: 7},
			"select 4 depth;\n":                {Depth: 4},
			"SELECT sum(1) AS depth FROM jobs": {Depth: 10},
			all:                                {Depth: 7, InFlight: ptr(int64(3)), ArrivedTotal: ptr(int64(12)), CompletedTotal: ptr(int64(2)), OldestAge: ptr(1500 * time.Millisecond)},
			"SELECT 0 AS depth, extract(epoch FROM now() - min(created)) AS oldest_age_seconds FROM jobs WHERE false": {},
		} {
			got := read(t, reader, query)[0]
			if got.failure != nil || got.Time.IsZero() {
				t.Errorf("%s: %v at %v", query, got.failure, got.Time)
			}
			if diff := cmp.Diff(want, got.Reading, cmpopts.IgnoreFields(queue.Reading{}, "Time")); diff != "" {
				t.Errorf("%s: %s", query, diff)
			}
		}
	})
	const invalid, missing, denied = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueMissing, capacityv1alpha1.ReasonPermissionDenied
	failures := []struct{ name, query, reason, says string }{
		{"no row", "SELECT 1 AS depth WHERE false", missing, "no row"},
		{"two rows", "SELECT 1 AS depth FROM jobs", invalid, "more than one row"},
		{"a million rows", "SELECT repeat('x', 100) AS payload FROM generate_series(1, 1000000)", invalid, "more than one row"},
		{"no depth", "SELECT 1 AS in_flight", invalid, "without a column depth"},
		{"no column", "SELECT FROM jobs LIMIT 1", invalid, "without a column depth"},
		{"unknown column", "SELECT 1 AS depth, 2 AS garbage", invalid, "column of another name"},
		{"two of one name", "SELECT 1 AS depth, 2 AS depth", invalid, "two columns of one name"},
		{"NULL", "SELECT NULL::int AS depth", invalid, "NULL in column depth"},
		{"NULL counter", "SELECT 1 AS depth, NULL::int AS arrived_total", invalid, "NULL in column arrived_total"},
		{"NULL age of a backlog", "SELECT 1 AS depth, NULL::int AS oldest_age_seconds", invalid, "NULL in column oldest_age_seconds"},
		{"negative", "SELECT -1 AS depth", invalid, "negative number in column depth"},
		{"negative age", "SELECT 1 AS depth, -0.5 AS oldest_age_seconds", invalid, "negative number in column oldest_age_seconds"},
		{"absurd", "SELECT 9223372036854775807 AS depth", invalid, "more than a queue holds in column depth"},
		{"beyond bigint", "SELECT 1 AS depth, 1e30 AS completed_total", invalid, "more than a queue holds in column completed_total"},
		{"absurd age", "SELECT 1 AS depth, 1e30 AS oldest_age_seconds", invalid, "more than 100 years"},
		{"fraction", "SELECT 1.5 AS depth", invalid, "no whole number in column depth"},
		{"NaN", "SELECT 'NaN'::float8 AS depth", invalid, "something else than a number in column depth"},
		{"text", "SELECT 'garbage' AS depth", invalid, "something else than a number in column depth"},
		{"object", `SELECT '{"garbage": 1}'::json AS depth`, invalid, "something else than a number in column depth"},
		{"interval", "SELECT 1 AS depth, interval '1 s' AS oldest_age_seconds", invalid, "something else than a number in column oldest_age_seconds"},
		{"a megabyte", "SELECT repeat('x', 1000000) AS depth", invalid, "more than a few numbers"},
		{"syntax", "SELECT FROM WHERE", invalid, "not understanding"},
		{"NUL", "SELECT 1 AS depth\x00", invalid, "not understanding"},
		{"two statements", "SELECT 1 AS depth; SELECT 2", invalid, "not understanding"},
		{"no SELECT", "DELETE FROM jobs", invalid, "not understanding"},
		{"out of the wrapping", "SELECT 1) AS a; DELETE FROM jobs; SELECT (1", invalid, "not understanding"},
		{"no table", "SELECT count(*) AS depth FROM garbage", missing, "without a table"},
		{"no schema", "SELECT count(*) AS depth FROM garbage.jobs", missing, "without a table"},
		{"no table column", "SELECT garbage AS depth FROM jobs", missing, "without a column or function"},
		{"no function", "SELECT garbage() AS depth", missing, "without a column or function"},
		{"division by zero", "SELECT 1/0 AS depth", capacityv1alpha1.ReasonQueueUnavailable, `SQLSTATE 22012`},
		{"writes", "SELECT nextval('jobs_id_seq') AS depth", denied, "because it writes"},
		{"locks", "SELECT 1 AS depth FROM (SELECT FROM jobs FOR UPDATE) AS x", denied, "because it writes"},
		{"slow", "SELECT 1 AS depth FROM pg_sleep(60)", capacityv1alpha1.ReasonQueueTimeout, "not finished with the query within 2 s"},
	}
	t.Run("failures", func(t *testing.T) {
		var all []string
		for _, c := range failures {
			all = append(all, "SELECT 5 AS depth", c.query)
		}
		for i, got := range read(t, reader, all...) {
			c := failures[i/2]
			switch {
			case i%2 == 0 && (got.failure != nil || got.Depth != 5):
				t.Errorf("%s fails another queue: %+v", c.name, got)
			case i%2 == 1 && (got.failure == nil || got.failure.Reason != c.reason || !strings.Contains(got.failure.What, c.says)):
				t.Errorf("%s: %v, want %s: %s", c.name, got.failure, c.reason, c.says)
			case i%2 == 1 && (strings.Contains(got.failure.What, "garbage") || got.failure.Remedy == ""):
				t.Errorf("%s repeats the reply, or has no remedy: %+v", c.name, got.failure)
			}
		}
		if n := reader.Connections(); n < 1 || n > 4 {
			t.Errorf("%d connections, want 1 to 4", n)
		}
	})
	t.Run("permissions", func(t *testing.T) {
		reader, failure := postgresq.Open(ctx, options(server.Address(), "reader", "hunter2"))
		if failure != nil {
			t.Fatal(failure)
		}
		defer reader.Close()
		got := read(t, reader, "SELECT count(*) AS depth FROM jobs", "SELECT 5 AS depth")
		if got[0].failure == nil || got[0].failure.Reason != denied || got[1].Depth != 5 {
			t.Errorf("%+v, want the first denied and not the second", got)
		}
	})
	t.Run("session", func(t *testing.T) { sessionStays(t, reader) })
}

// sessionStays checks that what a query does to its session is gone for the next one.
func sessionStays(t *testing.T, reader queue.Reader) {
	for _, set := range []string{"'statement_timeout', '0'", "'default_transaction_read_only', 'off'", "'search_path', 'nowhere'", "'role', 'reader'"} {
		first := read(t, reader, "SELECT length(set_config("+set+", false)) AS depth")[0]
		if first.failure != nil {
			t.Fatalf("%s: %v", set, first.failure)
		}
	}
	for range 8 {
		got := read(t, reader, "SELECT count(*) AS depth FROM jobs", "SELECT nextval('jobs_id_seq') AS depth")
		if got[0].failure != nil || got[1].failure == nil {
			t.Fatalf("%+v: a setting of another query lasts", got)
		}
	}
}

// Six queries that take for ever hold up a seventh no longer than their timeouts, and do so again and again.
func testSlowQueriesFailAlone(t *testing.T, server *servers.PostgreSQL) {
	reader := connect(t, server)
	slow := make([]string, 6)
	for i := range slow {
		slow[i] = "SELECT 1 AS depth FROM pg_sleep(60)"
	}
	start := time.Now()
	got := read(t, reader, slices.Concat(slow, []string{"SELECT 5 AS depth"})...)
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("it took %v", took)
	}
	for i, r := range got[:6] {
		if r.failure == nil || r.failure.Reason != capacityv1alpha1.ReasonQueueTimeout {
			t.Errorf("slow query %d: %+v", i, r)
		}
	}
	if last := got[6]; last.failure != nil || last.Depth != 5 {
		t.Errorf("the quick query: %+v", last)
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = slow[0]
	}
	start = time.Now()
	for i, r := range read(t, reader, many...) {
		if r.failure == nil || r.failure.Reason != capacityv1alpha1.ReasonQueueTimeout {
			t.Errorf("query %d of 40: %+v", i, r)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("40 slow queries took %v, want at most the 6 s in which they begin, and one query", took)
	}
}

// Where the role may have one connection alone, that one is enough.
func testConnectionLimit(t *testing.T, server *servers.PostgreSQL) {
	server.Exec(t, "CREATE ROLE lonely LOGIN PASSWORD 'hunter2' CONNECTION LIMIT 1")
	reader, failure := postgresq.Open(ctx, options(server.Address(), "lonely", "hunter2"))
	if failure != nil {
		t.Fatal(failure)
	}
	defer reader.Close()
	for range 3 {
		for i, r := range read(t, reader, "SELECT 5 AS depth", "SELECT 5 AS depth", "SELECT 5 AS depth", "SELECT 5 AS depth", "SELECT 5 AS depth") {
			if r.failure != nil || r.Depth != 5 {
				t.Fatalf("queue %d: %+v", i, r)
			}
		}
	}
	if n := reader.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	_, failure = postgresq.Open(ctx, options(server.Address(), "lonely", "hunter2"))
	if failure == nil || failure.Reason != capacityv1alpha1.ReasonQueueUnavailable || !strings.Contains(failure.What, "limit of connections") {
		t.Errorf("%v, want the limit named", failure)
	}
}

// The environment and the files that libpq would use lead nowhere else.
func testEnvironmentIsNotUsed(t *testing.T, server *servers.PostgreSQL) {
	for name, value := range map[string]string{
		"PGHOST": "nowhere.invalid", "PGPORT": "x", "PGDATABASE": "none", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGPASSFILE": "/nowhere",
		"PGAPPNAME": "x", "PGCONNECT_TIMEOUT": "x", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nowhere", "PGSSLNEGOTIATION": "direct",
		"PGTARGETSESSIONATTRS": "standby", "PGOPTIONS": "-c nothing=1", "PGTZ": "nowhere", "PGMINPROTOCOLVERSION": "3.2", "PGREQUIREAUTH": "none",
		"PGCHANNELBINDING": "require", "PGSSLCERTMODE": "require",
	} {
		t.Setenv(name, value)
	}
	if got := read(t, connect(t, server), "SELECT 5 AS depth")[0]; got.failure != nil || got.Depth != 5 {
		t.Errorf("%+v", got)
	}
}

func testLogin(t *testing.T, server *servers.PostgreSQL) {
	server.Exec(t, "CREATE DATABASE closed")
	server.Exec(t, "CREATE ROLE outsider LOGIN PASSWORD 'hunter2'; REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
	for _, c := range []struct{ name, database, username, password, token, reason, says string }{
		{"wrong password", "postgres", "outsider", "wrong", "", capacityv1alpha1.ReasonAuthenticationFailed, "rejecting the credentials"},
		{"unknown role", "postgres", "nobody", "hunter2", "", capacityv1alpha1.ReasonAuthenticationFailed, "rejecting the credentials"},
		{"nobody", "postgres", "", "", "", capacityv1alpha1.ReasonAuthenticationFailed, "requiring credentials"},
		{"no username", "postgres", "", "hunter2", "", capacityv1alpha1.ReasonSecretInvalid, "in need of a user and a password"},
		{"token", "postgres", "", "", "hunter2", capacityv1alpha1.ReasonSecretInvalid, "in need of a user and a password"},
		{"NUL", "postgres", "outsider\x00options\x00-c x=y", "hunter2", "", capacityv1alpha1.ReasonSecretInvalid, "in need of a user"},
		{"no database", "none", "outsider", "hunter2", "", capacityv1alpha1.ReasonQueueMissing, "without that database"},
		{"closed database", "closed", "outsider", "hunter2", "", capacityv1alpha1.ReasonPermissionDenied, "denying its database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(server.Address(), c.username, c.password)
			o.Token, o.Endpoint.Path = c.token, c.database
			_, failure := postgresq.Open(ctx, o)
			if failure == nil || failure.Reason != c.reason || !strings.Contains(failure.What, c.says) {
				t.Errorf("%+v, want %s: %s", failure, c.reason, c.says)
			}
		})
	}
}

// The counters account for every message, at every reading of a run in which messages are sent, taken and completed.
func testCountersAgreeToTheMessage(t *testing.T, server *servers.PostgreSQL) {
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	server.Exec(t, "CREATE TABLE mails (id bigserial PRIMARY KEY, taken boolean NOT NULL DEFAULT false); CREATE TABLE counts (completed bigint); INSERT INTO counts VALUES (0)")
	reader := connect(t, server)
	admin, err := pgconn.Connect(ctx, server.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(ctx) })
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := admin.Exec(ctx, fmt.Sprintf(sql, args...)).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	const query = `SELECT count(*) FILTER (WHERE NOT taken) AS depth, count(*) FILTER (WHERE taken) AS in_flight,
		(SELECT last_value - (NOT is_called)::int FROM mails_id_seq) AS arrived_total, (SELECT completed FROM counts) AS completed_total FROM mails`
	sent, taken, done := 0, 0, 0
	for done < messages {
		n := min(3001, messages-sent)
		exec("INSERT INTO mails SELECT FROM generate_series(1, %d)", n)
		sent += n
		n = min(2003, sent-taken)
		exec("UPDATE mails SET taken = true WHERE id IN (SELECT id FROM mails WHERE NOT taken ORDER BY id LIMIT %d FOR UPDATE SKIP LOCKED)", n)
		taken += n
		got := read(t, reader, query)[0]
		if got.failure != nil || got.Depth != int64(sent-taken) || *got.InFlight != int64(taken-done) || *got.ArrivedTotal != int64(sent) || *got.CompletedTotal != int64(done) {
			t.Fatalf("with %d sent, %d taken, %d done: %+v", sent, taken, done, got)
		}
		exec("WITH gone AS (DELETE FROM mails WHERE taken RETURNING 1) UPDATE counts SET completed = completed + (SELECT count(*) FROM gone)")
		done = taken
	}
	if got := read(t, reader, query)[0]; got.Depth != 0 || *got.InFlight != 0 || *got.ArrivedTotal != int64(messages) || *got.CompletedTotal != int64(messages) {
		t.Errorf("at the end: %+v", got)
	}
}

// One operation reads 1,000 queues, as a poll of 1,000 QueueScalers on one server does.
func BenchmarkRead(b *testing.B) {
	server := servers.StartPostgreSQL(b, servers.PostgreSQLOptions{})
	server.Exec(b, "CREATE TABLE jobs (id bigserial, queue int); INSERT INTO jobs (queue) SELECT n % 1000 FROM generate_series(1, 10000) AS n; CREATE INDEX ON jobs (queue); ANALYZE jobs")
	reader := connect(b, server)
	queries := make([]string, 1000)
	for i := range queries {
		queries[i] = fmt.Sprintf("SELECT count(*) AS depth FROM jobs WHERE queue = %d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i, r := range read(b, reader, queries...) {
			if r.failure != nil || r.Depth != 10 {
				b.Fatalf("queue %d: %+v", i, r)
			}
		}
	}
}
