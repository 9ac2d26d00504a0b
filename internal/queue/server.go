// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"sort"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// reconnectMost is the longest time between two attempts to connect.
	reconnectMost = 15 * time.Second
	// timeoutMost is the longest time between two readings of a queue that the server does not answer for.
	timeoutMost = 15 * time.Second
	// pollsAtOnce bounds the batches that one server works on: a queue that gets no answer keeps its own batch open, not the next one.
	pollsAtOnce = 4
	// silentAtOnce bounds a batch of queues that were silent when they were asked last, where each takes a request of its own. There is one such batch at a
	// time, so that half of the connections are left for the queues that answer.
	silentAtOnce = httpConnections / 2
	// together is how much earlier a queue may be read to be in the same batch as others.
	together = 20 * time.Millisecond
	// secretTries is how many Secrets are read at one attempt to connect, while they turn out to say something else.
	secretTries = 3
)

// serverID tells apart what needs a connection of its own.
type serverID struct {
	endpoint  Endpoint
	auth, tls digest
}

// server is one connection, and the feeds that are read through it. The Pool's mutex guards what changes.
type server struct {
	p    *Pool
	id   serverID
	stop context.CancelFunc
	kick chan struct{}
	// running ends with the server; watches are those of its feeds.
	running context.Context
	watches sync.WaitGroup

	feeds       map[*feed]struct{}
	subscribers map[Subscriber]int

	// reader is nil while there is no connection. proven is true once it answered.
	reader Reader
	proven bool
	// opened is when the connection was made. One that ends soon counts as another failed attempt.
	opened time.Time
	// failure is why the server as a whole fails, since when; attempts counts how often in a row, retryAt is when to connect next.
	failure  *Failure
	failing  time.Time
	attempts int
	retryAt  time.Time
	// phase is where its polls lie within a second, so that servers are not polled all at once.
	phase time.Time

	polls, errors uint64
	latency       time.Duration
	// silent is the poll of queues that were silent; 0 while there is none.
	silent uint64
}

// apart are the kinds of servers that are asked for one queue at a time, over few connections.
var apart = map[string]bool{KindHTTP: true, KindPrometheus: true, KindSQS: true}

// silentLast is true where f was silent when it was asked last, and may keep a connection from others. The mutex is held.
func (s *server) silentLast(f *feed) bool { return f.timeouts > 0 && apart[s.id.endpoint.Kind] }

// attach has f read through the server id, which is opened for its first feed. The mutex is held.
func (p *Pool) attach(f *feed, id serverID) {
	now := p.options.Clock.Now()
	s := p.servers[id]
	if s == nil {
		ctx, stop := context.WithCancel(p.running)
		s = &server{
			p: p, id: id, running: ctx, stop: stop, kick: make(chan struct{}, 1),
			feeds: map[*feed]struct{}{}, subscribers: map[Subscriber]int{},
			phase: now.Add(-time.Duration(rand.Int64N(int64(time.Second)))),
		}
		p.servers[id] = s
		p.wait.Go(func() { s.run(ctx) })
	}
	s.feeds[f] = struct{}{}
	s.subscribers[f.subscriber]++
	f.server, f.next, f.claim, f.timeouts = s, now, 0, 0
	changed := false
	switch {
	case s.failure != nil:
		changed = f.fail(s.failure, true, s.failing, now)
	case f.failure != nil:
		// What was wrong before was another server or a Secret. The reading, if any, decides until this one answers.
		f.failure, f.serverWide = nil, false
		changed = f.judge(now)
	}
	if changed {
		p.options.Wake(f.subscriber) // a reading that says the same as before would tell nobody
	}
	kick(s.kick)
}

// detach ends the reading of f from its server, and closes the server when it was the last. The mutex is held.
func (p *Pool) detach(f *feed) {
	s := f.server
	if s == nil {
		return
	}
	f.server, f.claim = nil, 0
	f.endWatch()
	delete(s.feeds, f)
	if s.subscribers[f.subscriber]--; s.subscribers[f.subscriber] == 0 {
		delete(s.subscribers, f.subscriber)
	}
	if len(s.feeds) == 0 {
		delete(p.servers, s.id)
		s.stop()
	}
}

// run connects, polls and connects again until ctx ends.
func (s *server) run(ctx context.Context) {
	var polls sync.WaitGroup
	defer func() {
		s.p.mu.Lock()
		reader := s.reader
		s.reader = nil
		s.p.mu.Unlock()
		if reader != nil {
			reader.Close()
		}
		polls.Wait()
		s.watches.Wait()
	}()
	free := make(chan struct{}, pollsAtOnce)
	for s.p.waitUntil(ctx, s.nextDue(), s.kick) {
		reader, mayOpen := s.present()
		if reader == nil {
			if mayOpen {
				s.open(ctx)
			}
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		claim, feeds := s.claim()
		if len(feeds) == 0 {
			<-free
			continue
		}
		polls.Go(func() {
			defer func() { <-free }()
			s.poll(ctx, reader, claim, feeds)
		})
	}
}

func (s *server) present() (reader Reader, mayOpen bool) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.reader, !s.retryAt.After(s.p.options.Clock.Now())
}

// nextDue is when there is something to do; zero means not before a kick.
func (s *server) nextDue() (next time.Time) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.reader == nil {
		if s.retryAt.IsZero() {
			return s.phase
		}
		return s.retryAt
	}
	now := s.p.options.Clock.Now()
	for f := range s.feeds {
		if f.claim == 0 && s.silent != 0 && s.silentLast(f) {
			continue // the end of that poll kicks
		}
		due := f.next
		if f.claim != 0 && !due.After(now) {
			// Its poll takes long; it is looked at again at the next tick.
			due = s.tick(now, f.poll)
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

// open connects once.
func (s *server) open(ctx context.Context) {
	options := ConnectOptions{Endpoint: s.id.endpoint, Dial: dialer(s.id.endpoint), DialAddress: dialAddress, Now: s.p.options.Clock.Now}
	failure := s.credentials(ctx, &options)
	if failure == nil {
		failure = options.unusable()
	}
	var reader Reader
	if failure == nil {
		// Name, address, handshake and login each have their own limit; this one bounds them all.
		ctx, cancel := context.WithTimeout(ctx, ConnectTimeout+ReplyTimeout)
		defer cancel()
		reader, failure = s.p.options.Open[s.id.endpoint.Kind](ctx, options)
	}
	if ctx.Err() != nil {
		if reader != nil {
			reader.Close()
		}
		return
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if failure != nil {
		s.down(failure)
		return
	}
	now := s.p.options.Clock.Now()
	s.reader, s.proven, s.opened = reader, false, now
	for f := range s.feeds {
		s.watch(f)
		if f.serverWide {
			f.next = now // one that is polled seldom is not to fail for longer than its server
		}
	}
}

// credentials reads the Secrets of one of the feeds. Its contents live in options until the connection is made, and nowhere else.
func (s *server) credentials(ctx context.Context, options *ConnectOptions) *Failure {
	for range secretTries {
		auth, tlsName, ok := s.anySecrets()
		if !ok {
			break
		}
		id, failure := s.readCredentials(ctx, auth, tlsName, options)
		if failure == nil && id == s.id {
			return nil
		}
		if failure != nil && failure.Reason == capacityv1alpha1.ReasonQueueUnavailable {
			break // the API server does not answer: no other Secret would do better
		}
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.hasten(s, 0)
	// Whose Secret it was concerns no other subscriber.
	return Fail(capacityv1alpha1.ReasonQueueUnavailable, "It is tried again within 15 s", "not connected, because its Secret could not be read,")
}

// anySecrets are the names of one feed's Secrets; ok is false where no feed is left.
func (s *server) anySecrets() (auth, tls types.NamespacedName, ok bool) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for f := range s.feeds {
		return f.auth, f.tls, true
	}
	return auth, tls, false
}

func (s *server) readCredentials(ctx context.Context, auth, tlsName types.NamespacedName, options *ConnectOptions) (serverID, *Failure) {
	id := serverID{endpoint: s.id.endpoint}
	if auth.Name != "" {
		data, failure := s.p.readSecret(ctx, auth)
		if failure != nil {
			return id, failure
		}
		l, _ := loginOf(data)
		options.Username, options.Password, options.Token = l.username, l.password, l.token
		options.Creds, options.NKey = l.creds, l.nkey
		options.SentinelUsername, options.SentinelPassword = l.sentinelUsername, l.sentinelPassword
		id.auth = s.p.authIdentity(auth, data).digest
	}
	if !id.endpoint.TLS {
		return id, nil
	}
	var data map[string][]byte
	if tlsName.Name != "" {
		var failure *Failure
		if data, failure = s.p.readSecret(ctx, tlsName); failure != nil {
			return id, failure
		}
		id.tls = s.p.tlsIdentity(tlsName, data).digest
	}
	var config *tls.Config
	config, _ = tlsConfigOf(data, id.endpoint.ServerName)
	options.TLS = config
	return id, nil
}

// claim takes the feeds that are due, those that were silent last apart from the others. Those that failed come last: they may take longest.
func (s *server) claim() (uint64, []*feed) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	now := s.p.options.Clock.Now()
	feeds := s.due(now, false)
	if len(feeds) == 0 && s.silent == 0 {
		feeds = s.dueSilent(now)
	}
	if len(feeds) == 0 {
		return 0, nil
	}
	s.p.claims++
	if s.silentLast(feeds[0]) {
		s.silent = s.p.claims
	}
	for _, f := range feeds {
		f.claim = s.p.claims
		f.polled, f.next = now, s.tick(now, f.poll)
		s.watch(f)
	}
	sort.SliceStable(feeds, func(i, j int) bool { return feeds[i].rank() < feeds[j].rank() })
	return s.p.claims, feeds
}

// due are the feeds that were silent last, or the others; none before one of them is due. The mutex is held.
func (s *server) due(now time.Time, silent bool) (feeds []*feed) {
	soon, ready := now.Add(together), false
	for f := range s.feeds {
		if f.claim == 0 && !f.next.After(soon) && s.silentLast(f) == silent {
			ready = ready || !f.next.After(now)
			feeds = append(feeds, f)
		}
	}
	if !ready {
		return nil
	}
	return feeds
}

// dueSilent are the few feeds that were silent last and have been due for longest. The mutex is held.
func (s *server) dueSilent(now time.Time) []*feed {
	feeds := s.due(now, true)
	sort.Slice(feeds, func(i, j int) bool { return feeds[i].next.Before(feeds[j].next) })
	return feeds[:min(len(feeds), silentAtOnce)]
}

// tick is the next time after now on the server's own grid of polls.
func (s *server) tick(now time.Time, poll time.Duration) time.Time {
	passed := now.Add(together).Sub(s.phase)
	return s.phase.Add(passed - passed%poll + poll)
}

// poll reads one batch.
func (s *server) poll(ctx context.Context, reader Reader, claim uint64, feeds []*feed) {
	queues := make([]*capacityv1alpha1.Queue, len(feeds))
	s.p.mu.Lock()
	for i, f := range feeds {
		queues[i] = f.source.Queue
	}
	s.p.mu.Unlock()

	start := s.p.options.Clock.Now()
	deliver := func(i int, r Reading, f *Failure) { s.deliver(claim, feeds[i], r, f) }
	var failure *Failure
	if watcher, ok := reader.(Watcher); ok {
		failure = watcher.ReadFor(ctx, subscribersOf(feeds), queues, deliver)
	} else {
		failure = reader.Read(ctx, queues, deliver)
	}
	if ctx.Err() != nil {
		return
	}
	s.p.mu.Lock()
	if s.silent == claim {
		s.silent = 0
	}
	s.polls++
	s.latency = s.p.options.Clock.Now().Sub(start)
	lost := failure != nil && s.reader == reader
	if lost {
		s.reader = nil
		for f := range s.feeds {
			f.endWatch()
		}
		s.lose(failure)
	}
	s.release(claim, feeds, failure != nil)
	s.p.mu.Unlock()
	if lost {
		reader.Close()
	}
	kick(s.kick)
}

// deliver is the result for one feed.
func (s *server) deliver(claim uint64, f *feed, r Reading, failure *Failure) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if f.server != s || f.claim != claim {
		return
	}
	f.claim = 0
	s.up()
	now := s.p.options.Clock.Now()
	var changed bool
	if failure == nil {
		changed = f.accept(r, now)
	} else {
		changed = f.fail(failure, false, now, now)
		s.failedAlone(f, now)
	}
	if !f.next.After(now) {
		f.next = s.tick(now, f.poll)
	}
	if f.woken {
		f.woken = false
		s.hastenPoll(f)
	}
	if changed {
		s.p.options.Wake(f.subscriber)
	}
}

// failedAlone follows a failure of f alone: one that is silent is read more rarely, and where the credentials were refused the Secrets may say others by
// now. They are read more and more rarely too while that lasts: a path that refuses them may always do so. The mutex is held.
func (s *server) failedAlone(f *feed, now time.Time) {
	if f.failure.Reason == capacityv1alpha1.ReasonQueueTimeout {
		f.timeouts++
		f.next = now.Add(backoff(f.timeouts, f.poll, max(f.poll, timeoutMost)))
		return
	}
	f.timeouts = 0 // it was answered
	if f.failure.Reason == capacityv1alpha1.ReasonAuthenticationFailed {
		s.p.hasten(s, min(now.Sub(f.failing)/2, reconnectMost))
	}
}

// release lets go of feeds that got no result; those that a lost connection left without one are due at once. The mutex is held.
func (s *server) release(claim uint64, feeds []*feed, lost bool) {
	now := s.p.options.Clock.Now()
	for _, f := range feeds {
		if f.server == s && f.claim == claim {
			f.claim = 0
			if lost {
				f.next = now
			}
		}
	}
}

// up notes that the server answered. The mutex is held.
func (s *server) up() {
	s.proven = true
	if s.p.options.Clock.Now().Sub(s.opened) > reconnectMost {
		s.attempts = 0
	}
	if s.failure != nil {
		s.failure = nil
		s.p.options.Log.Info("queue server answers again", "server", s.id.endpoint.URL())
	}
}

// lose is the loss of a connection. One that worked for a while is made again at once, before anybody is told. The mutex is held.
func (s *server) lose(failure *Failure) {
	now := s.p.options.Clock.Now()
	if s.proven && failure.Reason == capacityv1alpha1.ReasonQueueUnavailable && now.Sub(s.opened) > freshFor {
		s.errors++
		s.retryAt = now
		s.proven = false
		return
	}
	s.down(failure)
}

// down tells all feeds that the server fails, and when to try again. The mutex is held.
func (s *server) down(failure *Failure) {
	now := s.p.options.Clock.Now()
	if s.failure == nil {
		s.p.options.Log.Info("queue server fails", "server", s.id.endpoint.URL(), "reason", failure.Reason, "what", failure.What)
	}
	if s.failure == nil || s.failure.Reason != failure.Reason {
		s.failing = now
	}
	s.failure, s.proven = failure, false
	s.errors++
	s.attempts++
	s.retryAt = now.Add(backoff(s.attempts, time.Second/4, reconnectMost))
	for f := range s.feeds {
		if f.fail(failure, true, s.failing, now) {
			s.p.options.Wake(f.subscriber)
		}
	}
	if failure.Reason == capacityv1alpha1.ReasonAuthenticationFailed {
		s.p.hasten(s, 0)
	}
}
