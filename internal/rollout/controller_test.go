// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The Deployment controller of the model, after k8s.io/kubernetes 1.37 pkg/controller/deployment:
// sync.go, rolling.go, recreate.go, progress.go. It works on a snapshot and then writes, one write
// after another; a write of an object that changed meanwhile is refused, and it starts anew.

const (
	revisionKey = "deployment.kubernetes.io/revision"
	historyKey  = "deployment.kubernetes.io/revision-history"
	desiredKey  = "deployment.kubernetes.io/desired-replicas"
	maxKey      = "deployment.kubernetes.io/max-replicas"
)

// pass is one sync of the controller.
type pass struct {
	c      *cluster
	d      *appsv1.Deployment
	rss    []*appsv1.ReplicaSet
	newRS  *appsv1.ReplicaSet
	writes []func() bool // in order; false: refused
}

func (c *cluster) wakeDeploymentController() {
	c.synced = false
	if c.syncing {
		return
	}
	c.syncing = true
	c.soon(c.syncDeployment)
}

func (c *cluster) syncDeployment() {
	c.synced = true
	p := &pass{c: c, d: c.d.DeepCopy()}
	for _, name := range slices.Sorted(maps.Keys(c.rss)) {
		p.rss = append(p.rss, c.rss[name].DeepCopy())
	}
	p.sync()
	p.write()
}

// write does the next write, and so on; afterwards the controller is free again.
func (p *pass) write() {
	if len(p.writes) > 0 {
		p.c.soon(func() {
			if !p.writes[0]() {
				p.writes, p.c.synced = nil, false
			} else {
				p.writes = p.writes[1:]
			}
			p.write()
		})
		return
	}
	p.c.syncing = false
	if !p.c.synced {
		p.c.wakeDeploymentController()
	}
}

func (p *pass) sync() {
	p.find()
	p.checkPaused()
	switch {
	case p.d.Spec.Paused || p.scalingEvent():
		p.numberNew()
		p.scale()
		p.status(false)
	case p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		p.recreate()
	default:
		p.roll()
	}
}

func (p *pass) find() {
	slices.SortFunc(p.rss, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range p.rss {
		if rs.Spec.Template.Labels["rev"] == p.d.Spec.Template.Labels["rev"] {
			p.newRS = rs
			return
		}
	}
}

func (p *pass) old() []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range p.rss {
		if rs != p.newRS {
			out = append(out, rs)
		}
	}
	return out
}

func (p *pass) active() []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range p.rss {
		if *rs.Spec.Replicas > 0 {
			out = append(out, rs)
		}
	}
	return out
}

func (p *pass) checkPaused() {
	c := condition(&p.d.Status, appsv1.DeploymentProgressing)
	if !p.hasDeadline() || c != nil && c.Reason == "ProgressDeadlineExceeded" {
		return
	}
	pausedBefore := c != nil && c.Reason == "DeploymentPaused"
	switch {
	case p.d.Spec.Paused && !pausedBefore:
		p.progressing(&p.d.Status, corev1.ConditionUnknown, "DeploymentPaused", "Deployment is paused")
	case !p.d.Spec.Paused && pausedBefore:
		p.progressing(&p.d.Status, corev1.ConditionUnknown, "DeploymentResumed", "Deployment is resumed")
	default:
		return
	}
	p.updateStatus()
}

func (p *pass) scalingEvent() bool {
	for _, rs := range p.active() {
		if n, err := strconv.Atoi(rs.Annotations[desiredKey]); err == nil && int32(n) != *p.d.Spec.Replicas {
			return true
		}
	}
	return false
}

// numberNew gives the new ReplicaSet the highest revision number, and the Deployment the same.
func (p *pass) numberNew() {
	if p.newRS == nil {
		return
	}
	rs, highest := p.newRS, 0
	for _, old := range p.old() {
		n, _ := strconv.Atoi(old.Annotations[revisionKey])
		highest = max(highest, n)
	}
	before := rs.Annotations[revisionKey]
	if n, _ := strconv.Atoi(before); n < highest+1 {
		rs.Annotations[revisionKey] = strconv.Itoa(highest + 1)
		rs.Annotations[historyKey] = strings.TrimPrefix(rs.Annotations[historyKey]+","+before, ",")
		p.updateReplicaSet(rs)
		return
	}
	if p.d.Annotations[revisionKey] != before {
		p.setRevision(before)
		p.updateStatus()
	}
}

func (p *pass) setRevision(n string) {
	if p.d.Annotations == nil {
		p.d.Annotations = map[string]string{}
	}
	p.d.Annotations[revisionKey] = n
}

func (p *pass) createNew() {
	if p.newRS != nil {
		p.numberNew()
		return
	}
	highest := 0
	for _, old := range p.rss {
		n, _ := strconv.Atoi(old.Annotations[revisionKey])
		highest = max(highest, n)
	}
	tag := p.d.Spec.Template.Labels["rev"]
	hash, zero, yes := "hash-"+tag, int32(0), true
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "d-" + hash, Namespace: "n", Generation: 1, Labels: map[string]string{"pod-template-hash": hash},
			Annotations:     map[string]string{revisionKey: strconv.Itoa(highest + 1)},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: p.d.Name, UID: p.d.UID, Controller: &yes}},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &zero, Template: *p.d.Spec.Template.DeepCopy()},
	}
	rs.Spec.Template.Labels["pod-template-hash"] = hash
	p.newRS = rs
	p.rss = append(p.rss, rs)
	n := p.newSize()
	rs.Spec.Replicas = &n
	p.annotate(rs)
	created := rs.DeepCopy()
	p.writes = append(p.writes, func() bool {
		if p.c.rss[created.Name] != nil {
			return false
		}
		p.c.storeReplicaSet(created)
		rs.ResourceVersion = created.ResourceVersion
		return true
	})
	p.setRevision(strconv.Itoa(highest + 1))
	if p.hasDeadline() {
		p.progressing(&p.d.Status, corev1.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", rs.Name))
	}
	p.updateStatus()
}

// scale follows a change of replicas, or of anything while paused.
func (p *pass) scale() {
	active := p.active()
	switch {
	case len(p.rss) == 0:
	case len(active) == 0 && p.newRS != nil:
		p.resize(p.newRS, *p.d.Spec.Replicas, false)
	case len(active) == 0:
		p.resize(p.rss[len(p.rss)-1], *p.d.Spec.Replicas, false)
	case len(active) == 1:
		p.resize(active[0], *p.d.Spec.Replicas, false)
	case p.saturated():
		for _, rs := range p.old() {
			p.resize(rs, 0, false)
		}
	case p.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType:
		p.scaleInProportion(active)
	}
}

func (p *pass) saturated() bool {
	rs := p.newRS
	return rs != nil && *rs.Spec.Replicas == *p.d.Spec.Replicas && rs.Annotations[desiredKey] == strconv.Itoa(int(*p.d.Spec.Replicas)) &&
		rs.Status.AvailableReplicas == *p.d.Spec.Replicas
}

func (p *pass) scaleInProportion(active []*appsv1.ReplicaSet) {
	allowed := int32(0)
	if *p.d.Spec.Replicas > 0 {
		allowed = *p.d.Spec.Replicas + p.surge()
	}
	toAdd := allowed - total(active)
	slices.SortStableFunc(active, func(a, b *appsv1.ReplicaSet) int { return int(*b.Spec.Replicas - *a.Spec.Replicas) })
	sizes, added := make([]int32, len(active)), int32(0)
	for i, rs := range active {
		size := *rs.Spec.Replicas
		was, err := strconv.Atoi(rs.Annotations[maxKey])
		if err != nil || was == 0 {
			was = int(*p.d.Spec.Replicas)
		}
		share := int32(math.Round(float64(size)*float64(*p.d.Spec.Replicas+p.surge())/float64(was))) - size
		if toAdd > 0 {
			share = max(0, min(share, toAdd-added))
		} else {
			share = min(0, max(share, toAdd-added))
		}
		if toAdd == 0 {
			share = 0
		}
		sizes[i] = size + share
		added += share
	}
	sizes[0] = max(0, sizes[0]+toAdd-added)
	for i, rs := range active {
		p.resize(rs, sizes[i], true)
	}
}

func (p *pass) resize(rs *appsv1.ReplicaSet, n int32, force bool) bool {
	if !force && *rs.Spec.Replicas == n {
		return false
	}
	changed := *rs.Spec.Replicas != n
	annotated := p.annotate(rs)
	if !changed && !annotated {
		return false
	}
	if changed {
		rs.Generation++
		rs.Spec.Replicas = &n
	}
	p.updateReplicaSet(rs)
	return changed
}

func (p *pass) annotate(rs *appsv1.ReplicaSet) bool {
	desired, most := strconv.Itoa(int(*p.d.Spec.Replicas)), strconv.Itoa(int(*p.d.Spec.Replicas+p.surge()))
	if rs.Annotations[desiredKey] == desired && rs.Annotations[maxKey] == most {
		return false
	}
	rs.Annotations[desiredKey], rs.Annotations[maxKey] = desired, most
	return true
}

func (p *pass) surge() int32       { s, _ := p.fenceposts(); return s }
func (p *pass) unavailable() int32 { _, u := p.fenceposts(); return u }

func (p *pass) fenceposts() (surge, unavailable int32) {
	u := p.d.Spec.Strategy.RollingUpdate
	if u == nil {
		return 0, 0
	}
	n := int(*p.d.Spec.Replicas)
	s, _ := intstr.GetScaledValueFromIntOrPercent(u.MaxSurge, n, true)
	m, _ := intstr.GetScaledValueFromIntOrPercent(u.MaxUnavailable, n, false)
	if s == 0 && m == 0 {
		m = 1
	}
	return int32(s), int32(min(m, n))
}

func (p *pass) newSize() int32 {
	if p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return *p.d.Spec.Replicas
	}
	size := *p.newRS.Spec.Replicas
	room := *p.d.Spec.Replicas + p.surge() - total(p.rss)
	if room <= 0 {
		return size
	}
	return size + min(room, *p.d.Spec.Replicas-size)
}

func (p *pass) roll() {
	p.createNew()
	size := *p.newRS.Spec.Replicas
	switch {
	case size > *p.d.Spec.Replicas:
		size = *p.d.Spec.Replicas
	case size < *p.d.Spec.Replicas:
		size = p.newSize()
	}
	if !p.resize(p.newRS, size, false) {
		p.scaleDownOld()
	}
	p.status(true)
}

func (p *pass) scaleDownOld() {
	least := *p.d.Spec.Replicas - p.unavailable()
	excess := total(p.rss) - least - (*p.newRS.Spec.Replicas - p.newRS.Status.AvailableReplicas)
	if excess <= 0 {
		return
	}
	for _, rs := range p.old() { // pods that are not healthy first
		n := min(excess, *rs.Spec.Replicas-rs.Status.AvailableReplicas)
		if n > 0 && p.resize(rs, *rs.Spec.Replicas-n, false) {
			excess -= n
		}
	}
	available := int32(0)
	for _, rs := range p.rss {
		available += rs.Status.AvailableReplicas
	}
	excess = available - least
	for _, rs := range p.old() {
		if n := min(excess, *rs.Spec.Replicas); n > 0 && p.resize(rs, *rs.Spec.Replicas-n, false) {
			excess -= n
		}
	}
}

func (p *pass) recreate() {
	p.numberNew()
	scaled, running := false, false
	for _, rs := range p.old() {
		scaled = p.resize(rs, 0, false) || scaled
	}
	for _, pod := range p.c.pods {
		running = running || pod.tag != p.d.Spec.Template.Labels["rev"]
	}
	if !scaled && !running {
		p.createNew()
		p.resize(p.newRS, *p.d.Spec.Replicas, false)
	}
	p.status(true)
}

func total(rss []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range rss {
		n += *rs.Spec.Replicas
	}
	return n
}

// status writes the Deployment's status; progress is only judged while rolling out.
func (p *pass) status(rollout bool) {
	before := p.d.Status
	after := *p.d.Status.DeepCopy()
	after.ObservedGeneration = p.d.Generation
	after.Replicas, after.ReadyReplicas, after.AvailableReplicas, after.UpdatedReplicas = 0, 0, 0, 0
	for _, rs := range p.rss {
		after.Replicas += rs.Status.Replicas
		after.ReadyReplicas += rs.Status.ReadyReplicas
		after.AvailableReplicas += rs.Status.AvailableReplicas
	}
	if p.newRS != nil {
		after.UpdatedReplicas = p.newRS.Status.Replicas
	}
	if rollout && p.hasDeadline() {
		p.judgeProgress(before, &after)
	}
	if fmt.Sprint(before) == fmt.Sprint(after) {
		return
	}
	p.d.Status = after
	p.updateStatus()
}

func (p *pass) judgeProgress(before appsv1.DeploymentStatus, after *appsv1.DeploymentStatus) {
	c := condition(after, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == "NewReplicaSetAvailable" && after.Replicas == after.UpdatedReplicas {
		return
	}
	what, n := fmt.Sprintf("Deployment %q", p.d.Name), *p.d.Spec.Replicas
	if p.newRS != nil {
		what = fmt.Sprintf("ReplicaSet %q", p.newRS.Name)
	}
	deadline := time.Duration(*p.d.Spec.ProgressDeadlineSeconds) * time.Second
	switch {
	case after.UpdatedReplicas == n && after.Replicas == n && after.AvailableReplicas == n:
		p.progressing(after, corev1.ConditionTrue, "NewReplicaSetAvailable", what+" has successfully progressed.")
	case after.UpdatedReplicas > before.UpdatedReplicas || after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas:
		if c != nil && c.Reason == "ReplicaSetUpdated" {
			c.LastUpdateTime = p.c.clock()
			return
		}
		p.progressing(after, corev1.ConditionTrue, "ReplicaSetUpdated", what+" is progressing.")
	case c != nil && c.Reason != "NewReplicaSetAvailable" && c.LastUpdateTime.Add(deadline).Before(p.c.clock().Time):
		p.progressing(after, corev1.ConditionFalse, "ProgressDeadlineExceeded", what+" has timed out progressing.")
	case c != nil && c.Reason != "NewReplicaSetAvailable":
		p.c.after(float64(*p.d.Spec.ProgressDeadlineSeconds)+1, float64(*p.d.Spec.ProgressDeadlineSeconds)+1.1, p.c.wakeDeploymentController)
	}
}

func (p *pass) hasDeadline() bool { return *p.d.Spec.ProgressDeadlineSeconds != math.MaxInt32 }

// progressing sets the condition, unless it has this status and reason already.
func (p *pass) progressing(s *appsv1.DeploymentStatus, status corev1.ConditionStatus, reason, message string) {
	next := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: status, Reason: reason, Message: message,
		LastUpdateTime: p.c.clock(), LastTransitionTime: p.c.clock()}
	c := condition(s, appsv1.DeploymentProgressing)
	switch {
	case c == nil:
		s.Conditions = append(s.Conditions, next)
	case c.Status != status || c.Reason != reason:
		if c.Status == status {
			next.LastTransitionTime = c.LastTransitionTime
		}
		*c = next
	}
}

func condition(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// updateStatus and updateReplicaSet plan a write of the object as it is now in the snapshot.

func (p *pass) updateStatus() {
	d := p.d
	status, revision := *d.Status.DeepCopy(), d.Annotations[revisionKey]
	p.writes = append(p.writes, func() bool {
		if p.c.d.ResourceVersion != d.ResourceVersion {
			return false
		}
		next := p.c.d.DeepCopy()
		next.Status = status
		if revision != "" {
			next.Annotations = map[string]string{revisionKey: revision}
		}
		p.c.storeDeployment(next)
		d.ResourceVersion = next.ResourceVersion
		return true
	})
}

func (p *pass) updateReplicaSet(rs *appsv1.ReplicaSet) {
	planned := rs.DeepCopy()
	p.writes = append(p.writes, func() bool {
		stored := p.c.rss[planned.Name]
		if stored == nil || stored.ResourceVersion != rs.ResourceVersion {
			return false
		}
		planned.ResourceVersion, planned.Status = stored.ResourceVersion, stored.Status
		p.c.storeReplicaSet(planned)
		rs.ResourceVersion = planned.ResourceVersion
		return true
	})
}
