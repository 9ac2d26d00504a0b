//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/faults"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/test/history"
)

var (
	seed        = flag.Uint64("faults.seed", 1, "of the campaign: the same one gives the same faults at the same times")
	roundsInAll = flag.Int("faults.rounds", 20, "of the campaign; in each, every fault happens")
	roundLasts  = flag.Duration("faults.round", 2*time.Minute, "in which the faults of a round happen")
	perRound    = flag.Int("faults.messages", 50_000, "in each round")
	results     = flag.String("faults.results", "", "file that keeps what came of each round. A campaign goes on after the rounds it has. Default: out/e2e-faults-SEED.jsonl")
)

// TestFaults is a campaign: queues with consumers of every gate under changing load, while everything around them fails. After each round all
// has to be as if nothing had failed; at the end no message may be lost, and no write may break a law.
func TestFaults(t *testing.T) {
	if *results == "" {
		*results = filepath.Join(shared.root, "out", fmt.Sprintf("e2e-faults-%d.jsonl", *seed))
	}
	if err := os.MkdirAll(filepath.Dir(*results), 0o755); err != nil {
		t.Fatal(err)
	}
	so, err := faults.Read(*results)
	if err != nil {
		t.Fatal(err)
	}
	if len(so.Rounds) >= *roundsInAll {
		t.Fatalf("%s has all %d rounds: remove it to begin anew, or ask for more with -faults.rounds", *results, len(so.Rounds))
	}
	fmt.Printf("Campaign of seed %d, rounds %d to %d of %d. It goes on from where %s ends.\n", *seed, len(so.Rounds), *roundsInAll-1, *roundsInAll, *results)
	c := begin(t, *roundsInAll-len(so.Rounds))
	for round := len(so.Rounds); round < *roundsInAll; round++ {
		c.round(round)
	}
	c.judge(*roundsInAll - len(so.Rounds))
	if so, err = faults.Read(*results); err == nil {
		err = so.Print(os.Stdout)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// campaign is what is disturbed, and what disturbs it.
type campaign struct {
	*testing.T
	*disturber
	lines []*line
	// share is how many messages each of the lines gets in a round.
	share map[*line]int
	// calm is the state of each line before the first fault.
	calm map[*line][]string
}

// line is a queue with its consumers, of which people roll out revisions.
type line struct {
	*shop
	name string
	args []string // of the consumers, as they should be
	port string   // of the tunnel through which the operator reads the queue

	mu       sync.Mutex
	revision int // the last that was rolled out
	good     int // the one that should be
}

// begin makes an operator that can be disturbed, and a line for each gate.
func begin(t *testing.T, rounds int) *campaign {
	t.Helper()
	c := &campaign{T: t, disturber: newDisturber(t), share: map[*line]int{}, calm: map[*line][]string{}}
	for _, k := range []struct {
		name    string
		start   brokers.Start
		gate    v1alpha1.Gate
		percent int
		change  func(*v1alpha1.QueueScalerSpec)
	}{
		{"Redis, File", brokers.Redis, v1alpha1.GateFile, 32, nil},
		{"RabbitMQ, File, rolls back", brokers.RabbitMQ, v1alpha1.GateFile, 32, func(spec *v1alpha1.QueueScalerSpec) {
			spec.Rollout.OnRegression = v1alpha1.OnRegressionRollBack
		}},
		{"NATS, Prepared", shared.nats, v1alpha1.GatePrepared, 32, nil},
		{"Redis, Service", brokers.Redis, v1alpha1.GateService, 4, nil},
	} {
		n := *perRound * k.percent / 100
		l := &line{shop: newShop(t, k.start, n*rounds), name: k.name}
		l.patience = 8 * time.Minute // slots that gave way to other pods come back after 5
		l.broker.ScalerURL, l.port = c.tunnel(l.broker.ScalerURL)
		limited := func(d *appsv1.Deployment) {
			container := &d.Spec.Template.Spec.Containers[0]
			container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
			container.Env = append(container.Env, corev1.EnvVar{Name: "REVISION", Value: "0"})
		}
		fast := args("-work=10ms", "-warm-up=3s")
		d := l.consumer(k.gate == v1alpha1.GateFile, fast, limited)
		if k.gate == v1alpha1.GateService {
			l.dispatch(6)
			d = l.service(fast, limited)
		}
		l.args = d.Spec.Template.Spec.Containers[0].Args
		l.open(d, l.scaler(2, k.gate, func(spec *v1alpha1.QueueScalerSpec) {
			spec.MaxReplicas = 6
			spec.Objective.Drain.MessagesPerSecondPerReplica = "40"
			spec.Behavior.ScaleDown.StabilizationWindowSeconds = ptr.To(int32(10))
			spec.Rollout.SoakSeconds = ptr.To(int32(5))
			if k.change != nil {
				k.change(spec)
			}
		}))
		c.lines, c.share[l] = append(c.lines, l), n
	}
	for _, l := range c.lines {
		l.awaitCalm()
		c.calm[l] = l.state()
		t.Logf("%s in %s:\n%s", l.name, l.namespace, strings.Join(c.calm[l], "\n"))
	}
	return c
}

// round disturbs everything for a while, and waits until all is well again.
func (c *campaign) round(n int) {
	c.Helper()
	out := faults.Round{Seed: *seed, Round: n, Began: time.Now(), Faults: map[faults.Fault]int{}}
	before := c.count()
	var running sync.WaitGroup
	for _, l := range c.lines {
		running.Go(func() { l.load(c.share[l], *roundLasts) })
	}
	var mu sync.Mutex
	for _, in := range faults.Plan(*seed, n, *roundLasts) {
		running.Go(func() {
			happened, err := c.inject(in, out.Began)
			mu.Lock()
			defer mu.Unlock()
			note := ""
			if err != nil {
				note = ": " + err.Error()
			} else {
				out.Faults[happened]++
			}
			fmt.Printf("%s round %d, %3.0f s: %s%s\n", time.Now().UTC().Format(time.TimeOnly), n, time.Since(out.Began).Seconds(), in.Fault, note)
		})
	}
	running.Wait()
	over := time.Now()
	c.settle()
	out.ConvergedIn = time.Since(over).Seconds()
	out.Messages = c.count().Minus(before)
	if err := faults.Append(*results, faults.Line{Round: &out}); err != nil {
		c.Fatal(err)
	}
	fmt.Printf("%s round %d is over: as undisturbed after %.0f s; %+v\n", time.Now().UTC().Format(time.TimeOnly), n, out.ConvergedIn, out.Messages)
	if c.Failed() {
		c.FailNow() // a fault could not be ended: what comes next would not mean anything
	}
}

// load sends n messages within the time: a third at once, somewhere within its first half.
func (l *line) load(n int, within time.Duration) {
	atOnce := n / 3
	perSecond := max(1, int(float64(n-atOnce)/within.Seconds()))
	early := perSecond * int(within.Seconds()) / 4
	l.send(early, perSecond)
	l.send(atOnce, 0)
	l.send(n-atOnce-early, perSecond)
}

// settle waits until everything is as if nothing had failed.
func (c *campaign) settle() {
	c.Helper()
	for _, l := range c.lines {
		if err := l.undo(c.Context()); err != nil {
			c.Errorf("%s: %v", l.name, err)
		}
	}
	for _, l := range c.lines {
		l.awaitProgress()
		l.awaitCalm()
		l.await(l.name+" as before", func() (bool, string) {
			diff := cmp.Diff(c.calm[l], l.state())
			return diff == "", diff
		})
	}
	c.awaitOperators()
}

// awaitProgress waits until all messages are completed that the server has confirmed, as long as they become fewer and fewer.
func (l *line) awaitProgress() {
	l.Helper()
	for left := int(l.next) + 1; left > 0; {
		now := 0
		l.await(l.name+" works", func() (bool, string) {
			now = len(l.book.Summary().Lost)
			return now < left, fmt.Sprintf("%d messages left", now)
		})
		left = now
	}
}

// state is all that is in the namespace, but for names and for what depends on history.
func (l *line) state() []string {
	l.Helper()
	qs, d := l.qs(), l.target()
	out := []string{
		fmt.Sprintf("target: %d replicas, %d available, %d in all", *d.Spec.Replicas, d.Status.AvailableReplicas, d.Status.Replicas),
		fmt.Sprintf("finalizers: %v", qs.Finalizers),
	}
	for _, kind := range []string{v1alpha1.ConditionAbleToScale, v1alpha1.ConditionScalingActive, v1alpha1.ConditionRolloutInProgress, v1alpha1.ConditionStandbyReady} {
		for _, x := range qs.Status.Conditions {
			if x.Type == kind {
				out = append(out, fmt.Sprintf("%s: %s", kind, x.Status))
			}
		}
	}
	var sets appsv1.ReplicaSetList
	l.try(func(ctx context.Context) error {
		return shared.client.List(ctx, &sets, client.InNamespace(l.namespace))
	})
	for _, rs := range sets.Items {
		if rs.Labels[v1alpha1.LabelSlot] != "" {
			out = append(out, fmt.Sprintf("slot: %d replicas, %d available", *rs.Spec.Replicas, rs.Status.AvailableReplicas))
		} else if *rs.Spec.Replicas > 0 {
			out = append(out, fmt.Sprintf("revision in use: %d replicas", *rs.Spec.Replicas))
		}
	}
	for _, p := range l.pods(func(*corev1.Pod) bool { return true }) {
		role := p.Labels[v1alpha1.LabelRole]
		out = append(out, fmt.Sprintf("pod: role %q, %s, ending: %v", role, p.Status.Phase, p.DeletionTimestamp != nil))
	}
	slices.Sort(out)
	return out
}

// count counts the messages of all lines.
func (c *campaign) count() faults.Messages {
	var all faults.Messages
	for _, l := range c.lines {
		s := l.book.Summary()
		unfinished, unacknowledged, acknowledged := s.Causes()
		all = all.Plus(faults.Messages{
			Sent: s.Sent, Completed: s.Completed, Lost: len(s.Lost), Redelivered: len(s.Redelivered),
			Unfinished: unfinished, Unacknowledged: unacknowledged, Forgotten: acknowledged,
		})
		if len(s.Unsent) > 0 {
			c.Errorf("%s: taken and never sent: %v", l.name, s.Unsent)
		}
	}
	return all
}

// judge looks at all that was written, and at all that slots took.
func (c *campaign) judge(rounds int) {
	c.Helper()
	verdict, err := judged()
	if err != nil {
		c.Fatal(err)
	}
	out := faults.Judged{Rounds: rounds, Writes: verdict.Writes, Operator: verdict.Ours}
	for _, v := range verdict.Violations {
		out.Violations = append(out.Violations, v.String())
	}
	for _, l := range c.lines {
		lent := map[string][]ledger.Interval{}
		spans, err := history.Lent(auditLog().Writes(), l.namespace, shared.gaps)
		if err != nil {
			c.Fatal(err)
		}
		for uid, intervals := range spans {
			lent[uid] = []ledger.Interval{}
			for _, i := range intervals {
				// Without an end: a kubelet that is stopped tells no pod that it was returned.
				lent[uid] = append(lent[uid], ledger.Interval{Start: i.From})
			}
		}
		for _, take := range l.book.TakenWhileNotLent(lent) {
			out.TooSoon = append(out.TooSoon, fmt.Sprintf("%s: slot %s took message %d at %s before it was lent", l.name, take.Pod.Name, take.ID, take.Taken))
		}
		if lost := l.book.Summary().Lost; len(lost) > 0 {
			c.Errorf("%s: lost %v", l.name, lost)
		}
	}
	if err := faults.Append(*results, faults.Line{Judged: &out}); err != nil {
		c.Fatal(err)
	}
	for _, wrong := range slices.Concat(out.Violations, out.TooSoon) {
		c.Error(wrong)
	}
}

// roll rolls out a revision with these arguments added, and returns its number.
func (l *line) roll(ctx context.Context, args ...string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision++
	return l.revision, l.apply(ctx, l.revision, args)
}

// undo puts the good revision back.
func (l *line) undo(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apply(ctx, l.good, nil)
}

// keep makes a revision the good one.
func (l *line) keep(revision int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good = max(l.good, revision)
}

func (l *line) apply(ctx context.Context, revision int, args []string) error {
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"worker","args":["%s"],"env":[{"name":"REVISION","value":"%d"}]}]}}}}`,
		strings.Join(slices.Concat(l.args, args), `","`), revision)
	return insist(ctx, func(ctx context.Context) error {
		return shared.client.Patch(ctx, l.named(), client.RawPatch("application/strategic-merge-patch+json", []byte(patch)))
	})
}

func (l *line) named() *appsv1.Deployment {
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = l.namespace, app
	return d
}

// insist asks again until the API server answers; it may be away.
func insist(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, 5*time.Second)
		err := ask(once)
		stop()
		if err == nil || notFound(err) != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
