//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/faults"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
	"github.com/queuescaler/queuescaler/test/history"
)

var (
	seed        = flag.Uint64("faults.seed", 1, "of the campaign: the same one gives the same faults at the same times")
	roundsInAll = flag.Int("faults.rounds", 25, "of the campaign; in each, most faults happen")
	roundLasts  = flag.Duration("faults.round", 2*time.Minute, "in which the faults of a round happen")
	perRound    = flag.Int("faults.messages", 51_000, "in each round")
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
	past, err := faults.Read(*results)
	if err != nil {
		t.Fatal(err)
	}
	if len(past) >= *roundsInAll {
		t.Fatalf("%s has all %d rounds: remove it to begin anew, or ask for more with -faults.rounds", *results, len(past))
	}
	fmt.Printf("Campaign of seed %d, rounds %d to %d of %d. It goes on from where %s ends.\n", *seed, len(past), *roundsInAll-1, *roundsInAll, *results)
	c := begin(t, *roundsInAll-len(past))
	for round := len(past); round < *roundsInAll; round++ {
		c.round(round)
	}
	if past, err = faults.Read(*results); err == nil {
		err = past.Print(os.Stdout)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range past.Missing() {
		t.Error("too rare: " + fault)
	}
	lent := 0
	for _, l := range c.lines {
		lent += l.lent
	}
	if lent == 0 {
		t.Error("no slot was ever lent")
	}
}

// campaign is what is disturbed, and what disturbs it.
type campaign struct {
	*disturber
	lines []*line
	// share is how many messages each of the lines gets in a round.
	share map[*line]int
	// calm is the state of each line before the first fault.
	calm map[*line][]string
	// judged is what the audit log had at the end of the last round, and known are the violations until then.
	judged history.Verdict
	scaled int
	known  map[string]bool
}

// line is a queue with its consumers, of which people roll out revisions.
type line struct {
	*shop
	name string
	args []string // of the consumers, as they should be
	port string   // of the tunnel through which the operator reads the queue

	lent int // slots, so far

	mu       sync.Mutex
	revision int // the last that was rolled out
	good     int // the one that should be
}

// begin makes an operator that can be disturbed, and a line for each gate.
func begin(t *testing.T, rounds int) *campaign {
	t.Helper()
	c := &campaign{disturber: newDisturber(t), share: map[*line]int{}, calm: map[*line][]string{}, known: map[string]bool{}}
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
	out := faults.Round{Seed: *seed, Round: n, Began: time.Now(), Code: os.Getenv("E2E_CODE"), Faults: map[faults.Fault]int{}}
	before := c.count()
	defer func() {
		out.Messages, out.Failed = c.count().Minus(before), c.Failed()
		if err := faults.Append(*results, out); err != nil {
			c.Error(err)
		}
		fmt.Printf("%s round %d is over: as undisturbed after %.0f s; %+v\n", time.Now().UTC().Format(time.TimeOnly), n, out.ConvergedIn, out.Messages)
	}()
	c.disturb(&out)
	over := time.Now()
	c.settle()
	out.ConvergedIn = time.Since(over).Seconds()
	c.judge(&out)
	if c.Failed() {
		c.FailNow() // what comes next would not mean anything
	}
}

// disturb has messages come in and makes the faults of a round. It returns when all of them are over.
func (c *campaign) disturb(out *faults.Round) {
	ctx, cancel := context.WithTimeout(c.Context(), *roundLasts+c.lines[0].patience)
	defer cancel()
	var running sync.WaitGroup
	for i, l := range c.lines {
		choice := rand.New(rand.NewPCG(*seed, uint64(out.Round*len(c.lines)+i)))
		running.Go(func() {
			if err := l.load(ctx, c.share[l], *roundLasts, choice.Float64()/2); err != nil {
				c.Errorf("%s: messages could not be sent: %v", l.name, err)
			}
		})
	}
	var mu sync.Mutex
	for _, in := range faults.Plan(*seed, out.Round, *roundLasts) {
		running.Go(func() {
			happened, err := c.inject(in, out.Began)
			mu.Lock()
			defer mu.Unlock()
			note := ""
			if err != nil {
				note = ": not made: " + err.Error()
			} else {
				out.Faults[happened]++
			}
			fmt.Printf("%s round %d, %3.0f s: %s%s\n", time.Now().UTC().Format(time.TimeOnly), out.Round, time.Since(out.Began).Seconds(), in.Fault, note)
		})
	}
	running.Wait()
}

// load sends n messages within the time: a third of them at once, when a share of it has passed.
func (l *line) load(ctx context.Context, n int, within time.Duration, share float64) error {
	atOnce := n / 3
	steadily := n - atOnce
	perSecond := max(1, int(float64(steadily)/within.Seconds()))
	early := int(share * float64(steadily))
	for _, part := range []struct{ n, perSecond int }{{early, perSecond}, {atOnce, 0}, {steadily - early, perSecond}} {
		if err := queue.Send(ctx, l.producer, l.book, l.next, part.n, part.perSecond); err != nil {
			return err
		}
		l.next += uint32(part.n)
	}
	return nil
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
		fmt.Sprintf("target: the revision that it should have: %v", revisionOf(d) == strconv.Itoa(l.good)),
		fmt.Sprintf("finalizers: %v", qs.Finalizers),
	}
	for _, kind := range []string{
		v1alpha1.ConditionAbleToScale, v1alpha1.ConditionScalingActive, v1alpha1.ConditionRolloutInProgress, v1alpha1.ConditionStandbyReady,
	} {
		status := ptr.Deref(meta.FindStatusCondition(qs.Status.Conditions, kind), metav1.Condition{}).Status
		out = append(out, fmt.Sprintf("%s: %s", kind, status))
	}
	for _, kind := range []string{v1alpha1.ConditionThroughputRegressed, v1alpha1.ConditionRollbackAdvised} {
		if meta.IsStatusConditionTrue(qs.Status.Conditions, kind) { // there may be no evidence yet
			out = append(out, kind)
		}
	}
	allowed := map[string]bool{}
	for _, r := range qs.Status.Revisions {
		allowed[r.TemplateHash] = r.Standing == v1alpha1.StandingKnownGood || r.Standing == v1alpha1.StandingProvisional
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
			allowed[rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]] = true
		}
	}
	for _, p := range l.pods(func(*corev1.Pod) bool { return true }) {
		role := p.Labels[v1alpha1.LabelRole]
		out = append(out, fmt.Sprintf("pod: role %q, %s, ending: %v", role, p.Status.Phase, p.DeletionTimestamp != nil))
		if revision := p.Labels[v1alpha1.LabelRevision]; isSlot(p) && !allowed[revision] {
			out = append(out, "slot of a revision that is neither the target's nor known to be good: "+revision)
		}
	}
	slices.Sort(out)
	return out
}

// revisionOf is the number of the revision that people rolled out.
func revisionOf(d *appsv1.Deployment) string {
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		if e.Name == "REVISION" {
			return e.Value
		}
	}
	return ""
}

// count counts the messages of all lines.
func (c *campaign) count() faults.Messages {
	var all faults.Messages
	for _, l := range c.lines {
		s := l.book.Summary()
		causes := s.Causes()
		all = all.Plus(faults.Messages{
			Sent: s.Sent, MaybeSent: s.MaybeSent, MaybeCompleted: s.Completed - (s.Sent - len(s.Lost)), Completed: s.Completed, Lost: len(s.Lost),
			Redelivered: len(s.Redelivered), Unfinished: causes.Unfinished, AtOnce: causes.AtOnce, Unacknowledged: causes.Unacknowledged, Forgotten: causes.Forgotten,
		})
		if len(s.Unsent) > 0 {
			c.Errorf("%s: taken and never sent: %v", l.name, s.Unsent)
		}
	}
	return all
}

// judge looks at all that was written, and at all that slots took, until now.
func (c *campaign) judge(out *faults.Round) {
	c.Helper()
	var pods []history.Write
	scaled := 0
	verdict, err := judged(func(w history.Write) {
		switch {
		case strings.HasPrefix(w.Resource, "pods"):
			pods = append(pods, w)
		case w.User == operatorUser && w.Resource == "deployments/scale" && w.Code < http.StatusMultipleChoices:
			scaled++
		}
	})
	if err != nil {
		c.Fatal(err)
	}
	out.Writes, out.Operator, out.Scaled = verdict.Writes-c.judged.Writes, verdict.Ours-c.judged.Ours, scaled-c.scaled
	c.judged, c.scaled = verdict, scaled
	for _, v := range verdict.Violations {
		c.finds(v.String(), &out.Violations)
	}
	for _, l := range c.lines {
		spans, err := history.Lent(each(pods), l.namespace, shared.gaps)
		if err != nil {
			c.Fatal(err)
		}
		lent, times := map[string][]ledger.Interval{}, 0
		for uid, intervals := range spans {
			lent[uid] = []ledger.Interval{}
			for _, i := range intervals {
				// Without an end: a kubelet that is stopped tells no pod that it was returned.
				lent[uid], times = append(lent[uid], ledger.Interval{Start: i.From}), times+1
			}
		}
		out.Lent += times - l.lent
		l.lent = times
		for _, take := range l.book.TakenWhileNotLent(lent) {
			c.finds(fmt.Sprintf("%s: slot %s took message %d at %s before it was lent", l.name, take.Pod.Name, take.ID, take.Taken), &out.TooSoon)
		}
		if lost := l.book.Summary().Lost; len(lost) > 0 {
			c.Errorf("%s: lost %v", l.name, lost)
		}
	}
}

// finds notes what is wrong, once.
func (c *campaign) finds(wrong string, into *[]string) {
	c.Helper()
	if !c.known[wrong] {
		c.known[wrong] = true
		*into = append(*into, wrong)
		c.Error(wrong)
	}
}

func each(writes []history.Write) iter.Seq2[history.Write, error] {
	return func(yield func(history.Write, error) bool) {
		for _, w := range writes {
			if !yield(w, nil) {
				return
			}
		}
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
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: app}}
	patch := client.RawPatch(types.StrategicMergePatchType, []byte(revisionPatch(slices.Concat(l.args, args), revision)))
	return insist(ctx, func(ctx context.Context) error { return shared.client.Patch(ctx, d.DeepCopy(), patch) })
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
