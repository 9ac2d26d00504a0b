// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package queue reads backlogs. A Reader asks one kind of server; the Pool shares one connection per server and
// credentials among all QueueScalers, polls in batches, and keeps what each queue told last together with its quality.
package queue

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Reading is what a queue told at one instant. What the source cannot tell is nil, never zero.
type Reading struct {
	// Time of the sample itself, which may be earlier than when it was received.
	Time time.Time
	// Depth is the number of messages waiting, not yet taken by a consumer. At least 0.
	Depth int64
	// InFlight is the number of messages taken and not yet completed. At least 0.
	InFlight *int64
	// ArrivedTotal and CompletedTotal count messages since some fixed time. They may restart.
	ArrivedTotal   *int64
	CompletedTotal *int64
	// RedeliveredTotal counts messages that were delivered again, where the source tells. Only its differences mean something: it may begin below zero.
	RedeliveredTotal *int64
	// DeliveredTotal counts all deliveries, where the source tells and RedeliveredTotal alone misleads: a server that was restarted may call
	// each delivery of what it kept a repeated one.
	DeliveredTotal *int64
	// OldestAge is how long the oldest waiting message has waited.
	OldestAge *time.Duration
	// MostConsumers is how many consumers can work on the queue at once, whatever waits: the partitions of a Kafka topic. A consumer that
	// comes or goes then interrupts the others. At least 1.
	MostConsumers *int64
	// DeepestPartition is the largest number of messages that wait in one partition, which one consumer at a time works on. At most Depth.
	DeepestPartition *int64
	// ShallowestPartition is the smallest number of messages that wait in one partition: 0 where a consumer may have nothing to do, however much waits.
	ShallowestPartition *int64
	// Members identifies who is in the consumer group, and what it is about: with another value than before, consumers came or went. It
	// may be some seconds older than Time.
	Members *uint64
}

// Quality says whether a reading may be decided upon.
type Quality string

const (
	// Fresh: the newest reading is younger than the larger of 3 polls and 15 s.
	Fresh Quality = "Fresh"
	// Stale: there is a reading, but it is older than that.
	Stale Quality = "Stale"
	// Unavailable: the last poll failed, or nothing was read yet.
	Unavailable Quality = "Unavailable"
)

// Sample is the state of one queue: its newest reading, the quality of that, and why.
type Sample struct {
	// Name of the queue in the QueueScaler's spec.
	Name string
	// Reading is the newest one, nil when there was none yet. It stays while the queue is unavailable.
	Reading *Reading
	Quality Quality
	// Reason is one of the API's reasons (QueueUnavailable, AuthenticationFailed, SecretMissing, ...); ReadingsFresh when fresh.
	Reason string
	// Message says for a person what is wrong and what to do. It carries no credentials and no reply of the server.
	// While something is wrong it names its duration, and so changes by time alone.
	Message string
	// Since is when the present quality began.
	Since time.Time
	// SharedBy is the number of other QueueScalers that read from the same server with the same credentials.
	SharedBy int
	// ServerWide is true where the whole server fails, so that those others are affected too.
	ServerWide bool
}

// Reader reads queues of one server over one connection. It is safe for concurrent use.
type Reader interface {
	// Read reads every queue and hands each result to deliver, at most once per queue and in any order: a reading, or the failure
	// of that queue alone. It returns the failure of the server as a whole, which is shared by all queues not delivered;
	// the reader is of no use after that. It takes a few ReplyTimeouts at most, and its memory is bounded whatever the server sends.
	Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(i int, r Reading, f *Failure)) *Failure
	// Connections is the number of connections that are open.
	Connections() int
	// Close ends connections and goroutines, and Reads in progress.
	Close()
}

// Open connects to a server, and returns when it has accepted the credentials. It may keep nothing of them but its connection.
type Open func(ctx context.Context, o ConnectOptions) (Reader, *Failure)

// ConnectOptions are where to connect, and as whom.
type ConnectOptions struct {
	Endpoint                  Endpoint
	Username, Password, Token string
	// Creds is the content of a NATS credentials file, NKey the seed of a NATS user.
	Creds, NKey string
	// SentinelUsername and SentinelPassword are for Sentinels, which tell of a master that Username and Password are for.
	SentinelUsername, SentinelPassword string
	// TLS is nil where neither url nor spec ask for TLS.
	TLS *tls.Config
	// Dial makes the TCP connection, and refuses link-local addresses. TLS is the reader's to add.
	Dial func(ctx context.Context) (net.Conn, error)
	// DialAddress is Dial for another address (host:port) of the same server, one that the server told of.
	DialAddress func(ctx context.Context, address string) (net.Conn, error)
	// Now is the clock of readings.
	Now func() time.Time
}

// RoundUp makes a count of a number of at least 0 and at most CountMost, nil of nil. A part of a message is one: only 0 means that there is none.
func RoundUp(v *float64) *int64 {
	if v == nil {
		return nil
	}
	n := int64(math.Ceil(*v))
	return &n
}

const (
	// CountMost is the largest number of messages that is believed, AgeMost the largest age in seconds: 100 years.
	CountMost = math.MaxInt64 / 64
	AgeMost   = 100 * 365 * 86400
	// ConnectTimeout bounds the making of a connection, its TLS handshake and login included.
	ConnectTimeout = 2 * time.Second
	// ReplyTimeout bounds the wait for a reply, or for the replies to one batch.
	ReplyTimeout = 3 * time.Second
)
