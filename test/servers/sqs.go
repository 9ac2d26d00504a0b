// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

const (
	// SQSRegion and SQSAccount are those of the server.
	SQSRegion, SQSAccount = "eu-west-1", "123456789012"
	// sqsSkew is how far the clock of a client may be off.
	sqsSkew = 5 * time.Minute
)

// SQSUser is who may log in. Policy is one of IAM, in JSON; without it the user may do everything.
type SQSUser struct{ AccessKeyID, SecretAccessKey, SessionToken, Policy string }

// SQSOptions are how a server for SQS is to be started.
type SQSOptions struct {
	// TLS makes it speak TLS alone.
	TLS   *Certificates
	Users []SQSUser
	// Role is the ARN of a role that STS, at the same address, gives the credentials of the first user for Token.
	Role, Token string
}

// SQS is a server in this process that speaks the JSON protocol of SQS, with signatures, policies, visibility and delays, and STS for web identities.
type SQS struct {
	options SQSOptions
	address string
	users   map[string]sqsIdentity

	mu        sync.Mutex
	server    *http.Server
	queues    map[string]*sqsQueue
	throttled bool
	requests  map[string]int
}

type sqsIdentity struct {
	SQSUser
	policy *sqsPolicy
}

// StartSQS starts a server for a test, and ends it with the test.
func StartSQS(t testing.TB, o SQSOptions) *SQS {
	t.Helper()
	s := &SQS{options: o, address: "127.0.0.1:0", users: map[string]sqsIdentity{}, queues: map[string]*sqsQueue{}, requests: map[string]int{}}
	for _, user := range append([]SQSUser{{AccessKeyID: "admin", SecretAccessKey: "admin"}}, o.Users...) {
		policy, err := parsePolicy(user.Policy)
		if err != nil {
			t.Fatal(err)
		}
		s.users[user.AccessKeyID] = sqsIdentity{user, policy}
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Address is host:port.
func (s *SQS) Address() string { return s.address }

// URL is the endpoint.
func (s *SQS) URL() string {
	if s.options.TLS != nil {
		return "https://" + s.address
	}
	return "http://" + s.address
}

// Start starts the server, after Stop on the same port with the queues that there were.
func (s *SQS) Start() error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = listener.Addr().String()
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	server, serve := s.server, s.server.Serve
	if s.options.TLS != nil {
		if server.TLSConfig, err = s.options.TLS.server(false); err != nil {
			return err
		}
		server.ErrorLog = log.New(io.Discard, "", 0) // handshakes that tests make fail
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	go func() { _ = serve(listener) }()
	return nil
}

// Stop ends the server and its connections, and keeps its queues.
func (s *SQS) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.server.Close()
}

// Throttle makes it refuse requests as too many, or not.
func (s *SQS) Throttle(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttled = on
}

// Requests is how many there were of an action, refused ones included.
func (s *SQS) Requests(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[action]
}

// Client is one of an administrator. It ends with the test.
func (s *SQS) Client(t testing.TB) *sqs.Client {
	t.Helper()
	transport := &http.Transport{}
	if s.options.TLS != nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.options.TLS.CA)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return sqs.New(sqs.Options{BaseEndpoint: aws.String(s.URL()), Region: SQSRegion,
		Credentials: credentials.NewStaticCredentialsProvider("admin", "admin", ""), HTTPClient: &http.Client{Transport: transport}})
}

// Create makes a queue, and returns its url.
func (s *SQS) Create(t testing.TB, name string) string {
	t.Helper()
	output, err := s.Client(t).CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return *output.QueueUrl
}

// sqsError is a refusal: its name in the JSON protocol, and the code of the older one.
type sqsError struct {
	status     int
	name, code string
}

var (
	sqsUnknownKey = &sqsError{http.StatusForbidden, "com.amazon.coral.service#UnrecognizedClientException", ""}
	sqsSignature  = &sqsError{http.StatusForbidden, "com.amazon.coral.service#InvalidSignatureException", ""}
	sqsExpired    = &sqsError{http.StatusForbidden, "com.amazon.coral.service#ExpiredTokenException", ""}
	sqsMissing    = &sqsError{http.StatusBadRequest, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue;Sender"}
	sqsDenied     = &sqsError{http.StatusForbidden, "com.amazon.coral.service#AccessDeniedException", "AccessDenied;Sender"}
	sqsThrottled  = &sqsError{http.StatusBadRequest, "com.amazonaws.sqs#RequestThrottled", "RequestThrottled;Sender"}
	sqsUnknown    = &sqsError{http.StatusBadRequest, "com.amazonaws.sqs#UnsupportedOperation", ""}
)

// ServeHTTP answers a request of SQS or STS.
func (s *SQS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		s.assume(w, string(body))
		return
	}
	reply, refusal := s.answer(r, body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if refusal != nil {
		w.Header().Set("X-Amzn-Query-Error", refusal.code)
		w.WriteHeader(refusal.status)
		reply = map[string]string{"__type": refusal.name, "message": "refused, says the server"}
	}
	_ = json.NewEncoder(w).Encode(reply)
}

func (s *SQS) answer(r *http.Request, body []byte) (any, *sqsError) {
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	s.mu.Lock()
	s.requests[action]++
	throttled := s.throttled
	s.mu.Unlock()
	if throttled {
		return nil, sqsThrottled
	}
	user, refusal := s.authenticate(r, body)
	if refusal != nil {
		return nil, refusal
	}
	var input sqsInput
	if err := json.Unmarshal(body, &input); err != nil {
		return nil, sqsUnknown
	}
	name := input.QueueName
	if name == "" {
		name = input.QueueURL[strings.LastIndex(input.QueueURL, "/")+1:]
	}
	if !user.policy.permits("sqs:"+strings.TrimSuffix(action, "Batch"), "arn:aws:sqs:"+SQSRegion+":"+SQSAccount+":"+name) {
		return nil, sqsDenied
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.act(action, name, &input)
}

// authenticate finds out whose the request is: its signature has to be the one that the user's secret makes.
func (s *SQS) authenticate(r *http.Request, body []byte) (sqsIdentity, *sqsError) {
	given := r.Header.Get("Authorization")
	var credential, signed, signature string
	for part := range strings.SplitSeq(strings.TrimPrefix(given, "AWS4-HMAC-SHA256 "), ", ") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signed = value
		case "Signature":
			signature = value
		}
	}
	scope := strings.Split(credential, "/") // key, date, region, service, aws4_request
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || len(scope) != 5 || signature == "" || !strings.Contains(signed, "host") || time.Since(at).Abs() > sqsSkew || scope[2] != SQSRegion || scope[3] != "sqs" {
		return sqsIdentity{}, sqsSignature
	}
	user, known := s.users[scope[0]]
	if !known {
		return user, sqsUnknownKey
	}
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{}}
	for name := range strings.SplitSeq(signed, ";") {
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		} else if values := r.Header.Values(name); values != nil {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	hash := sha256.Sum256(body)
	holder := aws.Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: user.SecretAccessKey, SessionToken: r.Header.Get("X-Amz-Security-Token")}
	if err := v4.NewSigner().SignHTTP(r.Context(), holder, again, hex.EncodeToString(hash[:]), "sqs", SQSRegion, at); err != nil || again.Header.Get("Authorization") != given {
		return user, sqsSignature
	}
	if holder.SessionToken != user.SessionToken {
		return user, sqsExpired
	}
	return user, nil
}

// assume is STS: it gives the credentials of the first user for the token of a web identity.
func (s *SQS) assume(w http.ResponseWriter, body string) {
	form, err := url.ParseQuery(body)
	w.Header().Set("Content-Type", "text/xml")
	if err != nil || s.options.Role == "" || form.Get("Action") != "AssumeRoleWithWebIdentity" || form.Get("RoleArn") != s.options.Role || form.Get("WebIdentityToken") != s.options.Token {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>refused, says the server</Message></Error></ErrorResponse>")
		return
	}
	user := s.options.Users[0]
	_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, user.AccessKeyID, user.SecretAccessKey, user.SessionToken, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func md5Of(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}
