// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package redisq reads lists, sorted sets and streams of Redis, many at once in a pipeline on one connection to each server. It asks for lengths
// and counters only: no message ever enters this process, and the user it logs in as needs no permission to read one.
package redisq

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"sync"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// passesMost is how often a queue is asked in one Read, while it turns out that other commands are needed.
	passesMost = 4
	// typesMost bounds what is remembered of in-flight keys.
	typesMost = 100_000
)

// reader is a queue.Reader.
type reader struct {
	options queue.ConnectOptions
	// home is the server that has the keys; of a Redis Cluster the node that the url leads to.
	home *node
	// cluster and sentinel are nil where the topology is another.
	cluster  *cluster
	sentinel *sentinel

	// mu guards types, which remembers what each in-flight key is.
	mu    sync.Mutex
	types map[string]string
}

var _ queue.Open = Open

// Open connects to a Redis server, to the master that a Sentinel tells of, or to a node of a Redis Cluster.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	if o.Password == "" && o.Token != "" {
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the key password", "in need of a password, not a token,")
	}
	db, err := strconv.Atoi(cmp.Or(o.Endpoint.Path, "0"))
	if err != nil {
		return nil, queue.Fail(capacityv1alpha1.ReasonAddressRefused, "Give the number of a database, as in redis://redis.chat:6379/0", "without a database number")
	}
	quieten()
	r := &reader{options: o, types: map[string]string{}}
	r.options.Username, r.options.Password, r.options.SentinelUsername, r.options.SentinelPassword = "", "", "", ""
	home := &node{address: o.Endpoint.Address(), username: o.Username, password: o.Password, db: db, secure: o.TLS != nil}
	home.connect = func(ctx context.Context) (net.Conn, error) { return r.dial(ctx, "") }
	var failure *queue.Failure
	switch o.Endpoint.Topology {
	case capacityv1alpha1.RedisSentinel:
		r.home, r.sentinel, failure = r.openMaster(ctx, home, o.SentinelUsername, o.SentinelPassword)
	case capacityv1alpha1.RedisCluster:
		r.home = home
		r.cluster, failure = openCluster(ctx, r)
	default:
		r.home = home
		failure = home.greet(ctx)
	}
	if failure != nil {
		r.Close()
		return nil, failure
	}
	return r, nil
}

// dial connects to an address that a server told of, or to that of the url where it is empty.
func (r *reader) dial(ctx context.Context, address string) (net.Conn, error) {
	var conn net.Conn
	var err error
	if address == "" {
		conn, err = r.options.Dial(ctx)
	} else {
		conn, err = r.options.DialAddress(ctx, address)
	}
	if err != nil || r.options.TLS == nil {
		return conn, err
	}
	config := r.options.TLS
	if endpoint := r.options.Endpoint; address != "" && endpoint.ServerName == endpoint.Host {
		// Nobody said which name its certificate has: it is the one that it is called by.
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	return queue.Handshake(ctx, conn, config)
}

// toldNode is a node at an address that a server told of, with the credentials of the url's.
func (r *reader) toldNode(like *node, address string) *node {
	n := &node{address: address, username: like.username, password: like.password, db: like.db, secure: like.secure}
	n.connect = func(ctx context.Context) (net.Conn, error) { return r.dial(ctx, address) }
	return n
}

// Connections is the number of open connections.
func (r *reader) Connections() int {
	open := r.home.open.Load()
	if r.sentinel != nil {
		open += r.sentinel.node.open.Load()
	}
	if r.cluster != nil {
		open += r.cluster.connections()
	}
	return int(open)
}

// Close ends connections and goroutines, and Reads.
func (r *reader) Close() {
	if r.sentinel != nil {
		r.sentinel.close()
	}
	if r.home != nil {
		r.home.close()
	}
	if r.cluster != nil {
		r.cluster.close()
	}
}

// refusal is why the reader is of no use any more.
func (r *reader) refusal() *queue.Failure {
	switch {
	case r.sentinel != nil:
		return r.sentinel.moved.Load()
	case r.cluster != nil:
		return r.cluster.lost.Load()
	}
	return nil
}

// Read asks for all queues in pipelines, those of one server one after the other; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	if failure := r.refusal(); failure != nil {
		return failure
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &batch{reader: r, deliver: deliver, answers: make(chan []*command)}
	defer b.senders.Wait()
	defer cancel()
	var commands []*command
	for i, q := range queues {
		commands = append(commands, b.ask(&question{index: i, source: &q.Redis})...)
	}
	b.send(ctx, commands)
	for b.open > 0 {
		select {
		case answered := <-b.answers:
			b.open -= len(answered)
			if failure := b.accept(ctx, answered); failure != nil {
				if moved := r.refusal(); moved != nil {
					return moved
				}
				return failure
			}
		case <-ctx.Done():
			return queue.ConnectFailure(ctx.Err())
		}
	}
	return nil
}

// batch is what is asked in one Read.
type batch struct {
	reader  *reader
	deliver func(int, queue.Reading, *queue.Failure)
	answers chan []*command
	senders sync.WaitGroup
	// open counts commands without an answer.
	open int
}

// ask writes the commands of a question.
func (b *batch) ask(q *question) []*command {
	b.reader.mu.Lock()
	q.ask(b.reader.types)
	b.reader.mu.Unlock()
	q.passes++
	q.open = len(q.commands)
	commands := make([]*command, len(q.commands))
	for i := range q.commands {
		commands[i] = &q.commands[i]
	}
	return commands
}

// send has each node asked for its commands, all nodes at once.
func (b *batch) send(ctx context.Context, commands []*command) {
	byNode := map[*node][]*command{}
	var unserved []*command
	for _, c := range commands {
		n := b.reader.nodeOf(c)
		if n == nil {
			unserved = append(unserved, c)
			continue
		}
		byNode[n] = append(byNode[n], c)
	}
	b.open += len(commands)
	for n, commands := range byNode {
		b.senders.Go(func() {
			for len(commands) > 0 {
				count := together(commands)
				n.ask(ctx, commands[:count])
				b.answer(ctx, commands[:count])
				commands = commands[count:]
			}
		})
	}
	if len(unserved) > 0 {
		b.senders.Go(func() { b.answer(ctx, unserved) })
	}
}

func (b *batch) answer(ctx context.Context, commands []*command) {
	select {
	case b.answers <- commands:
	case <-ctx.Done():
	}
}

// together is how many of the commands go into one round trip. One with a reply that may be too large, which ends the connection, has its own.
func together(commands []*command) int {
	for i, c := range commands {
		switch {
		case c.large:
			return max(i, 1)
		case i == pipelineMost:
			return i
		}
	}
	return len(commands)
}

// nodeOf is the server that a command goes to; nil where the cluster has none for its key, which its failure then says.
func (r *reader) nodeOf(c *command) *node {
	if r.cluster == nil {
		return r.home
	}
	return r.cluster.nodeOf(c)
}

// accept takes answers, delivers what they complete, and asks on. It returns the failure of the server as a whole.
func (b *batch) accept(ctx context.Context, answered []*command) *queue.Failure {
	if b.reader.cluster != nil && b.open == 0 {
		if failure := b.reader.cluster.rejection(); failure != nil {
			return failure
		}
	}
	var next []*command
	for _, c := range answered {
		switch {
		case b.reader.cluster != nil:
			if b.reader.cluster.follow(c) {
				next = append(next, c)
				continue
			}
		case c.failure != nil && !c.alone:
			return c.failure
		}
		if c.question.open--; c.question.open == 0 {
			next = append(next, b.finish(c.question)...)
		}
	}
	b.send(ctx, next)
	return nil
}

// finish delivers the reading of a question, or asks more.
func (b *batch) finish(q *question) []*command {
	b.reader.mu.Lock()
	reading, failure, more := q.answer(b.reader.types)
	b.reader.mu.Unlock()
	if more && q.passes <= passesMost {
		return b.ask(q)
	}
	reading.Time = b.reader.options.Now()
	b.deliver(q.index, reading, failure)
	return nil
}
