// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"

	"github.com/queuescaler/queuescaler/test/consumers/rolefile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen. It is shorter than recheckInterval, so that a watch which
// gets no notification fails.
const patience = recheckInterval - 2*time.Second

func write(t *testing.T, dir, text string) {
	t.Helper()
	if err := rolefile.Write(dir, text); err != nil {
		t.Fatal(err)
	}
}

func gateIn(dir string) *Gate { return &Gate{Path: filepath.Join(dir, "role")} }

// want receives the next role; a channel that is closed instead fails.
func want(t *testing.T, roles <-chan Role, role Role) {
	t.Helper()
	select {
	case got, open := <-roles:
		if !open || got != role {
			t.Fatalf("got role %q (channel open: %v), want %q", got, open, role)
		}
	case <-time.After(patience):
		t.Fatalf("no role, want %q", role)
	}
}

func wantClosed(t *testing.T, roles <-chan Role) {
	t.Helper()
	select {
	case got, open := <-roles:
		if open {
			t.Fatalf("got role %q after the end", got)
		}
	case <-time.After(patience):
		t.Fatal("channel not closed after the end")
	}
}

// probe returns the answer to a readiness probe.
func probe(gate *Gate) (int, string) {
	answer := httptest.NewRecorder()
	gate.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/ready", nil))
	return answer.Code, answer.Body.String()
}

func TestRoleAtStart(t *testing.T) {
	tests := []struct {
		name   string
		set    func(t *testing.T, dir string)
		role   Role
		code   int
		answer string // part of the readiness answer
	}{
		{"no directory", func(t *testing.T, dir string) { must(t, os.Remove(dir)) }, Active, 200, "active"},
		{"no file", func(*testing.T, string) {}, Active, 200, "active"},
		{"standby", text("standby"), Standby, 200, "standby"},
		{"active", text("active"), Active, 200, "active"},
		{"draining", text("draining"), Draining, 200, "draining"},
		{"line end", text(" active\n"), Active, 200, "active"},
		{"empty", text(""), Standby, 503, "is empty: want standby, active or draining"},
		{"unknown", text("Active"), Standby, 503, `holds "Active": want standby, active or draining`},
		{"long", text(strings.Repeat("x", 1<<20)), Standby, 503, "holds"},
		{"binary", text("\x00\xff"), Standby, 503, `holds "\x00\xff"`},
		{"a directory", func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "role"), 0o755)) }, Standby, 503, "role file"},
		{"link to nothing", func(t *testing.T, dir string) { must(t, os.Symlink("..data/role", filepath.Join(dir, "role"))) }, Standby, 503, "role file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "queuescaler")
			must(t, os.Mkdir(dir, 0o755))
			test.set(t, dir)
			gate := gateIn(dir)
			if got := gate.Role(); got != test.role {
				t.Errorf("role %q, want %q", got, test.role)
			}
			code, answer := probe(gate)
			if code != test.code || !strings.Contains(answer, test.answer) || !strings.HasPrefix(answer, string(test.role)+"\n") {
				t.Errorf("readiness %d %q, want %d with %q", code, answer, test.code, test.answer)
			}
			if len(answer) > 1024 {
				t.Errorf("readiness answer of %d bytes", len(answer))
			}
		})
	}
}

func text(text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { write(t, dir, text) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What can't be understood changes nothing, whatever the role was.
func TestUnreadableKeepsRole(t *testing.T) {
	faults := map[string]func(t *testing.T, dir string){
		"empty":   text(""),
		"unknown": text("drained"),
		"gone": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "role")))
			must(t, os.Remove(filepath.Join(dir, "..data")))
		},
	}
	for _, role := range []Role{Standby, Active, Draining} {
		for name, fault := range faults {
			t.Run(string(role)+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				gate := gateIn(dir)
				write(t, dir, string(role))
				if got := gate.Role(); got != role {
					t.Fatalf("role %q, want %q", got, role)
				}
				fault(t, dir)
				if got := gate.Role(); got != role {
					t.Errorf("role %q, want it to stay %q", got, role)
				}
				code, answer := probe(gate)
				if code != http.StatusOK || !strings.HasPrefix(answer, string(role)+"\nrole file") {
					t.Errorf("readiness %d %q, want 200, the role, and what is wrong", code, answer)
				}
			})
		}
	}
}

func TestWatchFollowsKubelet(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "standby")
	ctx, stop := context.WithCancel(t.Context())
	roles := gateIn(dir).Watch(ctx)
	for _, role := range []Role{Standby, Active, Draining, Standby, Draining, Active} {
		write(t, dir, string(role))
		want(t, roles, role)
	}
	stop()
	wantClosed(t, roles)
}

// Roles that come and go while nobody receives are not replayed, and writing the same again is no change.
func TestWatchSendsNewest(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "standby")
	ctx, stop := context.WithCancel(t.Context())
	gate := gateIn(dir)
	roles := gate.Watch(ctx)
	want(t, roles, Standby)
	for _, text := range []string{"active", "standby", "standby", "", "nonsense", "draining"} {
		write(t, dir, text)
	}
	// The first may be one that was ready to be sent; the last is the newest, and it is sent once.
	for got := range roles {
		if got == Draining {
			break
		}
	}
	write(t, dir, "draining")
	write(t, dir, "active")
	want(t, roles, Active)
	stop()
	wantClosed(t, roles)
}

func TestWatchFindsLateFile(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	roles := gateIn(dir).Watch(ctx)
	want(t, roles, Active)
	write(t, dir, "standby")
	want(t, roles, Standby)
	stop()
	wantClosed(t, roles)
}

// A plain file that is written in place, as in a developer's shell.
func TestWatchFollowsPlainFile(t *testing.T) {
	dir := t.TempDir()
	gate := gateIn(dir)
	must(t, os.WriteFile(gate.Path, []byte("standby\n"), 0o644))
	ctx, stop := context.WithCancel(t.Context())
	roles := gate.Watch(ctx)
	want(t, roles, Standby)
	must(t, os.WriteFile(gate.Path, []byte("active\n"), 0o644))
	want(t, roles, Active)
	must(t, os.Remove(gate.Path))
	must(t, os.WriteFile(gate.Path, []byte("draining\n"), 0o644))
	want(t, roles, Draining)
	stop()
	wantClosed(t, roles)
}

func TestWatchPollsWithoutNotifications(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "standby")
	ctx, stop := context.WithCancel(t.Context())
	roles := gateIn(dir).watch(ctx, func() (*fsnotify.Watcher, error) {
		return nil, errors.New("too many open files")
	})
	for _, role := range []Role{Standby, Active, Draining} {
		write(t, dir, string(role))
		want(t, roles, role)
	}
	stop()
	wantClosed(t, roles)
}

// A reader that starts in the middle of the kubelet's swap must not take a file it can't open for no file.
func TestSwapIsNeverActive(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "standby")
	done := make(chan error, 1)
	go func() {
		for range 1000 {
			if err := rolefile.Write(dir, "standby"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			must(t, err)
			if reads == 0 {
				t.Fatal("nothing was read")
			}
			return
		default:
		}
		if got := gateIn(dir).Role(); got != Standby {
			t.Fatalf("role %q in read %d, want standby", got, reads)
		}
	}
}

func TestWait(t *testing.T) {
	t.Run("no file", func(t *testing.T) {
		must(t, gateIn(t.TempDir()).Wait(t.Context()))
	})
	t.Run("until active", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "standby")
		gate := gateIn(dir)
		waited := make(chan error, 1)
		go func() { waited <- gate.Wait(t.Context()) }()
		for _, role := range []string{"draining", "", "unknown", "standby"} {
			write(t, dir, role)
			select {
			case err := <-waited:
				t.Fatalf("returned %v at role %q", err, role)
			case <-time.After(50 * time.Millisecond): // long enough for a notification to be acted upon
			}
		}
		write(t, dir, "active")
		select {
		case err := <-waited:
			must(t, err)
		case <-time.After(patience):
			t.Fatal("still waiting although active")
		}
	})
	t.Run("context ends", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "standby")
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		err := gateIn(dir).Wait(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "role is standby") {
			t.Fatalf("got %v, want the deadline and the role", err)
		}
	})
	t.Run("context has ended", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := gateIn(t.TempDir()).Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want context.Canceled", err)
		}
	})
}

// A second watch and a wait on the same gate disturb nobody.
func TestSeveralReaders(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "standby")
	gate := gateIn(dir)
	ctx, stop := context.WithCancel(t.Context())
	first, second := gate.Watch(ctx), gate.Watch(ctx)
	want(t, first, Standby)
	want(t, second, Standby)
	write(t, dir, "active")
	must(t, gate.Wait(ctx))
	want(t, first, Active)
	want(t, second, Active)
	stop()
	wantClosed(t, first)
	wantClosed(t, second)
}

func TestDrainedEndsReadiness(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "draining")
	gate := gateIn(dir)
	if code, answer := probe(gate); code != http.StatusOK || answer != "draining\n" {
		t.Fatalf("readiness %d %q while draining, want 200 draining", code, answer)
	}
	gate.Drained()
	if code, answer := probe(gate); code != http.StatusServiceUnavailable || answer != "drained\n" {
		t.Fatalf("readiness %d %q when drained, want 503 drained", code, answer)
	}
}

// The functions of the package work on the path a standby pod has, which this machine has not.
func TestPackageGate(t *testing.T) {
	if _, err := os.Stat(DefaultPath); err == nil {
		t.Fatalf("%s exists on this machine: this test needs a machine that is no standby pod", DefaultPath)
	}
	t.Cleanup(func() { process = Gate{} })
	must(t, Wait(t.Context()))
	ctx, stop := context.WithCancel(t.Context())
	roles := Watch(ctx)
	want(t, roles, Active)
	stop()
	wantClosed(t, roles)
	answer := httptest.NewRecorder()
	Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/ready", nil))
	if answer.Code != http.StatusOK || answer.Body.String() != "active\n" {
		t.Errorf("readiness %d %q, want 200 active", answer.Code, answer.Body)
	}
	Drained()
	if code, _ := probe(&process); code != http.StatusServiceUnavailable {
		t.Errorf("readiness %d after Drained, want 503", code)
	}
}
