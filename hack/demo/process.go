// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a child process.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when it has ended
	err   error         // how it ended; valid once ended is closed
	end   sync.Once
}

// startProcess starts a program in a process group of its own: Ctrl-C in a terminal reaches the demo only, which then stops
// everything in order.
func startProcess(name string, output io.Writer, env []string, program string, args ...string) (*process, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("bin/%s is missing: run `make demo`", filepath.Base(program))
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop asks the process to end, by the end of its input and by SIGTERM, and kills it after a while.
func (p *process) stop() {
	p.end.Do(func() {
		_ = p.stdin.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
		select {
		case <-p.ended:
		case <-time.After(30 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	})
}

// lines calls f for each complete line that is written to it.
type lines struct {
	mu   sync.Mutex
	rest []byte
	f    func(string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.f(string(l.rest[:i]))
		l.rest = l.rest[i+1:]
	}
}
