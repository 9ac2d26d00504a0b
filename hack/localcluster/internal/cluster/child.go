// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	childVariable = "LOCALCLUSTER_CHILD"

	// A component that dies this often within this time is given up, and the cluster with it.
	maxDeaths   = 4
	deathWindow = time.Minute
)

// EndWithParent makes a child process end when its supervisor does, even if that was killed: the supervisor holds the other
// end of the child's standard input, and the kernel closes it. In any other process it does nothing.
func EndWithParent() {
	if os.Getenv(childVariable) == "" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ended or failed, the supervisor is gone
		os.Exit(3)
	}()
}

// child keeps one component running.
type child struct {
	component
	log string
	say func(format string, args ...any)

	mu       sync.Mutex
	process  *os.Process // nil while it is not running
	ended    chan struct{}
	stopping bool
	expected bool          // the next end was asked for
	halted   chan struct{} // while the component must not run; closed when it may again
	deaths   []time.Time
}

func (c *child) start() (*exec.Cmd, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaitResume()
	if c.stopping {
		return nil, nil
	}
	path, args := c.path, c.args
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		path, args = self, append([]string{c.name}, c.args...)
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	// Nothing else of the environment: etcd takes flags from it, Go programs proxies.
	cmd.Env = []string{childVariable + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C in a terminal must reach the supervisor only, which stops the children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	c.process, c.ended = cmd.Process, make(chan struct{})
	return cmd, nil
}

// run keeps the component running until stop is called or it cannot be kept running; in the latter case it returns why.
func (c *child) run() error {
	for {
		cmd, err := c.start()
		if cmd == nil {
			return err
		}
		waitErr := cmd.Wait()
		now := time.Now()

		c.mu.Lock()
		close(c.ended)
		c.process = nil
		stopping, expected := c.stopping, c.expected
		c.expected = false
		if !stopping && !expected {
			c.deaths = append(recent(c.deaths, now), now)
		}
		deaths := len(c.deaths)
		c.mu.Unlock()

		switch {
		case stopping:
			return nil
		case expected:
		case deaths >= maxDeaths:
			return fmt.Errorf("%s ended %d times within %s (%s). The end of %s:\n%s",
				c.name, deaths, deathWindow, outcome(waitErr), c.log, tail(c.log, 4))
		default:
			c.say("%s ended by itself (%s); starting it again", c.name, outcome(waitErr))
			time.Sleep(500 * time.Millisecond)
		}
	}
}

func recent(times []time.Time, now time.Time) []time.Time {
	for len(times) > 0 && now.Sub(times[0]) > deathWindow {
		times = times[1:]
	}
	return times
}

func outcome(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// tail returns the last lines of a log, shortened, for a message.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		if len(line) > 200 {
			line = line[:200] + "..."
		}
		all[i] = "  " + line
	}
	return strings.Join(all, "\n")
}

// stop ends the component for good and waits until it is gone.
func (c *child) stop() {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	c.resume()
	c.end()
}

// halt kills the component, and run does not start it again before resume.
func (c *child) halt() {
	c.mu.Lock()
	if c.halted == nil {
		c.halted = make(chan struct{})
	}
	c.expected = c.process != nil
	process, ended := c.process, c.ended
	c.mu.Unlock()
	if process != nil {
		_ = process.Kill() // fails if it has ended by now
		<-ended
	}
}

func (c *child) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted != nil {
		close(c.halted)
		c.halted = nil
	}
}

// awaitResume is called with the mutex held, and holds it again when it returns.
func (c *child) awaitResume() {
	for c.halted != nil {
		halted := c.halted
		c.mu.Unlock()
		<-halted
		c.mu.Lock()
	}
}

func (c *child) isHalted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.halted != nil
}

// restart ends the component; run starts it again.
func (c *child) restart(ctx context.Context, ask func(context.Context, string) error) error {
	c.mu.Lock()
	c.expected = c.process != nil
	c.mu.Unlock()
	c.end()
	return poll(ctx, 50*time.Millisecond, func() error {
		c.mu.Lock()
		running := c.process != nil
		c.mu.Unlock()
		if !running {
			return fmt.Errorf("%s is not running yet", c.name)
		}
		return ask(ctx, c.health)
	})
}

func (c *child) end() {
	c.mu.Lock()
	process, ended := c.process, c.ended
	c.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Signal(syscall.SIGTERM) // fails if it has ended by now
	select {
	case <-ended:
	case <-time.After(c.stopTimeout):
		_ = process.Kill() // as above
		<-ended
	}
}
