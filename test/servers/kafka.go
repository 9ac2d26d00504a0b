// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// KafkaOptions are how a Kafka cluster is to be started.
type KafkaOptions struct {
	// Brokers is their number; 0 means 1.
	Brokers int
	// Admin is the password of the user admin, who may do everything; empty means that nobody logs in.
	Admin string
	// Users are further users by name, with passwords and what they may do. They need Admin.
	Users []KafkaUser
	// TLS makes the brokers speak TLS alone.
	TLS *Certificates
	// ClientCertificates makes them ask for a certificate of the client; it needs TLS.
	ClientCertificates bool
	// Options are further ones of kfake.
	Options []kfake.Opt
}

// KafkaUser is a user with a mechanism of SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
type KafkaUser struct {
	Mechanism, Name, Password string
	ACLs                      []kfake.ACL
}

// Kafka is a cluster of kfake brokers in this process: they speak Kafka's protocol on TCP, with groups, offsets, SASL and ACLs.
type Kafka struct {
	options KafkaOptions
	dir     string
	ports   []int

	mu      sync.Mutex
	cluster *kfake.Cluster
}

// StartKafka starts a cluster for a test, and ends it with the test.
func StartKafka(t testing.TB, o KafkaOptions) *Kafka {
	t.Helper()
	k := &Kafka{options: o, dir: t.TempDir()}
	var held []net.Listener // all at once, or a port could be found twice
	for range max(1, o.Brokers) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, listener)
		k.ports = append(k.ports, listener.Addr().(*net.TCPAddr).Port)
	}
	for _, listener := range held {
		_ = listener.Close()
	}
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return k
}

// Address is host:port of the first broker.
func (k *Kafka) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(k.ports[0])) }

// URL is the url for a QueueScaler.
func (k *Kafka) URL() string { return "kafka://" + k.Address() }

// Cluster is the running one, for faults.
func (k *Kafka) Cluster() *kfake.Cluster {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cluster
}

// Start starts the brokers on their ports, after Stop with the data that there was.
func (k *Kafka) Start() error {
	options := append([]kfake.Opt{kfake.Ports(k.ports...), kfake.DataDir(k.dir)}, k.options.Options...)
	if k.options.Admin != "" {
		options = append(options, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", k.options.Admin))
	}
	for _, u := range k.options.Users {
		options = append(options, kfake.User(u.Mechanism, u.Name, u.Password, u.ACLs...))
	}
	if k.options.TLS != nil {
		config, err := k.options.TLS.server(k.options.ClientCertificates)
		if err != nil {
			return err
		}
		options = append(options, kfake.TLS(config))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cluster = cluster
	return nil
}

// Stop ends the brokers and keeps their data.
func (k *Kafka) Stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster != nil {
		k.cluster.Close()
		k.cluster = nil
	}
}

// Client is an admin's client, which ends with the test. It puts messages into the partition that they name.
func (k *Kafka) Client(t testing.TB, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	options = append(options, kgo.SeedBrokers(k.Address()), kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if k.options.Admin != "" {
		options = append(options, kgo.SASL(plain.Auth{User: "admin", Pass: k.options.Admin}.AsMechanism()))
	}
	if c := k.options.TLS; c != nil {
		pair, err := tls.X509KeyPair(c.Cert, c.Key)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(c.CA)
		options = append(options, kgo.DialTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Fill makes a topic, where there is none, of so many partitions, and puts so many messages into it, in turn into each.
func (k *Kafka) Fill(t testing.TB, topic string, partitions int32, messages int) {
	t.Helper()
	ctx := context.Background()
	client := k.Client(t)
	_, _ = kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic)
	for i := range messages {
		client.Produce(ctx, &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: []byte("m")}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// Commit commits offsets of a group, by the number of the partition.
func (k *Kafka) Commit(t testing.TB, group, topic string, offsets ...int64) {
	t.Helper()
	all := kadm.Offsets{}
	for number, offset := range offsets {
		all.Add(kadm.Offset{Topic: topic, Partition: int32(number), At: offset, LeaderEpoch: -1})
	}
	if err := kadm.NewClient(k.Client(t)).CommitAllOffsets(context.Background(), group, all); err != nil {
		t.Fatal(err)
	}
}
