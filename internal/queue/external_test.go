// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

func scalerQueue(url, name string) capacityv1alpha1.Queue {
	return capacityv1alpha1.Queue{Name: "q", QueueSource: capacityv1alpha1.QueueSource{External: capacityv1alpha1.ExternalSource{
		Server: capacityv1alpha1.Server{URL: url}, Metadata: map[string]capacityv1alpha1.ExternalValue{"queue": capacityv1alpha1.ExternalValue(name)},
	}}}
}

// seldom is q polled once in 5 min.
func seldom(q capacityv1alpha1.Queue) capacityv1alpha1.Queue {
	q.PollSeconds = 300
	return q
}

func TestExternalReadings(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{})
	e.Set("jobs", 3)
	h := newHarness(t)
	h.Subscribe(scaler, one(scalerQueue(e.URL(), "jobs")))
	if got := h.awaitDepth(scaler, 3).Reading; got.InFlight != nil || got.ArrivedTotal != nil || got.CompletedTotal != nil || got.OldestAge != nil {
		t.Errorf("%+v, want what the scaler does not tell to be absent", got)
	}
	if got := e.Askers(); !slices.Equal(got, []string{scaler.String()}) {
		t.Errorf("the scaler was told of %v, want %v", got, scaler)
	}
	inFlight := func(want string, holds func(*int64) bool) {
		t.Helper()
		h.await(want, func() bool {
			got := h.sample(scaler)
			return got.Quality == queue.Fresh && got.Reading.Depth == 0 && holds(got.Reading.InFlight)
		}, func() any { return h.sample(scaler) })
	}
	e.Set("jobs", 0)
	inFlight("nothing in flight in an inactive queue", func(n *int64) bool { return n != nil && *n == 0 })
	e.Activate("jobs", true)
	inFlight("nothing known of what is in flight in an active one", func(n *int64) bool { return n == nil })
	e.Delete("jobs")
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
	says(t, got, `^grpc://127.0.0.1:\d+ not finding the queue.*Check external.metadata`)
	if got.ServerWide || got.Reading == nil {
		t.Errorf("%+v, want a failure of this queue alone, with its last reading", got)
	}
	e.Set("jobs", 5)
	h.awaitDepth(scaler, 5)
}

// What waits agrees with what was sent and taken, to the message.
func TestExternalDepthAgrees(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	e := servers.StartExternal(t, servers.ExternalOptions{Push: true})
	e.Set("jobs", 0)
	h := newHarness(t)
	h.Subscribe(scaler, one(scalerQueue(e.URL(), "jobs")))
	h.awaitDepth(scaler, 0)
	for round := range 5 {
		var parties sync.WaitGroup
		for range 5 {
			parties.Go(func() {
				for range messages / 25 {
					e.Add("jobs", 1)
				}
			})
		}
		parties.Go(func() {
			for range messages / 10 {
				e.Add("jobs", -1)
			}
		})
		parties.Wait()
		h.awaitDepth(scaler, int64((round+1)*(messages/5-messages/10)))
	}
}

func TestExternalMetricNames(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{})
	e.Set("jobs", 3)
	e.Name("jobs", "waiting", "rate")
	e.Set("nameless", 3)
	e.Name("nameless")
	h := newHarness(t)
	h.Subscribe(scaler, one(scalerQueue(e.URL(), "jobs")))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueReplyInvalid), `naming 2 metrics in GetMetricSpec.*external.metricName`)
	h.Subscribe(subscriber(1), one(scalerQueue(e.URL(), "nameless")))
	says(t, h.awaitReason(subscriber(1), capacityv1alpha1.ReasonQueueMissing), `naming no metric`)
	chosen := scalerQueue(e.URL(), "jobs")
	chosen.External.MetricName = "waiting"
	h.Subscribe(scaler, one(chosen))
	h.awaitDepth(scaler, 3)
	chosen.External.MetricName = "other"
	h.Subscribe(scaler, one(chosen))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing), `giving no value of the metric`)
}

func TestExternalQueuesFailAlone(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{})
	e.Set("jobs", 3)
	h := newHarness(t)
	h.Subscribe(other, one(scalerQueue(e.URL(), "jobs")))
	h.awaitDepth(other, 3)
	for i, c := range []struct {
		code         codes.Code
		reason, says string
	}{
		{codes.NotFound, capacityv1alpha1.ReasonQueueMissing, "not finding the queue"},
		{codes.InvalidArgument, capacityv1alpha1.ReasonQueueReplyInvalid, `refusing the metadata \(InvalidArgument\).*Correct external.metadata`},
		{codes.Unimplemented, capacityv1alpha1.ReasonQueueReplyInvalid, "without the calls of an external scaler"},
		{codes.PermissionDenied, capacityv1alpha1.ReasonPermissionDenied, "denying the queue"},
		{codes.Unauthenticated, capacityv1alpha1.ReasonAuthenticationFailed, "asking for a token"},
		{codes.ResourceExhausted, capacityv1alpha1.ReasonQueueUnavailable, "asking for fewer calls"},
		{codes.Unavailable, capacityv1alpha1.ReasonQueueUnavailable, "answering with the error Unavailable.*scaler's log"},
		{codes.Unknown, capacityv1alpha1.ReasonQueueUnavailable, "answering with the error Unknown"},
		{codes.DeadlineExceeded, capacityv1alpha1.ReasonQueueTimeout, "silent about the queue"},
	} {
		e.Fail(c.code.String(), c.code)
		h.Subscribe(subscriber(i), one(scalerQueue(e.URL(), c.code.String())))
		got := h.awaitReason(subscriber(i), c.reason)
		says(t, got, c.says)
		if got.ServerWide || strings.Contains(got.Message, "garbage") {
			t.Errorf("%v: %+v is the server's, or repeats its words", c.code, got)
		}
	}
	if got := h.sample(other); got.Quality != queue.Fresh {
		t.Errorf("the good queue: %+v", got)
	}
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections < 1 || stats[0].Connections > 2 {
		t.Errorf("servers: %+v, want one with at most 2 connections", stats)
	}
	e.Set(codes.Unknown.String(), 8)
	h.awaitDepth(subscriber(7), 8)
}

// A queue that gets no answer neither fails the others nor delays them.
func TestSilentExternalQueueDelaysNoOther(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{})
	e.Set("jobs", 3)
	e.Silence("dead")
	h := newHarness(t)
	h.Subscribe(subscriber(1), one(scalerQueue(e.URL(), "dead")))
	h.Subscribe(scaler, one(scalerQueue(e.URL(), "jobs")))
	h.awaitDepth(scaler, 3)
	got := h.awaitReason(subscriber(1), capacityv1alpha1.ReasonQueueTimeout)
	says(t, got, "silent about the queue")
	if got.ServerWide {
		t.Error("a silent queue counts as a silent server")
	}
	h.readEverySecond(scaler)
}

func TestExternalCredentials(t *testing.T) {
	certificates := servers.NewCertificates(t, time.Now().Add(time.Hour))
	e := servers.StartExternal(t, servers.ExternalOptions{TLS: certificates, Token: "hunter2"})
	e.Set("jobs", 3)
	h := newHarness(t)
	h.setSecret("chat/ca", "ca.crt", string(certificates.CA))
	h.setSecret("shop/ca", "ca.crt", string(certificates.CA))
	h.setSecret("chat/creds", "token", "wrong")
	h.setSecret("chat/password", "username", "reader", "password", "hunter2")
	h.setSecret("shop/creds", "token", "hunter2\n")
	with := func(url, secret string) []capacityv1alpha1.Queue {
		q := scalerQueue(url, "jobs")
		if strings.HasPrefix(url, "grpcs:") {
			q.External.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: "ca"}}
		}
		if secret != "" {
			q.External.Auth = authBy(secret)
		}
		return one(q)
	}
	h.Subscribe(scaler, with(e.URL(), "creds"))
	h.Subscribe(other, with(e.URL(), "creds"))
	h.Subscribe(subscriber(1), with(e.URL(), ""))
	h.Subscribe(subscriber(2), with(e.URL(), "password"))
	h.Subscribe(subscriber(3), with("grpc://"+e.Address(), "creds"))
	h.awaitDepth(other, 3)
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `refusing the token.*Correct Secret chat/creds; it is read again by itself`)
	says(t, h.awaitReason(subscriber(1), capacityv1alpha1.ReasonAuthenticationFailed), "asking for a token.*Name a Secret")
	says(t, h.awaitReason(subscriber(2), capacityv1alpha1.ReasonSecretInvalid), "in need of a token")
	says(t, h.awaitReason(subscriber(3), capacityv1alpha1.ReasonAddressRefused), "sent without TLS.*grpcs://")
	h.setSecret("chat/creds", "token", "hunter2")
	if got := h.awaitDepth(scaler, 3); got.SharedBy != 1 {
		t.Errorf("shared by %d, want 1: the credentials are the same now", got.SharedBy)
	}
	if strings.Contains(h.logged(), "hunter2") {
		t.Error("the log has a token")
	}
}

func TestExternalOverTLS(t *testing.T) {
	good, foreign := servers.NewCertificates(t, time.Now().Add(time.Hour)), servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	secure := servers.StartExternal(t, servers.ExternalOptions{TLS: good})
	mutual := servers.StartExternal(t, servers.ExternalOptions{TLS: good, Clients: true})
	outdated := servers.StartExternal(t, servers.ExternalOptions{TLS: expired})
	plain := servers.StartExternal(t, servers.ExternalOptions{})
	for _, e := range []*servers.External{secure, mutual, outdated, plain} {
		e.Set("jobs", 3)
	}
	h := newHarness(t)
	h.setSecret("chat/good", "ca.crt", string(good.CA))
	h.setSecret("chat/client", "ca.crt", string(good.CA), "tls.crt", string(good.Cert), "tls.key", string(good.Key))
	h.setSecret("chat/stranger", "ca.crt", string(good.CA), "tls.crt", string(foreign.Cert), "tls.key", string(foreign.Key))
	h.setSecret("chat/foreign", "ca.crt", string(foreign.CA))
	h.setSecret("chat/expired", "ca.crt", string(expired.CA))
	for i, c := range []struct{ name, url, secret, serverName, says string }{
		{"known CA", secure.URL(), "good", "", ""},
		{"tls beside the url", "grpc://" + secure.Address(), "good", "", ""},
		{"server name", secure.URL(), "good", "localhost", ""},
		{"unknown CA", secure.URL(), "foreign", "", "unknown authority"},
		{"system's CAs", secure.URL(), "", "", "unknown authority"},
		{"other name", secure.URL(), "good", "scaler.example", "for another name"},
		{"expired", outdated.URL(), "expired", "", "has expired"},
		{"client certificate", mutual.URL(), "client", "", ""},
		{"no client certificate", mutual.URL(), "good", "", "tls.crt"},
		{"foreign client certificate", mutual.URL(), "stranger", "", "tls.crt"},
		{"TLS to a server without", "grpcs://" + plain.Address(), "good", "", "not speaking TLS|closing connections|silent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := scalerQueue(c.url, "jobs")
			q.External.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: c.secret}, ServerName: c.serverName}
			h.Subscribe(subscriber(i), one(q))
			if c.says == "" {
				h.awaitDepth(subscriber(i), 3)
				return
			}
			says(t, h.awaitReason(subscriber(i), capacityv1alpha1.ReasonTLSFailed), c.says)
		})
	}
	t.Run("a server with TLS asked without", func(t *testing.T) {
		h.Subscribe(subscriber(20), one(scalerQueue("grpc://"+secure.Address(), "jobs")))
		h.await("a failure", func() bool {
			return h.sample(subscriber(20)).Quality == queue.Unavailable && h.sample(subscriber(20)).ServerWide
		}, func() any { return h.sample(subscriber(20)) })
	})
}

func TestExternalStopsAndComesBack(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{})
	e := servers.StartExternal(t, servers.ExternalOptions{Push: true})
	e.Set("jobs", 3)
	h := newHarness(t)
	h.Subscribe(scaler, one(scalerQueue(e.URL(), "jobs")))
	h.Subscribe(other, one(listQueue(r.URL(), "jobs")))
	h.awaitDepth(scaler, 3)
	e.Stop()
	got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
	h.await("refused for more than a second", func() bool {
		got = h.sample(scaler)
		return strings.Contains(got.Message, "refused for 2 s")
	}, func() any { return got })
	says(t, got, `^grpc://127.0.0.1:\d+ refused for \d+ s; last reading \d\d:\d\d:\d\dZ\. Check that the server runs`)
	if !got.ServerWide || got.Reading == nil {
		t.Errorf("%+v, want a failure of the server, and the last reading kept", got)
	}
	h.awaitDepth(other, 0)
	e.Set("jobs", 4)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(scaler, 4)
	h.await("a stream again", func() bool { return e.Streams() == 1 }, func() any { return e.Streams() })
}

// A proxy that ends connections when they are old disturbs no reading.
func TestExternalConnectionsGetOld(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{Push: true, Age: 200 * time.Millisecond})
	e.Set("jobs", 3)
	h := newHarness(t)
	h.Subscribe(scaler, one(scalerQueue(e.URL(), "jobs")))
	h.awaitDepth(scaler, 3)
	readings := 1
	h.await("five readings", func() bool {
		readings += len(h.Take(scaler)[0])
		if got := h.sample(scaler); got.Quality != queue.Fresh {
			t.Fatalf("%+v", got)
		}
		return readings >= 5
	}, func() any { return readings })
}

// A queue that is polled seldom is read at once when the scaler says that there is work.
func TestExternalPush(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{Push: true})
	e.Set("jobs", 0)
	h := newHarness(t)
	h.Subscribe(scaler, one(seldom(scalerQueue(e.URL(), "jobs"))))
	h.awaitDepth(scaler, 0)
	h.await("a stream", func() bool { return e.Streams() == 1 }, func() any { return e.Streams() })
	began := time.Now()
	e.Add("jobs", 7)
	h.awaitDepth(scaler, 7)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("read %v after the push", took)
	}
	h.Unsubscribe(scaler)
	h.await("no stream", func() bool { return e.Streams() == 0 }, func() any { return e.Streams() })
}

// A scaler that says again and again that there is work is asked no more than 4 times a second.
func TestExternalPushFlood(t *testing.T) {
	e := servers.StartExternal(t, servers.ExternalOptions{Push: true})
	e.Set("jobs", 7)
	h := newHarness(t)
	h.Subscribe(scaler, one(seldom(scalerQueue(e.URL(), "jobs"))))
	h.awaitDepth(scaler, 7)
	h.await("a stream", func() bool { return e.Streams() == 1 }, func() any { return e.Streams() })
	before, began := e.Calls("GetMetrics"), time.Now()
	for time.Since(began) < 2*time.Second {
		e.Activate("jobs", true)
	}
	polls := e.Calls("GetMetrics") - before
	most := int(time.Since(began)/(250*time.Millisecond)) + 2
	if polls < 4 || polls > most {
		t.Errorf("%d polls in %v, want from 4 to %d", polls, time.Since(began), most)
	}
}

// A stream for each of 1,000 queues takes one connection more, and is there no longer than its queue.
func TestThousandExternalQueuesAreTwoConnections(t *testing.T) {
	n, most := 1100, 1024
	if testing.Short() {
		n, most = 100, 100
	}
	e := servers.StartExternal(t, servers.ExternalOptions{Push: true})
	h := newHarness(t)
	for i := range n {
		e.Set(fmt.Sprint("q", i), int64(i))
		h.Subscribe(subscriber(i), one(scalerQueue(e.URL(), fmt.Sprint("q", i))))
	}
	for i := range n {
		h.awaitDepth(subscriber(i), int64(i))
	}
	h.await("all streams", func() bool { return e.Streams() == most }, func() any { return e.Streams() })
	if stats := h.Servers(); len(stats) != 1 || stats[0].Connections != 2 {
		t.Errorf("servers: %+v, want one with 2 connections", stats)
	}
	for i := range n - 10 {
		h.Unsubscribe(subscriber(i))
	}
	h.await("ten streams", func() bool { return e.Streams() == 10 }, func() any { return e.Streams() })
}

// settings are the first frame of a server of HTTP/2.
const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func TestHostileExternal(t *testing.T) {
	good := servers.StartRedis(t, servers.RedisOptions{})
	const refuses, silence, unavailable = capacityv1alpha1.ReasonQueueReplyInvalid, capacityv1alpha1.ReasonQueueTimeout, capacityv1alpha1.ReasonQueueUnavailable
	say := func(first, again string) func(net.Conn) {
		return func(conn net.Conn) {
			var drained sync.WaitGroup
			drained.Go(func() { _, _ = io.Copy(io.Discard, conn) })
			_, err := io.WriteString(conn, first)
			for err == nil && again != "" {
				_, err = io.WriteString(conn, again)
			}
			drained.Wait()
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"silent", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, silence},
		{"silent after the greeting", say(settings, ""), silence},
		{"garbage", say("\x17garbage\r\n", "garbage\r\n"), refuses},
		{"HTTP/1.1", say("HTTP/1.1 400 garbage\r\n\r\n", ""), refuses},
		{"garbage after the greeting", say(settings, strings.Repeat("\xffgarbage", 1000)), refuses},
		{"pings without end", say(settings, strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x00garbage!", 1000)), refuses},
		{"settings without end", say(settings, "\x00\x17\x70\x04\x00\x00\x00\x00\x00"+strings.Repeat("\x00\xff\x00\x00\x00\x00", 1000)), refuses},
		{"closes", func(net.Conn) {}, unavailable},
		{"a message that is no reply", hostileScaler("\xffgarbage", false), refuses},
		{"a message far too large", hostileScaler(strings.Repeat("garbage", 100_000), false), refuses},
		{"messages without end", hostileScaler("\xffgarbage", true), refuses},
		{"a number that is none", hostileScaler("\x0a\x09\x19\x00\x00\x00\x00\x00\x00\xf8\x7f", false), refuses},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			q := scalerQueue("grpc://"+hostile(t, c.serve), "jobs")
			q.External.MetricName = "depth"
			h.withstands(good, q, c.reason)
		})
	}
}

// hostileScaler answers each call, over a connection that is right, with a message; with more of them if endless.
func hostileScaler(message string, endless bool) func(net.Conn) {
	return func(conn net.Conn) {
		server := grpc.NewServer(grpc.ForceServerCodecV2(verbatim{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var in string
			err := stream.RecvMsg(&in)
			for err == nil {
				if err = stream.SendMsg(&message); !endless {
					return err
				}
			}
			return err
		}))
		_ = server.Serve(&single{conn: conn})
	}
}

// verbatim is a codec for which messages are texts.
type verbatim struct{}

func (verbatim) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*string))}, nil
}

func (verbatim) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*string) = string(data.Materialize())
	return nil
}

func (verbatim) Name() string { return "proto" }

// single is a listener of one connection, that ends with it.
type single struct {
	conn net.Conn
	once bool
	end  chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if !s.once {
		s.once, s.end = true, make(chan struct{})
		return queue.OnClose(s.conn, func() { close(s.end) }), nil
	}
	<-s.end
	return nil, net.ErrClosed
}

func (s *single) Close() error   { return s.conn.Close() }
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }
