// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/dispatch"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
)

// dispatching posts the site's messages to a Service with so many requests at a time, until stop, which returns when they are answered.
func (s *site) dispatching(base string, concurrency int) (d *dispatch.Dispatcher, stop func()) {
	s.t.Helper()
	d = dispatch.New(base, 10*time.Second)
	var consumers []queue.Consumer
	for i := range concurrency {
		c, err := queue.NewConsumer(s.t.Context(), s.broker.URL, s.queue, fmt.Sprint(i))
		must(s.t, err)
		s.t.Cleanup(c.Close)
		consumers = append(consumers, c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx, consumers...) })
	stop = func() {
		cancel()
		running.Wait()
	}
	s.t.Cleanup(stop)
	return d, stop
}

func taken(s ledger.Summary, uid string) int {
	i := slices.IndexFunc(s.Pods, func(p ledger.PodSummary) bool { return p.UID == uid })
	if i < 0 {
		return 0
	}
	return s.Pods[i].Taken
}

// A pod that is lent gets requests at once, one that is not gets none, and one that ends as the users of Services let it end fails none.
func TestService(t *testing.T) {
	s := newSite(t, brokers.Redis(t, host), "work")
	own := s.run("own", "serve", "-work", "20ms", "-pre-stop", "500ms")
	slot := s.run("slot", "serve", "-work", "20ms", "-warm-up", "500ms")
	await(t, "the pods to be ready", func() bool { return own.ready() && slot.ready() })
	service, base := newBalancer(t)
	service.set(own)
	d, stop := s.dispatching(base, 4)

	s.send(0, 300)
	await(t, "some requests", func() bool { return taken(s.book.Summary(), own.uid) > 20 })
	if _, requests := slot.get("/requests"); requests != "0" || taken(s.book.Summary(), slot.uid) != 0 {
		t.Errorf("the slot got %s requests before it was lent", requests)
	}

	lent := time.Now()
	service.set(own, slot)
	await(t, "a request to the slot", func() bool { return taken(s.book.Summary(), slot.uid) > 0 })
	pods := s.book.Summary().Pods
	t.Logf("lent to taken: %v", pods[len(pods)-1].FirstTaken.Sub(lent))

	// SIGTERM comes before the endpoint is removed, and requests go on coming.
	must(t, own.cmd.Process.Signal(syscall.SIGTERM))
	told := taken(s.book.Summary(), own.uid)
	await(t, "a request after SIGTERM", func() bool { return taken(s.book.Summary(), own.uid) > told })
	service.set(slot)
	own.awaitEnd()
	await(t, "all messages", func() bool { return s.book.Completed() == 300 })
	stop()

	got := s.book.Summary()
	t.Log(got)
	outcomes := d.Outcomes()
	if len(d.Failures()) != 0 || len(outcomes) != 300 || len(got.Redelivered) != 0 {
		t.Errorf("%d of %d requests failed: %+v", len(d.Failures()), len(outcomes), d.Failures())
	}
	answered := map[string]int{}
	for _, o := range outcomes {
		answered[o.Pod]++
	}
	for _, p := range []*pod{own, slot} {
		if answered[p.uid] == 0 || answered[p.uid] != taken(got, p.uid) {
			t.Errorf("%s answered %d requests and took %d messages", p.uid, answered[p.uid], taken(got, p.uid))
		}
	}
	if _, requests := slot.get("/requests"); requests != fmt.Sprint(answered[slot.uid]) {
		t.Errorf("the slot counts %s requests, %d were answered", requests, answered[slot.uid])
	}
	slot.terminate()
}

// A request that is not answered is recorded as failed and repeated: nothing is lost.
func TestServicePodIsKilled(t *testing.T) {
	s := newSite(t, brokers.Redis(t, host), "work")
	victim := s.run("victim", "serve", "-work", "10m")
	survivor := s.run("survivor", "serve", "-work", "1ms")
	await(t, "the pods to be ready", func() bool { return victim.ready() && survivor.ready() })
	service, base := newBalancer(t)
	service.set(victim)
	d, stop := s.dispatching(base, 2)
	s.send(0, 20)
	await(t, "two requests at the victim", func() bool { _, n := victim.get("/requests"); return n == "2" })
	await(t, "the victim to have taken one", func() bool { return s.taken() == 1 })
	service.set(survivor)
	victim.kill()
	await(t, "all messages", func() bool { return s.book.Completed() == 20 })
	stop()
	if failed := d.Failures(); len(failed) != 2 || failed[0].Err == nil || failed[0].Status != 0 || failed[0].Pod != "" {
		t.Errorf("failed: %+v", failed)
	}
	// The one that was worked on was taken twice; the other had waited for it.
	if got := s.book.Summary(); len(got.Redelivered) != 1 || len(got.Lost) != 0 {
		t.Error(got)
	}
}

func TestServiceRefuses(t *testing.T) {
	s := newSite(t, brokers.Redis(t, host), "work")
	p := s.run("own", "serve")
	await(t, "the pod to be ready", p.ready)
	response, err := http.Post("http://"+p.listen+dispatch.Path+"x", "", nil)
	must(t, err)
	if _ = response.Body.Close(); response.StatusCode != http.StatusBadRequest {
		t.Errorf("message x: %s", response.Status)
	}
}
