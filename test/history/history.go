// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package history reads what happened in a cluster from its API server's audit log, and judges the operator's part in it by the laws
// that hold whatever fails: see Judge. The log has to have the bodies of writes, as that of `localcluster run --node` has. It may be of
// any size, and API servers that wrote it may have been killed: see Log and Gaps.
package history

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Write is a write that the API server answered, be it that it refused.
type Write struct {
	// Time is when the request came in, Answered when the answer went out.
	Time, Answered time.Time
	// User who wrote, and the Pod whose token it was; empty where it was none.
	User, Pod string
	// Verb is create, update, patch, delete or deletecollection.
	Verb string
	// Resource, with its subresource: "deployments/scale".
	Resource        string
	Namespace, Name string
	// Code is the HTTP status of the answer.
	Code int
	// Request is the body of the request, and Object what the write left, as JSON; empty where the log has none.
	Request, Object json.RawMessage

	// version is the resourceVersion that the write left, which orders all writes of a cluster.
	version uint64
}

func (w Write) String() string {
	return fmt.Sprintf("%s %s %s %s/%s by %s", w.Time.UTC().Format("15:04:05.000"), w.Verb, w.Resource, w.Namespace, w.Name, w.User)
}

// made reports whether the write was made, and not refused.
func (w Write) made() bool { return w.Code < http.StatusMultipleChoices }

// event is what is needed of an audit.k8s.io/v1 Event.
type event struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	User  struct {
		Username string              `json:"username"`
		Extra    map[string][]string `json:"extra"`
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
	Answered time.Time       `json:"stageTimestamp"`
	Request  json.RawMessage `json:"requestObject"`
	Response json.RawMessage `json:"responseObject"`
}

func (e *event) isWrite() bool {
	return (e.Stage == "ResponseComplete" || e.Stage == "Panic") && slices.Contains(writing, e.Verb)
}

func (e *event) write() Write {
	w := Write{
		Time: e.Received, Answered: e.Answered, Verb: e.Verb, Code: e.ResponseStatus.Code,
		User: e.User.Username, Pod: strings.Join(e.User.Extra["authentication.kubernetes.io/pod-name"], ""),
		Resource:  strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/"),
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		Request: e.Request, Object: e.Response,
	}
	if e.Stage == "Panic" {
		w.Code = http.StatusInternalServerError
	}
	if w.Verb == "deletecollection" {
		return w // a list's version is that of its reading
	}
	var object struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if json.Unmarshal(w.Object, &object) == nil {
		w.version, _ = strconv.ParseUint(object.Metadata.ResourceVersion, 10, 64)
	}
	return w
}

var writing = []string{"create", "update", "patch", "delete", "deletecollection"}

// Log is an API server's audit log.
type Log struct {
	// Path is that of the newest file. Those that were set aside before lie beside it.
	Path string
	// Torn is in how many lines an event was cut off, because an API server was killed, as far as Writes has come.
	Torn int
}

// Writes reads the log anew, and yields its writes in the order in which they were made. Few are in memory at a time. It ends with the
// first error.
func (l *Log) Writes() iter.Seq2[Write, error] {
	return func(yield func(Write, error) bool) {
		l.Torn = 0
		suffix := filepath.Ext(l.Path)
		paths, err := filepath.Glob(strings.TrimSuffix(l.Path, suffix) + "-*" + suffix) // their names end in the time
		if err != nil {
			yield(Write{}, err)
			return
		}
		var queue inOrder
		for _, path := range append(paths, l.Path) {
			if goOn, err := l.readFile(path, &queue, yield); !goOn || err != nil {
				if err != nil {
					yield(Write{}, fmt.Errorf("%s: %w", path, err))
				}
				return
			}
		}
		queue.drain(0, yield)
	}
}

func (l *Log) readFile(path string, queue *inOrder, yield func(Write, error) bool) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return l.read(f, path == l.Path, queue, yield)
}

// read reads one file. newest is the one that an API server may still be writing.
func (l *Log) read(from io.Reader, newest bool, queue *inOrder, yield func(Write, error) bool) (bool, error) {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 && !newest {
				l.Torn++
			}
			return true, nil // half a line is a request that was not answered
		}
		if err != nil {
			return false, err
		}
		events, torn, err := parse(line)
		if err != nil {
			return false, err
		}
		if torn {
			l.Torn++
		}
		for i := range events {
			if events[i].isWrite() {
				queue.add(events[i].write())
			}
		}
		if !queue.drain(lookAhead, yield) {
			return false, nil
		}
	}
}

var eventStart = []byte(`{"kind":"Event"`)

// parse reads the events of a line. It is one, unless an API server was killed in the middle of a line: the next one goes on behind.
func parse(line []byte) (events []event, torn bool, err error) {
	var whole event
	if json.Unmarshal(line, &whole) == nil {
		return []event{whole}, false, nil
	}
	for at := 0; len(bytes.TrimSpace(line[at:])) > 0; {
		var e event
		decoder := json.NewDecoder(bytes.NewReader(line[at:]))
		err := decoder.Decode(&e)
		if err == nil && e.Stage != "" {
			events = append(events, e)
			at += int(decoder.InputOffset())
			continue
		}
		next := bytes.Index(line[at+1:], eventStart)
		cut := line[at : at+1+max(next, 0)]
		if next < 0 || !bytes.HasPrefix(cut, eventStart) && !bytes.HasPrefix(eventStart, cut) {
			return nil, false, fmt.Errorf("%w: %.200s", cmp.Or(err, errors.New("no event")), line)
		}
		torn = true
		at += 1 + next
	}
	return events, torn, nil
}

// lookAhead is how many lines of writes may be between a write and one that was made before it: each request writes its line when it
// is answered.
const lookAhead = 500

// inOrder puts writes into the order in which they were made.
type inOrder struct {
	writes []Write
	newest uint64 // version
}

func (q *inOrder) add(w Write) {
	if w.version == 0 { // it stays where it is
		w.version = q.newest
	}
	q.newest = max(q.newest, w.version)
	at := len(q.writes)
	for at > 0 && q.writes[at-1].version > w.version {
		at--
	}
	q.writes = slices.Insert(q.writes, at, w)
}

// drain yields all but the newest writes; false if no more are wanted.
func (q *inOrder) drain(keep int, yield func(Write, error) bool) bool {
	for len(q.writes) > keep {
		w := q.writes[0]
		q.writes[0] = Write{} // let go of the bodies
		q.writes = q.writes[1:]
		if !yield(w, nil) {
			return false
		}
	}
	return true
}
