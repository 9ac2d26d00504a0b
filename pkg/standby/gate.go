// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// recheckInterval bounds how long a change stays unseen if its notification is lost.
	recheckInterval = 10 * time.Second
	// pollInterval is used instead of notifications where there are none (the node's inotify instances, 128 per user by
	// default, are used up), and while the file can't be understood.
	pollInterval = 250 * time.Millisecond
)

// Gate reads one role file. The zero value reads [DefaultPath]; a program needs a Gate of its own only for another path.
// Its methods may be called concurrently. A Gate must not be copied after first use.
type Gate struct {
	// Path of the role file; empty means [DefaultPath]. Set it before first use.
	Path string

	drained atomic.Bool

	mu   sync.Mutex
	seen bool // there has been a file
	last Role // the last role understood; empty if none ever was
}

// Role reads the file and returns the role. When the file does not say, see the package comment.
func (g *Gate) Role() Role {
	role, _ := g.read()
	if role == "" {
		return Standby
	}
	return role
}

// Wait returns nil as soon as the role is active. It returns an error, which wraps ctx.Err(), only when ctx ends first.
// A draining pod never becomes active again, so a container that restarts in one waits here until it is ended.
func (g *Gate) Wait(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	roles := g.Watch(watching)
	defer func() {
		stop()
		for range roles { // until the watcher has let go of its file descriptors
		}
	}()
	for role := range roles {
		if role == Active {
			return nil
		}
	}
	return fmt.Errorf("waiting to become active, role is %s: %w", g.Role(), ctx.Err())
}

// Watch sends the role at once and then each change of it, and closes the channel when ctx ends. A receiver that is slow
// gets the newest role, not every one in between. It costs two goroutines and one inotify instance until ctx ends.
func (g *Gate) Watch(ctx context.Context) <-chan Role {
	return g.watch(ctx, fsnotify.NewWatcher)
}

// Drained reports that the last message at hand is finished: from now on the readiness handler answers 503, so the pod is
// ended at once and not only after standby.drainSeconds. There is no way back in this process.
func (g *Gate) Drained() { g.drained.Store(true) }

// Handler answers a readiness probe: 200 and the role in the body, in all three roles; 503 after [Gate.Drained], and as
// long as a file is there from which no role could be read yet, with the reason in the body.
func (g *Gate) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		role, err := g.read()
		switch {
		case g.drained.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "drained")
			return
		case role == "":
			w.WriteHeader(http.StatusServiceUnavailable)
			role = Standby
		}
		fmt.Fprintln(w, role)
		if err != nil {
			fmt.Fprintln(w, err)
		}
	})
}

// watch starts without notifications if newWatcher fails: the file is then polled.
func (g *Gate) watch(ctx context.Context, newWatcher func() (*fsnotify.Watcher, error)) <-chan Role {
	out := make(chan Role)
	go func() {
		defer close(out)
		var events <-chan fsnotify.Event
		var lost <-chan error
		watcher, err := newWatcher()
		if err == nil {
			defer func() { _ = watcher.Close() }()
			events, lost = watcher.Events, watcher.Errors
		} else {
			watcher = nil
		}
		var sent Role
		for ctx.Err() == nil {
			// Before reading, so that no change falls in between.
			wait := g.notify(watcher)
			role, err := g.read()
			if err != nil {
				wait = pollInterval
			}
			if role == "" {
				role = Standby
			}
			send := out
			if role == sent {
				send = nil
			}
			select {
			case send <- role:
				sent = role
			case <-events:
			case <-lost: // an overflow: read again
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// notify has watcher watch the file's directory, and returns after what time to read without a notification. The directory
// and not the file, because the kubelet makes new files and renames a symbolic link to them. It is repeated before each
// reading, which costs a system call and finds a directory that is new or replaced.
func (g *Gate) notify(watcher *fsnotify.Watcher) time.Duration {
	dir := filepath.Dir(g.path())
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return recheckInterval // a pod of the Deployment: no volume can be mounted later
	}
	if watcher == nil || watcher.Add(dir) != nil {
		return pollInterval
	}
	return recheckInterval
}

func (g *Gate) path() string {
	if g.Path == "" {
		return DefaultPath
	}
	return g.Path
}

// read returns the role, empty if none was ever understood, and the reason if the file did not tell it now.
func (g *Gate) read() (Role, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	role, err := readRole(g.path())
	switch {
	case err == nil:
		g.seen, g.last = true, role
	case !absent(g.path(), err):
		g.seen = true
	case !g.seen:
		g.last, err = Active, nil
	}
	return g.last, err
}

// absent tells that there is no file from a file that is being replaced: the kubelet removes the old content right after
// it has renamed the link to the new one, and a reader that followed the old link finds nothing behind it. The link
// itself is there throughout.
func absent(path string, err error) bool {
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err = os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// readRole returns the role in the file, or an error that names the file.
func readRole(path string) (Role, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("role file: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, 64)) // a bound on what is read and shown; a role is shorter
	if err != nil {
		return "", fmt.Errorf("role file: %w", err)
	}
	switch role := Role(strings.TrimSpace(string(text))); role {
	case Standby, Active, Draining:
		return role, nil
	case "":
		return "", fmt.Errorf("role file %s is empty: want standby, active or draining", path)
	default:
		return "", fmt.Errorf("role file %s holds %q: want standby, active or draining", path, role)
	}
}
