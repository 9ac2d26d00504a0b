// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package setclock has a wall clock that tests set, while time goes on as it did: what happens when somebody sets a machine's clock.
package setclock

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"k8s.io/utils/clock"
)

// Clock is the real clock, set ahead or back.
type Clock struct {
	clock.RealClock
	by atomic.Int64
}

// Step is how far a signal sets the clock.
const Step = time.Hour

// OnSignals returns a clock that goes right until the process gets SIGUSR1, which sets it ahead by [Step], or SIGUSR2, which sets it back by
// as much. SIGHUP sets it right again.
func OnSignals() *Clock {
	c := &Clock{}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP)
	go func() {
		for s := range told {
			c.Set(map[os.Signal]time.Duration{syscall.SIGUSR1: Step, syscall.SIGUSR2: -Step}[s])
		}
	}()
	return c
}

// Set sets the clock to be so far ahead of the real one.
func (c *Clock) Set(ahead time.Duration) { c.by.Store(int64(ahead)) }

// Now has the wall clock as it was set, and the monotonic one as it is.
func (c *Clock) Now() time.Time { return Jump(time.Now(), time.Duration(c.by.Load())) }

// Since is the time that really passed, for a t of this clock.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Jump moves the wall clock of t, and not its monotonic one: what time.Now returns after somebody set the clock.
func Jump(t time.Time, d time.Duration) time.Time {
	t = t.Add(d)
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).ext -= int64(d)
	return t
}
