// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a Kubernetes control plane as child processes of one supervisor and keeps its state in one directory.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ErrRunning is returned by Up when another process runs the cluster in the same data directory.
var ErrRunning = errors.New("the cluster is already running")

const lockFile = "lock"

// Dir is the data directory of one cluster: everything it needs to resume, and what it writes.
type Dir string

func (d Dir) path(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (d Dir) Kubeconfig() string { return d.path("kubeconfig") }

// AuditLog is the path of the API server's audit log, one JSON object per line.
func (d Dir) AuditLog() string { return d.path("audit.log") }

// Log is the path of the log of one component, or of the supervisor itself ("localcluster").
func (d Dir) Log(name string) string { return d.path("logs", name+".log") }

// ReadyFile exists exactly while the cluster is up and ready.
func (d Dir) ReadyFile() string { return d.path("ready") }

func (d Dir) stateFile() string { return d.path("state.json") }

// At is the data directory at a path, which need not exist.
func At(path string) (Dir, error) {
	abs, err := filepath.Abs(path)
	return Dir(abs), err
}

// Create makes what is missing of the directory.
func (d Dir) Create() error {
	for _, sub := range []string{"", "logs", "pki"} {
		if err := os.MkdirAll(d.path(sub), 0o700); err != nil {
			return fmt.Errorf("--data-dir %s cannot be used: %w", d, err)
		}
	}
	// The directory often lies in a checkout, and holds keys.
	if err := os.WriteFile(d.path(".gitignore"), []byte("*\n"), 0o600); err != nil {
		return fmt.Errorf("--data-dir %s cannot be used: %w", d, err)
	}
	return nil
}

// Renew removes what an earlier cluster with a real node has left in the directory, whose lock the caller holds. It refuses a
// cluster without one.
func (d Dir) Renew() error {
	if _, err := os.Stat(d.stateFile()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := d.loadState()
	if err != nil {
		return err
	}
	if !s.RealNode {
		return fmt.Errorf("%s holds a cluster without a real node: choose another --data-dir", d)
	}
	old, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	for _, entry := range old {
		if entry.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(d.path(entry.Name())); err != nil {
			return err
		}
	}
	return d.Create()
}

// Purge removes the directory of a stopped cluster. It refuses a directory that holds no cluster.
func (d Dir) Purge() error {
	if _, err := os.Stat(d.stateFile()); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(string(d)); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("%s holds no cluster: not removed", d)
	}
	if running, _ := d.Running(); running {
		return fmt.Errorf("the cluster in %s is running: not removed", d)
	}
	return os.RemoveAll(string(d))
}

// Lock takes the directory for this process until the file is closed. The kernel gives it back when the process ends, however it ends.
func (d Dir) Lock() (*os.File, error) {
	f, err := os.OpenFile(d.path(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			if tries < 10 {
				time.Sleep(20 * time.Millisecond) // Running holds it for an instant
				continue
			}
			err = ErrRunning
		}
		f.Close()
		return nil, err
	}
	pid := strconv.Itoa(os.Getpid())
	if err := errors.Join(f.Truncate(0), writeAt(f, pid)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// Running tells whether a supervisor holds the directory, and its process ID. The ID is that of the holder of the lock,
// so it is never a stranger's that got the number of a dead supervisor.
func (d Dir) Running() (bool, int) {
	f, err := os.OpenFile(d.path(lockFile), os.O_RDWR, 0)
	if err != nil {
		return false, 0
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return false, 0
	}
	content, err := os.ReadFile(f.Name())
	if err != nil {
		return true, 0
	}
	pid, _ := strconv.Atoi(string(content))
	return true, pid
}

// state is what a later start has to find again.
type state struct {
	Ports  ports             `json:"ports"`
	Tokens map[string]string `json:"tokens"`

	RealNode bool `json:"realNode,omitempty"` // the cluster was made for a real node
}

type ports struct {
	APIServer         int `json:"apiserver"`
	EtcdClient        int `json:"etcdClient"`
	EtcdPeer          int `json:"etcdPeer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
}

// AwaitReady waits until the cluster that runs in the directory is ready. It fails if the cluster ends first.
func (d Dir) AwaitReady() error {
	for {
		if _, err := os.Stat(d.ReadyFile()); err == nil {
			return nil
		}
		if running, _ := d.Running(); !running {
			return errors.New("the cluster ended before it was ready")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (d Dir) loadState() (state, error) {
	s := state{Tokens: map[string]string{}}
	data, err := os.ReadFile(d.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s is damaged (%w): remove the data directory to start afresh", d.stateFile(), err)
	}
	return s, nil
}

func (d Dir) saveState(s state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(d.stateFile(), string(data)+"\n")
}

// writeFile replaces a file in one step, so that a reader or a crash never meets half of it.
func writeFile(path, content string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// choosePorts fills in the ports. The API server's is kept, because kubeconfigs name it; the others are nobody's concern and
// move when they are taken. wanted is the port the user asked for, 0 for the remembered one or, at first, any.
func choosePorts(p *ports, wanted int) error {
	if wanted != 0 {
		p.APIServer = wanted
	}
	if p.APIServer != 0 && !portFree(p.APIServer) {
		return fmt.Errorf("port %d on 127.0.0.1 is taken by another program: stop it, or choose another port with --apiserver-port", p.APIServer)
	}
	chosen := map[int]bool{}
	for _, port := range []*int{&p.APIServer, &p.EtcdClient, &p.EtcdPeer, &p.ControllerManager, &p.Scheduler} {
		if *port == 0 || chosen[*port] || !portFree(*port) {
			free, err := freePort(chosen)
			if err != nil {
				return err
			}
			*port = free
		}
		chosen[*port] = true
	}
	return nil
}

// freePort looks below the range from which systems take the ports of outgoing connections, so that a remembered port is
// still free when the cluster is started again.
func freePort(not map[int]bool) (int, error) {
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		if !not[port] && portFree(port) {
			return port, nil
		}
	}
	return 0, errors.New("no free port on 127.0.0.1 between 20000 and 30000")
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", localAddress(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func localAddress(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
