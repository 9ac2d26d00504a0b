// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// topic is a queue of so many partitions with a backlog, of which one partition has deepest. 76/s arrive, one replica completes 8/s, and
// 60 s are given.
func topic(partitions, consumersPerReplica, depth, deepest int64) Observation {
	o := calm()
	q := &o.Queues[0]
	q.InFlight = nil
	q.Depth, q.MostConsumers, q.ConsumersPerReplica, q.DeepestPartition = depth, partitions, consumersPerReplica, deepest
	return o
}

func TestPartitionsLimit(t *testing.T) {
	for _, c := range []struct {
		name                                            string
		partitions, consumersPerReplica, depth, deepest int64
		desired                                         int32
		drains                                          float64
		met, limited                                    string
	}{
		{"spread evenly", 48, 1, 6000, 125, 22, 300, "objective 60 s", ""},
		{"spread well enough", 48, 1, 6000, 480, 22, 300, "objective 60 s", ""},
		{"in one partition", 48, 1, 6000, 4800, 12, 600,
			"backlog 6000 drains in 600 s, objective 60 s; one partition of queue q has 4800 of its 6000 messages, which take one consumer 600 s",
			"22 wanted, but more than 12 hardly drain the backlog sooner: one partition of queue q has 4800 of its 6000 messages, which take one consumer 600 s; spread the messages over the partitions, or make the consumers faster"},
		{"in three of them", 48, 1, 14400, 4800, 16, 720, "objective 60 s", "40 wanted, but more than 16 hardly drain the backlog sooner"},
		{"too few", 16, 1, 16000, 1000, 16, 800, "objective 60 s", "43 wanted, 16 partitions keep at most 16 replicas busy; add partitions, or make the consumers faster"},
		{"three consumers each", 48, 3, 48000, 1000, 16, 2400, "objective 60 s", "110 wanted, 48 partitions keep at most 16 replicas busy that run up to 3 consumers each; add partitions"},
		{"a consumer of three", 48, 3, 6000, 480, 16, 300, "which take one consumer 180 s", "22 wanted, 48 partitions keep at most 16 replicas busy"},
		{"a last one with fewer", 50, 3, 48000, 960, 17, 2400, "objective 60 s", "110 wanted, 50 partitions keep at most 17 replicas busy that run up to 3 consumers each"},
	} {
		o := topic(c.partitions, c.consumersPerReplica, c.depth, c.deepest)
		p := chat()
		p.Max = 200
		calmBefore := topic(c.partitions, c.consumersPerReplica, 0, 0)
		plan, _ := Decide(noon, p, o, watched(p, calmBefore))
		if *plan.Desired != c.desired || plan.DrainSeconds == nil || *plan.DrainSeconds != c.drains {
			t.Errorf("%s: %d desired, drains in %v s; want %d and %v", c.name, *plan.Desired, show64(plan.DrainSeconds), c.desired, c.drains)
		}
		if plan.ObjectiveMet.Status != no || !strings.Contains(plan.ObjectiveMet.Message, c.met) {
			t.Errorf("%s: objective met %s: %s", c.name, plan.ObjectiveMet.Status, plan.ObjectiveMet.Message)
		}
		if limited := plan.Limited.Reason == reasonTooFewPartitions; limited != (c.limited != "") || limited && !strings.Contains(plan.Limited.Message, c.limited) {
			t.Errorf("%s: %s: %s", c.name, plan.Limited.Reason, plan.Limited.Message)
		}
	}
}

// A second replica takes partitions that the consumers of the first have between them. No slot is lent for less than all of its own.
func TestPartitionsForAPartOfAReplica(t *testing.T) {
	for _, c := range []struct {
		partitions, consumersPerReplica int64
		asked, lent                     int32
	}{{12, 7, 2, 0}, {5, 3, 2, 0}, {10, 3, 4, 2}, {9, 3, 3, 2}, {2, 3, 1, 0}} {
		p, quiet, full := chat(), topic(c.partitions, c.consumersPerReplica, 0, 0), topic(c.partitions, c.consumersPerReplica, 20000, 0)
		p.Min = 1
		for _, o := range []*Observation{&quiet, &full} {
			o.Target.Replicas, o.Target.Available = 1, 1
			o.Pool = Pool{Warm: 9, StartUp: 40 * time.Second}
		}
		plan, _ := Decide(noon, p, full, watched(p, quiet))
		if *plan.Desired != c.asked || plan.Lent != c.lent {
			t.Errorf("%d partitions, %d consumers each: %d asked for and %d lent, want %d and %d: %s",
				c.partitions, c.consumersPerReplica, *plan.Desired, plan.Lent, c.asked, c.lent, plan.Message)
		}
	}
}

// A queue that cannot be read keeps the partitions that it told of last: the cap is of them all. Only one that never told lifts it, and
// the fallback outranks it.
func TestPartitionsOfQueuesThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		fresh   bool
		told    int64
		desired int32
	}{
		{"both read", true, 4, 16},
		{"one told before", false, 4, 16},
		{"one never told", false, 0, 43},
	} {
		quiet, full := topic(12, 1, 0, 0), topic(12, 1, 16000, 0)
		for _, o := range []*Observation{&quiet, &full} {
			other := o.Queues[0]
			other.Name, other.Depth, other.MostConsumers, other.Arrival, other.Throughput = "r", 0, 4, new(0.0), new(0.0)
			o.Queues = append(o.Queues, other)
		}
		full.Queues[1].Fresh, full.Queues[1].MostConsumers = c.fresh, c.told
		p := chat()
		p.Max = 200
		if plan, _ := Decide(noon, p, full, watched(p, quiet)); *plan.Desired != c.desired {
			t.Errorf("%s: %d desired, want %d: %s", c.name, *plan.Desired, c.desired, plan.Message)
		}
	}
	p, o := chat(), topic(4, 1, 0, 0)
	p.Fallback = &Fallback{After: time.Minute, Min: 14}
	m := watched(p, o)
	o.Queues[0].Fresh = false
	_, m = Decide(noon, p, o, m)
	if plan, _ := Decide(noon.Add(2*time.Minute), p, o, m); *plan.Desired != 14 || !plan.InFallback {
		t.Errorf("fallback: %d desired, want 14: %s", *plan.Desired, plan.Message)
	}
}

func show64(n *float64) any {
	if n == nil {
		return "none"
	}
	return *n
}

// A backlog that is spread over the partitions by chance asks for what it would ask for if nothing were told of them: less would drain it later.
func TestSpreadBacklogAsksForAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.Int64Range(1, 200).Draw(t, "partitions")
		depth := rapid.Int64Range(partitions, 1_000_000).Draw(t, "depth")
		mean := (depth + partitions - 1) / partitions
		deepest := rapid.Int64Range(mean, max(mean, 2*depth/partitions)).Draw(t, "deepest")
		p := chat()
		p.Max = rapid.Int32Range(4, 300).Draw(t, "max")
		p.Drain.Concurrency = float64(rapid.IntRange(1, 20).Draw(t, "concurrency"))
		consumers := rapid.Int64Range(1, 5).Draw(t, "consumers")
		m := watched(p, topic(partitions, consumers, 0, 0))
		with, _ := Decide(noon, p, topic(partitions, consumers, depth, deepest), m)
		without, _ := Decide(noon, p, topic(partitions, consumers, depth, 0), m)
		if !reflect.DeepEqual(with.Desired, without.Desired) || with.Lent != without.Lent {
			t.Errorf("%d desired and %d lent, without knowing of partitions %d and %d: %s", *with.Desired, with.Lent, *without.Desired, without.Lent, with.Message)
		}
	})
}

// Slots go into service all in one decision, and come back all in one, after the target has had enough for 300 s: one rebalance each.
func TestSlotsOfPartitionsMoveTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPlant(chat(), 12, rapid.Int32Range(1, 5).Draw(t, "slots"))
		w.arrival, w.partitions = 76, rapid.Int64Range(14, 40).Draw(t, "partitions")
		w.seconds(310)
		w.backlog += rapid.Float64Range(500, 5000).Draw(t, "burst")
		enough := w.now
		for second := range 2000 {
			if second%60 == 0 && second < 600 {
				w.arrival = rapid.Float64Range(60, 76).Draw(t, "arrival")
			}
			before := w.lent
			w.second()
			switch missing := w.replicas - w.available(); {
			case before > 0 && w.lent > 0 && w.lent < before:
				t.Fatalf("%d of %d slots came back", before-w.lent, before)
			case before > 0 && w.lent > before && missing == 0:
				t.Fatalf("%d slots were lent after %d, with nothing missing", w.lent-before, before)
			case w.lent == 0 && before > 0 && w.now.Sub(enough) < rebalanceReturn:
				t.Fatalf("slots came back %s after the target had enough", w.now.Sub(enough))
			case missing > 0:
				enough = w.now
			}
		}
		if w.lent > 0 {
			t.Fatalf("%d slots are still lent", w.lent)
		}
	})
}

// Slots come back at once where nothing may be in service.
func TestSlotsOfPartitionsComeBackInAnEmergency(t *testing.T) {
	p, o := chat(), topic(16, 1, 0, 0)
	o.Pool = Pool{Warm: 1, Lent: 2, StartUp: 40 * time.Second}
	m := watched(p, o)
	o.Target.Replicas, o.Target.Available, o.Target.ForeignZero = 0, 0, true
	if plan, _ := Decide(noon, p, o, m); plan.Lent != 0 {
		t.Errorf("%d slots stay in service", plan.Lent)
	}
}
