//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/operator"
	"github.com/queuescaler/queuescaler/test/servers"
)

// secured is a server that speaks TLS and asks for credentials, and a queue on it.
type secured struct {
	kind   capacityv1alpha1.QueueServerSource
	url    string
	source func(capacityv1alpha1.Server) capacityv1alpha1.QueueSource
	// credentials are the Secret's, with this password, key or token.
	credentials func(password string) map[string]string
}

func login(password string) map[string]string {
	return map[string]string{"username": "reader", "password": password}
}

func bearer(token string) map[string]string { return map[string]string{"token": token} }

// securedServers start a server of each kind that lets in whoever has the password, and client certificates of c where it can ask for
// them. A further source is one more of them.
var securedServers = map[string]func(t *testing.T, c *servers.Certificates, password string) secured{
	"redis": func(t *testing.T, c *servers.Certificates, password string) secured {
		r := servers.StartRedis(t, servers.RedisOptions{TLS: c, ClientCertificates: true, ACL: []string{"user reader on >" + password + " ~jobs +llen"}})
		return secured{capacityv1alpha1.SourceRedis, r.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{Redis: capacityv1alpha1.RedisSource{Server: s, List: capacityv1alpha1.RedisKeys{Keys: []string{"jobs"}}}}
		}, login}
	},
	"nats": func(t *testing.T, c *servers.Certificates, password string) secured {
		n := servers.StartNATS(t, servers.NATSOptions{TLS: c, ClientCertificates: true, Users: []*server.User{{Username: "reader", Password: password}}})
		addConsumer(t, jetStream(t, n, nats.UserInfo("reader", password), nats.RootCAs(c.CAFile), nats.ClientCert(c.CertFile, c.KeyFile)))
		return secured{capacityv1alpha1.SourceNATSJetStream, n.URL(), jobsConsumer, login}
	},
	"nats by token": func(t *testing.T, c *servers.Certificates, token string) secured {
		n := servers.StartNATS(t, servers.NATSOptions{TLS: c, ClientCertificates: true, Token: token})
		addConsumer(t, jetStream(t, n, nats.Token(token), nats.RootCAs(c.CAFile), nats.ClientCert(c.CertFile, c.KeyFile)))
		return secured{capacityv1alpha1.SourceNATSJetStream, n.URL(), jobsConsumer, bearer}
	},
	"rabbitmq": func(t *testing.T, c *servers.Certificates, password string) secured {
		r, err := servers.NewRabbitMQ(servers.RabbitMQOptions{Certificates: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(
			r.Manage(http.MethodPut, "users/reader", fmt.Sprintf(`{"password":%q,"tags":"management"}`, password)),
			r.Manage(http.MethodPut, "permissions/%2F/reader", `{"configure":"^$","write":"^$","read":"^$"}`),
			r.Manage(http.MethodPut, "queues/%2F/jobs", `{"durable":true}`),
		); err != nil {
			t.Fatal(err)
		}
		return secured{capacityv1alpha1.SourceRabbitMQ, r.SecureURL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{RabbitMQ: capacityv1alpha1.RabbitMQSource{Server: s, Queue: "jobs"}}
		}, login}
	},
	"kafka": func(t *testing.T, c *servers.Certificates, password string) secured {
		k := servers.StartKafka(t, servers.KafkaOptions{TLS: c, ClientCertificates: true, Admin: password})
		k.Fill(t, "jobs", 1, 1)
		k.Commit(t, "workers", "jobs", 1)
		return secured{capacityv1alpha1.SourceKafka, k.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{Kafka: capacityv1alpha1.KafkaSource{Server: s, Topic: "jobs", Group: "workers", Mechanism: capacityv1alpha1.KafkaPlain}}
		}, func(password string) map[string]string {
			return map[string]string{"username": "admin", "password": password}
		}}
	},
	"postgresql": func(t *testing.T, c *servers.Certificates, password string) secured {
		p := servers.StartPostgreSQL(t, servers.PostgreSQLOptions{TLS: c, ClientCertificates: true})
		p.Exec(t, "CREATE ROLE reader LOGIN PASSWORD '"+password+"'")
		return secured{capacityv1alpha1.SourcePostgreSQL, p.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{PostgreSQL: capacityv1alpha1.PostgreSQLSource{Server: s, Query: "SELECT 0 AS depth"}}
		}, login}
	},
	"prometheus": func(t *testing.T, c *servers.Certificates, password string) secured {
		p := servers.StartPrometheus(t, servers.PrometheusOptions{TLS: c, Username: "reader", Password: password})
		return secured{capacityv1alpha1.SourcePrometheus, p.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{Prometheus: capacityv1alpha1.PrometheusSource{Server: s, DepthQuery: "vector(0)"}}
		}, login}
	},
	"http": func(t *testing.T, c *servers.Certificates, password string) secured {
		h := servers.StartHTTP(t, servers.HTTPOptions{TLS: c, Username: "reader", Password: password})
		h.Set("/jobs", http.StatusOK, `{"waiting":0}`)
		return secured{capacityv1alpha1.SourceHTTP, h.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{HTTP: capacityv1alpha1.HTTPSource{Server: s, Path: "/jobs", DepthPath: "waiting"}}
		}, login}
	},
	"external": func(t *testing.T, c *servers.Certificates, token string) secured {
		e := servers.StartExternal(t, servers.ExternalOptions{TLS: c, Clients: true, Token: token, Push: true})
		e.Set("jobs", 0)
		return secured{capacityv1alpha1.SourceExternal, e.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{External: capacityv1alpha1.ExternalSource{Server: s, Metadata: map[string]capacityv1alpha1.ExternalValue{"queue": "jobs"}}}
		}, bearer}
	},
	"aws sqs": func(t *testing.T, c *servers.Certificates, key string) secured {
		q := servers.StartSQS(t, servers.SQSOptions{TLS: c, Users: []servers.SQSUser{{AccessKeyID: "reader", SecretAccessKey: key}}})
		q.Create(t, "jobs")
		return secured{capacityv1alpha1.SourceAWSSQS, q.URL(), func(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
			return capacityv1alpha1.QueueSource{AwsSQS: capacityv1alpha1.AWSSQSSource{Server: s, Queue: "jobs", Region: servers.SQSRegion}}
		}, login}
	},
}

func jobsConsumer(s capacityv1alpha1.Server) capacityv1alpha1.QueueSource {
	return capacityv1alpha1.QueueSource{NATSJetStream: capacityv1alpha1.NATSJetStreamSource{Server: s, Stream: "JOBS", Consumer: "workers"}}
}

// Each server is read with the right credentials, with those of a QueueServer, with a wrong password, and with a key that does not fit
// its certificate, by a QueueScaler each: nothing that the operator writes tells any of them.
func TestNoSecretIsTold(t *testing.T) {
	t.Parallel()
	for name, start := range securedServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			// Each of these characters is another one in an URL, in JSON or in base64.
			right, wrong := name[:4]+`-right/Zw7+p=&%41`, name[:4]+`-wrong/Kx2+v=&%41`
			good, foreign := servers.NewCertificates(t, time.Now().Add(time.Hour)), servers.NewCertificates(t, time.Now().Add(time.Hour))
			s := start(t, good, right)
			w.reads("right", s, s.credentials(right), good.CA, good.Cert, good.Key)
			w.reads("wrong", s, s.credentials(wrong), good.CA, good.Cert, good.Key)
			w.reads("unfit", s, s.credentials(right), good.CA, good.Cert, foreign.Key)
			served := s.source(w.offered(s, s.credentials(right), good))
			served.Kafka.Mechanism = "" // the QueueServer has it
			w.scales("served", served)
			w.awaitConditionOf("served", capacityv1alpha1.ConditionScalingActive, metav1.ConditionTrue, capacityv1alpha1.ReasonReadingsFresh)
			w.awaitConditionOf("right", capacityv1alpha1.ConditionScalingActive, metav1.ConditionTrue, capacityv1alpha1.ReasonReadingsFresh)
			w.awaitConditionOf("wrong", capacityv1alpha1.ConditionReady, metav1.ConditionFalse, capacityv1alpha1.ReasonAuthenticationFailed)
			w.awaitConditionOf("unfit", capacityv1alpha1.ConditionReady, metav1.ConditionFalse, capacityv1alpha1.ReasonSecretInvalid)
			w.tellsNoSecret(slices.Concat([]string{right, wrong}, keyLines(good.Key), keyLines(foreign.Key))...)
		})
	}
}

// reads makes a QueueScaler of this name that reads the server with these credentials and PEMs, its Secrets and its target.
func (w *world) reads(name string, s secured, credentials map[string]string, ca, cert, key []byte) {
	w.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name + "-login"}, StringData: credentials})
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name + "-tls"}, Data: map[string][]byte{"ca.crt": ca, "tls.crt": cert, "tls.key": key}})
	w.scales(name, s.source(capacityv1alpha1.Server{
		URL:  s.url,
		Auth: authOf(name + "-login"),
		TLS:  &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: name + "-tls"}},
	}))
}

func authOf(secret string) capacityv1alpha1.Auth {
	return capacityv1alpha1.Auth{SecretRef: capacityv1alpha1.SecretReference{Name: secret}}
}

// offered makes a QueueServer of the server, with its Secrets in the operator's namespace, and returns the reference to it.
func (w *world) offered(s secured, credentials map[string]string, c *servers.Certificates) capacityv1alpha1.Server {
	w.Helper()
	name, mechanism := w.namespace, s.source(capacityv1alpha1.Server{}).Kafka.Mechanism
	for _, o := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name + "-login", Namespace: operator.Namespace}, StringData: credentials},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name + "-tls", Namespace: operator.Namespace}, Data: map[string][]byte{"ca.crt": c.CA, "tls.crt": c.Cert, "tls.key": c.Key}},
		&capacityv1alpha1.QueueServer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: capacityv1alpha1.QueueServerSpec{Source: s.kind, Mechanism: mechanism, URL: s.url, Auth: authOf(name + "-login"),
			TLS: &capacityv1alpha1.TLS{SecretRef: capacityv1alpha1.SecretReference{Name: name + "-tls"}}, AllowedNamespaces: []string{name}}},
	} {
		if err := w.client.Create(w.Context(), o); err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = w.client.Delete(context.Background(), o) })
	}
	return capacityv1alpha1.Server{ServerRef: capacityv1alpha1.ServerReference{Name: name}}
}

// scales makes a QueueScaler of this name for the source, and its target.
func (w *world) scales(name string, source capacityv1alpha1.QueueSource) {
	w.Helper()
	d := deployment(2)
	d.Name = name
	d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = map[string]string{"app": name}, map[string]string{"app": name}
	w.create(d)
	qs := w.scaler(func(spec *capacityv1alpha1.QueueScalerSpec) {
		spec.ScaleTargetRef.Name = name
		spec.Queues[0].PollSeconds = 1
		spec.Queues[0].QueueSource = source
	})
	qs.Name = name
	w.create(qs)
}

// keyLines are what is secret of a PEM.
func keyLines(pem []byte) []string {
	lines := strings.Split(strings.TrimSpace(string(pem)), "\n")
	return lines[1 : len(lines)-1]
}

// tellsNoSecret looks for the secrets in all that the operator wrote: log, events, QueueScalers and metrics. Its log is looked at once
// more when it has ended.
func (w *world) tellsNoSecret(secrets ...string) {
	w.Helper()
	shared.mu.Lock()
	shared.secrets = append(shared.secrets, secrets...)
	shared.mu.Unlock()
	for where, text := range w.told() {
		if !tells(text, w.namespace) {
			w.Errorf("the %s is not about this test, or the search finds nothing", where)
		}
		if slices.ContainsFunc(secrets, func(secret string) bool { return tells(text, secret) }) {
			w.Errorf("the %s tells a Secret's content", where)
		}
	}
}

// told is what the operator wrote, by where it did.
func (w *world) told() map[string]string {
	w.Helper()
	log, err := shared.log.read()
	if err != nil {
		w.Fatal(err)
	}
	return map[string]string{
		"log":         string(log),
		"events":      w.kubectl("get", "events.events.k8s.io", "-o", "yaml", "--show-managed-fields"),
		"QueueScaler": w.kubectl("get", "qs", "-o", "yaml", "--show-managed-fields"),
		"metrics":     w.metrics(),
	}
}

func (w *world) metrics() string {
	w.Helper()
	shared.mu.Lock()
	address := shared.operator.MetricsURL
	shared.mu.Unlock()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		w.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return string(body)
}

// noSecretLogged looks at the log from the operator's start to its end.
func noSecretLogged() error {
	log, err := shared.log.read()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(shared.secrets, func(secret string) bool { return tells(string(log), secret) }) {
		return errors.New("the operator's log tells a Secret's content")
	}
	return nil
}

// tells is true if a text has the secret in any form.
func tells(text, secret string) bool {
	return slices.ContainsFunc(forms(secret), func(form string) bool { return strings.Contains(text, form) })
}

// forms are a secret as it is, in JSON, in URLs, and in base64, also in the middle of it, as in a basic authentication's user:password.
func forms(secret string) []string {
	quoted, _ := json.Marshal(secret) // a string can be marshalled
	all := []string{
		secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret),
		strings.TrimPrefix(url.UserPassword("", secret).String(), ":"),
	}
	for before := range 3 {
		whole := []byte(strings.Repeat("-", before) + secret)
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			// Without the characters that hold bits of what is before it or after it too.
			all = append(all, encoding.EncodeToString(whole)[(before*8+5)/6:len(whole)*8/6])
		}
	}
	return all
}

func TestSecretsAreFoundInEveryForm(t *testing.T) {
	const secret = `pa/Zw7+p=&%41"ü`
	quoted, err := json.Marshal(map[string]string{"msg": "login with " + secret})
	if err != nil {
		t.Fatal(err)
	}
	link := &url.URL{Scheme: "redis", User: url.UserPassword("reader", secret), Host: "redis:6379", Path: "/0"}
	for _, text := range []string{
		"login with " + secret + " refused", string(quoted), "q=" + url.QueryEscape(secret) + "&n=1", "/login/" + url.PathEscape(secret) + "/x", link.String(),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte("reader:" + secret)),
		base64.StdEncoding.EncodeToString([]byte("a:" + secret + "\n")), base64.StdEncoding.EncodeToString([]byte("ab:" + secret + " and more")),
	} {
		if !tells(text, secret) {
			t.Errorf("not found in %s", text)
		}
	}
	if tells("login with pa/Zw7 refused", secret) {
		t.Error("found where it is not")
	}
}
