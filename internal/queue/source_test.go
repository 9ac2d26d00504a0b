// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"errors"
	"testing"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

func byServer(name string) capacityv1alpha1.Queue {
	q := listQueue("", "jobs")
	q.Redis.ServerRef.Name = name
	return q
}

func queueServer(url, secret string, namespaces ...string) *capacityv1alpha1.QueueServer {
	return &capacityv1alpha1.QueueServer{Spec: capacityv1alpha1.QueueServerSpec{Source: capacityv1alpha1.SourceRedis, URL: url, Auth: authBy(secret), AllowedNamespaces: namespaces}}
}

func TestQueueServersAreFoundAndRefused(t *testing.T) {
	known := map[string]*capacityv1alpha1.QueueServer{
		"open":   queueServer("redis://r", "", "*"),
		"some":   queueServer("redis://r", "", "shop", "cha*"),
		"closed": queueServer("redis://r", "", "shop", "ch", "chatter", "chat-*"),
		"secret": queueServer("redis://r", "creds", "chat"),
		"other":  queueServer("redis://r", "", "*"),
	}
	known["other"].Spec.Source = capacityv1alpha1.SourceHTTP
	find := func(name string) (*capacityv1alpha1.QueueServer, error) { return known[name], nil }
	rules := queue.ServerRules{Namespace: "queuescaler-system", Inline: queue.InlineForbid}
	for _, c := range []struct {
		rules  queue.ServerRules
		queue  capacityv1alpha1.Queue
		reason string
	}{
		{rules, byServer("open"), ""},
		{rules, byServer("some"), ""},
		{rules, byServer("secret"), ""},
		{rules, byServer("closed"), capacityv1alpha1.ReasonQueueServerDenied},
		{rules, byServer("other"), capacityv1alpha1.ReasonAddressRefused},
		{rules, byServer("none"), capacityv1alpha1.ReasonQueueServerMissing},
		{rules, listQueue("redis://r", "jobs"), capacityv1alpha1.ReasonAddressRefused},
		{queue.ServerRules{}, listQueue("redis://r", "jobs"), ""},
		{queue.ServerRules{}, byServer("open"), ""},
		{queue.ServerRules{}, byServer("secret"), capacityv1alpha1.ReasonSecretMissing},
	} {
		before := c.queue.DeepCopy()
		source, err := c.rules.Resolve(&c.queue, "chat", find)
		if err != nil {
			t.Fatal(err)
		}
		name := c.queue.Redis.ServerRef.Name
		switch {
		case c.reason != "":
			if source.Refused == nil || source.Refused.Reason != c.reason {
				t.Errorf("%s: %+v, want it refused as %s", name, source.Refused, c.reason)
			}
		case source.Refused != nil:
			t.Errorf("%s: refused: %v", name, source.Refused)
		case name != "":
			if got := source.Queue.Redis; got.URL != "redis://r" || got.ServerRef.Name != "" || got.Auth != known[name].Spec.Auth || source.SecretNamespace != c.rules.Namespace || source.QueueServer != name {
				t.Errorf("%s: %+v", name, source)
			}
		}
		if before.Redis.Server != c.queue.Redis.Server {
			t.Errorf("%s: the spec was changed to %+v", name, c.queue.Redis.Server)
		}
	}
	broken := errors.New("no cache")
	open := byServer("open")
	if _, err := rules.Resolve(&open, "chat", func(string) (*capacityv1alpha1.QueueServer, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("%v, want the error of the search", err)
	}
}

// QueueScalers of different namespaces on one QueueServer are one connection, whose Secret is the operator's. A wrong one says whose it is.
func TestQueueServerIsOneConnection(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{Password: "hunter2"})
	h := newHarness(t)
	h.setSecret("queuescaler-system/creds", "password", "wrong")
	rules := queue.ServerRules{Namespace: "queuescaler-system"}
	find := func(string) (*capacityv1alpha1.QueueServer, error) {
		return queueServer(r.URL(), "creds", "chat", "shop"), nil
	}
	chat, shop, denied := queue.Subscriber{Namespace: "chat", Name: "a"}, queue.Subscriber{Namespace: "shop", Name: "b"}, queue.Subscriber{Namespace: "elsewhere", Name: "c"}
	for _, sub := range []queue.Subscriber{chat, shop, denied} {
		q := byServer("main")
		source, err := rules.Resolve(&q, sub.Namespace, find)
		if err != nil {
			t.Fatal(err)
		}
		h.Pool.Subscribe(sub, []queue.Source{source})
		h.Pool.Subscribe(sub, []queue.Source{source}) // as at each reconcile: nothing changes
	}
	says(t, h.awaitReason(chat, capacityv1alpha1.ReasonAuthenticationFailed), `\(QueueServer main\) rejecting .*Correct Secret queuescaler-system/creds \(QueueServer main\)`)
	h.setSecret("queuescaler-system/creds", "password", "hunter2")
	h.awaitDepth(chat, 0)
	h.awaitDepth(shop, 0)
	says(t, h.awaitReason(denied, capacityv1alpha1.ReasonQueueServerDenied), `^QueueServer main closed to namespace elsewhere.*allowedNamespaces`)
	if stats := h.Servers(); len(stats) != 1 || stats[0].Subscribers != 2 || stats[0].Connections > 4 {
		t.Errorf("servers: %+v, want one with 2 subscribers", stats)
	}
	if n := h.secretGets("chat/creds") + h.secretGets("shop/creds"); n != 0 {
		t.Errorf("%d reads of Secrets in the namespaces of the QueueScalers", n)
	}
}
