// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rabbitmq reads classic and quorum queues of RabbitMQ through the management API: two requests for many queues of a virtual host,
// one for their lengths as they are now, one for the statistics that the server collects. Over AMQP it reads lengths alone, by a passive
// declare of each queue. No message enters this process.
package rabbitmq

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const (
	// requestsMost is the number of requests in flight.
	requestsMost = 4
	// namesMost and namesBytes bound the names that one request asks for, as they are in its url: the server takes one of 8,000 bytes.
	namesMost, namesBytes = 64, 2 << 10
	// pageSize is the most that the server has on a page, pagesMost how many pages of a virtual host are read.
	pageSize, pagesMost = 500, 200
	// pageBytes bounds a reply: 500 queues with names of 255 characters, each escaped.
	pageBytes = 2 << 20
	// readTimeout bounds a Read.
	readTimeout = 3 * queue.ReplyTimeout
)

const checkServer = "Check that the url is that of RabbitMQ's management API"

// reader is a queue.Reader.
type reader struct {
	client    *queue.HTTPClient
	anonymous bool
	now       func() time.Time
	free      chan struct{}
	closed    context.Context
	end       context.CancelFunc
	samples   samples
}

// id is a queue on the server.
type id struct{ vhost, name string }

var _ queue.Open = Open

// Open connects to a management API, or over AMQP.
func Open(ctx context.Context, o queue.ConnectOptions) (queue.Reader, *queue.Failure) {
	if o.Password == "" && o.Token != "" {
		return nil, queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the keys username and password", "in need of a username and a password, not a token,")
	}
	if strings.HasPrefix(o.Endpoint.Scheme, "amqp") {
		return openAMQP(ctx, o)
	}
	r := &reader{
		client: queue.NewHTTPClient(o), anonymous: o.Password == "", now: o.Now, free: make(chan struct{}, requestsMost),
		samples: samples{of: map[id]sample{}},
	}
	r.closed, r.end = context.WithCancel(context.Background())
	if failure := r.login(ctx); failure != nil {
		r.Close()
		return nil, failure
	}
	return r, nil
}

// login asks who the credentials are: it needs them to be right, and nothing else.
func (r *reader) login(ctx context.Context) *queue.Failure {
	reply, failure := r.get(ctx, "api/whoami", nil)
	switch {
	case failure != nil:
		return failure
	case reply.Status == 401 && !r.anonymous:
		return queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "", "rejecting the credentials, or their user, which needs the tag management,")
	}
	if failure := reply.StatusFailure(r.anonymous); failure != nil {
		return failure
	}
	if reply.Status > 299 || !parseWhoami(reply.Body) {
		return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "not answering as a management API does")
	}
	return nil
}

// get asks when there is room for a request.
func (r *reader) get(ctx context.Context, path string, query url.Values) (queue.HTTPReply, *queue.Failure) {
	select {
	case r.free <- struct{}{}:
	case <-ctx.Done():
		return queue.HTTPReply{}, queue.ConnectFailure(ctx.Err())
	}
	defer func() { <-r.free }()
	return r.client.Get(ctx, path, query, pageBytes)
}

// Connections is the number of open connections.
func (r *reader) Connections() int { return r.client.Connections() }

// Close ends connections, and Reads.
func (r *reader) Close() {
	r.end()
	for range requestsMost {
		r.free <- struct{}{} // so that no request is left
	}
	r.client.Close()
}

// Read reads the queues of each virtual host together; see queue.Reader.
func (r *reader) Read(ctx context.Context, queues []*capacityv1alpha1.Queue, deliver func(int, queue.Reading, *queue.Failure)) *queue.Failure {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()
	wanted := map[string]map[string][]int{}
	for i, q := range queues {
		vhost := cmp.Or(q.RabbitMQ.VHost, "/")
		if wanted[vhost] == nil {
			wanted[vhost] = map[string][]int{}
		}
		wanted[vhost][q.RabbitMQ.Queue] = append(wanted[vhost][q.RabbitMQ.Queue], i)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var lost *queue.Failure
	for vhost, names := range wanted {
		wait.Go(func() {
			v := &visit{reader: r, vhost: vhost, wanted: names, deliver: func(i int, reading queue.Reading, f *queue.Failure) {
				mu.Lock()
				defer mu.Unlock()
				deliver(i, reading, f)
			}}
			if failure := v.read(ctx); failure != nil {
				mu.Lock()
				defer mu.Unlock()
				if lost == nil {
					lost = failure // what cancel makes of the others is no news
				}
				cancel()
			}
		})
	}
	wait.Wait()
	return lost
}

// visit is the reading of one virtual host. wanted are the queues that have no result yet, by their names.
type visit struct {
	*reader
	vhost   string
	wanted  map[string][]int
	deliver func(int, queue.Reading, *queue.Failure)
}

// read reads pages of all queues where that takes fewer requests than asking by name. What is not on them is asked by name: pages move while
// queues come and go. It returns the failure of the server.
func (v *visit) read(ctx context.Context) *queue.Failure {
	asks := (len(v.wanted) + namesMost - 1) / namesMost
	for number, pages := 1, 1; number <= min(pages, asks-1, pagesMost); number++ {
		query := url.Values{"page": {strconv.Itoa(number)}, "page_size": {strconv.Itoa(pageSize)}}
		count, failure := v.ask(ctx, query)
		if failure != nil {
			return failure
		}
		if pages = count; pages >= asks {
			break
		}
	}
	for len(v.wanted) > 0 {
		names := v.some()
		query := url.Values{"page": {"1"}, "page_size": {strconv.Itoa(pageSize)}, "name": {pattern(names)}, "use_regex": {"true"}}
		if _, failure := v.ask(ctx, query); failure != nil {
			return failure
		}
		for _, name := range names {
			v.fail(name, queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Declare the queue, or correct rabbitMQ.queue and rabbitMQ.vhost",
				"without queue %q in virtual host %q", name, v.vhost))
		}
	}
	return nil
}

// some are wanted names, as many as one request may carry.
func (v *visit) some() (names []string) {
	bytes := 0
	for _, name := range slices.Sorted(maps.Keys(v.wanted)) {
		bytes += len(url.QueryEscape(regexp.QuoteMeta(name) + "|"))
		if len(names) == namesMost || bytes > namesBytes && len(names) > 0 {
			break
		}
		names = append(names, name)
	}
	return names
}

// pattern matches these names alone.
func pattern(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return `\A(?:` + strings.Join(quoted, "|") + `)\z`
}

// ask reads lengths and statistics of the queues that query selects, and delivers those that are wanted. It returns the number of pages,
// and the failure of the server; where the virtual host fails, all wanted ones are delivered.
func (v *visit) ask(ctx context.Context, query url.Values) (pages int, failure *queue.Failure) {
	lengths := maps.Clone(query)
	lengths.Set("disable_stats", "true")
	lengths.Set("enable_queue_totals", "true")
	now, ok, failure := v.list(ctx, lengths)
	if failure != nil || !ok {
		return 0, failure
	}
	at := v.now()
	collected, ok, failure := v.list(ctx, query)
	if failure != nil || !ok {
		return 0, failure
	}
	statistics := map[string]statistics{}
	for _, item := range collected.Items {
		statistics[item.Name] = item.statistics
	}
	for _, item := range now.Items {
		if known, ok := statistics[item.Name]; ok {
			v.accept(item, known, at)
		}
	}
	return now.Pages, nil
}

// list asks for a list of queues. ok is false where the virtual host fails, with its queues delivered.
func (v *visit) list(ctx context.Context, query url.Values) (p page, ok bool, failure *queue.Failure) {
	query.Set("columns", columns)
	// A dot must not make the path another one.
	reply, failure := v.get(ctx, "api/queues/"+strings.ReplaceAll(url.PathEscape(v.vhost), ".", "%2E"), query)
	switch {
	case failure != nil:
		return page{}, false, failure
	case reply.Status > 299:
		// It may be this virtual host, or all of the server.
		if failure := v.login(ctx); failure != nil {
			return page{}, false, failure
		}
		for name := range v.wanted {
			v.fail(name, v.refusal(reply.Status))
		}
		return page{}, false, nil
	}
	if p, ok = parsePage(reply.Body); !ok {
		return page{}, false, queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, checkServer, "answering with what is no list of queues")
	}
	return p, true, nil
}

// refusal is why a virtual host's queues are not listed, though the credentials are right.
func (v *visit) refusal(status int) *queue.Failure {
	switch status {
	case 401, 403:
		return queue.Fail(capacityv1alpha1.ReasonPermissionDenied, "Give the user permissions there, if only empty ones: see rabbitmqctl set_permissions",
			"denying virtual host %q to the user", v.vhost)
	case 404:
		return queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Create it, or correct rabbitMQ.vhost", "without virtual host %q", v.vhost)
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Look at the server's log", "answering HTTP %d about virtual host %q", status, v.vhost)
}

// fail delivers the failure of a queue that is still wanted.
func (v *visit) fail(name string, failure *queue.Failure) {
	for _, i := range v.wanted[name] {
		v.deliver(i, queue.Reading{}, failure)
	}
	delete(v.wanted, name)
}

// accept delivers a queue if it is wanted. now has its lengths at an instant, collected its statistics as they were some seconds before.
func (v *visit) accept(now item, collected statistics, at time.Time) {
	if _, ok := v.wanted[now.Name]; !ok {
		return
	}
	reading, failure := readingOf(now, collected)
	if failure != nil {
		v.fail(now.Name, failure)
		return
	}
	reading.Time = v.samples.timeOf(id{v.vhost, now.Name}, collected.Messages, at)
	for _, i := range v.wanted[now.Name] {
		v.deliver(i, reading, nil)
	}
	delete(v.wanted, now.Name)
}

// readingOf is the reading of a queue, without its time.
func readingOf(now item, collected statistics) (queue.Reading, *queue.Failure) {
	ready, unacked := now.Ready, now.Unacked
	switch {
	case now.Type == "stream":
		return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonQueueMissing, "Name a classic or quorum queue: a stream keeps what was consumed, and RabbitMQ does not tell what a consumer has left. Export that, and read it with source prometheus",
			"holding a stream in queue %q", now.Name)
	case now.Type != "classic" && !collected.Ready.told:
		ready = count{} // until its first statistics such a queue is said to be empty
	case !ready.told:
		ready, unacked = collected.Ready, collected.Unacked // a server of before 3.9
	}
	if !ready.told {
		return queue.Reading{}, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable,
			"It is told some seconds after the queue was made; else check that the node of the queue runs, and that the server collects statistics",
			"not telling the length of queue %q", now.Name)
	}
	c := collected.Messages
	return queue.Reading{
		Depth: ready.n, InFlight: unacked.value(), ArrivedTotal: c.Publish.value(), CompletedTotal: c.completed(),
		RedeliveredTotal: c.Redeliver.value(), DeliveredTotal: c.DeliverGet.value(),
	}, nil
}
