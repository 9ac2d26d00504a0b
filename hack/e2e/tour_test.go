//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
)

// TestTour plays the day that QueueScaler is for: a backlog, a rollout in the middle of one, and a revision that does less. What a person
// would see in a terminal is in out/e2e-tour.md; docs/real-run.md has that of one run.
func TestTour(t *testing.T) {
	withArgument(t, "--evidence-block=5s")
	s := newShop(t, brokers.Redis, 100_000)
	w := &writer{}
	s.open(s.consumer(true, args("-warm-up=10s"), func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(3)) }),
		s.scaler(2, v1alpha1.GateFile, func(spec *v1alpha1.QueueScalerSpec) {
			spec.MinReplicas, spec.MaxReplicas = ptr.To(int32(3)), 6
			spec.Objective.Drain = v1alpha1.DrainObjective{Seconds: 40, MessagesPerSecondPerReplica: "9"}
			spec.Rollout.SoakSeconds = ptr.To(int32(5))
			spec.Rollout.OnRegression = v1alpha1.OnRegressionRollBack
		}))
	load := s.flow(10)
	w.show(s, "Calm", "Three pods, two slots beside them. Ten messages come in each second; a pod completes about nine.", "get qs", "get pods -L capacity.queuescaler.io/role")

	load.burst.Store(3000)
	s.await("slots lent", func() (bool, string) {
		n := len(s.lentSlots())
		return n > 0 && *s.target().Spec.Replicas > 3, fmt.Sprint(n)
	})
	w.show(s, "Lend", "3,000 messages come at once. The Deployment is scaled, and its new pods take 10 s to warm up. The slots work already.", "get qs", "get pods -L capacity.queuescaler.io/role")

	s.await("slots returned", func() (bool, string) { return len(s.lentSlots()) == 0, string(s.qs().Status.Summary) })
	w.show(s, "Return", "The Deployment's own pods are there. The slots drain and end; new ones take their place.", "get qs", "get pods -L capacity.queuescaler.io/role")
	s.awaitTarget(3)
	s.await("warm slots", func() (bool, string) {
		return ptr.Deref(s.qs().Status.Standby.Warm, 0) == 2, string(s.qs().Status.Summary)
	})

	s.deploy(2)
	load.rate.Store(45)
	load.burst.Store(2500) // so that there is always work, and what a replica gets done is known
	s.await("held, with slots lent", func() (bool, string) {
		qs := s.qs()
		return qs.Status.Summary == v1alpha1.SummaryHeld && len(s.lentSlots()) > 0, string(qs.Status.Summary)
	})
	w.show(s, "Hold", "A new revision rolls out, and more comes in than three pods can do. The Deployment is not scaled now: slots of the old revision help.", "get qs", "get qs app -o jsonpath={.status.decision.message}")
	s.awaitProved(2)

	s.deploy(3, "-work=250ms")
	const rolledBack = "reason=" + v1alpha1.ReasonRolledBack
	s.await("rolled back", func() (bool, string) {
		told := mustKubectl(s.T, "-n", s.namespace, "get", "events", "--field-selector", rolledBack, "-o", "name")
		return told != "", string(s.qs().Status.Summary)
	})
	w.show(s, "Roll back", "The next revision does less: 250 ms for each message instead of 100. Its pods are ready as ever. The operator has measured it, says so, and, because this QueueScaler has `onRegression: RollBack`, goes back by itself.", "get events --field-selector "+rolledBack+" -o custom-columns=REASON:.reason,NOTE:.message", "get qs", "get qs app -o jsonpath={.status.diagnosis.message}")
	s.await("the earlier revision in use", func() (bool, string) {
		return s.rolledBack() && complete(s.target()), fmt.Sprintf("%+v", s.target().Status)
	})
	s.await("the objective met", func() (bool, string) {
		qs := s.qs()
		return meta.IsStatusConditionTrue(qs.Status.Conditions, v1alpha1.ConditionObjectiveMet), string(qs.Status.Summary)
	})
	w.show(s, "Cured", "", "get qs", "get events --sort-by=.metadata.creationTimestamp --field-selector involvedObject.kind=QueueScaler -o custom-columns=REASON:.reason,NOTE:.message")
	load.stop()
	s.awaitDone()
	s.tookOnlyWhatItMay()
	w.save(t)
}

// withArgument gives the operator an argument for the time of a test.
func withArgument(t *testing.T, argument string) {
	t.Helper()
	change := func(ctx context.Context, patch string) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		for _, args := range [][]string{
			{"patch", "deployment", "queuescaler", "--type=json", "-p", patch}, {"rollout", "status", "deployment/queuescaler", "--timeout=2m"},
		} {
			if _, err := kubectl(ctx, append([]string{"-n", operatorNamespace}, args...)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := strings.Count(mustKubectl(t, "-n", operatorNamespace, "get", "deployment", "queuescaler", "-o", `jsonpath={range .spec.template.spec.containers[0].args[*]}{"x"}{end}`), "x")
	change(t.Context(), fmt.Sprintf(`[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": %q}]`, argument))
	t.Cleanup(func() {
		change(context.Background(), fmt.Sprintf(`[{"op": "test", "path": "/spec/template/spec/containers/0/args/%[1]d", "value": %[2]q}, {"op": "remove", "path": "/spec/template/spec/containers/0/args/%[1]d"}]`, last, argument))
	})
}

// flow is what comes in.
type flow struct {
	rate, burst atomic.Int64
	ended, told chan struct{}
}

// flow sends messages until it is stopped: so many each second, and bursts.
func (s *shop) flow(rate int64) *flow {
	f := &flow{ended: make(chan struct{}), told: make(chan struct{})}
	f.rate.Store(rate)
	go func() {
		defer close(f.ended)
		const perSecond = 4
		for tick := time.NewTicker(time.Second / perSecond); ; {
			select {
			case <-f.told:
				tick.Stop()
				return
			case <-tick.C:
				s.send(int(f.rate.Load()/perSecond+f.burst.Swap(0)), 0)
			}
		}
	}()
	return f
}

func (f *flow) stop() {
	close(f.told)
	<-f.ended
}

// deploy rolls out a revision with these arguments added.
func (s *shop) deploy(revision int, more ...string) {
	s.Helper()
	arguments := slices.Concat(s.target().Spec.Template.Spec.Containers[0].Args, more)
	mustKubectl(s.T, "-n", s.namespace, "patch", "deployment", app, "-p", revisionPatch(arguments, revision))
}

// revisionPatch is a patch that gives the target another template.
func revisionPatch(args []string, revision int) string {
	return fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"worker","args":["%s"],"env":[{"name":"REVISION","value":"%d"}]}]}}}}`,
		strings.Join(args, `","`), revision)
}

// complete is what kubectl rollout status waits for.
func complete(d *appsv1.Deployment) bool {
	n := *d.Spec.Replicas
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == n && d.Status.Replicas == n && d.Status.AvailableReplicas == n
}

// rolledBack says whether the Deployment has the arguments of the revision that was good.
func (s *shop) rolledBack() bool {
	return !slices.Contains(s.target().Spec.Template.Spec.Containers[0].Args, "-work=250ms")
}

// awaitProved waits until a revision is known to be good.
func (s *shop) awaitProved(number int64) {
	s.Helper()
	s.await(fmt.Sprintf("revision %d known-good", number), func() (bool, string) {
		revisions := s.qs().Status.Revisions
		i := slices.IndexFunc(revisions, func(r v1alpha1.RevisionStatus) bool { return r.Revision == number })
		return i >= 0 && revisions[i].Standing == v1alpha1.StandingKnownGood, fmt.Sprintf("%+v", revisions)
	})
}

// writer writes down what a person sees.
type writer struct{ text strings.Builder }

func (w *writer) show(s *shop, title, says string, commands ...string) {
	s.Helper()
	fmt.Fprintf(&w.text, "## %s\n\n", title)
	if says != "" {
		fmt.Fprintf(&w.text, "%s\n\n", says)
	}
	fmt.Fprintln(&w.text, "```console")
	for _, command := range commands {
		out := mustKubectl(s.T, append([]string{"-n", s.namespace}, strings.Fields(command)...)...)
		fmt.Fprintf(&w.text, "$ kubectl %s\n%s\n", command, strings.TrimRight(out, "\n"))
	}
	fmt.Fprint(&w.text, "```\n\n")
}

func (w *writer) save(t *testing.T) {
	t.Helper()
	dir := filepath.Join(shared.root, "out")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "e2e-tour.md"), []byte(w.text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
