// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// HTTPOptions are how a server for JSON is to be started.
type HTTPOptions struct {
	// TLS makes it speak TLS alone.
	TLS *Certificates
	// Username and Password, or Token, are asked for where they are given.
	Username, Password, Token string
}

// HTTP is a server in this process that tells of queues in JSON.
type HTTP struct {
	options HTTPOptions
	address string

	mu     sync.Mutex
	server *http.Server
	pages  map[string]page
}

// page is what is answered at a path and query.
type page struct {
	status int
	body   string
}

// StartHTTP starts a server for a test, and ends it with the test.
func StartHTTP(t testing.TB, o HTTPOptions) *HTTP {
	t.Helper()
	h := &HTTP{options: o, address: "127.0.0.1:0", pages: map[string]page{}}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Stop)
	return h
}

// Address is host:port.
func (h *HTTP) Address() string { return h.address }

// URL is that of the server.
func (h *HTTP) URL() string {
	if h.options.TLS != nil {
		return "https://" + h.address
	}
	return "http://" + h.address
}

// Set is what is answered at a path with its query: a status and a body. Whatever is not set is missing.
func (h *HTTP) Set(path string, status int, body string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages[path] = page{status, body}
}

// Login changes the password that is asked for.
func (h *HTTP) Login(password string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.options.Password = password
}

// Start starts the server, after Stop on the same port.
func (h *HTTP) Start() error {
	listener, err := net.Listen("tcp", h.address)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.address = listener.Addr().String()
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	server, serve := h.server, h.server.Serve
	if h.options.TLS != nil {
		if server.TLSConfig, err = h.options.TLS.server(false); err != nil {
			return err
		}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	go func() { _ = serve(listener) }()
	return nil
}

// Stop ends the server and its connections.
func (h *HTTP) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.server.Close()
}

// ServeHTTP answers a request.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	o, found := h.options, h.pages[r.URL.RequestURI()]
	h.mu.Unlock()
	username, password, _ := r.BasicAuth()
	switch {
	case username != o.Username || password != o.Password, o.Token != "" && r.Header.Get("Authorization") != "Bearer "+o.Token:
		found = page{http.StatusUnauthorized, ""}
	case found.status == 0:
		found.status = http.StatusNotFound
	}
	w.WriteHeader(found.status)
	_, _ = io.WriteString(w, found.body)
}
