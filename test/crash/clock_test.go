//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/setclock"
)

// The clock jumps while nothing waits any more and the scale-down window is open: 300 s have not passed, whatever the clock
// says. What was read stays fresh, nothing scales down, and the next backlog is answered.
func TestClockJumps(t *testing.T) {
	for _, by := range []time.Duration{5 * time.Hour, -5 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			watch := &setclock.Clock{}
			w.clock = watch
			w.operate(death{})
			lendAndScale(w)
			w.changeQS(func(spec *capacityv1alpha1.QueueScalerSpec) {
				spec.Behavior.ScaleDown.StabilizationWindowSeconds = ptr.To(int32(300))
			})
			w.drain()
			w.awaitDecision(capacityv1alpha1.ReasonScaleDownStabilized)
			before := w.first.attempted()
			watch.Set(by)
			w.looked()
			w.awaitDecision(capacityv1alpha1.ReasonScaleDownStabilized)
			w.wantCondition(capacityv1alpha1.ConditionReady, metav1.ConditionTrue, capacityv1alpha1.ReasonReady, "observing, deciding and acting")
			w.wantCondition(capacityv1alpha1.ConditionScalingActive, metav1.ConditionTrue, capacityv1alpha1.ReasonReadingsFresh, "every queue has a fresh reading")
			w.push(50)
			w.awaitState("5 replicas", func(s state) bool { return s.target(5) })
			for _, write := range w.first.attempted()[len(before):] {
				if strings.Contains(write, "/scale") && !strings.Contains(write, "(to 5)") {
					t.Errorf("the clock jumped by %s, and then: %s", by, write)
				}
			}
			w.drain()
			w.changeQS(func(spec *capacityv1alpha1.QueueScalerSpec) {
				spec.Behavior.ScaleDown.StabilizationWindowSeconds = ptr.To(int32(1))
			})
			w.awaitState("scaled down, in time and by the spec", func(s state) bool { return s.target(1) })
		})
	}
}

func (i *incarnation) attempted() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.writes)
}

func (w *world) changeQS(f func(*capacityv1alpha1.QueueScalerSpec)) {
	w.Helper()
	old := w.qs(shared.client)
	changed := old.DeepCopy()
	f(&changed.Spec)
	if err := shared.client.Patch(w.Context(), changed, client.MergeFrom(old), client.FieldOwner("test")); err != nil {
		w.Fatal(err)
	}
}

func (w *world) awaitDecision(reason string) {
	w.Helper()
	w.await("decision "+reason, func() (bool, string) {
		d := w.qs(shared.cache).Status.Decision
		return d != nil && d.Reason == reason, fmt.Sprintf("%+v", d)
	})
}

func (w *world) wantCondition(kind string, status metav1.ConditionStatus, reason, message string) {
	w.Helper()
	c := meta.FindStatusCondition(w.qs(shared.client).Status.Conditions, kind)
	if c == nil || c.Status != status || c.Reason != reason || c.Message != message {
		w.Errorf("%s is %+v, want %s %s: %s", kind, c, status, reason, message)
	}
}
