// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"slices"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// authentication is the one that the trigger refers to; nil where there is none, or it is not among the documents.
func (t *trigger) authentication() *triggerAuthentication {
	ref := t.source.AuthenticationRef
	if ref == nil {
		return nil
	}
	i := slices.IndexFunc(t.m.auths, func(a triggerAuthentication) bool {
		if ref.Kind == "ClusterTriggerAuthentication" {
			return a.Kind == ref.Kind && a.Metadata.Name == ref.Name
		}
		return a.Kind == "TriggerAuthentication" && a.Metadata.Name == ref.Name && a.Metadata.Namespace == t.m.object.Metadata.Namespace
	})
	if i < 0 {
		return nil
	}
	return &t.m.auths[i]
}

// parameter is where a parameter comes from by authenticationRef; nil: not from there. Without a Secret its name is empty.
func (t *trigger) parameter(key string) *secretParameter {
	a := t.authentication()
	if a == nil {
		return nil
	}
	for i := range a.Spec.SecretTargetRef {
		if p := &a.Spec.SecretTargetRef[i]; p.Parameter == key {
			return p
		}
	}
	for _, e := range a.Spec.Env {
		if e.Parameter == key {
			return &secretParameter{Parameter: key}
		}
	}
	return nil
}

// auth says where the credentials are: in the Secret that KEDA uses, where its keys have the names that are read here, else in one
// that is to be made. parameters are KEDA's names of what becomes each key of ours.
func (t *trigger) auth(field string, parameters map[string][]string) capacityv1alpha1.Auth {
	a := t.authentication()
	ref := t.source.AuthenticationRef
	if ref != nil && ref.Kind == "ClusterTriggerAuthentication" {
		t.m.note("%s.auth: a QueueServer lets several namespaces use one Secret, as ClusterTriggerAuthentication %s does, and goes by serverRef in place of url, auth and tls", field, ref.Name)
	}
	if ref != nil && a == nil {
		t.m.do("%s.auth: %s %s was not among the documents; put the same credentials into a Secret in this namespace, with the keys username and password, or token, and name it here", field, kindOf(ref.Kind), ref.Name)
		return secret(t.secretName())
	}
	if a != nil && a.elsewhere() != "" {
		t.m.do("%s.auth: KEDA takes the credentials from %s; put them into a Secret in this namespace, with the keys username and password, or token, and name it here", field, a.elsewhere())
		return secret(t.secretName())
	}
	found := map[string]secretParameter{}
	for ours, theirs := range parameters {
		for _, key := range theirs {
			if p := t.parameter(key); p != nil {
				found[ours] = *p
			}
			if env := t.take(key + "FromEnv"); env != "" {
				found[ours] = secretParameter{Parameter: key, Key: "environment variable " + env + " of the container"}
			}
			if t.take(key) != "" {
				found[ours] = secretParameter{Parameter: key, Key: t.path + ".metadata." + key}
			}
		}
	}
	if len(found) == 0 {
		return capacityv1alpha1.Auth{}
	}
	if name := asTheyAre(found); name != "" && a.Kind == "TriggerAuthentication" {
		return secret(name)
	}
	name := t.secretName()
	var literals, from []string
	for _, ours := range []string{"username", "password", "token", "sentinelUsername", "sentinelPassword"} {
		p, given := found[ours]
		if !given {
			continue
		}
		literals = append(literals, fmt.Sprintf("--from-literal=%s=...", ours))
		where := p.Key
		if p.Name != "" {
			where = fmt.Sprintf("key %s of Secret %s", p.Key, p.Name)
		}
		from = append(from, ours+" is now in: "+where)
	}
	namespace := ""
	if ns := t.m.object.Metadata.Namespace; ns != "" {
		namespace = " -n " + ns
	}
	t.m.do("%s.auth: kubectl create secret generic %s%s %s (%s)", field, name, namespace, strings.Join(literals, " "), strings.Join(from, "; "))
	return secret(name)
}

// asTheyAre is the one Secret that has all credentials under the names that are read here; empty where there is none.
func asTheyAre(found map[string]secretParameter) string {
	name := ""
	for ours, p := range found {
		if p.Name == "" || p.Key != ours || name != "" && p.Name != name {
			return ""
		}
		name = p.Name
	}
	return name
}

// elsewhere says from where credentials come that no Secret has; empty where one has them.
func (a *triggerAuthentication) elsewhere() string {
	switch s := &a.Spec; {
	case s.PodIdentity != nil && s.PodIdentity.Provider != "" && s.PodIdentity.Provider != "none":
		return "the pod identity " + s.PodIdentity.Provider
	case s.HashiCorpVault != nil:
		return "HashiCorp Vault"
	case s.AzureKeyVault != nil:
		return "Azure Key Vault"
	case s.AWSSecretManager != nil:
		return "AWS Secrets Manager"
	case s.GCPSecretManager != nil:
		return "GCP Secret Manager"
	case len(s.BoundServiceAccount) > 0:
		return "a service account's token"
	}
	return ""
}

// secretName is that of a Secret that is to be made.
func (t *trigger) secretName() string {
	name := t.m.object.Metadata.Name + "-queue"
	if n := len(t.m.qs.Spec.Queues); n > 0 {
		name = fmt.Sprintf("%s-%d", name, n+1)
	}
	return name
}

func kindOf(kind string) string {
	if kind == "" {
		return "TriggerAuthentication"
	}
	return kind
}

func secret(name string) capacityv1alpha1.Auth {
	return capacityv1alpha1.Auth{SecretRef: capacityv1alpha1.SecretReference{Name: name}}
}
