// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Surroundings are the objects by which the cluster finds pods by their labels.
type Surroundings struct {
	// Services and Budgets of the target's namespace.
	Services []corev1.Service
	Budgets  []policyv1.PodDisruptionBudget
	// NetworkPolicies of the target's namespace. Those of other namespaces may be among them: they name our pods as peers.
	NetworkPolicies []networkingv1.NetworkPolicy
	// ClaimModes are the access modes of the PersistentVolumeClaims that the template uses, by name of the claim.
	ClaimModes map[string][]corev1.PersistentVolumeAccessMode
}

// TemplateInput is what the template of a slot is made from.
type TemplateInput struct {
	// Namespace and Scaler name the QueueScaler.
	Namespace, Scaler string
	Gate              v1alpha1.Gate
	// GateImage is the image that has the program of gate Prepared; empty if none is known.
	GateImage string
	// WithholdLabels and PriorityClassName are those of spec.standby; empty means absent.
	WithholdLabels    []string
	PriorityClassName string
	// Revision is the pod-template-hash of what the slot runs, Template its pod template.
	Revision string
	Template *corev1.PodTemplateSpec
	// MinReadySeconds of the target.
	MinReadySeconds int32
	Surroundings    Surroundings
}

// SlotTemplate is the template of a slot, the same for every slot of a pool.
type SlotTemplate struct {
	// Template of the pod, without the labels and annotations that tell one slot from another.
	Template corev1.PodTemplateSpec
	// MinReadySeconds of the target.
	MinReadySeconds int32
	// OnLend is what lending puts on the pod.
	OnLend OnLend
	// Digest identifies all of this, MinReadySeconds apart. A slot with another digest is stale.
	Digest string
	// Warning is for people, where the slots will do and something is odd; else empty.
	Warning string
}

// Refusal is why no slot can be made from a template, and the remedy.
type Refusal struct {
	// Reason of the condition StandbyReady.
	Reason string
	// Message says what is in the way and what to do.
	Message string
}

// Annotations that keep a node from being removed under a pod. An idle slot does not do that; a lent one does.
const (
	karpenterDoNotDisrupt = "karpenter.sh/do-not-disrupt"
	autoscalerSafeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
)

// Template makes the template of a slot from a revision's: the same pod, kept out of the traffic. It does not change its
// input. Exactly one of the results is not nil.
func Template(in TemplateInput) (*SlotTemplate, *Refusal) {
	source := in.Template.DeepCopy()
	delete(source.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	if refusal := unsuitable(&in, source); refusal != nil {
		return nil, refusal
	}
	withheld, warning, refusal := withhold(&in, source.Labels)
	if refusal != nil {
		return nil, refusal
	}
	out := &SlotTemplate{Template: *source, MinReadySeconds: in.MinReadySeconds, Warning: warning}
	out.OnLend.Labels = withheld
	out.OnLend.Annotations = heldBackAnnotations(source.Annotations)

	t := &out.Template
	t.Name, t.GenerateName, t.Namespace, t.OwnerReferences, t.Finalizers = "", "", "", nil, nil
	t.Labels = idleLabels(&in, source.Labels, withheld)
	maps.DeleteFunc(t.Annotations, func(k, _ string) bool { _, held := out.OnLend.Annotations[k]; return held })
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	rewritePlacement(&in, &t.Spec, t.Labels)
	literals(&in, t, withheld)
	dropGroupInstance(&t.Spec)
	switch in.Gate {
	case v1alpha1.GateFile:
		addRoleFile(&t.Spec)
	case v1alpha1.GatePrepared:
		prepare(&t.Spec, in.GateImage)
	}
	if in.PriorityClassName != "" {
		t.Spec.PriorityClassName = in.PriorityClassName
		t.Spec.Priority, t.Spec.PreemptionPolicy = nil, nil // they follow from the class, and another value is refused
	}
	if err := out.seal(); err != nil {
		return nil, &Refusal{v1alpha1.ReasonTemplateUnsuitable, fmt.Sprintf("revision %s cannot be copied: %v", in.Revision, err)}
	}
	return out, nil
}

// seal writes what lending needs, and the digest of everything, into the template's annotations.
func (t *SlotTemplate) seal() error {
	onLend, err := json.Marshal(t.OnLend)
	if err != nil {
		return err
	}
	t.Template.Annotations[v1alpha1.AnnotationOnLend] = string(onLend)
	whole, err := json.Marshal(t.Template)
	if err != nil {
		return err
	}
	t.Digest = digest(whole)
	t.Template.Annotations[v1alpha1.AnnotationTemplateDigest] = t.Digest
	return nil
}

// digest is a short SHA-256: long enough to notice a change.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// heldBackAnnotations are those that only a lent slot has.
func heldBackAnnotations(annotations map[string]string) map[string]string {
	held := map[string]string{}
	if v, ok := annotations[karpenterDoNotDisrupt]; ok {
		held[karpenterDoNotDisrupt] = v
	}
	if v := annotations[autoscalerSafeToEvict]; v == "false" {
		held[autoscalerSafeToEvict] = v
	}
	if len(held) == 0 {
		return nil
	}
	return held
}

// idleLabels are the labels of an idle slot's pod: the target's without those withheld, and our own.
func idleLabels(in *TemplateInput, target, withheld map[string]string) labels.Set {
	set := labels.Set{}
	for k, v := range target {
		if _, held := withheld[k]; !held && !(ours(k) && k != v1alpha1.LabelServing) {
			set[k] = v
		}
	}
	set[v1alpha1.LabelScaler] = in.Scaler
	set[v1alpha1.LabelRole] = v1alpha1.RoleStandby
	set[v1alpha1.LabelRevision] = in.Revision
	return set
}

func ours(key string) bool { return strings.HasPrefix(key, v1alpha1.LabelPrefix) }
