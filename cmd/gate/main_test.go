//go:build linux

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// within is how long something is awaited: ample for a machine that does other things too.
const within = 30 * time.Second

// binary is the program, built as it ships.
var binary string

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "gate-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "gate")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the gate: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// process is a running gate.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	ended chan int // its exit code
}

func start(t *testing.T, program string, attributes *syscall.SysProcAttr, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), lines: make(chan string, 100), ended: make(chan int, 1)}
	p.cmd.Stderr, p.cmd.SysProcAttr = os.Stderr, attributes
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		if attributes != nil && os.Geteuid() != 0 { // root may set them, and tests then
			t.Skipf("a process cannot be started with these attributes here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // it has mostly ended by now
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
		_ = p.cmd.Wait() // the code tells
		p.ended <- p.cmd.ProcessState.ExitCode()
	}()
	return p
}

func waiting(t *testing.T, file string) *process {
	t.Helper()
	return start(t, binary, nil, "wait", file)
}

// says waits for a line with these words.
func (p *process) says(words string) {
	p.t.Helper()
	select {
	case line := <-p.lines:
		if !strings.Contains(line, words) {
			p.t.Fatalf("it says %q, want %q", line, words)
		}
	case <-time.After(within):
		p.t.Fatalf("it does not say %q", words)
	}
}

// ends waits for the end, with this code.
func (p *process) ends(code int) {
	p.t.Helper()
	select {
	case got := <-p.ended:
		if got != code {
			p.t.Fatalf("it ended with %d, want %d", got, code)
		}
	case <-time.After(within):
		p.t.Fatal("it does not end")
	}
}

func (p *process) held() {
	p.t.Helper()
	select {
	case code := <-p.ended:
		p.t.Fatalf("it ended with %d, and should wait", code)
	default:
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// publish writes the role as the kubelet writes a volume: role is a link to ..data/role, ..data one to a directory with a
// time in its name, and a change is a new directory and a renamed link.
func publish(t *testing.T, dir, version, role string) {
	t.Helper()
	write(t, filepath.Join(dir, version, "role"), role)
	link(t, version, filepath.Join(dir, "..data_tmp"))
	rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	if _, err := os.Lstat(filepath.Join(dir, "role")); errors.Is(err, os.ErrNotExist) {
		link(t, "..data/role", filepath.Join(dir, "role"))
	}
}

func TestWaitFollowsTheKubelet(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, "..2026_1", "standby")
	p := waiting(t, filepath.Join(dir, "role"))
	p.says("role says standby")
	publish(t, dir, "..2026_2", "draining")
	p.says("role says draining")
	p.held()
	began := time.Now()
	publish(t, dir, "..2026_3", "active")
	p.says("lent")
	p.ends(0)
	if took := time.Since(began); took >= recheckInterval {
		t.Errorf("it took %s: no notification was needed for that", took)
	}
}

func TestWaitIsOverAtOnceWhereThePodIsLent(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, "..2026_1", "active\n") // all containers of a lent pod were restarted
	p := waiting(t, filepath.Join(dir, "role"))
	p.says("lent")
	p.ends(0)
}

func TestWaitWhileTheFileIsAbsent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "role")
	p := waiting(t, file)
	p.says("role is not there")
	write(t, file+".new", "active")
	rename(t, file+".new", file)
	p.says("lent")
	p.ends(0)
}

func TestWaitWhileTheDirectoryIsAbsent(t *testing.T) {
	dir := t.TempDir()
	p := waiting(t, filepath.Join(dir, "later", "role"))
	p.says("role is not there")
	write(t, filepath.Join(dir, "new", "role"), "active")
	rename(t, filepath.Join(dir, "new"), filepath.Join(dir, "later"))
	p.says("lent")
	p.ends(0)
}

// The file changes behind a link, of which nobody is notified who watches the link's directory.
func TestWaitSeesWhatItWasNotNotifiedOf(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, "elsewhere", "role")
	write(t, elsewhere, "standby")
	link(t, elsewhere, filepath.Join(dir, "role"))
	p := waiting(t, filepath.Join(dir, "role"))
	p.says("role says standby")
	write(t, elsewhere+".new", "active")
	rename(t, elsewhere+".new", elsewhere)
	p.says("lent")
	p.ends(0)
}

func TestWaitSaysWhatKeepsItFromReading(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "role"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := waiting(t, filepath.Join(dir, "role"))
	p.says("is a directory")
	p.held()
}

// A gate that ended with 0 would let the application start, so it must not, however it is ended.
func TestWaitEndsBySignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := t.TempDir()
		publish(t, dir, "..2026_1", "standby")
		p := waiting(t, filepath.Join(dir, "role"))
		p.says("role says standby")
		began := time.Now()
		p.signal(signal)
		p.says("before it was lent")
		p.ends(terminated)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%v: it took %s to end", signal, took)
		}
	}
}

// In a container it has process id 1, for which the kernel ignores signals that are not handled.
func TestWaitEndsBySIGTERMAsTheFirstProcess(t *testing.T) {
	attributes := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
	}
	dir := t.TempDir()
	publish(t, dir, "..2026_1", "standby")
	p := start(t, binary, attributes, "wait", filepath.Join(dir, "role"))
	p.says("role says standby")
	p.signal(syscall.SIGTERM)
	p.says("ended by SIGTERM")
	p.ends(terminated)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func TestWaitHoldsLittleMemory(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, "..2026_1", "standby")
	p := waiting(t, filepath.Join(dir, "role"))
	p.says("role says standby")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(status), "RssAnon:")
	if !found {
		t.Fatalf("no RssAnon in\n%s", status)
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB", kib)
	if kib > 2048 {
		t.Errorf("it holds %d KiB, and does so for as long as a slot is idle", kib)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	install := func() {
		p := start(t, binary, nil, "install", dir)
		p.says("installed " + dir + "/gate")
		p.ends(0)
	}
	install()
	copied := filepath.Join(dir, "gate")
	info, err := os.Stat(copied)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o555 {
		t.Errorf("mode %o: any user has to be able to run it", mode)
	}
	running := start(t, copied, nil, "wait", filepath.Join(dir, "role"))
	running.says("role is not there")
	install() // as when all containers of the pod are restarted
	again := start(t, copied, nil, "pulled")
	again.says("the image is on the node")
	again.ends(0)
	running.held()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are in the directory, want one (%v)", len(entries), err)
	}
}

func TestInstallSaysWhatIsWrong(t *testing.T) {
	p := start(t, binary, nil, "install", filepath.Join(t.TempDir(), "absent"))
	p.says("no such file or directory")
	p.ends(failed)
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{}, {"open"}, {"install"}, {"wait"}, {"wait", "a", "b"}, {"pulled", "now"}} {
		p := start(t, binary, nil, args...)
		p.says("usage: gate install DIR")
		p.ends(misuse)
	}
}
