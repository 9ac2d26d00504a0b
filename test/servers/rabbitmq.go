// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// rabbitMQTimeout bounds the start of a RabbitMQ server: an Erlang machine and its plugins, on a machine that is busy with tests.
	rabbitMQTimeout = 3 * time.Minute
	// rabbitMQPrograms is where packages put the programs themselves; those in PATH change to a user of their own.
	rabbitMQPrograms = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
)

// RabbitMQOptions are how a RabbitMQ server is to be started.
type RabbitMQOptions struct {
	// Host is the address to listen on; empty means 127.0.0.1.
	Host string
	// Password of the administrator guest; empty means guest.
	Password string
	// Certificates have both the management API and AMQP served over TLS as well, on other ports.
	Certificates *Certificates
}

// RabbitMQ is a RabbitMQ server with the management plugin, in a process group of its own, and the port mapper of its Erlang.
type RabbitMQ struct {
	options       RabbitMQOptions
	dir, programs string
	// amqp and management are ports; secure is that of the management API over TLS, amqps of AMQP.
	amqp, amqps, management, secure, distribution, mapper int

	process *process
	epmd    *exec.Cmd
}

// NewRabbitMQ prepares a server on free ports; Start starts it.
func NewRabbitMQ(o RabbitMQOptions) (*RabbitMQ, error) {
	o.Host, o.Password = cmp.Or(o.Host, loopback), cmp.Or(o.Password, "guest")
	programs, _ := filepath.Glob(rabbitMQPrograms)
	if len(programs) == 0 {
		return nil, errors.New("rabbitmq-server is not installed; `make test` installs it, or do it by hand: apt-get install rabbitmq-server")
	}
	dir, err := os.MkdirTemp("", "queuescaler-rabbitmq-")
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{dir: dir, programs: programs[0], options: o}
	for _, port := range []*int{&r.amqp, &r.amqps, &r.management, &r.secure, &r.distribution, &r.mapper} {
		if *port, err = freePortOf(o.Host); err != nil {
			return nil, err
		}
	}
	return r, r.configure()
}

// StartRabbitMQ starts a server for a test, and ends it with the test.
func StartRabbitMQ(t testing.TB) *RabbitMQ {
	t.Helper()
	r, err := NewRabbitMQ(RabbitMQOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// URL is the url of the management API.
func (r *RabbitMQ) URL() string { return "http://" + r.Address() }

// SecureURL is the url of the management API over TLS.
func (r *RabbitMQ) SecureURL() string { return "https://" + r.at(r.secure) }

// Address is host:port of the management API.
func (r *RabbitMQ) Address() string { return r.at(r.management) }

// AMQPAddress is host:port of AMQP.
func (r *RabbitMQ) AMQPAddress() string { return r.at(r.amqp) }

// SecureAMQPAddress is host:port of AMQP over TLS.
func (r *RabbitMQ) SecureAMQPAddress() string {
	return r.at(r.amqps)
}

// AMQP is the url for clients, as an administrator.
func (r *RabbitMQ) AMQP() string {
	return "amqp://guest:" + url.PathEscape(r.options.Password) + "@" + r.at(r.amqp) + "/"
}

func (r *RabbitMQ) at(port int) string { return net.JoinHostPort(r.options.Host, strconv.Itoa(port)) }

func (r *RabbitMQ) configure() error {
	lines := []string{
		"listeners.tcp.1 = " + r.at(r.amqp), "default_pass = " + r.options.Password,
		"loopback_users = none", // by default guest may connect from 127.0.0.1 only
		"management.tcp.ip = " + r.options.Host, fmt.Sprintf("management.tcp.port = %d", r.management),
		"log.file = false", "log.console = true", "log.console.level = error",
	}
	if c := r.options.Certificates; c != nil {
		lines = append(lines, "management.ssl.ip = "+r.options.Host, fmt.Sprintf("management.ssl.port = %d", r.secure),
			"management.ssl.certfile = "+r.file("tls.crt"), "management.ssl.keyfile = "+r.file("tls.key"), "management.ssl.cacertfile = "+r.file("ca.crt"),
			"listeners.ssl.1 = "+r.at(r.amqps),
			"ssl_options.certfile = "+r.file("tls.crt"), "ssl_options.keyfile = "+r.file("tls.key"), "ssl_options.cacertfile = "+r.file("ca.crt"))
		if err := errors.Join(os.WriteFile(r.file("tls.crt"), c.Cert, 0o600), os.WriteFile(r.file("tls.key"), c.Key, 0o600), os.WriteFile(r.file("ca.crt"), c.CA, 0o600)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(r.file("rabbitmq.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600),
		os.WriteFile(r.file("plugins"), []byte("[rabbitmq_management].\n"), 0o600))
}

func (r *RabbitMQ) file(name string) string { return filepath.Join(r.dir, name) }

// environment keeps the server apart from any other one on this machine.
func (r *RabbitMQ) environment() []string {
	return append(os.Environ(),
		"HOME="+r.dir, "RABBITMQ_CONF_ENV_FILE="+r.file("none"),
		fmt.Sprintf("RABBITMQ_NODENAME=queuescaler-%d@localhost", r.amqp),
		"RABBITMQ_MNESIA_BASE="+r.file("data"), "RABBITMQ_LOG_BASE="+r.file("log"), "RABBITMQ_PID_FILE="+r.file("pid"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+r.file("plugins"), "RABBITMQ_CONFIG_FILE="+r.file("rabbitmq.conf"),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", r.distribution), fmt.Sprintf("ERL_EPMD_PORT=%d", r.mapper), "ERL_EPMD_ADDRESS=127.0.0.1")
}

// Start starts the server, and returns when its management API answers and its clients can connect. After Stop it starts it again, with its durable queues.
func (r *RabbitMQ) Start() error {
	// Without one that runs, Erlang would start one that outlives it.
	r.epmd = exec.Command("epmd", "-address", "127.0.0.1", "-port", strconv.Itoa(r.mapper))
	if err := r.epmd.Start(); err != nil {
		return err
	}
	command := exec.Command(filepath.Join(r.programs, "rabbitmq-server"))
	command.Env, command.Dir = r.environment(), r.dir
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if r.process, err = run(command); err != nil {
		return err
	}
	return r.process.until(r.ready, 50*time.Millisecond, rabbitMQTimeout)
}

// ready is true once all ports are served: that of the management API comes before the others.
func (r *RabbitMQ) ready() bool {
	addresses := []string{r.AMQPAddress()}
	if r.options.Certificates != nil {
		addresses = append(addresses, r.SecureAMQPAddress())
	}
	for _, address := range addresses {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return r.Manage(http.MethodGet, "whoami", "") == nil
}

// Manage sends a request to a path below /api of the management API, as an administrator.
func (r *RabbitMQ) Manage(method, path, body string) error {
	request, err := http.NewRequest(method, r.URL()+"/api/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.SetBasicAuth("guest", r.options.Password)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return nil
}

// Control runs a program of the server, such as rabbitmqctl.
func (r *RabbitMQ) Control(program string, args ...string) error {
	command := exec.Command(filepath.Join(r.programs, program), args...)
	command.Env, command.Dir = r.environment(), r.dir
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, output)
	}
	return nil
}

// Stop kills the server and waits for its end.
func (r *RabbitMQ) Stop() {
	if r.process != nil {
		_ = syscall.Kill(-r.process.Process.Pid, syscall.SIGKILL)
		<-r.process.exited
	}
	if r.epmd != nil && r.epmd.Process != nil {
		_ = r.epmd.Process.Kill()
		_ = r.epmd.Wait()
	}
	r.process, r.epmd = nil, nil
}

// Close stops the server and removes its files.
func (r *RabbitMQ) Close() {
	r.Stop()
	_ = os.RemoveAll(r.dir)
}
