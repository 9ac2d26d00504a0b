// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

// exporter is what Prometheus scrapes: a queue's own numbers, or nothing.
type exporter struct {
	mu                             sync.Mutex
	gone                           bool
	depth, inFlight, arrived, done int
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.gone {
		_, _ = fmt.Fprintf(w, "jobs_waiting %d\njobs_running %d\njobs_arrived_total %d\njobs_done_total %d\n", e.depth, e.inFlight, e.arrived, e.done)
	}
	_, _ = fmt.Fprint(w, "shard{n=\"1\"} 1\nshard{n=\"2\"} 2\nbroken NaN\n")
}

func (e *exporter) set(gone bool, depth, inFlight, arrived, done int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone, e.depth, e.inFlight, e.arrived, e.done = gone, depth, inFlight, arrived, done
}

func startExporter(t *testing.T) (*exporter, string) {
	t.Helper()
	e := &exporter{}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return e, server.Listener.Addr().String()
}

func metricQueue(url, query string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", PollSeconds: 1, QueueSource: capacityv1alpha1.QueueSource{
		Prometheus: capacityv1alpha1.PrometheusSource{Server: capacityv1alpha1.Server{URL: url}, DepthQuery: query}}}
}

func TestPrometheusReadings(t *testing.T) {
	e, target := startExporter(t)
	e.set(false, 3, 2, 100_000, 99_995)
	p := servers.StartPrometheus(t, servers.PrometheusOptions{Target: target})
	q := metricQueue(p.URL()+"/", "sum(jobs_waiting)")
	q.Prometheus.InFlightQuery, q.Prometheus.ArrivedTotalQuery, q.Prometheus.CompletedTotalQuery = "jobs_running", "jobs_arrived_total", "jobs_done_total"
	q.Prometheus.OldestAgeSecondsQuery = "scalar(jobs_running) * 1.25"
	h := newHarness(t)
	h.Subscribe(scaler, one(q))
	got := h.awaitDepth(scaler, 3).Reading
	if *got.InFlight != 2 || *got.ArrivedTotal != 100_000 || *got.CompletedTotal != 99_995 || *got.OldestAge != 2500*time.Millisecond {
		t.Errorf("%+v", got)
	}
	// What was sent and done shows to the message, at each of 100,000 in steps.
	for sent := 100_000; sent <= 200_000; sent += 25_000 {
		e.set(false, 0, 0, sent, sent-7)
		h.await(fmt.Sprint(sent, " arrived"), func() bool {
			r := h.sample(scaler).Reading
			return *r.ArrivedTotal == int64(sent) && *r.CompletedTotal == int64(sent-7)
		}, func() any { return h.sample(scaler).Reading })
	}
	// A metric that disappears is no zero, and is read again when it is back, its counters begun anew.
	e.set(true, 0, 0, 0, 0)
	missing := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	says(t, missing, "answering depthQuery with an empty result.*or vector\\(0\\)")
	if missing.ServerWide || missing.Reading == nil {
		t.Errorf("%+v, want a failure of this queue alone, with its last reading", missing)
	}
	e.set(false, 5, 0, 5, 0)
	if again := h.awaitDepth(scaler, 5); *again.Reading.ArrivedTotal != 5 {
		t.Errorf("%d arrived, want 5", *again.Reading.ArrivedTotal)
	}
}

func TestPrometheusQueriesFailAlone(t *testing.T) {
	e, target := startExporter(t)
	e.set(false, 3, 2, 5, 0)
	p := servers.StartPrometheus(t, servers.PrometheusOptions{Target: target})
	h := newHarness(t)
	h.Subscribe(scaler, one(metricQueue(p.URL(), "jobs_waiting")))
	h.awaitDepth(scaler, 3)
	for i, c := range []struct{ query, reason, says string }{
		{"shard", capacityv1alpha1.ReasonQueueReplyInvalid, "more than one element.*Aggregate"},
		{"broken", capacityv1alpha1.ReasonQueueReplyInvalid, "NaN"},
		{"jobs_waiting - 100", capacityv1alpha1.ReasonQueueReplyInvalid, "negative"},
		{"jobs_waiting[1m]", capacityv1alpha1.ReasonQueueReplyInvalid, "no instant vector"},
		{"sum(", capacityv1alpha1.ReasonQueueReplyInvalid, "not understanding the query of depthQuery"},
		{"jobs_waiting + on(nothing) shard", capacityv1alpha1.ReasonQueueReplyInvalid, "not able to evaluate the query"},
		{"nothing", capacityv1alpha1.ReasonQueueMissing, "an empty result"},
	} {
		h.Subscribe(subscriber(i+1), one(metricQueue(p.URL(), c.query)))
		got := h.awaitReason(subscriber(i+1), c.reason)
		says(t, got, c.says)
		if got.ServerWide {
			t.Errorf("%s fails the server", c.query)
		}
	}
	if got := h.sample(scaler); got.Quality != queue.Fresh {
		t.Errorf("the good queue: %+v", got)
	}
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections < 1 || stats[0].Connections > 4 {
		t.Errorf("servers: %+v, want one with at most 4 connections", stats)
	}
	p.Stop()
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable), `^http://127.0.0.1:\d+ refused.*Check that the server runs`)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 3)
	elsewhere := subscriber(20)
	h.Subscribe(elsewhere, one(metricQueue(p.URL()+"/nowhere", "jobs_waiting")))
	says(t, h.awaitReason(elsewhere, capacityv1alpha1.ReasonQueueMissing), "without an API.*/api/v1/query has to be below it")
}

func TestPrometheusCredentialsAndTLS(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	p := servers.StartPrometheus(t, servers.PrometheusOptions{Username: "reader", Password: "hunter2", TLS: good})
	outdated := servers.StartPrometheus(t, servers.PrometheusOptions{TLS: expired})
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "wrong")
	h.setSecret("chat/right", "username", "reader", "password", "hunter2")
	h.setSecret("chat/ca", "ca.crt", string(good.CA))
	h.setSecret("chat/foreign", "ca.crt", string(foreign.CA))
	h.setSecret("chat/expired", "ca.crt", string(expired.CA))
	secured := func(url, secret, ca, name string) []capacityv1alpha1.Queue {
		q := metricQueue(url, "vector(7)")
		q.Prometheus.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: ca}, ServerName: name}
		if secret != "" {
			q.Prometheus.Auth = authBy(secret)
		}
		return one(q)
	}
	h.Subscribe(scaler, secured(p.URL(), "creds", "ca", ""))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `refusing the credentials.*Correct Secret chat/creds`)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
	h.awaitDepth(scaler, 7)
	for i, c := range []struct{ url, secret, ca, name, reason, says string }{
		{p.URL(), "", "ca", "", capacityv1alpha1.ReasonAuthenticationFailed, "asking for credentials"},
		{p.URL(), "right", "foreign", "", capacityv1alpha1.ReasonTLSFailed, "unknown authority"},
		{p.URL(), "right", "ca", "other.example", capacityv1alpha1.ReasonTLSFailed, "for another name"},
		{outdated.URL(), "", "expired", "", capacityv1alpha1.ReasonTLSFailed, "has expired"},
	} {
		h.Subscribe(subscriber(i+1), secured(c.url, c.secret, c.ca, c.name))
		says(t, h.awaitReason(subscriber(i+1), c.reason), c.says)
	}
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a password")
	}
}

// Prometheus itself knows no tokens; what stands before it does.
func TestPrometheusBehindBearerToken(t *testing.T) {
	p := servers.StartPrometheus(t, servers.PrometheusOptions{})
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(p.URL())))
	front := httptest.NewServer(http.StripPrefix("/tenant", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") {
		case "Bearer hunter2":
			proxy.ServeHTTP(w, r)
		case "Bearer reader":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})))
	t.Cleanup(func() {
		front.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	h := newHarness(t)
	q := metricQueue(front.URL+"/tenant/", "vector(7)")
	q.Prometheus.Auth = authBy("creds")
	h.setSecret("chat/creds", "token", "hunter2")
	h.Subscribe(scaler, one(q))
	h.awaitDepth(scaler, 7)
	h.setSecret("shop/creds", "token", "reader")
	h.Subscribe(other, one(q))
	says(t, h.awaitReason(other, capacityv1alpha1.ReasonPermissionDenied), "denying the query")
}

// sayHTTP answers with text whatever is asked, and with garbage after it if endless. It hears the request out: closing before that would
// make the kernel throw the answer away.
func sayHTTP(text string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		_, err = io.WriteString(conn, text)
		for err == nil && endless {
			_, err = io.WriteString(conn, strings.Repeat("garbage", 1000))
		}
	}
}

func TestHostilePrometheus(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	const invalid, timeout = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, timeout},
		{"no HTTP", sayHTTP("\x00\xff\x17garbage\n", true), invalid},
		{"endless body", sayHTTP("HTTP/1.1 200 OK\r\n\r\n", true), invalid},
		{"endless header", sayHTTP("HTTP/1.1 200 OK\r\nA: ", true), invalid},
		{"redirect", sayHTTP("HTTP/1.1 302 Found\r\nLocation: http://garbage/\r\nContent-Length: 0\r\n\r\n", false), invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			newHarness(t).withstands(good, metricQueue("http://"+hostile(t, c.serve), "vector(7)"), c.reason)
		})
	}
}
