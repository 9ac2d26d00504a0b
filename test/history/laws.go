// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Circumstances are what the audit log does not tell.
type Circumstances struct {
	// Operator is the operator's user name.
	Operator string
	// Blind are, by namespace, when no fresh reading of one of the queues can have been had that each of its QueueScalers reads: see
	// BlindWithout.
	Blind map[string][]Interval
	// Gaps are when the log may lack writes.
	Gaps Gaps
	// WritesPerMinute is how many writes the operator may try in any minute: of one namespace's objects, events apart, and as many
	// again of each QueueScaler's status.
	WritesPerMinute int
}

// BlindWithout is when nobody can have had a fresh reading of a queue that is polled so often, if its server was not to be had: a
// reading is fresh until it is older than 3 polls and than 15 s. It may have no length.
func BlindWithout(server Interval, poll time.Duration) Interval {
	return Interval{server.From.Add(max(3*poll, 15*time.Second)), server.To}
}

// Violation of a law.
type Violation struct {
	// Law names it.
	Law string
	// Write is the one that broke it.
	Write Write
	// Why says what was wrong.
	Why string
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Law, v.Write, v.Why) }

// The laws.
const (
	LawHold       = "replicas are not written while a rollout is in progress, except to restore them"
	LawScaleDown  = "nothing scales down without fresh readings, or within the window after the operator began to lead"
	LawLimits     = "never more than max or less than min is asked for, and no lend raises available and lent above max"
	LawSlots      = "a slot is standby, then active, then perhaps draining, then gone, and only one of a revision that soaked is lent"
	LawOwnObjects = "of what is not its own the operator writes the target's scale, and its template to roll back, and nothing else"
	LawBounded    = "the operator does not write without bound"
)

// Verdict is what Judge found.
type Verdict struct {
	// Writes were judged, of which the operator tried Ours.
	Writes, Ours int
	Violations   []Violation
}

// Judge finds each write by which the operator broke a law. Where writes may be missing from the log, what they may have changed is not held against the operator.
func Judge(writes iter.Seq2[Write, error], c Circumstances) (Verdict, error) {
	j := judge{
		Circumstances: c, outages: c.Gaps,
		targets: map[string]*target{}, scalers: map[string]*scaler{}, pods: map[string]*slotPod{}, revisions: map[string]string{},
		slots: map[string]bool{}, led: map[string]time.Time{}, recent: map[string][]time.Time{},
	}
	j.Gaps = slices.Clone(c.Gaps)
	for w, err := range writes {
		if err != nil {
			return Verdict{}, err
		}
		j.Gaps.failed(w)
		if err := j.write(w); err != nil {
			return Verdict{}, fmt.Errorf("%s: %w", w, err)
		}
	}
	return j.verdict, nil
}

type judge struct {
	Circumstances // its Gaps are those too that failed writes tell of, unlike outages
	outages       Gaps
	verdict       Verdict

	targets map[string]*target // by namespace/name, as the others
	scalers map[string]*scaler
	pods    map[string]*slotPod
	// revisions are the digests of ReplicaSets' templates, by namespace/pod-template-hash.
	revisions map[string]string
	// slots are the names of ReplicaSets that were a slot's.
	slots map[string]bool
	// leader holds the lease, as leaseSeen told last. led is since when each pod of the operator leads, or led last.
	leader    string
	leaseSeen time.Time
	led       map[string]time.Time
	recent    map[string][]time.Time // the operator's writes of the last minute, by what is bounded
}

func (j *judge) ours(w Write) bool { return w.User == j.Operator }

func (j *judge) breaks(law string, w Write, why string, args ...any) {
	j.verdict.Violations = append(j.verdict.Violations, Violation{law, w, fmt.Sprintf(why, args...)})
}

func (j *judge) write(w Write) error {
	j.verdict.Writes++
	if j.ours(w) {
		j.verdict.Ours++
		j.bounded(w)
	}
	if !w.made() {
		return nil
	}
	if j.ours(w) {
		j.ownObjects(w)
	}
	switch resource, _, _ := strings.Cut(w.Resource, "/"); resource {
	case "deployments":
		return j.deployment(w)
	case "replicasets":
		return j.replicaSet(w)
	case "pods":
		return j.pod(w)
	case "queuescalers":
		return j.queueScaler(w)
	case "leases":
		return j.lease(w)
	}
	return nil
}

func key(w Write) string { return w.Namespace + "/" + w.Name }

// decode reads the object that a write left; false where the log has none, or a Status: that is what most deletions are answered with.
func decode(w Write, into any) (bool, error) {
	var kind metav1.TypeMeta
	if len(w.Object) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(w.Object, &kind); err != nil || kind.Kind == "Status" {
		return false, err
	}
	return true, json.Unmarshal(w.Object, into)
}

// lease notes which pod leads, and since when.
func (j *judge) lease(w Write) error {
	var l coordinationv1.Lease
	if !j.ours(w) {
		return nil
	}
	if found, err := decode(w, &l); err != nil || !found {
		return err
	}
	if holder := ptr.Deref(l.Spec.HolderIdentity, ""); holder != j.leader {
		since := w.Time
		if j.Gaps.between(j.leaseSeen, w.Time) {
			since = j.leaseSeen
		}
		pod, _, _ := strings.Cut(holder, "_") // the rest tells its processes apart
		j.leader, j.led[pod] = holder, since
	}
	j.leaseSeen = w.Time
	return nil
}

// ledFor is for how long the writer had led. Another may lead by now: one that was cut off does not know at once.
func (j *judge) ledFor(w Write) time.Duration {
	pod := w.Pod
	if pod == "" {
		pod, _, _ = strings.Cut(j.leader, "_")
	}
	return w.Time.Sub(j.led[pod])
}

// ownObjects: slots, their pods, templates of revisions, what is reported and the lease are its own.
func (j *judge) ownObjects(w Write) {
	switch w.Resource {
	case "deployments/scale", "queuescalers/status", "events", "leases", "controllerrevisions":
		return
	case "deployments":
		if w.Verb == "patch" {
			return // see rolledBack
		}
	case "queuescalers":
		if w.Verb == "patch" && j.sameSpec(w) {
			return // its finalizer
		}
	case "replicasets":
		if strings.Contains(string(w.Object), `"`+v1alpha1.LabelSlot+`"`) {
			j.slots[key(w)], j.slots[w.Namespace+"/"+nameIn(w)] = true, true
			return
		}
		if w.Verb == "delete" && j.slots[key(w)] {
			return // answered with a Status
		}
	case "pods":
		if strings.Contains(string(w.Object), `"`+v1alpha1.LabelSlot+`"`) {
			return
		}
	case "tokenreviews", "subjectaccessreviews":
		return // questions
	}
	j.breaks(LawOwnObjects, w, "the operator has no business with it")
}

// sameSpec: the write left the QueueScaler's spec as it was.
func (j *judge) sameSpec(w Write) bool {
	var qs v1alpha1.QueueScaler
	found, err := decode(w, &qs)
	before := j.scalers[key(w)]
	return err == nil && found && (before == nil || j.Gaps.between(before.seen, w.Time) || equality.Semantic.DeepEqual(before.Spec, qs.Spec))
}

// nameIn is the name of the object that a write left: a create's request has none.
func nameIn(w Write) string {
	var o metav1.PartialObjectMetadata
	if found, err := decode(w, &o); err != nil || !found {
		return ""
	}
	return o.Name
}

func (j *judge) bounded(w Write) {
	what := w.Namespace
	switch {
	case w.Resource == "leases" || w.Resource == "events" || w.Namespace == "":
		return
	case w.Resource == "queuescalers/status":
		what = key(w)
	}
	recent := append(j.recent[what], w.Time)
	for len(recent) > 0 && w.Time.Sub(recent[0]) > time.Minute {
		recent = recent[1:]
	}
	j.recent[what] = recent
	if len(recent) > j.WritesPerMinute {
		j.breaks(LawBounded, w, "%d writes within a minute", len(recent))
		j.recent[what] = nil // one is enough
	}
}
