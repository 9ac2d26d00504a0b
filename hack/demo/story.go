// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// What the story does to the queue. demo.yaml has the numbers that go with it: 4 to 8 pods, 50 s, 3 slots.
const (
	calmRate      = 16   // messages/s: half of what 4 pods can do
	burst         = 2360 // ceil(16/8 + 2360/(50·8)) = 8 pods
	busyRate      = 50   // messages/s: more than 4 pods can do, less than 4 and 3 slots can; ceil(50/(8·80 %)) = 8 pods
	rolloutBurst  = 500  // ceil(50/8 + 500/(50·8)) = 8 pods
	minReplicas   = 4
	wantedSlots   = 3
	goodRevision  = 2
	badRevision   = 3
	intoRollout   = 9 * time.Second // when the second backlog comes
	calmFor       = 6 * time.Second
	drainSeconds  = 50
	maxReplicas   = 8
	ampleForPods  = 3 * time.Minute // to wait for pods that take podReadySeconds, on a slow machine
	ampleForSlots = 5 * time.Minute
)

// story is what happens, and when it did.
type story struct {
	*stage
	backlogAt    time.Time
	lentAt       []time.Time // when each slot that was lent for the first backlog took its first message
	addedReadyAt time.Time   // when the first pod that the Deployment got for it was Ready
	rolloutFrom  time.Time
	rolloutTo    time.Time
	badFrom      time.Time // the bad revision's rollout
	badTo        time.Time
	foundAt      time.Time // when the operator published that it regressed
	advice       v1alpha1.Diagnosis
	undoneAt     time.Time // when the person ran the command that was advised
	curedAt      time.Time // when the rollback was complete, and the objective met again
}

func newStory(s *stage) *story { return &story{stage: s} }

func (s *story) play(ctx context.Context) error {
	for _, act := range []func(context.Context) error{s.prologue, s.calm, s.backlog, s.recovery, s.rollout, s.afterRollout, s.badRevision, s.regression, s.rollBack, s.calmAgain} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) prologue(ctx context.Context) error {
	s.tell.act("The pool fills", fmt.Sprintf("4 pods start, as any Deployment's do; a pod takes %d s until it is ready. "+
		"Then, beside the Deployment, %d pods of the same template start: the standby slots. They are ready and take nothing.", podReadySeconds, wantedSlots))
	if err := s.world.await(ctx, "the Deployment's first pods", ampleForPods, func(v *view) bool { return v.available() == minReplicas }); err != nil {
		return err
	}
	s.tell.say("pods", "The Deployment's 4 pods are ready. Messages start to flow: %d per second; one pod completes up to %d.", calmRate, perPod)
	s.sender.setRate(calmRate)
	if err := s.world.await(ctx, "the slots to be warm", ampleForSlots, (*view).poolWarm); err != nil {
		return err
	}
	s.recorder.mark("%d slots warm", wantedSlots)
	return pause(ctx, 500*time.Millisecond) // the operator sends its events after it has published
}

func (s *story) calm(ctx context.Context) error {
	s.tell.act("Calm", fmt.Sprintf("4 pods work %d messages per second with ease.", calmRate))
	if err := s.showRow(ctx); err != nil {
		return err
	}
	return pause(ctx, calmFor)
}

func (s *story) backlog(ctx context.Context) error {
	s.tell.act("A backlog", fmt.Sprintf("%d messages at once, on top of %d per second. Within %d s that is work for %d pods, and a new pod does nothing for its first %d s.",
		burst, calmRate, drainSeconds, maxReplicas, podReadySeconds))
	known := s.targetPods()
	s.backlogAt = time.Now()
	s.recorder.mark("%d messages at once", burst)
	if err := s.sender.burst(burst); err != nil {
		return err
	}
	if err := s.slotsAtWork(ctx); err != nil {
		return err
	}
	if err := s.showRow(ctx); err != nil {
		return err
	}
	added := func(p *corev1.Pod) bool { return !isSlot(p) && !known[p.UID] && ready(p) }
	if err := s.world.await(ctx, "the pods that the Deployment was scaled to", ampleForPods, func(v *view) bool { return v.count(added) > 0 }); err != nil {
		return err
	}
	s.addedReadyAt = time.Now()
	s.tell.say("pods", "The first pod that the Deployment added is ready, %.1f s after the backlog. Without slots, help would begin only now.",
		s.addedReadyAt.Sub(s.backlogAt).Seconds())
	s.recorder.mark("first added pod of the Deployment Ready, %.1f s after the backlog", s.addedReadyAt.Sub(s.backlogAt).Seconds())
	return nil
}

// slotsAtWork waits until all slots that are lent for the backlog have taken a message.
func (s *story) slotsAtWork(ctx context.Context) error {
	if err := s.world.await(ctx, "slots to be lent", time.Minute, func(v *view) bool { return v.lent() > 0 }); err != nil {
		return err
	}
	if err := pause(ctx, 1500*time.Millisecond); err != nil { // all that are lent at once are lent by then
		return err
	}
	lent := 0
	s.world.look(func(v *view) { lent = v.lent() })
	for deadline := time.Now().Add(30 * time.Second); len(s.lentAt) < lent; {
		if s.lentAt = s.accounts.firstTakes(s.backlogAt); time.Now().After(deadline) {
			return fmt.Errorf("%d slots are lent, and only %d have taken a message", lent, len(s.lentAt))
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	first, all := s.lentAt[0].Sub(s.backlogAt).Seconds(), s.lentAt[lent-1].Sub(s.backlogAt).Seconds()
	s.tell.say("slots", "The first lent slot took its first message %.1f s after the backlog; all %d are at work after %.1f s.", first, lent, all)
	s.recorder.markAt(s.lentAt[lent-1], "%d lent slots at work, %.1f s after the backlog", lent, all)
	return nil
}

func (s *story) targetPods() map[types.UID]bool {
	uids := map[types.UID]bool{}
	s.world.look(func(v *view) {
		for uid, pod := range v.pods {
			uids[uid] = !isSlot(pod)
		}
	})
	return uids
}

func (s *story) recovery(ctx context.Context) error {
	if err := s.world.await(ctx, "the Deployment to catch up", ampleForPods, func(v *view) bool { return v.available() >= v.replicas() && v.available() > minReplicas }); err != nil {
		return err
	}
	s.tell.act("The Deployment has caught up", "Lent pods count towards maxReplicas too, so the slots go back at once, and fresh ones are started in their place.")
	if err := s.world.await(ctx, "the slots to return", ampleForPods, func(v *view) bool { return v.lent() == 0 }); err != nil {
		return err
	}
	s.recorder.mark("slots returned")
	if err := s.showRow(ctx); err != nil {
		return err
	}
	calm := func(v *view) bool {
		return v.poolWarm() && v.replicas() == minReplicas && v.available() == minReplicas
	}
	if err := s.world.await(ctx, "warm slots and a Deployment of 4 again", ampleForSlots, calm); err != nil {
		return err
	}
	s.tell.say("pods", "4 pods and %d warm slots again.", wantedSlots)
	return nil
}

func (s *story) rollout(ctx context.Context) error {
	s.tell.act("A rollout", "A new image is deployed: kubectl set image deployment/chat consumer=chat/consumer:2. Half of the pods are replaced at a time; each wave takes "+
		fmt.Sprint(podReadySeconds)+" s.")
	s.rolloutFrom = time.Now()
	if err := s.deploy(ctx, "chat/consumer:2", deployAgent); err != nil {
		return err
	}
	if err := pause(ctx, intoRollout); err != nil {
		return err
	}
	s.tell.act("A backlog in the middle of the rollout", fmt.Sprintf("%d messages at once, and %d per second from now on: more than the 4 pods can do. "+
		"Scaling the Deployment now would add pods of a revision that nobody has seen at work.", rolloutBurst, busyRate))
	s.recorder.mark("%d messages at once, and %d/s", rolloutBurst, busyRate)
	s.sender.setRate(busyRate)
	if err := s.sender.burst(rolloutBurst); err != nil {
		return err
	}
	held := func(v *view) bool { return v.summary() == v1alpha1.SummaryHeld && v.lent() > 0 }
	if err := s.world.await(ctx, "the hold, with slots lent", time.Minute, held); err != nil {
		return err
	}
	s.recorder.mark("held, slots lent")
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := s.showRow(ctx); err != nil {
		return err
	}
	if err := s.world.await(ctx, "the end of the rollout", ampleForPods, (*view).complete); err != nil {
		return err
	}
	s.rolloutTo = time.Now()
	s.recorder.rolledOut(s.rolloutFrom, s.rolloutTo, "rollout: held")
	s.tell.act("The rollout is over", fmt.Sprintf("It took %d s.", int(s.rolloutTo.Sub(s.rolloutFrom).Seconds())))
	return nil
}

// deploy starts a rollout, and returns when the demo's own watch has seen it.
func (s *story) deploy(ctx context.Context, image, agent string) error {
	config := rest.CopyConfig(s.config)
	config.UserAgent = agent
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	s.recorder.mark("rollout of %s starts", image)
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"consumer","image":%q}]}}}}`, image)
	patched, err := client.AppsV1().Deployments(namespace).Patch(ctx, appName, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return s.world.await(ctx, "the rollout to start", time.Minute, func(v *view) bool { return v.target.Generation >= patched.Generation })
}

func (s *story) afterRollout(ctx context.Context) error {
	s.recorder.mark("rollout over")
	if err := s.world.await(ctx, "scaling to resume", time.Minute, func(v *view) bool { return v.replicas() > minReplicas }); err != nil {
		return err
	}
	s.recorder.mark("scaling resumes")
	if err := s.showRow(ctx); err != nil {
		return err
	}
	if err := s.world.await(ctx, "the Deployment to catch up", ampleForPods, func(v *view) bool { return v.available() >= v.replicas() }); err != nil {
		return err
	}
	s.tell.say("pods", "The Deployment has caught up.")
	s.tell.say("queue", "The day goes on: %d messages per second, work for %d pods.", busyRate, maxReplicas)
	s.recorder.mark("caught up")
	proved := func(v *view) bool {
		r := v.revision(goodRevision)
		return r != nil && r.Standing == v1alpha1.StandingKnownGood
	}
	if err := s.world.await(ctx, "the new revision to prove itself", ampleForPods, proved); err != nil {
		return err
	}
	rate := ""
	s.world.look(func(v *view) { rate = v.revision(goodRevision).ServicePerReplica })
	s.tell.say("pods", "Revision %d has proved itself under load: %s messages per second and pod. It is known-good now.", goodRevision, rate)
	s.recorder.mark("revision %d is known-good", goodRevision)
	return nil
}

func (s *story) badRevision(ctx context.Context) error {
	s.tell.act("A bad revision", fmt.Sprintf("In the middle of the day a change to a cache is deployed: %s. Tests were fine; its pods start and are ready "+
		"as ever. But each completes %d messages per second instead of %d. Nobody has told the operator.", badImage, badPerPod, perPod))
	s.badFrom = time.Now()
	if err := s.deploy(ctx, badImage, laterAgent); err != nil {
		return err
	}
	if err := s.world.await(ctx, "the end of the bad revision's rollout", ampleForPods, (*view).complete); err != nil {
		return err
	}
	s.badTo = time.Now()
	s.recorder.rolledOut(s.badFrom, s.badTo, fmt.Sprintf("revision %d", badRevision))
	s.recorder.mark("rollout over")
	return nil
}

// regression waits until the operator has found out.
func (s *story) regression(ctx context.Context) error {
	s.tell.act("More work than usual, or a revision that does less?", fmt.Sprintf("The rollout is over, all pods are ready, and the queue backs up. The operator waits until the pods "+
		"are no longer young, and measures for %d s at a time what one of them gets done.", int(evidenceBlock.Seconds())))
	found := func(v *view) bool { return v.summary() == v1alpha1.SummaryRegressed }
	if err := s.world.await(ctx, "the regression to be found", ampleForPods, found); err != nil {
		return err
	}
	s.foundAt = time.Now()
	s.world.look(func(v *view) { s.advice = v.diagnosis() })
	s.recorder.alarm(fmt.Sprintf("Regressed, %s", s.advice.Advice),
		fmt.Sprintf("regression found, %.0f s after the rollout; advice %s", s.foundAt.Sub(s.badTo).Seconds(), s.advice.Advice))
	if err := pause(ctx, 500*time.Millisecond); err != nil { // the operator sends its events after it has published
		return err
	}
	return s.showRow(ctx)
}

// rollBack has a person do what is advised, as it is printed: that is the default, and the row can be read before it is gone.
func (s *story) rollBack(ctx context.Context) error {
	command, err := commandOf(s.advice.Message)
	if err != nil {
		return err
	}
	s.tell.act("The rollback", "Whoever is on call runs the command as it is printed. With onRegression: RollBack the operator would have done it by itself.")
	if err := pause(ctx, 2*time.Second); err != nil { // to read it
		return err
	}
	s.tell.command(command)
	s.undoneAt = time.Now()
	s.recorder.mark("rolled back, as advised")
	if _, err := s.kubectl(ctx, strings.Fields(command)[1:]...); err != nil {
		return err
	}
	back := func(v *view) bool { return v.complete() && v.bad() == 0 }
	if err := s.world.await(ctx, "the end of the rollback", ampleForPods, back); err != nil {
		return err
	}
	s.recorder.rolledOut(s.undoneAt, time.Now(), "rollback")
	cured := func(v *view) bool {
		return v.diagnosis().Cause != v1alpha1.CauseThroughputRegressed && v.condition(v1alpha1.ConditionObjectiveMet) == metav1.ConditionTrue
	}
	if err := s.world.await(ctx, "the objective to be met again", ampleForPods, cured); err != nil {
		return err
	}
	s.curedAt = time.Now()
	s.recorder.mark("cured, %.0f s after the command", s.curedAt.Sub(s.undoneAt).Seconds())
	s.tell.say("queue", "Cured: the backlog drains in time again. The day is over: %d messages per second.", calmRate)
	s.sender.setRate(calmRate)
	if err := s.awaitBacklog(ctx, 20); err != nil {
		return err
	}
	s.tell.say("queue", "The backlog is worked off.")
	s.recorder.mark("backlog worked off")
	return s.world.await(ctx, "the slots to be warm", ampleForSlots, (*view).poolWarm)
}

// commandOf is the command in the operator's advice.
func commandOf(advice string) (string, error) {
	_, rest, found := strings.Cut(advice, "Roll back: kubectl ")
	if !found {
		return "", fmt.Errorf("the advice has no command: %s", advice)
	}
	command, _, _ := strings.Cut(rest, ". ")
	return "kubectl " + strings.TrimSuffix(command, "."), nil
}

func (s *story) awaitBacklog(ctx context.Context, below int64) error {
	for deadline := time.Now().Add(ampleForPods); ; {
		n, err := s.queue.backlog(ctx)
		if err != nil {
			return err
		}
		if n < below {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a backlog of %d was not worked off in %d min", n, int(ampleForPods.Minutes()))
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *story) calmAgain(ctx context.Context) error {
	s.tell.act("Calm", fmt.Sprintf("%d slots are warm, of the revision that is known-good.", wantedSlots))
	if err := pause(ctx, calmFor); err != nil {
		return err
	}
	return s.showRow(ctx)
}

// showRow prints what kubectl shows.
func (s *stage) showRow(ctx context.Context) error {
	out, err := s.kubectl(ctx, "get", "qs", "-n", namespace)
	if err != nil {
		return err
	}
	s.tell.table("kubectl get qs", out)
	return nil
}

// conclude has everything worked off, counts, checks, and writes the results. It returns which checks did not hold.
func (s *story) conclude(ctx context.Context) (failed []string, err error) {
	s.sender.setRate(0)
	for deadline := time.Now().Add(time.Minute); ; {
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return nil, context.Cause(ctx)
		}
		if s.accounts.totals().lost == 0 || time.Now().After(deadline) {
			break
		}
	}
	s.referee.wait()
	r, err := s.result()
	if err != nil {
		return nil, err
	}
	failed = r.check()
	r.ChecksFailed = append([]string{}, failed...)
	numbers, page := s.out(numbersFile), s.out(pageFile)
	if err := errors.Join(r.write(numbers), s.recorder.writePage(page, r, s.tell.remarks())); err != nil {
		return nil, err
	}
	s.tell.summary(r, relative(s.root, numbers), relative(s.root, page), s.keep)
	return failed, nil
}

// stay leaves everything running until an interrupt, with messages flowing.
func (s *stage) stay(ctx context.Context) error {
	s.sender.setRate(calmRate)
	s.tell.lookAround(s.clusterDir(), s.queue.url(), relative(s.root, s.bin("localcluster")))
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// result gathers what was measured.
func (s *story) result() (*result, error) {
	events, err := readAuditLog(filepath.Join(s.clusterDir(), "audit.log"))
	if err != nil {
		return nil, err
	}
	rollout, err := writesDuringRollout(events, namespace, appName, deployAgent, s.rolloutTo)
	if err != nil {
		return nil, err
	}
	t := s.accounts.totals()
	r := &result{
		FirstSlotInService:     seconds(s.lentAt[0].Sub(s.backlogAt)),
		CapacityWithStandby:    seconds(s.lentAt[len(s.lentAt)-1].Sub(s.backlogAt)),
		CapacityWithoutStandby: seconds(s.addedReadyAt.Sub(s.backlogAt)),
		SlotsLent:              len(s.lentAt),
		RolloutSeconds:         seconds(rollout.end.Sub(rollout.start)),
		TargetWrites:           len(rollout.writes),
		MessagesSent:           t.sent,
		MessagesDone:           t.done,
		MessagesLost:           t.lost,
		MessagesDoneAgain:      t.doneAgain,
		MessagesRedelivered:    t.redelivered,
		MessagesTakenBySlots:   t.bySlots,
		MessagesTakenByUnlent:  t.byUnlentSlots,
		SlotMessagesVerified:   t.verified,
		SlotsWanted:            wantedSlots,
		RegressionFound:        seconds(s.foundAt.Sub(s.badTo)),
		RollbackCured:          seconds(s.curedAt.Sub(s.undoneAt)),
		ForbiddenRequests:      len(refused(events, "system:serviceaccount:"+operatorNamespace+":"+operatorAccount)),
		firstTakenByUnlent:     t.firstFault,
		forbidden:              refused(events, "system:serviceaccount:"+operatorNamespace+":"+operatorAccount),
		writesDuringRollout:    rollout.writes,
	}
	s.world.look(func(v *view) { r.SlotsWarm = v.warm() })
	if _, number, ok := strings.Cut(s.advice.Advice, v1alpha1.AdviceRollBack+":"); ok {
		if r.AdvisedRevision, err = strconv.Atoi(number); err != nil {
			return nil, err
		}
	}
	return r, nil
}
