// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func managed(manager, operation, subresource, fields string, at time.Time) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationType(operation), Subresource: subresource,
		Time: ptr.To(metav1.NewTime(at)), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func TestWhoWroteTheReplicasSurvivesTheCache(t *testing.T) {
	const owns, template = `{"f:spec":{"f:replicas":{}}}`, `{"f:spec":{"f:template":{}}}`
	for _, c := range []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		{"nobody is known", nil, "somebody"},
		{"us, through scale", []metav1.ManagedFieldsEntry{
			managed("kubectl-client-side-apply", "Update", "", template, noon),
			managed(capacityv1alpha1.FieldOwner, "Update", "scale", owns, noon)}, capacityv1alpha1.FieldOwner},
		{"status has a field of that name too", []metav1.ManagedFieldsEntry{
			managed("kube-controller-manager", "Update", "status", `{"f:status":{"f:replicas":{}}}`, noon),
			managed("kubectl", "Update", "scale", owns, noon)}, "kubectl"},
		{"two who applied the same number: the later", []metav1.ManagedFieldsEntry{
			managed("argocd", "Apply", "", owns, noon.Add(time.Minute)),
			managed(capacityv1alpha1.FieldOwner, "Update", "scale", owns, noon)}, "argocd"},
		{"fields that make no sense", []metav1.ManagedFieldsEntry{managed("x", "Update", "", `{"f:spec":7}`, noon)}, "somebody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{ManagedFields: c.entries}}
			if got := replicasWriter(d); got != c.want {
				t.Errorf("live: %q, want %q", got, c.want)
			}
			if _, err := keepReplicasManager(d); err != nil {
				t.Fatal(err)
			}
			if got := replicasWriter(d); got != c.want {
				t.Errorf("cached: %q, want %q", got, c.want)
			}
			for _, e := range d.ManagedFields {
				if e.FieldsV1 != nil {
					t.Error("the list of fields is still in the cache")
				}
			}
		})
	}
}

func TestTheOldestScalerActs(t *testing.T) {
	of := func(uid string, age time.Duration) *capacityv1alpha1.QueueScaler {
		return &capacityv1alpha1.QueueScaler{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), CreationTimestamp: metav1.NewTime(noon.Add(-age))}}
	}
	old, young, twin := of("b", time.Hour), of("a", time.Minute), of("c", time.Hour)
	if !outranks(old, young) || outranks(young, old) {
		t.Error("the older one must outrank the younger")
	}
	if !outranks(old, twin) || outranks(twin, old) {
		t.Error("of two of one age the lower UID must outrank")
	}
	if outranks(old, old) {
		t.Error("one must not outrank itself")
	}
	trial, deleted := of("0", 2*time.Hour), of("0", 2*time.Hour)
	trial.Spec.Mode = capacityv1alpha1.ModeDryRun
	deleted.DeletionTimestamp = ptr.To(metav1.NewTime(noon))
	if outranks(trial, old) || outranks(deleted, old) {
		t.Error("one that only tries out, or is being deleted, must not outrank")
	}
}

// A regression turns two conditions for one reason. The recorder takes events that differ in the message alone for one that is
// repeated, and only the advice has the command.
func TestConditionsThatTurnForOneReasonAreTwoEvents(t *testing.T) {
	var status capacityv1alpha1.QueueScalerStatus
	for _, kind := range []string{capacityv1alpha1.ConditionThroughputRegressed, capacityv1alpha1.ConditionRollbackAdvised} {
		status.Conditions = append(status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: capacityv1alpha1.ReasonServiceRateRegressed})
	}
	events := turnedOf(&capacityv1alpha1.QueueScalerStatus{}, &status)
	if len(events) != 2 || events[0].reason != events[1].reason || events[0].action == events[1].action {
		t.Errorf("%+v", events)
	}
}

func TestWhatTheAPIServerRefusesIsNotAskedForAtEachLook(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	kind := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	failedTest := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: 422}}
	policy := apierrors.NewInvalid(kind, "app", field.ErrorList{field.Forbidden(field.NewPath("spec"), "denied by a ValidatingAdmissionPolicy")})
	for _, c := range []struct {
		name    string
		err     error
		refused string // words of the refusal of a rollback; "" for none
		gone    bool   // what was to be written is not as it was seen
	}{
		{"nothing went wrong", nil, "", false},
		{"a right is missing", apierrors.NewForbidden(deployments, "app", errors.New("no")), "kubectl apply -k config/rollback", false},
		{"a policy denies it", policy, "denied by a ValidatingAdmissionPolicy", false},
		{"a webhook denies it", apierrors.NewBadRequest("denied the request"), "denied the request", false},
		{"a test of the patch failed", failedTest, "", true},
		{"somebody wrote it", apierrors.NewConflict(deployments, "app", errors.New("changed")), "", true},
		{"it does not exist", apierrors.NewNotFound(deployments, "app"), "", true},
		{"too much is asked", apierrors.NewTooManyRequests("later", 1), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := gone(c.err); got != c.gone {
				t.Errorf("gone: %v", got)
			}
			if c.name == "a test of the patch failed" {
				return // putTemplate makes a conflict of it
			}
			if got := refusedBy(c.err); (got == "") != (c.refused == "") || !strings.Contains(got, c.refused) {
				t.Errorf("refused: %q", got)
			}
		})
	}
}
