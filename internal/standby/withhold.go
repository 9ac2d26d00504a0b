// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// finder finds pods by their labels, and must not find an idle slot.
type finder struct {
	// name is kind and name, for people.
	name     string
	selector labels.Selector
	// keys that the selector looks at, sorted.
	keys []string
}

const (
	// mostWithheld labels are searched for.
	mostWithheld = 8
	// mostTries bounds the search in a namespace with very many, very entangled selectors.
	mostTries = 5000
)

// withhold chooses the labels that an idle slot does not have: as few as possible, so that no Service (gate Service) and no
// PodDisruptionBudget (every gate) selects it, and none that a NetworkPolicy selects on. Of equally few the first in
// alphabetical order are chosen.
func withhold(in *TemplateInput, target map[string]string) (withheld map[string]string, warning string, _ *Refusal) {
	finders, refusal := finders(in)
	if refusal != nil {
		return nil, "", refusal
	}
	keys, explicit := chosenByUser(in, target)
	if !explicit {
		if in.Gate == v1alpha1.GateService && !servesTarget(in.Surroundings.Services, target) {
			warning = "no Service selects the target's pods, so nothing is withheld from idle slots; if they pull their work, they take it at once: use gate: File"
		}
		keys, refusal = search(in, target, finders)
	} else {
		refusal = check(in, target, finders, keys)
	}
	if refusal != nil {
		return nil, "", refusal
	}
	return pick(target, keys), warning, nil
}

// chosenByUser are the labels that the user chose to withhold, by spec.standby.withholdLabels or by the serving label.
func chosenByUser(in *TemplateInput, target map[string]string) (keys []string, explicit bool) {
	if len(in.WithholdLabels) > 0 {
		for _, k := range in.WithholdLabels {
			if _, has := target[k]; has && withholdable(k) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		return slices.Compact(keys), true
	}
	if _, has := target[v1alpha1.LabelServing]; has {
		return []string{v1alpha1.LabelServing}, true
	}
	return nil, false
}

// withholdable: our own labels mark the slot and stay, but for the one that is made for this.
func withholdable(key string) bool { return !ours(key) || key == v1alpha1.LabelServing }

func pick(target map[string]string, keys []string) map[string]string {
	if len(keys) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, k := range keys {
		out[k] = target[k]
	}
	return out
}

// finders are the Services and budgets that must not select an idle slot, sorted by name.
func finders(in *TemplateInput) ([]finder, *Refusal) {
	var out []finder
	for i := range in.Surroundings.Services {
		s := &in.Surroundings.Services[i]
		if in.Gate == v1alpha1.GateService && selects(s) {
			out = append(out, newFinder("Service "+s.Name, labels.SelectorFromSet(s.Spec.Selector)))
		}
	}
	for i := range in.Surroundings.Budgets {
		b := &in.Surroundings.Budgets[i]
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			continue // the apiserver admits none; the disruption controller would not select by it either
		}
		if selector.Empty() {
			return nil, &Refusal{v1alpha1.ReasonNothingToWithhold, fmt.Sprintf(
				"PodDisruptionBudget %s selects every pod of the namespace, idle slots too, and would permit too much or block every drain. Give it a selector, for example %s NotIn (%s) beside the labels it is meant for",
				b.Name, v1alpha1.LabelRole, v1alpha1.RoleStandby)}
		}
		out = append(out, newFinder("PodDisruptionBudget "+b.Name, selector))
	}
	slices.SortFunc(out, func(a, b finder) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// selects reports whether the Service gets its endpoints from a selector.
func selects(s *corev1.Service) bool {
	return len(s.Spec.Selector) > 0 && s.Spec.Type != corev1.ServiceTypeExternalName
}

func newFinder(name string, selector labels.Selector) finder {
	return finder{name: name, selector: selector, keys: keysOf(selector)}
}

func keysOf(selector labels.Selector) []string {
	requirements, _ := selector.Requirements()
	var keys []string
	for _, r := range requirements {
		keys = append(keys, r.Key())
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func servesTarget(services []corev1.Service, target map[string]string) bool {
	return slices.ContainsFunc(services, func(s corev1.Service) bool {
		return selects(&s) && labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(target))
	})
}

// found is the first finder that selects a slot without these labels; nil if none does.
func found(in *TemplateInput, target map[string]string, finders []finder, keys []string) *finder {
	return firstOf(finders, idleLabels(in, target, pick(target, keys)))
}

func firstOf(finders []finder, idle labels.Set) *finder {
	for i := range finders {
		if finders[i].selector.Matches(idle) {
			return &finders[i]
		}
	}
	return nil
}

// check says what is wrong with the user's choice; nil if nothing.
func check(in *TemplateInput, target map[string]string, finders []finder, keys []string) *Refusal {
	if f := found(in, target, finders, keys); f != nil {
		without := "with no label withheld (the template has none of standby.withholdLabels)"
		if len(keys) > 0 {
			without = "without " + strings.Join(keys, ", ")
		}
		remedy := fmt.Sprintf("Add one of its labels (%s) to standby.withholdLabels, or remove that field", strings.Join(f.keys, ", "))
		if len(in.WithholdLabels) == 0 {
			remedy = fmt.Sprintf("Add %s: \"true\" to its selector, or set standby.withholdLabels", v1alpha1.LabelServing)
		}
		return &Refusal{v1alpha1.ReasonNothingToWithhold, fmt.Sprintf("%s selects an idle slot %s. %s", f.name, without, remedy)}
	}
	return policyConflict(in, target, keys)
}

// search finds the fewest labels to withhold. It takes the first finder that still selects the slot, tries to withhold
// each label that it looks at, and goes on from there; with one label in all, then two, and so on.
func search(in *TemplateInput, target map[string]string, finders []finder) ([]string, *Refusal) {
	tries := 0
	idle := idleLabels(in, target, nil)
	var blocked *Refusal
	var try func(keys []string, left int) ([]string, bool)
	try = func(keys []string, left int) ([]string, bool) {
		tries++
		f := firstOf(finders, idle)
		if f == nil {
			conflict := policyConflict(in, target, keys)
			if blocked == nil {
				blocked = conflict
			}
			return keys, conflict == nil
		}
		if left == 0 {
			return nil, false
		}
		for _, k := range f.keys {
			_, has := target[k]
			if !has || !withholdable(k) || slices.Contains(keys, k) || tries > mostTries {
				continue
			}
			next := append(slices.Clone(keys), k)
			slices.Sort(next)
			delete(idle, k)
			found, ok := try(next, left-1)
			idle[k] = target[k]
			if ok {
				return found, true
			}
		}
		return nil, false
	}
	for n := 0; n <= mostWithheld && tries <= mostTries; n++ {
		if keys, ok := try(nil, n); ok {
			return keys, nil
		}
	}
	if blocked != nil {
		return nil, blocked
	}
	return nil, nothingToWithhold(in, target, finders)
}

// nothingToWithhold names one that selects the slot whatever is withheld.
func nothingToWithhold(in *TemplateInput, target map[string]string, finders []finder) *Refusal {
	all := slices.DeleteFunc(slices.Sorted(maps.Keys(target)), func(k string) bool { return !withholdable(k) })
	f := found(in, target, finders, all)
	if f == nil {
		return &Refusal{v1alpha1.ReasonNothingToWithhold, fmt.Sprintf(
			"too many labels would have to be withheld. Put %s: \"true\" into the template and into the selectors of the Services and PodDisruptionBudgets, or set standby.withholdLabels", v1alpha1.LabelServing)}
	}
	return &Refusal{v1alpha1.ReasonNothingToWithhold, fmt.Sprintf(
		"%s selects idle slots, whichever of the template's labels are withheld (it looks at %s). Add %s: \"true\" to its selector and to the template",
		f.name, strings.Join(f.keys, ", "), v1alpha1.LabelServing)}
}

// policyConflict says which NetworkPolicy would treat a slot without these labels differently from one with them: as a
// subject it would run unisolated, as a peer cut off. nil if none does.
func policyConflict(in *TemplateInput, target map[string]string, keys []string) *Refusal {
	if len(keys) == 0 {
		return nil
	}
	idle, whole := idleLabels(in, target, pick(target, keys)), idleLabels(in, target, nil)
	for i := range in.Surroundings.NetworkPolicies {
		policy := &in.Surroundings.NetworkPolicies[i]
		for _, s := range policySelectors(policy, in.Namespace) {
			if s.selector.Matches(idle) == s.selector.Matches(whole) {
				continue
			}
			effect := "an idle slot would run unisolated"
			if s.peer {
				effect = "an idle slot would be cut off"
			}
			return &Refusal{v1alpha1.ReasonNetworkPolicySelectsLabel, fmt.Sprintf(
				"NetworkPolicy %s selects on %s, which has to be withheld from idle slots: %s. Put a label of its own, %s: \"true\", into the template and into the selectors of the Services and PodDisruptionBudgets; it is then all that is withheld",
				policyName(policy, in.Namespace), strings.Join(common(keysOf(s.selector), keys), ", "), effect, v1alpha1.LabelServing)}
		}
	}
	return nil
}

func policyName(policy *networkingv1.NetworkPolicy, namespace string) string {
	if policy.Namespace == namespace || policy.Namespace == "" {
		return policy.Name
	}
	return policy.Namespace + "/" + policy.Name
}

func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(k string) bool { return !slices.Contains(b, k) })
}

type policySelector struct {
	selector labels.Selector
	peer     bool
}

// policySelectors are the selectors of a NetworkPolicy that apply to pods of the namespace.
func policySelectors(policy *networkingv1.NetworkPolicy, namespace string) []policySelector {
	var out []policySelector
	add := func(s *metav1.LabelSelector, peer bool) {
		if selector, err := metav1.LabelSelectorAsSelector(s); err == nil {
			out = append(out, policySelector{selector, peer})
		}
	}
	sameNamespace := policy.Namespace == namespace || policy.Namespace == ""
	if sameNamespace {
		add(&policy.Spec.PodSelector, false)
	}
	peers := func(list []networkingv1.NetworkPolicyPeer) {
		for _, p := range list {
			if p.PodSelector == nil || (p.NamespaceSelector == nil && !sameNamespace) {
				continue
			}
			if p.NamespaceSelector == nil || mayMatchNamespace(p.NamespaceSelector, namespace) {
				add(p.PodSelector, true)
			}
		}
	}
	for _, rule := range policy.Spec.Ingress {
		peers(rule.From)
	}
	for _, rule := range policy.Spec.Egress {
		peers(rule.To)
	}
	return out
}

// mayMatchNamespace is exact for selectors by the namespace's name. Of other labels of a namespace we know nothing.
func mayMatchNamespace(s *metav1.LabelSelector, namespace string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false
	}
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if r.Key() == corev1.LabelMetadataName && !r.Matches(labels.Set{corev1.LabelMetadataName: namespace}) {
			return false
		}
	}
	return true
}

// Exposed reports whether a Service selects an idle slot of gate Service: it was made before the Service came to select it.
func Exposed(slot *Slot, services []corev1.Service) bool {
	if slot.Gate != v1alpha1.GateService || !slot.Idle() {
		return false
	}
	return servesTarget(services, slot.Labels)
}
