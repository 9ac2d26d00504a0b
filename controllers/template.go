// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// observeTemplate makes the template of a slot, from that of the soaked revision and what that refers to.
func (r *QueueScalerReconciler) observeTemplate(ctx context.Context, seen *decision.Observation, s *scaler) error {
	source := soakedTemplate(seen, s.PoolRevision())
	if !decision.WantsPool(&seen.QueueScaler.Spec) || source == nil || seen.Target == nil {
		return nil
	}
	if decision.Frozen(seen) == "" && seen.QueueScaler.DeletionTimestamp.IsZero() {
		if err := r.observeClaims(ctx, seen, s, source); err != nil {
			return err
		}
		if err := r.observeConfig(ctx, seen, s, source); err != nil {
			return err
		}
	}
	seen.ConfigDigest, seen.ConfigSoaked = s.config.Digest, s.config.Soaked
	surroundings, err := r.surroundings(ctx, seen, s)
	if err != nil {
		return err
	}
	spec := &seen.QueueScaler.Spec.Standby
	seen.Template, seen.Refusal = standby.Template(standby.TemplateInput{
		Namespace: seen.QueueScaler.Namespace, Scaler: seen.QueueScaler.Name,
		Gate: spec.Gate, WithholdLabels: spec.WithholdLabels, PriorityClassName: spec.PriorityClassName,
		Revision: s.PoolRevision(), Template: source, MinReadySeconds: seen.Target.Spec.MinReadySeconds,
		Surroundings: surroundings,
	})
	return nil
}

// surroundings are what may select a slot's pod, and how its volumes are accessed.
func (r *QueueScalerReconciler) surroundings(ctx context.Context, seen *decision.Observation, s *scaler) (standby.Surroundings, error) {
	in := []client.ListOption{client.InNamespace(seen.QueueScaler.Namespace), client.UnsafeDisableDeepCopy}
	var budgets policyv1.PodDisruptionBudgetList
	if err := r.List(ctx, &budgets, in...); err != nil {
		return standby.Surroundings{}, fmt.Errorf("list PodDisruptionBudgets: %w", err)
	}
	var policies networkingv1.NetworkPolicyList
	if err := r.List(ctx, &policies, in...); err != nil {
		return standby.Surroundings{}, fmt.Errorf("list NetworkPolicies: %w", err)
	}
	return standby.Surroundings{
		Services: seen.Services, Budgets: budgets.Items, NetworkPolicies: policies.Items, ClaimModes: s.claims.modes,
	}, nil
}

// soakedTemplate is the template of a revision, from its ReplicaSet, or from where it was kept; nil where it is lost.
func soakedTemplate(seen *decision.Observation, hash string) *corev1.PodTemplateSpec {
	if rs := replicaSetOf(seen, hash); rs != nil {
		return &rs.Spec.Template
	}
	for _, cr := range seen.Revisions {
		if hash != "" && cr.Labels[capacityv1alpha1.LabelRevision] == hash {
			if template, _, err := standby.TemplateOf(cr); err == nil {
				return &template
			}
		}
	}
	return nil
}

func replicaSetOf(seen *decision.Observation, hash string) *appsv1.ReplicaSet {
	for _, rs := range seen.ReplicaSets {
		if hash != "" && rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash {
			return rs
		}
	}
	return nil
}
