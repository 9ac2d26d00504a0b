// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

// replyBytes is the limit of replies in these tests.
const replyBytes = 1 << 10

// httpServer serves handler, and returns the client of it; change may change how it is asked.
func httpServer(t *testing.T, handler http.HandlerFunc, change ...func(*queue.ConnectOptions)) (*queue.HTTPClient, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return httpClient(t, server.Listener.Addr().String(), change...), server
}

func httpClient(t *testing.T, address string, change ...func(*queue.ConnectOptions)) *queue.HTTPClient {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	o := queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindRabbitMQ, Scheme: "http", Host: host, Port: port},
		Dial:     func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) },
	}
	for _, c := range change {
		c(&o)
	}
	client := queue.NewHTTPClient(o)
	t.Cleanup(client.Close)
	return client
}

// fails checks a failure and that it repeats nothing of what a server sent or was sent.
func fails(t *testing.T, f *queue.Failure, reason, what string) {
	t.Helper()
	if f == nil || f.Reason != reason || !strings.Contains(f.What, what) || f.Remedy == "" {
		t.Fatalf("%+v, want %s that says %q", f, reason, what)
	}
	if text := f.What + f.Remedy; strings.Contains(text, "hunter2") || strings.Contains(text, "xxx") {
		t.Errorf("%q repeats a secret or a reply", text)
	}
}

func TestHTTPRequest(t *testing.T) {
	client, _ := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s auth=%q body=%q", r.Method, r.RequestURI, r.Header.Get("Authorization"), body)
	}, func(o *queue.ConnectOptions) {
		o.Username, o.Password, o.Endpoint.Path = "reader", "hunter2", "behind/proxy"
	})
	for path, want := range map[string]string{
		"api/queues/%2F": `GET /behind/proxy/api/queues/%2F?a=1+2 auth="Basic cmVhZGVyOmh1bnRlcjI=" body=""`,
		"":               `GET /behind/proxy?a=1+2 auth="Basic cmVhZGVyOmh1bnRlcjI=" body=""`,
	} {
		got, failure := client.Get(t.Context(), path, url.Values{"a": {"1 2"}}, replyBytes)
		if failure != nil || got.Status != 200 || string(got.Body) != want {
			t.Errorf("%d %s, %v; want %s", got.Status, got.Body, failure, want)
		}
	}
	for want, set := range map[string]func(*queue.ConnectOptions){
		"": func(*queue.ConnectOptions) {}, "Bearer hunter2": func(o *queue.ConnectOptions) { o.Token = "hunter2" },
	} {
		client, _ := httpServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Authorization")) }, set)
		if got, failure := client.Get(t.Context(), "", nil, replyBytes); failure != nil || string(got.Body) != want {
			t.Errorf("authorization %q, %v; want %q", got.Body, failure, want)
		}
	}
}

// Only the statuses of success have a body, and those that speak of the server are failures of it.
func TestHTTPStatuses(t *testing.T) {
	client, _ := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			_, _ = io.WriteString(w, "xxx")
		}
	})
	const unavailable, invalid = capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueReplyInvalid
	for status, want := range map[int]string{
		200: "", 204: "", 400: "", 403: "", 404: "", 401: capacityv1alpha1.ReasonAuthenticationFailed, 429: unavailable, 500: unavailable, 503: unavailable, 304: invalid,
	} {
		got, failure := client.Get(t.Context(), "", url.Values{"status": {fmt.Sprint(status)}}, replyBytes)
		if failure != nil || got.Status != status || (len(got.Body) > 0) != (status == 200) {
			t.Errorf("%d: %+v, %v", status, got, failure)
		}
		for _, anonymous := range []bool{true, false} {
			switch f := got.StatusFailure(anonymous); {
			case want != "":
				fails(t, f, want, "")
			case f != nil:
				t.Errorf("%d: %v, want no failure of the server", status, f)
			}
		}
	}
}

// Credentials are sent to the url's server alone, wherever it points to.
func TestHTTPRedirectIsNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 307, 308} {
		client, _ := httpServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL+"/xxx", status) },
			func(o *queue.ConnectOptions) { o.Username, o.Password = "reader", "hunter2" })
		got, failure := client.Get(t.Context(), "", nil, replyBytes)
		if failure != nil || got.Status != status {
			t.Errorf("%+v, %v", got, failure)
		}
		fails(t, got.StatusFailure(false), capacityv1alpha1.ReasonQueueReplyInvalid, "redirect")
	}
}

func TestHTTPProxyIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("NO_PROXY", "")
	client, _ := httpServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "direct") },
		func(o *queue.ConnectOptions) { o.Endpoint.Host = "queue.example" })
	if got, failure := client.Get(t.Context(), "", nil, replyBytes); failure != nil || string(got.Body) != "direct" {
		t.Errorf("%+v, %v", got, failure)
	}
}

// A reply has as many bytes as the limit allows, and ends in time.
func TestHTTPReplyIsBounded(t *testing.T) {
	invalid := capacityv1alpha1.ReasonQueueReplyInvalid
	part := []byte(strings.Repeat("x", 256))
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		reason  string
	}{
		{"as long as may be", func(w http.ResponseWriter, _ *http.Request) {
			for range replyBytes / len(part) {
				_, _ = w.Write(part)
			}
		}, ""},
		{"one more", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Repeat("x", replyBytes+1)))
		}, invalid},
		{"never ending", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(part); err != nil {
					return
				}
			}
		}, invalid},
		{"declared to be huge", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9000000000000000000")
			for {
				if _, err := w.Write(part); err != nil {
					return
				}
			}
		}, invalid},
		{"a large header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, invalid},
		{"drop by drop", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		}, capacityv1alpha1.ReasonQueueTimeout},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, capacityv1alpha1.ReasonQueueTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, _ := httpServer(t, c.handler)
			start := time.Now()
			got, failure := client.Get(t.Context(), "", nil, replyBytes)
			if took := time.Since(start); took > queue.ConnectTimeout+queue.ReplyTimeout+time.Second {
				t.Errorf("it took %v", took)
			}
			if c.reason != "" {
				fails(t, failure, c.reason, "")
			} else if failure != nil || len(got.Body) != replyBytes {
				t.Errorf("%d bytes, %v; want %d", len(got.Body), failure, replyBytes)
			}
		})
	}
}

// What is no HTTP is told from what is no connection.
func TestHTTPConnectionFailures(t *testing.T) {
	const unavailable, invalid = capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueReplyInvalid
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	nobody := listener.Addr().String()
	_ = listener.Close()
	garbage := hostile(t, func(conn net.Conn) { _, _ = io.WriteString(conn, strings.Repeat("xxx\x00\n", 100)) })
	closing := hostile(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
	cut := hostile(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1024))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxxx")
	})
	for _, c := range []struct{ address, reason, what string }{
		{nobody, unavailable, "refused"}, {garbage, invalid, "not speaking HTTP"}, {closing, unavailable, "closing connections"}, {cut, unavailable, "closing connections"},
	} {
		_, failure := httpClient(t, c.address).Get(t.Context(), "", nil, replyBytes)
		fails(t, failure, c.reason, c.what)
	}
	refused := queue.Fail(capacityv1alpha1.ReasonAddressRefused, "Use another", "refused because it is link-local")
	_, failure := httpClient(t, nobody, func(o *queue.ConnectOptions) {
		o.Dial = func(context.Context) (net.Conn, error) { return nil, refused }
	}).Get(t.Context(), "", nil, replyBytes)
	fails(t, failure, refused.Reason, refused.What)
}

func TestHTTPOverTLS(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	pool := func(c *servers.Certificates) *x509.CertPool {
		p := x509.NewCertPool()
		p.AppendCertsFromPEM(c.CA)
		return p
	}
	pair := func(c *servers.Certificates) []tls.Certificate {
		return []tls.Certificate{must(tls.X509KeyPair(c.Cert, c.Key))}
	}
	for _, c := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		says   string
	}{
		{"known CA", &tls.Config{Certificates: pair(good)}, &tls.Config{RootCAs: pool(good), ServerName: "127.0.0.1"}, ""},
		{"client certificate", &tls.Config{Certificates: pair(good), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(good)},
			&tls.Config{RootCAs: pool(good), ServerName: "127.0.0.1", Certificates: pair(good)}, ""},
		{"unknown CA", &tls.Config{Certificates: pair(good)}, &tls.Config{ServerName: "127.0.0.1"}, "unknown authority"},
		{"expired", &tls.Config{Certificates: pair(expired)}, &tls.Config{RootCAs: pool(expired), ServerName: "127.0.0.1"}, "expired"},
		{"other name", &tls.Config{Certificates: pair(good)}, &tls.Config{RootCAs: pool(good), ServerName: "queue.example"}, "another name"},
		{"server without TLS", nil, &tls.Config{RootCAs: pool(good), ServerName: "127.0.0.1"}, "not speaking TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secure") }))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if server.TLS = c.server; c.server != nil {
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			client := httpClient(t, server.Listener.Addr().String(), func(o *queue.ConnectOptions) { o.TLS = c.client })
			got, failure := client.Get(t.Context(), "", nil, replyBytes)
			if c.says != "" {
				fails(t, failure, capacityv1alpha1.ReasonTLSFailed, c.says)
				return
			}
			if failure != nil || string(got.Body) != "secure" {
				t.Errorf("%+v, %v", got, failure)
			}
			if n := client.Connections(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

// A server that accepts and is silent at the TLS handshake holds no connection for ever: one that speaks later is asked again.
func TestHTTPSilentHandshakes(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(good.Cert, good.Key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deaf := &deafListener{Listener: listener, silent: 4}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "now") }))
	server.Listener = deaf
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(deaf.release)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(good.CA)
	client := httpClient(t, listener.Addr().String(), func(o *queue.ConnectOptions) { o.TLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"} })
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			_, failure := client.Get(t.Context(), "", nil, replyBytes)
			fails(t, failure, capacityv1alpha1.ReasonTLSFailed, "silent at the TLS handshake")
		})
	}
	wait.Wait()
	if got, failure := client.Get(t.Context(), "", nil, replyBytes); failure != nil || string(got.Body) != "now" {
		t.Errorf("%s, %v: the connections that were silent are still in the way", got.Body, failure)
	}
}

// deafListener keeps the first connections to itself.
type deafListener struct {
	net.Listener
	silent int
	kept   []net.Conn
}

// Accept is net.Listener's.
func (l *deafListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.silent == 0 {
			return conn, err
		}
		l.silent--
		l.kept = append(l.kept, conn)
	}
}

func (l *deafListener) release() {
	for _, conn := range l.kept {
		_ = conn.Close()
	}
}

// Any number of requests goes over at most four connections, which are used again, and closed at the end.
func TestHTTPConnections(t *testing.T) {
	var mu sync.Mutex
	open, most, all := 0, 0, 0
	// Nobody is answered before four requests are there, so that there are as many connections.
	var four sync.WaitGroup
	four.Add(4)
	var first atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if first.Add(1) <= 4 {
			four.Done()
		}
		four.Wait()
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch s {
		case http.StateNew:
			open++
			all++
			most = max(most, open)
		case http.StateClosed:
			open--
		default:
		}
	}
	server.Start()
	defer server.Close()
	client := httpClient(t, server.Listener.Addr().String())
	var wait sync.WaitGroup
	for range 40 {
		wait.Go(func() {
			if _, failure := client.Get(t.Context(), "", nil, replyBytes); failure != nil {
				t.Error(failure)
			}
		})
	}
	wait.Wait()
	mu.Lock()
	if most != 4 || all != 4 || client.Connections() != open || open == 0 {
		t.Errorf("%d connections at once, %d in all, %d open, %d counted; want at most 4", most, all, open, client.Connections())
	}
	mu.Unlock()
	client.Close()
	for deadline := time.Now().Add(patience); client.Connections() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open after Close", client.Connections())
		}
	}
}
