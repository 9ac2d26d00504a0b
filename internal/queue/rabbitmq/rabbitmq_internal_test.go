// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

func ptr(n int64) *int64 { return &n }

func itemOf(t *testing.T, text string) item {
	t.Helper()
	var i item
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestReadingOf(t *testing.T) {
	const unknown, missing = capacityv1alpha1.ReasonQueueUnavailable, capacityv1alpha1.ReasonQueueMissing
	for _, c := range []struct {
		name, now, collected string
		want                 queue.Reading
		reason               string
	}{
		{"classic", `{"type":"classic","messages_ready":7,"messages_unacknowledged":2}`,
			`{"messages_ready":1,"messages_unacknowledged":0,"message_stats":{"publish":10,"ack":1,"deliver_no_ack":3,"get_no_ack":4,"redeliver":5,"deliver_get":15}}`,
			queue.Reading{Depth: 7, InFlight: ptr(2), ArrivedTotal: ptr(10), CompletedTotal: ptr(8), RedeliveredTotal: ptr(5), DeliveredTotal: ptr(15)}, ""},
		{"no statistics", `{"type":"classic","messages_ready":7,"messages_unacknowledged":2}`, `{}`, queue.Reading{Depth: 7, InFlight: ptr(2)}, ""},
		{"nothing consumed yet", `{"type":"classic","messages_ready":7}`, `{"message_stats":{"publish":7}}`, queue.Reading{Depth: 7, ArrivedTotal: ptr(7)}, ""},
		{"quorum", `{"type":"quorum","messages_ready":7,"messages_unacknowledged":2}`, `{"messages_ready":6,"message_stats":{"publish":10}}`,
			queue.Reading{Depth: 7, InFlight: ptr(2), ArrivedTotal: ptr(10)}, ""},
		{"quorum without statistics", `{"type":"quorum","messages_ready":0}`, `{"message_stats":{"publish":10}}`, queue.Reading{}, unknown},
		{"before 3.9", `{"type":"classic"}`, `{"messages_ready":6,"messages_unacknowledged":1}`, queue.Reading{Depth: 6, InFlight: ptr(1)}, ""},
		{"its node is down", `{"type":"classic"}`, `{}`, queue.Reading{}, unknown},
		{"stream", `{"type":"stream","messages_ready":7}`, `{"messages_ready":7}`, queue.Reading{}, missing},
		{"no number", `{"type":"classic","messages_ready":"many"}`, `{}`, queue.Reading{}, unknown},
		{"negative", `{"type":"classic","messages_ready":-1}`, `{}`, queue.Reading{}, unknown},
		{"huge", `{"type":"classic","messages_ready":9223372036854775807}`, `{}`, queue.Reading{}, unknown},
		{"counters that are none", `{"type":"classic","messages_ready":1}`, `{"message_stats":{"publish":1e300,"ack":null,"redeliver":[]}}`, queue.Reading{Depth: 1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, failure := readingOf(itemOf(t, c.now), itemOf(t, c.collected).statistics)
			switch {
			case failure != nil && failure.Reason != c.reason, failure == nil && c.reason != "":
				t.Errorf("failure %v, want %q", failure, c.reason)
			case failure == nil:
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// While counters stand still, so does their time; a queue in which nothing happens is read as of 5 s ago.
func TestTimeOfCounters(t *testing.T) {
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	s := samples{of: map[id]sample{}}
	q := id{"/", "jobs"}
	published := func(n int64) counters { return counters{Publish: count{n, true}} }
	for _, step := range []struct {
		second float64
		counters
		want float64
	}{
		{0, published(1), -2.5}, {1, published(1), -2.5}, {2, published(2), 2}, {3, published(2), 2}, {6, published(2), 2}, {7, published(9), 7},
		{15, published(9), 7}, {16, published(9), 11}, {17, published(9), 12}, {18, published(10), 18}, {19, counters{}, 19}, {20, published(1), 17.5},
		{28, published(1), 17.5}, {29, published(1), 24},
	} {
		at := func(second float64) time.Time { return start.Add(time.Duration(second * float64(time.Second))) }
		if got := s.timeOf(q, step.counters, at(step.second)); !got.Equal(at(step.want)) {
			t.Errorf("at second %v: %v, want second %v", step.second, got.Sub(start), step.want)
		}
	}
	s.timeOf(id{"/", "other"}, published(1), start.Add(time.Hour))
	if len(s.of) != 1 {
		t.Errorf("%d queues remembered, want the one that is still read", len(s.of))
	}
}

func TestPatternMatchesNamesAlone(t *testing.T) {
	if got := pattern([]string{"a.b", "c|d"}); got != `\A(?:a\.b|c\|d)\z` {
		t.Error(got)
	}
	wanted := map[string][]int{}
	for i := range 200 {
		wanted[fmt.Sprintf("%03d", i)+strings.Repeat("x", 200)] = nil
	}
	v := &visit{wanted: wanted}
	if names := v.some(); len(names) < 5 || len(names) > 10 {
		t.Errorf("%d names of 203 bytes in one request, want about %d bytes", len(names), namesBytes)
	}
}

// api answers as the management API does, with 10,000 queues on pages that move: the first page is always the same.
func TestPagesThatMoveLoseNoQueue(t *testing.T) {
	const wanted = 300
	var mu sync.Mutex
	var asked []string
	entry := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"type":"classic","messages_ready":1}`, name)
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/whoami" {
			_, _ = fmt.Fprint(w, `{"name":"reader"}`)
			return
		}
		query := r.URL.Query()
		mu.Lock()
		asked = append(asked, query.Get("name"))
		mu.Unlock()
		var items []string
		if names := query.Get("name"); names != "" {
			for name := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(names, `\A(?:`), `)\z`), "|") {
				items = append(items, entry(name))
			}
		} else {
			for i := range 250 {
				items = append(items, entry(fmt.Sprint("q", i)))
			}
		}
		_, _ = fmt.Fprintf(w, `{"page_count":2,"items":[%s]}`, strings.Join(items, ","))
	}))
	defer api.Close()
	reader, failure := openAt(t, api.Listener.Addr().String())
	if failure != nil {
		t.Fatal(failure)
	}
	defer reader.Close()
	var queues []*capacityv1alpha1.Queue
	for i := range wanted {
		queues = append(queues, &capacityv1alpha1.Queue{QueueSource: capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Queue: fmt.Sprint("q", i)}}})
	}
	read := 0
	failure = reader.Read(t.Context(), queues, func(_ int, r queue.Reading, f *queue.Failure) {
		if f == nil && r.Depth == 1 {
			read++
		}
	})
	slices.Sort(asked)
	if failure != nil || read != wanted || len(asked) != 6 || asked[3] != "" || asked[4] == "" {
		t.Errorf("%d of %d read, failure %v, with requests %q; want 2 pages and 1 request by name, twice each", read, wanted, failure, asked)
	}
}

// However odd the names, a request stays within what the server takes.
func TestNamesFitIntoAURL(t *testing.T) {
	for _, letter := range []string{"a", "+", "é", "."} {
		wanted := map[string][]int{}
		for i := range 200 {
			name := fmt.Sprintf("%03d", i) + strings.Repeat(letter, 250/len(letter))
			wanted[name] = []int{i}
		}
		v := &visit{wanted: wanted}
		names := v.some()
		if size := len(url.Values{"name": {pattern(names)}, "columns": {columns}, "use_regex": {"true"}}.Encode()); len(names) == 0 || size > 7000 {
			t.Errorf("names of %q: %d bytes for %d of them", letter, size, len(names))
		}
	}
}

// A clock that goes back dates counters anew, instead of from the future until it has caught up.
func TestClockGoesBack(t *testing.T) {
	s := samples{of: map[id]sample{}}
	q, c := id{"/", "q"}, counters{Publish: count{7, true}}
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	s.timeOf(q, c, now)
	earlier := now.Add(-5 * time.Hour)
	if got := s.timeOf(q, c, earlier); got.After(earlier) {
		t.Errorf("%v, which is after %v", got, earlier)
	}
}

func openAt(t testing.TB, address string) (queue.Reader, *queue.Failure) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return Open(context.Background(), queue.ConnectOptions{
		Endpoint: queue.Endpoint{Kind: queue.KindRabbitMQ, Host: host, Port: port}, Now: time.Now,
		Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) },
	})
}

// Whatever the reply, numbers are at least 0, and what is no list of queues is refused.
func FuzzParsePage(f *testing.F) {
	for _, seed := range []string{
		`{"filtered_count":1,"item_count":1,"items":[{"message_stats":{"ack":895,"publish":2212},"messages_ready":1317,"messages_unacknowledged":0,"name":"q1","type":"classic"}],"page":1,"page_count":3}`,
		`{"items":[{"name":"qq","type":"quorum"}],"page_count":1}`, `{"items":[]}`, `{"items":null}`, `[]`, `{"error":"Object Not Found","reason":"Not Found"}`,
		`{"items":[{"message_stats":[],"messages_ready":-1}]}`, `{"items":[{"messages_ready":1e9}],"page_count":9223372036854775807}`, `{`, ``, "\x00\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, ok := parsePage(body)
		if !ok && (p.Items != nil || p.Pages != 0) {
			t.Errorf("%+v of a reply that is refused", p)
		}
		for _, i := range p.Items {
			reading, failure := readingOf(i, i.statistics)
			for _, n := range []*int64{&reading.Depth, reading.InFlight, reading.ArrivedTotal, reading.CompletedTotal, reading.RedeliveredTotal} {
				if n != nil && *n < 0 {
					t.Errorf("%d messages of %s", *n, body)
				}
			}
			if failure == nil && !i.Ready.told {
				t.Errorf("a depth that was not told, of %s", body)
			}
		}
	})
}

func FuzzParseWhoami(f *testing.F) {
	for _, seed := range []string{`{"name":"guest","tags":["administrator"]}`, `{"name":"guest","tags":"administrator"}`, `{}`, `{"name":1}`, `<html>`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if parseWhoami(body) && !json.Valid(body) {
			t.Errorf("accepted %q", body)
		}
	})
}
