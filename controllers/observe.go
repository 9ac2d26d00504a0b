// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/capacity"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// observed is everything that one reconcile looks at, gathered once from caches. It is only read afterwards.
type observed struct {
	now time.Time
	qs  *capacityv1alpha1.QueueScaler

	// target is nil when the Deployment does not exist.
	target      *appsv1.Deployment
	replicaSets []*appsv1.ReplicaSet
	assessment  rollout.Assessment
	trouble     podTrouble
	conflict    string

	samples []queue.Sample

	slotSets  []*appsv1.ReplicaSet
	slots     []standby.Slot
	revisions []*appsv1.ControllerRevision

	services []corev1.Service
	budgets  []policyv1.PodDisruptionBudget
	policies []networkingv1.NetworkPolicy
}

// observe gathers what is decided upon, and carries on what has to be remembered of it.
func (r *QueueScalerReconciler) observe(ctx context.Context, now time.Time, qs *capacityv1alpha1.QueueScaler, s *scaler) (*observed, error) {
	seen := &observed{now: now, qs: qs}
	if err := r.observeTarget(ctx, seen, s); err != nil {
		return nil, err
	}
	var err error
	if seen.conflict, err = r.conflict(ctx, qs); err != nil {
		return nil, err
	}
	if err := r.observeSlots(ctx, seen); err != nil {
		return nil, err
	}
	if err := r.observeTemplate(ctx, seen, s); err != nil {
		return nil, err
	}
	r.observeQueues(seen, s)
	return seen, nil
}

// errTargetAhead is an attempt to be made again: the API server has the target, and the cache does not yet.
var errTargetAhead = errors.New("the target exists, and is not in the cache yet")

func (r *QueueScalerReconciler) observeTarget(ctx context.Context, seen *observed, s *scaler) error {
	var d appsv1.Deployment
	key := types.NamespacedName{Namespace: seen.qs.Namespace, Name: seen.qs.Spec.ScaleTargetRef.Name}
	switch err := r.Get(ctx, key, &d); {
	case apierrors.IsNotFound(err):
		if err := r.confirmGone(ctx, seen, s); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("get deployment %s: %w", key.Name, err)
	default:
		seen.target = &d
		if seen.replicaSets, err = r.replicaSetsOf(ctx, key.Namespace, d.UID); err != nil {
			return err
		}
	}
	if was := s.rollout.UID; seen.target != nil && was != "" && was != seen.target.UID {
		s.soak = rollout.Soak{} // another Deployment of the same name has proved nothing yet
	}
	seen.assessment, s.rollout = rollout.Assess(seen.now, seen.target, seen.replicaSets, s.rollout)
	if seen.target == nil {
		return nil
	}
	s.soak = s.soak.Next(seen.now, seen.assessment, seen.target, soakTime(&seen.qs.Spec))
	var err error
	seen.trouble, err = r.podTrouble(ctx, seen.now, seen.target, s)
	return err
}

// confirmGone reads live, once, whether a target that was there is gone: its slots go with it, and a cache that is behind
// must not make them go.
func (r *QueueScalerReconciler) confirmGone(ctx context.Context, seen *observed, s *scaler) error {
	if s.targetUID == "" {
		return nil
	}
	if live, err := r.liveTarget(ctx, seen); err != nil || live != nil {
		return errors.Join(err, errTargetAhead)
	}
	s.targetUID = ""
	return nil
}

func (r *QueueScalerReconciler) replicaSetsOf(ctx context.Context, namespace string, owner types.UID) ([]*appsv1.ReplicaSet, error) {
	var list appsv1.ReplicaSetList
	// The cache's own objects are only read, so that a reconcile copies no templates.
	err := r.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexOwner: string(owner)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list ReplicaSets: %w", err)
	}
	return pointers(list.Items), nil
}

func (r *QueueScalerReconciler) observeSlots(ctx context.Context, seen *observed) error {
	qs := seen.qs
	var err error
	if seen.slotSets, err = r.replicaSetsOf(ctx, qs.Namespace, qs.UID); err != nil {
		return err
	}
	if !wantsPool(&qs.Spec) && len(seen.slotSets) == 0 {
		return nil
	}
	ours := []client.ListOption{client.InNamespace(qs.Namespace), client.MatchingLabels{capacityv1alpha1.LabelScaler: qs.Name}, client.UnsafeDisableDeepCopy}
	var pods corev1.PodList
	if err := r.List(ctx, &pods, ours...); err != nil {
		return fmt.Errorf("list slots' pods: %w", err)
	}
	var revisions appsv1.ControllerRevisionList
	if err := r.List(ctx, &revisions, ours...); err != nil {
		return fmt.Errorf("list ControllerRevisions: %w", err)
	}
	seen.revisions = pointers(revisions.Items)
	seen.slots = standby.Observe(seen.now, qs.Name, qs.UID, seen.slotSets, pointers(pods.Items))
	return r.observeSurroundings(ctx, seen)
}

// observeTemplate reads what the pool's template refers to, where slots may be made from it.
func (r *QueueScalerReconciler) observeTemplate(ctx context.Context, seen *observed, s *scaler) error {
	template := soakedTemplate(seen, s.soak.SoakedHash)
	if !wantsPool(&seen.qs.Spec) || template == nil || seen.target == nil || frozen(seen) != "" || !seen.qs.DeletionTimestamp.IsZero() {
		return nil
	}
	if err := r.observeClaims(ctx, seen, s, template); err != nil {
		return err
	}
	return r.observeConfig(ctx, seen, s, template)
}

// observeSurroundings lists what may select a slot's pod.
func (r *QueueScalerReconciler) observeSurroundings(ctx context.Context, seen *observed) error {
	in := []client.ListOption{client.InNamespace(seen.qs.Namespace), client.UnsafeDisableDeepCopy}
	var services corev1.ServiceList
	if err := r.List(ctx, &services, in...); err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	var budgets policyv1.PodDisruptionBudgetList
	if err := r.List(ctx, &budgets, in...); err != nil {
		return fmt.Errorf("list PodDisruptionBudgets: %w", err)
	}
	var policies networkingv1.NetworkPolicyList
	if err := r.List(ctx, &policies, in...); err != nil {
		return fmt.Errorf("list NetworkPolicies: %w", err)
	}
	seen.services, seen.budgets, seen.policies = services.Items, budgets.Items, policies.Items
	return nil
}

// observeQueues subscribes to the queues, and feeds what they told since the last time to the estimator.
func (r *QueueScalerReconciler) observeQueues(seen *observed, s *scaler) {
	key := client.ObjectKeyFromObject(seen.qs)
	r.queues.Subscribe(key, seen.qs.Spec.Queues)
	seen.samples = r.queues.Samples(key)
	s.capacity.Configure(settingsOf(&seen.qs.Spec))
	if s.specGeneration != seen.qs.Generation {
		// A queue may be read from another source now: what it told before is no past of the new one.
		for i := range seen.qs.Spec.Queues {
			s.capacity.Restart(i)
		}
		s.specGeneration = seen.qs.Generation
	}
	s.capacity.Serve(serving(seen))
	for i, readings := range r.queues.Take(key) {
		for _, reading := range readings {
			s.capacity.Observe(i, reading)
		}
	}
}

// serving is who works on the queues.
func serving(seen *observed) capacity.Serving {
	if seen.target == nil {
		return capacity.Serving{Disturbed: true}
	}
	a := seen.assessment
	now := capacity.Serving{
		Replicas: seen.target.Status.AvailableReplicas, Revision: a.New.Hash,
		Disturbed: a.InProgress() || a.State == rollout.Scaling || a.Degraded,
	}
	for i := range seen.slots {
		if slot := &seen.slots[i]; slot.State == standby.Lent {
			now.Replicas++
			now.Disturbed = now.Disturbed || slot.Revision != a.New.Hash
		}
	}
	return now
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
