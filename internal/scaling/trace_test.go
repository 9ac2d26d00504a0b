// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden traces anew")

func chat() Policy {
	return Policy{
		Min: 4, Max: 40,
		Drain:    &Drain{Seconds: 60, Utilization: 0.8, Concurrency: 1},
		Behavior: DefaultBehavior(),
		Rollout:  RolloutPolicy{Mode: Hold, HoldTimeout: 600 * time.Second},
		Fallback: &Fallback{After: 120 * time.Second, Min: 14},
	}
}

// stories are what happens to a fleet of 12 replicas and 3 slots while 76 messages/s arrive.
var stories = map[string]func(*tracer){
	"burst": func(w *tracer) {
		w.run(10)
		w.note("2400 messages at once")
		w.backlog += 2400
		w.run(600)
	},
	"surge": func(w *tracer) {
		w.run(10)
		w.note("twice as much arrives from now on")
		w.arrival = 152
		w.run(400)
		w.note("and half of that again")
		w.arrival = 76
		w.run(500)
	},
	"beyond-max": func(w *tracer) {
		w.run(10)
		w.note("more arrives than max can complete")
		w.arrival = 400
		w.run(200)
	},
	"partitions": func(w *tracer) {
		w.partitions = 16
		w.run(310)
		w.note("2400 messages at once")
		w.backlog += 2400
		w.run(900)
		w.note("more arrives than 16 replicas can complete")
		w.arrival = 152
		w.run(120)
		w.note("the topic gets 32 partitions")
		w.partitions = 32
		w.run(700)
	},
	"rollout": func(w *tracer) {
		w.run(310)
		w.note("a rollout begins")
		w.mode, w.mayUp, w.stable = "Rolling", false, w.now
		w.run(20)
		w.note("2400 messages at once, and arrivals stay up by half")
		w.backlog, w.arrival = w.backlog+2400, 114
		w.run(120)
		w.note("the rollout ends")
		w.mode, w.mayUp = "Stable", true
		w.run(300)
	},
	"regressed": func(w *tracer) {
		w.arrival = 48
		w.run(310)
		w.note("the revision does 5/s a replica, and that is found; known-good slots do 8/s; twice as much arrives")
		w.rate, w.arrival = 5, 96
		w.regressed = &Regressed{Present: 5, Slot: 8, Message: "revision 7 completes 5/s per replica, revision 6 did 8/s"}
		w.run(600)
		w.note("more than max can complete, were no room left for slots")
		w.arrival = 202
		w.run(600)
		w.note("the rollback begins")
		w.mode, w.mayUp, w.stable = "RollingBack", false, w.now
		w.run(60)
		w.note("and is done")
		w.mode, w.mayUp, w.rate, w.regressed = "Stable", true, 8, nil
		w.run(600)
	},
	"downstream-limit": func(w *tracer) {
		w.run(10)
		w.note("all pods together complete at most 100/s from now on, and 112/s arrive")
		w.downstream, w.arrival = 100, 112
		w.run(3600)
		w.note("the limit is raised to 140/s")
		w.downstream = 140
		w.run(900)
	},
	"rollout-slow": func(w *tracer) {
		w.note("a rollout that takes longer than the hold timeout")
		w.mode, w.mayUp, w.stable = "Rolling", false, w.now
		w.run(60)
		w.arrival = 152
		w.run(700)
	},
	"rollout-stuck": func(w *tracer) {
		w.mode, w.mayUp, w.stable = "Rolling", false, w.now
		w.run(60)
		w.note("the rollout is stuck")
		w.mode = "Stuck"
		w.arrival = 152
		w.run(1200)
	},
	"data-loss": func(w *tracer) {
		w.run(310)
		w.note("the queue cannot be read any more")
		w.fresh = false
		w.run(300)
		w.note("it can be read again")
		w.fresh = true
		w.run(400)
	},
	"to-zero-and-back": func(w *tracer) {
		w.policy.Min, w.arrival = 0, 8
		w.run(310)
		w.note("nothing arrives any more")
		w.arrival = 0
		w.run(620)
		w.note("300 messages")
		w.backlog = 300
		w.run(120)
	},
	"foreign-zero": func(w *tracer) {
		w.run(10)
		w.backlog += 2400
		w.run(5)
		w.note("a person scales the target to 0")
		w.foreign0 = true
		w.scaleTo(0)
		w.run(60)
		w.note("and to 12 again")
		w.foreign0 = false
		w.scaleTo(12)
		w.run(60)
	},
	"restart": func(w *tracer) {
		w.run(310)
		w.backlog += 2400
		w.run(5)
		w.note("the operator restarts, and nothing is left to do")
		w.memory, w.arrival, w.backlog = Memory{}, 20, 0
		w.run(700)
	},
}

// TestTraces plays whole stories and compares what was decided, when and why, with testdata/*.trace.
// Write them anew with: go test ./internal/scaling -run TestTraces -update
func TestTraces(t *testing.T) {
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			w := &tracer{plant: newPlant(chat(), 12, 3)}
			w.arrival = 76
			story(w)
			file := filepath.Join("testdata", name+".trace")
			if *update {
				if err := os.WriteFile(file, []byte(w.text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), w.text.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
