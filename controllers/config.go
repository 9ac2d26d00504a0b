// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// configEvery is how often the ConfigMaps and Secrets that a pool's template refers to are read: one GET each.
const configEvery = time.Minute

// configState is what is known of the data that the pool's template refers to. A slot that was made with other data is
// stale, but is replaced only once pods of the target that started since the change have soaked.
type configState struct {
	// Revision is the pod-template-hash that this is about.
	Revision string
	Digest   string
	// Since is when the digest was first seen, Soaked whether slots with another one may be replaced.
	Since  time.Time
	Soaked bool
	readAt time.Time
}

// slotSource is what is remembered of the surroundings of one revision's template.
type slotSource struct {
	config configState
	claims claimState
}

// observeConfig digests the data that the template refers to. Only the digest is kept.
func (r *QueueScalerReconciler) observeConfig(ctx context.Context, seen *decision.Observation, hash string, s *slotSource, template *corev1.PodTemplateSpec) error {
	if s.config.Revision == hash && seen.Now.Sub(s.config.readAt) < configEvery && !seen.Now.Before(s.config.readAt) {
		return nil
	}
	data := map[standby.Ref]map[string][]byte{}
	for _, ref := range standby.ConfigRefs(template) {
		content, err := r.configData(ctx, seen.QueueScaler.Namespace, ref)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read %s %s, which the target's template refers to: %w", ref.Kind, ref.Name, err)
		}
		data[ref] = content
	}
	digest := standby.ConfigDigest(data)
	if s.config.Revision != hash || s.config.Digest != digest {
		s.config = configState{Revision: hash, Digest: digest, Since: seen.Now}
	}
	s.config.readAt = seen.Now
	if !slices.ContainsFunc(seen.Slots, func(slot standby.Slot) bool { return slot.ConfigDigest != digest }) {
		return nil
	}
	newest, err := r.newestPod(ctx, seen.Target)
	s.config.Soaked = err == nil && s.config.soaked(seen, newest)
	return err
}

// newestPod is when the newest of the target's pods that are ready was created.
func (r *QueueScalerReconciler) newestPod(ctx context.Context, d *appsv1.Deployment) (time.Time, error) {
	pods, err := r.targetPods(ctx, d)
	var newest time.Time
	for i := range pods {
		ready := slices.ContainsFunc(pods[i].Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if created := pods[i].CreationTimestamp.Time; ready && created.After(newest) {
			newest = created
		}
	}
	return newest, err
}

// soaked reports whether a pod of the target started after the change, and has stayed available for the soak time.
func (c configState) soaked(seen *decision.Observation, newestPod time.Time) bool {
	return newestPod.After(c.Since) && seen.Now.Sub(newestPod) >= decision.SoakTime(&seen.QueueScaler.Spec) &&
		seen.Target.Status.AvailableReplicas >= decision.ReplicasOf(seen.Target)
}

func (r *QueueScalerReconciler) configData(ctx context.Context, namespace string, ref standby.Ref) (map[string][]byte, error) {
	if ref.Kind == standby.KindSecret {
		return r.secret(ctx, namespace, ref.Name)
	}
	var cm corev1.ConfigMap
	if err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, &cm); err != nil {
		return nil, err
	}
	return standby.ConfigMapData(&cm), nil
}

// claimState is how the volumes of one revision may be accessed.
type claimState struct {
	revision string
	modes    map[string][]corev1.PersistentVolumeAccessMode
}

// observeClaims reads the claims of the pool's template live, once for each revision: access modes cannot be changed.
func (r *QueueScalerReconciler) observeClaims(ctx context.Context, seen *decision.Observation, hash string, s *slotSource, template *corev1.PodTemplateSpec) error {
	if s.claims.revision == hash {
		return nil
	}
	modes, complete := map[string][]corev1.PersistentVolumeAccessMode{}, true
	for _, volume := range template.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		var claim corev1.PersistentVolumeClaim
		key := types.NamespacedName{Namespace: seen.QueueScaler.Namespace, Name: volume.PersistentVolumeClaim.ClaimName}
		switch err := r.APIReader.Get(ctx, key, &claim); {
		case apierrors.IsNotFound(err):
			complete = false // it may come later
		case err != nil:
			return fmt.Errorf("read PersistentVolumeClaim %s: %w", key.Name, err)
		default:
			modes[key.Name] = claim.Spec.AccessModes
		}
	}
	s.claims = claimState{modes: modes}
	if complete {
		s.claims.revision = hash
	}
	return nil
}
