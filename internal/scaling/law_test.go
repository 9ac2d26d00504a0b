// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"flag"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// The laws are checked over 1,000 random histories of 200 decisions each (5 s), restarts over 100 pairs of histories of
// about 1,200 s each (4 s). rapid draws the seed of each history and prints the one that fails: -rapid.seed repeats it.
const (
	lawChecks     = 1000
	lawSteps      = 200
	restartChecks = 100
)

// check checks a law over so many histories.
func check(t *testing.T, checks int, law func(*rapid.T)) {
	t.Helper()
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", strconv.Itoa(checks)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = flag.Set("rapid.checks", before) }()
	rapid.Check(t, law)
}

// chance is a random history's source of anything, extreme values included.
type chance struct{ *rand.Rand }

func (c chance) yes(percent int) bool { return c.IntN(100) < percent }

func (c chance) count() int32 {
	if c.yes(3) {
		return []int32{math.MinInt32, -1, math.MaxInt32, 1_000_000}[c.IntN(4)]
	}
	return c.Int32N(50)
}

func (c chance) amount() float64 {
	if c.yes(5) {
		return []float64{-1, 1e300, math.MaxFloat64, 5e-324, math.Inf(1), math.NaN(), 1e-9, 1e17}[c.IntN(8)]
	}
	return math.Exp(c.Float64()*18 - 6)
}

func (c chance) maybe() *float64 {
	if c.yes(15) {
		return nil
	}
	return new(c.amount())
}

func (c chance) duration() time.Duration {
	if c.yes(3) {
		return []time.Duration{math.MinInt64, -time.Second, math.MaxInt64, 1}[c.IntN(4)]
	}
	return time.Duration(c.IntN(700)) * time.Second
}

func (c chance) rules() Rules {
	r := Rules{Window: c.duration(), Tolerance: c.amount(), Disabled: c.yes(5), SelectMin: c.yes(50)}
	if c.yes(50) {
		r.Tolerance = 0.1
	}
	for range c.IntN(4) {
		r.Policies = append(r.Policies, RatePolicy{c.yes(50), c.count(), c.duration()})
	}
	return r
}

func (c chance) policy() Policy {
	p := Policy{Min: c.Int32N(10), PerReplica: int64(c.count()), Behavior: Behavior{c.rules(), c.rules()}}
	p.Max = p.Min + c.Int32N(40)
	p.Rollout = RolloutPolicy{Mode: []RolloutMode{"", Hold, ScaleUpOnly, Ignore}[c.IntN(4)], ForbidLending: c.yes(20), HoldTimeout: c.duration(), ReleaseAfterMissed: c.duration()}
	if c.yes(70) {
		p.Drain = &Drain{c.amount(), c.amount(), c.amount(), c.amount()}
	}
	if c.yes(50) {
		p.Fallback = &Fallback{c.duration(), c.count()}
	}
	return p
}

func (c chance) queue(now time.Time) Queue {
	q := Queue{Name: "q", Weight: c.amount(), DrainSeconds: c.amount(), Fresh: c.yes(90), Problem: "refused", Depth: int64(c.count()),
		Arrival: c.maybe(), Throughput: c.maybe(), Redelivered: c.Float64() * 0.25}
	if c.yes(40) {
		q.Depth = 0
	}
	if c.yes(3) {
		q.Depth = math.MaxInt64
	}
	if c.yes(50) {
		q.InFlight = new(int64(c.count()))
	}
	if c.yes(30) {
		q.MostConsumers, q.ConsumersPerReplica = int64(c.count()), int64(c.IntN(4))
		q.DeepestPartition = int64(c.count())
	}
	if c.yes(30) {
		q.QuietSince = now.Add(-c.duration())
	}
	return q
}

// observation draws everything anew, but the target's replicas, which mostly are what was there before.
func (c chance) observation(now time.Time, replicas int32) Observation {
	state := []string{"Stable", "Stable", "Stable", "Scaling", "Rolling", "Settling", "Stuck", "PausedPending", "PausedMidRollout", "RollingBack", ""}[c.IntN(11)]
	inProgress := state != "Stable" && state != "Scaling" && state != ""
	o := Observation{
		Suspended: c.yes(3),
		Target: Target{Found: c.yes(97), Replicas: replicas, Available: replicas - c.Int32N(3), MaxUnavailable: c.count(), Recreate: c.yes(10), Incompatible: c.yes(10),
			ForeignZero: c.yes(30), OwnZero: c.yes(50), StartUp: c.duration(), SettledOnce: c.yes(95)},
		Rollout: Rollout{State: state, InProgress: inProgress, MayScaleUp: c.yes(90) != inProgress, MayScaleDown: c.yes(90) != inProgress, MayLend: c.yes(90), LendFirst: c.yes(10), Flagged: c.yes(20),
			Progressing: c.yes(50), Released: c.yes(10), Hash: "abc", Message: "revision 7"},
		Rate: mu(c.amount(), []string{"", Given, AtLeast, Measured}[c.IntN(4)]),
		Pool: Pool{Warm: c.count(), Lent: c.count(), OtherRevision: c.yes(30), StartUp: c.duration()},
	}
	if c.yes(5) {
		o.Target.Replicas, o.Target.Available = c.count(), c.count()
	}
	if c.yes(20) {
		o.Regressed, o.Pool.Coming = &Regressed{Present: c.amount(), Slot: c.amount(), Message: "revision 7 is slow"}, c.count()
	}
	if c.yes(3) {
		o.Conflict = "an HPA"
	}
	if c.yes(3) {
		o.Target.PodsFailing = "crash"
	}
	if c.yes(5) {
		o.Target.ContestedUntil = now.Add(c.duration())
	}
	if c.yes(60) {
		o.Block = c.block(now)
	}
	if c.yes(80) {
		o.Rollout.LastStable = now.Add(-c.duration())
	}
	for range c.IntN(4) {
		o.Queues = append(o.Queues, c.queue(now))
	}
	return o
}

// block draws one that mostly began after the last one, of few different numbers of pods.
func (c chance) block(now time.Time) *Saturation {
	b := &Saturation{Start: now.Add(-c.duration() / 10), End: now, Serving: 10 + c.Int32N(5), Throughput: 80 + c.Float64(), Saturated: c.yes(90)}
	if c.yes(5) {
		b.Serving, b.Throughput, b.End = c.count(), c.amount(), now.Add(c.duration())
	}
	return b
}

// tick is how much time passes: mostly seconds, now and then a jump of the clock, forward or back.
func (c chance) tick() time.Duration {
	switch n := c.IntN(100); {
	case n < 3:
		return -time.Duration(c.IntN(100_000)) * time.Second
	case n < 6:
		return time.Duration(c.IntN(100_000)) * time.Second
	case n < 10:
		return 0
	default:
		return time.Duration(c.IntN(20_000)) * time.Millisecond
	}
}

// TestLaws: laws 1, 2, 3, 8 and 9 of the design over arbitrary observations, clocks and restarts.
func TestLaws(t *testing.T) {
	check(t, lawChecks, func(t *rapid.T) {
		c := chance{rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
		p, now, replicas := c.policy(), midnight, c.Int32N(40)
		var m Memory
		var watched time.Duration
		for step := range lawSteps {
			if c.yes(2) {
				m, watched = Memory{}, 0
			}
			if c.yes(1) {
				p = c.policy()
			}
			dt := c.tick()
			now = now.Add(dt)
			if m.last.IsZero() {
				watched = 0
			} else {
				watched += max(dt, 0)
			}
			o := c.observation(now, replicas)
			plan, next := Decide(now, p, o, m)
			checkReplayed(t, now, p, o, m, plan, next)
			checkHolds(t, p, o, plan, watched)
			checkLimits(t, p, o, plan)
			checkPartitions(t, p, o, plan)
			if o.Target.Found {
				checkDeepest(t, now, p, o, m, plan)
			}
			checkBounded(t, plan, next)
			if t.Failed() {
				t.Fatalf("step %d: %+v\nof %+v", step, plan, o)
			}
			m = next
			if plan.Replicas != nil && c.yes(90) {
				replicas = *plan.Replicas
			}
		}
	})
}

// Law 8: same observations, same plan; and what was handed in is not changed.
func checkReplayed(t *rapid.T, now time.Time, p Policy, o Observation, m Memory, plan Plan, next Memory) {
	again, nextAgain := Decide(now, p, o, m)
	if !reflect.DeepEqual(plan, again) || !reflect.DeepEqual(next, nextAgain) {
		t.Errorf("decided twice from the same: %+v", again)
	}
}

// Laws 1 and 2: who may write, and in which direction, told from the observation alone.
func checkHolds(t *rapid.T, p Policy, o Observation, plan Plan, watched time.Duration) {
	if plan.Replicas == nil {
		return
	}
	r, now := o.Target.Replicas, *plan.Replicas
	if !o.Target.Found || o.Suspended || o.Conflict != "" || (max(r, 0) == 0 && (o.Target.ForeignZero || (p.Min > 0 && !o.Target.OwnZero))) {
		t.Errorf("wrote %d where nothing may be written", now)
	}
	if now < r {
		fresh := len(o.Queues) > 0
		for _, q := range o.Queues {
			fresh = fresh && q.Fresh
		}
		if !fresh || o.Rollout.InProgress || !o.Rollout.MayScaleDown || watched < min(p.Behavior.ScaleDown.Window, time.Hour) {
			t.Errorf("scaled down from %d to %d: fresh %v, in progress %v, watched for %s", r, now, fresh, o.Rollout.InProgress, watched)
		}
	}
	mild := p.Rollout.Mode == ScaleUpOnly || p.Rollout.Mode == Ignore || o.Rollout.Released || plan.Released != nil
	if now > r && o.Rollout.InProgress && !o.Rollout.MayScaleUp && !mild {
		t.Errorf("scaled up from %d to %d in a rollout", r, now)
	}
	fed := o.Rollout.State == stateStuck || o.Rollout.State == stateRollingBack
	if now > r && fed && !o.Rollout.MayScaleUp && !o.Rollout.Released && p.Rollout.Mode != Ignore {
		t.Errorf("scaled up from %d to %d while %s", r, now, o.Rollout.State)
	}
	if plan.Released != nil && o.Rollout.Flagged && !o.Rollout.Released {
		t.Errorf("%s of a flagged revision", plan.Released.Reason)
	}
	if plan.Held || now == r {
		t.Errorf("writes %d though held, or over the same number", now)
	}
}

// Law 3.
func checkLimits(t *rapid.T, p Policy, o Observation, plan Plan) {
	p = boundedPolicy(p)
	for _, n := range []*int32{plan.Desired, plan.Replicas} {
		if n != nil && (*n < p.Min || *n > p.Max) {
			t.Errorf("%d is not within %d and %d", *n, p.Min, p.Max)
		}
	}
	o = boundedObservation(o)
	available, before := o.Target.Available, o.Pool.Lent
	if plan.Lent < 0 || plan.Lent > o.Pool.Warm+before {
		t.Errorf("%d lent of %d", plan.Lent, o.Pool.Warm+before)
	}
	if !o.Suspended && plan.Lent > max(0, p.Max-available) {
		t.Errorf("%d lent and %d available are above max", plan.Lent, available)
	}
	if o.Regressed == nil && plan.Lent > before && (plan.Desired == nil || plan.Lent+available > *plan.Desired) {
		t.Errorf("%d lent and %d available are above desired", plan.Lent, available)
	}
}

// No replica is asked for, and no slot lent, that would find no partition; what is there already, and min, apart.
func checkPartitions(t *rapid.T, p Policy, o Observation, plan Plan) {
	p, o = boundedPolicy(p), boundedObservation(o)
	useful, all := 0.0, len(o.Queues) > 0
	for _, q := range o.Queues {
		all = all && q.MostConsumers > 0
		useful += float64(q.MostConsumers) / float64(q.ConsumersPerReplica)
	}
	if !all || o.Suspended {
		return
	}
	useful, whole := max(1, math.Ceil(useful-1e-9)), max(1, math.Floor(useful+1e-9))
	least := p.Min
	if plan.InFallback {
		least = max(least, p.Fallback.Min)
	}
	if n := plan.Replicas; n != nil && *n > o.Target.Replicas && float64(*n) > max(useful, float64(least)) {
		t.Errorf("%d replicas, %v are useful", *n, useful)
	}
	if plan.Lent > o.Pool.Lent && float64(plan.Lent)+float64(o.Target.Available) > whole {
		t.Errorf("%d lent and %d available, %v have all of their consumers at work", plan.Lent, o.Target.Available, whole)
	}
	if room := max(0, p.Max-o.Target.Available); plan.Lent > 0 && plan.Lent < min(o.Pool.Lent, room) {
		t.Errorf("%d of %d slots come back, and not all at once", o.Pool.Lent-plan.Lent, o.Pool.Lent)
	}
}

// What one partition takes by itself is a bound: of the drain time, and of what may be said to be met. It asks for nothing.
func checkDeepest(t *rapid.T, now time.Time, p Policy, o Observation, m Memory, plan Plan) {
	even := o
	even.Queues = slices.Clone(o.Queues)
	for i := range even.Queues {
		even.Queues[i].DeepestPartition = 0
	}
	without, _ := Decide(now, p, even, m)
	if *plan.Recommended != *without.Recommended || plan.Replicas != nil && *plan.Replicas > max(o.Target.Replicas, *without.Desired) {
		t.Errorf("%d recommended and %d desired, %d and %d without knowing the deepest partition", *plan.Recommended, *plan.Desired, *without.Recommended, *without.Desired)
	}
	if d, shallow := plan.DrainSeconds, without.DrainSeconds; d != nil && shallow != nil && *d < *shallow {
		t.Errorf("drains in %v s, and in %v s without knowing the deepest partition", *d, *shallow)
	}
	if plan.ObjectiveMet.Status == yes && without.ObjectiveMet.Status != yes {
		t.Errorf("%s, but without knowing the deepest partition %s", plan.ObjectiveMet.Message, without.ObjectiveMet.Message)
	}
}

// Law 9: bounded, and nothing that is no number.
func checkBounded(t *rapid.T, plan Plan, m Memory) {
	if len(m.down) > maxEntries || len(m.up) > maxEntries || len(m.slots) > maxEntries || len(m.steps) > maxEntries {
		t.Errorf("memory has %d, %d, %d, %d entries", len(m.down), len(m.up), len(m.slots), len(m.steps))
	}
	if plan.Again < 0 || (plan.Again > 0 && plan.Again < time.Nanosecond) {
		t.Errorf("again after %s", plan.Again)
	}
	if d := plan.DrainSeconds; d != nil && !(*d >= 0 && !math.IsInf(*d, 0)) {
		t.Errorf("drains in %v s", *d)
	}
	if plan.Reason == "" || plan.Message == "" || strings.Contains(plan.Message+plan.ObjectiveMet.Message, "NaN") || strings.Contains(plan.Message, "Inf") || len(plan.Message) > 1024 {
		t.Errorf("%s: %q", plan.Reason, plan.Message)
	}
}

// TestMemoryIsBounded states the bytes for one QueueScaler, all three windows and the steps full: at most 4.75 KiB.
// An idle one has one entry in each window: about 0.7 KiB.
func TestMemoryIsBounded(t *testing.T) {
	const most = 4.75 * 1024
	size := unsafe.Sizeof(Memory{}) + maxEntries*(3*unsafe.Sizeof(entry{})+unsafe.Sizeof(step{}))
	if size > most {
		t.Errorf("%d bytes, want at most %v", size, most)
	}
	p, o := chat(), calm()
	m := watched(p, o)
	idle := unsafe.Sizeof(m) + uintptr(cap(m.down)+cap(m.up)+cap(m.slots))*unsafe.Sizeof(entry{}) + uintptr(cap(m.steps))*unsafe.Sizeof(step{})
	if idle > 768 {
		t.Errorf("%d bytes when idle", idle)
	}
	t.Logf("%d bytes at most, %d when idle", size, idle)
}

// TestRestartConverges is the deciding half of law 6: histories with and without restarts, some of them between the
// decision and the write, end in the same state once the load is steady.
func TestRestartConverges(t *testing.T) {
	check(t, restartChecks, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		run := func(restarts bool) (int32, int32) {
			c, killed := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
			p := chat()
			p.Min = c.Int32N(3)
			// Without it two histories may differ by what is tolerated.
			p.Behavior.ScaleUp.Tolerance, p.Behavior.ScaleDown.Tolerance = 0, 0
			w := newPlant(p, 1+c.Int32N(20), c.Int32N(4))
			for range 6 {
				w.arrival, w.backlog = float64(c.IntN(200)), w.backlog+float64(c.IntN(2000))
				for range 30 {
					w.second()
					if restarts && killed.IntN(10) == 0 {
						w.memory = Memory{}
						w.now = w.now.Add(time.Second)
						w.work()
						w.plan, _ = Decide(w.now, w.policy, w.observe(), w.memory) // and is killed before it acts
					}
				}
			}
			w.arrival = float64(c.IntN(100))
			w.seconds(1000)
			return w.replicas, w.lent
		}
		replicas, lent := run(false)
		if r, l := run(true); r != replicas || l != lent {
			t.Fatalf("%d replicas and %d lent with restarts, %d and %d without", r, l, replicas, lent)
		}
	})
}

// TestOwnScalingDoesNotHold is the deciding half of law 4: while the target is scaling by our own write, more still goes.
func TestOwnScalingDoesNotHold(t *testing.T) {
	w := newPlant(chat(), 12, 3)
	w.arrival = 152
	w.seconds(5)
	w.arrival = 240
	w.seconds(1)
	if w.observe().Rollout.State != "Scaling" || w.replicas < 38 {
		t.Errorf("%s at %d replicas, want at least 38 while scaling: %s", w.observe().Rollout.State, w.replicas, w.plan.Message)
	}
}
