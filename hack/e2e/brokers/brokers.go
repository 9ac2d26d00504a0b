// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package brokers starts the queue servers of the end-to-end tests: as processes that can be killed and started again with their data, on an
// address that pods reach, and with a password.
package brokers

import (
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/queuescaler/queuescaler/test/servers"
)

// Password is every server's.
const Password = "correct-horse"

// Broker is a running queue server. What it has confirmed is on its disk.
type Broker struct {
	// URL is for package queue; it has the user and the password.
	URL string
	// ScalerURL is the url of a QueueScaler's queue, whose user and password are those of a Secret.
	ScalerURL string
	// Username is empty where Redis has its default user.
	Username string

	start func() error
	stop  func()
}

// Kill ends the server by SIGKILL and waits for its end.
func (b *Broker) Kill() { b.stop() }

// Restart starts the server again, on its port and with its data, and returns when it accepts connections.
func (b *Broker) Restart() error { return b.start() }

// Start is a function that starts a server on an address of this machine, and ends it with the test.
type Start func(t testing.TB, host string) *Broker

// Redis starts a Redis server that writes each command to its disk before it answers.
func Redis(t testing.TB, host string) *Broker {
	t.Helper()
	r := servers.StartRedis(t, servers.RedisOptions{
		Host: host, Password: Password, Config: []string{"appendonly yes", "appendfsync always"},
	})
	return &Broker{
		URL: (&url.URL{Scheme: "redis", User: url.UserPassword("", Password), Host: r.Address()}).String(), ScalerURL: r.URL(), start: r.Start, stop: r.Stop,
	}
}

// RabbitMQ starts a RabbitMQ server. A QueueScaler reads it through its management API.
func RabbitMQ(t testing.TB, host string) *Broker {
	t.Helper()
	r, err := servers.NewRabbitMQ(servers.RabbitMQOptions{Host: host, Password: Password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return &Broker{URL: r.AMQP(), ScalerURL: r.URL(), Username: "guest", start: r.Start, stop: r.Stop}
}

// NATS returns what starts a NATS server of the program that [BuildNATS] has built.
func NATS(program string) Start {
	return func(t testing.TB, host string) *Broker {
		t.Helper()
		n := servers.StartNATSProcess(t, program, host, Password)
		return &Broker{URL: n.URL(), ScalerURL: "nats://" + n.Address(), Username: "nats", start: n.Start, stop: n.Stop}
	}
}

// BuildNATS builds a nats-server in a directory, from the module in this one's go.mod, and returns its path.
func BuildNATS(dir string) (string, error) {
	program := filepath.Join(dir, "nats-server")
	build := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building nats-server: %w: %s", err, output)
	}
	return program, nil
}
