// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// auditEvent is what the demo reads of an audit.k8s.io/v1 Event.
type auditEvent struct {
	Verb      string `json:"verb"`
	UserAgent string `json:"userAgent"`
	User      struct {
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
	Received time.Time `json:"requestReceivedTimestamp"`
	Stage    string    `json:"stage"`
}

func readAuditLog(path string) ([]auditEvent, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []auditEvent
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, nil // half a line is an event whose answer was not sent yet
		}
		if err != nil {
			return nil, err
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if e.Stage == "ResponseComplete" {
			events = append(events, e)
		}
	}
}

// about reports a successful write of the Deployment, or of one of its subresources.
func (e auditEvent) about(namespace, name string) bool {
	o := e.ObjectRef
	wrote := e.Verb == "update" || e.Verb == "patch" || e.Verb == "delete" || e.Verb == "create"
	return wrote && o.Resource == "deployments" && o.Namespace == namespace && o.Name == name && e.ResponseStatus.Code < http.StatusBadRequest
}

// rolloutWrites is what was written to the Deployment's spec during a rollout.
type rolloutWrites struct {
	start, end time.Time
	writes     []auditEvent
}

// writesDuringRollout finds the rollout that the given user agent began with a patch, and the writes of the Deployment or its scale by
// anyone else until its end. seenComplete is when the demo saw the rollout complete: the end is the Deployment controller's
// last status write before, because others may have seen that write, and acted, an instant earlier than the demo.
func writesDuringRollout(events []auditEvent, namespace, name, initiator string, seenComplete time.Time) (rolloutWrites, error) {
	var r rolloutWrites
	for _, e := range events {
		if e.about(namespace, name) && e.ObjectRef.Subresource == "" && strings.HasPrefix(e.UserAgent, initiator) {
			r.start = e.Received
		}
	}
	if r.start.IsZero() {
		return r, errors.New("the audit log does not show the start of the rollout")
	}
	for _, e := range events {
		if e.about(namespace, name) && e.ObjectRef.Subresource == "status" && e.Received.After(r.start) && e.Received.Before(seenComplete) && e.Received.After(r.end) {
			r.end = e.Received
		}
	}
	if r.end.IsZero() {
		return r, errors.New("the audit log does not show the end of the rollout")
	}
	for _, e := range events {
		if e.about(namespace, name) && e.ObjectRef.Subresource != "status" && !strings.HasPrefix(e.UserAgent, initiator) &&
			e.Received.After(r.start) && e.Received.Before(r.end) {
			r.writes = append(r.writes, e)
		}
	}
	return r, nil
}

// refused are the requests of a user that the API server forbade.
func refused(events []auditEvent, user string) []string {
	var out []string
	for _, e := range events {
		if e.User.Username == user && e.ResponseStatus.Code == http.StatusForbidden {
			out = append(out, strings.TrimSuffix(fmt.Sprintf("%s %s/%s", e.Verb, e.ObjectRef.Resource, e.ObjectRef.Subresource), "/"))
		}
	}
	return out
}
