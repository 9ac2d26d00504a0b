// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of QueueScaler, group capacity.queuescaler.io.
//
// +kubebuilder:object:generate=true
// +groupName=capacity.queuescaler.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "capacity.queuescaler.io", Version: "v1alpha1"}

// AddToScheme registers the types of this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &QueueScaler{}, &QueueScalerList{}, &QueueServer{}, &QueueServerList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
