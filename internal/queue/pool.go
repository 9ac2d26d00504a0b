// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"sort"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Subscriber is the namespace and name of a QueueScaler.
type Subscriber = types.NamespacedName

// Options of a Pool. Secrets, Wake and Open are required.
type Options struct {
	// Secrets reads one Secret live. Its error is one of the API's, so that NotFound and Forbidden can be told from others.
	Secrets func(ctx context.Context, namespace, name string) (map[string][]byte, error)
	// Wake is called when the values or the quality of a subscriber's readings changed. It must neither block nor call the Pool.
	Wake func(Subscriber)
	// Open connects, for each kind of server.
	Open map[string]Open
	// Clock defaults to the real one.
	Clock clock.WithTicker
	Log   logr.Logger
	// DefaultPoll is the time between two readings of a queue without pollSeconds; 0 means 1 s.
	DefaultPoll time.Duration
}

// Pool reads the queues of all QueueScalers: one connection for each server and credentials, one batch for all queues that are due there.
// A server, Secret or queue that fails affects nothing else.
type Pool struct {
	options Options
	// key makes digests of credentials meaningless outside this process.
	key  [32]byte
	wait sync.WaitGroup

	mu sync.Mutex
	// running is the context of Start; nil before and after. started stays true.
	running       context.Context
	started       bool
	subscriptions map[Subscriber][]*feed
	servers       map[serverID]*server
	secrets       map[types.NamespacedName]*secret
	claims        uint64
	secretKick    chan struct{}
}

// NewPool returns a Pool that reads nothing until Start.
func NewPool(o Options) *Pool {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.DefaultPoll <= 0 {
		o.DefaultPoll = time.Second
	}
	p := &Pool{
		options:       o,
		subscriptions: map[Subscriber][]*feed{},
		servers:       map[serverID]*server{},
		secrets:       map[types.NamespacedName]*secret{},
		secretKick:    make(chan struct{}, 1),
	}
	_, _ = rand.Read(p.key[:]) // never fails: see crypto/rand
	return p
}

// Start reads until ctx ends; then it closes every connection, and returns when no goroutine is left. It is called once.
func (p *Pool) Start(ctx context.Context) error {
	p.mu.Lock()
	if p.started {
		p.mu.Unlock()
		return errors.New("the pool was started before")
	}
	p.started, p.running = true, ctx
	for _, feeds := range p.subscriptions {
		for _, f := range feeds {
			p.join(f)
		}
	}
	p.mu.Unlock()

	p.wait.Go(func() { p.readSecrets(ctx) })
	p.judgeByTime(ctx)
	// From here on nothing is opened: reconciles may go on for a moment.
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.wait.Wait()
	return nil
}

// Subscribe makes sources what is read for sub. It is cheap when nothing changed; changes take effect at once.
// A queue whose source stays the same keeps its readings.
func (p *Pool) Subscribe(sub Subscriber, sources []Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.subscriptions[sub]
	if unchanged(old, sources) {
		return
	}
	now := p.options.Clock.Now()
	byName := make(map[string]*feed, len(old))
	for _, f := range old {
		byName[f.source.Queue.Name] = f
	}
	feeds := make([]*feed, len(sources))
	for i := range sources {
		name := sources[i].Queue.Name
		f := byName[name]
		if f != nil && f.source.reads(&sources[i]) {
			delete(byName, name)
			p.retime(f, &sources[i], now)
		} else {
			f = p.newFeed(sub, &sources[i], now)
			p.join(f)
		}
		feeds[i] = f
	}
	// The new ones have joined before the old ones leave, so that a server that both use stays connected.
	for _, f := range byName {
		p.leave(f)
	}
	p.subscriptions[sub] = feeds
}

// Unsubscribe ends the reading for sub. A connection that nobody else uses is closed.
func (p *Pool) Unsubscribe(sub Subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.subscriptions[sub] {
		p.leave(f)
	}
	delete(p.subscriptions, sub)
}

// Samples are the present states of sub's queues, in the order of the spec.
func (p *Pool) Samples(sub Subscriber) []Sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Clock.Now()
	feeds := p.subscriptions[sub]
	samples := make([]Sample, len(feeds))
	for i, f := range feeds {
		samples[i] = f.sample(now)
	}
	return samples
}

// Take hands over the readings that arrived since the last Take: for each queue in the order of the spec, oldest first. At most 64 wait;
// beyond that every second one of the older half is dropped, and of more than 12 equal ones in a row those between the first and the newest 11.
func (p *Pool) Take(sub Subscriber) [][]Reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	feeds := p.subscriptions[sub]
	readings := make([][]Reading, len(feeds))
	for i, f := range feeds {
		readings[i], f.arrived = f.arrived, nil
	}
	return readings
}

// ServerStats is the state of one server for metrics; connections with different credentials to one address are one.
type ServerStats struct {
	// Kind is one of the kinds of servers; Host is host:port, without credentials.
	Kind, Host string
	// Up is true where the last poll or connection attempt succeeded, for all credentials.
	Up                               bool
	Connections, Subscribers, Queues int
	// Polls counts batches, Errors failed batches and failed connection attempts, since the connection's first subscriber.
	Polls, Errors uint64
	// Latency of the last batch.
	Latency time.Duration
}

// Servers are the servers in use, by kind and host.
func (p *Pool) Servers() []ServerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	type key struct{ kind, host string }
	all := map[key]*ServerStats{}
	for id, s := range p.servers {
		k := key{id.endpoint.Kind, id.endpoint.Address()}
		if all[k] == nil {
			all[k] = &ServerStats{Kind: k.kind, Host: k.host, Up: true}
		}
		t := all[k]
		t.Up = t.Up && s.failure == nil && s.proven
		if s.reader != nil {
			t.Connections += s.reader.Connections()
		}
		t.Subscribers += len(s.subscribers)
		t.Queues += len(s.feeds)
		t.Polls += s.polls
		t.Errors += s.errors
		t.Latency = max(t.Latency, s.latency)
	}
	stats := make([]ServerStats, 0, len(all))
	for _, t := range all {
		stats = append(stats, *t)
	}
	sort.Slice(stats, func(i, j int) bool {
		return stats[i].Kind+" "+stats[i].Host < stats[j].Kind+" "+stats[j].Host
	})
	return stats
}

func unchanged(feeds []*feed, sources []Source) bool {
	if len(feeds) != len(sources) || len(feeds) == 0 {
		return false
	}
	for i, f := range feeds {
		if !f.source.equals(&sources[i]) {
			return false
		}
	}
	return true
}

// retime takes over what changed besides the source. The mutex is held.
func (p *Pool) retime(f *feed, source *Source, now time.Time) {
	f.source = source.copy()
	if poll := p.pollOf(source.Queue); poll != f.poll {
		f.poll, f.next = poll, now
		if f.server != nil {
			kick(f.server.kick)
		}
	}
}

// join starts the reading of f. The mutex is held.
func (p *Pool) join(f *feed) {
	now := p.options.Clock.Now()
	if f.refused != nil {
		f.fail(f.refused, false, now, now)
		return
	}
	if p.running == nil {
		return
	}
	for _, name := range []types.NamespacedName{f.auth, f.tls} {
		if name.Name == "" {
			continue
		}
		if p.secrets[name] == nil {
			p.secrets[name] = &secret{name: name, feeds: map[*feed]struct{}{}, due: now}
			kick(p.secretKick)
		}
		p.secrets[name].feeds[f] = struct{}{}
	}
	p.bind(f)
}

// leave ends the reading of f. The mutex is held.
func (p *Pool) leave(f *feed) {
	p.detach(f)
	for _, name := range []types.NamespacedName{f.auth, f.tls} {
		if s := p.secrets[name]; s != nil {
			delete(s.feeds, f)
			if len(s.feeds) == 0 {
				delete(p.secrets, name)
			}
		}
	}
}

// bind has f read from the server that its Secrets lead to, or tells why there is none. The mutex is held.
func (p *Pool) bind(f *feed) {
	if p.running == nil {
		return
	}
	id := serverID{endpoint: f.endpoint}
	known := true
	for _, use := range []struct {
		name types.NamespacedName
		of   func(*secret) identity
		to   *digest
	}{
		{f.auth, func(s *secret) identity { return s.auth }, &id.auth},
		{f.tls, func(s *secret) identity { return s.tls }, &id.tls},
	} {
		s := p.secrets[use.name]
		if s == nil {
			continue
		}
		identity := use.of(s)
		if identity.failure == nil && s.readAt.IsZero() {
			known = false
			identity.failure = s.unread
		}
		if identity.failure != nil {
			p.detach(f)
			p.report(f, identity.failure)
			return
		}
		*use.to = identity.digest
	}
	if known && (f.server == nil || f.server.id != id) {
		p.detach(f)
		p.attach(f, id)
	}
}

// report is a failure of f alone. The mutex is held.
func (p *Pool) report(f *feed, failure *Failure) {
	now := p.options.Clock.Now()
	if f.fail(failure, false, now, now) {
		p.options.Wake(f.subscriber)
	}
}

// judgeByTime notices readings that became stale because none came after them.
func (p *Pool) judgeByTime(ctx context.Context) {
	ticker := p.options.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		p.mu.Lock()
		now := p.options.Clock.Now()
		for _, feeds := range p.subscriptions {
			for _, f := range feeds {
				if f.judge(now) {
					p.options.Wake(f.subscriber)
				}
			}
		}
		p.mu.Unlock()
	}
}

// waitUntil waits until t (zero: for ever) or a kick; it is false when ctx ended.
func (p *Pool) waitUntil(ctx context.Context, t time.Time, kicked <-chan struct{}) bool {
	var due <-chan time.Time
	if !t.IsZero() {
		d := t.Sub(p.options.Clock.Now())
		if d <= 0 {
			return ctx.Err() == nil
		}
		timer := p.options.Clock.NewTimer(d)
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-due:
	case <-kicked:
	}
	return ctx.Err() == nil
}

// kick wakes a loop that waits on c, now or when it waits next.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
