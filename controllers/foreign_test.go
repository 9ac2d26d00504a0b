// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/metrics"
	"github.com/queuescaler/queuescaler/internal/rollout"
)

// The Deployment's own controller writes status all the time when a rollout begins, which is when a stale manifest is undone.
func TestRestoreOutlastsConflicts(t *testing.T) {
	for _, conflicts := range []int{0, scaleTries - 1, scaleTries, 2*scaleTries + 1} {
		target := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "app", UID: "1", Generation: 1},
			Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(int32(10))},
		}
		left, writes := conflicts, 0
		fake := interceptor.NewClient(nil, interceptor.Funcs{
			Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
				target.DeepCopyInto(o.(*appsv1.Deployment))
				return nil
			},
			SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
				if left > 0 {
					left--
					return apierrors.NewConflict(schema.GroupResource{Resource: "deployments"}, "app", nil)
				}
				writes++
				return nil
			},
		})
		r := &QueueScalerReconciler{Client: fake, APIReader: fake, metrics: metrics.New(prometheus.NewRegistry())}
		qs := &capacityv1alpha1.QueueScaler{Spec: capacityv1alpha1.QueueScalerSpec{MaxReplicas: 20, Mode: capacityv1alpha1.ModeActive}}
		memory := &scaler{targetUID: "1", replicas: 10, generation: 1, digest: rollout.Digest(&target.Spec.Template)}
		target.Generation, target.Spec.Replicas = 2, ptr.To(int32(3))
		target.Spec.Template.Spec.Containers = []corev1.Container{{Name: "worker", Image: "example/worker:2"}}
		seen := &decision.Observation{Now: time.Unix(1, 0), QueueScaler: qs, Target: target, Assessment: rollout.Assessment{Permissions: rollout.Permissions{Restore: true}}}

		looks, done := 0, &acted{}
		for err := error(apierrors.NewConflict(schema.GroupResource{}, "", nil)); err != nil; looks++ {
			if looks > conflicts {
				t.Fatalf("%d conflicts: not restored after %d looks: %v", conflicts, looks, err)
			}
			err = r.foreignWrite(t.Context(), seen, memory, done)
		}
		if want := conflicts/scaleTries + 1; writes != 1 || looks != want {
			t.Errorf("%d conflicts: %d writes after %d looks, want 1 after %d", conflicts, writes, looks, want)
		}
		if len(done.events) != 1 || done.events[0].reason != capacityv1alpha1.ReasonReplicasRestored {
			t.Errorf("%d conflicts: events %+v", conflicts, done.events)
		}
	}
}
