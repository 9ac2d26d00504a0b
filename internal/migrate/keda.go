// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import "k8s.io/apimachinery/pkg/api/resource"

// metadata that matters.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Annotations map[string]string `json:"annotations"`
}

// scaledObject is what is read of a ScaledObject.
type scaledObject struct {
	Metadata metadata         `json:"metadata"`
	Spec     scaledObjectSpec `json:"spec"`
}

type scaledObjectSpec struct {
	ScaleTargetRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"scaleTargetRef"`
	PollingInterval       *int32          `json:"pollingInterval"`
	InitialCooldownPeriod *int32          `json:"initialCooldownPeriod"`
	CooldownPeriod        *int32          `json:"cooldownPeriod"`
	IdleReplicaCount      *int32          `json:"idleReplicaCount"`
	MinReplicaCount       *int32          `json:"minReplicaCount"`
	MaxReplicaCount       *int32          `json:"maxReplicaCount"`
	Fallback              *kedaFallback   `json:"fallback"`
	Advanced              *advanced       `json:"advanced"`
	Triggers              []triggerSource `json:"triggers"`
}

type kedaFallback struct {
	FailureThreshold int32  `json:"failureThreshold"`
	Replicas         int32  `json:"replicas"`
	Behavior         string `json:"behavior"`
}

type advanced struct {
	RestoreToOriginalReplicaCount bool `json:"restoreToOriginalReplicaCount"`
	HorizontalPodAutoscalerConfig *struct {
		Behavior *struct {
			ScaleUp   *hpaRules `json:"scaleUp"`
			ScaleDown *hpaRules `json:"scaleDown"`
		} `json:"behavior"`
	} `json:"horizontalPodAutoscalerConfig"`
	ScalingModifiers *struct {
		Formula string `json:"formula"`
	} `json:"scalingModifiers"`
}

type hpaRules struct {
	StabilizationWindowSeconds *int32             `json:"stabilizationWindowSeconds"`
	SelectPolicy               string             `json:"selectPolicy"`
	Tolerance                  *resource.Quantity `json:"tolerance"`
	Policies                   []struct {
		Type          string `json:"type"`
		Value         int32  `json:"value"`
		PeriodSeconds int32  `json:"periodSeconds"`
	} `json:"policies"`
}

type triggerSource struct {
	Type              string            `json:"type"`
	Name              string            `json:"name"`
	Metadata          map[string]string `json:"metadata"`
	MetricType        string            `json:"metricType"`
	UseCachedMetrics  bool              `json:"useCachedMetrics"`
	AuthenticationRef *struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
	} `json:"authenticationRef"`
}

// triggerAuthentication is what is read of a TriggerAuthentication, or of a ClusterTriggerAuthentication.
type triggerAuthentication struct {
	Kind     string   `json:"kind"`
	Metadata metadata `json:"metadata"`
	Spec     struct {
		SecretTargetRef []secretParameter `json:"secretTargetRef"`
		Env             []struct {
			Parameter string `json:"parameter"`
			Name      string `json:"name"`
		} `json:"env"`
		PodIdentity *struct {
			Provider string `json:"provider"`
		} `json:"podIdentity"`
		HashiCorpVault      *struct{}         `json:"hashiCorpVault"`
		AzureKeyVault       *struct{}         `json:"azureKeyVault"`
		AWSSecretManager    *struct{}         `json:"awsSecretManager"`
		GCPSecretManager    *struct{}         `json:"gcpSecretManager"`
		ConfigMapTargetRef  []secretParameter `json:"configMapTargetRef"`
		BoundServiceAccount []struct{}        `json:"boundServiceAccountToken"`
	} `json:"spec"`
}

// secretParameter is a trigger's parameter that a key of a Secret has.
type secretParameter struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	Key       string `json:"key"`
}
