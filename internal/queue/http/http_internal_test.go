// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package httpq

import (
	"context"
	"crypto/tls"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const missing, nonsense = capacityv1alpha1.ReasonQueueMissing, capacityv1alpha1.ReasonQueueReplyInvalid

var replies = []struct{ name, path, body, reason, says string }{
	{"number", "a.b", `{"a":{"b":7}}`, "", ""},
	{"number in a string", "a", `{"a":"7"}`, "", ""},
	{"fraction", "a", `{"a":6.6}`, "", ""},
	{"exponent", "a", `{"a":0.7e1}`, "", ""},
	{"index", "1.n", `[{"n":1},{"n":7}]`, "", ""},
	{"by name", `q.#(name=="a b").n`, `{"q":[{"name":"x","n":1},{"name":"a b","n":7}]}`, "", ""},
	{"length", "a.#", `{"a":[1,2,3,4,5,6,7]}`, "", ""},
	{"length of those that match", `a.#(s=="w")#|#`, `{"a":[{"s":"w"},{"s":"w"},{"s":"w"},{"s":"w"},{"s":"w"},{"s":"w"},{"s":"w"},{"s":"x"}]}`, "", ""},
	{"name with a dot", `a\.b`, `{"a.b":7}`, "", ""},
	{"the whole reply", "#", `[1,2,3,4,5,6,7]`, "", ""},
	{"absent", "a.c", `{"a":{"b":7}}`, missing, "without what depthPath leads to"},
	{"null", "a", `{"a":null}`, missing, "without what depthPath leads to"},
	{"nobody by that name", `q.#(name=="z").n`, `{"q":[{"name":"x","n":1}]}`, missing, "without what"},
	{"beyond the end", "7", `[1]`, missing, "without what"},
	{"malformed path", `q.#(name==`, `{"q":[{"name":"x"}]}`, missing, "without what"},
	{"empty", "a", ``, nonsense, "no JSON"},
	{"HTML", "a", `<html>garbage`, nonsense, "no JSON"},
	{"no end", "a", `{"a":7,"garbage`, nonsense, "no JSON"},
	{"too deep", "a", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), nonsense, "no JSON"},
	{"object", "a", `{"a":{"garbage":7}}`, nonsense, "no number"},
	{"several", "q.#.n", `{"q":[{"n":1},{"n":2}]}`, nonsense, "no number"},
	{"boolean", "a", `{"a":true}`, nonsense, "no number"},
	{"text", "a", `{"a":"garbage"}`, nonsense, "no number"},
	{"empty text", "a", `{"a":""}`, nonsense, "no number"},
	{"null in a string", "a", `{"a":"null"}`, nonsense, "no number"},
	{"NaN", "a", `{"a":"NaN"}`, nonsense, "no number"},
	{"hexadecimal", "a", `{"a":"0x7"}`, nonsense, "no number"},
	{"infinite", "a", `{"a":1e999}`, nonsense, "no number"},
	{"negative", "a", `{"a":-7}`, nonsense, "negative"},
	{"absurd", "a", `{"a":1e300}`, nonsense, "more than a queue holds"},
}

func TestParse(t *testing.T) {
	for _, c := range replies {
		got, failure := parse([]byte(c.body), &capacityv1alpha1.HTTPSource{DepthPath: capacityv1alpha1.JSONPath(c.path)})
		switch {
		case c.reason == "" && (failure != nil || got.Depth != 7 || got.InFlight != nil || got.ArrivedTotal != nil || got.CompletedTotal != nil || got.OldestAge != nil):
			t.Errorf("%s: %+v, %v", c.name, got, failure)
		case c.reason == "":
		case failure == nil || failure.Reason != c.reason || !strings.Contains(failure.What, c.says) || failure.Remedy == "" || strings.Contains(failure.What, "garbage"):
			t.Errorf("%s: %+v, want %s: %s", c.name, failure, c.reason, c.says)
		}
	}
}

func TestEachFieldHasItsPath(t *testing.T) {
	source := &capacityv1alpha1.HTTPSource{DepthPath: "a", InFlightPath: "b", ArrivedTotalPath: "c", CompletedTotalPath: "d", OldestAgeSecondsPath: "e"}
	got, failure := parse([]byte(`{"a":1,"b":2,"c":3,"d":4,"e":5}`), source)
	if failure != nil || got.Depth != 1 || *got.InFlight != 2 || *got.ArrivedTotal != 3 || *got.CompletedTotal != 4 || *got.OldestAge != 5*time.Second {
		t.Errorf("%+v, %v", got, failure)
	}
	if _, failure := parse([]byte(`{"a":1,"b":2,"c":3,"e":5}`), source); failure == nil || !strings.Contains(failure.What, "completedTotalPath") {
		t.Errorf("%v, want the failure to name completedTotalPath", failure)
	}
}

// The largest reply and the worst paths that the API accepts take no time that matters: milliseconds, and the limit here is for a busy machine.
func TestWorstPathsAreQuick(t *testing.T) {
	flat := "[" + strings.Repeat("[],", replyBytes/3-2) + "[]]"
	nested := strings.Repeat("[", 9_000) + "1" + strings.Repeat("]", 9_000)
	quotes := `{"a":"` + strings.Repeat(`\\`, replyBytes/2-8) + `"}`
	for _, path := range []string{strings.Repeat("#|", 127) + "#", strings.Repeat("0.", 127) + "0", strings.Repeat("a|", 127) + "a", strings.Repeat("..", 127),
		strings.Repeat("#(a==1)#|", 28) + "#", strings.Repeat("#(<1)#|", 36) + "#"} {
		for _, body := range []string{flat, nested, quotes} {
			start := time.Now()
			_, _ = parse([]byte(body), &capacityv1alpha1.HTTPSource{DepthPath: capacityv1alpha1.JSONPath(path)})
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%.20s on %.20s takes %v", path, body, took)
			}
		}
	}
}

// A path that refuses the credentials fails alone, whether others accepted them or not.
func TestRefusedCredentials(t *testing.T) {
	s := servers.StartHTTP(t, servers.HTTPOptions{Username: "reader", Password: "old"})
	s.Set("/good", 200, `{"a":1}`)
	s.Set("/login", 401, "")
	opened, failure := Open(t.Context(), optionsOf(t, s.Address()))
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(opened.Close)
	refused := func(path string, want bool) {
		t.Helper()
		everywhere, alone := read(t, opened, path)
		if everywhere != nil || (alone != nil) != want || want && alone.Reason != capacityv1alpha1.ReasonAuthenticationFailed {
			t.Errorf("%s: %v, %v; want the path alone refused: %v", path, everywhere, alone, want)
		}
	}
	refused("login", true)
	refused("good", false)
	refused("login", true)
	s.Login("new")
	refused("good", true)
}

// A connection that cannot be made in time is the server's failure, and no path's; a request that is not answered is its path's.
func TestSilentServerIsNoSlowPath(t *testing.T) {
	o := optionsOf(t, "192.0.2.1:80")
	o.Dial = func(context.Context) (net.Conn, error) { return nil, os.ErrDeadlineExceeded }
	for _, secure := range []*tls.Config{nil, {MinVersion: tls.VersionTLS12}} {
		o.TLS = secure
		opened, failure := Open(t.Context(), o)
		if failure != nil {
			t.Fatal(failure)
		}
		everywhere, alone := read(t, opened, "jobs")
		opened.Close()
		if alone != nil || everywhere == nil || everywhere.Reason != capacityv1alpha1.ReasonQueueTimeout || everywhere.What != "silent" {
			t.Errorf("%v, %v; want the server to be silent", everywhere, alone)
		}
	}
}

// What is asked for is what the path says, byte by byte.
func TestPathIsSentAsItIs(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.RequestURI
		_, _ = io.WriteString(w, `{"a":1}`)
	}))
	t.Cleanup(server.Close)
	for _, base := range []string{"", "base/x"} {
		o := optionsOf(t, server.Listener.Addr().String())
		o.Endpoint.Path = base
		opened, failure := Open(t.Context(), o)
		if failure != nil {
			t.Fatal(failure)
		}
		t.Cleanup(opened.Close)
		for _, path := range []string{"/q?z=1&a=2&flag", "/a//b", "/q?of=a%20b+c&x=%2f", "/a%2Fb/?e="} {
			want := path
			if base != "" {
				want = "/" + base + path
			}
			if everywhere, alone := read(t, opened, path); everywhere != nil || alone != nil || asked != want {
				t.Errorf("%s was asked, want %s; %v, %v", asked, want, everywhere, alone)
			}
		}
		for _, path := range []string{"/q?filter=a;b", "/q?x=%zz&y=1"} {
			if _, alone := read(t, opened, path); alone == nil || alone.Reason != capacityv1alpha1.ReasonAddressRefused || !strings.Contains(alone.What, "http.path") {
				t.Errorf("%s: %v, want it refused", path, alone)
			}
		}
	}
}

func optionsOf(t *testing.T, address string) queue.ConnectOptions {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindHTTP, Scheme: "http", Host: host, Port: port}, Username: "reader", Password: "old", Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) },
	}
}

// read reads the queue at a path: the failures of the server and of that path.
func read(t *testing.T, r queue.Reader, path string) (everywhere, alone *queue.Failure) {
	q := &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{HTTP: capacityv1alpha1.HTTPSource{Path: path, DepthPath: "a"}}}
	everywhere = r.Read(t.Context(), []*capacityv1alpha1.Queue{q}, func(_ int, _ queue.Reading, f *queue.Failure) { alone = f })
	return everywhere, alone
}

// Whatever a server replies and wherever a path leads, it ends in a number in range or a failure.
func FuzzParse(f *testing.F) {
	for _, c := range replies {
		f.Add([]byte(c.body), c.path)
	}
	f.Fuzz(func(t *testing.T, body []byte, path string) {
		if path == "" || len(path) > 256 || strings.ContainsAny(path, "@!*?%~{}[]") || strings.Contains(path, "#.") {
			return // the API refuses it
		}
		p := capacityv1alpha1.JSONPath(path)
		got, failure := parse(body, &capacityv1alpha1.HTTPSource{DepthPath: p, OldestAgeSecondsPath: p})
		if failure == nil && (got.Depth < 0 || got.Depth > queue.CountMost || *got.OldestAge < 0 || *got.OldestAge > math.MaxInt64/2) {
			t.Errorf("%q makes %+v", body, got)
		}
	})
}
