// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// preferredWeight is the weight of what was required: the largest there is.
const preferredWeight = 100

// placement rewrites the terms by which a template refers to its own pods, so that slots are meant too.
type placement struct {
	namespace, scaler, revision string
	// target are the labels of the target's pods, idle those of an idle slot.
	target, idle labels.Set
}

func rewritePlacement(in *TemplateInput, spec *corev1.PodSpec, idle labels.Set) {
	p := placement{
		namespace: in.Namespace, scaler: in.Scaler, revision: in.Revision,
		target: maps.Clone(labels.Set(in.Template.Labels)), idle: idle,
	}
	if p.target == nil {
		p.target = labels.Set{}
	}
	p.target[appsv1.DefaultDeploymentUniqueLabelKey] = p.revision
	if a := spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			p.rewriteAffinity(a.PodAffinity)
		}
		if a.PodAntiAffinity != nil {
			p.rewriteAntiAffinity(a.PodAntiAffinity)
		}
	}
	for i := range spec.TopologySpreadConstraints {
		p.rewriteSpread(&spec.TopologySpreadConstraints[i])
	}
}

// rewriteAffinity: required terms are all required, so that "the target or a slot" cannot be said by adding one. Where a
// term selects the target and not the slot itself, it becomes preferred, else no slot could start beside 0 replicas.
func (p *placement) rewriteAffinity(a *corev1.PodAffinity) {
	var required []corev1.PodAffinityTerm
	preferred := p.preferred(a.PreferredDuringSchedulingIgnoredDuringExecution)
	for _, term := range a.RequiredDuringSchedulingIgnoredDuringExecution {
		if p.selectsTarget(&term) && !p.selectsSlot(term.LabelSelector) {
			preferred = append(preferred, p.preferred([]corev1.WeightedPodAffinityTerm{{Weight: preferredWeight, PodAffinityTerm: term}})...)
			continue
		}
		required = append(required, *p.withoutHashKeys(&term))
	}
	a.RequiredDuringSchedulingIgnoredDuringExecution = required
	a.PreferredDuringSchedulingIgnoredDuringExecution = preferred
}

// rewriteAntiAffinity: what was required towards the target becomes preferred. Required, a slot would keep the target's
// own pods off its node, because the scheduler honors the anti-affinity of pods that are there already.
func (p *placement) rewriteAntiAffinity(a *corev1.PodAntiAffinity) {
	var required []corev1.PodAffinityTerm
	preferred := p.preferred(a.PreferredDuringSchedulingIgnoredDuringExecution)
	for _, term := range a.RequiredDuringSchedulingIgnoredDuringExecution {
		if p.selectsTarget(&term) || (p.applies(&term) && p.selectsSlot(term.LabelSelector)) {
			preferred = append(preferred, p.preferred([]corev1.WeightedPodAffinityTerm{{Weight: preferredWeight, PodAffinityTerm: term}})...)
			continue
		}
		required = append(required, *p.withoutHashKeys(&term))
	}
	a.RequiredDuringSchedulingIgnoredDuringExecution = required
	a.PreferredDuringSchedulingIgnoredDuringExecution = preferred
}

// preferred adds, to every term that selects the target and not a slot, one that selects the slots.
func (p *placement) preferred(terms []corev1.WeightedPodAffinityTerm) []corev1.WeightedPodAffinityTerm {
	var out []corev1.WeightedPodAffinityTerm
	for _, w := range terms {
		toTarget, seesSlots := p.selectsTarget(&w.PodAffinityTerm), p.selectsSlot(w.PodAffinityTerm.LabelSelector)
		w.PodAffinityTerm = *p.withoutHashKeys(&w.PodAffinityTerm)
		out = append(out, w)
		if toTarget && !seesSlots {
			out = append(out, corev1.WeightedPodAffinityTerm{
				Weight:          w.Weight,
				PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: w.PodAffinityTerm.TopologyKey, LabelSelector: p.slots()},
			})
		}
	}
	return out
}

// rewriteSpread: a constraint has one selector, and a second constraint for the same topology is not allowed. What is
// left of the selector without the withheld labels selects target and slots; where nothing is left, the slots are
// spread among themselves.
func (p *placement) rewriteSpread(c *corev1.TopologySpreadConstraint) {
	c.MatchLabelKeys = slices.DeleteFunc(c.MatchLabelKeys, p.isHash)
	if !p.matches(c.LabelSelector, p.target) || p.selectsSlot(c.LabelSelector) {
		return
	}
	if rest := p.withoutWithheld(c.LabelSelector); p.selectsSlot(rest) && p.matches(rest, p.target) && !emptySelector(rest) {
		c.LabelSelector = rest
	} else {
		c.LabelSelector, c.MatchLabelKeys = p.slots(), nil
	}
	c.MatchLabelKeys = slices.DeleteFunc(c.MatchLabelKeys, func(k string) bool { _, has := p.idle[k]; return !has })
}

// withoutHashKeys replaces the target's pod-template-hash, which a slot does not have. Among matchLabelKeys it goes: the
// term then means every revision. Among mismatchLabelKeys the revision is written out.
func (p *placement) withoutHashKeys(term *corev1.PodAffinityTerm) *corev1.PodAffinityTerm {
	out := term.DeepCopy()
	out.MatchLabelKeys = slices.DeleteFunc(out.MatchLabelKeys, p.isHash)
	if out.LabelSelector != nil && slices.ContainsFunc(out.MismatchLabelKeys, p.isHash) {
		out.MismatchLabelKeys = slices.DeleteFunc(out.MismatchLabelKeys, p.isHash)
		for _, key := range []string{appsv1.DefaultDeploymentUniqueLabelKey, v1alpha1.LabelRevision} {
			out.LabelSelector.MatchExpressions = append(out.LabelSelector.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: []string{p.revision}})
		}
	}
	return out
}

func (p *placement) isHash(key string) bool { return key == appsv1.DefaultDeploymentUniqueLabelKey }

// selectsTarget reports whether a term means pods of the target's own revision.
func (p *placement) selectsTarget(term *corev1.PodAffinityTerm) bool {
	for _, k := range term.MismatchLabelKeys {
		if _, has := p.target[k]; has {
			return false
		}
	}
	return p.applies(term) && p.matches(term.LabelSelector, p.target)
}

// applies reports whether a term is about pods of this namespace.
func (p *placement) applies(term *corev1.PodAffinityTerm) bool {
	switch {
	case slices.Contains(term.Namespaces, p.namespace):
		return true
	case term.NamespaceSelector != nil:
		return mayMatchNamespace(term.NamespaceSelector, p.namespace)
	}
	return len(term.Namespaces) == 0
}

func (p *placement) selectsSlot(s *metav1.LabelSelector) bool { return p.matches(s, p.idle) }

func (p *placement) matches(s *metav1.LabelSelector, set labels.Set) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(set)
}

// slots selects the slots of this QueueScaler.
func (p *placement) slots() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelScaler: p.scaler}}
}

// withoutWithheld is a selector without its requirements on labels that a slot does not have.
func (p *placement) withoutWithheld(s *metav1.LabelSelector) *metav1.LabelSelector {
	out := s.DeepCopy()
	withheld := func(key string) bool {
		_, inTarget := p.target[key]
		_, inIdle := p.idle[key]
		return inTarget && !inIdle
	}
	maps.DeleteFunc(out.MatchLabels, func(k, _ string) bool { return withheld(k) })
	out.MatchExpressions = slices.DeleteFunc(out.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return withheld(r.Key) })
	return out
}

func emptySelector(s *metav1.LabelSelector) bool {
	return len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}
