// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/time/rate"
)

// chunk is the most that is sent at once, in bytes.
const chunk = 32 << 10

// Registry is an image registry over HTTP, without TLS and without credentials, whose answers share one slow line.
type Registry struct{ address string }

// StartRegistry starts one on an address of this machine, on a free port, and ends it with the test. It sends bytesPerSecond to all clients
// together; it receives as fast as it can. With host 127.0.0.1 a node of this machine pulls from it without being told to trust it.
func StartRegistry(t testing.TB, host string, bytesPerSecond int) *Registry {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	images := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())), registry.Logger(log.New(io.Discard, "", 0)))
	limiter := rate.NewLimiter(rate.Limit(bytesPerSecond), chunk)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		images.ServeHTTP(&slowWriter{w, limiter, r.Context()}, r)
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return &Registry{listener.Addr().String()}
}

// Address is host:port.
func (r *Registry) Address() string { return r.address }

// Push stores an image, and returns the name by which it is pulled.
func (r *Registry) Push(repository string, image v1.Image) (string, error) {
	tag, err := name.NewTag(r.address+"/"+repository+":latest", name.Insecure)
	if err != nil {
		return "", err
	}
	return tag.String(), remote.Write(tag, image)
}

// slowWriter has none of the shortcuts of a ResponseWriter, so that all goes through Write.
type slowWriter struct {
	http.ResponseWriter
	limiter *rate.Limiter
	ctx     context.Context
}

func (w *slowWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), chunk)]
		if err = w.limiter.WaitN(w.ctx, len(part)); err != nil {
			return written, err
		}
		var n int
		n, err = w.ResponseWriter.Write(part)
		written, p = written+n, p[n:]
	}
	return written, err
}
