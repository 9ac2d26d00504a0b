// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Failure is why a queue, or a whole server, could not be read. Its words never repeat what a server sent.
type Failure struct {
	// Reason is one of the API's reasons.
	Reason string
	// Subject is what fails; empty means the server, by its url.
	Subject string
	// What goes between the subject and "for 3 min 12 s": "refused", "silent".
	What string
	// Remedy is what to do, a sentence.
	Remedy string
	// connecting is true for a connection that could not be made in time.
	connecting bool
}

// Alone tells a failure of one HTTP request from those of the whole server: its reply made no sense or did not come, though there was a connection.
func (f *Failure) Alone() bool {
	return f.Reason == capacityv1alpha1.ReasonQueueReplyInvalid || f.Reason == capacityv1alpha1.ReasonQueueTimeout && !f.connecting
}

// Error is for logs.
func (f *Failure) Error() string {
	return strings.TrimSpace(f.Reason + ": " + f.Subject + " " + f.What)
}

// Fail is a failure of the server, or of a queue on it.
func Fail(reason, remedy, what string, args ...any) *Failure {
	return &Failure{Reason: reason, What: fmt.Sprintf(what, args...), Remedy: remedy}
}

// message is the failure for a person: since when, what was read last, and what to do.
func (f *Failure) message(url string, since, lastReading, now time.Time) string {
	subject := f.Subject
	if subject == "" {
		subject = url
	}
	text := subject + " " + f.What
	if d := now.Sub(since); d >= time.Second {
		text += " for " + spell(d)
	}
	if lastReading.IsZero() {
		text += "; no reading yet"
	} else {
		text += "; last reading " + timeOfDay(lastReading, now)
	}
	if f.Remedy != "" {
		text += ". " + f.Remedy
	}
	return text
}

// spell writes a duration as people say it: 45 s, 3 min 12 s, 2 h 5 min, 3 d 4 h.
func spell(d time.Duration) string {
	switch s := int64(d / time.Second); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
	}
}

// timeOfDay is t in UTC, with its date where that is not today.
func timeOfDay(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05Z")
	}
	return t.Format("2006-01-02 15:04:05Z")
}

// ConnectFailure says why a connection could not be made or broke. Unknown errors are QueueUnavailable; their text is not used.
func ConnectFailure(err error) *Failure {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f
	}
	if f := tlsFailure(err); f != nil {
		return f
	}
	const check = "Check that the server runs, the url, and network policies between operator and server"
	unavailable := capacityv1alpha1.ReasonQueueUnavailable
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return Fail(unavailable, "Check the host in the url", "unknown to DNS")
	case errors.As(err, &dns):
		return Fail(unavailable, "Check the cluster's DNS", "not resolved by DNS")
	case errors.Is(err, syscall.ECONNREFUSED):
		return Fail(unavailable, check, "refused")
	case isTimeout(err):
		return Fail(capacityv1alpha1.ReasonQueueTimeout, check, "silent")
	case isClosed(err):
		return Fail(unavailable, check, "closing connections")
	default:
		return Fail(unavailable, check, "unreachable")
	}
}

// LoginFailure is ConnectFailure for a connection that ended between the TLS handshake, where there was one, and the answer to the login. A server
// that misses a client certificate finds that out after the client's handshake is over, and its alert may be lost when it then closes.
func LoginFailure(err error, secure bool) *Failure {
	f := ConnectFailure(err)
	if secure && f.Reason == capacityv1alpha1.ReasonQueueUnavailable && isClosed(err) {
		return Fail(capacityv1alpha1.ReasonTLSFailed, "If it asks for a client certificate, put one that it trusts into tls.crt and tls.key of the Secret in tls.secretRef",
			"closing connections after the TLS handshake")
	}
	return f
}

// IsNetwork tells errors of a connection from those of the form of a reply. A *Failure is one that dialing made.
func IsNetwork(err error) bool {
	var network net.Error
	var failure *Failure
	return errors.As(err, &network) || errors.As(err, &failure) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || (errors.As(err, &netErr) && netErr.Timeout())
}

func tlsFailure(err error) *Failure {
	reason := capacityv1alpha1.ReasonTLSFailed
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &authority):
		return Fail(reason, "Put the CA that signed it into ca.crt of the Secret in tls.secretRef", "serving a certificate of an unknown authority")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Fail(reason, "Renew the server's certificate", "serving a certificate that has expired or is not valid yet")
	case errors.As(err, &host):
		return Fail(reason, "Set tls.serverName to a name in the certificate", "serving a certificate for another name")
	case errors.As(err, &invalid), errors.As(err, &verification):
		return Fail(reason, "Check the server's certificate and ca.crt of the Secret in tls.secretRef", "serving a certificate that cannot be verified")
	case errors.As(err, &header):
		return Fail(reason, "Use a url without TLS, or switch TLS on in the server", "not speaking TLS")
	case errors.As(err, &alert), strings.HasPrefix(errText(err), "remote error: tls:"):
		return Fail(reason, "Check that the server accepts tls.crt of the Secret in tls.secretRef, and its TLS version", "refusing the TLS handshake")
	}
	return nil
}

// errText is the text of the innermost operation error: crypto/tls reports alerts of the peer as plain errors inside a net.OpError.
func errText(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	return ""
}
