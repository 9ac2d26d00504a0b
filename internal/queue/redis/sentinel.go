// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// watchPeriod is the time between two questions who the master is, while it answers. When it does not, the connection is made anew, which asks.
const watchPeriod = 5 * time.Second

// sentinel tells of the master, and watches whether that is still the same.
type sentinel struct {
	node   *node
	name   string
	master *node
	// moved is set once another server is the master.
	moved atomic.Pointer[queue.Failure]
	stop  context.CancelFunc
	wait  sync.WaitGroup
}

// openMaster asks the Sentinel that the url leads to for the master, and connects to that. at is the url's node, with the master's credentials.
func (r *reader) openMaster(ctx context.Context, at *node, username, password string) (*node, *sentinel, *queue.Failure) {
	s := &sentinel{name: r.options.Endpoint.MasterName, node: &node{address: at.address, username: username, password: password, secure: at.secure, connect: at.connect}}
	address, failure := s.ask(ctx)
	if failure != nil {
		s.node.close()
		return nil, nil, failure
	}
	s.master = r.toldNode(at, address)
	failure = s.master.greet(ctx)
	if failure == nil {
		failure = s.master.isMaster(ctx)
	}
	if failure != nil {
		s.node.close()
		s.master.close()
		own := *failure
		own.Subject = fmt.Sprintf("master %s of %s", s.name, r.options.Endpoint.URL())
		return nil, nil, &own
	}
	watching, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wait.Go(func() { s.watch(watching) })
	return s.master, s, nil
}

// ask returns the address of the master.
func (s *sentinel) ask(ctx context.Context) (string, *queue.Failure) {
	who := &command{use: layout, name: "SENTINEL GET-MASTER-ADDR-BY-NAME", key: s.name}
	s.node.ask(ctx, []*command{who})
	if who.failure != nil {
		return "", s.failureOf(who.failure)
	}
	switch text, isReply := errorReply(who.reply.Err()); {
	case errors.Is(who.reply.Err(), redis.Nil):
		return "", queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Correct redis.masterName: SENTINEL MASTERS tells the names", "without a master %q", s.name)
	case strings.HasPrefix(text, "NOPERM"):
		return "", queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Permit it to the Sentinels' user: ACL SETUSER ... +sentinel|get-master-addr-by-name", "denying SENTINEL GET-MASTER-ADDR-BY-NAME")
	case isReply:
		return "", queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Give the url of a Sentinel, which listens at port 26379 as a rule, or remove topology Sentinel", "answering SENTINEL GET-MASTER-ADDR-BY-NAME with an error")
	}
	address, ok := parseMaster(who.reply.Val())
	if !ok {
		return "", invalid("SENTINEL GET-MASTER-ADDR-BY-NAME")
	}
	return address, nil
}

// failureOf says of a failed login which keys of the Secret it was about.
func (s *sentinel) failureOf(failure *queue.Failure) *queue.Failure {
	if failure.Reason != capacityv1alpha1.ReasonAuthenticationFailed {
		return failure
	}
	what := "a Sentinel that rejects sentinelUsername and sentinelPassword of the Secret,"
	if s.node.password == "" {
		what = "a Sentinel that requires sentinelPassword in the Secret,"
	}
	return queue.Fail(failure.Reason, "", "%s", what)
}

// parseMaster reads host and port.
func parseMaster(v any) (string, bool) {
	fields, ok := v.([]any)
	if !ok || len(fields) != 2 {
		return "", false
	}
	host, ok := fields[0].(string)
	port, ok2 := fields[1].(string)
	if !ok || !ok2 || host == "" {
		return "", false
	}
	return addressOf(host, port, "")
}

// isMaster is the failure of a server that was a master until a moment ago. One that does not tell its role is believed.
func (n *node) isMaster(ctx context.Context) *queue.Failure {
	role := &command{use: layout, name: "ROLE"}
	n.ask(ctx, []*command{role})
	if role.failure != nil {
		return role.failure
	}
	fields, _ := role.reply.Val().([]any)
	if len(fields) > 0 && fields[0] == "slave" {
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Wait until the failover is over; check the Sentinels if it does not end", "a replica now")
	}
	return nil
}

// watch ends the master's connection when another server is the master. While no Sentinel answers, the master is believed to stay.
func (s *sentinel) watch(ctx context.Context) {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		address, failure := s.ask(ctx)
		if failure == nil && address != s.master.address {
			s.moved.Store(queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "It is connected again by itself", "changing its master"))
			s.master.close()
			return
		}
	}
}

// close ends the watch, and the connection to the Sentinel.
func (s *sentinel) close() {
	s.stop()
	s.node.close()
	s.wait.Wait()
}
