// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package consumers runs consumers of several frameworks, each a process of its own on a real server, as a standby pod
// runs them: warm without consuming, active, draining. See docs/consumers.md.
package consumers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/pkg/standby"
	"github.com/queuescaler/queuescaler/test/consumers/rolefile"
)

const (
	messages = 12
	// patience is how long a test waits for what has to happen.
	patience = 60 * time.Second
	// quiet is how long a test watches for what must not happen: longer than any consumer's wait in its server.
	quiet = 2 * time.Second
)

// queue is what a test asks of the server: what the operator would read, and what a consumer took.
type queue struct {
	send     func(t *testing.T, urls []string)
	waiting  func(t *testing.T) int
	inFlight func(t *testing.T) int
	// asked counts how often a consumer asked for messages, whether it got any or not.
	asked func(t *testing.T) int
	// command starts a consumer.
	command func(t *testing.T, roleFile, listen string) *exec.Cmd
}

var consumers = map[string]func(t *testing.T) queue{
	"Go on NATS JetStream": natsJetStream,
	"Go on Redis stream":   redisStream,
	"Go on Redis list":     redisList,
	"Node BullMQ":          bullMQ,
	"Python Celery":        celery,
}

func TestConsumers(t *testing.T) {
	for name, start := range consumers {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			testConsumer(t, start(t))
		})
	}
}

func TestDrainWithNothingAtHand(t *testing.T) {
	for name, start := range consumers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testIdleDrain(t, start(t))
		})
	}
}

func testConsumer(t *testing.T, q queue) {
	site := newWorksite(t)
	q.send(t, site.urls())
	role := t.TempDir()
	setRole(t, role, standby.Standby)

	p := run(t, q, filepath.Join(role, "role"))
	p.awaitReadiness(t, http.StatusOK, "standby")
	staysQuiet(t, func() string { // warm, and asks for nothing
		return mismatch(t, q, site, counts{waiting: messages})
	})
	if asked := q.asked(t); asked != 0 {
		t.Errorf("asked for messages %d times in standby", asked)
	}
	p.awaitReadiness(t, http.StatusOK, "standby")

	setRole(t, role, standby.Active)
	await(t, "one message to be worked on", func() string {
		return mismatch(t, q, site, counts{waiting: messages - 1, inFlight: 1, begun: 1})
	})
	if q.asked(t) == 0 {
		t.Error("asked for no message, yet got one: the test counts the wrong thing")
	}
	p.awaitReadiness(t, http.StatusOK, "active")

	setRole(t, role, standby.Draining)
	p.awaitReadiness(t, http.StatusOK, "draining")
	staysQuiet(t, func() string { // the message at hand is not finished
		return p.readinessIsNot(http.StatusOK, "draining")
	})
	site.finish(1)
	p.awaitReadiness(t, http.StatusServiceUnavailable, "drained")
	finished := func() string { return mismatch(t, q, site, counts{waiting: messages - 1, begun: 1, done: 1}) }
	await(t, "the server to count the message as completed", finished) // an acknowledgement that was sent takes a moment
	staysQuiet(t, finished)
	p.terminate(t)

	// A container that restarts in a draining pod takes nothing.
	asked := q.asked(t)
	p = run(t, q, filepath.Join(role, "role"))
	p.awaitReadiness(t, http.StatusServiceUnavailable, "drained")
	p.terminate(t)
	if now := q.asked(t); now != asked {
		t.Errorf("asked for messages %d times after a restart while draining", now-asked)
	}

	// A pod of the Deployment has no file. It does the rest; nothing was lost, nothing is done twice.
	p = run(t, q, filepath.Join(t.TempDir(), "none", "role"))
	site.finish(messages)
	await(t, "all messages to be done", func() string {
		return mismatch(t, q, site, counts{begun: messages, done: messages})
	})
	p.awaitReadiness(t, http.StatusOK, "active")
	p.terminate(t)
	for url, times := range site.calls() {
		if times != 1 {
			t.Errorf("%s was worked on %d times", url, times)
		}
	}
}

// testIdleDrain drains a consumer that waits in its server for a message. What comes then is left to others.
func testIdleDrain(t *testing.T, q queue) {
	site := newWorksite(t)
	site.finish(messages)
	role := t.TempDir()
	setRole(t, role, standby.Active)
	p := run(t, q, filepath.Join(role, "role"))
	await(t, "the consumer to ask for a message", func() string {
		if q.asked(t) == 0 {
			return "not once"
		}
		return ""
	})

	setRole(t, role, standby.Draining)
	p.awaitReadiness(t, http.StatusServiceUnavailable, "drained")
	q.send(t, site.urls())
	staysQuiet(t, func() string {
		return mismatch(t, q, site, counts{waiting: messages})
	})
	p.terminate(t)
	if problem := mismatch(t, q, site, counts{waiting: messages}); problem != "" {
		t.Errorf("after its end: %s", problem)
	}
}

// A read of Celery's goes on in Redis after its queue was cancelled. What it brings goes back.
func TestCeleryReturnsWhatItsLastReadBrings(t *testing.T) {
	t.Parallel()
	client, address := connectRedis(t)
	q := celeryOn(t, client, address)
	site := newWorksite(t)
	site.finish(messages)
	q.send(t, site.urls())
	rename(t, client, "celery", "later")
	role := t.TempDir()
	setRole(t, role, standby.Active)
	p := run(t, q, filepath.Join(role, "role"))
	await(t, "the consumer to ask for a message", func() string {
		if q.asked(t) == 0 {
			return "not once"
		}
		return ""
	})

	setRole(t, role, standby.Draining)
	await(t, "the queue to be cancelled", func() string {
		if strings.Contains(p.output.String(), "Canceling queue celery") {
			return ""
		}
		return "not yet"
	})
	rename(t, client, "later", "celery")
	p.awaitReadiness(t, http.StatusServiceUnavailable, "drained")
	p.terminate(t)
	if problem := mismatch(t, q, site, counts{waiting: messages}); problem != "" {
		t.Error(problem)
	}
}

// Celery makes its consumer anew after each loss of the connection. It must not forget the role over that.
func TestCeleryAfterLostConnections(t *testing.T) {
	t.Parallel()
	client, address := connectRedis(t)
	q := celeryOn(t, client, address)
	site := newWorksite(t)
	site.finish(2 * messages)
	q.send(t, site.urls())
	role := t.TempDir()
	setRole(t, role, standby.Standby)
	p := run(t, q, filepath.Join(role, "role"))
	p.awaitReadiness(t, http.StatusOK, "standby")

	loseConnections(t, client, p)
	staysQuiet(t, func() string { return mismatch(t, q, site, counts{waiting: messages}) })
	setRole(t, role, standby.Active)
	await(t, "all messages to be done", func() string {
		return mismatch(t, q, site, counts{begun: messages, done: messages})
	})
	loseConnections(t, client, p)
	q.send(t, site.urls())
	await(t, "the messages sent afterwards to be done", func() string {
		return mismatch(t, q, site, counts{begun: 2 * messages, done: 2 * messages})
	})
	p.terminate(t)
}

// loseConnections cuts off everybody but client, and waits until p has connected again.
func loseConnections(t *testing.T, client *redis.Client, p *process) {
	t.Helper()
	const connected = "Connected to redis://"
	before := strings.Count(p.output.String(), connected)
	if err := client.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "Celery to connect again", func() string {
		if strings.Count(p.output.String(), connected) > before {
			return ""
		}
		return "not yet"
	})
}

func rename(t *testing.T, client *redis.Client, from, to string) {
	t.Helper()
	if err := client.Rename(t.Context(), from, to).Err(); err != nil {
		t.Fatal(err)
	}
}

// The package and the API must mean the same by a role.
func TestRolesOfTheAPI(t *testing.T) {
	for role, word := range map[standby.Role]string{
		standby.Standby: v1alpha1.RoleStandby, standby.Active: v1alpha1.RoleActive, standby.Draining: v1alpha1.RoleDraining,
	} {
		if string(role) != word {
			t.Errorf("role %q is %q in the API", role, word)
		}
	}
}

// counts says where the messages are: in the server, and at the worksite.
type counts struct{ waiting, inFlight, begun, done int }

// mismatch returns what differs from want; empty if nothing does.
func mismatch(t *testing.T, q queue, site *worksite, want counts) string {
	begun, done := site.progress()
	got := counts{waiting: q.waiting(t), inFlight: q.inFlight(t), begun: begun, done: done}
	if got == want {
		return ""
	}
	return fmt.Sprintf("%+v, want %+v", got, want)
}

// await waits until check returns an empty string.
func await(t *testing.T, what string, check func() string) {
	t.Helper()
	problem := check()
	for deadline := time.Now().Add(patience); problem != ""; problem = check() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %s", patience, what, problem)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// staysQuiet fails when check returns something else than an empty string within the time of quiet.
func staysQuiet(t *testing.T, check func() string) {
	t.Helper()
	for end := time.Now().Add(quiet); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if problem := check(); problem != "" {
			t.Fatal(problem)
		}
	}
}

func setRole(t *testing.T, dir string, role standby.Role) {
	t.Helper()
	if err := rolefile.Write(dir, string(role)); err != nil {
		t.Fatal(err)
	}
}

// worksite is what the work of a message calls. A call ends when as many calls may finish.
type worksite struct {
	server *httptest.Server
	mu     sync.Mutex
	free   *sync.Cond
	may    int
	begun  map[string]int
	done   int
}

func newWorksite(t *testing.T) *worksite {
	site := &worksite{begun: map[string]int{}}
	site.free = sync.NewCond(&site.mu)
	site.server = httptest.NewServer(site)
	t.Cleanup(func() {
		site.finish(1 << 30)
		site.server.Close()
	})
	return site
}

func (s *worksite) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun[request.URL.Path]++
	for s.done >= s.may {
		s.free.Wait()
	}
	s.done++
}

// finish lets calls end until n have ended since the beginning.
func (s *worksite) finish(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.may = n
	s.free.Broadcast()
}

func (s *worksite) progress() (begun, done int) {
	for _, times := range s.calls() {
		begun += times
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return begun, s.done
}

func (s *worksite) calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := map[string]int{}
	for url, times := range s.begun {
		calls[url] = times
	}
	return calls
}

func (s *worksite) urls() []string {
	var urls []string
	for i := range messages {
		urls = append(urls, s.server.URL+"/"+strconv.Itoa(i))
	}
	return urls
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

// process is a running consumer.
type process struct {
	cmd    *exec.Cmd
	output *printed
	ready  string
	ended  chan error
}

func run(t *testing.T, q queue, roleFile string) *process {
	t.Helper()
	listen := freeAddress(t)
	p := &process{
		cmd: q.command(t, roleFile, listen), output: &printed{},
		ready: "http://" + listen + "/ready", ended: make(chan error, 1),
	}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it may have children
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", p.cmd.Path, err)
	}
	go func() { p.ended <- p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		// The group of a process that has ended and left no children is no more: an error then, and right so.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		for range p.ended {
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.cmd.Path, p.output)
		}
	})
	return p
}

// awaitReadiness waits for an answer to a readiness probe.
func (p *process) awaitReadiness(t *testing.T, code int, body string) {
	t.Helper()
	await(t, fmt.Sprintf("readiness %d %s", code, body), func() string {
		select {
		case err := <-p.ended:
			t.Fatalf("ended (%v) instead of being ready", err)
		default:
		}
		return p.readinessIsNot(code, body)
	})
}

// readinessIsNot probes once and returns what else the answer was; empty if it was this.
func (p *process) readinessIsNot(code int, body string) string {
	response, err := http.Get(p.ready)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	if response.StatusCode != code || strings.TrimSpace(string(text)) != body {
		return fmt.Sprintf("readiness %d %q", response.StatusCode, text)
	}
	return ""
}

// terminate ends the consumer as Kubernetes does, and expects it to end well.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Fatalf("ended with %v after SIGTERM", err)
		}
	case <-time.After(patience):
		t.Fatalf("still running %s after SIGTERM", patience)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// build returns the program of a package beside this one.
func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if output, err := exec.Command("go", "build", "-o", program, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, output)
	}
	return program
}

// need returns the path of a program, and fails with what to do if it is missing.
func need(t *testing.T, program, remedy string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("this test needs %s, and it is not installed: %s", program, remedy)
	}
	return path
}

func output(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
}

func environment(pairs ...string) []string { return append(os.Environ(), pairs...) }
