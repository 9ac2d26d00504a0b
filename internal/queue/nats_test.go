// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/servers"
)

// account is one of a server that trusts an operator.
type account struct {
	operator, key nkeys.KeyPair
}

// configure has the server trust the operator, and know the account and one for itself.
func (a *account) configure(o *server.Options) {
	operator := jwt.NewOperatorClaims(must(a.operator.PublicKey()))
	resolver := &server.MemAccResolver{}
	system := must(nkeys.CreateAccount())
	for _, key := range []nkeys.KeyPair{a.key, system} {
		id := must(key.PublicKey())
		claims := jwt.NewAccountClaims(id)
		if key == a.key {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		if err := resolver.Store(id, must(claims.Encode(a.operator))); err != nil {
			panic(err)
		}
	}
	o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{operator}, resolver, must(system.PublicKey())
}

// creds is the credentials file of a new user of the account, which may publish to these subjects; none means all.
func (a *account) creds(expires time.Time, publish ...string) string {
	user := must(nkeys.CreateUser())
	claims := jwt.NewUserClaims(must(user.PublicKey()))
	claims.Expires = expires.Unix()
	if len(publish) > 0 {
		claims.Pub.Allow.Add(publish...)
		claims.Sub.Allow.Add("_INBOX.>")
	}
	return string(must(jwt.FormatUserConfig(must(claims.Encode(a.key)), must(user.Seed()))))
}

func newAccount() *account {
	return &account{operator: must(nkeys.CreateOperator()), key: must(nkeys.CreateAccount())}
}

// aboutJobs are the subjects that a reader of stream JOBS and its consumer workers has to publish to.
func aboutJobs(api string) []string {
	return []string{api + "STREAM.INFO.JOBS", api + "CONSUMER.INFO.JOBS.workers"}
}

func TestNATSCredentialsFilesAndKeys(t *testing.T) {
	later := time.Now().Add(time.Hour)
	a, stranger := newAccount(), newAccount()
	byCreds := servers.StartNATS(t, servers.NATSOptions{Configure: a.configure})
	addJobs(t, natsClient(t, byCreds.URL(), nats.UserCredentialBytes([]byte(a.creds(later)))), 3)

	reader, foreign := must(nkeys.CreateUser()), must(nkeys.CreateUser())
	byKey := servers.StartNATS(t, servers.NATSOptions{Configure: func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "a"}}
		o.Nkeys = []*server.NkeyUser{{Nkey: must(reader.PublicKey()), Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: aboutJobs("$JS.API.")}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}}}}}
	}})
	addJobs(t, natsClient(t, byKey.URL(), nats.UserInfo("admin", "a")), 3)
	open := servers.StartNATS(t, servers.NATSOptions{})

	seed := func(k nkeys.KeyPair) string { return string(must(k.Seed())) }
	right := a.creds(later, aboutJobs("$JS.API.")...)
	const rejected, invalid = capacityv1alpha1.ReasonAuthenticationFailed, capacityv1alpha1.ReasonSecretInvalid
	for _, c := range []struct {
		name         string
		server       *servers.NATS
		wrong, right []string
		reason, says string
	}{
		{"creds of another account", byCreds, []string{"creds", stranger.creds(later)}, []string{"creds", right}, rejected, "rejecting the credentials"},
		{"creds that expired", byCreds, []string{"creds", a.creds(time.Now().Add(-time.Minute))}, []string{"creds", right}, rejected, "rejecting the credentials"},
		{"a password instead of creds", byCreds, []string{"username", "reader", "password", "hunter2"}, []string{"creds", right + "\n"}, rejected, "rejecting the credentials"},
		{"creds without a seed", byCreds, []string{"creds", strings.Split(right, "-----BEGIN USER NKEY")[0]}, []string{"creds", right, "password", "hunter2"}, invalid, "in need of a credentials file in the key creds.*Put one there"},
		{"creds that are none", byCreds, []string{"creds", "hunter2"}, []string{"creds", right, "nkey", seed(reader)}, invalid, "in need of a credentials file in the key creds"},
		{"another's nkey", byKey, []string{"nkey", seed(foreign)}, []string{"nkey", seed(reader) + "\n"}, rejected, "rejecting the credentials"},
		{"nkey that is none", byKey, []string{"nkey", "SUhunter2"}, []string{"nkey", seed(reader)}, invalid, "in need of a user's seed in the key nkey.*begins with SU"},
		{"nkey of an account", byKey, []string{"nkey", seed(a.key)}, []string{"nkey", seed(reader), "token", "hunter2"}, invalid, "in need of a user's seed in the key nkey"},
		{"nkey that is public", byKey, []string{"nkey", must(reader.PublicKey())}, []string{"nkey", seed(reader)}, invalid, "in need of a user's seed in the key nkey"},
		{"nkey for a server without", open, []string{"nkey", seed(reader)}, nil, rejected, "not asking for a key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := consumerQueue(c.server.URL(), "JOBS", "workers")
			q.NATSJetStream.Auth = authBy("creds")
			h := newHarness(t)
			h.setSecret("chat/creds", c.wrong...)
			h.Subscribe(scaler, one(q))
			if c.right != nil {
				h.setSecret("shop/creds", c.right...)
				h.Subscribe(other, one(q))
			}
			got := h.awaitReason(scaler, c.reason)
			says(t, got, c.says)
			if c.right == nil {
				return
			}
			h.awaitDepth(other, 3)
			h.setSecret("chat/creds", c.right...)
			if got := h.awaitDepth(scaler, 3); got.SharedBy != 1 {
				t.Errorf("shared by %d, want 1: the credentials are the same now", got.SharedBy)
			}
			for _, text := range append(c.wrong, c.right...) {
				if len(text) > 8 && (strings.Contains(h.logged(), text) || strings.Contains(got.Message, text)) {
					t.Error("a credential is told")
				}
			}
		})
	}
}

// A user's JWT that is revoked or expires ends the connection; a new one in the Secret makes another.
func TestNATSCredentialsExpire(t *testing.T) {
	a := newAccount()
	n := servers.StartNATS(t, servers.NATSOptions{Configure: a.configure})
	addJobs(t, natsClient(t, n.URL(), nats.UserCredentialBytes([]byte(a.creds(time.Now().Add(time.Hour))))), 3)
	q := consumerQueue(n.URL(), "JOBS", "workers")
	q.NATSJetStream.Auth = authBy("creds")
	h := newHarness(t)
	h.setSecret("chat/creds", "creds", a.creds(time.Now().Add(4*time.Second)))
	h.Subscribe(scaler, one(q))
	h.awaitDepth(scaler, 3)
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `rejecting the credentials.*Correct Secret chat/creds`)
	h.setSecret("chat/creds", "creds", a.creds(time.Now().Add(time.Hour)))
	h.awaitDepth(scaler, 3)
}

// A stream of a leaf node is read through its hub, by the leaf's domain, with no more permissions than that takes.
func TestNATSDomain(t *testing.T) {
	hub := servers.StartNATS(t, servers.NATSOptions{Users: []*server.User{
		{Username: "leaf", Password: "l"},
		{Username: "reader", Password: "hunter2", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: append(aboutJobs("$JS.edge.API."), aboutJobs("$JS.API.")...)},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}}}},
	}, Configure: func(o *server.Options) {
		o.JetStreamDomain = "hub"
		o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT}
	}})
	addJobs(t, natsClient(t, hub.URL(), nats.UserInfo("leaf", "l")), 2)
	port := must(hub.Server.Varz(nil)).LeafNode.Port
	leaf := servers.StartNATS(t, servers.NATSOptions{Configure: func(o *server.Options) {
		o.JetStreamDomain = "edge"
		o.LeafNode.ReconnectInterval = 50 * time.Millisecond
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{must(url.Parse(fmt.Sprintf("nats://leaf:l@127.0.0.1:%d", port)))}}}
	}})
	addJobsOf(t, natsClient(t, leaf.URL()), "edge.jobs", 5) // the hub's stream would take its own subject from here, too

	at := func(domain string) capacityv1alpha1.Queue {
		q := consumerQueue(hub.URL(), "JOBS", "workers")
		q.NATSJetStream.Domain, q.NATSJetStream.Auth = domain, authBy("creds")
		return q
	}
	h := newHarness(t)
	h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
	own, edge, none := subscriber(1), subscriber(2), subscriber(3)
	h.Subscribe(own, one(at("")))
	h.Subscribe(edge, one(at("edge")))
	h.Subscribe(none, one(at("moon")))
	h.awaitDepth(own, 2)
	if got := h.awaitDepth(edge, 5); got.SharedBy != 2 || *got.Reading.ArrivedTotal != 5 || *got.Reading.CompletedTotal != 0 {
		t.Errorf("%+v, want 5 arrived, read over the connection of all three", got)
	}
	says(t, h.awaitReason(none, capacityv1alpha1.ReasonPermissionDenied), `Permit the user to publish to \$JS\.moon\.API\.(STREAM|CONSUMER)\.INFO\.JOBS`)

	leaf.Stop()
	got := h.awaitReason(edge, capacityv1alpha1.ReasonQueueUnavailable)
	says(t, got, `not reaching JetStream domain "edge".*check the connection of the leaf node`)
	if got.ServerWide {
		t.Error("the loss of a leaf node counts as that of its hub")
	}
	h.awaitDepth(own, 2)
	if err := leaf.Start(); err != nil {
		t.Fatal(err)
	}
	h.awaitDepth(edge, 5)
	js := natsClient(t, leaf.URL())
	if err := js.DeleteStream(context.Background(), "JOBS"); err != nil {
		t.Fatal(err)
	}
	h.awaitReason(edge, capacityv1alpha1.ReasonQueueMissing)
	addJobsOf(t, js, "edge.jobs", 1)
	h.awaitDepth(edge, 1)
}

// What a Secret has for NATS alone logs nobody in elsewhere, not even as a user without a password.
func TestNATSCredentialsForAnotherServer(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{})
	q := listQueue(r.URL(), "jobs")
	q.Redis.Auth = authBy("creds")
	h := newHarness(t)
	h.setSecret("chat/creds", "nkey", string(must(must(nkeys.CreateUser()).Seed())))
	h.Subscribe(scaler, one(q))
	says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonSecretInvalid), "in need of a password, which its Secret lacks.*username and password")
	h.setSecret("chat/creds", "password", "")
	h.awaitReason(scaler, capacityv1alpha1.ReasonSecretInvalid)
}
