// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servers starts real queue servers for tests, benchmarks and the demo, on 127.0.0.1 if nothing else is asked for.
package servers

import (
	"bufio"
	"cmp"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// startTimeout bounds the start of a server.
	startTimeout = 20 * time.Second
	loopback     = "127.0.0.1"
)

// RedisOptions are how a Redis server is to be started.
type RedisOptions struct {
	// Host is the address to listen on; empty means 127.0.0.1.
	Host string
	// Password of the default user; empty means none.
	Password string
	// ACL are rules such as "user reader on >secret ~* +llen"; the default user stays as Password says.
	ACL []string
	// TLS makes the server speak TLS alone.
	TLS *Certificates
	// ClientCertificates makes it ask for a certificate of the client; it needs TLS.
	ClientCertificates bool
	// Config are further lines of its configuration.
	Config []string
	// sentinel makes it a Sentinel.
	sentinel bool
}

// Redis is a redis-server process.
type Redis struct {
	options RedisOptions
	port    int
	// bus is the port by which nodes of a cluster know each other.
	bus int
	dir string

	mu      sync.Mutex
	process *process
}

// NewRedis prepares a server on a free port; Start starts it.
func NewRedis(o RedisOptions) (*Redis, error) {
	o.Host = cmp.Or(o.Host, loopback)
	port, err := freePortOf(o.Host)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "queuescaler-redis-")
	if err != nil {
		return nil, err
	}
	return &Redis{options: o, port: port, dir: dir}, nil
}

// StartRedis starts a server for a test, and ends it with the test.
func StartRedis(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	r, err := NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// Address is host:port.
func (r *Redis) Address() string { return net.JoinHostPort(r.options.Host, strconv.Itoa(r.port)) }

// URL is the url for a QueueScaler, database 0.
func (r *Redis) URL() string {
	if r.options.TLS != nil {
		return "rediss://" + r.Address() + "/0"
	}
	return "redis://" + r.Address() + "/0"
}

// PID is the process, for measuring it.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.Process.Pid
}

// Start starts the server on its port, and returns when it accepts connections. After Stop it starts it again, without its data unless
// Config says "appendonly yes".
func (r *Redis) Start() error {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("redis-server is not installed; `make test` installs it, or do it by hand: apt-get install redis-server")
	}
	config := filepath.Join(r.dir, "redis.conf")
	if err := os.WriteFile(config, []byte(r.config()), 0o600); err != nil {
		return err
	}
	args := []string{config}
	if r.options.sentinel {
		args = append(args, "--sentinel")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process, err = run(exec.Command(binary, args...)); err != nil {
		return err
	}
	return r.process.until(r.ready, 10*time.Millisecond, startTimeout)
}

func (r *Redis) config() string {
	lines := []string{"bind " + r.options.Host, "daemonize no", "dir " + r.dir, "logfile \"\""}
	if !r.options.sentinel {
		lines = append(lines, `save ""`, "appendonly no")
	}
	port := strconv.Itoa(r.port)
	if t := r.options.TLS; t != nil {
		clients := "no"
		if r.options.ClientCertificates {
			clients = "yes"
		}
		lines = append(lines, "port 0", "tls-port "+port, "tls-cert-file "+t.CertFile, "tls-key-file "+t.KeyFile, "tls-ca-cert-file "+t.CAFile, "tls-auth-clients "+clients)
	} else {
		lines = append(lines, "port "+port)
	}
	if r.options.Password != "" {
		lines = append(lines, "requirepass "+r.options.Password)
	}
	lines = append(lines, r.options.ACL...)
	lines = append(lines, r.options.Config...)
	return strings.Join(lines, "\n") + "\n"
}

// ready is true once the port accepts a connection and answers on it, where that needs no TLS.
func (r *Redis) ready() bool {
	conn, err := net.DialTimeout("tcp", r.Address(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if r.options.TLS != nil {
		return true
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte("PING\r\n"))
	answer, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH")
}

// Stop kills the server and waits for its end.
func (r *Redis) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return
	}
	_ = r.process.Process.Kill()
	<-r.process.exited
}

// Close stops the server and removes its files.
func (r *Redis) Close() {
	r.Stop()
	_ = os.RemoveAll(r.dir)
}

// freePort is a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) { return freePortOf(loopback) }

func freePortOf(host string) (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
