// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// What the Deployment controller writes (k8s.io/kubernetes/pkg/controller/deployment/util).
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredReplicasAnnotation = "deployment.kubernetes.io/desired-replicas"

	reasonComplete    = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonCreateError = "ReplicaSetCreateError"
)

// facts is everything the rules ask about, found once.
type facts struct {
	d      *appsv1.Deployment
	memory Memory

	missing bool // no Deployment, or one that is being deleted
	paused  bool
	wanted  int32 // spec.replicas

	anyRS       bool               // the Deployment owns a ReplicaSet
	sized       int                // so many of its ReplicaSets have or want pods
	pods        bool               // a ReplicaSet of it has or wants pods, or its own status counts some
	available   int32              // pods available, of all ReplicaSets
	newRS       *appsv1.ReplicaSet // the one with the Deployment's template; nil when there is none
	hash        string             // its pod-template-hash
	newWanted   bool               // it has or wants pods
	newPods     bool               // it has pods
	updated     int32              // so many
	old         bool               // another ReplicaSet has or wants pods
	ahead       bool               // another ReplicaSet has a revision that our copy of the Deployment does not know
	newestAgain bool               // the ReplicaSet of the highest revision has been current before
	earlier     bool               // the new ReplicaSet has been current before

	everSettled     bool // some template is remembered as settled
	podsMoved       bool // another ReplicaSet than the settled one has or wants pods, or that one was resized by a rollout
	settledTemplate bool // the Deployment's template is that one, and no pods have moved since
	settled         bool // the new ReplicaSet is of that one, and no pods have moved since
	resized         bool // the new ReplicaSet was resized by a rollout, to another size than the Deployment wants
	shrinking       bool // the new ReplicaSet wants fewer pods than it has
	wasRolling      bool // the last assessment said Rolling
	scaling         bool // the number wanted is not the settled one, or was not reached since
	complete        bool
	stuck           bool
	createError     bool // the controller could not create the new ReplicaSet
}

// gather finds the facts. Its work is bounded by the number of ReplicaSets and one comparison of
// templates for each.
func gather(d *appsv1.Deployment, rss []*appsv1.ReplicaSet, m Memory) *facts {
	if d == nil || d.DeletionTimestamp != nil {
		return &facts{missing: true, d: d, memory: m}
	}
	if m.UID != d.UID {
		m = Memory{UID: d.UID}
	}
	f := &facts{d: d, memory: m, paused: d.Spec.Paused, wanted: orOne(d.Spec.Replicas)}
	f.gatherReplicaSets(owned(d, rss))
	f.createError = progressing(d, corev1.ConditionFalse, reasonCreateError) != nil
	if f.newRS != nil {
		f.gatherNew()
	} else {
		f.memory.StuckHash, f.memory.StuckReadyReplicas = "", 0
	}
	f.wasRolling = m.State == Rolling
	f.everSettled = f.memory.SettledHash != ""
	if f.newRS == nil && f.everSettled && !f.memory.Unsettled {
		f.settledTemplate = Digest(&d.Spec.Template) == f.memory.SettledTemplateDigest
	}
	return f
}

// gatherReplicaSets finds the facts about all ReplicaSets together.
func (f *facts) gatherReplicaSets(rss []*appsv1.ReplicaSet) {
	f.newRS = withTemplate(&f.d.Spec.Template, rss)
	f.anyRS = len(rss) > 0
	known, highest := revisionNumber(f.d), int64(0)
	if !observed(f.d) {
		known++ // the controller may have numbered one more revision, and not told the Deployment yet
	}
	for _, rs := range rss {
		hasOrWants := rs.Status.Replicas > 0 || orOne(rs.Spec.Replicas) > 0
		if hasOrWants {
			f.sized++
		}
		f.available += rs.Status.AvailableReplicas
		again := rs.Annotations[revisionHistoryAnnotation] != ""
		switch n := revisionNumber(rs); {
		case n > highest:
			highest, f.newestAgain = n, again
		case n == highest:
			f.newestAgain = f.newestAgain || again
		}
		if hash := f.memory.SettledHash; hash == "" || rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
			f.podsMoved = f.podsMoved || hasOrWants
		} else if resizedByRollout(rs) {
			f.podsMoved = true
		}
		if rs != f.newRS {
			f.old = f.old || hasOrWants
			f.ahead = f.ahead || revisionNumber(rs) > known
		}
	}
	f.pods = f.sized > 0 || f.d.Status.Replicas > 0
	if f.newRS != nil {
		f.earlier = revisionNumber(f.newRS) < highest || f.newRS.Annotations[revisionHistoryAnnotation] != ""
	}
}

// gatherNew finds the facts about the new ReplicaSet, and brings the memory of being stuck up to date.
func (f *facts) gatherNew() {
	rs := f.newRS
	f.hash = rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	f.updated = rs.Status.Replicas
	f.newPods = rs.Status.Replicas > 0
	f.newWanted = f.newPods || orOne(rs.Spec.Replicas) > 0
	f.complete = complete(f.d, rs, f.wanted)
	f.resized = resizedByRollout(rs) && orOne(rs.Spec.Replicas) != f.wanted
	f.shrinking = orOne(rs.Spec.Replicas) < rs.Status.Replicas

	if f.memory.SettledHash == "" && !f.memory.Unsettled && f.completeByController() {
		f.memory.settle(f)
	}
	f.settled = f.memory.SettledHash == f.hash && f.hash != "" && !f.memory.Unsettled
	f.scaling = f.wanted != f.memory.SettledReplicas || orOne(rs.Spec.Replicas) != f.wanted || f.memory.State == Scaling
	f.gatherStuck()
}

// completeByController reports whether the controller says that the new ReplicaSet has been
// complete. It stands in for a memory we do not have, so that a target with one bad pod is not
// held at first sight. Without one available pod it proves nothing.
func (f *facts) completeByController() bool {
	c := progressing(f.d, corev1.ConditionTrue, reasonComplete)
	return names(c, f.newRS) && f.newRS.Status.AvailableReplicas > 0
}

// gatherStuck brings the memory of being stuck up to date. Kubernetes forgets that a rollout timed
// out as soon as it is scaled; we do not, until a further new pod is ready or the template changes.
func (f *facts) gatherStuck() {
	m, ready := &f.memory, f.newRS.Status.ReadyReplicas
	if m.StuckHash != f.hash {
		m.StuckHash, m.StuckReadyReplicas = "", 0
	}
	c := progressing(f.d, corev1.ConditionFalse, reasonTimedOut)
	verdict := names(c, f.newRS) && !f.settled
	switch {
	case verdict && (m.StuckHash == "" || !m.StuckAt.Equal(c.LastTransitionTime.Time)):
		m.StuckHash, m.StuckReadyReplicas, m.StuckAt = f.hash, ready, c.LastTransitionTime.Time
	case !verdict && ready > m.StuckReadyReplicas:
		m.StuckHash, m.StuckReadyReplicas = "", 0
	}
	f.stuck = m.StuckHash != "" && ready <= m.StuckReadyReplicas
}

// complete: Deployment and new ReplicaSet agree that all pods wanted are there, updated and
// available, and no others, and each says so of its present spec. (The Deployment controller does
// not ask the latter of the ReplicaSet, and can be fooled when one was shrunk and grown at once.)
func complete(d *appsv1.Deployment, rs *appsv1.ReplicaSet, wanted int32) bool {
	return observed(d) &&
		d.Status.UpdatedReplicas == wanted &&
		d.Status.Replicas == wanted &&
		d.Status.AvailableReplicas == wanted &&
		rs.Status.ObservedGeneration >= rs.Generation &&
		orOne(rs.Spec.Replicas) == wanted &&
		rs.Status.Replicas == wanted &&
		rs.Status.AvailableReplicas == wanted
}

// observed: the status is of the present spec.
func observed(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation
}

// progressing returns the Progressing condition if it has this status and reason, else nil.
func progressing(d *appsv1.Deployment, status corev1.ConditionStatus, reason string) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		c := &d.Status.Conditions[i]
		if c.Type == appsv1.DeploymentProgressing && c.Status == status && c.Reason == reason {
			return c
		}
	}
	return nil
}

// names reports whether the condition is about this ReplicaSet. One left over from another
// ReplicaSet has the same reason; only its message tells.
func names(c *appsv1.DeploymentCondition, rs *appsv1.ReplicaSet) bool {
	return c != nil && rs.Name != "" && strings.Contains(c.Message, strconv.Quote(rs.Name))
}

// orOne gives the number of replicas asked for; nil means 1.
func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// resizedByRollout: the ReplicaSet has another size than it was last told the Deployment wants.
// Scaling sets both to the same number; only a rollout tells them apart.
func resizedByRollout(rs *appsv1.ReplicaSet) bool {
	told, err := strconv.ParseInt(rs.Annotations[desiredReplicasAnnotation], 10, 32)
	return err == nil && told != int64(orOne(rs.Spec.Replicas))
}
