// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/rollout/recording"
)

// Law 4: our own scaling is never taken for a rollout, and a rollout never for scaling.
//
// Each law plays 500 random histories of 1 to 6 actions on the model, some 13,000 events. Seeds are
// rapid's, random in each run and printed on failure. While this was written, 60,000 histories (1.6
// million events) of each were played without an exception, and can be again:
// go test ./internal/rollout -run Law -timeout 1h -rapid.checks=60000

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("500"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// seen is how long it takes in the model, at the most, until a change of pods is in the status of
// ReplicaSet and Deployment, in seconds. No answer can be held to what nobody can know yet.
const seen = 0.35

// dice say which histories to draw.
type dice struct {
	// calm: nobody acts until the last change has been seen. Otherwise two things may happen so
	// quickly one after the other that a target was complete in between, and nobody could know.
	calm bool
	// fresh: never back to a template that was current before, and never to 0 replicas.
	fresh bool
}

// history is a drawn one, with the log of what was done.
type history struct {
	log strings.Builder
	rec *recording.Recording
}

func (h *history) note(c *cluster, format string, args ...any) {
	fmt.Fprintf(&h.log, "%8.3f %s\n", c.now, fmt.Sprintf(format, args...))
}

// play draws a Deployment and what happens to it.
func play(t *rapid.T, o dice) *history {
	least := int32(0)
	if o.fresh {
		least = 1
	}
	c := newCluster(
		rapid.Uint64().Draw(t, "seed"),
		rapid.Int32Range(least, 6).Draw(t, "replicas"),
		strategies[rapid.IntRange(0, len(strategies)-1).Draw(t, "strategy")],
		rapid.SampledFrom([]int32{3, 600, math.MaxInt32}).Draw(t, "progressDeadlineSeconds"),
		rapid.SampledFrom([]int32{0, 0, 1}).Draw(t, "minReadySeconds"),
	)
	c.bad["x"] = true
	h := &history{}
	h.note(c, "create %d replicas, strategy %v", *c.d.Spec.Replicas, c.d.Spec.Strategy.Type)
	if rapid.Bool().Draw(t, "settled at first") {
		c.run(6)
	}
	for range rapid.IntRange(1, 6).Draw(t, "actions") {
		h.act(t, c, o, least)
		c.run(rapid.SampledFrom([]float64{0.05, 0.25, 0.6, 1.5, 3, 8}).Draw(t, "seconds"))
		if o.calm {
			c.calm()
		}
	}
	c.unready = false
	c.run(4)
	h.rec = c.recording()
	return h
}

// act does one thing to the cluster.
func (h *history) act(t *rapid.T, c *cluster, o dice, least int32) {
	what := rapid.SampledFrom([]string{"scale", "scale", "template", "template", "template and scale", "pause", "resume",
		"pause and template", "lose a pod", "lose the ReplicaSet", "lose readiness", "recover", "heal"}).Draw(t, "what")
	var n int32
	if strings.Contains(what, "scale") {
		n = rapid.Int32Range(least, 8).Draw(t, "n")
	}
	tag := ""
	if strings.Contains(what, "template") {
		tag = rapid.SampledFrom([]string{"a", "a", "b", "c", "x"}).Draw(t, "tag")
		if o.fresh && tag != "x" {
			tag = fmt.Sprintf("fresh-%d", c.names)
		}
	}
	h.note(c, "%s %s %d", what, tag, n)
	switch what {
	case "scale":
		c.scale(n)
	case "template":
		c.change(tag, nil, c.truth.paused)
	case "template and scale":
		c.change(tag, &n, c.truth.paused)
	case "pause":
		c.pause(true)
	case "resume":
		c.pause(false)
	case "pause and template":
		c.change(tag, nil, true)
	case "lose a pod":
		c.killPod()
	case "lose the ReplicaSet":
		c.killReplicaSet()
	case "lose readiness":
		c.loseReadiness()
	case "recover":
		c.unready = false
	case "heal":
		c.bad["x"] = false
	}
}

// check replays the history and fails on every wrong answer that is forbidden.
func (h *history) check(t *rapid.T, o recording.Options, forbidden func(recording.Wrong) bool) {
	for _, w := range h.rec.Score(h.rec.Replay(o)) {
		if !forbidden(w) {
			continue
		}
		fmt.Fprintf(&h.log, "%8.3f for %s\n", w.From, w)
		for _, s := range h.rec.Header.Truth {
			fmt.Fprintf(&h.log, "truth %.3f to %.3f: %s %s\n", s.From, s.To, s.State, s.Also)
		}
		t.Fatalf("with %+v:\n%s", o, &h.log)
	}
}

func unsafe(longer float64) func(recording.Wrong) bool {
	return func(w recording.Wrong) bool { return w.Unsafe() && w.To-w.From > longer }
}

func TestLawScalingIsNoRolloutAndARolloutNoScaling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		play(t, dice{calm: true}).check(t, recording.Options{}, func(w recording.Wrong) bool {
			return (w.Unsafe() || w.Overhold()) && w.To-w.From > seen
		})
	})
}

func TestLawSafeHoweverQuicklyPeopleAct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		play(t, dice{}).check(t, recording.Options{}, unsafe(seen))
	})
}

func TestLawSafeWithReplicaSetsLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		late := time.Duration(rapid.IntRange(0, 300).Draw(t, "ms late")) * time.Millisecond
		play(t, dice{calm: true}).check(t, recording.Options{DelayReplicaSets: late}, unsafe(seen))
	})
}

// A copy of the Deployment that is behind cannot be told from a stable one. The mistake must not
// outlast the lag by more than what was not seen anyway; the live read before a write is for it.
func TestLawUnsafeNoLongerThanDeploymentsAreLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		late := time.Duration(rapid.IntRange(0, 300).Draw(t, "ms late")) * time.Millisecond
		play(t, dice{calm: true}).check(t, recording.Options{DelayDeployments: late}, unsafe(seen+late.Seconds()))
	})
}

// Without memory, a template that once was complete passes for settled after a rollout away from
// it was undone, and one that was changed at 0 replicas passes as soon as a pod is available. In
// all other histories forgetting is safe.
func TestLawSafeWithoutMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		play(t, dice{calm: true, fresh: true}).check(t, recording.Options{Forget: true}, unsafe(seen))
	})
}
