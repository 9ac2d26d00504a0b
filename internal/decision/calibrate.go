// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"math"

	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/scaling"
)

// calibrate carries the calibration on, and takes its factor into the rate that is decided by.
func (d *Decision) calibrate(seen *Observation, s *Memory) {
	drain := d.Policy.Drain
	if drain == nil || seen.QueueScaler.Spec.Objective.Drain.Calibrate == capacityv1alpha1.CalibrateNever {
		s.Calibration = capacity.Calibration{}
		return
	}
	in := capacity.CalibrationInput{
		Allowed:     d.mayCalibrate(seen, s),
		Rate:        s.Ledger.Rate(priorRate(&seen.QueueScaler.Spec)),
		Saturated:   s.Ledger.Saturated(),
		Utilization: drain.Utilization, Seconds: drain.Seconds, Concurrency: drain.Concurrency,
		Serving: d.Input.Target.Available + d.Input.Pool.Lent, Warm: d.Input.Pool.Warm,
		Arrival: total(d.Input.Queues, func(q scaling.Queue) *float64 {
			if q.Arrival == nil {
				return nil
			}
			return ptr.To(q.Weight * *q.Arrival)
		}),
	}
	for _, q := range d.Input.Queues {
		in.Backlog += float64(q.Depth)
		in.Work += q.Weight * float64(q.Depth)
	}
	s.Calibration = s.Calibration.Next(seen.Now, in)
	d.Input.Rate = s.rate(seen)
}

// mayCalibrate: slightly fewer replicas may be tried now, because a warm slot can make up for them, and nothing else goes on.
func (d *Decision) mayCalibrate(seen *Observation, s *Memory) bool {
	present := s.Ledger.Present()
	return Frozen(seen) == "" && seen.Conflict == "" && fresh(seen.Samples) &&
		present != nil && present.Standing != "New" && !present.Flagged() &&
		d.Input.Target.Replicas > d.Policy.Min && d.Input.Pool.Warm > 0 && d.Input.Target.PodsFailing == ""
}

// calibrationStatus is what came of it; nil where it was never begun.
func calibrationStatus(s *Memory) *capacityv1alpha1.CalibrationStatus {
	c := &s.Calibration
	if c.Reason == "" {
		return nil
	}
	out := &capacityv1alpha1.CalibrationStatus{
		Percent: ptr.To(int32(math.Round(100 * (c.Factor() - 1)))), Reason: c.Reason, Message: Clip(c.Message, 1024), NotBefore: StatusTime(c.NotBefore),
	}
	if c.Trials {
		out.Stage = capacityv1alpha1.CalibrationTrials
	}
	return out
}

// recallCalibration is what must not be lost: without the rest the estimate stands.
func recallCalibration(status *capacityv1alpha1.CalibrationStatus) capacity.Calibration {
	if status == nil {
		return capacity.Calibration{}
	}
	return capacity.Calibration{Trials: status.Stage == capacityv1alpha1.CalibrationTrials, NotBefore: TimeOf(status.NotBefore)}
}
