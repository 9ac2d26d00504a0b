// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/servers"
)

const countJobs = "SELECT count(*) AS depth FROM jobs"

func tableQueue(url, query string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{
		PostgreSQL: capacityv1alpha1.PostgreSQLSource{Server: capacityv1alpha1.Server{URL: url, Auth: authBy("creds")}, Query: query}}}
}

// newTableHarness is a harness with the right credentials of the role reader, in both namespaces.
func newTableHarness(t *testing.T) *harness {
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
	h.setSecret("shop/creds", "username", "reader", "password", "hunter2")
	return h
}

// One server for all, because it takes seconds to make one.
func TestPostgreSQL(t *testing.T) {
	p := servers.StartPostgreSQL(t, servers.PostgreSQLOptions{})
	p.Exec(t, "CREATE ROLE reader LOGIN PASSWORD 'hunter2'; CREATE TABLE secrets (); CREATE TABLE jobs (id bigserial); GRANT SELECT ON jobs TO reader; INSERT INTO jobs SELECT FROM generate_series(1, 3)")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *servers.PostgreSQL)
	}{
		{"WrongPasswordThenSecretCorrected", tableWrongPassword},
		{"QueuesFailAlone", tableQueuesFailAlone},
		{"ThousandQueuesAreFourConnections", tableThousandQueues},
		{"MissingThenMadeAgain", tableMissing},
		{"StopsAndComesBack", tableServerStops},
		{"TLS", tableTLS},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, p) })
	}
}

func tableWrongPassword(t *testing.T, p *servers.PostgreSQL) {
	h := newTableHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "wrong")
	h.Subscribe(scaler, one(tableQueue(p.URL(), countJobs)))
	h.Subscribe(other, one(tableQueue(p.URL(), countJobs)))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `rejecting the credentials.*Correct Secret chat/creds; it is read again by itself`)
	h.awaitDepth(other, 3)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2\n")
	if got := h.awaitDepth(scaler, 3); got.SharedBy != 1 {
		t.Errorf("shared by %d, want 1: the credentials are the same now", got.SharedBy)
	}
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
	none := subscriber(1)
	anonymous := tableQueue(p.URL(), countJobs)
	anonymous.PostgreSQL.Auth = capacityv1alpha1.Auth{}
	h.Subscribe(none, one(anonymous))
	says(t, h.awaitReason(none, capacityv1alpha1.ReasonAuthenticationFailed), `requiring credentials; no reading yet\. Name a Secret with credentials in auth\.secretRef`)
}

func tableQueuesFailAlone(t *testing.T, p *servers.PostgreSQL) {
	h := newTableHarness(t)
	denied, slow := subscriber(1), subscriber(2)
	h.Subscribe(denied, one(tableQueue(p.URL(), "SELECT count(*) AS depth FROM secrets")))
	h.Subscribe(slow, one(tableQueue(p.URL(), "SELECT 1 AS depth FROM pg_sleep(60)")))
	h.Subscribe(scaler, one(tableQueue(p.URL(), countJobs)))
	h.awaitDepth(scaler, 3)
	says(t, h.awaitReason(denied, capacityv1alpha1.ReasonPermissionDenied), `denying what the query reads.*GRANT its role SELECT`)
	got := h.awaitReason(slow, capacityv1alpha1.ReasonQueueTimeout)
	says(t, got, `not finished with the query within 2 s.*an index`)
	if got.ServerWide {
		t.Error("a slow query counts as a slow server")
	}
	// While the slow one is polled again and again, the good one is read every second.
	h.readEverySecond(scaler)
	h.Subscribe(denied, []capacityv1alpha1.Queue{tableQueue(strings.TrimSuffix(p.URL(), "postgres"), countJobs)})
	says(t, h.awaitReason(denied, capacityv1alpha1.ReasonAddressRefused), "does not end with a database")
	h.Subscribe(denied, []capacityv1alpha1.Queue{tableQueue(p.URL()+"%00options%00x", countJobs)})
	says(t, h.awaitReason(denied, capacityv1alpha1.ReasonAddressRefused), "does not end with a database")
	h.Subscribe(denied, []capacityv1alpha1.Queue{tableQueue(p.URL()+"s", countJobs)})
	says(t, h.awaitReason(denied, capacityv1alpha1.ReasonQueueMissing), `/postgress without that database`)
}

// tableConnections counts the connections of the role reader.
func tableConnections(t *testing.T, p *servers.PostgreSQL) int {
	t.Helper()
	ctx := context.Background()
	conn := must(pgconn.Connect(ctx, p.AdminURL("postgres")))
	defer conn.Close(ctx)
	results := must(conn.Exec(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'").ReadAll())
	return must(strconv.Atoi(string(results[0].Rows[0][0])))
}

func tableThousandQueues(t *testing.T, p *servers.PostgreSQL) {
	h := newTableHarness(t)
	// The server ends those of the tests before some time after they were closed.
	none := func() bool { return tableConnections(t, p) == 0 }
	h.await("no connection", none, func() any { return tableConnections(t, p) })
	for i := range manyQueues {
		h.Subscribe(subscriber(i), one(tableQueue(p.URL(), fmt.Sprintf("SELECT %d AS depth", i%7))))
	}
	for i := range manyQueues {
		h.awaitDepth(subscriber(i), int64(i%7))
	}
	if n := tableConnections(t, p); n < 1 || n > 4 {
		t.Errorf("%d connections, want 1 to 4", n)
	}
	stats := h.Servers()
	if len(stats) != 1 || stats[0].Connections < 1 || stats[0].Connections > 4 || stats[0].Subscribers != manyQueues || !stats[0].Up {
		t.Errorf("servers: %+v, want one with at most 4 connections", stats)
	}
	for i := range manyQueues {
		h.Unsubscribe(subscriber(i))
	}
	h.await("connections closed with their last subscriber", none, func() any { return h.Servers() })
}

func tableMissing(t *testing.T, p *servers.PostgreSQL) {
	const query = "SELECT count(*) AS depth, coalesce(max(id), 0) AS arrived_total FROM mails"
	h := newTableHarness(t)
	h.Subscribe(scaler, one(tableQueue(p.URL(), query)))
	h.Subscribe(other, one(tableQueue(p.URL(), countJobs)))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing), `without a table that the query names`)
	const create = "CREATE TABLE mails (id bigserial); GRANT SELECT ON mails TO reader; "
	p.Exec(t, create+"INSERT INTO mails SELECT FROM generate_series(1, 5)")
	h.awaitDepth(scaler, 5)
	p.Exec(t, "DROP TABLE mails")
	if got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing); got.ServerWide || got.Reading == nil {
		t.Errorf("%+v, want a failure of this queue alone, with its last reading", got)
	}
	p.Exec(t, create+"INSERT INTO mails SELECT FROM generate_series(1, 2)")
	if got := h.awaitDepth(scaler, 2); *got.Reading.ArrivedTotal != 2 {
		t.Errorf("%d arrived, want 2: the counter began anew", *got.Reading.ArrivedTotal)
	}
	h.awaitDepth(other, 3)
}

func tableServerStops(t *testing.T, p *servers.PostgreSQL) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	h := newTableHarness(t)
	h.Subscribe(scaler, one(tableQueue(p.URL(), countJobs)))
	h.Subscribe(other, one(tableQueue(p.URL(), countJobs)))
	elsewhere := subscriber(1)
	h.Subscribe(elsewhere, one(listQueue(good.URL(), "jobs")))
	h.awaitDepth(scaler, 3)
	p.Stop()
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
	h.await("refused for more than a second", func() bool {
		got = h.sample(scaler)
		return regexp.MustCompile(`refused for [1-9][0-9]* s`).MatchString(got.Message)
	}, func() any { return got })
	says(t, got, `^postgres://127.0.0.1:\d+/postgres refused for \d+ s; last reading \d\d:\d\d:\d\dZ\. Check that the server runs`)
	if !got.ServerWide || got.SharedBy != 1 || got.Reading == nil {
		t.Errorf("%+v, want a failure of the server that 1 other shares, and the last reading kept", got)
	}
	h.awaitDepth(elsewhere, 0)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 3)
}

func tableTLS(t *testing.T, p *servers.PostgreSQL) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	for _, server := range []struct {
		name    string
		options servers.PostgreSQLOptions
		cases   []tlsCase
	}{
		{"plain", servers.PostgreSQLOptions{}, []tlsCase{{"server without TLS", good, nil, "", "not offering TLS"}}},
		{"TLS", servers.PostgreSQLOptions{TLS: good}, []tlsCase{
			{"known CA", good, nil, "", ""},
			{"server name", good, nil, "localhost", ""},
			{"unknown CA", foreign, nil, "", "serving a certificate of an unknown authority"},
			{"system's CAs", nil, nil, "", "serving a certificate of an unknown authority"},
			{"other name", good, nil, "queue.example", "serving a certificate for another name"},
		}},
		{"client certificate", servers.PostgreSQLOptions{TLS: good, ClientCertificates: true}, []tlsCase{{"client certificate", good, good, "", ""}}},
		{"expired", servers.PostgreSQLOptions{TLS: expired}, []tlsCase{{"expired", expired, nil, "", "serving a certificate that has expired"}}},
	} {
		p.Stop()
		if err := p.Configure(server.options); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		for _, c := range server.cases {
			t.Run(c.name, func(t *testing.T) { c.run(t, p.URL()) })
		}
		if server.name == "plain" || server.name == "expired" {
			continue
		}
		t.Run(server.name+", without asking for it", func(t *testing.T) {
			h := newTableHarness(t)
			h.Subscribe(scaler, one(tableQueue(p.URL(), countJobs)))
			says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), "by pg_hba.conf their use from here or without TLS")
		})
	}
}

type tlsCase struct {
	name       string
	ca, client *servers.Certificates
	serverName string
	says       string
}

func (c *tlsCase) run(t *testing.T, url string) {
	h := newTableHarness(t)
	q := tableQueue(url, countJobs)
	q.PostgreSQL.TLS = &capacityv1alpha1.TLS{ServerName: c.serverName}
	if c.ca != nil {
		pems := []string{"ca.crt", string(c.ca.CA)}
		if c.client != nil {
			pems = append(pems, "tls.crt", string(c.client.Cert), "tls.key", string(c.client.Key))
		}
		h.setSecret("chat/ca", pems...)
		q.PostgreSQL.TLS.SecretRef.Name = "ca"
	}
	h.Subscribe(scaler, one(q))
	if c.says == "" {
		h.awaitDepth(scaler, 3)
		return
	}
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonTLSFailed), c.says)
}

// postgresMessage is a message of PostgreSQL's protocol.
func postgresMessage(kind byte, body string) string {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	return string(kind) + string(size) + body
}

// greetPostgreSQL lets anybody log in, and answers the first query with reply, again and again if endless.
func greetPostgreSQL(reply string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		in := make([]byte, 64<<10)
		_, _ = conn.Read(in)
		_, _ = io.WriteString(conn, postgresMessage('R', "\x00\x00\x00\x00")+postgresMessage('Z', "I"))
		n, _ := conn.Read(in)
		if !bytes.Contains(in[:n], []byte("BEGIN READ ONLY")) {
			return
		}
		for _, err := io.WriteString(conn, reply); err == nil && endless; {
			_, err = io.WriteString(conn, reply)
		}
		_, _ = io.Copy(io.Discard, conn)
	}
}

func TestHostilePostgreSQL(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	noise := strings.Repeat("\x00\xff\x17garbage\n", 100)
	const invalid, timeout = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout
	row := func(text string) string {
		size := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
		ready := postgresMessage('Z', "I")
		return ready + postgresMessage('D', "\x00\x01"+string(size)+text) + ready + ready
	}
	say := func(text string) func(net.Conn) {
		return func(conn net.Conn) { _, _ = io.WriteString(conn, text); _, _ = io.Copy(io.Discard, conn) }
	}
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"garbage", say(noise), invalid},
		{"HTTP", say("HTTP/1.1 400 Bad Request\r\n\r\n"), invalid},
		{"large message at login", say("R\x7f\xff\xff\xff"), invalid},
		{"impossible SCRAM", say(postgresMessage('R', "\x00\x00\x00\x0aGARBAGE\x00\x00")), invalid},
		{"closes", func(net.Conn) {}, capacityv1alpha1.ReasonQueueUnavailable},
		{"silent after login", greetPostgreSQL("", false), timeout},
		{"garbage reply", greetPostgreSQL(noise, false), invalid},
		{"large message", greetPostgreSQL("D\x7f\xff\xff\xff", false), invalid},
		{"negative message", greetPostgreSQL("D\xff\xff\xff\xff", false), invalid},
		{"endless notices", greetPostgreSQL(postgresMessage('N', "SNOTICE\x00MMany\x00\x00"), true), invalid},
		{"endless rows", greetPostgreSQL(postgresMessage('D', "\x00\x01\x00\x00\x00\x02{}"), true), invalid},
		{"no JSON", greetPostgreSQL(row("{{{"), false), invalid},
		{"no row", greetPostgreSQL(row("null"), false), invalid},
		{"garbage number", greetPostgreSQL(row(`{"depth": "garbage"}`), false), invalid},
		{"no column", greetPostgreSQL(strings.Replace(row(""), "\x00\x01", "\x00\x00", 1), false), invalid},
		{"garbage error", greetPostgreSQL(postgresMessage('E', "SERROR\x00VERROR\x00Cgarbage\x00\x00")+strings.Repeat(postgresMessage('Z', "I"), 3), false), invalid},
		{"error without a code", greetPostgreSQL(postgresMessage('E', "SERROR\x00VERROR\x00\x00")+strings.Repeat(postgresMessage('Z', "I"), 3), false), invalid},
		{"garbage fatal error", greetPostgreSQL(postgresMessage('E', "SFATAL\x00VFATAL\x00Cgarbage\x00\x00"), false), invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			newTableHarness(t).withstands(good, tableQueue("postgres://"+hostile(t, c.serve)+"/jobs", countJobs), c.reason, "HTTP/1.1")
		})
	}
}
