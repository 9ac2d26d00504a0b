// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSOptions are how a NATS server with JetStream is to be started.
type NATSOptions struct {
	// Username and Password, or Token, are what clients have to give; empty means nothing.
	Username, Password, Token string
	// Users have passwords and permissions of their own.
	Users []*server.User
	// TLS makes the server require TLS.
	TLS *Certificates
	// ClientCertificates makes it ask for a certificate of the client; it needs TLS.
	ClientCertificates bool
	// WithoutJetStream switches JetStream off.
	WithoutJetStream bool
	// Configure sets further ones of the server's own, at each start; nil means none.
	Configure func(*server.Options)
}

// NATS is a NATS server inside this process.
type NATS struct {
	// Server is the running server, for looking into it. Start replaces it.
	Server  *server.Server
	options NATSOptions
	port    int
	dir     string
}

// NewNATS prepares a server on a free port; Start starts it.
func NewNATS(o NATSOptions) (*NATS, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "queuescaler-nats-")
	if err != nil {
		return nil, err
	}
	return &NATS{options: o, port: port, dir: dir}, nil
}

// StartNATS starts a server for a test, and ends it with the test.
func StartNATS(t testing.TB, o NATSOptions) *NATS {
	t.Helper()
	n, err := NewNATS(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// AwaitCounted waits until a consumer of all of a stream counts a message that was sent: the server acknowledges a message to its sender a moment before.
func AwaitCounted(t testing.TB, c jetstream.Consumer, sent *jetstream.PubAck) {
	t.Helper()
	Await(t, fmt.Sprintf("the server does not count message %d", sent.Sequence), func() bool {
		info, err := c.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return info.Delivered.Stream+info.NumPending >= sent.Sequence
	})
}

// Address is host:port.
func (n *NATS) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port)) }

// URL is the url for a QueueScaler.
func (n *NATS) URL() string {
	if n.options.TLS != nil {
		return "tls://" + n.Address()
	}
	return "nats://" + n.Address()
}

// Start starts the server, and returns when it accepts connections. After Stop it starts it again, with its streams.
func (n *NATS) Start() error {
	options := &server.Options{
		Host: "127.0.0.1", Port: n.port, NoSigs: true, NoLog: true,
		JetStream: !n.options.WithoutJetStream, StoreDir: n.dir,
		Username: n.options.Username, Password: n.options.Password, Authorization: n.options.Token, Users: n.options.Users,
	}
	if t := n.options.TLS; t != nil {
		config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: t.CertFile, KeyFile: t.KeyFile, CaFile: t.CAFile, Verify: n.options.ClientCertificates})
		if err != nil {
			return err
		}
		options.TLSConfig, options.TLSTimeout = config, 2
	}
	if n.options.Configure != nil {
		n.options.Configure(options)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return fmt.Errorf("the NATS server did not accept connections within %v", startTimeout)
	}
	if options.JetStream && !s.JetStreamEnabled() {
		s.Shutdown()
		return errors.New("JetStream did not start")
	}
	n.Server = s
	return nil
}

// Stop ends the server and waits for its end. Its streams stay.
func (n *NATS) Stop() {
	if n.Server != nil {
		n.Server.Shutdown()
		n.Server.WaitForShutdown()
	}
}

// Close stops the server and removes its files.
func (n *NATS) Close() {
	n.Stop()
	_ = os.RemoveAll(n.dir)
}
