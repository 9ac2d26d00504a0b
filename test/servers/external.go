// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

// ExternalOptions are how an external scaler is to be started.
type ExternalOptions struct {
	// TLS makes it speak TLS alone; Clients makes it ask for a client certificate of the same CA besides.
	TLS     *Certificates
	Clients bool
	// Token is what callers have to bring; empty means none.
	Token string
	// Push makes it have StreamIsActive.
	Push bool
	// Age is how old it lets a connection become, as proxies do; 0 means any age.
	Age time.Duration
}

// External is an external scaler of KEDA's protocol, in this process, over queues that it counts itself. The metadata's key queue says which.
type External struct {
	externalscaler.UnimplementedExternalScalerServer
	options ExternalOptions
	address string
	server  *grpc.Server

	mu     sync.Mutex
	queues map[string]*externalQueue
	calls  map[string]int
	// askers are who asked, as namespace/name.
	askers map[string]bool
	// streams are those that are open, by queue; pushes are sent over them.
	streams map[string]map[chan bool]struct{}
}

// externalQueue is one queue: what waits, and how the scaler answers for it.
type externalQueue struct {
	depth   int64
	active  bool
	metrics []string
	fault   codes.Code
	silent  bool
}

// StartExternal starts an external scaler for a test, and ends it with the test.
func StartExternal(t testing.TB, o ExternalOptions) *External {
	t.Helper()
	e := &External{options: o, address: "127.0.0.1:0", queues: map[string]*externalQueue{}, calls: map[string]int{}, askers: map[string]bool{}, streams: map[string]map[chan bool]struct{}{}}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

// Start listens, after Stop on the same port; the queues are as they were.
func (e *External) Start() error {
	secure := insecure.NewCredentials()
	if e.options.TLS != nil {
		config, err := e.options.TLS.server(e.options.Clients)
		if err != nil {
			return err
		}
		secure = credentials.NewTLS(config)
	}
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		return err
	}
	e.address = listener.Addr().String()
	e.server = grpc.NewServer(grpc.Creds(secure), grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: e.options.Age}),
		grpc.UnaryInterceptor(e.unary), grpc.StreamInterceptor(e.stream))
	externalscaler.RegisterExternalScalerServer(e.server, e)
	go func(server *grpc.Server) { _ = server.Serve(listener) }(e.server)
	return nil
}

// Stop ends it with all connections.
func (e *External) Stop() { e.server.Stop() }

// Address is host:port.
func (e *External) Address() string { return e.address }

// URL is the url for a QueueScaler.
func (e *External) URL() string {
	if e.options.TLS != nil {
		return "grpcs://" + e.address
	}
	return "grpc://" + e.address
}

// Set makes a queue have so many messages, and the scaler answer for it as usual.
func (e *External) Set(queue string, depth int64) {
	e.change(queue, func(q *externalQueue) {
		*q = externalQueue{depth: depth, active: depth > 0, metrics: []string{"depth"}}
	})
}

// Add adds messages, or takes some with a number below zero. Streams are told.
func (e *External) Add(queue string, messages int64) {
	e.change(queue, func(q *externalQueue) {
		q.depth += messages
		q.active = q.depth > 0
	})
}

// Activate makes the scaler say whether the queue is active, whatever waits.
func (e *External) Activate(queue string, active bool) {
	e.change(queue, func(q *externalQueue) { q.active = active })
}

// Name gives the queue other metrics than depth: GetMetricSpec names them all, and each has what waits.
func (e *External) Name(queue string, metrics ...string) {
	e.change(queue, func(q *externalQueue) { q.metrics = metrics })
}

// Fail makes each call about the queue fail with a code, and words that are nobody's business.
func (e *External) Fail(queue string, code codes.Code) {
	e.change(queue, func(q *externalQueue) { q.fault = code })
}

// Silence makes calls about the queue get no answer.
func (e *External) Silence(queue string) {
	e.change(queue, func(q *externalQueue) { q.silent = true })
}

// Delete forgets a queue.
func (e *External) Delete(queue string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.queues, queue)
}

// Calls is how often a method was called.
func (e *External) Calls(method string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[method]
}

// Askers are the QueueScalers that asked, as namespace/name.
func (e *External) Askers() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.askers))
}

// Streams is the number of open streams.
func (e *External) Streams() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, streams := range e.streams {
		n += len(streams)
	}
	return n
}

func (e *External) change(queue string, change func(*externalQueue)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := e.queues[queue]
	if q == nil {
		q = &externalQueue{metrics: []string{"depth"}}
		e.queues[queue] = q
	}
	change(q)
	for stream := range e.streams[queue] {
		select {
		case stream <- q.active:
		default: // it has not taken the last one yet, after which it looks itself
		}
	}
}

// find is a queue as it is, once the call may be answered.
func (e *External) find(ctx context.Context, method string, ref *externalscaler.ScaledObjectRef) (externalQueue, error) {
	e.mu.Lock()
	e.calls[method]++
	e.askers[ref.GetNamespace()+"/"+ref.GetName()] = true
	var q externalQueue
	found := e.queues[ref.GetScalerMetadata()["queue"]]
	if found != nil {
		q = *found
	}
	e.mu.Unlock()
	switch {
	case found == nil:
		return q, status.Error(codes.NotFound, "garbage: no such queue")
	case q.silent:
		<-ctx.Done()
		return q, ctx.Err()
	case q.fault != codes.OK:
		return q, status.Error(q.fault, "garbage: as it was told to")
	}
	return q, nil
}

// GetMetricSpec is the protocol's.
func (e *External) GetMetricSpec(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	q, err := e.find(ctx, "GetMetricSpec", ref)
	if err != nil {
		return nil, err
	}
	reply := &externalscaler.GetMetricSpecResponse{}
	for _, name := range q.metrics {
		reply.MetricSpecs = append(reply.MetricSpecs, &externalscaler.MetricSpec{MetricName: name, TargetSizeFloat: 5})
	}
	return reply, nil
}

// GetMetrics is the protocol's.
func (e *External) GetMetrics(ctx context.Context, in *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	q, err := e.find(ctx, "GetMetrics", in.GetScaledObjectRef())
	if err != nil {
		return nil, err
	}
	reply := &externalscaler.GetMetricsResponse{}
	if slices.Contains(q.metrics, in.GetMetricName()) {
		reply.MetricValues = append(reply.MetricValues, &externalscaler.MetricValue{MetricName: in.GetMetricName(), MetricValueFloat: float64(q.depth)})
	}
	return reply, nil
}

// IsActive is the protocol's.
func (e *External) IsActive(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	q, err := e.find(ctx, "IsActive", ref)
	return &externalscaler.IsActiveResponse{Result: q.active}, err
}

// StreamIsActive is the protocol's. It tells of each change.
func (e *External) StreamIsActive(ref *externalscaler.ScaledObjectRef, out externalscaler.ExternalScaler_StreamIsActiveServer) error {
	if !e.options.Push {
		return e.UnimplementedExternalScalerServer.StreamIsActive(ref, out)
	}
	q, err := e.find(out.Context(), "StreamIsActive", ref)
	if err != nil {
		return err
	}
	name, changes := ref.GetScalerMetadata()["queue"], make(chan bool, 1)
	changes <- q.active
	e.join(name, changes)
	defer e.leave(name, changes)
	for {
		select {
		case active := <-changes:
			if err := out.Send(&externalscaler.IsActiveResponse{Result: active}); err != nil {
				return err
			}
		case <-out.Context().Done():
			return out.Context().Err()
		}
	}
}

func (e *External) join(queue string, changes chan bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.streams[queue] == nil {
		e.streams[queue] = map[chan bool]struct{}{}
	}
	e.streams[queue][changes] = struct{}{}
}

func (e *External) leave(queue string, changes chan bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.streams[queue], changes)
}

// unary lets in who brings the token.
func (e *External) unary(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := e.admit(ctx); err != nil {
		return nil, err
	}
	return handle(ctx, in)
}

func (e *External) stream(server any, out grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := e.admit(out.Context()); err != nil {
		return err
	}
	return handle(server, out)
}

func (e *External) admit(ctx context.Context) error {
	if e.options.Token == "" {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if !slices.Equal(md.Get("authorization"), []string{"Bearer " + e.options.Token}) {
		return status.Error(codes.Unauthenticated, "garbage: who are you?")
	}
	return nil
}
