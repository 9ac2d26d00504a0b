// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"slices"
	"time"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// fewUnits of user work in a block say nothing about the messages per unit.
const fewUnits = 100

// ObserveDriver adds a reading of the driver, of which only the arrivals count. Those of a look come before the queues' readings:
// a block finds the ones from both sides of its ends then.
func (e *Estimator) ObserveDriver(r queue.Reading) {
	if r.ArrivedTotal == nil {
		return
	}
	if e.driver.observe(queue.Reading{Time: r.Time, ArrivedTotal: r.ArrivedTotal}) == broken {
		e.block.driver = part{}
	}
}

// RestartDriver forgets the driver's past, because there is another one now, or none.
func (e *Estimator) RestartDriver() {
	e.driver, e.block.driver = flow{}, part{}
}

// markDriver notes the driver's reading at the start of the block, or at the onset of saturation in it.
func (e *Estimator) markDriver(start func(*part) *point) {
	*start(&e.block.driver) = point{}
	if p := e.nearest(e.earliest(start)); p != nil {
		*start(&e.block.driver) = *p
	}
}

// earliest is when the first queue's part of the block starts.
func (e *Estimator) earliest(start func(*part) *point) time.Time {
	at := start(&e.block.parts[0]).at
	for i := range e.block.parts {
		if from := start(&e.block.parts[i]).at; from.Before(at) {
			at = from
		}
	}
	return at
}

// nearest is the driver's reading nearest to a time; nil where none is within two polls of it.
func (e *Estimator) nearest(t time.Time) *point {
	var found *point
	for i := range slices.Backward(e.driver.points) {
		p := &e.driver.points[i]
		if found != nil && p.at.Sub(t).Abs() > found.at.Sub(t).Abs() {
			break // they are in the order of their times
		}
		found = p
	}
	if found == nil || found.at.Sub(t).Abs() > 2*e.driver.poll() {
		return nil
	}
	return found
}

// poll is the time between two readings: the shortest of the newest ones, as some may be missing. 0 before the second reading.
func (f *flow) poll() time.Duration {
	recent := f.recent(4)
	if len(recent) < 2 {
		return 0
	}
	shortest := time.Duration(math.MaxInt64)
	for i := 1; i < len(recent); i++ {
		shortest = min(shortest, recent[i].at.Sub(recent[i-1].at))
	}
	return shortest
}

// unitRate is the driver's arrivals over the time of a block, units/s; 0: not known. from is its reading at the start.
func (e *Estimator) unitRate(from *point, b *Block) float64 {
	to := e.nearest(b.End)
	if from.at.IsZero() || to == nil {
		return 0
	}
	over := to.at.Sub(from.at)
	units := float64(to.arrived) - float64(from.arrived)
	// Readings that both lie near the middle would tell of another time.
	if over < b.End.Sub(b.Start)/2 || units < fewUnits || units >= absurd {
		return 0
	}
	return units / over.Seconds()
}
