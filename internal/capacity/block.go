// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"time"
)

const (
	// DefaultBlock is the length of a block. Where messages are long it lasts until blockMessages were completed, or its rate
	// would be the luck of the minute; a longer one than longestBlock is none.
	DefaultBlock  = time.Minute
	blockMessages = 10
	longestBlock  = time.Hour
	// rebalance is how long after a change of who shares the partitions of a queue readings are no evidence: consumers stop, hand partitions
	// over, and fetch anew.
	rebalance = 30 * time.Second
	// tolerated is the share of the larger counter's change that may be unaccounted for, or redelivered, in evidence.
	tolerated = 0.05
	// contradicts: a saturated rate below this share of an unsaturated one of the last hour.
	contradicts = 0.9
	// kept blocks wait to be fetched.
	kept = 16
	// absurd is a change of a counter within one block that no queue makes: only a broken server tells it.
	absurd = 1e15
)

// Block is one measurement without rollout, scaling or lending inside it.
type Block struct {
	// Start is its earliest reading, End its latest.
	Start, End time.Time
	// Revision that the target ran.
	Revision string
	// Replicas are N, the pods of that revision in service, lent slots of it counted in; Others the lent slots of another one.
	Replicas, Others int32
	// Saturated: at every reading more waited than the pods can take at once and the source's own latency explains.
	Saturated bool
	// Rate is X/N, in weighted messages/s of one pod of Revision; with others in service (X − Others·OthersRate)/N. Where
	// Saturated it measures what the pod can do, else it is a lower bound of that. 0: not known, as with others whose own
	// rate is not known.
	Rate float64
	// Arrival is λ and Throughput X, in weighted messages/s.
	Arrival, Throughput float64
	// Completed messages.
	Completed int64
	// Processing is S, the seconds that a message is in flight. 0: not told, or no evidence; see processing.
	Processing float64
	// Shares of each queue in the completed work; they sum to 1.
	Shares []float64
	// Driver is the user work in it, units/s of the driver. 0: not known; see unitRate.
	Driver float64
	// Young is true where a pod was younger than max(2 × start-up, 120 s) at some time of it.
	Young bool
}

// part is one queue's part in the block that is being measured.
type part struct {
	// from is the first reading; its time is zero while there is none. onset is the one since when all has been saturated.
	from, onset point
	// early and late are readings at which the block could be halved.
	early, late point
}

func begin(p *part) *point { return &p.from }
func onset(p *part) *point { return &p.onset }

// measurement is the block that is being measured. A backlog that calls for more replicas is gone soon, and would hardly
// ever fill the minute that began before it: so a minute that was saturated all the time is a block wherever it begins.
type measurement struct {
	parts []part
	// driver has the driver's readings at the start of the parts and at the onset; a zero time where there is none.
	driver part
	// clear is when the last change was: readings from before it are no part of a block.
	clear     time.Time
	running   bool // every part has begun
	saturated bool // since the onset
	young     bool
	// lag is the lowest depth/X since the onset, in seconds.
	lag float64
	// halved is the length at which the readings in late were noted.
	halved time.Duration
}

// drop forgets the running block.
func (m *measurement) drop(young bool) {
	clear(m.parts)
	m.driver = part{}
	m.running, m.saturated, m.halved, m.young = false, false, 0, young
}

// measure carries the present block on with the newest reading of queue i.
func (e *Estimator) measure(i int) {
	m, last := &e.block, e.flows[i].last()
	if !m.running {
		if m.parts[i].from.at.IsZero() && !last.at.Before(m.clear) {
			m.parts[i].from = *last
		}
		for j := range m.parts {
			if m.parts[j].from.at.IsZero() {
				return
			}
		}
		m.running = true
		e.markDriver(begin)
	}
	depth, x := e.load()
	e.latency.observe(last.at, depth, x)
	n := float64(e.serving.Replicas) + float64(e.serving.Others)
	saturated := n <= e.places() && e.everywhere() >= 2*n*e.settings.Concurrency+1.5*e.latency.seconds*x
	switch length, done := e.since(begin); {
	case saturated && m.saturated:
		m.lag = min(m.lag, depth/x)
		if length, done := e.since(onset); length >= e.settings.Block && done >= blockMessages {
			e.end(true)
		}
	case saturated:
		if length >= e.settings.Block && done >= blockMessages {
			e.end(false)
		}
		m.saturated, m.lag = true, depth/x
		for j := range m.parts {
			m.parts[j].onset = *e.flows[j].last()
		}
		e.markDriver(onset)
	default:
		m.saturated = false
		if e.complete(length, done) {
			e.end(false)
		}
	}
	if length, _ := e.since(begin); length >= longestBlock {
		e.restart()
	} else {
		e.halve(length)
	}
}

// since is the length of the block, as the queue with the shortest part has it, and the messages completed in it.
func (e *Estimator) since(start func(*part) *point) (length time.Duration, done int64) {
	length = math.MaxInt64
	for i := range e.flows {
		from, last := start(&e.block.parts[i]), e.flows[i].last()
		length = min(length, last.at.Sub(from.at))
		done += last.completed - from.completed
	}
	return length, done
}

// load is the backlog and the throughput of all queues, in messages.
func (e *Estimator) load() (depth, x float64) {
	for i := range e.flows {
		depth += float64(e.flows[i].last().depth)
		if t, known := e.flows[i].throughput(); known {
			x += t
		}
	}
	return depth, x
}

// everywhere is the part of the backlog that every consumer can find: of partitions, what the shallowest one has, times their number. One deep
// partition keeps one consumer busy, and the others' idleness would look like slowness.
func (e *Estimator) everywhere() (messages float64) {
	for i := range e.flows {
		messages += float64(e.flows[i].everywhere)
	}
	return messages
}

// places is how many replicas can work on the queues at once.
func (e *Estimator) places() (replicas float64) {
	for i := range e.flows {
		perReplica := 1.0
		if i < len(e.settings.ConsumersPerReplica) {
			perReplica = max(1, e.settings.ConsumersPerReplica[i])
		}
		if !e.flows[i].shared {
			return math.Inf(1)
		}
		replicas += float64(e.flows[i].consumers) / perReplica
	}
	return replicas
}

// end makes evidence of the block, if it is any, and begins the next one.
func (e *Estimator) end(saturated bool) {
	start := begin
	if saturated {
		start = onset
	}
	b, counts := e.count(start)
	b.Saturated = saturated
	if counts && !e.contradicts(&b) {
		if !saturated {
			b.Processing = e.processing()
		}
		e.ended = append(e.ended, b)
		e.ended = e.ended[max(0, len(e.ended)-kept):]
	}
	e.restart()
}

// cut ends the running block where the number of replicas is about to change. What was saturated for most of a minute is evidence:
// a backlog calls for more replicas, so that there is not much of it.
func (e *Estimator) cut() {
	if !e.block.running || !e.block.saturated {
		return
	}
	if length, done := e.since(onset); length >= e.settings.Block*8/10 && done >= blockMessages {
		e.end(true)
	}
}

// restart begins the next block where the last one ended.
func (e *Estimator) restart() {
	m := &e.block
	m.young, m.halved, m.lag = e.serving.Young, 0, math.Inf(1)
	for i := range m.parts {
		last := *e.flows[i].last()
		m.parts[i] = part{from: last, onset: last}
	}
	e.markDriver(begin)
	m.driver.onset = m.driver.from
}

// count is what happened since the start; false where nothing was completed, or where messages went missing, came from
// nowhere or were delivered again.
func (e *Estimator) count(start func(*part) *point) (Block, bool) {
	b := Block{Revision: e.serving.Revision, Replicas: e.serving.Replicas, Others: e.serving.Others, Young: e.block.young,
		Shares: make([]float64, len(e.flows))}
	work := 0.0
	for i := range e.flows {
		from, to := start(&e.block.parts[i]), e.flows[i].last()
		if !accounted(from, to) {
			return b, false
		}
		arrived, completed := to.arrived-from.arrived, to.completed-from.completed
		seconds, w := to.at.Sub(from.at).Seconds(), e.settings.Weights[i]
		b.Arrival += w * float64(arrived) / seconds
		b.Throughput += w * float64(completed) / seconds
		b.Completed += completed
		b.Shares[i] = w * float64(completed)
		work += b.Shares[i]
		if b.Start.IsZero() || from.at.Before(b.Start) {
			b.Start = from.at
		}
		if to.at.After(b.End) {
			b.End = to.at
		}
	}
	if work <= 0 {
		return b, false
	}
	for i := range b.Shares {
		b.Shares[i] /= work
	}
	b.Driver = e.unitRate(start(&e.block.driver), &b)
	if b.Others == 0 || e.serving.OthersRate > 0 {
		b.Rate = max(0, b.Throughput-float64(b.Others)*e.serving.OthersRate) / float64(b.Replicas)
	}
	return b, true
}

// accounted reports whether all messages of one queue that came between two readings were completed or are still there,
// and few of them were delivered again.
func accounted(from, to *point) bool {
	arrived, completed := float64(to.arrived)-float64(from.arrived), float64(to.completed)-float64(from.completed)
	stayed := float64(to.depth) - float64(from.depth) + float64(to.inFlight) - float64(from.inFlight)
	larger := max(arrived, completed)
	return completed >= 0 && larger < absurd &&
		math.Abs(arrived-completed-stayed) <= max(tolerated*larger, 1) && repeated(from, to) <= tolerated*max(completed, 1)
}

// contradicts reports whether a saturated block is none, because with less to do the same revision did more: then what
// waited was the source's own latency. That explains only so much; a longer backlog is one, and the pods slowed down.
func (e *Estimator) contradicts(b *Block) bool {
	if !b.Saturated {
		steady := b.Rate
		if b.Throughput > b.Arrival {
			steady *= b.Arrival / b.Throughput // a rest of an old backlog was worked off: that is saturation, and has its noise
		}
		e.highest = e.highest.with(b.End, steady)
		return false
	}
	return e.block.lag < 1.5*latencyMost && b.Rate < contradicts*e.highest.at(b.End)
}

// highest is the highest unsaturated rate of the last hour: of each of its halves, so that it forgets.
type highest struct {
	since     time.Time
	now, last float64
}

const half = 30 * time.Minute

func (h highest) with(at time.Time, rate float64) highest {
	h = h.on(at)
	h.now = max(h.now, rate)
	return h
}

func (h highest) at(at time.Time) float64 {
	h = h.on(at)
	return max(h.now, h.last)
}

// on begins a new half hour when the last one is over.
func (h highest) on(at time.Time) highest {
	switch since := at.Sub(h.since); {
	case since < 0, since >= 2*half:
		return highest{since: at}
	case since >= half:
		return highest{since: h.since.Add(half), last: h.now}
	}
	return h
}
