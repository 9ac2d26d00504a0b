// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// secretPeriod is the time between two readings of a Secret, so that a rotated one is noticed while the old credentials still work.
	secretPeriod = 5 * time.Minute
	// secretRetry is the longest time between two attempts to read a Secret that is missing or makes no sense.
	secretRetry = 30 * time.Second
	// secretReads is how many Secrets are read at once.
	secretReads = 8
	// secretTimeout bounds one read.
	secretTimeout = 10 * time.Second
)

// digest stands for credentials without telling them: a keyed hash, with a key of this process alone.
type digest [sha256.Size]byte

// secret is what is known of one Secret: digests and what is wrong with it, never its contents. The Pool's mutex guards it.
type secret struct {
	name  types.NamespacedName
	feeds map[*feed]struct{}

	// readAt is when it was last read with an answer; zero when never. due is when it is read next.
	readAt, due time.Time
	reading     bool
	attempts    int

	auth, tls identity
	// unread is why it was never read with an answer.
	unread *Failure
}

// identity is the digest of the keys for one use, or why they cannot be used.
type identity struct {
	digest  digest
	failure *Failure
}

// login is what the keys of a Secret are for: username and password, or a token; for NATS also a credentials file or a seed, for Redis also
// username and password of its Sentinels.
type login struct{ username, password, token, creds, nkey, sentinelUsername, sentinelPassword string }

// loginOf reads the keys of auth.secretRef. A line end that an editor or echo left behind is not part of a password.
func loginOf(data map[string][]byte) (login, bool) {
	text := func(key string) string { return strings.TrimRight(string(data[key]), "\r\n") }
	l := login{text("username"), text("password"), text("token"), text("creds"), text("nkey"), text("sentinelUsername"), text("sentinelPassword")}
	return l, l.password != "" || l.token != "" || l.creds != "" || l.nkey != "" || l.sentinelPassword != ""
}

// unusable says of a Secret that it has nothing for this kind of server; nil where it has, or there is none. What is malformed the kind itself says.
func (o *ConnectOptions) unusable() *Failure {
	elsewhere := (o.Creds != "" || o.NKey != "") && o.Endpoint.Kind != KindNATS || o.SentinelPassword != "" && o.Endpoint.Topology != capacityv1alpha1.RedisSentinel
	if o.Password != "" || o.Token != "" || !elsewhere {
		return nil
	}
	return Fail(capacityv1alpha1.ReasonSecretInvalid, "Give the Secret in auth.secretRef the keys username and password, or token", "in need of a password, which its Secret lacks,")
}

// tlsConfigOf reads the keys of tls.secretRef; data is nil where there is none.
func tlsConfigOf(data map[string][]byte, serverName string) (*tls.Config, string) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if data == nil {
		return config, ""
	}
	ca, cert, key := data["ca.crt"], data["tls.crt"], data["tls.key"]
	if len(ca) == 0 && len(cert) == 0 && len(key) == 0 {
		return nil, "without any of the keys ca.crt, tls.crt and tls.key"
	}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, "without a PEM certificate in its key ca.crt"
		}
	}
	if len(cert) > 0 || len(key) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, "without a PEM certificate and its private key in tls.crt and tls.key"
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, ""
}

func subjectOf(name types.NamespacedName) string { return "Secret " + name.String() }

func (p *Pool) authIdentity(name types.NamespacedName, data map[string][]byte) identity {
	l, ok := loginOf(data)
	if !ok {
		return identity{failure: &Failure{Reason: capacityv1alpha1.ReasonSecretInvalid, Subject: subjectOf(name),
			What: "without credentials", Remedy: "Give it the keys username and password, or token; for NATS, creds or nkey do as well"}}
	}
	return identity{digest: p.digestOf(l.username, l.password, l.token, l.creds, l.nkey, l.sentinelUsername, l.sentinelPassword)}
}

func (p *Pool) tlsIdentity(name types.NamespacedName, data map[string][]byte) identity {
	if _, wrong := tlsConfigOf(data, ""); wrong != "" {
		return identity{failure: &Failure{Reason: capacityv1alpha1.ReasonSecretInvalid, Subject: subjectOf(name),
			What: wrong, Remedy: "Correct that key"}}
	}
	return identity{digest: p.digestOf(string(data["ca.crt"]), string(data["tls.crt"]), string(data["tls.key"]))}
}

func (p *Pool) digestOf(parts ...string) (d digest) {
	h := hmac.New(sha256.New, p.key[:])
	for _, part := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	copy(d[:], h.Sum(nil))
	return d
}

// readSecret reads one Secret and lets its feeds follow what it says. An error that says nothing about the Secret changes nothing.
func (p *Pool) readSecret(ctx context.Context, name types.NamespacedName) (map[string][]byte, *Failure) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	data, err := p.options.Secrets(ctx, name.Namespace, name.Name)

	auth, tls, failure := identity{}, identity{}, (*Failure)(nil)
	switch {
	case err == nil:
		if data == nil {
			data = map[string][]byte{}
		}
		auth, tls = p.authIdentity(name, data), p.tlsIdentity(name, data)
	case apierrors.IsNotFound(err):
		failure = &Failure{Reason: capacityv1alpha1.ReasonSecretMissing, Subject: subjectOf(name), What: "missing",
			Remedy: "Create it there, or correct secretRef"}
	case apierrors.IsForbidden(err):
		failure = &Failure{Reason: capacityv1alpha1.ReasonPermissionDenied, Subject: subjectOf(name), What: "forbidden to the operator",
			Remedy: "Let the operator get Secrets in this namespace"}
	default:
		failure = &Failure{Reason: capacityv1alpha1.ReasonQueueUnavailable, Subject: subjectOf(name), What: "not readable",
			Remedy: "Check the API server; it is tried again within 30 s"}
	}
	if failure != nil {
		auth.failure, tls.failure = failure, failure
	}
	unknown := failure != nil && failure.Reason == capacityv1alpha1.ReasonQueueUnavailable
	p.learn(name, auth, tls, unknown)
	return data, failure
}

// learn keeps what a Secret said, and binds its feeds anew where that changed. unknown means that it said nothing.
func (p *Pool) learn(name types.NamespacedName, auth, tls identity, unknown bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.secrets[name]
	if s == nil {
		return
	}
	now := p.options.Clock.Now()
	s.attempts++
	s.due = now.Add(backoff(s.attempts, time.Second, secretRetry))
	if unknown {
		s.unread = auth.failure
	} else {
		s.readAt = now
		s.auth, s.tls = auth, tls
		s.unread = nil
		if !s.useless() {
			s.attempts = 0
			s.due = now.Add(jitter(secretPeriod))
		}
	}
	for f := range s.feeds {
		p.bind(f)
	}
}

// useless is true where a feed cannot use the Secret for what it names it for.
func (s *secret) useless() bool {
	for f := range s.feeds {
		if f.auth == s.name && s.auth.failure != nil || f.tls == s.name && s.tls.failure != nil {
			return true
		}
	}
	return false
}

// readSecrets keeps reading the Secrets that are due until ctx ends.
func (p *Pool) readSecrets(ctx context.Context) {
	free := make(chan struct{}, secretReads)
	for p.waitSecret(ctx) {
		for _, name := range p.dueSecrets() {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			p.wait.Go(func() {
				defer func() { <-free }()
				_, _ = p.readSecret(ctx, name)
				p.mu.Lock()
				defer p.mu.Unlock()
				if s := p.secrets[name]; s != nil {
					s.reading = false
				}
				kick(p.secretKick)
			})
		}
	}
}

// waitSecret waits until a Secret is due; it is false when ctx ended.
func (p *Pool) waitSecret(ctx context.Context) bool {
	p.mu.Lock()
	var next time.Time
	for _, s := range p.secrets {
		if !s.reading && (next.IsZero() || s.due.Before(next)) {
			next = s.due
		}
	}
	p.mu.Unlock()
	return p.waitUntil(ctx, next, p.secretKick)
}

func (p *Pool) dueSecrets() []types.NamespacedName {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Clock.Now()
	var due []types.NamespacedName
	for name, s := range p.secrets {
		if !s.reading && !s.due.After(now) {
			s.reading = true
			due = append(due, name)
		}
	}
	return due
}

// hasten has the Secrets of s read again soon, because the server refused what they said: at once, but no more than 10 each second,
// and none that was read less than least ago. The mutex is held.
func (p *Pool) hasten(s *server, least time.Duration) {
	names := map[types.NamespacedName]struct{}{}
	for f := range s.feeds {
		if f.auth != (types.NamespacedName{}) {
			names[f.auth] = struct{}{}
		}
	}
	now := p.options.Clock.Now()
	gap := max(least, time.Second, time.Duration(len(names))*100*time.Millisecond)
	for name := range names {
		if e := p.secrets[name]; e != nil && now.Sub(e.readAt) >= gap && e.due.After(now) {
			e.due = now
		}
	}
	kick(p.secretKick)
}

// backoff doubles from first to most, with jitter.
func backoff(attempts int, first, most time.Duration) time.Duration {
	d := first << min(max(attempts-1, 0), 16)
	return jitter(min(d, most))
}

// jitter is between 0.8 d and d.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/5+1)) }
