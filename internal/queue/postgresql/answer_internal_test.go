// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package postgresq

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// wrong says what is wrong with a reading; empty where all of it is in range.
func wrong(r queue.Reading) string {
	switch {
	case r.Depth < 0 || r.Depth > queue.CountMost:
		return "depth"
	case r.InFlight != nil && (*r.InFlight < 0 || *r.InFlight > queue.CountMost):
		return "in flight"
	case r.ArrivedTotal != nil && (*r.ArrivedTotal < 0 || *r.ArrivedTotal > queue.CountMost):
		return "arrived"
	case r.CompletedTotal != nil && (*r.CompletedTotal < 0 || *r.CompletedTotal > queue.CountMost):
		return "completed"
	case r.OldestAge != nil && (*r.OldestAge < 0 || *r.OldestAge > queue.AgeMost*time.Second):
		return "oldest age"
	}
	return ""
}

// Whatever a row says, it ends in a reading in range or a failure that repeats none of it.
func FuzzParseRow(f *testing.F) {
	for _, seed := range []string{
		`{"depth":7,"in_flight":3,"arrived_total":12,"completed_total":2,"oldest_age_seconds":1.5}`,
		`{"depth":0,"oldest_age_seconds":null}`, `{"depth":1e3}`, `{"depth":-1}`, `{"depth":-0}`, `{"depth":9223372036854775807}`, `{"depth":null}`,
		`{"depth":"NaN"}`, `{"depth":[1]}`, `{"depth":{"depth":1}}`, `{"depth":1,"depth":1}`, `{"depth":1,"oldest_age_seconds":1e308}`,
		`{"depth":1,"oldest_age_seconds":3153600000}`, `{"depth":1`, `{"other":1}`, `{}`, `null`, ``, `{{{`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, failure := parseRow(text)
		switch {
		case failure == nil && wrong(r) != "":
			t.Errorf("%q makes %s of %+v", text, wrong(r), r)
		case failure != nil && (failure.Reason != capacityv1alpha1.ReasonQueueReplyInvalid || failure.Remedy == "" || len(failure.What) > 120):
			t.Errorf("%q makes %+v", text, failure)
		}
	})
}

// message is one of PostgreSQL's protocol.
func message(kind byte, body string) string {
	return string(kind) + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
}

// Whatever a server sends, at login or after it, ends in a reading in range or a failure.
func FuzzReplies(f *testing.F) {
	ready := message('Z', "I")
	login := message('R', "\x00\x00\x00\x00") + message('S', "server_version\x0015\x00") + message('K', "\x00\x00\x00\x01\x00\x00\x00\x02") + ready
	row := func(text string) string {
		return message('D', "\x00\x01"+string(binary.BigEndian.AppendUint32(nil, uint32(len(text))))+text)
	}
	for _, seed := range []string{
		login + ready + message('1', "") + message('2', "") + row(`{"depth":7}`) + message('C', "SELECT 1\x00") + ready + ready,
		login + ready + message('E', "SERROR\x00VERROR\x00C42P01\x00Mno such table\x00\x00") + ready + ready,
		login + message('E', "SFATAL\x00VFATAL\x00C57P01\x00\x00"), login + ready + row("x") + row("y") + row("z") + ready + ready,
		message('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00") + message('R', "\x00\x00\x00\x0br=x,s=eA==,i=4096"),
		message('R', "\x00\x00\x00\x05salt"), message('R', "\x00\x00\x00\x03"), message('E', "SFATAL\x00C28P01\x00\x00"), "R\x7f\xff\xff\xff", "D\xff\xff\xff\xff", "HTTP/1.1 400\r\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dial := func(context.Context) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			go func() {
				_, _ = server.Write(data)
				_ = server.Close()
			}()
			return client, nil
		}
		r, failure := Open(context.Background(), queue.ConnectOptions{
			Endpoint: queue.Endpoint{Path: "jobs"}, Username: "reader", Password: "hunter2", Dial: dial, Now: time.Now,
		})
		if failure != nil {
			if strings.Contains(failure.Error(), "hunter2") {
				t.Errorf("%v tells the password", failure)
			}
			return
		}
		defer r.Close()
		q := capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{PostgreSQL: capacityv1alpha1.PostgreSQLSource{Query: "SELECT 1 AS depth"}}}
		results := 0
		failure = r.Read(context.Background(), []*capacityv1alpha1.Queue{&q}, func(_ int, r queue.Reading, f *queue.Failure) {
			results++
			if f == nil && wrong(r) != "" {
				t.Errorf("%q makes %s of %+v", data, wrong(r), r)
			}
		})
		if failure == nil && results != 1 {
			t.Errorf("%q: %d results and no failure", data, results)
		}
	})
}

func TestFailuresOfCodes(t *testing.T) {
	for _, c := range []struct{ code, query, server string }{
		{"57014", capacityv1alpha1.ReasonQueueTimeout, capacityv1alpha1.ReasonQueueUnavailable},
		{"42501", capacityv1alpha1.ReasonPermissionDenied, capacityv1alpha1.ReasonPermissionDenied},
		{"57P01", capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueUnavailable},
		{"57P03", capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueUnavailable},
		{"53300", capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueUnavailable},
		{"28000", capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonAuthenticationFailed},
		{"", capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueReplyInvalid},
		{"hunter2", capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueReplyInvalid},
	} {
		if f := queryFailure(c.code); f.Reason != c.query || strings.Contains(f.What, "hunter2") {
			t.Errorf("%q of a query: %+v, want %s", c.code, f, c.query)
		}
		if f := serverFailure(c.code); f.Reason != c.server || strings.Contains(f.What, "hunter2") {
			t.Errorf("%q of the server: %+v, want %s", c.code, f, c.server)
		}
	}
}
