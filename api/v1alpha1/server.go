// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Server is where a queue is read, and as whom: an address of its own, or a QueueServer.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.serverRef)",message="exactly one of url and serverRef must be set; give the server's url, or the name of a QueueServer in serverRef"
// +kubebuilder:validation:XValidation:rule="!has(self.serverRef) || !has(self.auth) && !has(self.tls)",message="auth and tls must not be set beside serverRef, because the QueueServer has its own; remove them"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || !self.url.contains('@')",message="url must not carry credentials; put them into a Secret and name it in auth.secretRef"
type Server struct {
	// url of the server, as in the example of its source. Credentials do not belong here: see auth.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	URL string `json:"url,omitempty"`
	// serverRef names the QueueServer that has url, credentials and TLS settings, in place of url, auth and tls.
	// +optional
	ServerRef ServerReference `json:"serverRef,omitzero"`
	// auth names the Secret with the credentials.
	// +optional
	Auth Auth `json:"auth,omitzero"`
	// tls makes the connection a TLS one and says whom to trust.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
}

// ServerReference is a QueueServer.
type ServerReference struct {
	// name of the QueueServer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="serverRef.name must be the name of a QueueServer: lowercase letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`
}

// Auth names where credentials are.
type Auth struct {
	// secretRef names a Secret with the keys username and password, or token; of NATS also creds or nkey, and of Redis sentinelUsername and sentinelPassword beside them. It is in the namespace of the QueueScaler; that of a QueueServer is in the operator's.
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`
}

// TLS says how the server is verified.
//
// +kubebuilder:validation:MinProperties=0
type TLS struct {
	// secretRef names a Secret in the namespace of the QueueScaler, or for a QueueServer in the operator's. Its key ca.crt is the CA to trust; tls.crt and tls.key, if present, are the client's certificate and key.
	// Absent means the system's CAs and no client certificate.
	// +optional
	SecretRef SecretReference `json:"secretRef,omitzero"`
	// serverName is the name that the server's certificate must be valid for. Absent means the url's host.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
}

// SecretReference is a Secret in the namespace of the QueueScaler, or for a QueueServer in the operator's.
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="secretRef.name must be the name of a Secret in this namespace: lowercase letters, digits, '-' and '.'; Secrets of other namespaces cannot be used"
	Name string `json:"name,omitempty"`
}
