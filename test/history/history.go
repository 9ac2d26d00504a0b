// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package history reads what happened in a cluster from its API server's audit log, and judges the operator's part in it by the laws
// that hold whatever fails: see Judge. The log has to have the bodies of writes, as that of `localcluster run --node` has.
package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Write is one successful write, in the order in which the API server answered.
type Write struct {
	// Time is when the request came in.
	Time time.Time
	// User who wrote.
	User string
	// Verb is create, update, patch, delete or deletecollection.
	Verb string
	// Resource, with its subresource: "deployments/scale".
	Resource        string
	Namespace, Name string
	// Request is the body of the request, and Object what the write left, as JSON; empty where the log has none.
	Request, Object json.RawMessage
}

func (w Write) String() string {
	return fmt.Sprintf("%s %s %s %s/%s by %s", w.Time.UTC().Format("15:04:05.000"), w.Verb, w.Resource, w.Namespace, w.Name, w.User)
}

// event is what is needed of an audit.k8s.io/v1 Event.
type event struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Received time.Time       `json:"requestReceivedTimestamp"`
	Request  json.RawMessage `json:"requestObject"`
	Response json.RawMessage `json:"responseObject"`
}

// Interval is a span of time.
type Interval struct{ From, To time.Time }

func (i Interval) contains(t time.Time) bool { return !t.Before(i.From) && t.Before(i.To) }

var writing = []string{"create", "update", "patch", "delete", "deletecollection"}

// Read reads the audit logs in the order given: those that were set aside first.
func Read(paths ...string) ([]Write, error) {
	var out []Write
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		out, err = read(f, out)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return out, nil
}

func read(from io.Reader, into []Write) ([]Write, error) {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return into, nil // half a line is a request that was not answered
		}
		if err != nil {
			return nil, err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, line)
		}
		if e.Stage != "ResponseComplete" || e.ResponseStatus.Code >= http.StatusMultipleChoices || !slices.Contains(writing, e.Verb) {
			continue
		}
		into = append(into, Write{
			Time: e.Received, User: e.User.Username, Verb: e.Verb,
			Resource:  strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/"),
			Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
			Request: e.Request, Object: e.Response,
		})
	}
}

// Lent tells, of each slot's pod of a namespace, by its UID, when it was lent: from the write that lent it to the one that told it to
// drain or deleted it. To is far in the future where it still is. A slot that was never lent has no interval.
func Lent(writes []Write, namespace string) map[string][]Interval {
	out := map[string][]Interval{}
	role := map[string]string{}
	for _, w := range writes {
		resource, _, _ := strings.Cut(w.Resource, "/")
		if resource != "pods" || w.Namespace != namespace {
			continue
		}
		var pod corev1.Pod
		if json.Unmarshal(w.Object, &pod) != nil || pod.Labels[v1alpha1.LabelSlot] == "" {
			continue // what an eviction or a binding is answered with is no pod
		}
		uid, was, is := string(pod.UID), role[string(pod.UID)], pod.Labels[v1alpha1.LabelRole]
		if pod.DeletionTimestamp != nil {
			is = "deleted"
		}
		role[uid] = is
		spans := out[uid]
		switch {
		case was != v1alpha1.RoleActive && is == v1alpha1.RoleActive:
			out[uid] = append(spans, Interval{From: w.Time, To: w.Time.AddDate(100, 0, 0)})
		case spans == nil:
			out[uid] = []Interval{}
		case was == v1alpha1.RoleActive && is != v1alpha1.RoleActive:
			spans[len(spans)-1].To = w.Time
		}
	}
	return out
}
