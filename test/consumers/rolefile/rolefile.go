// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rolefile writes a role file for tests the way the kubelet writes a downward-API volume.
package rolefile

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write makes dir/role hold text. As in k8s.io/kubernetes/pkg/volume/util/atomic_writer.go: a new directory with the
// content, ..data renamed over to point to it, role a link through ..data, and then the old directory removed.
func Write(dir, text string) error {
	data := filepath.Join(dir, "..data")
	old, err := os.Readlink(data)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("finding the present content of %s: %w", dir, err)
	}
	next, err := os.MkdirTemp(dir, "..2026_")
	if err != nil {
		return fmt.Errorf("writing role %q: %w", text, err)
	}
	if err := os.WriteFile(filepath.Join(next, "role"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing role %q: %w", text, err)
	}
	if err := os.Symlink(filepath.Base(next), data+"_tmp"); err != nil {
		return fmt.Errorf("writing role %q: %w", text, err)
	}
	if err := os.Rename(data+"_tmp", data); err != nil {
		return fmt.Errorf("writing role %q: %w", text, err)
	}
	if old == "" {
		if err := os.Symlink(filepath.Join("..data", "role"), filepath.Join(dir, "role")); err != nil {
			return fmt.Errorf("writing role %q: %w", text, err)
		}
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}
