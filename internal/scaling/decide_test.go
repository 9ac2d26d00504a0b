// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package scaling

import (
	"math"
	"strings"
	"testing"
	"time"
)

// noon is when the tables decide; watching began 20 min before.
var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// calm is 12 replicas that are right for what arrives, and a full pool.
func calm() Observation {
	return Observation{
		Name:    "availability",
		Target:  Target{Found: true, Replicas: 12, Available: 12, StartUp: 25 * time.Second, SettledOnce: true},
		Rollout: Rollout{State: "Stable", MayScaleUp: true, MayScaleDown: true, MayLend: true, Hash: "6d5f8c", Message: "revision 6 stable"},
		Queues:  []Queue{{Name: "q", Weight: 1, Fresh: true, InFlight: new(int64(10)), Arrival: new(76.0), Throughput: new(76.0)}},
		Rate:    mu(8, Given),
		Pool:    Pool{Warm: 3, StartUp: 40 * time.Second},
	}
}

func mu(perReplica float64, known string) ServiceRate {
	return ServiceRate{PerReplica: perReplica, Known: known}
}

func surge(o *Observation) { o.Queues[0].Depth, o.Queues[0].Arrival = 1200, new(96.0) } // 15 wanted
func lull(o *Observation)  { o.Queues[0].Arrival = new(20.0) }                          // 4 wanted

// regressed: 5/s a replica of what was 8/s, so that 12 complete 60/s of 76/s.
func regressed(o *Observation) {
	o.Rate = mu(5, Measured)
	o.Regressed = &Regressed{Present: 5, Slot: 8, Message: "revision 7 completes 5/s per replica, revision 6 did 8/s"}
}
func rolling(o *Observation) { o.Rollout = rolloutIn("Rolling") }

func rolloutIn(state string) Rollout {
	return Rollout{State: state, InProgress: true, MayLend: true, Progressing: state == "Rolling", Hash: "6d5f8c",
		LastStable: noon.Add(-6 * time.Minute), Message: "revision 7 rolling out for 6 min, 9 of 12 updated"}
}

// watched is the memory after 20 min of the same observation, decided upon every 10 s.
func watched(p Policy, o Observation) Memory {
	var m Memory
	for at := -20 * time.Minute; at < 0; at += 10 * time.Second {
		_, m = Decide(noon.Add(at), p, o, m)
	}
	return m
}

func show(n *int32) any {
	if n == nil {
		return "none"
	}
	return *n
}

// change makes a calm policy or observation another one.
type change func(*Policy, *Observation)

// observe is a change of the observation alone.
func observe(changes ...func(*Observation)) change {
	return func(_ *Policy, o *Observation) {
		for _, c := range changes {
			c(o)
		}
	}
}

// rule is what follows from one change. Where replicas is nil nothing may be written.
type rule struct {
	name     string
	change   change
	fresh    bool // the memory is that of a program that has just started
	desired  *int32
	replicas *int32
	lent     int32
	reason   string
	message  string
}

var rules = []rule{
	{name: "calm", change: observe(), desired: new(int32(12)), reason: "AsRecommended"},
	{name: "surge", change: observe(surge), desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended",
		message: "12 → 15: backlog 1200 within 60 s, 96/s arriving, 8/s per replica (given); 3 slots lent, 0 left"},
	{name: "surge at first sight", change: observe(surge), fresh: true, desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "lull", change: observe(lull), desired: new(int32(4)), replicas: new(int32(4)), reason: "AsRecommended"},
	{name: "lull at first sight", change: observe(lull), fresh: true, desired: new(int32(4)), reason: "JustStarted"},
	{name: "tolerance up", change: observe(func(o *Observation) { o.Queues[0].Arrival = new(82.0) }), desired: new(int32(12)), reason: "WithinTolerance"},
	{name: "no tolerance where more arrives than is completed",
		change:  func(p *Policy, o *Observation) { p.Drain.Utilization = 1; o.Queues[0].Arrival = new(97.0) },
		desired: new(int32(13)), replicas: new(int32(13)), lent: 1, reason: "AsRecommended"},
	{name: "tolerance does not stop the second replica",
		change: func(p *Policy, o *Observation) {
			p.Min, o.Target.Replicas, o.Target.Available, o.Queues[0].Arrival = 1, 1, 1, new(6.6)
		},
		desired: new(int32(2)), replicas: new(int32(2)), lent: 1, reason: "AsRecommended"},

	{name: "suspended freezes slots", change: observe(surge, func(o *Observation) { o.Suspended, o.Pool = true, Pool{Warm: 1, Lent: 2} }),
		desired: new(int32(15)), lent: 2, reason: "Suspended"},
	{name: "conflict", change: observe(surge, func(o *Observation) { o.Conflict = "HorizontalPodAutoscaler chat/availability scales the same target" }),
		desired: new(int32(15)), reason: "ConflictingAutoscaler", message: "HorizontalPodAutoscaler chat/availability"},
	{name: "missing target", change: observe(surge, func(o *Observation) { o.Target.Found = false; o.Pool.Lent = 3 }), reason: "TargetMissing"},
	{name: "switched off", change: observe(surge, func(o *Observation) { o.Target.Replicas, o.Target.Available, o.Pool.Lent = 0, 0, 3 }),
		desired: new(int32(15)), reason: "ScalingDisabled"},
	{name: "foreign zero with min 0",
		change: func(p *Policy, o *Observation) {
			surge(o)
			p.Min, o.Target.Replicas, o.Target.Available, o.Target.ForeignZero, o.Pool.Lent = 0, 0, 0, true, 3
		},
		desired: new(int32(15)), reason: "ScalingDisabled"},
	{name: "our own zero, and min was raised since", change: observe(func(o *Observation) {
		o.Target.Replicas, o.Target.Available, o.Target.OwnZero, o.Queues[0].Arrival = 0, 0, true, new(0.0)
	}), desired: new(int32(4)), replicas: new(int32(4)), lent: 3, reason: "TooFewReplicas"},
	{name: "contested", change: observe(surge, func(o *Observation) {
		o.Target.ContestedUntil, o.Target.ContestedBy = noon.Add(7*time.Minute), "argocd-controller"
	}), desired: new(int32(15)), lent: 3, reason: "ReplicasContested",
		message: "15 wanted, 12 kept: argocd-controller keeps writing the target's replicas, which are left alone until 12:07:00 UTC"},
	{name: "contested no more", change: observe(surge, func(o *Observation) { o.Target.ContestedUntil = noon }),
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},

	{name: "stale: the last decision stands", change: observe(lull, func(o *Observation) { o.Queues[0].Fresh, o.Queues[0].Problem = false, "redis://q:6379 refused" }),
		fresh: true, desired: new(int32(12)), reason: "ReadingsStale", message: "12 replicas: redis://q:6379 refused"},
	{name: "stale at first sight: lent slots stay", change: observe(func(o *Observation) { o.Queues[0].Fresh, o.Pool = false, Pool{Lent: 3} }),
		fresh: true, desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "ReadingsStale"},
	{name: "one of two queues is stale: up goes", change: observe(surge, func(o *Observation) { o.Queues = append(o.Queues, Queue{Name: "r", Weight: 1}) }),
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "one of two queues is stale: down does not", change: observe(lull, func(o *Observation) {
		o.Queues = append(o.Queues, Queue{Name: "r", Weight: 1, Problem: "no such stream"})
	}), fresh: true, desired: new(int32(12)), reason: "ReadingsStale", message: "1 of 2 queues cannot be read: no such stream"},
	{name: "fallback", change: func(p *Policy, o *Observation) {
		p.Fallback = &Fallback{2 * time.Minute, 14}
		o.Queues[0].Fresh = false
	},
		desired: new(int32(14)), replicas: new(int32(14)), lent: 2, reason: "Fallback"},
	{name: "a hold outranks the fallback",
		change: func(p *Policy, o *Observation) {
			p.Fallback = &Fallback{2 * time.Minute, 14}
			o.Queues[0].Fresh = false
			rolling(o)
		},
		desired: new(int32(14)), lent: 2, reason: "RolloutInProgress"},

	{name: "max binds", change: observe(func(o *Observation) { o.Queues[0].Arrival = new(400.0) }), desired: new(int32(40)), replicas: new(int32(40)), lent: 3,
		reason: "TooManyReplicas", message: "12 → 40: 63 wanted, maxReplicas is 40; raise maxReplicas to at least 63"},
	{name: "above max", change: observe(func(o *Observation) { o.Target.Replicas, o.Target.Available, o.Pool.Lent = 45, 45, 2 }),
		desired: new(int32(12)), replicas: new(int32(12)), reason: "AsRecommended"},
	{name: "a hold outranks max", change: observe(rolling, func(o *Observation) { o.Target.Replicas, o.Target.Available = 45, 45 }),
		desired: new(int32(12)), reason: "RolloutInProgress"},
	{name: "min binds", change: observe(func(o *Observation) { o.Queues[0].Arrival = new(0.0) }), desired: new(int32(4)), replicas: new(int32(4)), reason: "TooFewReplicas"},
	{name: "a hold outranks min", change: observe(rolling, func(o *Observation) { o.Target.Replicas, o.Target.Available, o.Queues[0].Arrival = 2, 2, new(0.0) }),
		desired: new(int32(4)), lent: 2, reason: "RolloutInProgress"},

	{name: "redelivered", change: observe(surge, func(o *Observation) { o.Queues[0].Redelivered = 0.3 }), desired: new(int32(12)),
		reason: "MessagesRedelivered", message: "12 replicas: 30% of the deliveries are repeated"},
	{name: "pods fail", change: observe(surge, func(o *Observation) { o.Target.PodsFailing = "2 pods crash-loop: exit code 137" }),
		desired: new(int32(15)), lent: 3, reason: "PodsFailing", message: "2 pods crash-loop: exit code 137; more pods would fail alike; 3 slots lent"},
	{name: "hour-long jobs do not ask for hundreds",
		change: func(_ *Policy, o *Observation) {
			o.Rate, o.Queues[0].Arrival, o.Queues[0].Depth = mu(1.0/3600, Given), new(0.0), 20
		},
		desired: new(int32(20)), replicas: new(int32(20)), lent: 3, reason: "AsRecommended"},
	{name: "long jobs in flight are not ended",
		change: func(_ *Policy, o *Observation) {
			o.Rate, o.Queues[0].Arrival = mu(1.0/301, Given), new(0.0)
		},
		desired: new(int32(4)), reason: "MessagesInFlight", message: "10 messages in flight, each takes about 5 min"},
	{name: "long jobs with nothing in flight",
		change: func(_ *Policy, o *Observation) {
			o.Rate, o.Queues[0].Arrival, o.Queues[0].InFlight = mu(1.0/301, Given), new(0.0), new(int64(0))
		},
		desired: new(int32(4)), replicas: new(int32(4)), reason: "TooFewReplicas"},
	{name: "plain form counts what is in flight",
		change:  func(p *Policy, o *Observation) { p.Drain, p.PerReplica, o.Queues[0].Depth = nil, 100, 1991 },
		desired: new(int32(21)), replicas: new(int32(21)), lent: 3, reason: "AsRecommended"},

	{name: "no arrival rate, nothing waits: half", change: observe(func(o *Observation) { o.Queues[0].Arrival = nil }),
		desired: new(int32(6)), replicas: new(int32(6)), reason: "ArrivalRateUnknown"},
	{name: "no arrival rate, something waits: as many", change: observe(func(o *Observation) { o.Queues[0].Arrival, o.Queues[0].Depth = nil, 5 }),
		desired: new(int32(12)), reason: "ArrivalRateUnknown"},
	{name: "no service rate, behind: double", change: observe(surge, func(o *Observation) { o.Rate, o.Queues[0].Throughput = ServiceRate{}, new(90.0) }),
		fresh: true, desired: new(int32(24)), replicas: new(int32(24)), lent: 3, reason: "ServiceRateUnknown"},
	{name: "no service rate, gets on: as many", change: observe(surge, func(o *Observation) { o.Rate, o.Queues[0].Throughput = ServiceRate{}, new(120.0) }),
		desired: new(int32(12)), reason: "ServiceRateUnknown"},
	{name: "lower bound tells when doubling is too much", change: observe(surge, func(o *Observation) { o.Rate, o.Queues[0].Throughput = mu(8, AtLeast), new(90.0) }),
		fresh: true, desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "ServiceRateUnknown"},
	{name: "lower bound above the prior takes its place",
		change:  func(p *Policy, o *Observation) { surge(o); p.Drain.Prior, o.Rate = 2, mu(3, AtLeast) },
		desired: new(int32(40)), replicas: new(int32(40)), lent: 3, reason: "AsRecommended"},

	{name: "regressed, and enough", change: observe(regressed, func(o *Observation) { o.Queues[0].Arrival = new(44.0) }),
		desired: new(int32(12)), reason: "WithinTolerance"},
	{name: "regressed: slots first, replicas beyond", change: observe(regressed), desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "SlotsFirst",
		message: "12 → 15: 19 wanted, 3 slots of the known-good revision do the work of 4: revision 7 completes 5/s per replica, revision 6 did 8/s"},
	{name: "regressed: slots that do all of it", change: observe(regressed, func(o *Observation) { o.Queues[0].Arrival = new(62.0) }),
		desired: new(int32(12)), lent: 1, reason: "SlotsFirst"},
	{name: "regressed: above desired", change: observe(regressed, func(o *Observation) {
		o.Queues[0].Arrival, o.Target.Replicas, o.Target.Available = new(96.0), 24, 16
	}), desired: new(int32(24)), lent: 3, reason: "AsRecommended"},
	{name: "regressed: a backlog counts", change: observe(regressed, func(o *Observation) { o.Queues[0].Arrival, o.Queues[0].Depth = new(50.0), 1080 }),
		desired: new(int32(12)), lent: 1, reason: "SlotsFirst"},
	{name: "regressed: room is left for slots, also for those on their way", change: observe(regressed, func(o *Observation) {
		o.Queues[0].Arrival, o.Pool = new(400.0), Pool{Warm: 1, Lent: 1, Coming: 1}
	}), desired: new(int32(37)), replicas: new(int32(37)), lent: 2, reason: "TooManyReplicas",
		message: "100 wanted, maxReplicas is 40, 3 of them left for slots of the known-good revision; the revision does less than the known-good one: see status.diagnosis before raising maxReplicas"},
	{name: "regressed: none is taken away for slots", change: observe(regressed, func(o *Observation) {
		o.Queues[0].Arrival, o.Target.Replicas, o.Target.Available = new(400.0), 39, 39
	}), desired: new(int32(39)), lent: 1, reason: "TooManyReplicas"},
	{name: "regressed, and no slots", change: observe(regressed, func(o *Observation) { o.Pool = Pool{} }),
		desired: new(int32(19)), replicas: new(int32(19)), reason: "AsRecommended"},
	{name: "regressed, and nothing is known", change: observe(regressed, func(o *Observation) { o.Regressed.Present = math.NaN() }),
		desired: new(int32(19)), replicas: new(int32(19)), lent: 3, reason: "AsRecommended"},
	{name: "regressed, in the plain form",
		change: func(p *Policy, o *Observation) {
			regressed(o)
			p.Drain, p.PerReplica = nil, 100
		},
		desired: new(int32(4)), replicas: new(int32(4)), lent: 2, reason: "TooFewReplicas"},

	{name: "rolling", change: observe(rolling, surge), desired: new(int32(15)), lent: 3, reason: "RolloutInProgress",
		message: "15 wanted, 12 kept: revision 7 rolling out for 6 min, 9 of 12 updated; 3 slots lent, 0 left. Scale-up resumes at its end or at 12:04:00 UTC. Now: kubectl annotate qs availability capacity.queuescaler.io/release-hold=6d5f8c"},
	{name: "rolling, down", change: observe(rolling, lull), desired: new(int32(4)), reason: "RolloutInProgress", message: "Scale-down resumes at its end."},
	{name: "rolling, maxUnavailable is not lent for", change: observe(rolling, func(o *Observation) { o.Target.Available, o.Target.MaxUnavailable = 9, 3 }),
		desired: new(int32(12)), reason: "AsRecommended"},
	{name: "pods are missing", change: observe(func(o *Observation) {
		o.Target.Available, o.Rollout.MayScaleUp, o.Rollout.MayScaleDown = 10, false, false
	}), desired: new(int32(12)), lent: 2, reason: "AsRecommended"},
	{name: "pods are missing, and more are wanted", change: observe(surge, func(o *Observation) {
		o.Target.Available, o.Rollout.MayScaleUp, o.Rollout.MayScaleDown, o.Rollout.Message = 10, false, false, "revision 6 stable, 10 of 12 available"
	}), fresh: true, desired: new(int32(15)), lent: 3, reason: "PodsUnavailable", message: "Scale-up resumes when all pods are available."},
	{name: "released by a person, even if stuck", change: observe(surge, func(o *Observation) { o.Rollout = rolloutIn("Stuck"); o.Rollout.Released = true }),
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "a released hold still scales nothing down", change: observe(rolling, lull, func(o *Observation) { o.Rollout.Released = true }),
		desired: new(int32(4)), reason: "RolloutInProgress"},
	{name: "timed out", change: observe(rolling, surge, func(o *Observation) { o.Rollout.LastStable = noon.Add(-10 * time.Minute) }),
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "stuck never times out", change: observe(surge, func(o *Observation) { o.Rollout = rolloutIn("Stuck"); o.Rollout.LastStable = noon.Add(-10 * time.Hour) }),
		desired: new(int32(15)), lent: 3, reason: "RolloutStuck", message: "Scale-up resumes at its end."},
	{name: "a flagged revision never times out", change: observe(surge, rolling, func(o *Observation) {
		o.Rollout.LastStable, o.Rollout.Flagged = noon.Add(-10*time.Hour), true
	}), desired: new(int32(15)), lent: 3, reason: "RolloutInProgress", message: "Scale-up resumes at its end. Now: kubectl annotate"},
	{name: "missed for long, but the revision is flagged",
		change: func(p *Policy, o *Observation) {
			surge(o)
			rolling(o)
			p.Rollout.ReleaseAfterMissed, o.Pool, o.Rollout.Flagged = time.Minute, Pool{}, true
		},
		desired: new(int32(15)), reason: "RolloutInProgress"},
	{name: "a person releases a flagged revision", change: observe(surge, rolling, func(o *Observation) { o.Rollout.Released, o.Rollout.Flagged = true, true }),
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "rolling back never times out", change: observe(surge, func(o *Observation) {
		o.Rollout = rolloutIn("RollingBack")
		o.Rollout.LastStable = noon.Add(-10 * time.Hour)
	}),
		desired: new(int32(15)), lent: 3, reason: "RolloutInProgress"},
	{name: "missed for long, but slots are left",
		change:  func(p *Policy, o *Observation) { surge(o); rolling(o); p.Rollout.ReleaseAfterMissed = time.Minute },
		desired: new(int32(15)), lent: 3, reason: "RolloutInProgress"},
	{name: "missed for long and no slot left",
		change: func(p *Policy, o *Observation) {
			surge(o)
			rolling(o)
			p.Rollout.ReleaseAfterMissed, o.Pool = time.Minute, Pool{}
		},
		desired: new(int32(15)), replicas: new(int32(15)), reason: "AsRecommended"},
	{name: "missed for long, but the rollout does not get on",
		change: func(p *Policy, o *Observation) {
			surge(o)
			rolling(o)
			p.Rollout.ReleaseAfterMissed, o.Pool, o.Rollout.Progressing = time.Minute, Pool{}, false
		},
		desired: new(int32(15)), reason: "RolloutInProgress"},
	{name: "ScaleUpOnly, rolling", change: func(p *Policy, o *Observation) { surge(o); rolling(o); p.Rollout.Mode = ScaleUpOnly },
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "ScaleUpOnly, stuck", change: func(p *Policy, o *Observation) { surge(o); o.Rollout, p.Rollout.Mode = rolloutIn("Stuck"), ScaleUpOnly },
		desired: new(int32(15)), lent: 3, reason: "RolloutStuck"},
	{name: "Ignore, stuck", change: func(p *Policy, o *Observation) { surge(o); o.Rollout, p.Rollout.Mode = rolloutIn("Stuck"), Ignore },
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "Ignore scales nothing down either", change: func(p *Policy, o *Observation) { lull(o); rolling(o); p.Rollout.Mode = Ignore },
		desired: new(int32(4)), reason: "RolloutInProgress"},
	{name: "lend first", change: observe(surge, func(o *Observation) {
		o.Rollout = rolloutIn("PausedPending")
		o.Rollout.MayScaleUp, o.Rollout.LendFirst = true, true
	}), desired: new(int32(15)), lent: 3, reason: "RolloutInProgress"},
	{name: "lend first, none left", change: observe(surge, func(o *Observation) {
		o.Rollout, o.Pool = rolloutIn("PausedPending"), Pool{Lent: 3}
		o.Rollout.MayScaleUp, o.Rollout.LendFirst = true, true
	}), desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "nothing is lent before the target settled", change: observe(surge, func(o *Observation) { o.Target.SettledOnce = false }),
		desired: new(int32(15)), replicas: new(int32(15)), reason: "AsRecommended"},
	{name: "Recreate lends no other revision", change: observe(surge, rolling, func(o *Observation) { o.Target.Recreate, o.Pool.OtherRevision = true, true }),
		desired: new(int32(15)), reason: "RolloutInProgress"},
	{name: "incompatible takes lent slots back", change: observe(surge, rolling, func(o *Observation) {
		o.Target.Incompatible, o.Pool = true, Pool{Lent: 3, OtherRevision: true}
	}), desired: new(int32(15)), reason: "RolloutInProgress"},
	{name: "lending: Forbid", change: func(p *Policy, o *Observation) {
		surge(o)
		rolling(o)
		p.Rollout.ForbidLending, o.Pool.OtherRevision = true, true
	}, desired: new(int32(15)), reason: "RolloutInProgress"},
	{name: "lending: Forbid lends the current revision", change: func(p *Policy, o *Observation) { surge(o); p.Rollout.ForbidLending = true },
		desired: new(int32(15)), replicas: new(int32(15)), lent: 3, reason: "AsRecommended"},
	{name: "at first sight lent slots stay", change: observe(func(o *Observation) { o.Pool = Pool{Lent: 3} }), fresh: true, desired: new(int32(12)), lent: 3, reason: "AsRecommended"},
	{name: "lent slots above max return at once", change: func(p *Policy, o *Observation) { p.Max, o.Pool = 13, Pool{Lent: 3} },
		fresh: true, desired: new(int32(12)), lent: 1, reason: "AsRecommended"},
	{name: "behavior: one policy", change: func(p *Policy, o *Observation) {
		surge(o)
		p.Behavior.ScaleUp.Policies = []RatePolicy{{Value: 2, Period: time.Minute}}
	}, desired: new(int32(14)), replicas: new(int32(14)), lent: 2, reason: "ScaleUpLimit"},
	{name: "behavior: disabled", change: func(p *Policy, o *Observation) { lull(o); p.Behavior.ScaleDown.Disabled = true },
		desired: new(int32(12)), reason: "ScaleDownLimit"},
	{name: "nothing known of the rollout permits nothing", change: observe(surge, func(o *Observation) { o.Rollout = Rollout{} }),
		fresh: true, desired: new(int32(15)), reason: "PodsUnavailable"},
}

// TestRules changes a calm target in one respect each.
func TestRules(t *testing.T) {
	for _, c := range rules {
		t.Run(c.name, func(t *testing.T) {
			p, o := chat(), calm()
			p.Fallback = nil
			c.change(&p, &o)
			var m Memory
			if !c.fresh {
				m = watched(p, o)
			}
			plan, _ := Decide(noon, p, o, m)
			if show(plan.Desired) != show(c.desired) || show(plan.Replicas) != show(c.replicas) || plan.Lent != c.lent || plan.Reason != c.reason {
				t.Errorf("desired %v, replicas %v, lent %d, %s; want desired %v, replicas %v, lent %d, %s\n%s", show(plan.Desired), show(plan.Replicas), plan.Lent,
					plan.Reason, show(c.desired), show(c.replicas), c.lent, c.reason, plan.Message)
			}
			if !strings.Contains(plan.Message, c.message) {
				t.Errorf("message %q does not contain %q", plan.Message, c.message)
			}
			if state := o.Rollout.State; (state == "Stuck" || state == "RollingBack") && strings.Contains(plan.Message, annotationReleaseHold) {
				t.Errorf("%s: nobody is to be told to release the hold: %q", state, plan.Message)
			}
		})
	}
}

// TestFormula checks the drain form by hand.
func TestFormula(t *testing.T) {
	const c1 = 1.0
	for _, c := range []struct {
		name   string
		drain  Drain
		rate   float64
		queues []Queue
		want   int32
	}{
		{"steady state", Drain{60, 0.8, c1, 0}, 8, []Queue{{Arrival: new(96.0)}}, 15},         // 96/6.4 = 15
		{"backlog", Drain{60, 0.8, c1, 0}, 8, []Queue{{Arrival: new(96.0), Depth: 2400}}, 17}, // 12 + 2400/480 = 17
		{"B waiting messages need B replicas at most", Drain{60, 1, c1, 0}, 0.001, []Queue{{Arrival: new(0.0), Depth: 7}}, 7},
		{"and B/c where each works on c", Drain{60, 1, 4, 0}, 0.001, []Queue{{Arrival: new(0.0), Depth: 7}}, 2},
		{"weights", Drain{60, 1, c1, 0}, 8, []Queue{{Arrival: new(40.0)}, {Weight: 3, Arrival: new(8.0), Depth: 320}}, 10},                                  // (40+24)/8 + 3·320/480 = 8 + 2
		{"a queue's own objective", Drain{60, 1, c1, 0}, 8, []Queue{{Arrival: new(8.0), Depth: 960}, {DrainSeconds: 10, Arrival: new(0.0), Depth: 400}}, 8}, // 1 + 2 + 5
		{"one message waits", Drain{60, 0.8, c1, 0}, 1000, []Queue{{Arrival: new(0.0), Depth: 1}}, 1},
		{"a rounding error is no replica", Drain{60, 0.8, c1, 0}, 0.1, []Queue{{Arrival: new(0.24)}}, 3}, // 0.24/0.08 = 3
		{"beyond all bounds", Drain{60, 0.8, c1, 0}, 1e-8, []Queue{{Arrival: new(1e15)}}, maxCount},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := calm()
			o.Rate.PerReplica = c.rate
			o.Queues = c.queues
			for i := range o.Queues {
				o.Queues[i].Fresh = true
			}
			p := chat()
			p.Drain = &c.drain
			if plan, _ := Decide(noon, p, o, Memory{}); *plan.Recommended != c.want {
				t.Errorf("got %d, want %d: %s", *plan.Recommended, c.want, plan.Message)
			}
		})
	}
}

// TestObjective: the condition and the drain time.
func TestObjective(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Policy, *Observation)
		drain   float64 // -1: never, -2: unknown
		status  string
		reason  string
		message string
	}{
		{"nothing waits", func(*Policy, *Observation) {}, 0, "True", "WithinObjective", "nothing waits"},
		{"in time", func(_ *Policy, o *Observation) { o.Queues[0].Depth = 600 }, 30, "True", "WithinObjective", "backlog 600 drains in 30 s, objective 60 s"},
		{"too late", func(_ *Policy, o *Observation) { o.Queues[0].Depth = 2400 }, 120, "False", "ObjectiveMissed", "backlog 2400 drains in 120 s, objective 60 s"},
		{"lent slots count", func(_ *Policy, o *Observation) { o.Queues[0].Depth, o.Pool.Lent = 2400, 5 }, 40, "True", "WithinObjective", ""},
		{"never", func(_ *Policy, o *Observation) { surge(o) }, -1, "False", "ObjectiveMissed", "backlog 1200 never drains: 96/s arrive, 12 serving pods complete 96/s"},
		{"no more waits than is taken at once", func(_ *Policy, o *Observation) { surge(o); o.Queues[0].Depth = 12 }, 0.125, "True", "WithinObjective", ""},
		{"nobody serves", func(_ *Policy, o *Observation) { surge(o); o.Target.Available = 0 }, -1, "False", "ObjectiveMissed", "0 serving pods"},
		{"stale", func(_ *Policy, o *Observation) { o.Queues[0].Fresh = false }, -2, "Unknown", "DrainTimeUnknown", ""},
		{"arrivals unknown", func(_ *Policy, o *Observation) { surge(o); o.Queues[0].Arrival = nil }, -2, "Unknown", "DrainTimeUnknown", "not known yet"},
		{"service rate unknown", func(_ *Policy, o *Observation) { surge(o); o.Rate = ServiceRate{}; o.Queues[0].Throughput = new(106.0) }, 120, "False", "ObjectiveMissed", ""},
		{"long messages", func(_ *Policy, o *Observation) { o.Rate.PerReplica, o.Queues[0].Depth = 0.01, 3 }, 25, "Unknown", "MessageLongerThanObjective", "queue q"},
		{"plain form, met", func(p *Policy, o *Observation) { p.Drain, p.PerReplica, o.Queues[0].Depth = nil, 100, 1100 }, 55, "True", "WithinObjective", "backlog 1100 and 10 in flight ask for 12 replicas at 100 each, 12 serve"},
		{"plain form, missed", func(p *Policy, o *Observation) { p.Drain, p.PerReplica, o.Queues[0].Depth = nil, 100, 1200 }, 60, "False", "ObjectiveMissed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, o := chat(), calm()
			c.change(&p, &o)
			plan, _ := Decide(noon, p, o, Memory{})
			got := -2.0
			if plan.DrainNever {
				got = -1
			} else if plan.DrainSeconds != nil {
				got = *plan.DrainSeconds
			}
			if math.Abs(got-c.drain) > 1e-9 || string(plan.ObjectiveMet.Status) != c.status || plan.ObjectiveMet.Reason != c.reason || !strings.Contains(plan.ObjectiveMet.Message, c.message) {
				t.Errorf("drain %v, want %v; %+v, want %s %s %q", got, c.drain, plan.ObjectiveMet, c.status, c.reason, c.message)
			}
		})
	}
}

// TestReleaseSaysWhy: an early end of a hold is told even while nothing is wanted.
func TestReleaseSaysWhy(t *testing.T) {
	for want, change := range map[string]func(*Policy, *Observation){
		"HoldReleased: released by annotation": func(_ *Policy, o *Observation) { o.Rollout.Released = true },
		"HoldTimedOut: held for 10 min":        func(_ *Policy, o *Observation) { o.Rollout.LastStable = noon.Add(-11 * time.Minute) },
		"HoldReleased: the objective has been missed for 20 min and no warm slot is left": func(p *Policy, o *Observation) {
			surge(o)
			p.Rollout.ReleaseAfterMissed, p.Rollout.HoldTimeout, o.Pool = time.Minute, 0, Pool{}
		},
	} {
		p, o := chat(), calm()
		rolling(&o)
		change(&p, &o)
		plan, _ := Decide(noon, p, o, watched(p, o))
		if plan.Released == nil || !strings.HasPrefix(plan.Released.Reason+": "+plan.Released.Message, want) {
			t.Errorf("released %+v, want %s", plan.Released, want)
		}
	}
}

// TestAgain: the plan names the moment from which it would be another, and is another then and not before.
func TestAgain(t *testing.T) {
	for name, change := range map[string]func(*Policy, *Observation){
		"restart window": func(_ *Policy, o *Observation) { lull(o) },
		"hold timeout":   func(_ *Policy, o *Observation) { rolling(o); surge(o) },
		"contest":        func(_ *Policy, o *Observation) { surge(o); o.Target.ContestedUntil = noon.Add(time.Minute) },
		"lent slots":     func(_ *Policy, o *Observation) { o.Pool = Pool{Lent: 3} },
		"fallback":       func(p *Policy, o *Observation) { p.Fallback, o.Queues[0].Fresh = &Fallback{time.Minute, 20}, false },
		"release after missed": func(p *Policy, o *Observation) {
			rolling(o)
			surge(o)
			p.Rollout.ReleaseAfterMissed, o.Pool = 30*time.Second, Pool{}
		},
		"quiet": func(p *Policy, o *Observation) {
			p.Min, o.Queues[0].Arrival, o.Queues[0].InFlight, o.Queues[0].QuietSince = 0, new(0.0), new(int64(0)), noon.Add(-10*time.Second)
			o.Target.Replicas, o.Target.Available = 1, 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, o := chat(), calm()
			p.Fallback = nil
			change(&p, &o)
			first, m := Decide(noon, p, o, Memory{})
			now, plan := noon, first
			for turns := 0; show(plan.Replicas) == show(first.Replicas) && plan.Lent == first.Lent; turns++ {
				if plan.Again <= 0 || turns > 5 {
					t.Fatalf("after %s and %d turns: again %s, still %v and %d lent", now.Sub(noon), turns, plan.Again, show(plan.Replicas), plan.Lent)
				}
				if early, _ := Decide(now.Add(plan.Again-10*time.Millisecond), p, o, m); show(early.Replicas) != show(plan.Replicas) || early.Lent != plan.Lent {
					t.Errorf("changed before its time: %v and %d lent", show(early.Replicas), early.Lent)
				}
				now = now.Add(plan.Again)
				plan, m = Decide(now, p, o, m)
			}
		})
	}
}
