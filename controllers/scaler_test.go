// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/metrics"
)

// The names of slots to be made are in status before the slots are. Deciding upon an older status brought other names, and three
// slots where two should be.
func TestDecisionsAreMadeUponTheLastWrittenStatus(t *testing.T) {
	of := func(version string, pending ...string) *capacityv1alpha1.QueueScaler {
		qs := &capacityv1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app", ResourceVersion: version}}
		qs.Status.Standby = &capacityv1alpha1.StandbyStatus{Pending: pending}
		return qs
	}
	r := &QueueScalerReconciler{Recorder: &events.FakeRecorder{}, metrics: metrics.New(prometheus.NewRegistry())}
	r.Client = interceptor.NewClient(nil, interceptor.Funcs{
		SubResourcePatch: func(_ context.Context, _ client.Client, _ string, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
			of("1000", "a", "b").DeepCopyInto(o.(*capacityv1alpha1.QueueScaler)) // what the API server answers
			return nil
		},
	})
	for _, c := range []struct {
		name   string
		cached *capacityv1alpha1.QueueScaler
		after  time.Duration
		want   string
	}{
		{"the cache is behind", of("999"), time.Second, "1000"},
		{"the cache has it", of("1000", "a", "b"), time.Second, "1000"},
		{"somebody wrote it since", of("1001", "c"), time.Second, "1001"},
		{"the store was restored from a backup", of("7"), time.Hour, "7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := &scaler{}
			seen := &decision.Observation{QueueScaler: of("998"), Now: noon}
			if err := r.report(t.Context(), seen, &decision.Decision{}, &acted{}, memory); err != nil {
				t.Fatal(err)
			}
			for range 2 { // what is forgotten does not come back
				got := memory.newest(c.cached, noon.Add(c.after))
				if got.ResourceVersion != c.want {
					t.Errorf("decided upon version %s, want %s", got.ResourceVersion, c.want)
				}
				got.Status.Standby.Pending = nil // whoever reads it may change it
			}
		})
	}
}
