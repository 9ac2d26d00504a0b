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
	"github.com/queuescaler/queuescaler/internal/decision"
)

// acted is what one reconcile did, and what went wrong.
type acted struct {
	decision.Outcome
	// lent and returned count slots.
	lent, returned int
	events         []event
}

func (a *acted) fail(reason string, err error) {
	if a.Err == nil && err != nil {
		a.Err, a.Reason = err, reason
	}
}

// act carries the plan out: lend first, because it is what users feel, then scale, then tend the pool, then roll back.
func (r *QueueScalerReconciler) act(ctx context.Context, seen *decision.Observation, d *decision.Decision, s *scaler) *acted {
	done := &acted{}
	if decision.Frozen(seen) != "" {
		return done
	}
	if seen.Conflict != "" {
		// Another one acts: this one owns no slots, and writes nothing else.
		done.fail(capacityv1alpha1.ReasonSlotWriteFailed, r.tend(ctx, seen, d, s, done))
		return done
	}
	if err := r.foreignWrite(ctx, seen, s, done); err != nil {
		done.fail(capacityv1alpha1.ReasonScaleFailed, err)
	}
	done.fail(capacityv1alpha1.ReasonSlotWriteFailed, r.lend(ctx, seen, &d.Pool, done))
	if d.Plan.Replicas != nil {
		done.ScaleErr = r.scale(ctx, seen, d, s, done)
		done.fail(capacityv1alpha1.ReasonScaleFailed, done.ScaleErr)
	}
	done.fail(capacityv1alpha1.ReasonSlotWriteFailed, r.tend(ctx, seen, d, s, done))
	done.fail(capacityv1alpha1.ReasonRollbackFailed, r.rollBack(ctx, seen, d, s, done))
	noteRefusal(d, s, done)
	noteRelease(seen, d, s, done)
	r.observeReaction(seen, done)
	if done.Err != nil {
		log.FromContext(ctx).V(1).Info("Acting was incomplete", "reason", done.Reason, "error", done.Err.Error())
	}
	return done
}

// noteRelease tells once for each rollout that its hold on scale-up ended early.
func noteRelease(seen *decision.Observation, d *decision.Decision, s *scaler, done *acted) {
	hash := seen.Assessment.New.Hash
	if d.Plan.Released == nil || !seen.Assessment.InProgress() || hash == "" || hash == s.Released {
		return
	}
	s.Released = hash
	done.events = append(done.events, holdReleased(d.Plan.Released.Reason, d.Plan.Released.Message))
}

// noteRefusal tells once for each reason why a rollback that is asked for is not carried out.
func noteRefusal(d *decision.Decision, s *scaler, done *acted) {
	refused := ""
	if d.Rollback != nil {
		refused = d.Rollback.Refused
	}
	if refused != "" && refused != s.refused {
		done.events = append(done.events, rollbackRefused(refused))
	}
	s.refused = refused
}

// observeReaction measures from the newest reading to the end of the writes that it caused.
func (r *QueueScalerReconciler) observeReaction(seen *decision.Observation, done *acted) {
	if !done.Wrote || done.Err != nil {
		return
	}
	var newest time.Time
	for _, sample := range seen.Samples {
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
	r.Recorder.Eventf(qs, nil, kind, e.reason, e.action, "%s", decision.Clip(e.message, 1000))
}

// report writes status once, if it is worth a write, and then sends what happened as events.
func (r *QueueScalerReconciler) report(ctx context.Context, seen *decision.Observation, d *decision.Decision, done *acted, s *scaler) error {
	status := decision.StatusOf(seen, d, &done.Outcome, &s.Memory)
	r.metrics.Set(client.ObjectKeyFromObject(seen.QueueScaler), snapshotOf(seen, d, &status))
	if decision.WorthWriting(&seen.QueueScaler.Status, &status, seen.Now, s.writtenAt) {
		changed := seen.QueueScaler.DeepCopy()
		changed.Status = status
		if err := r.Status().Patch(ctx, changed, client.MergeFrom(seen.QueueScaler)); err != nil {
			return client.IgnoreNotFound(err)
		}
		s.written, s.writtenAt = changed, seen.Now
	} else {
		done.NumbersIn = decision.NumbersIn(&seen.QueueScaler.Status, &status, seen.Now, s.writtenAt)
	}
	for _, e := range done.events {
		log.FromContext(ctx).Info("Acted", "reason", e.reason, "message", e.message)
	}
	events := append(done.events, turnedOf(&seen.QueueScaler.Status, &status)...)
	if beganWithoutPlan(seen, &status) {
		events = append(events, noRollbackPlan())
	}
	for _, e := range events {
		r.emit(seen.QueueScaler, e)
	}
	return nil
}
