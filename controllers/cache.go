// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// Indexes of the cache.
const (
	indexOwner  = "owner"  // UID of the controlling owner, of ReplicaSets
	indexTarget = "target" // name of the Deployment, of QueueScalers and HorizontalPodAutoscalers
	indexServer = "server" // names of QueueServers, of QueueScalers
)

// cached are the kinds that are watched. Everything else is read live, one object at a time, when it is needed.
func cached() []client.Object {
	return []client.Object{
		&capacityv1alpha1.QueueScaler{},
		&capacityv1alpha1.QueueServer{},
		&appsv1.Deployment{},
		&appsv1.ReplicaSet{},
		&appsv1.ControllerRevision{},
		&corev1.Pod{},
		&corev1.Service{},
		&policyv1.PodDisruptionBudget{},
		&networkingv1.NetworkPolicy{},
		&autoscalingv2.HorizontalPodAutoscaler{},
	}
}

// CacheOptions keeps the caches small: of pods and ControllerRevisions only those of slots, and nobody's managed fields
// but the name of who wrote a Deployment's replicas. No namespaces means all.
func CacheOptions(namespaces []string) (cache.Options, error) {
	ours, err := labels.NewRequirement(capacityv1alpha1.LabelScaler, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, err
	}
	onlyOurs := cache.ByObject{Label: labels.NewSelector().Add(*ours)}
	options := cache.Options{
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:                onlyOurs,
			&appsv1.ControllerRevision{}: onlyOurs,
			&appsv1.Deployment{}:         {Transform: keepReplicasManager},
		},
	}
	for _, name := range namespaces {
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return cache.Options{}, fmt.Errorf("--watch-namespaces: %q is not a namespace's name: %s", name, problems[0])
		}
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[name] = cache.Config{}
	}
	return options, nil
}

// addIndexes registers the indexes that the observe phase lists by.
func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	byOwner := func(o client.Object) []string {
		if owner := metav1.GetControllerOf(o); owner != nil {
			return []string{string(owner.UID)}
		}
		return nil
	}
	if err := indexer.IndexField(ctx, &appsv1.ReplicaSet{}, indexOwner, byOwner); err != nil {
		return err
	}
	byScaler := func(o client.Object) []string {
		return []string{o.(*capacityv1alpha1.QueueScaler).Spec.ScaleTargetRef.Name}
	}
	if err := indexer.IndexField(ctx, &capacityv1alpha1.QueueScaler{}, indexTarget, byScaler); err != nil {
		return err
	}
	byServer := func(o client.Object) (names []string) {
		for _, q := range decision.Sources(&o.(*capacityv1alpha1.QueueScaler).Spec) {
			if name := queue.ServerOf(&q.QueueSource).ServerRef.Name; name != "" {
				names = append(names, name)
			}
		}
		return names
	}
	if err := indexer.IndexField(ctx, &capacityv1alpha1.QueueScaler{}, indexServer, byServer); err != nil {
		return err
	}
	byHPA := func(o client.Object) []string {
		ref := o.(*autoscalingv2.HorizontalPodAutoscaler).Spec.ScaleTargetRef
		if ref.Kind != "Deployment" {
			return nil
		}
		return []string{ref.Name}
	}
	return indexer.IndexField(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, indexTarget, byHPA)
}

// keepReplicasManager strips a Deployment's managed fields down to who wrote spec.replicas. That is how our own number
// is told from somebody else's, also right after a restart, with nothing stored.
func keepReplicasManager(in any) (any, error) {
	d, ok := in.(*appsv1.Deployment)
	if !ok {
		return in, nil
	}
	if entry := replicasManager(d); entry != nil {
		d.ManagedFields = []metav1.ManagedFieldsEntry{*entry}
	} else {
		d.ManagedFields = nil
	}
	return d, nil
}

// replicasManager returns the managed-fields entry that owns spec.replicas, without its list of fields; nil if there is none.
// Of several owners of the same value the latest counts.
func replicasManager(d *appsv1.Deployment) *metav1.ManagedFieldsEntry {
	var found *metav1.ManagedFieldsEntry
	for _, entry := range d.ManagedFields {
		if !ownsReplicas(entry) {
			continue
		}
		if found == nil || (entry.Time != nil && (found.Time == nil || found.Time.Before(entry.Time))) {
			found = &metav1.ManagedFieldsEntry{
				Manager: entry.Manager, Operation: entry.Operation, Subresource: entry.Subresource,
				Time: entry.Time, APIVersion: replicasOwned,
			}
		}
	}
	return found
}

// replicasOwned marks an entry of the cache whose list of fields was dropped after it was found to own spec.replicas.
const replicasOwned = "spec.replicas"

func ownsReplicas(entry metav1.ManagedFieldsEntry) bool {
	if entry.APIVersion == replicasOwned {
		return true
	}
	if entry.FieldsV1 == nil || entry.Subresource == "status" {
		return false
	}
	var fields struct {
		Spec struct {
			Replicas *struct{} `json:"f:replicas"`
		} `json:"f:spec"`
	}
	if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
		return false
	}
	return fields.Spec.Replicas != nil
}
