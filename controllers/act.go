// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// acted is what one reconcile did, and what went wrong.
type acted struct {
	// err is the first error, reason its word for the condition Ready.
	err    error
	reason string
	// scaleErr is why the target's replicas could not be written.
	scaleErr error
	// replicas of the target as a write or a live read found them; nil where there was neither, and the cache's count.
	replicas *int32
	// wrote is true where anything but status was written.
	wrote bool
	// lent and returned count slots.
	lent, returned int
	events         []event
}

func (a *acted) fail(reason string, err error) {
	if a.err == nil && err != nil {
		a.err, a.reason = err, reason
	}
}

// act carries the plan out: lend first, because it is what users feel, then scale, then tend the pool.
func (r *QueueScalerReconciler) act(ctx context.Context, seen *observed, d *decided, s *scaler) *acted {
	done := &acted{}
	if frozen(seen) != "" {
		return done
	}
	if seen.conflict != "" {
		// Another one acts: this one owns no slots, and writes nothing else.
		done.fail(capacityv1alpha1.ReasonSlotWriteFailed, r.tend(ctx, seen, d, s, done))
		return done
	}
	if err := r.foreignWrite(ctx, seen, s, done); err != nil {
		done.fail(capacityv1alpha1.ReasonScaleFailed, err)
	}
	done.fail(capacityv1alpha1.ReasonSlotWriteFailed, r.lend(ctx, seen, &d.pool, done))
	if d.plan.Replicas != nil {
		done.scaleErr = r.scale(ctx, seen, d, s, done)
		done.fail(capacityv1alpha1.ReasonScaleFailed, done.scaleErr)
	}
	done.fail(capacityv1alpha1.ReasonSlotWriteFailed, r.tend(ctx, seen, d, s, done))
	noteRelease(seen, d, s, done)
	r.observeReaction(seen, done)
	if done.err != nil {
		log.FromContext(ctx).V(1).Info("Acting was incomplete", "reason", done.reason, "error", done.err.Error())
	}
	return done
}

// noteRelease tells once for each rollout that its hold on scale-up ended early.
func noteRelease(seen *observed, d *decided, s *scaler, done *acted) {
	hash := seen.assessment.New.Hash
	if d.plan.Released == nil || !seen.assessment.InProgress() || hash == "" || hash == s.released {
		return
	}
	s.released = hash
	done.events = append(done.events, holdReleased(d.plan.Released.Reason, d.plan.Released.Message))
}

// observeReaction measures from the newest reading to the end of the writes that it caused.
func (r *QueueScalerReconciler) observeReaction(seen *observed, done *acted) {
	if !done.wrote || done.err != nil {
		return
	}
	var newest time.Time
	for _, sample := range seen.samples {
		if sample.Reading != nil && sample.Reading.Time.After(newest) {
			newest = sample.Reading.Time
		}
	}
	if elapsed := r.Clock.Since(newest); !newest.IsZero() && elapsed >= 0 {
		r.metrics.Reacted(elapsed.Seconds())
	}
}

// emit sends an event.
func (r *QueueScalerReconciler) emit(qs *capacityv1alpha1.QueueScaler, e event) {
	kind := e.kind
	if kind == "" {
		kind = corev1.EventTypeNormal
	}
	r.Recorder.Eventf(qs, nil, kind, e.reason, e.action, "%s", clip(e.message, 1000))
}

// report writes status once, if it is worth a write, and then sends what happened as events.
func (r *QueueScalerReconciler) report(ctx context.Context, seen *observed, d *decided, done *acted, s *scaler) error {
	status := statusOf(seen, d, done, s)
	r.metrics.Set(client.ObjectKeyFromObject(seen.qs), snapshotOf(seen, d, &status))
	if worthWriting(&seen.qs.Status, &status, seen.now, s.numbersAt) {
		changed := seen.qs.DeepCopy()
		changed.Status = status
		if err := r.Status().Patch(ctx, changed, client.MergeFrom(seen.qs)); err != nil {
			return client.IgnoreNotFound(err)
		}
		s.numbersAt = seen.now
	}
	for _, e := range done.events {
		log.FromContext(ctx).Info("Acted", "reason", e.reason, "message", e.message)
	}
	for _, e := range append(done.events, turnedOf(&seen.qs.Status, &status)...) {
		r.emit(seen.qs, e)
	}
	return nil
}
