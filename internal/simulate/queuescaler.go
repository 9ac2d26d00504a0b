// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/revision"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// IncidentQueueScaler is the manifest of the built-in scenario's QueueScaler.
//
//go:embed incident-queuescaler.yaml
var IncidentQueueScaler []byte

// ParseQueueScaler reads the manifest of a QueueScaler with one queue.
func ParseQueueScaler(manifest []byte) (*capacityv1alpha1.QueueScaler, error) {
	qs := &capacityv1alpha1.QueueScaler{}
	if err := yaml.UnmarshalStrict(manifest, qs); err != nil {
		return nil, fmt.Errorf("QueueScaler: %w", err)
	}
	switch spec := &qs.Spec; {
	case qs.Kind != "QueueScaler":
		return nil, errors.New("the manifest must be of one QueueScaler")
	case len(spec.Queues) != 1:
		return nil, fmt.Errorf("QueueScaler %s has %d queues: the plant has one", qs.Name, len(spec.Queues))
	case spec.MaxReplicas < 1 || (spec.Objective.Drain.Seconds > 0) == (spec.Objective.Backlog.PerReplica > 0):
		return nil, fmt.Errorf("QueueScaler %s needs maxReplicas, and one of objective.drain.seconds and objective.backlog.perReplica", qs.Name)
	}
	if qs.Spec.Mode == "" {
		qs.Spec.Mode = capacityv1alpha1.ModeActive
	}
	qs.UID, qs.Generation, qs.Status = "queuescaler", 1, capacityv1alpha1.QueueScalerStatus{}
	return qs, nil
}

// QueueScaler is the operator: what it observes is made of the plant, what decides is the operator's own code, and what it
// decides is done to the plant.
type QueueScaler struct {
	Label    string
	Manifest *capacityv1alpha1.QueueScaler
	// HidesInFlight: the queue does not tell what is in flight.
	HidesInFlight bool
	// FollowSeconds after an advice to roll back appeared, if it still stands, a person follows it; 0: nobody does.
	FollowSeconds int

	qs     *capacityv1alpha1.QueueScaler
	memory decision.Memory
	// objects are made anew when the plant's changes differ from seen.
	objects  objects
	seen     int
	services []corev1.Service
	// templates of slots, by pod-template-hash.
	templates map[string]slotTemplate
	kept      []*appsv1.ControllerRevision

	// readings that were not learnt from yet, and the newest one.
	readings []queue.Reading
	newest   *queue.Reading
	poll     int
	// units are the driver's readings that were not learnt from yet, where the manifest has a driver.
	units []queue.Reading
	// toldAt is the second of the present status.
	toldAt int
	// again is when to look again, if there is nothing new before.
	again time.Time

	// advice that stands, and the second since which it does.
	advice      string
	adviceSince int
	// standing is what the ledger said last.
	standing standing
}

// slotTemplate is the template of a slot, or the refusal of one.
type slotTemplate struct {
	template *standby.SlotTemplate
	refusal  *standby.Refusal
}

// Name is the label.
func (q *QueueScaler) Name() string { return q.Label }

func (q *QueueScaler) begin(w *Plant) {
	w.meter.result.Ours = true
	fresh := QueueScaler{Label: q.Label, Manifest: q.Manifest, HidesInFlight: q.HidesInFlight, FollowSeconds: q.FollowSeconds}
	*q = fresh
	q.qs = q.Manifest.DeepCopy()
	q.memory = decision.Recall(&q.qs.Status)
	q.services = []corev1.Service{service(q.qs.Namespace)}
	q.templates = map[string]slotTemplate{}
	q.toldAt = -statusEvery
	q.poll = max(1, int(q.qs.Spec.Queues[0].PollSeconds))
}

// Act is one reconcile, if there is something new to see or the last one asked for it.
func (q *QueueScaler) Act(t int, w *Plant) {
	now := w.scenario.At(t)
	isNew := q.seen != w.fleet.changes || !now.Before(q.again)
	if t%q.poll == 0 {
		r := q.read(now, w)
		isNew = isNew || len(q.readings) == 0 && q.newest == nil || q.newest != nil && !sameReading(q.newest, &r)
		q.newest = &r
		q.readings = append(q.readings, r)
	}
	if decision.HasDriver(&q.qs.Spec) && t%max(1, int(q.qs.Spec.Driver.PollSeconds)) == 0 {
		q.units = append(q.units, queue.Reading{Time: now, ArrivedTotal: new(w.units)})
	}
	if isNew {
		q.reconcile(t, w)
		q.readings, q.units = q.readings[:0], q.units[:0]
	}
	q.follow(t, w)
}

// read is what the queue tells.
func (q *QueueScaler) read(now time.Time, w *Plant) queue.Reading {
	r := queue.Reading{Time: now, Depth: w.depth(), ArrivedTotal: new(w.arrived), CompletedTotal: new(w.completed)}
	if !q.HidesInFlight {
		r.InFlight = new(w.inFlight)
	}
	return r
}

// sameReading: nothing moved.
func sameReading(a, b *queue.Reading) bool {
	return a.Depth == b.Depth && *a.ArrivedTotal == *b.ArrivedTotal && *a.CompletedTotal == *b.CompletedTotal &&
		(a.InFlight == nil || *a.InFlight == *b.InFlight)
}

// reconcile goes the operator's way: observe, decide, act, report.
func (q *QueueScaler) reconcile(t int, w *Plant) {
	seen := q.observe(t, w)
	q.memory.Learn(seen, [][]queue.Reading{q.readings, q.units})
	d := decision.Decide(seen, &q.memory)
	done := q.act(t, w, seen, d)
	q.noteVerdict(t, w)
	if q.tells(t, d) {
		q.qs.Status, q.toldAt = decision.StatusOf(seen, d, done, &q.memory), t
	}
	q.again = seen.Now.Add(d.Again(seen, done))
}

// statusEvery is how often the operator writes status at most for changed numbers alone, in seconds.
const statusEvery = 5

// tells reports whether there is a status to make now: at once where the next look builds on it, else as often as one is written.
func (q *QueueScaler) tells(t int, d *decision.Decision) bool {
	told := q.qs.Status.Standby
	if told == nil {
		told = &capacityv1alpha1.StandbyStatus{}
	}
	return t-q.toldAt >= statusEvery || d.Rollback != nil ||
		!slices.Equal(d.Pool.Pending, told.Pending) || !d.Pool.RefillAfter.Equal(decision.TimeOf(told.RefillAfter)) ||
		(d.Plan.Replicas != nil && *d.Plan.Replicas == 0)
}

func (q *QueueScaler) observe(t int, w *Plant) *decision.Observation {
	if q.seen != w.fleet.changes {
		q.objects, q.seen = objectsOf(w, t, q.qs), w.fleet.changes
	}
	seen := &decision.Observation{
		Now: w.scenario.At(t), QueueScaler: q.qs, Target: q.objects.target, ReplicaSets: q.objects.sets,
		Slots: q.objects.slots, Revisions: q.kept, Services: q.services,
		Samples: []queue.Sample{{Name: q.qs.Spec.Queues[0].Name, Reading: q.newest, Quality: queue.Fresh, Reason: capacityv1alpha1.ReasonReadingsFresh}},
	}
	if q.newest == nil {
		seen.Samples[0].Quality, seen.Samples[0].Reason = queue.Unavailable, capacityv1alpha1.ReasonWaitingForReadings
	}
	q.memory.Assess(seen)
	q.observeTemplates(seen)
	return seen
}

// observeTemplates makes the templates of slots: of the revision that the pool runs, and of the known-good one.
func (q *QueueScaler) observeTemplates(seen *decision.Observation) {
	if !decision.WantsPool(&q.qs.Spec) {
		return
	}
	pool, good := q.memory.PoolRevision(), q.memory.KnownGood()
	made := q.templateOf(seen, pool)
	seen.Template, seen.Refusal = made.template, made.refusal
	if good != pool {
		seen.KnownGoodTemplate = q.templateOf(seen, good).template
	}
}

// templateOf is the template of a slot of a revision, made once for each.
func (q *QueueScaler) templateOf(seen *decision.Observation, hash string) slotTemplate {
	if made, known := q.templates[hash]; known {
		return made
	}
	for _, rs := range seen.ReplicaSets {
		if rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
			continue
		}
		spec := &q.qs.Spec.Standby
		var made slotTemplate
		made.template, made.refusal = standby.Template(standby.TemplateInput{
			Namespace: q.qs.Namespace, Scaler: q.qs.Name, Gate: spec.Gate, GateImage: "simulated/gate", Revision: hash, Template: &rs.Spec.Template,
			WithholdLabels: spec.WithholdLabels, PriorityClassName: spec.PriorityClassName,
			Surroundings: standby.Surroundings{Services: q.services},
		})
		q.templates[hash] = made
		return made
	}
	return slotTemplate{}
}

// act does to the plant what was decided: it lends, scales, and tends the pool.
func (q *QueueScaler) act(t int, w *Plant, seen *decision.Observation, d *decision.Decision) *decision.Outcome {
	done := &decision.Outcome{}
	if decision.Frozen(seen) != "" {
		return done
	}
	if d.Plan.Replicas != nil {
		d.Anew(seen, &q.memory, seen.Target)
		if to := d.Plan.Replicas; to != nil && *to != w.fleet.wanted {
			w.scale(t, *to)
			q.memory.LastScale, done.Replicas, done.Wrote = seen.Now, to, true
		}
	}
	q.keepTemplate(seen)
	for i := range d.Pool.Actions {
		w.tend(t, &d.Pool.Actions[i])
		done.Wrote = true
	}
	q.rollBack(t, w, seen, d)
	return done
}

// rollBack is the operator's own rollback: that it is to be done is stored first, and done at the next look.
func (q *QueueScaler) rollBack(t int, w *Plant, seen *decision.Observation, d *decision.Decision) {
	b := d.Rollback
	if b == nil || b.Refused != "" {
		return
	}
	if !b.Stored {
		q.memory.Ledger.MarkRolledBack(b.From.Hash, seen.Now)
		return
	}
	if w.rollBack(t, w.revisionOf(b.To.Hash)) {
		w.remark(t, RemarkRollback, decision.RollbackMessage(seen, &q.memory, d))
	}
}

// noteVerdict notes what the ledger says of the present revision, where that changed.
func (q *QueueScaler) noteVerdict(t int, w *Plant) {
	r := q.memory.Ledger.Present()
	if r == nil {
		return
	}
	is := standing{r.Key, r.Standing, r.Verdict, r.Basis}
	was := q.standing
	q.standing = is
	number := w.scenario.Revisions[w.fleet.current.revision].Number
	if is.standing != was.standing || is.key != was.key {
		if is.standing == revision.KnownGood {
			w.meter.result.KnownGood = append(w.meter.result.KnownGood, number)
		}
		w.remark(t, RemarkVerdict, fmt.Sprintf("revision %d is %s", number, is.standing))
	}
	if is.verdict != was.verdict && is.verdict != revision.InsufficientData {
		w.remark(t, RemarkVerdict, fmt.Sprintf("revision %d: %s, by %s", number, is.verdict, is.basis))
	}
}

// standing is what the ledger says of a revision.
type standing struct {
	key      string
	standing revision.Standing
	verdict  revision.Verdict
	basis    revision.Basis
}

// keepTemplate keeps the soaked revision's template, as the operator does.
func (q *QueueScaler) keepTemplate(seen *decision.Observation) {
	hash := q.memory.Soak.SoakedHash
	if hash == "" || slices.Contains(decision.SoakedRevisions(seen), hash) {
		return
	}
	for _, rs := range seen.ReplicaSets {
		if rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash {
			if cr, err := standby.Revision(q.qs, rs); err == nil {
				q.kept = append(q.kept, cr)
			}
		}
	}
}

// follow is a person who follows an advice to roll back some time after it appeared, if it still stands then.
func (q *QueueScaler) follow(t int, w *Plant) {
	advice := ""
	if found := q.qs.Status.Diagnosis; found != nil {
		advice = found.Advice
	}
	if advice != q.advice {
		q.advice, q.adviceSince = advice, t
	}
	number, isRollback := strings.CutPrefix(advice, capacityv1alpha1.AdviceRollBack+":")
	if !isRollback {
		return
	}
	to, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return
	}
	if q.adviceSince == t {
		w.advised(t, to)
		w.remark(t, RemarkAdvice, fmt.Sprintf("%s: %s", advice, q.qs.Status.Diagnosis.Message))
	}
	if q.FollowSeconds > 0 && t-q.adviceSince == q.FollowSeconds && w.rollBack(t, w.fleet.withNumber(to)) {
		w.remark(t, RemarkRollback, fmt.Sprintf("a person follows the advice, %s after it appeared", span(q.FollowSeconds)))
	}
}
