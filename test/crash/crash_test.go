//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// lendAndScale: a pool is made; a backlog comes; slots are lent and the target is scaled up.
func lendAndScale(w *world) {
	w.start()
	w.awaitState("the pool is full", func(s state) bool { return s.full() && s.target(1) })
	w.push(30)
	// After a crash the target's own pods may be there before there is anything to lend for.
	w.awaitState("3 replicas", func(s state) bool { return s.target(3) && (w.everLent() > 0 || w.first.isDead()) })
}

// roll: while slots are lent, the target gets a template that may not work beside the old one. So the slots are drained
// and made anew; the backlog goes, and the target is scaled down.
func roll(w *world) {
	lendAndScale(w)
	w.changeTarget(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "example/worker:2"
		d.Spec.Template.Annotations[capacityv1alpha1.AnnotationIncompatible] = "true"
	})
	w.awaitState("the new revision runs, and in the pool too", func(s state) bool {
		return s.full() && s.target(3) && len(s.Templates) == 2
	})
	w.drain()
	w.awaitState("scaled down", func(s state) bool { return s.full() && s.target(1) })
}

// stop: while slots are lent, a person scales the target to 0: all slots are ended at once, and none is made.
func stop(w *world) {
	lendAndScale(w)
	w.known = w.first.attempts()
	w.changeTarget(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(0)) })
	w.awaitState("nothing works any more", func(s state) bool {
		return s.target(0) && s.Lent == 0 && s.Warm == 0 && len(s.Slots) == 0 && len(s.Pods) == 0 && len(s.Pending) == 0 && len(s.Finalizers) == 0
	})
}

func TestCrashAtEveryWrite(t *testing.T) {
	all := map[death]bool{} // by kind of write: whether the operator died at one
	for _, scenario := range []struct {
		name string
		run  func(*world)
	}{{"Roll", roll}, {"Stop", stop}} {
		t.Run(scenario.name, func(t *testing.T) {
			began := time.Now()
			var writes []string
			var want state
			if !t.Run("Undisturbed", func(t *testing.T) {
				writes, _, want = play(t, scenario.run, death{})
				t.Logf("%d writes:\n%s\nend: %+v", len(writes), strings.Join(writes, "\n"), want)
			}) {
				return
			}
			var mu sync.Mutex
			reached, runs := 0, 0
			t.Run("Crashes", func(t *testing.T) {
				for _, write := range writes {
					for _, applied := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s applied=%t", write, applied), func(t *testing.T) {
							t.Parallel()
							_, died, got := play(t, scenario.run, death{write, applied})
							if diff := cmp.Diff(want, got); diff != "" {
								t.Errorf("the end is not that of the undisturbed run (-want +got):\n%s", diff)
							}
							mu.Lock()
							defer mu.Unlock()
							what, _, _ := strings.Cut(write, " #")
							all[death{what, applied}] = all[death{what, applied}] || died
							runs++
							if died {
								reached++
							} else {
								t.Logf("this run did not make %q", write)
							}
						})
					}
				}
			})
			t.Logf("%d writes, %d runs, %d of them with a crash, in %s", len(writes), runs, reached, time.Since(began).Round(time.Second))
		})
	}
	for at, died := range all {
		if !died {
			t.Errorf("the operator died at no %q, applied=%t", at.write, at.applied)
		}
	}
}

// play runs a scenario with an operator that dies as told, and returns the writes of the first, and the end.
func play(t *testing.T, scenario func(*world), d death) (writes []string, died bool, end state) {
	t.Helper()
	w := newWorld(t)
	stop := w.operate(d)
	scenario(w)
	w.looked()
	end = w.state(shared.client)
	writes, died = stop()
	return writes, died, end
}
