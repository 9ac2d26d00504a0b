// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// NATSProcess is a NATS server with JetStream in a process of its own, which can be killed. It writes each message to the disk before it
// acknowledges it.
type NATSProcess struct {
	program, host, password string
	port                    int
	dir                     string
	process                 *process
}

// StartNATSProcess starts a server for a test, and ends it with the test. The program is a nats-server, which is built from the module
// github.com/nats-io/nats-server/v2; host is the address to listen on. Clients have to give the password of the user nats.
func StartNATSProcess(t testing.TB, program, host, password string) *NATSProcess {
	t.Helper()
	port, err := freePortOf(host)
	if err != nil {
		t.Fatal(err)
	}
	n := &NATSProcess{program: program, host: host, password: password, port: port, dir: t.TempDir()}
	t.Cleanup(n.Stop)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Address is host:port.
func (n *NATSProcess) Address() string { return net.JoinHostPort(n.host, strconv.Itoa(n.port)) }

// URL is the url for clients, with the password.
func (n *NATSProcess) URL() string {
	return (&url.URL{Scheme: "nats", User: url.UserPassword("nats", n.password), Host: n.Address()}).String()
}

// Start starts the server on its port, and returns when it accepts connections. After Stop it starts it again, with its streams.
func (n *NATSProcess) Start() error {
	config := fmt.Sprintf("listen: %q\nauthorization {user: nats, password: %q}\njetstream {store_dir: %q, sync_interval: always}\n",
		n.Address(), n.password, n.dir)
	file := filepath.Join(n.dir, "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	var err error
	if n.process, err = run(exec.Command(n.program, "-c", file)); err != nil {
		return fmt.Errorf("starting the NATS server: %w", err)
	}
	return n.process.until(n.ready, 10*time.Millisecond, startTimeout)
}

func (n *NATSProcess) ready() bool {
	conn, err := net.DialTimeout("tcp", n.Address(), time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Stop kills the server and waits for its end.
func (n *NATSProcess) Stop() {
	if n.process == nil {
		return
	}
	_ = n.process.Process.Kill()
	<-n.process.exited
}
