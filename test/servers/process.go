// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// process is a server's, while it runs and after.
type process struct {
	*exec.Cmd
	exited chan struct{}
	// output is what it printed; it is read once it has exited.
	output bytes.Buffer
}

// run starts a command.
func run(command *exec.Cmd) (*process, error) {
	p := &process{Cmd: command, exited: make(chan struct{})}
	command.Stdout, command.Stderr = &p.output, &p.output
	if err := command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = command.Wait()
		close(p.exited)
	}()
	return p, nil
}

// until waits until the server is ready, which is looked at every so often.
func (p *process) until(ready func() bool, every, timeout time.Duration) error {
	name := filepath.Base(p.Path)
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended at once: %s", name, p.output.String())
		case <-time.After(every):
		}
		if ready() {
			return nil
		}
	}
	return fmt.Errorf("%s did not answer within %v", name, timeout)
}

// Await waits until a condition of a server holds.
func Await(t testing.TB, otherwise string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}
