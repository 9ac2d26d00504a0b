//go:build linux

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Gate runs in the init containers that a standby slot of gate Prepared has before its own containers. One copies the
// program into a volume, so that it runs in images that have nothing of the kind, not even a shell. One for each image does
// nothing, so that the image is pulled. The last one waits until the slot is lent.
//
// It holds little memory, because it runs for as long as a slot is idle: it uses the standard library alone, and no fmt.
package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

const usage = `usage: gate install DIR   copies this program to DIR/gate
       gate pulled        does nothing: it shows that the image is there
       gate wait FILE     returns when FILE says active, and waits while it is absent`

// Exit codes.
const (
	failed = 1
	misuse = 2
	// terminated is what a shell makes of SIGTERM. It must not be 0: for a kubelet the gate would be open.
	terminated = 128 + 15
)

// errTerminated is what wait returns when the pod is ended first.
var errTerminated = errors.New("ended by SIGTERM before it was lent")

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var err error
	switch {
	case len(args) == 2 && args[0] == "install":
		err = install(args[1])
	case len(args) == 1 && args[0] == "pulled":
		say("the image is on the node")
	case len(args) == 2 && args[0] == "wait":
		err = wait(args[1])
	default:
		say(usage)
		return misuse
	}
	if err == nil {
		return 0
	}
	say(err.Error())
	if errors.Is(err, errTerminated) {
		return terminated
	}
	return failed
}

// say prints a line for kubectl logs.
func say(line string) { _, _ = os.Stdout.WriteString(line + "\n") } // there is nobody else to tell

// install copies this program to dir/gate, such that any user may run it. One that is there is replaced, even while it runs.
func install(dir string) error {
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }()
	path := filepath.Join(dir, "gate")
	copied, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = copied.Close() }() // a second time where all went well
	if _, err := io.Copy(copied, program); err != nil {
		return err
	}
	if err := copied.Chmod(0o555); err != nil {
		return err
	}
	if err := copied.Close(); err != nil {
		return err
	}
	if err := os.Rename(copied.Name(), path); err != nil {
		return err
	}
	say("installed " + path)
	return nil
}
