// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package image makes the images of the end-to-end tests without a container engine and without a registry: the operator's by the recipe of
// the project's Dockerfile, and that of the workloads. They are written as archives that `ctr images import` reads. The same sources make
// the same image, to the bit.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	// ShippedName is the operator's image as config/manager has it, OperatorName the one that is tested: one that is tagged latest a node
	// would ask a registry for.
	ShippedName  = "queuescaler/queuescaler:latest"
	OperatorName = "queuescaler/queuescaler:e2e"
	// SetClockName is the operator's image whose clock can be set.
	SetClockName = "queuescaler/queuescaler:setclock"
	// WorkloadName is the image of the workloads; its entrypoint is the program, its arguments are the container's args.
	WorkloadName = "queuescaler-e2e/workload:latest"
)

// workload is one static program, a user that is not root, and nothing else: no shell.
var workload = Recipe{
	Builds:     []Build{{Env: []string{"CGO_ENABLED=0"}, Args: []string{"build", "-trimpath", "-ldflags", "-s -w", "./workload"}, Output: "/workload"}},
	Copies:     []Copy{{"/workload", "/workload"}},
	User:       "65532:65532",
	Entrypoint: []string{"/workload"},
}

// Operator builds the operator's image as the Dockerfile in root says, where the project is. The programs are left in dir.
func Operator(root, dir string) (v1.Image, error) {
	recipe, err := ReadDockerfile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	return recipe.image(root, dir)
}

// OperatorWithSetClock is the operator's image with one change to the program: its clock can be set, by the signals of package setclock.
func OperatorWithSetClock(root, dir string) (v1.Image, error) {
	recipe, err := ReadDockerfile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	overlay, err := setClockOverlay(root, dir)
	if err != nil {
		return nil, err
	}
	for i, b := range recipe.Builds {
		recipe.Builds[i].Args = slices.Insert(b.Args, 1, "-overlay="+overlay)
	}
	return recipe.image(root, dir)
}

// setClockOverlay writes what go build's -overlay takes: a main.go with another clock. It returns the path of the list of what is replaced.
func setClockOverlay(root, dir string) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	original, changed := filepath.Join(root, "main.go"), filepath.Join(dir, "main.overlay")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	for old, replacement := range map[string]string{
		`"k8s.io/utils/clock"`: `"github.com/queuescaler/queuescaler/test/setclock"`,
		"clock.RealClock{}":    "setclock.OnSignals()",
	} {
		if bytes.Count(text, []byte(old)) != 1 {
			return "", fmt.Errorf("%s does not have %s once: the clock is to be found there", original, old)
		}
		text = bytes.Replace(text, []byte(old), []byte(replacement), 1)
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(os.WriteFile(changed, text, 0o644), os.WriteFile(overlay, list, 0o644))
}

// Workload builds the image of the workloads. The program is left in dir.
func Workload(root, dir string) (v1.Image, error) {
	return workload.image(filepath.Join(root, "hack", "e2e"), dir)
}

// image builds what is to be built in the module at source, and makes the image.
func (r Recipe) image(source, dir string) (v1.Image, error) {
	outputs, err := r.build(source, dir)
	if err != nil {
		return nil, err
	}
	var layers []v1.Layer
	for _, c := range r.Copies {
		file, built := outputs[c.From]
		if !built {
			file = c.From
		}
		layer, err := copied(file, c)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.User, config.Config.Entrypoint = r.User, r.Entrypoint
	return mutate.ConfigFile(image, config)
}

// copied is the layer of one file, which keeps its mode and belongs to root.
func copied(file string, c Copy) (v1.Layer, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && file == c.From {
		return nil, fmt.Errorf("the image has %s of the machine that builds it: install what it is from (on Debian, ca-certificates): %w", c.From, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	to := c.To
	if strings.HasSuffix(to, "/") {
		to += path.Base(c.From)
	}
	var archive bytes.Buffer
	if err := writeFile(&archive, to, int64(info.Mode().Perm()), int64(len(content)), bytes.NewReader(content)); err != nil {
		return nil, err
	}
	return layer(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
}

// layer stores without compressing: nothing here is kept or sent for long, and all of it is made again at each run.
func layer(archive tarball.Opener) (v1.Layer, error) {
	return tarball.LayerFromOpener(archive, tarball.WithCompressionLevel(gzip.NoCompression))
}

// writeFile writes an archive of one file and the directories that it is in. It has no times, so that it is the same at each run.
func writeFile(w io.Writer, to string, mode, size int64, content io.Reader) error {
	archive := tar.NewWriter(w)
	to = strings.TrimPrefix(to, "/")
	for i, r := range to {
		if r == '/' {
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: to[:i+1], Mode: 0o755}); err != nil {
				return err
			}
		}
	}
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: mode, Size: size}); err != nil {
		return err
	}
	if _, err := io.CopyN(archive, content, size); err != nil {
		return err
	}
	return archive.Close()
}

// Pad returns base with one more layer, a file /padding of so many random bytes, which no compression makes smaller. The same seed makes the
// same bytes; another one makes a layer that no node has.
func Pad(base v1.Image, size int64, seed uint64) (v1.Image, error) {
	padding, err := layer(func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() {
			var key [32]byte
			copy(key[:], fmt.Sprint(seed))
			writer.CloseWithError(writeFile(writer, "padding", 0o644, size, rand.NewChaCha8(key)))
		}()
		return reader, nil
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, padding)
}

// Read reads the image of this name from an archive that [Write] has written.
func Read(file, imageName string) (v1.Image, error) {
	tag, err := name.NewTag(imageName)
	if err != nil {
		return nil, err
	}
	return tarball.ImageFromPath(file, &tag)
}

// Write writes an archive of an image, which is known by this name once it is imported.
func Write(file, imageName string, image v1.Image) error {
	tag, err := name.NewTag(imageName)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, image)
}
