// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
	"github.com/queuescaler/queuescaler/pkg/standby"
	"github.com/queuescaler/queuescaler/test/consumers/rolefile"
)

const host = "127.0.0.1"

var (
	kinds = map[string]brokers.Start{"Redis": brokers.Redis, "RabbitMQ": brokers.RabbitMQ}
	// program is the workload as it is in an image.
	program string
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "queuescaler-e2e-")
	if err != nil {
		panic(err)
	}
	nats, err := brokers.BuildNATS(dir)
	if err != nil {
		panic(err)
	}
	kinds["NATS"] = brokers.NATS(nats)
	program = filepath.Join(dir, "workload")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		panic(string(output))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// stays fails when a condition ceases to hold within a time that is longer than any wait of a consumer in its server.
func stays(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !holds() {
			t.Fatalf("no longer so: %s", what)
		}
	}
}

// site is a queue with its ledger.
type site struct {
	t        *testing.T
	broker   *brokers.Broker
	queue    string
	producer queue.Producer
	book     *ledger.Ledger
	server   *httptest.Server
}

func newSite(t *testing.T, b *brokers.Broker, name string) *site {
	s := &site{t: t, broker: b, queue: name, book: ledger.New(1000)}
	s.server = httptest.NewServer(s.book)
	t.Cleanup(s.server.Close)
	var err error
	s.producer, err = queue.NewProducer(t.Context(), b.URL, name)
	must(t, err)
	t.Cleanup(s.producer.Close)
	return s
}

func (s *site) send(first uint32, n int) {
	s.t.Helper()
	must(s.t, queue.Send(s.t.Context(), s.producer, s.book, first, n, 0))
}

func (s *site) taken() int { return s.book.Summary().Taken }

// pod is a workload's process.
type pod struct {
	t      *testing.T
	uid    string
	listen string
	cmd    *exec.Cmd
	ended  chan error
	output *printed
}

// printed is what a process has printed so far.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(text)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// run starts a workload as a pod of this name would.
func (s *site) run(name string, args ...string) *pod {
	s.t.Helper()
	free, err := net.Listen("tcp", host+":0")
	must(s.t, err)
	p := &pod{t: s.t, uid: "uid-" + name, listen: free.Addr().String(), ended: make(chan error, 1), output: &printed{}}
	must(s.t, free.Close())
	p.cmd = exec.Command(program, append(args, "-listen", p.listen, "-ledger", s.server.URL)...)
	p.cmd.Env = append(os.Environ(), "POD_NAME="+name, "POD_UID="+p.uid)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	must(s.t, p.cmd.Start())
	go func() {
		p.ended <- p.cmd.Wait()
		close(p.ended)
	}()
	s.t.Cleanup(func() {
		p.kill()
		if s.t.Failed() {
			s.t.Logf("%s printed:\n%s", name, p.output)
		}
	})
	return p
}

func (s *site) consume(name string, args ...string) *pod {
	return s.run(name, append([]string{"consume", "-url", s.broker.URL, "-queue", s.queue}, args...)...)
}

func (p *pod) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// terminate sends SIGTERM and waits for a clean end.
func (p *pod) terminate() {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.awaitEnd()
}

func (p *pod) awaitEnd() {
	p.t.Helper()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("%s ended with %v", p.uid, err)
		}
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s did not end within 20 s", p.uid)
	}
}

// get returns 0 while nobody listens.
func (p *pod) get(path string) (status int, body string) {
	response, err := http.Get("http://" + p.listen + path)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(text))
}

func (p *pod) ready() bool {
	status, _ := p.get("/ready")
	return status == http.StatusOK
}

// roles is the directory of a role file.
func roles(t *testing.T, role standby.Role) (dir string, set func(standby.Role)) {
	t.Helper()
	dir = t.TempDir()
	set = func(role standby.Role) {
		t.Helper()
		must(t, rolefile.Write(dir, string(role)))
	}
	set(role)
	return dir, set
}

func TestConsume(t *testing.T) {
	for kind, start := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			b := start(t, host)
			for _, test := range []struct {
				name string
				run  func(*testing.T, *site)
			}{{"standby", testStandby}, {"terminate", testTerminate}, {"kill", testKill}, {"restart", testServerIsKilled}} {
				t.Run(test.name, func(t *testing.T) { test.run(t, newSite(t, b, test.name)) })
			}
		})
	}
}

// A consumer with gate File, from warming up to the end of its draining.
func testStandby(t *testing.T, s *site) {
	s.send(0, 20)
	const warmUp = time.Second
	dir, set := roles(t, standby.Standby)
	began := time.Now()
	p := s.consume("slot", "-standby", "-role-file", filepath.Join(dir, "role"), "-warm-up", warmUp.String(), "-work", "300ms")
	await(t, "the pod to be ready", p.ready)
	if took := time.Since(began); took < warmUp {
		t.Errorf("ready after %v, warm-up takes %v", took, warmUp)
	}
	stays(t, "nothing is taken in standby", func() bool { return s.taken() == 0 && p.ready() })

	lent := time.Now()
	set(standby.Active)
	await(t, "a message to be completed", func() bool { return s.book.Completed() > 0 })
	first, found := s.book.Summary().FirstCompletedBy(p.uid)
	if took := first.FirstCompleted.Sub(lent); !found || first.FirstTaken.Before(lent) || took > 5*time.Second {
		t.Errorf("completed the first message %v after it was lent, taken at %v", took, first.FirstTaken)
	}
	t.Logf("role file to taken: %v", first.FirstTaken.Sub(lent))

	set(standby.Draining)
	await(t, "the pod to have drained", func() bool { return !p.ready() })
	taken := s.taken()
	if taken == 20 {
		t.Error("all messages were taken: the drain came too late to be tested")
	}
	stays(t, "nothing is taken after the drain", func() bool { return s.taken() == taken })
	p.terminate()
	wantClean(t, s, taken)
}

// wantClean fails unless so many messages were taken, each once, completed and acknowledged.
func wantClean(t *testing.T, s *site, completed int) {
	t.Helper()
	if got := s.book.Summary(); got.Taken != completed || got.Completed != completed || len(got.Redelivered) != 0 {
		t.Errorf("%s: want %d completed", got, completed)
	}
}

// A consumer that knows nothing of standby takes at once, whatever there is in the place of the role file; on SIGTERM it finishes what it
// has, and what it left others get at once.
func testTerminate(t *testing.T, s *site) {
	s.send(0, 20)
	dir, _ := roles(t, standby.Standby)
	p := s.consume("first", "-role-file", filepath.Join(dir, "role"), "-work", "300ms")
	await(t, "a message to be taken", func() bool { return s.taken() > 1 })
	if !p.ready() {
		t.Error("not ready, although it takes messages")
	}
	p.terminate()
	left := s.book.Summary()
	if left.Taken != left.Completed || left.Taken == 20 {
		t.Errorf("after SIGTERM: %s", left)
	}
	last := s.consume("second", "-work", "1ms")
	await(t, "all messages", func() bool { return s.book.Completed() == 20 })
	last.terminate()
	wantClean(t, s, 20)
}

// A killed consumer loses nothing: its message is redelivered, and the ledger says so.
func testKill(t *testing.T, s *site) {
	const messages = 200
	s.send(0, messages)
	victim := s.consume("victim", "-work", "1s")
	others := []*pod{s.consume("b", "-work", "10ms"), s.consume("c", "-work", "10ms")}
	atWork := func() bool {
		return slices.ContainsFunc(s.book.Summary().Pods, func(p ledger.PodSummary) bool { return p.UID == victim.uid && p.Taken > p.Completed })
	}
	await(t, "the victim to be at work", atWork)
	victim.kill()
	await(t, "all messages", func() bool { return len(s.book.Summary().Lost) == 0 })
	for _, p := range others {
		p.terminate()
	}
	got := s.book.Summary()
	t.Log(got)
	if got.Completed != messages || len(got.Redelivered) != 1 {
		t.Fatalf("want %d completed and one redelivered", messages)
	}
	attempts := got.Redelivered[0].Attempts
	if len(attempts) != 2 || attempts[0].Pod.UID != victim.uid || !attempts[0].Completed.IsZero() || !attempts[1].Acknowledged {
		t.Errorf("redelivered: %+v", attempts)
	}
}

// When the server is killed under load, what it had confirmed is completed after it is back.
func testServerIsKilled(t *testing.T, s *site) {
	const messages = 400
	pods := []*pod{s.consume("a", "-work", "5ms"), s.consume("b", "-work", "5ms")}
	sent := make(chan error, 1)
	go func() { sent <- queue.Send(t.Context(), s.producer, s.book, 0, messages, 200) }()
	await(t, "some messages", func() bool { return s.book.Completed() > 50 })
	s.broker.Kill()
	if err := s.broker.Restart(); err != nil {
		t.Fatal(err)
	}
	must(t, <-sent)
	await(t, "all messages", func() bool { return len(s.book.Summary().Lost) == 0 })
	for _, p := range pods {
		p.terminate()
	}
	got := s.book.Summary()
	t.Log(got)
	if got.Sent+got.MaybeSent != messages || len(got.Unsent) != 0 {
		t.Errorf("want %d", messages)
	}
}

func TestTerminatedBeforeReady(t *testing.T) {
	b := brokers.Redis(t, host)
	s := newSite(t, b, "work")
	for name, args := range map[string][]string{
		"warming":    {"consume", "-url", b.URL, "-warm-up", "1h"},
		"connecting": {"consume", "-url", b.URL, "-queue", "none"},
		"serving":    {"serve", "-warm-up", "1h"},
	} {
		p := s.run(name, args...)
		// Before its handler is there the signal would end it otherwise.
		await(t, "the program to start", func() bool { return strings.Contains(p.output.String(), "in pod "+name) })
		p.terminate()
	}
}

func TestMistakes(t *testing.T) {
	for _, test := range []struct {
		env  []string
		args []string
		want string
	}{
		{nil, []string{"consume"}, "POD_NAME or POD_UID is not set"},
		{[]string{"POD_NAME=a", "POD_UID=b"}, nil, "no command"},
		{[]string{"POD_NAME=a", "POD_UID=b"}, []string{"produce"}, `command "produce"`},
		{[]string{"POD_NAME=a", "POD_UID=b"}, []string{"consume", "-url", "kafka://x"}, `"kafka"`},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		cmd := exec.CommandContext(ctx, program, test.args...)
		cmd.Env = test.env
		output, err := cmd.CombinedOutput()
		cancel()
		if err == nil || !strings.Contains(string(output), test.want) {
			t.Errorf("%v: %v, %s; want %q", test.args, err, output, test.want)
		}
	}
}

// balancer is what a ClusterIP is: it chooses a pod when a connection is opened.
type balancer struct {
	mu   sync.Mutex
	pods []*pod
	next int
}

func newBalancer(t *testing.T) (*balancer, string) {
	listener, err := net.Listen("tcp", host+":0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	b := &balancer{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.join(conn)
		}
	}()
	return b, "http://" + listener.Addr().String()
}

func (b *balancer) set(pods ...*pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pods = pods
}

func (b *balancer) join(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	b.mu.Lock()
	b.next++
	p := b.pods[b.next%len(b.pods)]
	b.mu.Unlock()
	backend, err := net.Dial("tcp", p.listen)
	if err != nil {
		return
	}
	defer func() { _ = backend.Close() }()
	go func() { _, _ = io.Copy(backend, conn) }()
	_, _ = io.Copy(conn, backend)
}
