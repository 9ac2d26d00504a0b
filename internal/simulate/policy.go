// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

// Policy acts on the plant.
type Policy interface {
	// Name of the policy with what distinguishes it, such as "hpa 100".
	Name() string
	// Act looks at the plant after second t, and may scale it.
	Act(t int, w *Plant)
}

// beginner is a policy that prepares the plant before the first second.
type beginner interface{ begin(w *Plant) }

// Run plays a scenario with one policy. Equal arguments give equal results.
func Run(s *Scenario, p Policy, seed uint64) *Result {
	w := newPlant(s, s.draw(seed), seed)
	if b, ok := p.(beginner); ok {
		b.begin(w)
	}
	n := s.Seconds()
	for t := range n {
		w.step(t)
		p.Act(t, w)
	}
	r := w.end(n)
	r.Policy, r.Seed = p.Name(), seed
	return r
}

// Fixed leaves the number of replicas alone.
type Fixed struct{}

// Name is "fixed".
func (Fixed) Name() string { return "fixed" }

// Act does nothing.
func (Fixed) Act(int, *Plant) {}

// People are a fixed fleet, and what people did to it: the scenario's orders.
type People struct{}

// Name is "people".
func (People) Name() string { return "people" }

// Act carries the orders out, one replica at a time.
func (People) Act(t int, w *Plant) {
	for _, o := range w.scenario.People {
		since := t - w.scenario.step(o.At)
		if since < 0 || since%max(o.EverySeconds, 1) != 0 {
			continue
		}
		switch now := w.fleet.wanted; {
		case now < o.Replicas:
			w.scale(t, now+1)
		case now > o.Replicas:
			w.scale(t, now-1)
		}
	}
}
