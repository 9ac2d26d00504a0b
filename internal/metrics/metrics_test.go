// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/internal/queue"
)

func full() Snapshot {
	return Snapshot{
		Backlog: ptr.To(2400.0), Arrival: ptr.To(80.0), Throughput: ptr.To(60.0), Drain: ptr.To(48.0),
		Desired: ptr.To[int32](17), Target: 12, Available: 12,
		Warm: ptr.To[int32](0), Lent: ptr.To[int32](3), Starting: ptr.To[int32](0),
		RolloutInProgress: true, Held: true, Fresh: map[string]bool{"a": true, "b": false},
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r)
	key := types.NamespacedName{Namespace: "chat", Name: "availability"}
	m.Set(key, full())
	m.Scaled(key, 12, 17)
	m.SlotsLent(key, 3)
	m.SlotsReturned(key, 1)
	m.Reacted(0.02)
	RegisterServers(r, func() []queue.ServerStats {
		return []queue.ServerStats{{Kind: "redis", Host: "q:6379", Up: true, Connections: 1, Subscribers: 600, Queues: 600, Polls: 7, Errors: 1, Latency: 20 * time.Millisecond}}
	})
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n, err := testutil.GatherAndCount(r, "queuescaler_queue_server_up", "queuescaler_queue_server_polls_total"); err != nil || n != 2 {
		t.Errorf("%d series of the one server, %v; want 2", n, err)
	}
}

func TestWhatIsNotKnownHasNoSeries(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r)
	key := types.NamespacedName{Namespace: "chat", Name: "availability"}
	m.Set(key, full())
	m.Set(key, Snapshot{Target: 12, Available: 12, Fresh: map[string]bool{"a": false}})
	got := map[string]int{}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		got[f.GetName()] = len(f.GetMetric())
	}
	want := map[string]int{
		"queuescaler_target_replicas": 1, "queuescaler_available_replicas": 1, "queuescaler_rollout_in_progress": 1, "queuescaler_throughput_regressed": 1, "queuescaler_rollback_advised": 1,
		"queuescaler_held": 1, "queuescaler_queue_reading_fresh": 1, "queuescaler_reaction_seconds": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestForgetDeletesEverySeriesOfOneScaler(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := New(r)
	gone, stays := types.NamespacedName{Namespace: "chat", Name: "gone"}, types.NamespacedName{Namespace: "chat", Name: "stays"}
	for _, key := range []types.NamespacedName{gone, stays} {
		m.Set(key, full())
		m.Scaled(key, 17, 12)
		m.SlotsLent(key, 3)
		m.SlotsReturned(key, 3)
	}
	m.Forget(gone)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				if l.GetName() == "queuescaler" {
					seen[l.GetValue()] = true
				}
			}
		}
	}
	if diff := cmp.Diff(map[string]bool{"stays": true}, seen); diff != "" {
		t.Error(diff)
	}
}
