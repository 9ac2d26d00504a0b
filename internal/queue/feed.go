// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// bufferSize bounds the readings that are kept until they are taken.
	bufferSize = 64
	// runSize bounds equal readings in a row: an idle queue keeps its first and its newest runSize-1 ones.
	runSize = 12
	// freshFor is how old a reading may be at least and still be fresh.
	freshFor = 15 * time.Second
)

// feed is one queue of one QueueScaler. The Pool's mutex guards it.
type feed struct {
	subscriber Subscriber
	// source's queue is never written to: polls read it without the mutex.
	source   Source
	endpoint Endpoint
	// refused is why it is not read at all.
	refused *Failure
	// auth and tls name the Secrets; empty where there is none.
	auth, tls types.NamespacedName
	poll      time.Duration

	// server is nil until the Secrets were read, and while they cannot be used.
	server *server
	// next is when it is due; claim is the number of the poll that reads it now, 0 for none.
	next     time.Time
	claim    uint64
	timeouts int
	// polled is when its last poll began. unwatch ends the watch, where there is one; woken is true where that asked for a poll during one.
	polled  time.Time
	unwatch func()
	woken   bool

	reading *Reading
	arrived []Reading

	failure    *Failure
	serverWide bool
	// failing is since when, with this reason.
	failing time.Time

	quality Quality
	since   time.Time
}

func (p *Pool) newFeed(sub Subscriber, source *Source, now time.Time) *feed {
	f := &feed{subscriber: sub, source: source.copy(), poll: p.pollOf(source.Queue), quality: Unavailable, since: now, refused: source.Refused}
	if f.refused != nil {
		return f
	}
	f.endpoint, f.refused = endpointOf(source)
	server := ServerOf(&source.Queue.QueueSource)
	if auth := server.Auth.SecretRef.Name; auth != "" {
		f.auth = types.NamespacedName{Namespace: source.SecretNamespace, Name: auth}
	}
	if server.TLS != nil && server.TLS.SecretRef.Name != "" {
		f.tls = types.NamespacedName{Namespace: source.SecretNamespace, Name: server.TLS.SecretRef.Name}
	}
	return f
}

// slowest are the polls of kinds whose values change more rarely than the default, or whose requests are paid for.
var slowest = map[string]time.Duration{KindPrometheus: 15 * time.Second, KindSQS: 15 * time.Second}

func (p *Pool) pollOf(q *capacityv1alpha1.Queue) time.Duration {
	if q.PollSeconds > 0 {
		return time.Duration(q.PollSeconds) * time.Second
	}
	kind, _ := serverOf(&q.QueueSource)
	return max(p.options.DefaultPoll, slowest[kind])
}

// rank orders a batch: those that answer before those that were never asked, and those that fail at the end.
func (f *feed) rank() int {
	switch {
	case f.failure != nil:
		return 2
	case f.reading == nil:
		return 1
	default:
		return 0
	}
}

// accept keeps a reading. It is true when value or quality changed.
func (f *feed) accept(r Reading, now time.Time) bool {
	changed := f.reading == nil || !equal(f.reading, &r)
	f.reading = &r
	f.arrived = append(f.arrived, r)
	f.arrived = thin(f.arrived)
	f.failure, f.serverWide, f.timeouts = nil, false, 0
	return f.judge(now) || changed
}

// fail keeps a failure that began at since. It is true when the quality or its reason changed.
func (f *feed) fail(failure *Failure, serverWide bool, since, now time.Time) bool {
	changed := f.failure == nil || f.failure.Reason != failure.Reason || f.failure.What != failure.What || f.serverWide != serverWide
	if f.failure == nil || f.failure.Reason != failure.Reason {
		f.failing = since
	}
	f.failure, f.serverWide = failure, serverWide
	return f.judge(now) || changed
}

// judge brings the quality up to now. It is true when it changed.
func (f *feed) judge(now time.Time) bool {
	q := f.qualityAt(now)
	if q == f.quality {
		return false
	}
	f.quality, f.since = q, now
	return true
}

func (f *feed) qualityAt(now time.Time) Quality {
	switch {
	case f.failure != nil || f.reading == nil:
		return Unavailable
	case now.Sub(f.reading.Time) > max(freshFor, 3*f.poll):
		return Stale
	default:
		return Fresh
	}
}

// sample is the feed at an instant.
func (f *feed) sample(now time.Time) Sample {
	f.judge(now)
	s := Sample{Name: f.source.Queue.Name, Quality: f.quality, Since: f.since, ServerWide: f.serverWide}
	var last time.Time
	if f.reading != nil {
		r := *f.reading
		s.Reading, last = &r, r.Time
	}
	if f.server != nil {
		s.SharedBy = len(f.server.subscribers) - 1
	}
	url := f.source.via(f.endpoint.URL())
	switch {
	case f.failure != nil:
		failure := f.withSecret(*f.failure)
		s.Reason, s.Message = failure.Reason, failure.message(url, f.failing, last, now)
	case f.reading == nil:
		s.Reason, s.Message = capacityv1alpha1.ReasonWaitingForReadings, "waiting for the first reading from "+url
	case f.quality == Stale:
		late := Failure{What: "late with readings"}
		s.Reason, s.Message = capacityv1alpha1.ReasonReadingsStale, late.message(url, last, last, now)
	default:
		s.Reason, s.Message = capacityv1alpha1.ReasonReadingsFresh, "read from "+url
	}
	return s
}

// withSecret names this feed's own Secret as the remedy: a failure of the server is shared with feeds of other namespaces. Without one, SQS says
// itself which ways there are.
func (f *feed) withSecret(failure Failure) Failure {
	switch {
	case failure.Reason != capacityv1alpha1.ReasonAuthenticationFailed:
	case !f.serverWide && failure.Subject != "" && failure.Remedy != "":
		// One node of many rejects what the others accept: the Secret is not what is wrong.
	case f.auth.Name != "":
		failure.Remedy = "Correct " + f.source.via(subjectOf(f.auth)) + "; it is read again by itself"
	case f.endpoint.Kind != KindSQS:
		failure.Remedy = "Name a Secret with credentials in " + f.source.via("auth.secretRef")
	}
	return failure
}

// equal compares what was read, apart from what changes by time alone.
func equal(a, b *Reading) bool {
	return a.Depth == b.Depth && same(a.InFlight, b.InFlight) && same(a.ArrivedTotal, b.ArrivedTotal) &&
		same(a.CompletedTotal, b.CompletedTotal) && same(a.RedeliveredTotal, b.RedeliveredTotal) && same(a.DeliveredTotal, b.DeliveredTotal) && same(a.MostConsumers, b.MostConsumers) &&
		same(a.DeepestPartition, b.DeepestPartition) && same(a.ShallowestPartition, b.ShallowestPartition) && same(a.Members, b.Members)
}

func same[T comparable](a, b *T) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// thin bounds what waits to be taken, after one reading was added: equal readings in a row to runSize, and all to bufferSize. The first
// and the newest half always stay, so that a rate over the whole interval and the recent rates remain right.
func thin(rs []Reading) []Reading {
	if n := len(rs); n > runSize {
		run := 1
		for run <= runSize && equal(&rs[n-1], &rs[n-1-run]) {
			run++
		}
		if run > runSize {
			return slices.Delete(rs, n-runSize, n-runSize+1)
		}
	}
	if len(rs) <= bufferSize {
		return rs
	}
	kept := rs[:1]
	for i := 2; i < len(rs); i++ {
		if i%2 == 0 || i >= bufferSize/2 {
			kept = append(kept, rs[i])
		}
	}
	return kept
}
