// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

type archiveFile struct {
	name    string
	mode    int64
	content []byte
}

// WriteImage makes an image of one static program, run by a user that is not root, as an archive in the format of docker save.
func WriteImage(path, name, program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := archive(archiveFile{filepath.Base(program), 0o755, content})
	if err != nil {
		return err
	}
	config := fmt.Sprintf(`{"architecture": %q, "os": "linux", "config": {"Entrypoint": [%q], "User": "65535:65535"},`+
		` "rootfs": {"type": "layers", "diff_ids": ["sha256:%x"]}}`, runtime.GOARCH, "/"+filepath.Base(program), sha256.Sum256(layer))
	manifest := fmt.Sprintf(`[{"Config": "config.json", "RepoTags": [%q], "Layers": ["layer.tar"]}]`, name)
	image, err := archive(
		archiveFile{"manifest.json", 0o644, []byte(manifest)},
		archiveFile{"config.json", 0o644, []byte(config)},
		archiveFile{"layer.tar", 0o644, layer},
	)
	if err != nil {
		return err
	}
	return os.WriteFile(path, image, 0o600)
}

func archive(files ...archiveFile) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
