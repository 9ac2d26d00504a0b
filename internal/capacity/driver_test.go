// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/queue"
)

// counter is a driver that is read every so many seconds.
type counter struct {
	units    float64
	every    int
	perUnit  float64
	silent   bool
	restarts int
}

func count(at time.Time, units int64) queue.Reading {
	return queue.Reading{Time: at, ArrivedTotal: &units}
}

// drive plays seconds of a plant whose messages are made of units.
func (p *plant) drive(c *counter, seconds int) (all []Block) {
	for second := range seconds {
		c.units += p.arrive / c.perUnit
		if second == c.restarts && second > 0 {
			c.units = 0
		}
		if second%c.every == 0 && !c.silent {
			p.e.ObserveDriver(count(p.now.Add(time.Second), int64(c.units)))
		}
		p.run(1)
		all = append(all, p.e.Blocks()...)
	}
	return all
}

func TestABlockHasTheUserWorkOfItsTime(t *testing.T) {
	for _, every := range []int{1, 2, 5, 15} {
		p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
		p.arrive, p.serve = 40, 62
		c := &counter{every: every, perUnit: 2.5}
		blocks := p.drive(c, 600)
		p.burst(20000)
		blocks = append(blocks, p.drive(c, 300)...)
		known, saturated := 0, 0
		for _, b := range blocks {
			if b.Driver == 0 {
				continue
			}
			known++
			if b.Saturated {
				saturated++
			}
			if math.Abs(b.Driver-16) > 0.1 {
				t.Errorf("a reading every %d s: %.3f units/s, want 16", every, b.Driver)
			}
		}
		if known < len(blocks)-1 || saturated < 4 {
			t.Errorf("a reading every %d s: %d of %d blocks know the user work, %d saturated ones", every, known, len(blocks), saturated)
		}
	}
}

func TestWhereTheUserWorkIsNotKnown(t *testing.T) {
	for _, c := range []struct {
		name    string
		counter counter
		arrive  float64
		known   bool
	}{
		{"it is", counter{every: 1, perUnit: 2}, 40, true},
		{"no driver", counter{every: 1, perUnit: 2, silent: true}, 40, false},
		{"less than 100 units in a block", counter{every: 1, perUnit: 30}, 40, false},
		{"readings further apart than a block is long", counter{every: 300, perUnit: 2}, 40, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
			p.arrive, p.serve = c.arrive, 62
			blocks := p.drive(&c.counter, 290)
			if len(blocks) < 3 {
				t.Fatalf("%d blocks", len(blocks))
			}
			for _, b := range blocks {
				if (b.Driver > 0) != c.known {
					t.Errorf("%+v", b)
				}
			}
		})
	}
}

// A counter that begins anew, or was not read for some time, costs the block in which that was, and no other.
func TestAGapInTheUserWorkCostsOneBlock(t *testing.T) {
	for name, disturb := range map[string]func(*plant, *counter) []Block{
		"a restart": func(p *plant, c *counter) []Block { c.restarts = 20; return p.drive(c, 300) },
		"a gap": func(p *plant, c *counter) []Block {
			all := p.drive(c, 10)
			c.silent = true
			all = append(all, p.drive(c, 30)...)
			c.silent = false
			return append(all, p.drive(c, 260)...)
		},
		"another driver": func(p *plant, c *counter) []Block {
			all := p.drive(c, 20)
			p.e.RestartDriver()
			return append(all, p.drive(c, 280)...)
		},
	} {
		p := newPlant(one(), Serving{Replicas: 10, Revision: "a"})
		p.arrive, p.serve = 40, 62
		c := &counter{every: 1, perUnit: 2}
		p.drive(c, 130)
		unknown, known := 0, 0
		for _, b := range disturb(p, c) {
			if b.Driver == 0 {
				unknown++
			} else if known++; math.Abs(b.Driver-20) > 0.1 {
				t.Errorf("%s: %.3f units/s", name, b.Driver)
			}
		}
		if unknown != 1 || known < 3 {
			t.Errorf("%s: the user work of %d blocks is not known, of %d it is", name, unknown, known)
		}
	}
}

// Whatever a driver tells, user work is never negative, infinite or not a number, and what is measured of the queues is the
// same as without it.
func TestADriverDisturbsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		with, without := newPlant(one(), Serving{Replicas: 10, Revision: "a"}), newPlant(one(), Serving{Replicas: 10, Revision: "a"})
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range rapid.IntRange(1, 20).Draw(t, "spells") {
			arrive, seconds := rapid.Float64Range(0, 100).Draw(t, "arrive"), rapid.IntRange(1, 100).Draw(t, "seconds")
			least, most := rapid.Int64().Draw(t, "least"), rapid.Int64Min(1).Draw(t, "most")
			for _, p := range []*plant{with, without} {
				p.arrive, p.serve = arrive, 62
			}
			for range seconds {
				if random.IntN(3) > 0 {
					with.e.ObserveDriver(count(with.now.Add(time.Duration(random.IntN(5000)-2500)*time.Millisecond), least+random.Int64N(most)))
				}
				with.run(1)
				without.run(1)
			}
			same, blocks := without.e.Blocks(), with.e.Blocks()
			if len(same) != len(blocks) {
				t.Fatalf("%d blocks, without a driver %d", len(blocks), len(same))
			}
			for i, b := range blocks {
				if b.Driver < 0 || math.IsInf(b.Driver, 0) || math.IsNaN(b.Driver) {
					t.Fatalf("%v units/s", b.Driver)
				}
				if same[i].Driver != 0 || b.Arrival != same[i].Arrival || b.Rate != same[i].Rate || b.Saturated != same[i].Saturated {
					t.Fatalf("%+v, without a driver %+v", b, same[i])
				}
			}
			if len(with.e.driver.points) > history {
				t.Fatalf("%d readings are kept", len(with.e.driver.points))
			}
		}
	})
}
