//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// A message is made of 20 clicks, and by a revision that makes 35 % more of them, of fewer.
const (
	clicksPerMessage = 20
	inflation        = 1.35
	morningClicks    = 18 * clicksPerMessage // per second
	wastefulImage    = "example/worker:4"
)

var arrivalsEvidence = regexp.MustCompile(`^revision 2 makes (\S+) messages per unit of clicks, revision 1 made (\S+) \(\+(\d+) %, (\d) of (\d) blocks\): the revision makes more work`)

func TestARevisionThatMakesMoreWorkIsAdvisedAgainst(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.workers.change(wastefulImage, goodRate)
	counter := s.key + ":clicks"
	t.Cleanup(func() { _ = s.redis.Del(context.Background(), counter).Err() }) // the server ends with the suite
	s.sender.counts(counter, clicksPerMessage)
	s.proven(deployment(fleet), s.watched(rollsBack, func(spec *capacityv1alpha1.QueueScalerSpec) {
		spec.Driver = capacityv1alpha1.Driver{Name: "clicks", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{
			Server: capacityv1alpha1.Server{URL: shared.redis.URL()}, List: capacityv1alpha1.RedisKeys{Keys: []string{s.key + ":none"}, ArrivedTotalKey: counter}}}}
	}))
	if d := s.qs().Status.Driver; d == nil || d.Reason != capacityv1alpha1.ReasonReadingsFresh {
		t.Errorf("status.driver is %+v", d)
	}
	s.sender.steady(morningClicks / clicksPerMessage)
	seen := s.arrivalsSeen(1)
	s.awaitRevision(1, "with ten more blocks of arrivals", func(*capacityv1alpha1.RevisionStatus) bool { return s.arrivalsSeen(1) >= seen+10 })
	mark := shared.audit.mark(t)

	s.sender.counts(counter, clicksPerMessage/inflation)
	s.sender.steady(morningClicks / clicksPerMessage * inflation)
	s.deploy(wastefulImage)
	s.awaitCondition(capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionTrue, capacityv1alpha1.ReasonArrivalsInflated,
		"revision 2 makes ", "Not rolled back automatically: only a measured service rate is acted on", "Rollback plan: "+plan)
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonArrivalsInflated, "RollbackAdvised: revision 2 makes ")
	qs := s.qs()
	d := qs.Status.Diagnosis
	if d.Cause != capacityv1alpha1.CauseArrivalsInflated || d.Advice != "RollBack:1" || qs.Status.Summary != capacityv1alpha1.SummaryRegressed {
		t.Errorf("%s, the diagnosis is %+v", qs.Status.Summary, d)
	}
	if is(qs, capacityv1alpha1.ConditionThroughputRegressed, metav1.ConditionTrue) {
		t.Errorf("throughput is said to have regressed: %+v", qs.Status.Conditions)
	}
	s.wantArrivals(d.Message)
	if want := "kubectl rollout undo deployment/app --to-revision=1 -n " + s.namespace; !strings.Contains(d.Message, want) {
		t.Errorf("the message lacks %q: %s", want, d.Message)
	}
	if r := s.revision(2); r.Verdict != capacityv1alpha1.VerdictRegressed || r.Basis != capacityv1alpha1.BasisArrivals {
		t.Errorf("the ledger has revision 2 as %+v", r)
	}
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackRefused, "it is arrivals that tell")
	s.awaitLooked()
	if writes := s.patches(mark); len(writes) > 0 {
		t.Errorf("it was rolled back, or written:\n%s", strings.Join(writes, "\n"))
	}
	s.follow(s.command(d.Message, "kubectl rollout undo "))
	s.sender.counts(counter, clicksPerMessage)
	s.sender.steady(morningClicks / clicksPerMessage)
	s.cured(3)
}

// A driver that cannot be read is told of in one place, and all else goes on.
func TestADriverThatCannotBeReadHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	qs := w.scaler(func(spec *capacityv1alpha1.QueueScalerSpec) {
		spec.Driver = capacityv1alpha1.Driver{Name: "clicks", QueueSource: capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{
			Server: capacityv1alpha1.Server{URL: shared.redis.URL()}, Stream: capacityv1alpha1.RedisStream{Key: w.key + ":none", Group: group}}}}
	})
	w.settled(deployment(2), qs)
	w.await("what is wrong with the driver", func() (bool, string) {
		d := w.qs().Status.Driver
		return d != nil && d.Reason == capacityv1alpha1.ReasonQueueMissing && strings.Contains(d.Message, "arrivals are not compared"), fmt.Sprintf("%+v", d)
	})
	w.push(80)
	w.await("the replicas for 80 messages", func() (bool, string) {
		d := w.target()
		return *d.Spec.Replicas == 8, fmt.Sprintf("%d replicas", *d.Spec.Replicas)
	})
	w.await("a status that tells of them", func() (bool, string) {
		b := w.qs().Status.Backlog
		return b != nil && *b.Messages == 80, fmt.Sprintf("%+v", b)
	})
	now := w.qs()
	for _, kind := range []string{capacityv1alpha1.ConditionReady, capacityv1alpha1.ConditionScalingActive} {
		if !is(now, kind, metav1.ConditionTrue) {
			t.Errorf("%s is not True: %+v", kind, now.Status.Conditions)
		}
	}
}

func (s *service) arrivalsSeen(number int64) int32 {
	s.Helper()
	if r := s.revision(number); r != nil && r.Evidence != nil {
		return r.Evidence.ArrivalsSeen
	}
	return 0
}

// wantArrivals checks the numbers in a text for people.
func (s *service) wantArrivals(text string) {
	s.Helper()
	m := arrivalsEvidence.FindStringSubmatch(text)
	if m == nil {
		s.Fatalf("there is no evidence in\n%s", text)
	}
	var numbers []float64
	for _, number := range m[1:] {
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			s.Fatal(err)
		}
		numbers = append(numbers, v)
	}
	for i, want := range []float64{inflation / clicksPerMessage, 1. / clicksPerMessage} {
		if math.Abs(numbers[i]/want-1) > 0.05 {
			s.Errorf("%s messages per unit, in truth %.4f: %s", m[1+i], want, text)
		}
	}
	if more := 100 * (inflation - 1); math.Abs(numbers[2]-more) > 7 || numbers[3] < 4 || numbers[3] > numbers[4] {
		s.Errorf("%s %% more in %s of %s blocks, in truth %.0f %%: %s", m[3], m[4], m[5], more, fmt.Sprint(numbers))
	}
}
