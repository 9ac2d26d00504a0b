// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// Without the finalizer nothing is lent. Somebody who wrote the QueueScaler just now is no failure: that write brings us back.
func TestNothingIsLentWithoutTheFinalizer(t *testing.T) {
	kind := schema.GroupResource{Group: capacityv1alpha1.GroupVersion.Group, Resource: "queuescalers"}
	for _, c := range []struct {
		name   string
		answer error
		fails  bool
	}{
		{"somebody wrote it", apierrors.NewConflict(kind, "app", errors.New("changed")), false},
		{"it is not permitted", apierrors.NewForbidden(kind, "app", errors.New("no")), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &QueueScalerReconciler{Clock: clock.RealClock{}}
			r.Client = interceptor.NewClient(nil, interceptor.Funcs{
				Patch: func(_ context.Context, _ client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
					if _, ok := o.(*capacityv1alpha1.QueueScaler); !ok {
						t.Errorf("%T was written", o)
					}
					return c.answer
				},
			})
			qs := &capacityv1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{Name: "app", ResourceVersion: "1"}}
			done := &acted{}
			err := r.lend(t.Context(), &decision.Observation{QueueScaler: qs}, &standby.PoolPlan{Actions: []standby.Action{{Kind: standby.Lend, Slot: &standby.Slot{}}}}, done)
			if (err != nil) != c.fails || done.lent != 0 {
				t.Errorf("%d lent, error %v", done.lent, err)
			}
		})
	}
}
