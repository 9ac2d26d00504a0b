// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The supervisor takes requests on a Unix socket: one line in, one line out.
const (
	requestStop    = "stop"
	requestRestart = "restart"
	requestHalt    = "halt"
	requestResume  = "resume"
	replyOK        = "ok"
)

// socket is in the data directory, unless that path is longer than what systems take for a socket (104 bytes on some).
func (d Dir) socket() string {
	if path := d.path("control.sock"); len(path) < 100 {
		return path
	}
	sum := sha256.Sum256([]byte(d))
	return filepath.Join(os.TempDir(), fmt.Sprintf("localcluster-%x.sock", sum[:8]))
}

func (s *supervisor) serveControl() (net.Listener, error) {
	os.Remove(s.dir.socket()) // of a supervisor that was killed: the lock is ours
	l, err := net.Listen("unix", s.dir.socket())
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir.socket(), 0o600); err != nil {
		l.Close()
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return l, nil
}

func (s *supervisor) serve(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	request, name, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch request {
	case requestStop:
		s.cancel(nil)
	case requestRestart:
		s.say("restarting %s", name)
		err = s.restart(context.Background(), name)
	case requestHalt, requestResume:
		s.say("%s %s", request, name)
		err = s.setHalted(name, request == requestHalt)
	default:
		err = fmt.Errorf("unknown request %q", request)
	}
	reply := replyOK
	if err != nil {
		reply = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Fprintln(conn, reply)
}

func (d Dir) request(line string) error {
	conn, err := net.Dial("unix", d.socket())
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, line)
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer from the running cluster: %w", err)
	}
	if reply = strings.TrimSpace(reply); reply != replyOK {
		return errors.New(reply)
	}
	return nil
}

// Restart restarts one component of the running cluster and returns when everything is healthy again.
func (d Dir) Restart(name string) error {
	known := Components()
	if i := slices.IndexFunc(known, func(c string) bool { return strings.TrimPrefix(c, "kube-") == name }); i >= 0 {
		name = known[i]
	}
	if !slices.Contains(known, name) {
		return fmt.Errorf("there is no component %q; there are: %s", name, strings.Join(known, ", "))
	}
	if running, _ := d.Running(); !running {
		return fmt.Errorf("no cluster is running in %s", d)
	}
	return d.request(requestRestart + " " + name)
}

// Down stops the running cluster and returns when it is gone; ran tells whether there was one.
func (d Dir) Down(ctx context.Context) (ran bool, err error) {
	running, pid := d.Running()
	if !running {
		return false, nil
	}
	if err := d.request(requestStop); err != nil {
		// Not listening, yet or any more. The holder of the lock is the supervisor, so the signal hits nobody else.
		if pid <= 0 {
			return true, err
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return true, fmt.Errorf("stop process %d: %w", pid, err)
		}
	}
	return true, poll(ctx, 50*time.Millisecond, func() error {
		if running, pid := d.Running(); running {
			return fmt.Errorf("process %d has not ended yet", pid)
		}
		return nil
	})
}
