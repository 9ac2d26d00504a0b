// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kafkaq reads the lag of Kafka consumer groups: one request for end offsets to each broker that leads a partition, and one for
// committed offsets to each broker that coordinates a group, for all queues together.
package kafkaq

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// connectionsMost bounds the connections to one cluster: one for each broker that is asked, and one for the url's address.
	connectionsMost = 64
	// replyBytes bounds one reply. Each partition takes some 50 bytes of the longest one, the description of topicsAtOnce topics.
	replyBytes   = 2 << 20
	topicsAtOnce = 250
	// layoutAge is how long the partitions of topics, their leaders and their start offsets are believed.
	layoutAge = 10 * time.Second
)

// reader is a queue.Reader.
type reader struct {
	client *kgo.Client
	dialer *dialer
	// anonymous is true where no credentials were given.
	anonymous bool
	now       func() time.Time
	// greeted is true once a broker told which requests it has: before that nothing is known of its credentials.
	greeted atomic.Bool
	// hungUp is true while the last login had no answer but the end of the connection: some brokers reject credentials like that.
	hungUp atomic.Bool

	mu sync.Mutex
	// starts are start offsets as they were read last.
	starts map[partition]start
	groups map[string]group
}

type start struct {
	offset int64
	read   time.Time
}

var _ queue.Open = Open

// Open connects to a Kafka cluster. Its client keeps the credentials, because it needs them for the connections to the other brokers.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	r := &reader{dialer: &dialer{options: o}, anonymous: o.Password == "" && o.Token == "", now: o.Now, starts: map[partition]start{}, groups: map[string]group{}}
	options := []kgo.Opt{
		kgo.SeedBrokers(o.Endpoint.Address()),
		kgo.ClientID("queuescaler"),
		kgo.Dialer(r.dialer.dial),
		kgo.WithHooks(r),
		kgo.DisableClientMetrics(),
		kgo.RequestRetries(1),
		kgo.RetryTimeout(queue.ReplyTimeout),
		kgo.RequestTimeoutOverhead(queue.ReplyTimeout),
		kgo.MetadataMinAge(2 * layoutAge),
		kgo.BrokerMaxReadBytes(replyBytes),
		kgo.FetchMaxBytes(replyBytes),
	}
	if !r.anonymous {
		mechanism, failure := mechanismOf(o)
		if failure != nil {
			return nil, failure
		}
		options = append(options, kgo.SASL(mechanism))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, queue.ConnectFailure(err)
	}
	r.client = client
	// Without topics it is a question about brokers alone, which every user may ask.
	brokers := kmsg.NewPtrMetadataRequest()
	brokers.Topics = []kmsg.MetadataRequestTopic{}
	if _, err := client.Request(ctx, brokers); err != nil {
		client.Close()
		return nil, r.failureOf(err)
	}
	return r, nil
}

func mechanismOf(o queue.ConnectOptions) (sasl.Mechanism, *queue.Failure) {
	if o.Username == "" || o.Password == "" {
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the keys username and password", "in need of a username and a password")
	}
	login := scram.Auth{User: o.Username, Pass: o.Password}
	switch o.Endpoint.Mechanism {
	case capacityv1alpha1.KafkaScramSHA256:
		return login.AsSha256Mechanism(), nil
	case capacityv1alpha1.KafkaScramSHA512:
		return login.AsSha512Mechanism(), nil
	default:
		return plain.Auth{User: o.Username, Pass: o.Password}.AsMechanism(), nil
	}
}

// OnBrokerRead is kgo.HookBrokerRead.
func (r *reader) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	switch key {
	case kmsg.ApiVersions.Int16():
		if err == nil {
			r.greeted.Store(true)
		}
	case kmsg.SASLAuthenticate.Int16():
		r.hungUp.Store(errors.Is(err, io.EOF))
	}
}

// Connections is the number of connections to brokers.
func (r *reader) Connections() int { return int(r.dialer.open.Load()) }

// Close ends the connections, their goroutines and Reads.
func (r *reader) Close() { r.client.Close() }

// dialer makes connections to the brokers of one cluster.
type dialer struct {
	options queue.ConnectOptions
	open    atomic.Int64
}

// dial is called by the library, which does not bound the time. Its errors are *queue.Failure.
func (d *dialer) dial(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, queue.ConnectTimeout)
	defer cancel()
	if d.open.Add(1) > connectionsMost {
		d.open.Add(-1)
		return nil, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Spread the QueueScalers over fewer topics or clusters",
			"not asked, because it would take more than %d connections to the cluster,", connectionsMost)
	}
	conn, err := d.connect(ctx, address)
	if err != nil {
		d.open.Add(-1)
		return nil, queue.ConnectFailure(err)
	}
	return queue.OnClose(conn, func() { d.open.Add(-1) }), nil
}

func (d *dialer) connect(ctx context.Context, address string) (net.Conn, error) {
	endpoint := d.options.Endpoint
	var conn net.Conn
	var err error
	if address == endpoint.Address() {
		conn, err = d.options.Dial(ctx)
	} else {
		conn, err = d.options.DialAddress(ctx, address)
	}
	if err != nil || d.options.TLS == nil {
		return conn, err
	}
	config := d.options.TLS
	if host, _, err := net.SplitHostPort(address); err == nil && endpoint.ServerName == endpoint.Host {
		config = config.Clone()
		config.ServerName = host
	}
	return queue.Handshake(ctx, conn, config)
}

// failureOf says why a broker did not answer.
func (r *reader) failureOf(err error) *queue.Failure {
	secure := r.dialer.options.TLS != nil
	var first *kgo.ErrFirstReadEOF
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), r.hungUp.Load() && errors.Is(err, io.EOF):
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting the credentials")
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting mechanism %s, by which the credentials are to be used,", r.dialer.options.Endpoint.Mechanism)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit the user to DESCRIBE the cluster", "denying a request about the cluster")
	case r.anonymous && r.greeted.Load() && errors.As(err, &first):
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "closing connections that bring no credentials")
	case !r.greeted.Load() && !secure && errors.Is(err, io.EOF):
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check that a Kafka broker listens there; if it asks for TLS, add tls: {} to the queue", "closing connections")
	case !r.greeted.Load() && isNetwork(err):
		return queue.LoginFailure(err, secure)
	case isNetwork(err):
		return queue.ConnectFailure(err)
	case kerrOf(err) != nil:
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the broker's log", "answering %s", kerrOf(err).Message)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url leads to a Kafka broker", "sending what is no reply of Kafka")
}

// isNetwork tells errors of the connection from those of the reply's form.
func isNetwork(err error) bool {
	return queue.IsNetwork(err) || errors.Is(err, kgo.ErrClientClosed)
}

// kerrOf is the error code that a broker answered with, or nil. Its words are the library's.
func kerrOf(err error) *kerr.Error {
	var code *kerr.Error
	if errors.As(err, &code) {
		return code
	}
	return nil
}
