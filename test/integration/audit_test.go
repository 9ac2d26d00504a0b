//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/queuescaler/queuescaler/test/operator"
)

// auditEvent is what is needed of an audit.k8s.io/v1 Event.
type auditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp string            `json:"requestReceivedTimestamp"`
	Annotations              map[string]string `json:"annotations"`
}

func (e auditEvent) String() string {
	o := e.ObjectRef
	return fmt.Sprintf("%s %s %s/%s %s/%s: %d %s %s", e.RequestReceivedTimestamp, e.Verb, o.Resource, o.Subresource, o.Namespace, o.Name, e.ResponseStatus.Code, e.ResponseStatus.Reason, e.Annotations["authorization.k8s.io/reason"])
}

// forbidden: the role does not permit it. (An object in a namespace that is being deleted is answered with 403 too, whatever
// the role.)
func (e auditEvent) forbidden() bool {
	return e.Annotations["authorization.k8s.io/decision"] == "forbid" || e.ResponseStatus.Code == 401
}

// right is what a role has to permit for the request.
func (e auditEvent) right() string {
	return e.Verb + " " + e.ObjectRef.Resource + "/" + e.ObjectRef.Subresource
}

// ours: the operator asked.
func (e auditEvent) ours() bool { return e.User.Username == operator.User }

func (e auditEvent) write() bool {
	switch e.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	}
	return false
}

// scales: it wrote a Deployment's replicas.
func (e auditEvent) scales() bool {
	return e.write() && e.ObjectRef.Resource == "deployments" && e.ObjectRef.Subresource == "scale" && e.ResponseStatus.Code < 300
}

// auditLog reads the API server's audit log, to which a line is written before the response is sent. So what a test has
// seen the effect of is in it.
type auditLog struct {
	path string
	mu   sync.Mutex
}

// mark is the present end of the log.
func (l *auditLog) mark(t testing.TB) int64 {
	t.Helper()
	info, err := os.Stat(l.path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// since reads all events that were written after mark.
func (l *auditLog) since(mark int64) ([]auditEvent, error) {
	tail := auditTail{log: l, offset: mark}
	return tail.next()
}

// auditTail reads the log on as it grows.
type auditTail struct {
	log    *auditLog
	offset int64
}

// tail reads on from the present end of the log, or from the line that is being written now.
func (l *auditLog) tail(t testing.TB) *auditTail {
	t.Helper()
	tail := &auditTail{log: l}
	if _, err := tail.next(); err != nil {
		t.Fatal(err)
	}
	return tail
}

// next are the events since the last call. A line without its end is still being written, and is left for the next.
func (t *auditTail) next() ([]auditEvent, error) {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	f, err := os.Open(t.log.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < t.offset {
		return nil, errors.New("the audit log was begun anew")
	}
	if _, err := f.Seek(t.offset, io.SeekStart); err != nil {
		return nil, err
	}
	var events []auditEvent
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		t.offset += int64(len(line))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("audit log: %w: %s", err, line)
		}
		events = append(events, e)
	}
}

// operatorWrites are the operator's writes in a namespace since mark that match.
func operatorWrites(t testing.TB, namespace string, mark int64, match func(auditEvent) bool) []string {
	t.Helper()
	events, err := shared.audit.since(mark)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range events {
		if e.ours() && e.ObjectRef.Namespace == namespace && e.write() && match(e) {
			out = append(out, e.String())
		}
	}
	return out
}

// noScaleWrites fails the test if the operator wrote replicas in the namespace since mark.
func noScaleWrites(t testing.TB, namespace string, mark int64) {
	t.Helper()
	if writes := operatorWrites(t, namespace, mark, auditEvent.scales); len(writes) > 0 {
		t.Errorf("the target's replicas were written, and should not have been:\n%s", strings.Join(writes, "\n"))
	}
}
