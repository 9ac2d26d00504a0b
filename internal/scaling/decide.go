// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package scaling decides how many replicas a target gets and how many standby slots are in service.
//
// With backlog B, arrival rate λ, service rate μ, utilization ρ, concurrency c and objective T:
//
//	drain form    max( ceil(λ/(μ·ρ)), ceil(λ/μ + Σ Bᵢ·min(wᵢ/(Tᵢ·μ), 1/c)) )
//	plain form    ceil( Σ wᵢ·(Bᵢ + inFlightᵢ) / perReplica )
//	lent slots    max(0, desired − R) + max(0, min(desired, R) − available − slack)
//	              or, of a regressed revision with μ', if more: ceil( (λ − available·μ')/μ + Σ Bᵢ·min(wᵢ/(Tᵢ·μ), 1/c) )
//
// where wᵢ is the weight of queue i, λ = Σ wᵢ·λᵢ, and R is the target's spec.replicas.
//
// Why it is hard: what the formulas need is often not known, and "not known" is not 0. A queue that cannot be read is
// not empty, a service rate that was never measured is not slow, and memory that was lost in a restart is no proof that
// the last minutes were quiet. And the target is not always ours to write: what the formulas want and what may be
// written are two numbers, and slots are lent to cover the difference.
//
// Decide is a pure function: no client, no clock, no logger; the same input gives the same plan. It may be called on
// every event, as often or as rarely as there are any. In between, the last recommendation is taken to have stood.
package scaling

import (
	"time"
)

// Decide says what to do at now. m is the memory that the last call returned; its zero value is that of a program that
// has just started, which scales nothing down for one window.
func Decide(now time.Time, p Policy, o Observation, m Memory) (Plan, Memory) {
	in := gather(now, p, o, m)
	m = in.memory

	rec, growth := recommend(in)
	m.growth = growth
	in.recommended = rec.replicas
	if !in.Target.Found {
		m.slots = nil
		return missing(in), m.remember(in, nil, Finding{})
	}
	holds := holding(in)
	stable, m := stabilize(in, rec, m)
	end := limit(in, stable, rec)
	lent, m := lend(in, end.replicas, m)

	objective := objectiveMet(in)
	plan := Plan{
		Recommended:  &rec.replicas,
		Desired:      &end.replicas,
		Lent:         lent,
		Holds:        holds,
		Released:     in.released,
		Able:         able(in),
		Active:       active(in),
		Limited:      limited(stable, end),
		ObjectiveMet: objective,
		InFallback:   in.fallback,
		CheckQueue:   in.load.redelivered > tooManyRedelivered,
	}
	plan.DrainSeconds, plan.DrainNever = drainTime(in)
	plan.Reason, plan.Message = explain(in, rec, stable, end, lent)
	if change, binding := direction(in.Target.Replicas, end.replicas), firstBinding(holds, in.Target.Replicas, end.replicas); binding != nil {
		plan.Held = true
		plan.Reason, plan.Message = binding.Reason, heldMessage(in, *binding, end.replicas, lent)
	} else if change != none {
		plan.Replicas = &end.replicas
	}
	m = m.remember(in, &end.replicas, objective)
	plan.Again = again(in, m, stable)
	return plan, m
}

// missing is the plan without a target: nothing is known to be wanted, and every slot returns.
func missing(in input) Plan {
	const text = "the target Deployment does not exist or is being deleted; create it, or delete this QueueScaler"
	return Plan{
		Reason: reasonTargetMissing, Message: text,
		Holds:        []Restraint{{Reason: reasonTargetMissing, Message: text, Up: true, Down: true}},
		Able:         Finding{no, reasonTargetMissing, text},
		Active:       active(in),
		Limited:      Finding{no, reasonWithinRange, "there is no target"},
		ObjectiveMet: Finding{unknown, reasonObjectiveUnknown, "there is no target"},
		InFallback:   in.fallback,
	}
}
