// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

func jsonQueue(url, path string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{
		HTTP: capacityv1alpha1.HTTPSource{Server: capacityv1alpha1.Server{URL: url}, Path: path, DepthPath: "waiting"}}}
}

func TestHTTPReadings(t *testing.T) {
	const ok = http.StatusOK
	s := servers.StartHTTP(t, servers.HTTPOptions{})
	set := func(depth, inFlight, arrived, completed int) {
		s.Set("/stats/queues?of=a%20b", ok, fmt.Sprintf(`{"queues":[{"name":"other"},{"name":"mail","waiting":%d,"running":"%d","arrived":%d,"done":%d,"age":2.5}]}`, depth, inFlight, arrived, completed))
	}
	set(3, 2, 100_000, 99_995)
	const mail = `queues.#(name=="mail").`
	q := jsonQueue(s.URL()+"/stats/", "/queues?of=a%20b")
	q.HTTP.DepthPath, q.HTTP.InFlightPath, q.HTTP.ArrivedTotalPath, q.HTTP.CompletedTotalPath = mail+"waiting", mail+"running", mail+"arrived", mail+"done"
	q.HTTP.OldestAgeSecondsPath = mail + "age"
	h := newHarness(t)
	h.Subscribe(scaler, one(q))
	got := h.awaitDepth(scaler, 3).Reading
	if *got.InFlight != 2 || *got.ArrivedTotal != 100_000 || *got.CompletedTotal != 99_995 || *got.OldestAge != 2500*time.Millisecond {
		t.Errorf("%+v", got)
	}
	// What was sent and done shows to the message, at each of 100,000 in steps.
	for sent := 100_000; sent <= 200_000; sent += 25_000 {
		set(0, 0, sent, sent-7)
		h.await(fmt.Sprint(sent, " arrived"), func() bool {
			r := h.sample(scaler).Reading
			return *r.ArrivedTotal == int64(sent) && *r.CompletedTotal == int64(sent-7)
		}, func() any { return h.sample(scaler).Reading })
	}
	// What disappears is no zero, and is read again when it is back, its counters begun anew.
	s.Set("/stats/queues?of=a%20b", ok, `{"queues":[]}`)
	missing := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	says(t, missing, "answering without what depthPath leads to.*let the server send 0")
	if missing.ServerWide || missing.Reading == nil {
		t.Errorf("%+v, want a failure of this queue alone, with its last reading", missing)
	}
	set(5, 0, 5, 0)
	if again := h.awaitDepth(scaler, 5); *again.Reading.ArrivedTotal != 5 {
		t.Errorf("%d arrived, want 5", *again.Reading.ArrivedTotal)
	}
}

func TestHTTPPathsFailAlone(t *testing.T) {
	s := servers.StartHTTP(t, servers.HTTPOptions{})
	h := newHarness(t)
	s.Set("/good", 200, `{"waiting":3}`)
	h.Subscribe(scaler, one(jsonQueue(s.URL(), "good")))
	h.awaitDepth(scaler, 3)
	const missing, invalid, unavailable = capacityv1alpha1.ReasonQueueMissing, capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueUnavailable
	for i, c := range []struct {
		path, body   string
		status       int
		reason, says string
	}{
		{"/nowhere", "garbage", 404, missing, `without the path \(HTTP 404\).*Correct url and http.path`},
		{"/denied", "garbage", 403, capacityv1alpha1.ReasonPermissionDenied, "denying the path"},
		{"/broken", "garbage", 500, unavailable, "answering HTTP 500"},
		{"/busy", "garbage", 429, unavailable, "asking for fewer requests"},
		{"/teapot", "garbage", 418, invalid, "answering HTTP 418 to the path"},
		{"/odd", "garbage", 302, invalid, "redirect"},
		{"/login", "garbage", 401, capacityv1alpha1.ReasonAuthenticationFailed, "asking for credentials"},
		{"/html", "<html>garbage", 200, invalid, "answering with what is no JSON"},
		{"/null", `{"waiting":null}`, 200, missing, "without what depthPath leads to"},
		{"/text", `{"waiting":"garbage"}`, 200, invalid, "answering depthPath with what is no number"},
		{"/negative", `{"waiting":-1}`, 200, invalid, "negative"},
	} {
		s.Set(c.path, c.status, c.body)
		h.Subscribe(subscriber(i+1), one(jsonQueue(s.URL(), c.path)))
		got := h.awaitReason(subscriber(i+1), c.reason)
		says(t, got, c.says)
		if got.ServerWide || strings.Contains(got.Message, "garbage") {
			t.Errorf("%s fails the server, or repeats it: %+v", c.path, got)
		}
	}
	malformed := subscriber(20)
	h.Subscribe(malformed, one(jsonQueue(s.URL(), "/%zz")))
	says(t, h.awaitReason(malformed, capacityv1alpha1.ReasonAddressRefused), "the path is malformed")
	for i, path := range []string{"/good?filter=a;b", "/good?x=%zz&y=1"} {
		h.Subscribe(subscriber(30+i), one(jsonQueue(s.URL(), path)))
		says(t, h.awaitReason(subscriber(30+i), capacityv1alpha1.ReasonAddressRefused), "the query of http.path is malformed")
	}
	if got := h.sample(scaler); got.Quality != queue.Fresh {
		t.Errorf("the good queue: %+v", got)
	}
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections < 1 || stats[0].Connections > 4 {
		t.Errorf("servers: %+v, want one with at most 4 connections", stats)
	}
	s.Stop()
	h.await("refused", func() bool { return strings.Contains(h.sample(scaler).Message, "refused for") }, func() any { return h.sample(scaler) })
	says(t, h.awaitReason(scaler, unavailable), `^http://127.0.0.1:\d+ refused.*Check that the server runs`)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 3)
}

func TestHTTPJSONCredentialsAndTLS(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	basic := servers.StartHTTP(t, servers.HTTPOptions{Username: "reader", Password: "hunter2", TLS: good})
	bearer := servers.StartHTTP(t, servers.HTTPOptions{Token: "hunter2", TLS: good})
	outdated := servers.StartHTTP(t, servers.HTTPOptions{TLS: expired})
	for _, s := range []*servers.HTTP{basic, bearer, outdated} {
		s.Set("/jobs", 200, `{"waiting":7}`)
	}
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "wrong")
	h.setSecret("chat/right", "username", "reader", "password", "hunter2")
	h.setSecret("chat/token", "token", "hunter2")
	h.setSecret("chat/ca", "ca.crt", string(good.CA))
	h.setSecret("chat/foreign", "ca.crt", string(foreign.CA))
	h.setSecret("chat/expired", "ca.crt", string(expired.CA))
	secured := func(url, secret, ca, name string) []capacityv1alpha1.Queue {
		q := jsonQueue(url, "jobs")
		q.HTTP.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: ca}, ServerName: name}
		if secret != "" {
			q.HTTP.Auth = authBy(secret)
		}
		return one(q)
	}
	h.Subscribe(scaler, secured(basic.URL(), "creds", "ca", ""))
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed)
	says(t, got, `refusing the credentials.*Correct Secret chat/creds`)
	if got.ServerWide {
		t.Error("a path that refuses a password fails the server")
	}
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
	h.awaitDepth(scaler, 7)
	h.Subscribe(subscriber(20), secured(bearer.URL(), "token", "ca", "localhost"))
	h.awaitDepth(subscriber(20), 7)
	for i, c := range []struct{ url, secret, ca, name, reason, says string }{
		{basic.URL(), "", "ca", "", capacityv1alpha1.ReasonAuthenticationFailed, "asking for credentials"},
		{basic.URL(), "right", "foreign", "", capacityv1alpha1.ReasonTLSFailed, "unknown authority"},
		{basic.URL(), "right", "ca", "other.example", capacityv1alpha1.ReasonTLSFailed, "for another name"},
		{outdated.URL(), "", "expired", "", capacityv1alpha1.ReasonTLSFailed, "has expired"},
	} {
		h.Subscribe(subscriber(i+1), secured(c.url, c.secret, c.ca, c.name))
		says(t, h.awaitReason(subscriber(i+1), c.reason), c.says)
	}
	h.awaitDepth(scaler, 7)
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
}

// A path that refuses the credentials for ever keeps no other unread, be it the first that is asked or not, and its Secret is not read all the time.
func TestRefusingPathKeepsNoOtherUnread(t *testing.T) {
	s := servers.StartHTTP(t, servers.HTTPOptions{Username: "reader", Password: "hunter2"})
	s.Set("/good", 200, `{"waiting":3}`)
	s.Set("/login", 401, "")
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
	of := func(path string) []capacityv1alpha1.Queue {
		q := jsonQueue(s.URL(), path)
		q.HTTP.Auth = authBy("creds")
		return one(q)
	}
	refusing := subscriber(1)
	h.Subscribe(refusing, of("login"))
	says(t, h.awaitReason(refusing, capacityv1alpha1.ReasonAuthenticationFailed), `refusing the credentials.*Correct Secret chat/creds`)
	h.Subscribe(scaler, of("good"))
	h.awaitDepth(scaler, 3)
	read := 0
	h.await("8 readings", func() bool {
		read += len(h.Take(scaler)[0])
		if got := h.sample(scaler); got.ServerWide || got.Quality != queue.Fresh {
			t.Fatalf("%+v", got)
		}
		return read >= 8
	}, func() any { return read })
	if got := h.sample(refusing); got.ServerWide || got.Reason != capacityv1alpha1.ReasonAuthenticationFailed {
		t.Errorf("%+v, want a failure of that path alone", got)
	}
	if stats := h.Servers(); !stats[0].Up || stats[0].Errors != 0 {
		t.Errorf("%+v, want a server that is up", stats)
	}
	if gets := h.secretGets("chat/creds"); gets > 6 {
		t.Errorf("the Secret was read %d times in about 8 s, want at most 6", gets)
	}
	// The password changes: every path refuses the old one, and the new one is found by itself.
	s.Login("new")
	h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed)
	h.setSecret("chat/creds", "username", "reader", "password", "new")
	h.awaitDepth(scaler, 3)
}

// Paths that never answer, more of them than there are connections, leave the others as they were.
func TestSilentPathsDelayNoOther(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good" {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"waiting":3}`)
	}))
	t.Cleanup(server.Close)
	h := newHarness(t)
	h.Subscribe(scaler, one(jsonQueue(server.URL, "good")))
	h.awaitDepth(scaler, 3)
	for i := range 16 {
		h.Subscribe(subscriber(i+1), one(jsonQueue(server.URL, fmt.Sprint("silent/", i))))
	}
	for i := range 16 {
		h.awaitReason(subscriber(i+1), capacityv1alpha1.ReasonQueueTimeout)
	}
	h.Take(scaler)
	read := 0
	h.await("15 readings", func() bool {
		read += len(h.Take(scaler)[0])
		return read >= 15
	}, func() any { return read })
	h.stop() // before the server: it waits for its requests
}

func TestHostileHTTPJSON(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	const invalid, timeout, unavailable = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout, capacityv1alpha1.ReasonQueueUnavailable
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"closes", func(net.Conn) {}, unavailable},
		{"no HTTP", sayHTTP("\x00\xff\x17garbage\n", true), invalid},
		{"endless body", sayHTTP("HTTP/1.1 200 OK\r\n\r\n", true), invalid},
		{"endless header", sayHTTP("HTTP/1.1 200 OK\r\nA: ", true), invalid},
		{"nested", sayHTTP("HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n"+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000), false), invalid},
		{"redirect", sayHTTP("HTTP/1.1 302 Found\r\nLocation: http://garbage/\r\nContent-Length: 0\r\n\r\n", false), invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			newHarness(t).withstands(good, jsonQueue("http://"+hostile(t, c.serve), "jobs"), c.reason)
		})
	}
}
