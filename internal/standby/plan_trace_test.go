// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden traces anew")

// tracer runs a world and writes down what its operator does.
type tracer struct {
	*world
	out  strings.Builder
	last string
}

func (tr *tracer) note(format string, args ...any) {
	fmt.Fprintf(&tr.out, "%7.1fs  %s\n", tr.since().Seconds(), tr.rename(fmt.Sprintf(format, args...)))
}

// rename calls slots s1, s2, … in the order in which they are made.
func (tr *tracer) rename(text string) string {
	for name, short := range tr.names {
		text = strings.ReplaceAll(text, name, short)
	}
	return text
}

func (tr *tracer) run(d time.Duration) {
	tr.onWrite = func(a Action) {
		if a.Kind == Create && tr.names[a.Name] == "" {
			tr.names[a.Name] = fmt.Sprintf("s%d", len(tr.names)+1)
		}
		tr.note("%s %s: %s", a.Kind, a.Name, a.Reason)
	}
	for end := tr.now.Add(d); tr.now.Before(end); tr.now = tr.now.Add(500 * time.Millisecond) {
		tr.kube()
		for range 4 {
			tr.sync(true, true)
			tr.reconcile(1000, false)
			c := tr.plan.Counts
			state := fmt.Sprintf("    warm %d, lent %d, starting %d, draining %d, ending %d; %v %s: %s", c.Warm, c.Lent, c.Starting, c.Draining, c.Ending,
				tr.plan.Ready, tr.plan.Reason, tr.plan.Message)
			if state = tr.rename(state); state != tr.last {
				tr.note("%s", state)
				tr.last = state
			}
		}
	}
}

// crashLent has the processes of n lent pods end, again and again.
func (tr *tracer) crashLent(n int) {
	tr.crash = true
	for _, name := range slices.Sorted(maps.Keys(tr.pods)) {
		if pod := tr.pods[name]; pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive && n > 0 {
			tr.setReady(pod, false)
			n--
		}
	}
}

func TestTraces(t *testing.T) {
	for _, test := range []struct {
		name string
		gate v1alpha1.Gate
		play func(*tracer)
	}{
		{"lend-and-return", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.note("# a backlog: 2 wanted in service")
			tr.in.WantLent = 2
			tr.run(10 * time.Second)
			tr.note("# 1 is enough")
			tr.in.WantLent = 1
			tr.run(15 * time.Second)
			tr.note("# none is needed")
			tr.in.WantLent = 0
			tr.run(15 * time.Second)
		}},
		{"drain-with-gate-file", v1alpha1.GateFile, func(tr *tracer) {
			tr.in.Drain, tr.finish = 20*time.Second, 4*time.Second
			tr.run(10 * time.Second)
			tr.in.WantLent = 2
			tr.run(15 * time.Second)
			tr.note("# one returns, and finishes in 4 s")
			tr.in.WantLent = 1
			tr.run(20 * time.Second)
			tr.note("# the other does not finish within 20 s")
			tr.finish, tr.in.WantLent = time.Hour, 0
			tr.run(35 * time.Second)
		}},
		{"lend-and-return-with-gate-prepared", v1alpha1.GatePrepared, func(tr *tracer) {
			tr.begin = 30 * time.Second
			tr.run(10 * time.Second)
			tr.note("# a backlog: 2 wanted in service; a process takes 30 s to be ready")
			tr.in.WantLent = 2
			tr.run(35 * time.Second)
			tr.note("# one of them crashes, and does not come back")
			tr.crashLent(1)
			tr.run(12 * time.Second)
			tr.crash = false
			tr.run(8 * time.Second)
			tr.note("# none is needed")
			tr.in.WantLent = 0
			tr.run(20 * time.Second)
		}},
		{"roll-one-by-one", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.in.WantLent = 1
			tr.run(2 * time.Second)
			tr.note("# revision bbb has soaked")
			tr.in.Revision, tr.in.TargetRevision, tr.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
			tr.run(30 * time.Second)
			tr.note("# the lent one returns")
			tr.in.WantLent = 0
			tr.run(15 * time.Second)
		}},
		{"roll-to-a-revision-that-crashes", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.note("# revision bbb has soaked, and crashes in the pool")
			tr.in.Revision, tr.in.TargetRevision, tr.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
			tr.crash = true
			tr.run(11 * time.Minute)
		}},
		{"pressure", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.in.WantLent = 1
			tr.run(2 * time.Second)
			tr.note("# a pod of the target is unschedulable")
			tr.in.UnschedulableSince = tr.now
			tr.run(20 * time.Second)
			tr.note("# it is scheduled")
			tr.in.UnschedulableSince = time.Time{}
			tr.run(5*time.Minute + 10*time.Second)
		}},
		{"a-service-comes-to-select-idle-slots", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.note("# a Service by tier is made")
			tr.services = append(tr.services, corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "tier"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"tier": "front"}}})
			tr.run(15 * time.Second)
		}},
		{"emergency-stop", v1alpha1.GateFile, func(tr *tracer) {
			tr.in.Drain = time.Minute
			tr.run(10 * time.Second)
			tr.in.WantLent = 2
			tr.run(5 * time.Second)
			tr.note("# somebody sets the target to 0")
			tr.in.ReturnAll = true
			tr.run(10 * time.Second)
			tr.note("# and back")
			tr.in.ReturnAll, tr.in.WantLent = false, 0
			tr.run(10 * time.Second)
		}},
		{"a-lent-pod-dies", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.in.WantLent = 1
			tr.run(time.Second)
			tr.note("# the lent pod is deleted")
			for _, pod := range tr.pods {
				if pod.Labels[v1alpha1.LabelRole] == v1alpha1.RoleActive {
					tr.deletePod(pod)
				}
			}
			tr.run(12 * time.Second)
		}},
		{"no-mixing", v1alpha1.GateService, func(tr *tracer) {
			tr.in.NoMixing = true
			tr.run(10 * time.Second)
			tr.in.WantLent = 1
			tr.run(time.Second)
			tr.note("# a rollout to bbb starts")
			tr.in.TargetRevision = "bbb"
			tr.run(15 * time.Second)
			tr.note("# bbb has soaked")
			tr.in.Revision, tr.in.Soaked = "bbb", []string{"aaa", "bbb"}
			tr.run(30 * time.Second)
		}},
		{"fewer-and-none", v1alpha1.GateService, func(tr *tracer) {
			tr.run(10 * time.Second)
			tr.in.WantLent = 1
			tr.run(time.Second)
			tr.note("# standby.replicas: 1")
			tr.in.Replicas = 1
			tr.run(10 * time.Second)
			tr.note("# standby is removed")
			tr.in.Replicas, tr.in.WantLent = 0, 0
			tr.run(10 * time.Second)
		}},
		{"a-new-revision-proves-itself", v1alpha1.GateService, func(tr *tracer) {
			tr.in.KnownGood, tr.in.KnownGoodReplicas = "aaa", 1
			tr.run(10 * time.Second)
			tr.note("# revision bbb has soaked; aaa stays known-good")
			tr.in.Revision, tr.in.TargetRevision, tr.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
			tr.run(30 * time.Second)
			tr.note("# a backlog: 2, then 3 wanted in service")
			tr.in.WantLent = 2
			tr.run(2 * time.Second)
			tr.in.WantLent = 3
			tr.run(2 * time.Second)
			tr.note("# none is needed")
			tr.in.WantLent = 0
			tr.run(15 * time.Second)
			tr.note("# bbb has proved itself")
			tr.in.KnownGood = "bbb"
			tr.run(15 * time.Second)
		}},
		{"a-new-revision-is-found-regressed", v1alpha1.GateService, func(tr *tracer) {
			tr.in.KnownGood, tr.in.KnownGoodReplicas = "aaa", 1
			tr.in.Revision, tr.in.TargetRevision, tr.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
			tr.run(10 * time.Second)
			tr.note("# the next day at peak: 1 wanted in service")
			tr.in.WantLent = 1
			tr.run(2 * time.Second)
			tr.note("# bbb is found regressed: 3 wanted")
			tr.in.Forbidden, tr.in.TargetRegressed, tr.in.WantLent = []string{"bbb"}, true, 3
			tr.run(20 * time.Second)
			tr.note("# rolled back to aaa, and enough again")
			tr.in.Revision, tr.in.TargetRevision, tr.in.TargetRegressed, tr.in.WantLent = "aaa", "aaa", false, 0
			tr.run(15 * time.Second)
		}},
		{"a-pool-runs-a-revision-that-becomes-suspected", v1alpha1.GateFile, func(tr *tracer) {
			tr.in.KnownGood, tr.in.KnownGoodReplicas = "aaa", 1
			tr.in.Revision, tr.in.TargetRevision, tr.in.Soaked = "bbb", "bbb", []string{"aaa", "bbb"}
			tr.run(10 * time.Second)
			tr.note("# bbb is suspected")
			tr.in.Forbidden = []string{"bbb"}
			tr.run(15 * time.Second)
			tr.note("# it is not any more")
			tr.in.Forbidden = nil
			tr.run(30 * time.Second)
		}},
		{"config-changes", v1alpha1.GateService, func(tr *tracer) {
			tr.in.Replicas, tr.in.ConfigDigest = 2, "c1"
			tr.run(10 * time.Second)
			tr.note("# a ConfigMap changes")
			tr.in.ConfigDigest = "c2"
			tr.run(5 * time.Second)
			tr.note("# the target's pods have run with it for long enough")
			tr.in.ConfigSoaked = true
			tr.run(25 * time.Second)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := &tracer{world: newWorld(t.Fatalf, test.gate)}
			test.play(tr)
			golden := filepath.Join("testdata", "traces", test.name+".txt")
			got := tr.out.String()
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("trace (-want +got), -update writes it anew:\n%s", diff)
			}
		})
	}
}
