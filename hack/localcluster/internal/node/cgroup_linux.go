// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupTimeout bounds how long ended processes may take to leave their cgroups.
const cgroupTimeout = 20 * time.Second

// hierarchies are the roots of the cgroup hierarchies: one with cgroup v2; one for each controller with v1, that of pids first.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}, nil
	}
	mounts, err := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	if len(mounts) == 0 {
		return nil, fmt.Errorf("no cgroups are mounted at %s", cgroupRoot)
	}
	pids := filepath.Join(cgroupRoot, "pids")
	roots := []string{pids}
	for _, m := range mounts {
		if root := filepath.Dir(m); root != pids {
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// joinCgroup makes the cgroup in every hierarchy, for the kubelet to put pods below, and puts this process and thereby all that it
// starts into a child of it. On v1 that is done for the pids controller only, which limits nothing: it marks the processes.
func joinCgroup(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	// The mark comes first: what has a process is not swept by others.
	own := filepath.Join(roots[0], name, "node")
	for tries := 0; ; tries++ {
		err := errors.Join(os.MkdirAll(own, 0o755), os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0))
		if err == nil {
			break
		}
		if tries == 10 {
			return fmt.Errorf("join a cgroup: %w", err)
		}
	}
	for _, root := range roots[1:] {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the cgroups of this name, which an earlier run has left, and those of other clusters that are gone.
func sweep(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	if err := removeCgroups(name); err != nil {
		return err
	}
	running := map[string]bool{}
	var all []string
	for _, root := range roots {
		found, err := filepath.Glob(filepath.Join(root, cluster.CgroupPrefix+"*"))
		if err != nil {
			return err
		}
		for _, dir := range found {
			all = append(all, filepath.Base(dir))
			running[filepath.Base(dir)] = running[filepath.Base(dir)] || hasProcesses(dir)
		}
	}
	for _, other := range all {
		if !running[other] {
			// Another start may sweep at the same time, or may be about to use it.
			_ = removeTree(other, roots)
		}
	}
	return nil
}

func hasProcesses(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "cgroup.procs" {
			content, _ := os.ReadFile(path)
			found = found || strings.TrimSpace(string(content)) != ""
		}
		return nil
	})
	return found
}

// removeCgroups removes the cgroups of this name as soon as nothing runs in them any more.
func removeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(cgroupTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := removeTree(name, roots)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// removeTree removes a cgroup with its children from all hierarchies. It fails while there are processes.
func removeTree(name string, roots []string) error {
	var failed []error
	for _, root := range roots {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(root, name), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		failed = append(failed, err)
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := syscall.Rmdir(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = append(failed, fmt.Errorf("remove the cgroup %s: %w", dirs[i], err))
			}
		}
	}
	return errors.Join(failed...)
}
