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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// observe gathers what is decided upon, and carries on what has to be remembered of it.
func (r *QueueScalerReconciler) observe(ctx context.Context, now time.Time, qs *capacityv1alpha1.QueueScaler, s *scaler) (*decision.Observation, error) {
	seen := &decision.Observation{Now: now, QueueScaler: qs}
	if err := r.observeTarget(ctx, seen, s); err != nil {
		return nil, err
	}
	var err error
	if seen.Conflict, err = r.conflict(ctx, qs); err != nil {
		return nil, err
	}
	if err := r.observeSlots(ctx, seen); err != nil {
		return nil, err
	}
	if err := r.observeTemplate(ctx, seen, s); err != nil {
		return nil, err
	}
	if err := r.observeQueues(ctx, seen, s); err != nil {
		return nil, err
	}
	return seen, nil
}

// errTargetAhead is an attempt to be made again: the API server has the target, and the cache does not yet.
var errTargetAhead = errors.New("the target exists, and is not in the cache yet")

func (r *QueueScalerReconciler) observeTarget(ctx context.Context, seen *decision.Observation, s *scaler) error {
	var d appsv1.Deployment
	key := types.NamespacedName{Namespace: seen.QueueScaler.Namespace, Name: seen.QueueScaler.Spec.ScaleTargetRef.Name}
	switch err := r.Get(ctx, key, &d); {
	case apierrors.IsNotFound(err):
		if err := r.confirmGone(ctx, seen, s); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("get deployment %s: %w", key.Name, err)
	default:
		seen.Target = &d
		if seen.ReplicaSets, err = r.replicaSetsOf(ctx, key.Namespace, d.UID); err != nil {
			return err
		}
	}
	s.Assess(seen)
	if seen.Target == nil {
		return nil
	}
	var err error
	seen.Trouble, err = r.podTrouble(ctx, seen.Now, seen.Target, s)
	return err
}

// confirmGone reads live, once, whether a target that was there is gone: its slots go with it, and a cache that is behind
// must not make them go.
func (r *QueueScalerReconciler) confirmGone(ctx context.Context, seen *decision.Observation, s *scaler) error {
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

func (r *QueueScalerReconciler) observeSlots(ctx context.Context, seen *decision.Observation) error {
	qs := seen.QueueScaler
	sets, err := r.replicaSetsOf(ctx, qs.Namespace, qs.UID)
	if err != nil {
		return err
	}
	ours := []client.ListOption{client.InNamespace(qs.Namespace), client.MatchingLabels{capacityv1alpha1.LabelScaler: qs.Name}, client.UnsafeDisableDeepCopy}
	var revisions appsv1.ControllerRevisionList
	if err := r.List(ctx, &revisions, ours...); err != nil {
		return fmt.Errorf("list ControllerRevisions: %w", err)
	}
	seen.Revisions = pointers(revisions.Items)
	if !decision.WantsPool(&qs.Spec) && len(sets) == 0 {
		return nil
	}
	var pods corev1.PodList
	if err := r.List(ctx, &pods, ours...); err != nil {
		return fmt.Errorf("list slots' pods: %w", err)
	}
	seen.Slots = standby.Observe(seen.Now, qs.Name, qs.UID, sets, pointers(pods.Items))
	var services corev1.ServiceList
	if err := r.List(ctx, &services, client.InNamespace(qs.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	seen.Services = services.Items
	return nil
}

// observeQueues subscribes to the queues, and to the driver after them, and has what they told since the last time learnt from.
func (r *QueueScalerReconciler) observeQueues(ctx context.Context, seen *decision.Observation, s *scaler) error {
	key := client.ObjectKeyFromObject(seen.QueueScaler)
	sources, err := r.sources(ctx, seen)
	if err != nil {
		return err
	}
	r.queues.Subscribe(key, sources)
	seen.TakeSamples(r.queues.Samples(key))
	s.Learn(seen, r.queues.Take(key))
	return nil
}

// sources are the queues and the driver, with the addresses of their QueueServers, which are noted in seen.
func (r *QueueScalerReconciler) sources(ctx context.Context, seen *decision.Observation) ([]queue.Source, error) {
	find := func(name string) (*capacityv1alpha1.QueueServer, error) {
		var server capacityv1alpha1.QueueServer
		if err := r.Get(ctx, types.NamespacedName{Name: name}, &server); err != nil {
			return nil, client.IgnoreNotFound(err) // nil and nil: there is none
		}
		return &server, nil
	}
	queues := decision.Sources(&seen.QueueScaler.Spec)
	sources := make([]queue.Source, len(queues))
	resolved := true
	for i := range queues {
		var err error
		if sources[i], err = r.Servers.Resolve(&queues[i], seen.QueueScaler.Namespace, find); err != nil {
			return nil, fmt.Errorf("find the QueueServer of queue %s: %w", queues[i].Name, err)
		}
		resolved = resolved && sources[i].Refused == nil
		if sources[i].QueueServer != "" {
			seen.QueueServers += sources[i].QueueServer + " " + queue.ServerOf(&sources[i].Queue.QueueSource).URL + "\n"
		}
	}
	if !resolved {
		seen.QueueServers = "" // not known at present
	}
	return sources, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
