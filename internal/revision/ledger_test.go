// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/queuescaler/queuescaler/internal/capacity"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// watched is a ledger that is told of one target's life, block after block.
type watched struct {
	Ledger
	t      *testing.T
	now    time.Time
	random *rand.Rand
	target Target
}

func watch(t *testing.T) *watched {
	return &watched{t: t, now: noon, random: rand.New(rand.NewPCG(1, 1))}
}

// deploy has the target run a revision that completed its rollout, and soaks it at once if it is to.
func (w *watched) deploy(hash string, number int64, soaks bool) {
	w.now = w.now.Add(time.Minute)
	w.Enter(w.now, Target{Hash: hash})
	w.now = w.now.Add(4 * time.Minute)
	w.target = Target{Hash: hash, Number: number, Settled: true, SoakedHash: w.target.SoakedHash}
	if soaks {
		w.target.SoakedHash = hash
	}
	w.Enter(w.now, w.target)
}

// blocks lets n minutes pass in which a replica completes about so much.
func (w *watched) blocks(n int, rate float64, change ...func(*capacity.Block, *Circumstances)) {
	w.t.Helper()
	for range n {
		b := capacity.Block{
			Start: w.now, End: w.now.Add(time.Minute), Revision: KeyOf(w.target.Hash, w.target.Change), Replicas: 40, Saturated: true,
			Rate: rate * (1 + 0.02*w.random.NormFloat64()), Shares: []float64{1},
		}
		b.Throughput = b.Rate * 40
		b.Arrival = b.Throughput
		c := Circumstances{ObjectiveMet: true}
		for _, f := range change {
			f(&b, &c)
		}
		w.now = b.End
		w.Enter(w.now, w.target)
		w.Observe(b, c)
	}
}

func quiet(b *capacity.Block, _ *Circumstances) { b.Saturated = false }

// takes so long for each message.
func takes(seconds float64, random *rand.Rand) func(*capacity.Block, *Circumstances) {
	return func(b *capacity.Block, _ *Circumstances) { b.Processing = seconds * (1 + 0.02*random.NormFloat64()) }
}

func missed(_ *capacity.Block, c *Circumstances) { c.ObjectiveMet = false }

func (w *watched) want(hash string, standing Standing, verdict Verdict, basis Basis) {
	w.t.Helper()
	r := w.find(hash)
	if r == nil {
		w.t.Fatalf("the ledger does not know %s", hash)
	}
	if r.Standing != standing || r.Verdict != verdict || r.Basis != basis {
		w.t.Errorf("%s is %s, %s by %q; want %s, %s by %q", hash, r.Standing, r.Verdict, r.Basis, standing, verdict, basis)
	}
}

func (w *watched) wantKnownGood(hash string) {
	w.t.Helper()
	if good := w.KnownGood(); good == nil || good.Hash != hash {
		w.t.Errorf("known-good is %+v, want %s", good, hash)
	}
}

func TestTheFirstRevisionIsProvisionalUntilItIsMeasured(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, false)
	if w.KnownGood() != nil {
		t.Error("a revision that has not soaked is known-good")
	}
	w.deploy("six", 6, true)
	w.want("six", Provisional, InsufficientData, "")
	w.blocks(leastBaseline-1, 10)
	w.want("six", Provisional, InsufficientData, "")
	w.blocks(1, 10)
	w.want("six", KnownGood, InsufficientData, "")
	w.wantKnownGood("six")
}

func TestTheFirstRevisionThatIsNeverSaturatedIsKnownGoodAfterAnHour(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, true)
	w.blocks(30, 6, quiet)
	w.blocks(1, 6, quiet, missed)
	w.blocks(59, 6, quiet)
	w.want("six", Provisional, InsufficientData, "")
	w.blocks(2, 6, quiet)
	w.want("six", KnownGood, InsufficientData, "")
}

// The incident: revision 7 does less; 8 is the fix-forward, and still does.
func TestAFixForwardChainNeverMakesABadRevisionTheBaseline(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, true)
	w.blocks(20, 10)
	w.deploy("seven", 7, true)
	w.blocks(3, 6.2, missed)
	w.want("seven", Soaked, InsufficientData, "")
	w.blocks(5, 6.2, missed)
	w.want("seven", Soaked, Regressed, ServiceRate)
	w.wantKnownGood("six")
	if flagged := w.Flagged(); !slices.Equal(flagged, []string{"seven"}) {
		t.Errorf("flagged %v", flagged)
	}
	w.deploy("eight", 8, true)
	w.blocks(12, 7.5, missed)
	w.want("eight", Soaked, Regressed, ServiceRate)
	if b := w.Baseline(); b == nil || b.Hash != "six" {
		t.Errorf("eight is compared with %+v, want six", b)
	}
	if c := w.Comparison(); c.Change > -0.2 || c.Change < -0.3 || c.Worse != 8 || c.Blocks != 8 {
		t.Errorf("the evidence in numbers: %+v", c)
	}
}

func TestARevisionProvesItself(t *testing.T) {
	for _, c := range []struct {
		name   string
		rate   float64
		change func(*capacity.Block, *Circumstances)
		want   Standing
	}{
		{"as much for ten minutes", 9.6, quiet, KnownGood},
		{"less: a quiet night proves nothing", 6, quiet, Soaked},
		{"as much, with the objective missed", 9.6, func(b *capacity.Block, c *Circumstances) { b.Saturated, c.ObjectiveMet = false, false }, Soaked},
		{"as much, while the backlog grows", 9.6, func(b *capacity.Block, c *Circumstances) { b.Saturated, c.Growing = false, true }, Soaked},
		{"the verdict", 10, nil, KnownGood},
		{"far more: failing fast looks fast", 19, func(_ *capacity.Block, c *Circumstances) { c.Growing = true }, Soaked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t)
			w.deploy("six", 6, true)
			w.blocks(20, 10)
			w.deploy("seven", 7, true)
			change := c.change
			if change == nil {
				change = func(*capacity.Block, *Circumstances) {}
			}
			w.blocks(64, c.rate, change)
			if got := w.find("seven").Standing; got != c.want {
				t.Errorf("%s, verdict %s", got, w.find("seven").Verdict)
			}
		})
	}
}

// A first verdict takes 4 blocks, a baseline 6: a revision that is good after 4 does not become one that nothing is compared with.
func TestWhatIsKnownGoodCanBeComparedWith(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, true)
	w.blocks(20, 10)
	w.deploy("seven", 7, true)
	w.blocks(4, 10)
	w.want("seven", Soaked, NoRegression, ServiceRate)
	w.wantKnownGood("six")
	w.blocks(2, 10)
	w.want("seven", KnownGood, NoRegression, ServiceRate)
	w.deploy("eight", 8, true)
	w.blocks(4, 5, missed)
	w.want("eight", Soaked, Regressed, ServiceRate)
	if b := w.Baseline(); b == nil || b.Hash != "seven" {
		t.Errorf("eight is compared with %+v", b)
	}
}

func TestProcessingTimeTellsAtNight(t *testing.T) {
	for _, c := range []struct {
		name    string
		seconds []float64
		load    float64
		want    Verdict
	}{
		{"slower from the deploy on", []float64{0.161, 0.161}, 4, Regressed},
		{"slower only some time later: it is not the revision", []float64{0.1, 0.161}, 4, Inconclusive},
		{"the same", []float64{0.1, 0.1}, 4, Inconclusive},
		{"slower with less to do", []float64{0.161, 0.161}, 2, Regressed},
		{"slower with more to do, which cannot be compared", []float64{0.161, 0.161}, 8, InsufficientData},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t)
			w.deploy("six", 6, true)
			w.blocks(10, 10)
			w.blocks(20, 4, quiet, takes(0.1, w.random))
			w.deploy("seven", 7, true)
			w.blocks(9, c.load, quiet, takes(c.seconds[0], w.random))
			w.blocks(60, c.load, quiet, takes(c.seconds[1], w.random))
			if got := w.find("seven"); got.Verdict != c.want {
				t.Errorf("%s by %s, want %s", got.Verdict, got.Basis, c.want)
			}
		})
	}
}

func TestWhatIsNoEvidence(t *testing.T) {
	for name, change := range map[string]func(*capacity.Block, *Circumstances){
		"young pods":                func(b *capacity.Block, _ *Circumstances) { b.Young = true },
		"more pods bring nothing":   func(_ *capacity.Block, c *Circumstances) { c.Ineffective = true },
		"another mix of the queues": func(b *capacity.Block, _ *Circumstances) { b.Shares = []float64{0.8, 0.2} },
		"another revision's block":  func(b *capacity.Block, _ *Circumstances) { b.Revision = "six" },
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			two := func(b *capacity.Block, _ *Circumstances) { b.Shares = []float64{0.5, 0.5} }
			w.deploy("six", 6, true)
			w.blocks(20, 10, two)
			w.deploy("seven", 7, true)
			w.blocks(20, 6, two, change)
			w.want("seven", Soaked, InsufficientData, "")
		})
	}
	t.Run("more pods that were effective", func(t *testing.T) {
		w := watch(t)
		w.deploy("six", 6, true)
		w.blocks(20, 10)
		w.deploy("seven", 7, true)
		w.blocks(20, 6, func(b *capacity.Block, c *Circumstances) { b.Replicas, c.Effective = 51, true })
		w.want("seven", Soaked, Regressed, ServiceRate)
	})
}

// Many more pods than there ever were may be limited by what is downstream. What they lack is the revision's only where it is
// more than that explains; and they clear nobody.
func TestManyMorePodsThanThereEverWere(t *testing.T) {
	for _, c := range []struct {
		name     string
		replicas int32
		rate     float64
		want     Verdict
	}{
		{"slower than any limit downstream makes them", 60, 5.5, Regressed},
		{"a limit downstream: a quarter more pods completed as much", 60, 8.3, Inconclusive},
		{"half as many more, and less of each", 75, 6.6, Inconclusive},
		{"as fast", 60, 10, Inconclusive},
		{"just not so many", 50, 10, NoRegression},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t)
			w.deploy("six", 6, true)
			w.blocks(20, 10)
			w.deploy("seven", 7, true)
			w.blocks(40, c.rate, func(b *capacity.Block, s *Circumstances) { b.Replicas, s.ObjectiveMet = c.replicas, false })
			got := w.find("seven").Verdict
			if got != c.want && !(c.want == Inconclusive && got == InsufficientData) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Rates are decided by as soon as there is one; what a revision inherits is the known-good's.
func TestTheRateToDecideBy(t *testing.T) {
	w := watch(t)
	check := func(when string, want float64, known string) {
		t.Helper()
		if got := w.Rate(8); got.Known != known || got.PerReplica < 0.95*want || got.PerReplica > 1.05*want {
			t.Errorf("%s: %+v, want about %v, %s", when, got, want, known)
		}
	}
	check("nothing known", 8, capacity.Given)
	w.deploy("six", 6, true)
	check("a revision that did nothing yet", 8, capacity.Given)
	w.blocks(1, 9, quiet)
	check("more was seen", 9, capacity.AtLeast)
	w.blocks(9, 10)
	check("measured", 10, capacity.Measured)
	w.deploy("seven", 7, false)
	check("inherited", 10, capacity.Given)
	w.blocks(1, 6, func(b *capacity.Block, _ *Circumstances) { b.Young = true })
	check("one block, no evidence yet", 6, capacity.Measured)
	w.Enter(w.now, Target{Hash: "eight"})
	check("in a rollout, what ran last", 6, capacity.Measured)
	if got := w.RateOf("six", 1); got < 9.5 {
		t.Errorf("a slot of the known-good revision completes %v", got)
	}
}

func TestAKnownGoodRevisionThatSlowsDownIsNotBlamed(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, true)
	w.blocks(20, 10)
	if c, slower := w.SlowedDown(); slower {
		t.Errorf("slowed down at a steady rate: %+v", c)
	}
	w.blocks(slowedBlocks, 6)
	if c, slower := w.SlowedDown(); !slower || c.Change > -0.3 {
		t.Errorf("%v %+v", slower, c)
	}
	if len(w.Flagged()) > 0 {
		t.Errorf("flagged %v", w.Flagged())
	}
}

// It was not the revision: after the rollback the rate stays low.
func TestAFlagIsWithdrawnWhenTheRateStaysLow(t *testing.T) {
	for _, c := range []struct {
		after float64
		want  bool
	}{{6.2, true}, {10, false}} {
		t.Run(fmt.Sprint(c.after), func(t *testing.T) {
			w := watch(t)
			w.deploy("six", 6, true)
			w.blocks(20, 10)
			w.deploy("seven", 7, true)
			w.blocks(8, 6.2, missed)
			w.MarkRolledBack("seven", w.now)
			w.deploy("six", 9, true)
			w.wantKnownGood("six")
			w.blocks(stayedLow-1, c.after, missed)
			if w.find("seven").Withdrawn {
				t.Error("withdrawn too early")
			}
			w.blocks(1, c.after, missed)
			if got := w.find("seven"); got.Withdrawn != c.want || got.RolledBack.IsZero() {
				t.Errorf("withdrawn %v, rolled back %v", got.Withdrawn, got.RolledBack)
			}
			if _, slower := w.SlowedDown(); slower != c.want {
				t.Errorf("slowed down: %v", slower)
			}
		})
	}
}

// Once for each revision: one that came back after it was rolled back was put there by somebody, however soon.
func TestARolledBackRevisionThatComesBackWasDeployedAgain(t *testing.T) {
	for name, comesBack := range map[string]struct {
		story func(*watched)
		want  bool
	}{
		"after the rollback": {func(w *watched) {
			w.deploy("six", 8, true)
			w.deploy("seven", 9, true)
		}, true},
		"in the middle of the rollback": {func(w *watched) {
			w.Enter(w.now.Add(time.Second), Target{Hash: "six"})
			w.deploy("seven", 9, true)
		}, true},
		"not at all: the rollback was not carried out yet, and the operator was restarted": {func(w *watched) {
			w.Ledger = Restore(w.Records())
			w.Enter(w.now.Add(time.Second), w.target)
		}, false},
		"not at all: another rollout was broken off before": {func(w *watched) {
			w.find("seven").RolledBack = time.Time{}
			w.Enter(w.now, Target{Hash: "eight"})
			w.Enter(w.now.Add(time.Second), w.target)
			w.MarkRolledBack("seven", w.now.Add(2*time.Second))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			w.deploy("six", 6, true)
			w.blocks(20, 10)
			w.deploy("seven", 7, true)
			w.blocks(8, 6.2, missed)
			w.MarkRolledBack("seven", w.now)
			comesBack.story(w)
			if got := w.Present(); got.Hash != "seven" || got.DeployedAgain() != comesBack.want {
				t.Errorf("%s, rolled back %s, completed %s", got.Hash, got.RolledBack, got.Completed)
			}
		})
	}
}

func TestAMarkedChangeIsARevisionOfItsOwn(t *testing.T) {
	w := watch(t)
	w.deploy("six", 6, true)
	w.blocks(20, 10)
	w.target.Change, w.target.SoakTime = "flag fast-path on", 10*time.Minute
	w.blocks(8, 6.2, missed)
	r := w.Present()
	if r.Change == "" || r.Verdict != Regressed || r.Standing != New {
		t.Errorf("%+v", r)
	}
	w.wantKnownGood("six")
	if len(w.Flagged()) > 0 {
		t.Errorf("its template is that of the known-good revision, and must not be flagged: %v", w.Flagged())
	}
}

func TestTheLedgerIsBoundedAndKeepsWhatIsNeeded(t *testing.T) {
	w := watch(t)
	w.deploy("good", 1, true)
	w.blocks(100, 10)
	for i := range 30 {
		w.deploy(fmt.Sprint("bad", i), int64(i+2), true)
		w.blocks(10, 5, missed)
	}
	if n := len(w.Records()); n > most {
		t.Errorf("%d records", n)
	}
	w.wantKnownGood("good")
	for _, r := range w.Records() {
		if len(r.Rates) > KeptBlocks || len(r.Bounds) > keptBounds || len(r.measured) > keptMeasured {
			t.Errorf("%s keeps %d rates, %d bounds", r.Key, len(r.Rates), len(r.Bounds))
		}
	}
}
