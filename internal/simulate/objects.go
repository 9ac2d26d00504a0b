// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/standby"
)

const targetUID types.UID = "target"

// objects are the plant as a cluster would show it.
type objects struct {
	target *appsv1.Deployment
	sets   []*appsv1.ReplicaSet
	slots  []standby.Slot
}

// objectsOf makes objects of the plant at second t.
func objectsOf(w *Plant, t int, qs *capacityv1alpha1.QueueScaler) objects {
	o := objects{target: deploymentOf(w, qs)}
	for _, set := range w.fleet.sets {
		o.sets = append(o.sets, replicaSetOf(w, set, qs))
	}
	for _, s := range w.slots {
		o.slots = append(o.slots, slotOf(w, t, s, qs.Spec.Standby.Gate))
	}
	slices.SortFunc(o.slots, func(a, b standby.Slot) int { return strings.Compare(a.Name, b.Name) })
	return o
}

func deploymentOf(w *Plant, qs *capacityv1alpha1.QueueScaler) *appsv1.Deployment {
	f := w.fleet
	pods, available := f.size()
	quarter := intstr.FromString("25%")
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: qs.Namespace, Name: qs.Spec.ScaleTargetRef.Name, UID: targetUID, Generation: int64(f.changes),
			Annotations: map[string]string{"deployment.kubernetes.io/revision": strconv.FormatInt(f.current.number, 10)},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &f.wanted,
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter}},
			Template: templateOf(w, f.current.revision),
		},
		Status: appsv1.DeploymentStatus{
			ObservedGeneration: int64(f.changes), Replicas: pods, ReadyReplicas: available, AvailableReplicas: available,
			UpdatedReplicas: int32(len(f.current.pods)), UnavailableReplicas: pods - available,
		},
	}
	d.Spec.Replicas = ptr.To(f.wanted)
	progress := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "ReplicaSetUpdated"}
	if !f.rolling {
		progress.Reason = "NewReplicaSetAvailable"
		progress.Message = fmt.Sprintf("ReplicaSet %q has successfully progressed.", setName(w, f.current, qs))
		progress.LastUpdateTime = metav1.NewTime(w.scenario.At(f.completed))
	}
	d.Status.Conditions = []appsv1.DeploymentCondition{progress}
	return d
}

func replicaSetOf(w *Plant, set *replicaSet, qs *capacityv1alpha1.QueueScaler) *appsv1.ReplicaSet {
	hash := hashOf(w, set.revision)
	template := templateOf(w, set.revision)
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: qs.Namespace, Name: setName(w, set, qs), UID: types.UID(hash), Generation: int64(w.fleet.changes),
			CreationTimestamp: metav1.NewTime(w.scenario.Start.Add(time.Duration(set.revision-1000) * time.Second)),
			Labels:            template.Labels,
			Annotations: map[string]string{
				"deployment.kubernetes.io/revision":         strconv.FormatInt(set.number, 10),
				"deployment.kubernetes.io/desired-replicas": strconv.Itoa(int(set.told)),
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: qs.Spec.ScaleTargetRef.Name, UID: targetUID, Controller: ptr.To(true)}},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(set.wanted), Template: template},
		Status: appsv1.ReplicaSetStatus{
			ObservedGeneration: int64(w.fleet.changes), Replicas: int32(len(set.pods)),
			ReadyReplicas: set.available, AvailableReplicas: set.available, FullyLabeledReplicas: int32(len(set.pods)),
		},
	}
	if len(set.was) > 0 {
		numbers := make([]string, len(set.was))
		for i, n := range set.was {
			numbers[i] = strconv.FormatInt(n, 10)
		}
		rs.Annotations["deployment.kubernetes.io/revision-history"] = strings.Join(numbers, ",")
	}
	return rs
}

// templateOf is the pod template of a revision. Its annotation says that the app obeys the role file, and service() selects
// its pods, so that every gate suits it.
func templateOf(w *Plant, revision int) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "simulated"}, Annotations: map[string]string{capacityv1alpha1.AnnotationGate: "file"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "consumer", Image: fmt.Sprintf("simulated/consumer:%d", w.scenario.Revisions[revision].Number)}}},
	}
}

func service(namespace string) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "simulated"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "simulated"}}}
}

// hashOf is the pod-template-hash of a revision.
func hashOf(w *Plant, revision int) string {
	h := fnv.New32a()
	fmt.Fprint(h, w.scenario.Revisions[revision].Number)
	return fmt.Sprintf("%08x", h.Sum32())
}

func setName(w *Plant, set *replicaSet, qs *capacityv1alpha1.QueueScaler) string {
	return qs.Spec.ScaleTargetRef.Name + "-" + hashOf(w, set.revision)
}

// slotOf is a slot as standby.Observe would find it.
func slotOf(w *Plant, t int, s *slot, gate capacityv1alpha1.Gate) standby.Slot {
	at := w.scenario.At
	out := standby.Slot{
		Name: s.name, ReplicaSetUID: types.UID(s.name), ReplicaSetVersion: "1",
		Pod: s.name + "-pod", PodUID: types.UID(s.name), Created: at(s.pod.created),
		Gate: gate, Revision: hashOf(w, s.revision), TemplateDigest: s.digest, Touches: s.touches, Remaining: 1,
	}
	if s.pod.ready <= t {
		out.Ready, out.ReadySince, out.StartUp = true, at(s.pod.ready), at(s.pod.ready).Sub(at(s.pod.created))
	}
	switch s.state {
	case slotStarting:
		out.State = standby.Starting
	case slotWarm:
		out.State = standby.Warm
	case slotLent:
		out.State, out.LentSince = standby.Lent, at(s.lent)
	case slotDraining:
		out.State, out.LentSince, out.DrainingSince = standby.Draining, at(s.lent), at(s.draining)
	case slotEnding:
		out.State, out.Remaining, out.Gone, out.Pod = standby.Ending, 0, true, ""
	}
	return out
}
