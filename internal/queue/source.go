// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"k8s.io/apimachinery/pkg/api/equality"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Source is a queue to read, with the address at which that is done.
type Source struct {
	// Queue has url, auth and tls of its QueueServer in place of serverRef.
	Queue *capacityv1alpha1.Queue
	// QueueServer is the name of that; empty where the address is the queue's own.
	QueueServer string
	// SecretNamespace is where its Secrets are.
	SecretNamespace string
	// Refused is why it is not read at all; nil where it is.
	Refused *Failure
}

// ServerRules are the rules by which queues find their servers.
type ServerRules struct {
	// Namespace is the operator's own, where the Secrets of QueueServers are; empty means not known.
	Namespace string
	// Inline says whether a queue may have an address of its own.
	Inline InlineAddresses
}

// InlineAddresses says whether queues may have addresses of their own, or have to name a QueueServer.
type InlineAddresses string

const (
	// InlineAllow lets them; so does an empty value.
	InlineAllow InlineAddresses = "Allow"
	// InlineForbid has them name a QueueServer.
	InlineForbid InlineAddresses = "Forbid"
)

// Resolve finds the address of a queue of a QueueScaler in a namespace. find returns nil where there is no QueueServer of that name.
func (rules ServerRules) Resolve(q *capacityv1alpha1.Queue, namespace string, find func(name string) (*capacityv1alpha1.QueueServer, error)) (Source, error) {
	own := Source{Queue: q, SecretNamespace: namespace}
	name := ServerOf(&q.QueueSource).ServerRef.Name
	if name == "" {
		if rules.Inline == InlineForbid {
			own.Refused = &Failure{Reason: capacityv1alpha1.ReasonAddressRefused, Subject: "the url of queue " + q.Name,
				What: "refused because this operator reads only QueueServers (--inline-addresses=Forbid)", Remedy: "Name one in serverRef: kubectl get queueservers"}
		}
		return own, nil
	}
	server, err := find(name)
	if err != nil {
		return Source{}, err
	}
	source := Source{Queue: q, QueueServer: name, SecretNamespace: rules.Namespace}
	if source.Refused = rules.refuse(q, name, server, namespace); source.Refused == nil {
		source.Queue = q.DeepCopy()
		source.Queue.Kafka.Mechanism = server.Spec.Mechanism
		*ServerOf(&source.Queue.QueueSource) = capacityv1alpha1.Server{URL: server.Spec.URL, Auth: server.Spec.Auth, TLS: server.Spec.TLS.DeepCopy()}
	}
	return source, nil
}

func (rules ServerRules) refuse(q *capacityv1alpha1.Queue, name string, server *capacityv1alpha1.QueueServer, namespace string) *Failure {
	subject := "QueueServer " + name
	switch {
	case server == nil:
		return &Failure{Reason: capacityv1alpha1.ReasonQueueServerMissing, Subject: subject, What: "missing",
			Remedy: "Correct serverRef.name of queue " + q.Name + ": kubectl get queueservers"}
	case !server.Spec.Allows(namespace):
		return &Failure{Reason: capacityv1alpha1.ReasonQueueServerDenied, Subject: subject, What: "closed to namespace " + namespace,
			Remedy: "Ask its owner to add that to allowedNamespaces"}
	case sources[server.Spec.Source] != kindOf(&q.QueueSource):
		return &Failure{Reason: capacityv1alpha1.ReasonAddressRefused, Subject: subject, What: "meant for another source than that of queue " + q.Name + ",",
			Remedy: "Correct serverRef.name: kubectl get queueservers"}
	case rules.Namespace == "" && (server.Spec.Auth.SecretRef.Name != "" || server.Spec.TLS != nil && server.Spec.TLS.SecretRef.Name != ""):
		return &Failure{Reason: capacityv1alpha1.ReasonSecretMissing, Subject: "the Secret of " + subject, What: "nowhere, because the operator does not know its own namespace,",
			Remedy: "Start the operator with --namespace"}
	}
	return nil
}

func kindOf(s *capacityv1alpha1.QueueSource) string {
	kind, _ := serverOf(s)
	return kind
}

// subject is the url for messages, which say what it is the url of.
func (s *Source) subject() string {
	if s.QueueServer != "" {
		return "the url of QueueServer " + s.QueueServer
	}
	return "the url of queue " + s.Queue.Name
}

// via adds to a server's url or a Secret whose it is, where that is a QueueServer.
func (s *Source) via(text string) string {
	if s.QueueServer == "" {
		return text
	}
	return text + " (QueueServer " + s.QueueServer + ")"
}

// copy is s with a queue that nobody else has.
func (s *Source) copy() Source {
	c := *s
	c.Queue = s.Queue.DeepCopy()
	return c
}

// reads reports whether s and t are read from the same place in the same way.
func (s *Source) reads(t *Source) bool {
	return s.leadsTo(t) && equality.Semantic.DeepEqual(s.Queue.QueueSource, t.Queue.QueueSource)
}

// equals reports whether s and t differ in nothing.
func (s *Source) equals(t *Source) bool {
	return s.leadsTo(t) && equality.Semantic.DeepEqual(s.Queue, t.Queue)
}

// leadsTo compares all but the queue.
func (s *Source) leadsTo(t *Source) bool {
	return s.QueueServer == t.QueueServer && s.SecretNamespace == t.SecretNamespace && same(s.Refused, t.Refused)
}
