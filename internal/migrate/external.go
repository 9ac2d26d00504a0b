// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

const (
	// What the API bounds of the metadata of an external scaler.
	mostMetadata, longestKey, longestValue = 64, 128, 2048
)

// secretive are keys and values of a scaler's metadata, or of a url's query, that may be credentials, which are not printed.
var secretive = regexp.MustCompile(`(?i)passw|secret|token|credential|api_?key|access_?key|connection|://[^/]*@`)

// external is a scaler of KEDA's own protocol. How much a replica is to have the scaler tells, and no manifest.
func (t *trigger) external(q *capacityv1alpha1.QueueSource) (string, int64) {
	e := &q.External
	field := t.field("external")
	e.URL = "grpc://" + t.scalerAddress()
	if t.externalTLS(field) {
		e.URL, e.TLS = "grpcs"+strings.TrimPrefix(e.URL, "grpc"), &capacityv1alpha1.TLS{}
	}
	for _, key := range slices.Sorted(maps.Keys(t.source.Metadata)) {
		if t.used[key] {
			continue
		}
		value := t.take(key)
		switch {
		case key == "" || len(key) > longestKey || len(value) > longestValue:
			t.m.refuse("%s.metadata.%.*s: a key has from 1 to %d characters, a value at most %d", t.path, longestKey, key, longestKey, longestValue)
		case strings.HasSuffix(key, "FromEnv"):
			t.m.do("%s.metadata.%s: KEDA tells the scaler what the environment variable %s of the container has; put it in, unless it is a secret", field, key, value)
			value = fillIn
		case secretive.MatchString(key + value):
			t.m.do("%s.metadata.%s: put it in, unless it is a secret: whoever may read the QueueScaler sees it, and the scaler needs to have it from elsewhere", field, key)
			value = fillIn
		}
		if e.Metadata == nil {
			e.Metadata = map[string]capacityv1alpha1.ExternalValue{}
		}
		e.Metadata[key] = capacityv1alpha1.ExternalValue(value)
	}
	if len(e.Metadata) > mostMetadata {
		t.m.refuse("%s.metadata has %d entries; a QueueScaler can tell an external scaler %d", t.path, len(e.Metadata), mostMetadata)
	}
	t.m.do("spec.objective.backlog: put in the target size that the scaler tells KEDA in GetMetricSpec, here taken to be 1 message for each replica; with several queues their weights come of it too")
	t.m.note("%s: the scaler is asked once a second; KEDA asks it every 15 to 30 s. Raise pollSeconds where that costs something: with StreamIsActive new work is still seen at once", t.path)
	return t.m.object.Metadata.Name, 1
}

// scalerAddress is host:port, which KEDA's may have a resolver before, and slashes around.
func (t *trigger) scalerAddress() string {
	given := t.need("scalerAddress")
	address := strings.TrimRight(given, "/")
	address = withPort(address[strings.LastIndex(address, "/")+1:], "443")
	if host, port, err := net.SplitHostPort(address); given != "" && (err != nil || host == "" || port == "") {
		t.m.refuse("%s.metadata.scalerAddress leads to no host and port", t.path)
	}
	return address
}

// externalTLS is true where KEDA speaks TLS to the scaler. Its certificates are files of KEDA's, or keys of a Secret.
func (t *trigger) externalTLS(field string) bool {
	enabled, unverified := t.isTrue("enableTLS"), t.isTrue("unsafeSsl")
	keys := []string{"caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"}
	var from string
	for _, key := range keys {
		if t.take(key) != "" {
			enabled, from = true, " (KEDA reads them from files of its own)"
		}
		if p := t.parameter(key); p != nil {
			enabled, from = true, " (KEDA reads them by authenticationRef)"
			if p.Name != "" {
				from = " (KEDA reads the keys of Secret " + p.Name + ")"
			}
		}
	}
	switch {
	case unverified && enabled:
		t.m.do("%s.tls: KEDA does not verify the scaler (unsafeSsl); QueueScaler always does. Put its CA into the key ca.crt of a Secret, and name that in secretRef", field)
	case from != "":
		t.m.do("%s.tls.secretRef: name a Secret with the CA under the key ca.crt, and the client's certificate under tls.crt and tls.key, if it has one%s", field, from)
	}
	return enabled
}
