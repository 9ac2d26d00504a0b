//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/dispatch"
	"github.com/queuescaler/queuescaler/hack/e2e/image"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
)

const (
	// warmUp is how long the app takes from its start until it can work.
	warmUp = 20 * time.Second
	// burst is the backlog that comes at once: so much that more pods are needed.
	burst = 300
	// rounds are the backlogs with a pool, coldRounds those without.
	rounds, coldRounds = 5, 2
)

// reactions are the times from a backlog to the first message that added capacity completed.
type reactions struct {
	mu   sync.Mutex
	rows []*row
}

type row struct {
	Queue   string    `json:"queue"`
	Gate    string    `json:"gate"`
	Seconds []float64 `json:"seconds"`         // with a pool
	Without []float64 `json:"without_standby"` // without
}

func (r *reactions) note(queue, gate string, pool bool, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.rows, func(x *row) bool { return x.Queue == queue && x.Gate == gate })
	if i < 0 {
		i, r.rows = len(r.rows), append(r.rows, &row{Queue: queue, Gate: gate})
	}
	if pool {
		r.rows[i].Seconds = append(r.rows[i].Seconds, took.Seconds())
	} else {
		r.rows[i].Without = append(r.rows[i].Without, took.Seconds())
	}
}

// print shows the table, and writes out/e2e-reaction.json.
func (r *reactions) print(t *testing.T) {
	t.Helper()
	slices.SortFunc(r.rows, func(a, b *row) int { return strings.Compare(a.Gate+a.Queue, b.Gate+b.Queue) })
	fmt.Printf("\nFrom a backlog to the first message that added capacity completed. The app takes %.0f s to warm up.\n", warmUp.Seconds())
	fmt.Printf("%-10s %-9s %12s %8s %8s   %16s\n", "GATE", "QUEUE", "STANDBY p50", "WORST", "TIMES", "NO STANDBY p50")
	for _, x := range r.rows {
		fmt.Printf("%-10s %-9s %10.2f s %6.2f s %8d   %14.2f s\n", x.Gate, x.Queue, median(x.Seconds), most(x.Seconds), len(x.Seconds), median(x.Without))
	}
	fmt.Println()
	b, err := json.Marshal(map[string]any{"warm_up_s": warmUp.Seconds(), "rows": r.rows})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(shared.root, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "e2e-reaction.json"), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return -1
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func most(x []float64) float64 {
	if len(x) == 0 {
		return -1
	}
	return slices.Max(x)
}

// TestReaction measures what a pool is for, for each queue and gate side by side with the same Deployment without one.
func TestReaction(t *testing.T) {
	var measured reactions
	slow := args("-warm-up=" + warmUp.String())
	t.Run("Of", func(t *testing.T) {
		for _, k := range []struct {
			name  string
			start brokers.Start
		}{{"Redis", brokers.Redis}, {"RabbitMQ", brokers.RabbitMQ}, {"NATS", shared.nats}} {
			for _, pool := range []bool{true, false} {
				t.Run(k.name+"File"+nameOf(pool), func(t *testing.T) {
					t.Parallel()
					s := newShop(t, k.start, burst*rounds)
					s.open(s.consumer(true, slow), s.scaler(slotsOf(pool), v1alpha1.GateFile))
					s.react(&measured, k.name, "File", pool)
				})
				t.Run(k.name+"Service"+nameOf(pool), func(t *testing.T) {
					t.Parallel()
					s := newShop(t, k.start, burst*rounds)
					s.dispatch(8)
					s.open(s.service(slow), s.scaler(slotsOf(pool), v1alpha1.GateService))
					s.react(&measured, k.name, "Service", pool)
				})
			}
		}
	})
	measured.print(t)
	for _, x := range measured.rows {
		if len(x.Seconds) != rounds || len(x.Without) != coldRounds {
			t.Errorf("%s by %s was measured %d and %d times", x.Queue, x.Gate, len(x.Seconds), len(x.Without))
		}
		if median(x.Seconds) >= median(x.Without) {
			t.Errorf("%s by %s gains nothing from its pool", x.Queue, x.Gate)
		}
	}
}

func nameOf(pool bool) string {
	if pool {
		return ""
	}
	return "Cold"
}

func slotsOf(pool bool) int32 {
	if pool {
		return 2
	}
	return 0
}

// react sends backlogs, one after the other, and notes what each took.
func (s *shop) react(measured *reactions, queue, gate string, pool bool) {
	s.Helper()
	times := rounds
	if !pool {
		times = coldRounds
	}
	for range times {
		took := s.once()
		measured.note(queue, gate, pool, took)
		s.Logf("%.2f s", took.Seconds())
		s.awaitCalm()
	}
	s.tookOnlyWhatItMay()
}

// once sends a backlog, and returns, once all of it is completed, how long it took until a lent slot had completed a message, or, without
// a pool, a pod that was added.
func (s *shop) once() (took time.Duration) {
	s.Helper()
	before := s.pods(func(*corev1.Pod) bool { return true })
	lent := map[string]bool{}
	from := time.Now()
	s.send(burst, 0)
	s.await("a message completed by capacity that was added", func() (bool, string) {
		for _, uid := range s.lentSlots() {
			lent[uid] = true
		}
		first, found := s.firstOf(from, func(uid string) bool { return s.slots > 0 && lent[uid] || s.slots == 0 && before[uid] == nil })
		took = first.Sub(from)
		return found, s.book.Summary().String()
	})
	s.awaitDone()
	return took
}

// firstOf is when the first of these pods completed its first message, of those that took none before from.
func (s *shop) firstOf(from time.Time, these func(uid string) bool) (time.Time, bool) {
	var uids []string
	summary := s.book.Summary()
	for _, p := range summary.Pods {
		if p.FirstTaken.After(from) && these(p.UID) {
			uids = append(uids, p.UID)
		}
	}
	first, found := summary.FirstCompletedBy(uids...)
	return first.FirstCompleted, found
}

// dispatch makes the Service, and posts what the queue has to it, so many requests at a time, until the test ends.
func (s *shop) dispatch(atOnce int) *dispatch.Dispatcher {
	s.Helper()
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 8080}}}}
	svc.Name = app
	s.create(svc)
	d := dispatch.New(fmt.Sprintf("http://%s:8080", svc.Spec.ClusterIP), 30*time.Second)
	var consumers []queue.Consumer
	for i := range atOnce {
		c, err := queue.NewConsumer(s.Context(), s.broker.URL, work, fmt.Sprintf("dispatcher-%d", i))
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(c.Close)
		consumers = append(consumers, c)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(s.Context(), consumers...)
	}()
	s.Cleanup(func() { <-ended }) // after the test's context, and before its consumers
	return d
}

// TestPrepared compares a slot of gate Prepared with a pod on a node that has not got its image, which comes over a slow line: for a
// consumer that knows nothing of standby.
func TestPrepared(t *testing.T) {
	const (
		size     = 256 << 20
		perSec   = 32 << 20 // 8 s for the image
		fewTimes = 3
	)
	registry := image.StartRegistry(t, "127.0.0.1", perSec) // where containerd expects plain HTTP
	base, err := image.Read(built("workload.tar"), image.WorkloadName)
	if err != nil {
		t.Fatal(err)
	}
	push := func(seed uint64) string {
		padded, err := image.Pad(base, size, seed)
		if err != nil {
			t.Fatal(err)
		}
		name, err := registry.Push(fmt.Sprintf("workload-%d", seed), padded)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	var fresh, prepared []float64
	for i := range uint64(fewTimes) {
		s := newShop(t, brokers.Redis, burst)
		d := s.consumer(false, runs(push(100+i)))
		s.send(burst, 0)
		from := time.Now()
		s.create(d)
		s.await("a message completed", func() (bool, string) { return s.book.Completed() > 0, s.book.Summary().String() })
		first, _ := s.firstOf(from, func(string) bool { return true })
		fresh = append(fresh, first.Sub(from).Seconds())
		s.awaitDone()
		s.tookOnlyWhatItMay()
	}
	s := newShop(t, brokers.Redis, burst*fewTimes)
	s.open(s.consumer(false, runs(push(1))), s.scaler(2, v1alpha1.GatePrepared))
	for range fewTimes {
		prepared = append(prepared, s.once().Seconds())
		s.awaitCalm()
	}
	s.tookOnlyWhatItMay()
	fmt.Printf("\nFrom a backlog to the first message that added capacity completed; an image of %d MiB at %d MiB/s, no warm-up.\n", size>>20, perSec>>20)
	fmt.Printf("%-40s %8s %8s\n", "", "p50", "WORST")
	fmt.Printf("%-40s %6.2f s %6.2f s\n", "a slot of gate Prepared", median(prepared), most(prepared))
	fmt.Printf("%-40s %6.2f s %6.2f s\n\n", "a pod on a node without its image", median(fresh), most(fresh))
}

func runs(image string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image }
}
