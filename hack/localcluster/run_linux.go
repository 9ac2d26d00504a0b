// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
	"github.com/queuescaler/queuescaler/hack/localcluster/internal/node"
)

// superviseProgram is the name under which this binary runs the cluster and the command, in the node's namespaces.
const superviseProgram = "node-supervisor"

// commandGrace is how long the command has to end when it is told to, before it is killed.
const commandGrace = 10 * time.Second

// runOnNode returns the exit code of the command.
func runOnNode(run nodeRun) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("a real node needs root: 'localcluster up' has simulated nodes, and needs no privileges")
	}
	if missing := cluster.MissingForNode(); len(missing) > 0 {
		return 0, fmt.Errorf("a real node needs %s", strings.Join(missing, " and "))
	}
	if _, err := exec.LookPath(run.Command[0]); err != nil {
		return 0, err
	}
	if err := run.Dir.Create(); err != nil {
		return 0, err
	}
	lock, err := run.Dir.Lock()
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := run.Dir.Renew(); err != nil {
		return 0, err
	}
	arguments, err := json.Marshal(run)
	if err != nil {
		return 0, err
	}
	defer os.Remove(run.Dir.ReadyFile())
	return node.Run(run.Dir, superviseProgram, string(arguments))
}

// supervise runs the cluster, and the command in it, in the node's namespaces. It returns the command's exit code.
func supervise() int {
	code, err := superviseCommand()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	return code
}

func superviseCommand() (int, error) {
	if len(os.Args) != 2 {
		return 0, errors.New("this program is started by 'localcluster run' only")
	}
	var run nodeRun
	if err := json.Unmarshal([]byte(os.Args[1]), &run); err != nil {
		return 0, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var command *exec.Cmd
	var failed error
	run.Options.Out = os.Stderr // standard output is the command's
	run.Options.Use = func(ctx context.Context) {
		command = run.command(ctx)
		failed = command.Run()
	}
	fmt.Fprintf(os.Stderr, "Kubernetes 1.37.2 with the real node %s, in %s\n", cluster.NodeName, run.Dir)
	if err := cluster.Run(ctx, run.Dir, run.Options); err != nil {
		return 0, err
	}
	if command.ProcessState == nil {
		return 0, failed
	}
	return node.ExitCode(command.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// command is told to end when ctx ends. It is in the process group of this process, so that a shell has the terminal.
func (run nodeRun) command(ctx context.Context) *exec.Cmd {
	command := exec.CommandContext(ctx, run.Command[0], run.Command[1:]...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = commandGrace
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(),
		"KUBECONFIG="+run.Dir.Kubeconfig(),
		dataDirVariable+"="+string(run.Dir),
		"LOCALCLUSTER_NODE_NAME="+cluster.NodeName,
		"LOCALCLUSTER_NODE_ADDRESS="+cluster.NodeAddress,
	)
	return command
}
