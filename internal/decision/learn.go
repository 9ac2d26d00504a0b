// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package decision

import (
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/scaling"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// Learn takes in what the queues told since the last look: readings has those of each queue, oldest first, and after them those
// of the driver, where the spec has one.
func (s *Memory) Learn(seen *Observation, readings [][]queue.Reading) {
	s.Capacity.Configure(settingsOf(&seen.QueueScaler.Spec, s.Block))
	if s.specGeneration != seen.QueueScaler.Generation || seen.QueueServers != "" && s.queueServers != seen.QueueServers {
		// A queue may be read from another source now: what it told before is no past of the new one.
		for i := range seen.QueueScaler.Spec.Queues {
			s.Capacity.Restart(i)
		}
		s.learnSources(seen)
		s.specGeneration, s.queueServers = seen.QueueScaler.Generation, seen.QueueServers
	}
	s.growth = s.growth.next(seen)
	s.Ledger.Enter(seen.Now, ledgerTarget(seen, s))
	s.Capacity.Serve(seen.Now, serving(seen, s))
	readings = s.learnDriver(seen, readings)
	for i, fresh := range readings {
		for _, reading := range fresh {
			s.Capacity.Observe(i, reading)
		}
	}
	s.keep(seen.Now)
	s.blocks = s.Capacity.Blocks()
	for i := range s.blocks {
		s.judgeBy(&s.blocks[i])
	}
}

// keep takes the blocks of the last look into the ledger: by now it is decided what the step before them brought.
func (s *Memory) keep(now time.Time) {
	ineffective, _ := s.Scaling.Verification().Ineffective(now)
	effect, judged := s.Scaling.Verification().Effect()
	for _, block := range s.blocks {
		s.Ledger.Observe(block, revision.Circumstances{
			ObjectiveMet: s.objectiveMet,
			Growing:      block.Throughput < (1-stillGrowing)*block.Arrival,
			Effective:    judged && effect >= effective,
			Ineffective:  ineffective || judged && effect < effective,
		})
	}
}

// judgeBy hands a block to the verification of steps. Pods of a step that are cold yet say too little of what it brought. With lent
// slots of another revision in service, pods differ in what they get done: seven slow ones that follow on four and two good ones
// complete less, and that is not because more pods bring nothing.
func (s *Memory) judgeBy(b *capacity.Block) {
	serving := b.Replicas + b.Others
	if b.Saturated && (b.Others > 0 || b.Young && s.block != nil && serving > s.block.Serving) {
		return
	}
	s.block = &scaling.Saturation{Start: b.Start, End: b.End, Serving: serving, Throughput: b.Throughput, Saturated: b.Saturated}
}

// effective is what a step has to bring at the least of what it should, for what is measured with more replicas to be compared.
const effective = 0.5

// stillGrowing is by how much more arrives than is completed, as a share, where a backlog counts as growing.
const stillGrowing = 0.02

// ledgerTarget is the target's revision as the ledger takes it.
func ledgerTarget(seen *Observation, s *Memory) revision.Target {
	a := seen.Assessment
	if seen.Target == nil || a.Missing {
		return revision.Target{}
	}
	return revision.Target{
		Hash: a.New.Hash, Change: changeOf(seen), Number: a.New.Number,
		Settled: !a.InProgress() && a.SettledHash == a.New.Hash, Completed: s.Soak.Since,
		SoakedHash: s.Soak.SoakedHash, SoakTime: SoakTime(&seen.QueueScaler.Spec),
	}
}

// changeOf is the text of the marked change, which opens a revision without a new template; empty where none is marked.
func changeOf(seen *Observation) string {
	return Clip(seen.Target.Annotations[capacityv1alpha1.AnnotationChange], 256)
}

// serving is who works on the queues.
func serving(seen *Observation, s *Memory) capacity.Serving {
	if seen.Target == nil {
		return capacity.Serving{Disturbed: true}
	}
	a := seen.Assessment
	now := capacity.Serving{
		Replicas: seen.Target.Status.AvailableReplicas, Revision: revision.KeyOf(a.New.Hash, changeOf(seen)),
		// Pods that are on their way disturb nobody: once they serve, the number changes.
		Disturbed: a.InProgress() || a.Degraded,
		Young:     s.growth.young(seen.Now, or(s.Block, capacity.DefaultBlock)),
	}
	prior := s.rate(seen).PerReplica
	for i := range seen.Slots {
		slot := &seen.Slots[i]
		switch {
		case slot.State != standby.Lent, slot.Waiting, slot.Beginning:
			// Not in service, or its process does not work yet.
		case slot.Revision == a.New.Hash:
			now.Replicas++
		default:
			now.Others++
			now.OthersRate = s.Ledger.RateOf(slot.Revision, prior)
		}
	}
	return now
}

// growth follows the number of the target's pods, to tell how long they take until available, and whether many are young.
type growth struct {
	started          bool
	asked, available int32
	// askedAt is when more were asked for, zero once they are available.
	askedAt time.Time
	// startUp is how long it took from asking until all were available, the last time; 0 before the first.
	startUp time.Duration
	// grew are the newest times at which pods became available, and how many.
	grew [8]grown
}

// grown is by how many pods there were more, and since when.
type grown struct {
	at   time.Time
	pods int32
}

func (g growth) next(seen *Observation) growth {
	if seen.Target == nil {
		return growth{}
	}
	asked, available := ReplicasOf(seen.Target), seen.Target.Status.AvailableReplicas
	if !g.started {
		return growth{started: true, asked: asked, available: available}
	}
	switch {
	case seen.Assessment.InProgress(), asked < g.asked:
		g.askedAt = time.Time{}
	case asked > g.asked:
		g.askedAt = seen.Now
	}
	if available > g.available {
		g.grow(seen.Now, available-g.available)
		if !g.askedAt.IsZero() && available >= asked {
			g.startUp, g.askedAt = seen.Now.Sub(g.askedAt), time.Time{}
		}
	}
	g.asked, g.available = asked, available
	return g
}

// grow notes that there are more pods. Where they come one by one, the oldest entry stands for those before it too: that makes
// them younger than they are, which costs evidence and no more.
func (g *growth) grow(now time.Time, pods int32) {
	last := len(g.grew) - 1
	lost := g.grew[last]
	copy(g.grew[1:], g.grew[:])
	g.grew[0] = grown{now, pods}
	if now.Sub(lost.at) < 10*time.Minute {
		g.grew[last].pods += lost.pods
	}
}

// fewYoung is the share of the pods that may be young: by no more can they make a rate look lower.
const fewYoung = 0.1

// young: more than a few pods have been in service for less than a block, or are not two blocks old. What they do is no evidence
// yet: caches fill, code is compiled.
func (g growth) young(now time.Time, block time.Duration) bool {
	pods := int32(0)
	for _, grown := range g.grew {
		if !grown.at.IsZero() && now.Sub(grown.at) < max(block, 2*block-g.startUp) {
			pods += grown.pods
		}
	}
	return float64(pods) > fewYoung*float64(g.available)
}
