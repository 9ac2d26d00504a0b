// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package recording reads what really happened to a Deployment, replays it to rollout.Assess, and
// scores the answers. Tests and hack/rolloutcheck share it; the operator does not import it.
//
// A recording is a file of JSON lines: a Header, then every watch event of one Deployment and its
// ReplicaSets, in the order seen. What its pods did may lie beside it, under the same name with
// the ending .pods. Either may be gzipped.
package recording

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxLine bounds one line of a recording: an object is at most 1.5 MiB in etcd.
const maxLine = 4 << 20

// Recording is what happened to one Deployment.
type Recording struct {
	Header Header
	Events []Event
	// Ready are the times at which a pod of the Deployment became ready, ascending.
	Ready []float64
}

// Header tells what was done and what was so.
type Header struct {
	Scenario    string    `json:"scenario"`
	Description string    `json:"description"`
	Truth       []Segment `json:"truth"`
}

// Segment of time, in Unix seconds, for which one state is right.
type Segment struct {
	From  float64 `json:"from_t"`
	To    float64 `json:"to_t"`
	State string  `json:"state"`
	// Also is a state that is as right; empty when there is none.
	Also string `json:"also"`
}

// Event is one watch event. Exactly one of Deployment and ReplicaSet is set.
type Event struct {
	// T is when it was seen, in Unix seconds.
	T       float64
	Deleted bool
	// The object as of this event; for a deletion the last that was seen.
	Deployment *appsv1.Deployment
	ReplicaSet *appsv1.ReplicaSet
}

// Read reads the recording at path, a .jsonl or .jsonl.gz file, and the .pods beside it, if any.
func Read(path string) (*Recording, error) {
	rec := &Recording{}
	lines := 0
	err := eachLine(path, func(line []byte) error {
		lines++
		if lines == 1 {
			return rec.readHeader(line)
		}
		return rec.readEvent(line)
	})
	if err != nil {
		return nil, err
	}
	if len(rec.Events) == 0 {
		return nil, fmt.Errorf("%s: no events: a recording is a header line and at least one event", path)
	}
	return rec, rec.readPods(path)
}

func (rec *Recording) readHeader(line []byte) error {
	if err := json.Unmarshal(line, &rec.Header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if len(rec.Header.Truth) == 0 {
		return errors.New(`header: "truth" is missing: nothing to score against`)
	}
	for i, s := range rec.Header.Truth {
		if _, known := stateOf[s.State]; !known {
			return fmt.Errorf("header: truth[%d]: unknown state %q", i, s.State)
		}
		if _, known := stateOf[s.Also]; !known && s.Also != "" {
			return fmt.Errorf("header: truth[%d]: also: unknown state %q", i, s.Also)
		}
	}
	return nil
}

func (rec *Recording) readEvent(line []byte) error {
	var raw struct {
		T      float64         `json:"t"`
		Op     string          `json:"op"`
		Kind   string          `json:"kind"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return err
	}
	e := Event{T: raw.T}
	switch raw.Op {
	case "ADDED", "MODIFIED":
	case "DELETED":
		e.Deleted = true
	default:
		return fmt.Errorf("op: %q is none of ADDED, MODIFIED, DELETED", raw.Op)
	}
	switch raw.Kind {
	case "Deployment":
		e.Deployment = &appsv1.Deployment{}
		if err := json.Unmarshal(raw.Object, e.Deployment); err != nil {
			return fmt.Errorf("object: %w", err)
		}
	case "ReplicaSet":
		e.ReplicaSet = &appsv1.ReplicaSet{}
		if err := json.Unmarshal(raw.Object, e.ReplicaSet); err != nil {
			return fmt.Errorf("object: %w", err)
		}
	default:
		return fmt.Errorf("kind: %q is neither Deployment nor ReplicaSet", raw.Kind)
	}
	rec.Events = append(rec.Events, e)
	return nil
}

// readPods finds when pods became ready. Pods of standby slots are not the Deployment's. Without a
// .pods file, the status of the ReplicaSets tells.
func (rec *Recording) readPods(path string) error {
	base := strings.TrimSuffix(strings.TrimSuffix(path, ".gz"), ".jsonl")
	ready := map[string]bool{}
	read := func(line []byte) error {
		var p struct {
			T          float64
			Name, Slot string
			Gone       bool
			Ready      bool
			ReadySince float64
		}
		if err := json.Unmarshal(line, &p); err != nil {
			return err
		}
		isReady := p.Ready && !p.Gone
		if isReady && !ready[p.Name] && p.Slot == "" {
			rec.Ready = append(rec.Ready, p.T)
		}
		ready[p.Name] = isReady
		return nil
	}
	for _, name := range []string{base + ".pods", base + ".pods.gz"} {
		err := eachLine(name, read)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		sort.Float64s(rec.Ready)
		return err
	}
	rec.readyFromStatus()
	return nil
}

func (rec *Recording) readyFromStatus() {
	ready := map[types.UID]int32{}
	for _, e := range rec.Events {
		if e.ReplicaSet == nil {
			continue
		}
		if e.ReplicaSet.Status.ReadyReplicas > ready[e.ReplicaSet.UID] {
			rec.Ready = append(rec.Ready, e.T)
		}
		ready[e.ReplicaSet.UID] = e.ReplicaSet.Status.ReadyReplicas
	}
}

// eachLine calls f with every line of a file that is not empty. Errors name the file and the line.
func eachLine(path string, f func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var r io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	n := 0
	for scanner.Scan() {
		n++
		if len(scanner.Bytes()) == 0 {
			continue
		}
		if err := f(scanner.Bytes()); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	return nil
}
