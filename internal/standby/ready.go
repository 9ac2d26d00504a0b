// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"strings"
	"time"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// report says whether the pool has its slots, and if not, why and what to do. The first that is true counts.
func (p *planner) report() {
	ready, reason, message := p.state()
	if p.in.Replicas > 0 && p.in.Template != nil && p.in.Template.Warning != "" {
		message += "; " + p.in.Template.Warning
	}
	p.plan.Ready, p.plan.Reason, p.plan.Message = ready, reason, message
}

func (p *planner) state() (ready bool, reason, message string) {
	c := p.plan.Counts
	full := c.Warm+c.Lent >= p.in.Replicas
	switch {
	case p.in.Replicas == 0 && c.Warm+c.Lent+c.Starting+c.Draining == 0:
		return false, v1alpha1.ReasonStandbyDisabled, "no pool is asked for"
	case p.in.Replicas == 0:
		return false, v1alpha1.ReasonStandbyDisabled, "no pool is asked for, and what is left of it goes: " + p.numbers()
	case p.in.Terminating:
		return false, v1alpha1.ReasonNamespaceTerminating, "the namespace is being deleted, and its slots with it"
	case p.in.Frozen != "" && !full:
		return false, p.in.Frozen, p.numbers() + "; slots are left as they are, and none is made"
	case p.in.Refusal != nil:
		return false, p.in.Refusal.Reason, p.in.Refusal.Message + p.left()
	case p.in.Revision == "":
		return false, v1alpha1.ReasonNoSoakedRevision, "no revision of the target has completed its rollout and stayed for rollout.soakSeconds yet; slots are made then" + p.left()
	case p.in.Template == nil:
		return false, v1alpha1.ReasonNoSoakedRevision, fmt.Sprintf("the template of revision %s is lost, and no slot can be made until a newer one has soaked%s", p.in.Revision, p.left())
	case p.pressed() && !full:
		return false, v1alpha1.ReasonReleasedUnderPressure, p.lacking() + "; slots are not refilled meanwhile; " + p.numbers()
	case p.plan.RefillAfter.After(p.now) && !full:
		return false, v1alpha1.ReasonReleasedUnderPressure, fmt.Sprintf("slots gave way to pods of the target, which lacked room; they are made again at %s; %s", clock(p.plan.RefillAfter), p.numbers())
	case p.in.ReturnAll && !full:
		return false, v1alpha1.ReasonScalingDisabled, "the target is switched off: its slots are ended, and none is made; " + p.numbers()
	case full:
		message = p.numbers() + p.replacement()
		if _, trouble := p.trouble(); trouble != "" {
			message += "; " + trouble
		}
		return true, v1alpha1.ReasonSlotsWarm, message
	}
	reason, message = p.filling()
	return false, reason, message
}

// filling is why a pool is not full that nothing keeps from filling.
func (p *planner) filling() (reason, message string) {
	if reason, trouble := p.trouble(); reason != "" {
		return reason, p.numbers() + "; " + trouble
	}
	return v1alpha1.ReasonSlotsStarting, p.numbers()
}

// trouble is why slots do not become warm, and what to do; empty where nothing keeps them.
func (p *planner) trouble() (reason, message string) {
	if s, n := p.worst(isFailing); s != nil {
		return v1alpha1.ReasonSlotsFailing, failure(s, n)
	}
	if s, n := p.worst(func(s *Slot) bool { return p.noNodeFor(s) >= UnschedulableFor }); s != nil {
		return v1alpha1.ReasonSlotsUnschedulable, noNode(s, n)
	}
	if s, _ := p.worst(func(s *Slot) bool { return !s.UnschedulableSince.IsZero() }); s != nil {
		p.again(p.now.Add(UnschedulableFor - p.noNodeFor(s))) // nothing else may happen until it is to be told
	}
	return "", ""
}

func (p *planner) numbers() string {
	c := p.plan.Counts
	parts := []string{fmt.Sprintf("%d of %d slots warm%s", c.Warm, p.in.Replicas, p.revisions())}
	for _, n := range []struct {
		count int32
		word  string
	}{{c.Lent, "lent"}, {c.Starting, "starting"}, {c.Draining, "draining"}, {c.Ending, "ending"}} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.count, n.word))
		}
	}
	if p.in.NoMixing && c.Lendable < c.Warm {
		parts = append(parts, fmt.Sprintf("%d not to be lent beside revision %s", c.Warm-c.Lendable, p.in.TargetRevision))
	}
	return strings.Join(parts, ", ")
}

// revisions tells which revisions the pool runs, where it is more than one or not the newest one.
func (p *planner) revisions() string {
	switch {
	case p.in.KnownGoodReplicas > 0:
		return fmt.Sprintf(" (%d of revision %s, %d of known-good revision %s)",
			p.warmOf(p.in.Revision), p.in.Revision, p.warmOf(p.in.KnownGood), p.in.KnownGood)
	case p.in.KnownGood != "" && p.in.Revision == p.in.KnownGood && p.in.TargetRevision != p.in.KnownGood:
		return fmt.Sprintf(" (%d of known-good revision %s)", p.warmOf(p.in.KnownGood), p.in.KnownGood)
	}
	return ""
}

func (p *planner) warmOf(revision string) int {
	n := 0
	for i := range p.slots {
		if s := &p.slots[i]; s.State == Warm && s.Revision == revision {
			n++
		}
	}
	return n
}

// left tells of slots that are there although none can be made.
func (p *planner) left() string {
	if c := p.plan.Counts; c.Warm+c.Lent == 0 {
		return ""
	}
	return " (" + p.numbers() + ")"
}

// replacement tells of slots that are being replaced.
func (p *planner) replacement() string {
	stale, older, newer := 0, 0, 0
	for i := range p.slots {
		s := &p.slots[i]
		if !s.Idle() || !p.stale(s) {
			continue
		}
		stale++
		switch {
		case s.Revision != p.in.Revision:
			older++
		case p.surplus[s.Name]:
			newer++
		}
	}
	switch {
	case stale == 0:
		return ""
	case older > 0:
		return fmt.Sprintf("; %d being replaced one by one by slots of revision %s", stale, p.in.Revision)
	case newer > 0:
		return fmt.Sprintf("; %d being replaced one by one by slots of known-good revision %s", stale, p.in.KnownGood)
	}
	return fmt.Sprintf("; %d being replaced one by one, because template or configuration changed", stale)
}

func (p *planner) lacking() string {
	if p.in.QuotaFailure {
		return "a ResourceQuota keeps pods of the target from being created: raise it (kubectl describe quota)"
	}
	return "a pod of the target has been unschedulable since " + clock(p.in.UnschedulableSince)
}

// worst is the idle slot, first by name, for which this is true, and how many there are.
func (p *planner) worst(is func(*Slot) bool) (first *Slot, n int) {
	for i := range p.slots {
		s := &p.slots[i]
		if !s.Idle() || !is(s) {
			continue
		}
		if n++; first == nil {
			first = s
		}
	}
	return first, n
}

// noNodeFor is how long a slot has been unschedulable; 0 if it is not.
func (p *planner) noNodeFor(s *Slot) time.Duration {
	if s.UnschedulableSince.IsZero() {
		return 0
	}
	return elapsed(p.now, s.UnschedulableSince)
}

func isFailing(s *Slot) bool { return s.Failing != "" }

func failure(s *Slot, n int) string {
	switch {
	case s.CreateFailed && n == 1:
		return fmt.Sprintf("the pod of slot %s cannot be created: %s", s.Name, s.Failing)
	case s.CreateFailed:
		return fmt.Sprintf("pods of %d slots cannot be created, one is slot %s: %s", n, s.Name, s.Failing)
	}
	message := fmt.Sprintf("%d slots fail, one is pod %s", n, s.Pod)
	if n == 1 {
		message = "1 slot fails, pod " + s.Pod
	}
	return fmt.Sprintf("%s: %s. See kubectl describe pod %s and kubectl logs %s --previous", message, s.Failing, s.Pod, s.Pod)
}

func noNode(s *Slot, n int) string {
	message := fmt.Sprintf("%d slots have no node, one is pod %s", n, s.Pod)
	if n == 1 {
		message = "1 slot has no node, pod " + s.Pod
	}
	return fmt.Sprintf("%s since %s: kubectl describe pod %s tells why. Add nodes or lower standby.replicas", message, clock(s.UnschedulableSince), s.Pod)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }
