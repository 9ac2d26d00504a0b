// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// What the API bounds of an HTTP server's paths.
const longestPath, longestJSONPath = 512, 256

// What the API refuses in them.
var (
	notInPaths     = regexp.MustCompile(`(?i)[^!-~]|#|[.][.]|%2e`)
	notInJSONPaths = regexp.MustCompile(`[][@!*?%~{}]|#[.]|[(][^)]*[(]`)
)

func (t *trigger) awsSQS(q *capacityv1alpha1.QueueSource) (string, int64) {
	s := &q.AwsSQS
	field := t.field("awsSQS")
	s.Region = t.need("awsRegion")
	t.sqsQueue(field, s)
	if endpoint := t.take("awsEndpoint"); endpoint != "" {
		s.URL = endpoint
	}
	if s.URL == "" {
		s.URL = "https://sqs." + s.Region + ".amazonaws.com"
		if strings.HasPrefix(s.Region, "cn-") {
			s.URL += ".cn" // China has a domain of its own
		}
	}
	if t.isTrue("scaleOnDelayed") {
		t.m.refuse("%s.metadata.scaleOnDelayed: delayed messages are no backlog before their delay is over, and there would be no replicas for them until then", t.path)
	}
	if strings.EqualFold(t.take("scaleOnInFlight"), "false") {
		t.m.note("%s.metadata.scaleOnInFlight: objective.backlog counts the messages in flight too; objective.drain does not", t.path)
	}
	s.Auth = t.sqsAuth(field)
	t.m.note("%s: it is read every 15 s, since SQS takes money for each request (pollSeconds)", field)
	return s.Queue, t.count(5, "queueLength")
}

// sqsQueue takes the url of a queue apart: endpoint, account and name. KEDA takes a mere name as well.
func (t *trigger) sqsQueue(field string, s *capacityv1alpha1.AWSSQSSource) {
	given, env := t.take("queueURL"), t.take("queueURLFromEnv")
	u, err := url.Parse(given)
	switch {
	case given == "" && env == "":
		t.m.refuse("%s.metadata.queueURL is not given", t.path)
	case given == "" || err != nil:
		t.m.do("%s: put the queue's name in, and its accountID if it is another account's (KEDA reads the queue's url from the environment variable %s of the container)", field, env)
		s.Queue = fillIn
	case u.Host == "":
		s.Queue = given
	default:
		s.URL = u.Scheme + "://" + u.Host
		parts := strings.Split(strings.Trim(u.Path, "/"), "/")
		s.Queue = parts[len(parts)-1]
		if len(parts) > 1 && len(parts[len(parts)-2]) == 12 {
			s.AccountID = parts[len(parts)-2]
		}
	}
}

// sqsAuth says where the access key is, or that there is none: KEDA may have the identity of a pod, its own or the workload's.
func (t *trigger) sqsAuth(field string) capacityv1alpha1.Auth {
	const ways = "give the role of QueueScaler's own service account sqs:GetQueueUrl and sqs:GetQueueAttributes on the queue and start it with --cloud-identity=Allow, or name a Secret with an access key here; see docs/queues/aws-sqs.md"
	owner := t.take("identityOwner")
	a := t.authentication()
	pod := a != nil && a.Spec.PodIdentity != nil && strings.HasPrefix(a.Spec.PodIdentity.Provider, "aws")
	if pod || owner == "operator" || t.parameter("awsRoleArn") != nil {
		t.m.do("%s.auth: KEDA has the role of a pod; %s", field, ways)
		return capacityv1alpha1.Auth{}
	}
	auth := t.auth(field, map[string][]string{"username": {"awsAccessKeyID"}, "password": {"awsSecretAccessKey"}, "token": {"awsSessionToken"}})
	if auth.SecretRef.Name == "" {
		t.m.do("%s.auth: the ScaledObject does not say whose credentials KEDA has; %s", field, ways)
	}
	return auth
}

func (t *trigger) metricsAPI(q *capacityv1alpha1.QueueSource) (string, int64) {
	h := &q.HTTP
	field := t.field("http")
	if format := t.take("format"); format != "" && format != "json" {
		t.m.refuse("%s.metadata.format: %s is not read; json is", t.path, format)
	}
	if t.isTrue("aggregateFromKubeServiceEndpoints") {
		t.m.refuse("%s.metadata.aggregateFromKubeServiceEndpoints: one url is read, and not each pod behind it; let one place add the numbers up", t.path)
	}
	if mode := t.take("authMode"); mode == "apiKey" {
		t.m.refuse("%s.metadata.authMode: an API key cannot be used to log in; basic and bearer can", t.path)
	}
	t.httpURL(field, h)
	if strings.HasPrefix(h.URL, "https:") || t.parameter("ca") != nil {
		t.tls(field)
	}
	h.Auth = t.auth(field, map[string][]string{"username": {"username"}, "password": {"password"}, "token": {"token"}})
	h.DepthPath = capacityv1alpha1.JSONPath(t.need("valueLocation"))
	if path := string(h.DepthPath); utf8.RuneCountInString(path) > longestJSONPath || notInJSONPaths.MatchString(path) {
		t.m.refuse("%s.metadata.valueLocation: wildcards, modifiers and literals of gjson (@ ! * ? %% ~ { } [ ]), #., a query within a query and more than %d characters are not accepted", t.path, longestJSONPath)
	}
	t.m.note("%s.metadata.valueLocation: it has to lead to a number of messages; a path that leads nowhere is no zero, and nothing scales down then", t.path)
	return t.m.object.Metadata.Name, t.count(0, "targetValue")
}

// httpURL takes KEDA's url apart: that of the server, and the path of the queue.
func (t *trigger) httpURL(field string, h *capacityv1alpha1.HTTPSource) {
	u, err := url.Parse(t.need("url"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		h.URL = "http://" + fillIn
		t.m.do("%s.url: put the server's address in, and the rest into path", field)
		return
	}
	if u.User != nil {
		t.m.do("%s.auth: the url of the ScaledObject carries credentials; put them into the keys username and password of a Secret, and name it here", field)
	}
	h.URL = u.Scheme + "://" + u.Host
	if h.Path = u.EscapedPath(); h.Path == "/" {
		h.Path = ""
	}
	if u.RawQuery != "" {
		h.Path += "?" + t.query(field, u.RawQuery)
	}
	if len(h.Path) > longestPath || notInPaths.MatchString(h.Path) {
		t.m.refuse("%s.metadata.url: a path with its query has at most %d characters, and is escaped, without '..'", t.path, longestPath)
	}
}

// query is that of a url, without what may be credentials: they are not printed.
func (t *trigger) query(field, query string) string {
	parts := strings.Split(query, "&")
	hidden := false
	for i, part := range parts {
		text, err := url.QueryUnescape(part)
		if err != nil {
			text = part
		}
		if !secretive.MatchString(text) {
			continue
		}
		hidden, parts[i] = true, fillIn
		if key, _, given := strings.Cut(part, "="); given {
			parts[i] = key + "=" + fillIn
		}
	}
	if hidden {
		t.m.do("%s.path: put in what %s stands for in the query, unless it is a secret: whoever may read the QueueScaler sees it. A server that takes basic or bearer is given those out of the Secret in auth", field, fillIn)
	}
	return strings.Join(parts, "&")
}
