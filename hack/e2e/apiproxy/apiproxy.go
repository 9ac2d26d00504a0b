// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiproxy stands between an API server and a client of it, and makes that client see the past: it holds back the events of
// watches, as slow networks and busy API servers do, and it strikes at the moment of a write.
//
// So the client comes to what the Sieve paper (Sun et al., Automatic Reliability Testing for Cluster Management Controllers, OSDI 2022)
// calls intermediate states, when it is killed between two writes; stale states, when its events are late; and unobserved states, when it
// never hears of what was between two of them.
package apiproxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Proxy passes requests on to an API server, with their credentials. Its methods may be called concurrently.
type Proxy struct {
	reverse httputil.ReverseProxy
	onward  http.RoundTripper

	mu    sync.Mutex
	holds []*Hold
	// expired are the watches that have to begin anew, by client and resource.
	expired map[stream]int
	strikes []*Strike
}

// stream is what a client watches.
type stream struct{ client, resource string }

// New returns a proxy, which is a handler for an HTTPS server. ca has signed the API server's certificate.
func New(apiServer *url.URL, ca *x509.CertPool) *Proxy {
	p := &Proxy{
		onward:  &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true},
		expired: map[stream]int{},
	}
	p.reverse = httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(apiServer) },
		Transport:     p,
		FlushInterval: -1, // an event is passed on at once
		ErrorLog:      log.New(io.Discard, "", 0),
		// As if the API server had died: no answer.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return p
}

const expired = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}`

// ServeHTTP passes a request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if resumes(r) && p.hasExpired(streamOf(r)) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusGone)
		_, _ = io.WriteString(w, expired) // to a client that may be gone
		return
	}
	p.reverse.ServeHTTP(w, r)
}

// resumes says whether a request is for a watch that goes on where another one ended.
func resumes(r *http.Request) bool {
	q := r.URL.Query()
	return watches(r) && q.Get("sendInitialEvents") != "true" && q.Get("resourceVersion") != "" && q.Get("resourceVersion") != "0"
}

func watches(r *http.Request) bool {
	asked := r.URL.Query().Get("watch")
	return asked == "true" || asked == "1"
}

func streamOf(r *http.Request) stream {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	resource, _ := resourceOf(r.URL.Path)
	return stream{client, resource}
}

// resourceOf is what a path of the API is about, such as "pods", and its subresource.
func resourceOf(path string) (resource, subresource string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return "", ""
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		subresource = parts[2]
	}
	return parts[0], subresource
}

// hasExpired says whether the client has to begin the watch anew, which it then does.
func (p *Proxy) hasExpired(s stream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expired[s] == 0 {
		return false
	}
	p.expired[s]--
	return true
}

// Hold holds back events.
type Hold struct {
	proxy     *Proxy
	resources []string
	released  chan struct{}
	forget    bool
	held      int // of watches
}

// Hold holds back what the watches of these resources tell, of all if none is named, until it is released.
func (p *Proxy) Hold(resources ...string) *Hold {
	h := &Hold{proxy: p, resources: resources, released: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds = append(p.holds, h)
	return h
}

// Held is how many watches had something to tell since it began.
func (h *Hold) Held() int {
	h.proxy.mu.Lock()
	defer h.proxy.mu.Unlock()
	return h.held
}

// Release lets the events go to the client.
func (h *Hold) Release() { h.end(false) }

// Forget drops the events. The watches that had any end, and cannot be resumed: the client has to list anew, and so never hears of what was
// in between.
func (h *Hold) Forget() { h.end(true) }

func (h *Hold) end(forget bool) {
	h.proxy.mu.Lock()
	defer h.proxy.mu.Unlock()
	h.forget = forget
	h.proxy.holds = slices.DeleteFunc(h.proxy.holds, func(other *Hold) bool { return other == h })
	close(h.released)
}

// underHold is the hold under which a watch has something to tell, if any.
func (p *Proxy) underHold(resource string) *Hold {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.holds {
		if len(h.resources) == 0 || slices.Contains(h.resources, resource) {
			h.held++
			return h
		}
	}
	return nil
}

// events is the stream of a watch.
type events struct {
	io.ReadCloser
	proxy *Proxy
	of    stream
	ended <-chan struct{} // the client is gone
}

func (e *events) Read(b []byte) (int, error) {
	n, err := e.ReadCloser.Read(b)
	if n == 0 {
		return n, err // it ended, and tells nothing
	}
	for h := e.proxy.underHold(e.of.resource); h != nil; h = e.proxy.underHold(e.of.resource) {
		select {
		case <-h.released:
		case <-e.ended:
			return 0, io.ErrUnexpectedEOF
		}
		if h.forget {
			e.proxy.mu.Lock()
			e.proxy.expired[e.of]++
			e.proxy.mu.Unlock()
			return 0, io.EOF
		}
	}
	return n, err
}

// Strike is what happens at a write.
type Strike struct {
	// Status says that it is to be a write of a status, and not of anything else. Leases and events are never meant.
	Status bool
	// After says whether the write is done; its answer never arrives either way.
	After bool
	// Do has the address of the client.
	Do func(ip string)
}

// StrikeAtWrite strikes at the next such write, once; one that was asked for earlier comes first. After a write strikes only if it was made.
func (p *Proxy) StrikeAtWrite(s *Strike) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strikes = append(p.strikes, s)
}

// Disarm takes back a strike. It returns false if it happened, or is about to.
func (p *Proxy) Disarm(s *Strike) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.strikes, s)
	if i >= 0 {
		p.strikes = slices.Delete(p.strikes, i, i+1)
	}
	return i >= 0
}

// take returns the strike that is to happen at a request, if any.
func (p *Proxy) take(r *http.Request) *Strike {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.strikes, func(s *Strike) bool { return s.meant(r) })
	if i < 0 {
		return nil
	}
	s := p.strikes[i]
	p.strikes = slices.Delete(p.strikes, i, i+1)
	return s
}

var errStruck = errors.New("the client was struck")

// RoundTrip sends a request to the API server. It is for the proxy's own use.
func (p *Proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	s := p.take(r)
	if s != nil && !s.After {
		s.Do(streamOf(r).client)
		return nil, errStruck
	}
	response, err := p.onward.RoundTrip(r)
	if s != nil && (err != nil || response.StatusCode >= http.StatusMultipleChoices) {
		p.StrikeAtWrite(s) // at another one
		s = nil
	}
	switch {
	case err != nil:
		return nil, err
	case s != nil:
		s.Do(streamOf(r).client)
		return nil, errors.Join(errStruck, response.Body.Close())
	case watches(r):
		response.Body = &events{response.Body, p, streamOf(r), r.Context().Done()}
	}
	return response, nil
}

// meant says whether the strike is for a request.
func (s *Strike) meant(r *http.Request) bool {
	resource, subresource := resourceOf(r.URL.Path)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	others := []string{"", "leases", "events", "tokenreviews", "subjectaccessreviews"}
	return !reads && !slices.Contains(others, resource) && s.Status == (subresource == "status")
}
