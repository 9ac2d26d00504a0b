// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/internal/decision"
	"github.com/queuescaler/queuescaler/internal/rollout"
	"github.com/queuescaler/queuescaler/internal/standby"
)

// askAgainAfter is how long the API server is not asked again after it has refused a rollback.
const askAgainAfter = time.Minute

// unpermitted is a rollback that the API server has refused, and will for a while.
type unpermitted struct {
	until time.Time
	why   string // for people
}

// rollBack patches the target's template back to the known-good revision's, and nothing else, once for each revision: that it is
// to be done is stored first, so that a crash in between leads to no second one.
func (r *QueueScalerReconciler) rollBack(ctx context.Context, seen *decision.Observation, d *decision.Decision, s *scaler, done *acted) error {
	b := d.Rollback
	if b == nil || b.Refused != "" {
		return nil
	}
	if b.Stored && seen.Now.Before(s.unpermitted.until) {
		b.Refused = s.unpermitted.why
		return nil
	}
	template := soakedTemplate(seen, b.To.Hash)
	if template == nil {
		b.Refused = "the known-good revision's template is lost"
		return nil
	}
	missing, err := r.missingReference(ctx, seen.QueueScaler.Namespace, template)
	if err != nil {
		return err
	}
	if missing != "" {
		b.Refused = missing + ", which the known-good revision refers to, is gone"
		return nil
	}
	service, err := r.lostService(ctx, seen.QueueScaler.Namespace, &seen.Target.Spec.Template, template)
	if err != nil {
		return err
	}
	if service != "" {
		b.Refused = fmt.Sprintf("Service %s selects on labels that the known-good revision lacks, and would have no pods: take them out of its selector first", service)
		return nil
	}
	if !b.Stored {
		s.Ledger.MarkRolledBack(b.From.Hash, seen.Now)
		return nil
	}
	live, err := r.liveTarget(ctx, seen)
	if err != nil || live == nil {
		return err
	}
	running := replicaSetOf(seen, b.From.Hash)
	if running == nil || live.UID != seen.Target.UID || rollout.Digest(&live.Spec.Template) != rollout.Digest(&running.Spec.Template) {
		return nil // somebody changed it just now: the next look decides anew
	}
	err = r.putTemplate(ctx, live, template)
	if why := refusedBy(err); why != "" {
		// No error: it would delay what else there is to do. The intent is stored anew, lest it be old when the right is given.
		b.Refused, s.unpermitted = why, unpermitted{seen.Now.Add(askAgainAfter), why}
		s.Ledger.MarkRolledBack(b.From.Hash, seen.Now)
		return nil
	}
	switch {
	case apierrors.IsConflict(err):
		return fmt.Errorf("deployment %s was written by somebody else while it was to be rolled back", live.Name)
	case err != nil:
		done.events = append(done.events, rollbackFailed(err))
		return err
	}
	done.Wrote = true
	r.metrics.RolledBack(client.ObjectKeyFromObject(seen.QueueScaler))
	done.events = append(done.events, rolledBack(decision.RollbackMessage(seen, &s.Memory, d)))
	return nil
}

// refusedBy is why the API server will not have a rollback, and what to do; empty where it is to be tried again at once.
func refusedBy(err error) string {
	switch {
	case err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ""
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the operator may not patch this Deployment. Who installed it gives it the right with kubectl apply -k config/rollback (%v)", err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return fmt.Sprintf("the API server refuses it, and a policy of the cluster may be why: %v", err)
	}
	return ""
}

// putTemplate writes the template alone, on the condition that the Deployment is still the one that was read.
func (r *QueueScalerReconciler) putTemplate(ctx context.Context, live *appsv1.Deployment, template *corev1.PodTemplateSpec) error {
	template = template.DeepCopy()
	delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/resourceVersion", "value": live.ResourceVersion},
		{"op": "replace", "path": "/spec/template", "value": template},
	})
	if err != nil {
		return err
	}
	err = r.Patch(ctx, live.DeepCopy(), client.RawPatch(types.JSONPatchType, patch))
	if apierrors.IsInvalid(err) && conflicting(err) {
		return apierrors.NewConflict(appsv1.Resource("deployments"), live.Name, err)
	}
	return err
}

// conflicting: a JSON patch whose test fails is answered as invalid, without the causes that an invalid object has.
func conflicting(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	return ok && (status.Status().Details == nil || len(status.Status().Details.Causes) == 0)
}

// lostService names a Service that selects pods of the present template and would select none of an earlier one; empty where there is none.
func (r *QueueScalerReconciler) lostService(ctx context.Context, namespace string, present, earlier *corev1.PodTemplateSpec) (string, error) {
	var services corev1.ServiceList
	if err := r.List(ctx, &services, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list Services: %w", err)
	}
	for _, s := range services.Items {
		selector := labels.SelectorFromSet(s.Spec.Selector)
		if len(s.Spec.Selector) > 0 && selector.Matches(labels.Set(present.Labels)) && !selector.Matches(labels.Set(earlier.Labels)) {
			return s.Name, nil
		}
	}
	return "", nil
}

// missingReference is what the template refers to and does not exist, for people; empty where all is there. Optional references
// may be missing.
func (r *QueueScalerReconciler) missingReference(ctx context.Context, namespace string, template *corev1.PodTemplateSpec) (string, error) {
	gone := func(o client.Object, kind, name string) (string, error) {
		err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, o)
		switch {
		case apierrors.IsNotFound(err):
			return kind + " " + name, nil
		case err != nil:
			return "", fmt.Errorf("read %s %s, which the known-good revision refers to: %w", kind, name, err)
		}
		return "", nil
	}
	for _, ref := range standby.RequiredRefs(template) {
		o := client.Object(&corev1.ConfigMap{})
		if ref.Kind == standby.KindSecret {
			o = &corev1.Secret{}
		}
		if missing, err := gone(o, ref.Kind, ref.Name); missing != "" || err != nil {
			return missing, err
		}
	}
	for _, volume := range template.Spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim != nil {
			if missing, err := gone(&corev1.PersistentVolumeClaim{}, "PersistentVolumeClaim", claim.ClaimName); missing != "" || err != nil {
				return missing, err
			}
		}
	}
	if name := template.Spec.ServiceAccountName; name != "" {
		return gone(&corev1.ServiceAccount{}, "ServiceAccount", name)
	}
	return "", nil
}
