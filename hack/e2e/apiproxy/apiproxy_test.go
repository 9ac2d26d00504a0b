// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"bufio"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// apiServer answers watches with what is sent to its channel, a line each, and notes what was written.
type apiServer struct {
	lines chan string
	wrote chan string
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, refusedPath) {
		w.WriteHeader(http.StatusConflict)
		return
	}
	if !watches(r) {
		a.wrote <- r.Method + " " + r.URL.Path
		return
	}
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case line := <-a.lines:
			_, _ = io.WriteString(w, line+"\n")
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// start starts an API server, the proxy before it, and what serves that.
func start(t *testing.T) (*apiServer, *Proxy, *httptest.Server) {
	t.Helper()
	a := &apiServer{lines: make(chan string), wrote: make(chan string, 9)}
	behind := httptest.NewUnstartedServer(a)
	behind.EnableHTTP2 = true
	behind.StartTLS()
	t.Cleanup(behind.Close)
	u, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	ca := x509.NewCertPool()
	ca.AddCert(behind.Certificate())
	p := New(u, ca)
	front := httptest.NewUnstartedServer(p)
	front.EnableHTTP2 = true
	front.StartTLS()
	t.Cleanup(front.Close)
	return a, p, front
}

func request(t *testing.T, front *httptest.Server, method, path string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, front.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return front.Client().Do(r)
}

// lines are what a watch tells, until it ends.
func lines(body io.Reader) <-chan string {
	out := make(chan string, 9)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(body); s.Scan(); {
			out <- s.Text()
		}
	}()
	return out
}

func next(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came within 10 s")
		return ""
	}
}

func awaitHeld(t *testing.T, h *Hold) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); h.Held() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was held back within 10 s")
		}
	}
}

const refusedPath = "/api/v1/namespaces/refused/pods/x"

const podWatch = "/api/v1/namespaces/a/pods?watch=true&resourceVersion=7"

func TestEventsAreHeldBack(t *testing.T) {
	api, p, front := start(t)
	watch, err := request(t, front, http.MethodGet, podWatch)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	told := lines(watch.Body)
	others := p.Hold("deployments")
	api.lines <- "one"
	if got := next(t, told); got != "one" {
		t.Errorf("told %q, want one: other resources are not held", got)
	}
	others.Release()
	h := p.Hold()
	api.lines <- "two"
	awaitHeld(t, h)
	select {
	case got := <-told:
		t.Errorf("told %q while it was held back", got)
	default:
	}
	h.Release()
	if got := next(t, told); got != "two" {
		t.Errorf("told %q, want two", got)
	}
}

func TestForgottenEventsAreNeverSeen(t *testing.T) {
	api, p, front := start(t)
	watch, err := request(t, front, http.MethodGet, podWatch)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	told := lines(watch.Body)
	h := p.Hold("pods")
	api.lines <- "between"
	awaitHeld(t, h)
	h.Forget()
	if got := next(t, told); got != "" {
		t.Errorf("told %q, want the end", got)
	}
	for _, want := range []int{http.StatusGone, http.StatusOK} {
		again, err := request(t, front, http.MethodGet, podWatch)
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		if again.StatusCode != want {
			t.Errorf("the watch is resumed with %d, want %d", again.StatusCode, want)
		}
	}
}

func TestStrike(t *testing.T) {
	for _, after := range []bool{false, true} {
		api, p, front := start(t)
		struck := make(chan string, 1)
		strike := &Strike{After: after, Do: func(ip string) { struck <- ip }}
		p.StrikeAtWrite(strike)
		for _, unmeant := range []string{"/api/v1/namespaces/a/pods/x/status", "/apis/coordination.k8s.io/v1/namespaces/a/leases/x"} {
			answer, err := request(t, front, http.MethodPut, unmeant)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			next(t, api.wrote)
		}
		if answer, err := request(t, front, http.MethodPatch, "/api/v1/namespaces/a/pods/x"); err == nil {
			answer.Body.Close()
			t.Errorf("the answer arrived: %s", answer.Status)
		}
		if ip := next(t, struck); ip != "127.0.0.1" {
			t.Errorf("struck %s", ip)
		}
		if got := len(api.wrote) == 1; got != after {
			t.Errorf("written: %v, want %v", got, after)
		}
		if p.Disarm(strike) {
			t.Error("it would strike twice")
		}
	}
}

// A write that was not made is none to strike after: the next one is.
func TestStrikeAfterAWriteThatWasMade(t *testing.T) {
	_, p, front := start(t)
	struck := make(chan string, 1)
	strike := &Strike{Status: true, After: true, Do: func(ip string) { struck <- ip }}
	p.StrikeAtWrite(strike)
	answer, err := request(t, front, http.MethodPatch, refusedPath+"/status")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusConflict || len(struck) > 0 {
		t.Errorf("answered with %s, struck %d times", answer.Status, len(struck))
	}
	if answer, err := request(t, front, http.MethodPatch, "/apis/capacity.queuescaler.io/v1alpha1/namespaces/a/queuescalers/x/status"); err == nil {
		answer.Body.Close()
		t.Errorf("the answer arrived: %s", answer.Status)
	}
	next(t, struck)
}

func TestResourceOf(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/pods":                                   "pods/",
		"/api/v1/namespaces/a/pods/x/status":             "pods/status",
		"/api/v1/namespaces/a":                           "namespaces/",
		"/apis/apps/v1/namespaces/a/deployments/x/scale": "deployments/scale",
		"/apis/apps/v1/deployments":                      "deployments/",
		"/healthz":                                       "/",
	} {
		resource, subresource := resourceOf(path)
		if got := strings.Join([]string{resource, subresource}, "/"); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
