// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/test/servers"
)

var (
	scaler = subscriber(0)
	other  = queue.Subscriber{Namespace: "shop", Name: "other"}
)

func natsWithJobs(t *testing.T, o servers.NATSOptions, options ...nats.Option) (*servers.NATS, jetstream.JetStream) {
	t.Helper()
	n := servers.StartNATS(t, o)
	js := natsClient(t, n.URL(), options...)
	addJobs(t, js, 3)
	return n, js
}

// kafkaWithJobs has topic jobs with 4 messages in 2 partitions, of which group workers completed 1.
func kafkaWithJobs(t *testing.T, o servers.KafkaOptions) *servers.Kafka {
	k := servers.StartKafka(t, o)
	k.Fill(t, "jobs", 2, 4)
	k.Commit(t, "workers", "jobs", 1, 0)
	return k
}

// addJobs makes stream JOBS with consumer workers and so many messages.
func addJobs(t *testing.T, js jetstream.JetStream, messages int) {
	t.Helper()
	addJobsOf(t, js, "jobs", messages)
}

// addJobsOf is addJobs with another subject.
func addJobsOf(t *testing.T, js jetstream.JetStream, subject string, messages int) {
	t.Helper()
	ctx := context.Background()
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "JOBS", Subjects: []string{subject}}))
	workers := must(js.CreateConsumer(ctx, "JOBS", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy}))
	for range messages {
		servers.AwaitCounted(t, workers, must(js.Publish(ctx, subject, []byte("m"))))
	}
}

// says checks a message for a person.
func says(t testing.TB, s queue.Sample, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(s.Message) {
		t.Errorf("message %q does not match %q", s.Message, pattern)
	}
	if s.Quality != queue.Unavailable {
		t.Errorf("quality %s, want Unavailable", s.Quality)
	}
	if strings.Contains(s.Message, "hunter2") || strings.Contains(s.Message, "  ") {
		t.Errorf("message %q carries a secret or is badly composed", s.Message)
	}
}

func TestServerStopsAndComesBack(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{})
	n, _ := natsWithJobs(t, servers.NATSOptions{}, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	k := kafkaWithJobs(t, servers.KafkaOptions{Brokers: 2})
	client := redisClient(t, r.Address())
	client.RPush(context.Background(), "jobs", "1", "2")
	for _, server := range []struct {
		name  string
		queue capacityv1alpha1.Queue
		stop  func()
		start func() error
		after int64
	}{
		{"redis", listQueue(r.URL(), "jobs"), r.Stop, r.Start, 0},
		{"nats", consumerQueue(n.URL(), "JOBS", "workers"), n.Stop, n.Start, 3},
		{"kafka", groupQueue(k.URL(), "jobs", "workers"), k.Stop, k.Start, 3},
	} {
		t.Run(server.name, func(t *testing.T) {
			h := newHarness(t)
			h.Subscribe(scaler, one(server.queue))
			h.Subscribe(other, one(server.queue))
			h.await("fresh", func() bool { return h.sample(scaler).Quality == queue.Fresh }, func() any { return h.sample(scaler) })
			server.stop()
			got := h.awaitReason(scaler, capacityv1alpha1.ReasonQueueUnavailable)
			h.await("refused for more than a second", func() bool {
				got = h.sample(scaler)
				return regexp.MustCompile(`refused for [1-9][0-9]* s`).MatchString(got.Message)
			}, func() any { return got })
			says(t, got, `^(redis|nats|kafka)://127.0.0.1:\d+(/0)? refused for \d+ s; last reading \d\d:\d\d:\d\dZ\. Check that the server runs`)
			if !got.ServerWide || got.SharedBy != 1 || got.Reading == nil {
				t.Errorf("%+v, want a failure of the server that 1 other shares, and the last reading kept", got)
			}
			if err := server.start(); err != nil {
				t.Fatal(err)
			}
			h.awaitDepth(scaler, server.after)
			if log := h.logged(); strings.Count(log, "queue server fails") != 1 || strings.Count(log, "answers again") != 1 {
				t.Errorf("log has more than the transitions:\n%s", log)
			}
		})
	}
}

func TestWrongPasswordThenSecretCorrected(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{Password: "hunter2"})
	n, _ := natsWithJobs(t, servers.NATSOptions{Username: "reader", Password: "hunter2"}, nats.UserInfo("reader", "hunter2"))
	token := servers.StartNATS(t, servers.NATSOptions{Token: "hunter2"})
	addJobs(t, natsClient(t, token.URL(), nats.Token("hunter2")), 3)

	k := kafkaWithJobs(t, servers.KafkaOptions{Admin: "a", Users: []servers.KafkaUser{
		{Mechanism: "PLAIN", Name: "plain", Password: "hunter2", ACLs: describes("jobs", "workers")},
		{Mechanism: "SCRAM-SHA-256", Name: "scram256", Password: "hunter2", ACLs: describes("jobs", "workers")},
		{Mechanism: "SCRAM-SHA-512", Name: "scram512", Password: "hunter2", ACLs: describes("jobs", "workers")},
	}})
	group := func(mechanism capacityv1alpha1.KafkaMechanism) capacityv1alpha1.Queue {
		q := groupQueue(k.URL(), "jobs", "workers")
		q.Kafka.Auth, q.Kafka.Mechanism = authBy("creds"), mechanism
		return q
	}

	list := listQueue(r.URL(), "jobs")
	list.Redis.Auth = authBy("creds")
	consumer, byToken := consumerQueue(n.URL(), "JOBS", "workers"), consumerQueue(token.URL(), "JOBS", "workers")
	consumer.NATSJetStream.Auth, byToken.NATSJetStream.Auth = authBy("creds"), authBy("creds")
	for _, c := range []struct {
		name         string
		queue        capacityv1alpha1.Queue
		wrong, right []string
		depth        int64
	}{
		{"redis", list, []string{"password", "wrong"}, []string{"password", "hunter2"}, 0},
		{"redis without", list, []string{"password", "wrong"}, []string{"username", "default", "password", "hunter2\n"}, 0},
		{"nats", consumer, []string{"username", "reader", "password", "wrong"}, []string{"username", "reader", "password", "hunter2"}, 3},
		{"nats token", byToken, []string{"token", "wrong"}, []string{"token", "hunter2"}, 3},
		{"kafka plain", group(capacityv1alpha1.KafkaPlain), []string{"username", "plain", "password", "wrong"}, []string{"username", "plain", "password", "hunter2"}, 3},
		{"kafka 256", group(capacityv1alpha1.KafkaScramSHA256), []string{"username", "scram256", "password", "wrong"}, []string{"username", "scram256", "password", "hunter2"}, 3},
		{"kafka 512", group(capacityv1alpha1.KafkaScramSHA512), []string{"username", "scram512", "password", "wrong"}, []string{"username", "scram512", "password", "hunter2"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			h.setSecret("chat/creds", c.wrong...)
			h.setSecret("shop/creds", c.right...)
			h.Subscribe(scaler, one(c.queue))
			h.Subscribe(other, one(c.queue))
			says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `rejecting the credentials.*; no reading yet\. Correct Secret chat/creds; it is read again by itself`)
			h.awaitDepth(other, c.depth)
			if got := h.sample(scaler); got.SharedBy != 0 {
				t.Errorf("shared by %d, want none: the credentials differ", got.SharedBy)
			}
			h.setSecret("chat/creds", c.right...)
			if got := h.awaitDepth(scaler, c.depth); got.SharedBy != 1 {
				t.Errorf("shared by %d, want 1: the credentials are the same now", got.SharedBy)
			}
			if strings.Contains(h.logged(), "hunter2") {
				t.Error("the log has a password")
			}
		})
	}
}

func TestCredentialsRequired(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{Password: "hunter2"})
	n := servers.StartNATS(t, servers.NATSOptions{Username: "reader", Password: "hunter2"})
	k := servers.StartKafka(t, servers.KafkaOptions{Admin: "a"})
	for name, q := range map[string]capacityv1alpha1.Queue{"redis": listQueue(r.URL(), "jobs"), "nats": consumerQueue(n.URL(), "JOBS", "workers"),
		"kafka": groupQueue(k.URL(), "jobs", "workers")} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.Subscribe(scaler, one(q))
			says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAuthenticationFailed), `(requiring credentials|closing connections that bring no credentials).*; no reading yet\. Name a Secret with credentials in auth\.secretRef`)
		})
	}
}

func TestSecretsThatCannotBeUsed(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{Password: "hunter2"})
	k := kafkaWithJobs(t, servers.KafkaOptions{Admin: "hunter2"})
	group := groupQueue(k.URL(), "jobs", "workers")
	group.Kafka.Auth, group.Kafka.Mechanism = authBy("creds"), capacityv1alpha1.KafkaPlain
	q := listQueue(r.URL(), "jobs")
	q.Redis.Auth = authBy("creds")
	secured := q
	secured.Redis.TLS = &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: "ca"}}
	resource := schema.GroupResource{Resource: "secrets"}
	for _, c := range []struct {
		name   string
		queue  capacityv1alpha1.Queue
		set    func(h *harness)
		reason string
		says   string
	}{
		{"missing", q, func(*harness) {}, capacityv1alpha1.ReasonSecretMissing, `^Secret chat/creds missing; no reading yet\. Create it`},
		{"forbidden", q, func(h *harness) { h.refusal["chat/creds"] = apierrors.NewForbidden(resource, "creds", nil) },
			capacityv1alpha1.ReasonPermissionDenied, `^Secret chat/creds forbidden to the operator`},
		{"unreadable", q, func(h *harness) { h.refusal["chat/creds"] = apierrors.NewTimeoutError("slow", 1) },
			capacityv1alpha1.ReasonQueueUnavailable, `^Secret chat/creds not readable.*Check the API server`},
		{"without keys", q, func(h *harness) { h.setSecret("chat/creds", "pass", "x") }, capacityv1alpha1.ReasonSecretInvalid,
			`^Secret chat/creds without credentials; no reading yet\. Give it the keys username and password, or token`},
		{"token for redis", q, func(h *harness) { h.setSecret("chat/creds", "token", "x") }, capacityv1alpha1.ReasonSecretInvalid, `in need of a password`},
		{"token for kafka", group, func(h *harness) { h.setSecret("chat/creds", "token", "x") }, capacityv1alpha1.ReasonSecretInvalid, `in need of a username and a password`},
		{"no PEM", secured, func(h *harness) {
			h.setSecret("chat/creds", "password", "hunter2")
			h.setSecret("chat/ca", "ca.crt", "nonsense")
		}, capacityv1alpha1.ReasonSecretInvalid, `^Secret chat/ca without a PEM certificate in its key ca\.crt`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			h.mu.Lock()
			h.secrets["shop/creds"] = map[string][]byte{"password": []byte("hunter2")}
			h.mu.Unlock()
			c.set(h)
			h.Subscribe(scaler, one(c.queue))
			h.Subscribe(other, one(q))
			says(t, h.awaitReason(scaler, c.reason), c.says)
			h.awaitDepth(other, 0)
			if c.name == "no PEM" {
				return
			}
			h.mu.Lock()
			delete(h.refusal, "chat/creds")
			h.mu.Unlock()
			if c.name == "token for kafka" {
				h.setSecret("chat/creds", "username", "admin", "password", "hunter2")
				h.awaitDepth(scaler, 3)
				return
			}
			h.setSecret("chat/creds", "password", "hunter2")
			h.awaitDepth(scaler, 0)
		})
	}
}

func TestTLS(t *testing.T) {
	good := servers.NewCertificates(t, time.Now().Add(time.Hour))
	expired := servers.NewCertificates(t, time.Now().Add(-time.Minute))
	foreign := servers.NewCertificates(t, time.Now().Add(time.Hour))
	// The client's own certificate has to be of the CA that the server trusts, which signed the server's as well.
	pems := func(ca, pair *servers.Certificates) []string {
		data := []string{"ca.crt", string(ca.CA)}
		if pair != nil {
			data = append(data, "tls.crt", string(pair.Cert), "tls.key", string(pair.Key))
		}
		return data
	}
	type start func(*servers.Certificates, bool) capacityv1alpha1.Queue
	for kind, start := range map[string]start{
		"redis": func(c *servers.Certificates, mutual bool) capacityv1alpha1.Queue {
			return listQueue(servers.StartRedis(t, servers.RedisOptions{TLS: c, ClientCertificates: mutual}).URL(), "jobs")
		},
		"nats": func(c *servers.Certificates, mutual bool) capacityv1alpha1.Queue {
			return consumerQueue(servers.StartNATS(t, servers.NATSOptions{TLS: c, ClientCertificates: mutual}).URL(), "JOBS", "workers")
		},
		"kafka": func(c *servers.Certificates, mutual bool) capacityv1alpha1.Queue {
			return groupQueue(servers.StartKafka(t, servers.KafkaOptions{TLS: c, ClientCertificates: mutual}).URL(), "jobs", "workers")
		},
	} {
		valid, outdated, mutual := start(good, false), start(expired, false), start(good, true)
		plain := start(nil, false)
		for _, c := range []struct {
			name       string
			queue      capacityv1alpha1.Queue
			secret     []string
			serverName string
			says       string
		}{
			{"known CA", valid, pems(good, nil), "", ""},
			{"server name", valid, pems(good, nil), "localhost", ""},
			{"client certificate", mutual, pems(good, good), "", ""},
			{"client certificate missing", mutual, pems(good, nil), "", "refusing the TLS handshake|closing connections after the TLS handshake"},
			{"unknown CA", valid, pems(foreign, nil), "", "serving a certificate of an unknown authority"},
			{"system's CAs", valid, nil, "", "serving a certificate of an unknown authority"},
			{"expired", outdated, pems(expired, nil), "", "serving a certificate that has expired"},
			{"other name", valid, pems(good, nil), "queue.example", "serving a certificate for another name"},
			{"server without TLS", plain, pems(good, nil), "", "not offering TLS|silent at the TLS handshake|not speaking TLS|closing connections after the TLS handshake"},
		} {
			t.Run(kind+" "+c.name, func(t *testing.T) {
				h := newHarness(t)
				setting := &capacityv1alpha1.TLS{ServerName: c.serverName}
				if c.secret != nil {
					h.setSecret("chat/ca", c.secret...)
					setting.SecretRef.Name = "ca"
				}
				q := *c.queue.DeepCopy()
				switch kind {
				case "redis":
					q.Redis.TLS = setting
				case "nats":
					q.NATSJetStream.TLS = setting
				default:
					q.Kafka.TLS = setting
				}
				h.Subscribe(scaler, one(q))
				switch {
				case c.says == "" && kind == "redis":
					h.awaitDepth(scaler, 0)
				case c.says == "":
					h.awaitReason(scaler, capacityv1alpha1.ReasonQueueMissing)
				default:
					says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonTLSFailed), c.says)
				}
			})
		}
	}
}

// describes lets a user read about a topic and a group, and nothing else.
func describes(topic, group string) []kfake.ACL {
	acl := func(of kmsg.ACLResourceType, name string) kfake.ACL {
		return kfake.ACL{Resource: of, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationDescribe, Allow: true}
	}
	return []kfake.ACL{acl(kmsg.ACLResourceTypeTopic, topic), acl(kmsg.ACLResourceTypeGroup, group)}
}

func TestPermissionDenied(t *testing.T) {
	r := servers.StartRedis(t, servers.RedisOptions{ACL: []string{"user reader on >hunter2 ~jobs* +llen"}})
	deny := func(p server.Permissions) *servers.NATS {
		n, _ := natsWithJobs(t, servers.NATSOptions{Users: []*server.User{
			{Username: "admin", Password: "a"}, {Username: "reader", Password: "hunter2", Permissions: &p},
		}}, nats.UserInfo("admin", "a"))
		return n
	}
	noConsumer := deny(server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.INFO.>"}}})
	noStream := deny(server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.INFO.>"}}})
	noInbox := deny(server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}}})
	k := servers.StartKafka(t, servers.KafkaOptions{Admin: "a", Users: []servers.KafkaUser{
		{Mechanism: "PLAIN", Name: "reader", Password: "hunter2", ACLs: describes("jobs", "workers")},
	}})
	k.Fill(t, "secret", 1, 1)
	k.Fill(t, "jobs", 1, 1)
	k.Commit(t, "others", "jobs", 1)
	topic, group := groupQueue(k.URL(), "secret", "workers"), groupQueue(k.URL(), "jobs", "others")
	topic.Kafka.Mechanism, group.Kafka.Mechanism = capacityv1alpha1.KafkaPlain, capacityv1alpha1.KafkaPlain
	for _, c := range []struct {
		name, says string
		queue      capacityv1alpha1.Queue
	}{
		{"kafka topic", `denying a request about topic "secret".*Permit the user to DESCRIBE topic secret`, topic},
		{"kafka group", `denying a request about group "others".*Permit the user to DESCRIBE group others`, group},
		{"redis key", `denying LLEN on key "secret"`, listQueue(r.URL(), "secret")},
		{"redis command", `denying XINFO GROUPS on key "jobs"`, streamQueue(r.URL(), "jobs", "g")},
		{"nats consumer", `denying a request.*Permit the user to publish to \$JS\.API\.CONSUMER\.INFO\.JOBS\.workers`, consumerQueue(noConsumer.URL(), "JOBS", "workers")},
		{"nats stream", `denying a request.*Permit the user to publish to \$JS\.API\.STREAM\.INFO\.JOBS`, consumerQueue(noStream.URL(), "JOBS", "workers")},
		{"nats inbox", `denying the subscription to replies.*_INBOX\.>`, consumerQueue(noInbox.URL(), "JOBS", "workers")},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			h.setSecret("chat/creds", "username", "reader", "password", "hunter2")
			c.queue.NATSJetStream.Auth, c.queue.Redis.Auth, c.queue.Kafka.Auth = authBy("creds"), authBy("creds"), authBy("creds")
			h.Subscribe(scaler, one(c.queue))
			says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonPermissionDenied), c.says)
			if c.name == "redis key" {
				allowed := listQueue(r.URL(), "jobs")
				allowed.Redis.Auth = authBy("creds")
				h.Subscribe(subscriber(1), one(allowed))
				h.awaitDepth(subscriber(1), 0)
			}
		})
	}
}

func TestQueueMissingDeletedAndMadeAgain(t *testing.T) {
	ctx := context.Background()
	n, js := natsWithJobs(t, servers.NATSOptions{})
	r := servers.StartRedis(t, servers.RedisOptions{})
	client := redisClient(t, r.Address())
	client.XGroupCreateMkStream(ctx, "events", "workers", "0")
	client.XAdd(ctx, &redis.XAddArgs{Stream: "events", Values: []string{"a", "b"}})

	k := kafkaWithJobs(t, servers.KafkaOptions{})
	admin := kadm.NewClient(k.Client(t))

	h := newHarness(t)
	stream, consumer, key, group := subscriber(1), subscriber(2), subscriber(3), subscriber(4)
	h.Subscribe(stream, one(consumerQueue(n.URL(), "NONE", "workers")))
	h.Subscribe(consumer, one(consumerQueue(n.URL(), "JOBS", "nobody")))
	h.Subscribe(key, one(streamQueue(r.URL(), "none", "workers")))
	h.Subscribe(group, one(streamQueue(r.URL(), "events", "nobody")))
	says(t, h.awaitReason(stream, capacityv1alpha1.ReasonQueueMissing), `without stream "NONE", which consumer "workers" is to be on.*Create the stream`)
	says(t, h.awaitReason(consumer, capacityv1alpha1.ReasonQueueMissing), `without consumer "nobody" on stream "JOBS".*Create the durable consumer`)
	says(t, h.awaitReason(key, capacityv1alpha1.ReasonQueueMissing), `without stream "none", which group "workers" is to be of`)
	says(t, h.awaitReason(group, capacityv1alpha1.ReasonQueueMissing), `with stream "events", but without its group "nobody"`)

	topic := subscriber(7)
	h.Subscribe(topic, one(groupQueue(k.URL(), "jobs", "workers")))
	h.awaitDepth(topic, 3)
	jobs, events := subscriber(5), subscriber(6)
	h.Subscribe(jobs, one(consumerQueue(n.URL(), "JOBS", "workers")))
	h.Subscribe(events, one(streamQueue(r.URL(), "events", "workers")))
	h.awaitDepth(jobs, 3)
	h.awaitDepth(events, 1)
	if err := js.DeleteStream(ctx, "JOBS"); err != nil {
		t.Fatal(err)
	}
	client.Del(ctx, "events")
	must(admin.DeleteTopics(ctx, "jobs"))
	h.awaitReason(topic, capacityv1alpha1.ReasonQueueMissing)
	k.Fill(t, "jobs", 1, 1)
	k.Commit(t, "workers", "jobs", 0)
	h.awaitDepth(topic, 1)
	if got := h.awaitReason(jobs, capacityv1alpha1.ReasonQueueMissing); got.ServerWide || got.Reading == nil {
		t.Errorf("%+v, want a failure of this queue alone, with its last reading", got)
	}
	h.awaitReason(events, capacityv1alpha1.ReasonQueueMissing)
	addJobs(t, js, 2)
	client.XGroupCreateMkStream(ctx, "events", "workers", "0")
	h.awaitDepth(jobs, 2)
	h.awaitDepth(events, 0)
}

func TestOneBadQueueFailsAlone(t *testing.T) {
	ctx := context.Background()
	r := servers.StartRedis(t, servers.RedisOptions{})
	client := redisClient(t, r.Address())
	client.Set(ctx, "text", "x", 0)
	client.RPush(ctx, "jobs", "1", "2")
	queues := []capacityv1alpha1.Queue{listQueue(r.URL(), "jobs"), listQueue(r.URL(), "jobs", "text"), listQueue(r.URL(), "jobs", "none")}
	for i := range queues {
		queues[i].Name = fmt.Sprint("q", i)
	}
	h := newHarness(t)
	h.Subscribe(scaler, queues)
	h.await("all read", func() bool { return h.Samples(scaler)[1].Reason == capacityv1alpha1.ReasonQueueMissing }, func() any { return h.Samples(scaler) })
	got := h.Samples(scaler)
	if got[0].Quality != queue.Fresh || got[0].Reading.Depth != 2 || got[2].Quality != queue.Fresh || got[2].Reading.Depth != 2 {
		t.Errorf("the good queues: %+v, %+v", got[0], got[2])
	}
	says(t, got[1], `holding another type than LLEN counts in key "text"`)
	if got[1].Name != "q1" {
		t.Errorf("name %q, want q1", got[1].Name)
	}
}

func TestAddressRefused(t *testing.T) {
	for _, url := range []string{"redis://169.254.169.254:80/0", "redis://[fe80::1]:6379/0", "redis://[::ffff:169.254.1.1]/0", "redis://0.0.0.0:1/0", "kafka://169.254.169.254:80"} {
		h := newHarness(t)
		q := listQueue(url, "jobs")
		if strings.HasPrefix(url, "kafka") {
			q = groupQueue(url, "jobs", "workers")
		}
		h.Subscribe(scaler, one(q))
		says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAddressRefused), "address is link-local, multicast or unspecified")
	}
	for url, pattern := range map[string]string{
		"redis://user:hunter2@host/0": "carries credentials",
		"nats://host":                 "of a scheme that its source does not have",
		"redis://host/x":              "path is not a database number",
		"redis://host:1/0?db=1":       "not just a host",
		"redis://":                    "not just a host",
		"redis://\x00":                "malformed",
	} {
		h := newHarness(t)
		h.Subscribe(scaler, one(listQueue(url, "jobs")))
		says(t, h.awaitReason(scaler, capacityv1alpha1.ReasonAddressRefused), "^the url of queue q .*"+pattern)
	}
}
