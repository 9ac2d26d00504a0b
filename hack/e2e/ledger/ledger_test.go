// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	podA = Pod{"a", "uid-a"}
	podB = Pod{"b", "uid-b"}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type recorded struct {
	pod     Pod
	attempt Attempt
}

// history is one of every kind: 0 done, 1 killed over and done by another pod, 2 lost, 3 maybe sent and done, 4 maybe sent and gone,
// 5 waiting, 6 acknowledged and delivered again, 7 of nobody.
var history = []recorded{
	{podA, Attempt{ID: 0, Taken: 100}},
	{podA, Attempt{ID: 0, Taken: 100, Completed: 150}},
	{podA, Attempt{ID: 0, Taken: 100, Completed: 150, Acknowledged: true}},
	{podA, Attempt{ID: 1, Taken: 200}},
	{podB, Attempt{ID: 1, Taken: 300}},
	{podB, Attempt{ID: 1, Taken: 300, Completed: 350}},
	{podA, Attempt{ID: 2, Taken: 210}},
	{podB, Attempt{ID: 3, Taken: 400, Completed: 450}},
	{podA, Attempt{ID: 6, Taken: 500, Completed: 510, Acknowledged: true}},
	{podA, Attempt{ID: 6, Taken: 600, Completed: 610}},
	{podA, Attempt{ID: 7, Taken: 700}},
}

func filled(t testing.TB, reports []recorded) *Ledger {
	l := New(8)
	must(t, l.MaybeSent(0, 1, 2, 3, 4, 5, 6))
	must(t, l.Sent(0, 1, 2, 5, 6))
	must(t, l.MaybeSent(0)) // cannot take back what is confirmed
	for _, r := range reports {
		must(t, l.Record(r.pod, r.attempt))
	}
	return l
}

func TestSummary(t *testing.T) {
	l := filled(t, history)
	got := l.Summary()
	want := Summary{
		Sent: 5, MaybeSent: 2, Taken: 6, Completed: 4, Lost: []uint32{2, 5}, Unsent: []uint32{7},
		Redelivered: []Redelivery{
			{1, []Take{
				{Pod: podA, ID: 1, Taken: at(200)},
				{Pod: podB, ID: 1, Taken: at(300), Completed: at(350)},
			}},
			{6, []Take{
				{Pod: podA, ID: 6, Taken: at(500), Completed: at(510), Acknowledged: true},
				{Pod: podA, ID: 6, Taken: at(600), Completed: at(610)},
			}},
		},
		Pods: []PodSummary{
			{Pod: podA, Taken: 6, Completed: 3, FirstTaken: at(100), FirstCompleted: at(150)},
			{Pod: podB, Taken: 2, Completed: 2, FirstTaken: at(300), FirstCompleted: at(350)},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	const line = "5 sent, 2 maybe sent, 6 taken, 4 completed, 2 lost; 2 redelivered " +
		"(1 times after an unfinished attempt, 0 during one, 0 after a completed one, 1 after an acknowledged one); 2 pods"
	if got.String() != line {
		t.Errorf("got  %s\nwant %s", got, line)
	}
	if l.Completed() != want.Completed {
		t.Errorf("%d completed, want %d", l.Completed(), want.Completed)
	}
	if first, found := got.FirstCompletedBy("uid-b", "uid-a"); !found || first.Pod != podA {
		t.Errorf("first was %+v (found: %v)", first, found)
	}
	if first, found := got.FirstCompletedBy("uid-c"); found {
		t.Errorf("%+v is none of the pods asked for", first)
	}
}

// Reports may come late, more than once, and in any order.
func TestReportsAreIdempotent(t *testing.T) {
	want := filled(t, history).Summary()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		reports := slices.Concat(history, history)
		random.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
		if got := filled(t, reports).Summary(); !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%+v\nwant\n%+v\nafter %+v", got, want, reports)
		}
	}
}

func TestTakenWhileNotLent(t *testing.T) {
	l := New(10)
	for i, taken := range []int64{10, 20, 30, 40} {
		must(t, l.Record(podA, Attempt{ID: uint32(i), Taken: taken}))
		must(t, l.Record(podB, Attempt{ID: uint32(i), Taken: taken}))
	}
	taken := func(lent map[string][]Interval) (ns []int64) {
		for _, take := range l.TakenWhileNotLent(lent) {
			ns = append(ns, take.Taken.UnixNano())
		}
		return ns
	}
	for _, test := range []struct {
		name string
		lent map[string][]Interval
		want []int64
	}{
		{"no slots", nil, nil},
		{"never lent", map[string][]Interval{"uid-a": nil}, []int64{10, 20, 30, 40}},
		{"lent at the end", map[string][]Interval{"uid-a": {{Start: at(30)}}}, []int64{10, 20}},
		{"lent and returned", map[string][]Interval{"uid-a": {{at(10), at(20)}}}, []int64{30, 40}},
		{"twice", map[string][]Interval{"uid-a": {{at(5), at(15)}, {at(35), at(45)}}}, []int64{20, 30}},
		{"both", map[string][]Interval{"uid-a": {{at(0), at(30)}}, "uid-b": {{at(1), at(100)}}}, []int64{40}},
	} {
		if got := taken(test.lent); !slices.Equal(got, test.want) {
			t.Errorf("%s: taken while not lent at %v, want %v", test.name, got, test.want)
		}
	}
}

func TestRefused(t *testing.T) {
	l := New(2)
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"sent beyond", "message 2 is beyond the ledger", l.Sent(2)},
		{"taken beyond", "message 9 is beyond the ledger", l.Record(podA, Attempt{ID: 9, Taken: 1})},
		{"no time", "message 1 of pod a: the time", l.Record(podA, Attempt{ID: 1})},
		{"no UID", "it needs a UID", l.Record(Pod{Name: "a"}, Attempt{ID: 1, Taken: 1})},
		{"too often", "more than the ledger holds", l.Record(podA, Attempt{Taken: 1}, Attempt{Taken: 2}, Attempt{Taken: 3}, Attempt{Taken: 4})},
	} {
		if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, test.err, test.want)
		}
	}
	for i := range maxPods {
		_ = l.Record(Pod{UID: fmt.Sprint(i)})
	}
	if err := l.Record(Pod{UID: "one more"}); err == nil || len(l.pods) != maxPods {
		t.Errorf("%d pods, error %v", len(l.pods), err)
	}
}

func TestServerRefuses(t *testing.T) {
	server := httptest.NewServer(New(1))
	defer server.Close()
	for body, want := range map[string]int{
		`{"pod":{"name":"a","uid":"u"},"attempts":[{"id":0,"taken":1}]}`: http.StatusNoContent,
		`{"pod":{"name":"a","uid":"u"},"attempts":[{"id":1,"taken":1}]}`: http.StatusBadRequest,
		`{"pod":{"name":"a","uid":"u"},"attempts":[{"id":-1}]}`:          http.StatusBadRequest,
		`{`:                            http.StatusBadRequest,
		strings.Repeat(" ", maxReport): http.StatusBadRequest,
	} {
		response, err := http.Post(server.URL, "application/json", strings.NewReader(body))
		must(t, err)
		if _ = response.Body.Close(); response.StatusCode != want {
			t.Errorf("%.80s: %s, want %d", body, response.Status, want)
		}
	}
	response, err := http.Get(server.URL)
	must(t, err)
	if _ = response.Body.Close(); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", response.Status)
	}
}

// A report is repeated until the ledger has it, and takes along what was left for later.
func TestClientRepeats(t *testing.T) {
	l := New(2)
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) {
		case 1: // the connection breaks before the ledger has it
			panic(http.ErrAbortHandler)
		case 2: // and after
			l.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 3:
			http.Error(w, "not now", http.StatusServiceUnavailable)
		default:
			l.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	client := NewClient(server.URL, podA)
	client.Later(Attempt{ID: 0, Taken: 1, Completed: 2, Acknowledged: true})
	must(t, client.Report(t.Context(), Attempt{ID: 1, Taken: 3}))
	if s := l.Summary(); s.Taken != 2 || s.Completed != 1 || len(s.Redelivered) != 0 {
		t.Errorf("after %d requests: %s", requests.Load(), s)
	}
	before := requests.Load()
	must(t, client.Report(t.Context()))
	if requests.Load() != before {
		t.Error("a report of nothing was sent")
	}
	if err := client.Report(t.Context(), Attempt{ID: 7, Taken: 1}); err == nil || !strings.Contains(err.Error(), "message 7 is beyond") {
		t.Errorf("a refusal is %v", err)
	}
}

func TestClientEnds(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := NewClient(server.URL, podA).Report(ctx, Attempt{Taken: 1}); err == nil {
		t.Error("reported to nobody")
	}
}

// What a million messages need. The reports of each are two, and one in a hundred is taken again.
func TestMillion(t *testing.T) {
	const messages = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := New(messages)
	for id := range uint32(messages) {
		must(t, l.Sent(id))
		must(t, l.Record(podA, Attempt{ID: id, Taken: 1}))
		if id%100 == 0 {
			must(t, l.Record(podB, Attempt{ID: id, Taken: 2}))
		}
		must(t, l.Record(podA, Attempt{ID: id, Taken: 1, Completed: 3}))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perMessage := float64(after.HeapAlloc-before.HeapAlloc) / messages
	began := time.Now()
	s := l.Summary()
	t.Logf("%.1f bytes per message, summed up in %v: %s", perMessage, time.Since(began), s)
	if perMessage > 30 {
		t.Errorf("%.1f bytes per message, want at most 30", perMessage)
	}
	if s.Completed != messages || len(s.Redelivered) != messages/100 || len(s.Lost) != 0 {
		t.Error(s)
	}
}

// BenchmarkReports is the whole way of one report: client, connection, server, ledger.
func BenchmarkReports(b *testing.B) {
	l := New(1_000_000)
	server := httptest.NewServer(l)
	defer server.Close()
	var clients, messages atomic.Int64
	b.SetParallelism(8) // clients for each core
	b.RunParallel(func(pb *testing.PB) {
		client := NewClient(server.URL, Pod{Name: "pod", UID: fmt.Sprint(clients.Add(1))})
		client.http.Transport = &http.Transport{} // a pod does not share its connections
		defer client.http.CloseIdleConnections()
		for pb.Next() {
			if err := client.Report(b.Context(), Attempt{ID: uint32(messages.Add(1)), Taken: 1}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
}
