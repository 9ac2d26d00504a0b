// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/dispatch"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
)

// service answers requests: POST /messages/ID does the work of one message; GET /requests tells how many such requests there were, finished
// or not; GET /ready is for the probe.
type service struct {
	*settings
	preStop time.Duration

	pod      ledger.Pod
	ledger   *ledger.Client
	requests atomic.Int64
	// one request is worked on at a time, so that a pod has a service rate and more pods have a higher one.
	one sync.Mutex
}

func (v *service) run(ctx context.Context, pod ledger.Pod) error {
	v.pod, v.ledger = pod, ledger.NewClient(v.settings.ledger, pod)
	if !v.warm(ctx) {
		return nil
	}
	listener, err := net.Listen("tcp", v.listen) // not before: a probe of a pod that warms up is refused
	if err != nil {
		return err
	}
	server := &http.Server{Handler: v.handler()}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	time.Sleep(v.preStop)
	if err := server.Shutdown(context.WithoutCancel(ctx)); err != nil { // returns when the requests at hand are answered
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (v *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+dispatch.Path+"{id}", v.answer)
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, v.requests.Load()) })
	return mux
}

func (v *service) answer(w http.ResponseWriter, r *http.Request) {
	v.requests.Add(1)
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 32)
	if err != nil {
		http.Error(w, "the number of a message is 0 to 4294967295", http.StatusBadRequest)
		return
	}
	w.Header().Set(dispatch.PodHeader, v.pod.UID)
	v.one.Lock()
	defer v.one.Unlock()
	do(context.WithoutCancel(r.Context()), v.ledger, uint32(id), v.work)
	w.WriteHeader(http.StatusOK)
}
