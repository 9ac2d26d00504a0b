// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

// InitProgram is the name under which this binary is process 1 of the namespaces.
const InitProgram = "node-init"

// aliveFD is the end of a pipe whose other end the process outside holds.
const aliveFD = 3

type initArguments struct {
	Dir        cluster.Dir
	Supervisor []string // its path and arguments
}

// Init is process 1 of the namespaces: it sets them up, starts the supervisor, takes in orphans, and ends when the supervisor does
// or the process outside. The kernel then ends everything else in the namespaces.
func Init() int {
	endWithOutside()
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	code, err := initialize(told)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error: set up the node:", err)
		return 1
	}
	return code
}

func endWithOutside() {
	syscall.CloseOnExec(aliveFD)
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(aliveFD, "alive")) // ended or failed, the process outside is gone
		os.Exit(3)
	}()
}

func initialize(told <-chan os.Signal) (int, error) {
	if len(os.Args) != 2 {
		return 0, errors.New("this program is started by 'localcluster run' only")
	}
	var args initArguments
	if err := json.Unmarshal([]byte(os.Args[1]), &args); err != nil {
		return 0, err
	}
	if err := joinCgroup(args.Dir.CgroupName()); err != nil {
		return 0, err
	}
	if err := mount(args.Dir); err != nil {
		return 0, err
	}
	if err := connect(); err != nil {
		return 0, err
	}
	supervisor, err := os.StartProcess(args.Supervisor[0], args.Supervisor, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 0, err
	}
	go func() {
		for range told {
			_ = supervisor.Signal(syscall.SIGTERM) // it may have ended
		}
	}()
	return reap(supervisor.Pid)
}

// reap waits for every process, since orphans become children of process 1, until the supervisor has ended.
func reap(supervisor int) (int, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if pid == supervisor {
			return ExitCode(status), nil
		}
	}
}

// fixedDirs are directories that containerd, its CNI library and the kubelet use whatever their settings. In the namespaces they are
// the node's own; on the machine they are at most made, and stay empty.
var fixedDirs = []string{"/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/run/containerd", "/run/netns"}

func mount(dir cluster.Dir) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, fixed := range fixedDirs {
		own := dir.NodePath("fixed", filepath.Base(filepath.Dir(fixed)), filepath.Base(fixed))
		if err := errors.Join(os.MkdirAll(fixed, 0o755), os.MkdirAll(own, 0o755)); err != nil {
			return err
		}
		if err := syscall.Mount(own, fixed, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", fixed, err)
		}
	}
	return nil
}
