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

// observeTemplate makes the templates of slots: of the revision that the pool runs, and of the known-good one.
func (r *QueueScalerReconciler) observeTemplate(ctx context.Context, seen *decision.Observation, s *scaler) error {
	if !decision.WantsPool(&seen.QueueScaler.Spec) || seen.Target == nil {
		return nil
	}
	var err error
	if seen.Template, seen.Refusal, err = r.slotTemplate(ctx, seen, s.PoolRevision(), &s.pool); err != nil {
		return err
	}
	seen.ConfigDigest, seen.ConfigSoaked = s.pool.config.Digest, s.pool.config.Soaked
	if good := s.KnownGood(); good != s.PoolRevision() {
		seen.KnownGoodTemplate, _, err = r.slotTemplate(ctx, seen, good, &s.knownGood)
		seen.KnownGoodConfigDigest = s.knownGood.config.Digest
	}
	return err
}

// slotTemplate makes the template of a slot of one revision, from the revision's own and what that refers to.
func (r *QueueScalerReconciler) slotTemplate(ctx context.Context, seen *decision.Observation, hash string, s *slotSource) (*standby.SlotTemplate, *standby.Refusal, error) {
	template := soakedTemplate(seen, hash)
	if template == nil {
		return nil, nil, nil
	}
	if decision.Frozen(seen) == "" && seen.QueueScaler.DeletionTimestamp.IsZero() {
		if err := r.observeClaims(ctx, seen, hash, s, template); err != nil {
			return nil, nil, err
		}
		if err := r.observeConfig(ctx, seen, hash, s, template); err != nil {
			return nil, nil, err
		}
	}
	surroundings, err := r.surroundings(ctx, seen, s)
	if err != nil {
		return nil, nil, err
	}
	spec := &seen.QueueScaler.Spec.Standby
	made, refusal := standby.Template(standby.TemplateInput{
		Namespace: seen.QueueScaler.Namespace, Scaler: seen.QueueScaler.Name,
		Gate: spec.Gate, GateImage: r.GateImage, WithholdLabels: spec.WithholdLabels, PriorityClassName: spec.PriorityClassName,
		Revision: hash, Template: template, MinReadySeconds: seen.Target.Spec.MinReadySeconds,
		Surroundings: surroundings,
	})
	return made, refusal, nil
}

// surroundings are what may select a slot's pod, and how its volumes are accessed.
func (r *QueueScalerReconciler) surroundings(ctx context.Context, seen *decision.Observation, s *slotSource) (standby.Surroundings, error) {
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
