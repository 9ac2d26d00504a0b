// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

// namespaces are those that the node has of its own.
const namespaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// Run runs a supervisor, which is this binary with the given arguments, in namespaces of its own, and removes what is left of them
// afterwards. It returns the supervisor's exit code. The caller holds the lock of the directory. SIGINT and SIGTERM reach the
// supervisor as SIGTERM.
func Run(dir cluster.Dir, supervisor ...string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := sweep(dir.CgroupName()); err != nil {
		return 0, err
	}
	if err := os.RemoveAll(dir.NodePath()); err != nil {
		return 0, err
	}
	arguments, err := json.Marshal(initArguments{Dir: dir, Supervisor: append([]string{self}, supervisor...)})
	if err != nil {
		return 0, err
	}
	// However this process ends, the kernel closes its end of the pipe, and with that the init process ends.
	alive, hold, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer hold.Close()
	cmd := exec.Command(self, InitProgram, string(arguments))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}

	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(told)
	err = cmd.Start()
	alive.Close()
	if err != nil {
		return 0, fmt.Errorf("make namespaces: %w. In a container it takes a privileged one", err)
	}
	go func() {
		for range told {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		}
	}()
	err = cmd.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return 0, err
	}
	return ExitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)), errors.Join(
		removeCgroups(dir.CgroupName()),
		os.RemoveAll(dir.NodePath()),
	)
}

// ExitCode is as a shell tells it.
func ExitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
