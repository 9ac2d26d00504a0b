// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

// patience is how long a condition is awaited.
const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func values(all ...*externalscaler.MetricValue) *externalscaler.GetMetricsResponse {
	return &externalscaler.GetMetricsResponse{MetricValues: all}
}

func whole(name string, n int64) *externalscaler.MetricValue {
	return &externalscaler.MetricValue{MetricName: name, MetricValue: n}
}

func float(name string, n float64) *externalscaler.MetricValue {
	return &externalscaler.MetricValue{MetricName: name, MetricValueFloat: n}
}

var depths = []struct {
	name         string
	reply        *externalscaler.GetMetricsResponse
	depth        int64
	reason, says string
}{
	{"older field", values(whole("depth", 7)), 7, "", ""},
	{"float", values(float("depth", 6.1)), 7, "", ""},
	{"both fields", values(&externalscaler.MetricValue{MetricName: "depth", MetricValue: 1, MetricValueFloat: 7}), 7, "", ""},
	{"zero", values(whole("depth", 0)), 0, "", ""},
	{"a sum", values(whole("depth", 3), float("depth", 4)), 7, "", ""},
	{"another metric besides", values(whole("depth", 7), whole("rate", 1)), 7, "", ""},
	{"other names only", values(whole("a", 3), whole("b", 4)), 7, "", ""},
	{"no value", values(), 0, missing, "no value"},
	{"nothing", nil, 0, missing, "no value"},
	{"negative", values(whole("depth", -7)), 0, invalid, "no number of messages"},
	{"negative float", values(float("depth", -0.1)), 0, invalid, "no number of messages"},
	{"NaN", values(float("depth", math.NaN())), 0, invalid, "no number of messages"},
	{"infinite", values(float("depth", math.Inf(1))), 0, invalid, "no number of messages"},
	{"absurd", values(float("depth", 1e300)), 0, invalid, "more than a queue holds"},
	{"absurd sum", values(whole("depth", math.MaxInt64), whole("depth", math.MaxInt64)), 0, invalid, "more than a queue holds"},
}

func TestDepthOf(t *testing.T) {
	for _, c := range depths {
		depth, failure := depthOf(c.reply, "depth")
		check(t, c.name, failure, c.reason, c.says)
		if depth != c.depth {
			t.Errorf("%s: depth %d, want %d", c.name, depth, c.depth)
		}
	}
}

func check(t *testing.T, name string, failure *queue.Failure, reason, says string) {
	t.Helper()
	switch {
	case reason == "" && failure != nil:
		t.Errorf("%s: %v", name, failure)
	case reason == "":
	case failure == nil || failure.Reason != reason || !strings.Contains(failure.What, says) || failure.Remedy == "":
		t.Errorf("%s: %+v, want %s: %s", name, failure, reason, says)
	}
}

func specs(names ...string) *externalscaler.GetMetricSpecResponse {
	reply := &externalscaler.GetMetricSpecResponse{}
	for _, name := range names {
		reply.MetricSpecs = append(reply.MetricSpecs, &externalscaler.MetricSpec{MetricName: name, TargetSize: 5})
	}
	return reply
}

func TestOnlyName(t *testing.T) {
	for _, c := range []struct {
		reply              *externalscaler.GetMetricSpecResponse
		name, reason, says string
	}{
		{specs("depth"), "depth", "", ""},
		{specs(""), "", "", ""},
		{specs("a", "b"), "", invalid, "naming 2 metrics"},
		{specs(), "", missing, "naming no metric"},
		{nil, "", missing, "naming no metric"},
	} {
		name, failure := onlyName(c.reply)
		check(t, c.name, failure, c.reason, c.says)
		if name != c.name {
			t.Errorf("%q, want %q", name, c.name)
		}
	}
}

// Whatever a scaler replies, it ends in a number in range or a failure that does not repeat it.
func FuzzMetrics(f *testing.F) {
	for _, c := range depths {
		if body, err := proto.Marshal(c.reply); err == nil {
			f.Add(body)
		}
	}
	f.Add([]byte("\xffgarbage"))
	f.Fuzz(func(t *testing.T, body []byte) {
		reply := &externalscaler.GetMetricsResponse{}
		if proto.Unmarshal(body, reply) != nil {
			return
		}
		depth, failure := depthOf(reply, "depth")
		if failure == nil && (depth < 0 || depth > queue.CountMost) {
			t.Errorf("%q makes %d", body, depth)
		}
	})
}

func FuzzMetricSpec(f *testing.F) {
	for _, reply := range []*externalscaler.GetMetricSpecResponse{specs(), specs("depth"), specs("a", "b")} {
		if body, err := proto.Marshal(reply); err == nil {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		reply := &externalscaler.GetMetricSpecResponse{}
		if proto.Unmarshal(body, reply) != nil {
			return
		}
		if name, failure := onlyName(reply); failure == nil && name != reply.GetMetricSpecs()[0].GetMetricName() {
			t.Errorf("%q makes %q", body, name)
		}
	})
}

// However the first bytes arrive, the same is said of them, and never that settings are none.
func FuzzGreeting(f *testing.F) {
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"), 3)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), 1)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, sent []byte, cut int) {
		cut = min(max(cut, 0), len(sent))
		whole, parts := greeting(), greeting()
		want := whole(sent)
		got := parts(sent[:cut]) && parts(sent[cut:])
		if want != got {
			t.Errorf("%q: %v at once, %v in parts", sent, want, got)
		}
		if len(sent) >= 5 && sent[0] == 0 && sent[1] < 64 && sent[3] == 4 && !got {
			t.Errorf("%q is refused", sent)
		}
	})
}

// Errors of calls over a connection that is there are the queue's, whatever their words say.
func TestWrongOf(t *testing.T) {
	up := &link{}
	up.open.Store(1)
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		bad := wrongOf(up, status.Error(code, "hunter2"))
		if bad.everywhere || bad.failure.Reason == "" || strings.Contains(bad.failure.Error()+bad.failure.Remedy, "hunter2") {
			t.Errorf("%v: %+v %+v", code, bad, bad.failure)
		}
		if maybe := code == codes.Unavailable || code == codes.Unauthenticated; bad.maybe != maybe {
			t.Errorf("%v: may be the server's: %v, want %v", code, bad.maybe, maybe)
		}
	}
	down := &link{failed: io.EOF}
	if bad := wrongOf(down, status.Error(codes.Unavailable, "")); !bad.everywhere || bad.failure.What != "closing connections" {
		t.Errorf("without a connection: %+v %+v", bad, bad.failure)
	}
}

// A dial that fails is told as what it is, and nothing stays open.
func TestOpenFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*queue.ConnectOptions)
		reason string
	}{
		{"refused address", func(o *queue.ConnectOptions) {
			o.Dial = func(context.Context) (net.Conn, error) {
				return nil, queue.Fail(capacityv1alpha1.ReasonAddressRefused, "", "refused")
			}
		}, capacityv1alpha1.ReasonAddressRefused},
		{"any error", func(o *queue.ConnectOptions) {
			o.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("hunter2") }
		}, capacityv1alpha1.ReasonQueueUnavailable},
		{"a password", func(o *queue.ConnectOptions) { o.Username, o.Password = "reader", "hunter2" }, capacityv1alpha1.ReasonSecretInvalid},
		{"a token without TLS", func(o *queue.ConnectOptions) { o.Token = "hunter2" }, capacityv1alpha1.ReasonAddressRefused},
		{"a connection that ends", func(o *queue.ConnectOptions) {
			o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "localhost"}
			o.Dial = func(context.Context) (net.Conn, error) {
				client, server := net.Pipe()
				return client, server.Close()
			}
		}, capacityv1alpha1.ReasonQueueUnavailable},
	} {
		o := queue.ConnectOptions{Endpoint: queue.Endpoint{Kind: queue.KindExternal, Host: "localhost", Port: "9090"}, Now: time.Now}
		c.change(&o)
		var left sync.WaitGroup // connections
		if dial := o.Dial; dial != nil {
			o.Dial = func(ctx context.Context) (net.Conn, error) {
				conn, err := dial(ctx)
				if err != nil {
					return nil, err
				}
				left.Add(1)
				return queue.OnClose(conn, left.Done), nil
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		reader, failure := Open(ctx, o)
		cancel()
		if reader != nil || failure == nil || failure.Reason != c.reason || strings.Contains(failure.Error(), "hunter2") {
			t.Errorf("%s: %v, %v, want %s", c.name, reader, failure, c.reason)
		}
		closed := make(chan struct{})
		go func() { left.Wait(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: a connection is left", c.name)
		}
	}
}

// open connects to a scaler that dial leads to.
func open(t *testing.T, dial func(context.Context) (net.Conn, error)) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	opened, failure := Open(ctx, queue.ConnectOptions{Endpoint: queue.Endpoint{Kind: queue.KindExternal, Host: "localhost", Port: "9090"}, Now: time.Now, Dial: dial})
	if failure != nil {
		t.Fatal(failure)
	}
	t.Cleanup(opened.Close)
	return opened.(*reader)
}

// dialTo connects to address, if that may be.
func dialTo(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", address) }
}

// silentScaler answers no call; called sees each.
type silentScaler struct {
	externalscaler.UnimplementedExternalScalerServer
	called chan struct{}
}

func (s *silentScaler) GetMetricSpec(ctx context.Context, _ *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	s.called <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// emptyScaler has empty queues only; called sees each call.
type emptyScaler struct {
	externalscaler.UnimplementedExternalScalerServer
	called func()
}

func (s *emptyScaler) GetMetricSpec(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	s.called()
	return specs("depth"), nil
}

func (s *emptyScaler) GetMetrics(context.Context, *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	s.called()
	return values(whole("depth", 0)), nil
}

func (s *emptyScaler) IsActive(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	s.called()
	return &externalscaler.IsActiveResponse{}, nil
}

// serve is the address of a scaler, which ends with the test.
func serve(t *testing.T, scaler externalscaler.ExternalScalerServer) (string, *grpc.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(server, scaler)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		served.Wait()
	})
	return listener.Addr().String(), server
}

// A connection that the server renews in the midst of a batch may be used for all the rest of it.
func TestConnectionRenewedInABatch(t *testing.T) {
	const renewAt, queues = 50, 1000
	var calls, dials atomic.Int64
	var renewed sync.WaitGroup
	old := &emptyScaler{}
	oldAddress, server := serve(t, old)
	old.called = func() {
		if calls.Add(1) == renewAt {
			renewed.Go(server.GracefulStop)
		}
	}
	newAddress, _ := serve(t, &emptyScaler{called: func() {}})
	r := open(t, func(ctx context.Context) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return dialTo(oldAddress)(ctx)
		}
		return dialTo(newAddress)(ctx)
	})
	all := make([]*capacityv1alpha1.Queue, queues)
	for i := range all {
		all[i] = &capacityv1alpha1.Queue{}
	}
	read := 0
	lost := r.Read(t.Context(), all, func(i int, _ queue.Reading, failure *queue.Failure) {
		if failure != nil {
			t.Errorf("queue %d: %v", i, failure)
		}
		read++
	})
	renewed.Wait()
	if lost != nil || read != queues || dials.Load() < 2 {
		t.Errorf("%d of %d queues over %d connections, %v", read, queues, dials.Load(), lost)
	}
}

// within is what comes out of results, awaited.
func within[T any](t *testing.T, results <-chan T) (result T) {
	t.Helper()
	select {
	case result = <-results:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	return result
}

// Other calls over a connection that was hung up are told that the scaler was silent, and not that it is none.
func TestHangUp(t *testing.T) {
	silent := &silentScaler{called: make(chan struct{}, 1)}
	address, _ := serve(t, silent)
	r := open(t, dialTo(address))
	results := make(chan *wrong, 1)
	go func() {
		_, bad := ask(t.Context(), r.calls, externalscaler.ExternalScalerClient.GetMetricSpec, &externalscaler.ScaledObjectRef{})
		results <- bad
	}()
	within(t, silent.called)
	r.calls.hangUp()
	bad := within(t, results)
	if bad == nil || !bad.everywhere {
		t.Fatalf("%+v, want a failure of the server", bad)
	}
	check(t, "the other call", bad.failure, capacityv1alpha1.ReasonQueueTimeout, "silent")
}

// A batch that the end of its reader cancels has no results, neither of queues that were asked about nor of those that waited.
func TestClosedInABatch(t *testing.T) {
	silent := &silentScaler{called: make(chan struct{}, callsAtOnce)}
	address, _ := serve(t, silent)
	r := open(t, dialTo(address))
	all := make([]*capacityv1alpha1.Queue, 2*callsAtOnce)
	for i := range all {
		all[i] = &capacityv1alpha1.Queue{}
	}
	results := make(chan *queue.Failure, 1)
	go func() {
		results <- r.Read(t.Context(), all, func(i int, _ queue.Reading, failure *queue.Failure) {
			t.Errorf("queue %d has a result: %v", i, failure)
		})
	}()
	within(t, silent.called)
	r.Close()
	check(t, "the batch", within(t, results), capacityv1alpha1.ReasonQueueUnavailable, "closing connections")
}
