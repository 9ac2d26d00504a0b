// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const root = "../../.."

func must[T any](value T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// files are the contents of an image's layers, by name; directories end in a slash.
func files(t *testing.T, layers []v1.Layer) (content map[string][]byte, headers map[string]*tar.Header) {
	t.Helper()
	content, headers = map[string][]byte{}, map[string]*tar.Header{}
	for _, layer := range layers {
		stream := must(layer.Uncompressed())(t)
		archive := tar.NewReader(stream)
		for {
			header, err := archive.Next()
			if err == io.EOF {
				break
			}
			content[must(header, err)(t).Name] = must(io.ReadAll(archive))(t)
			headers[header.Name] = header
		}
		_ = stream.Close()
	}
	return content, headers
}

// written is an image after it was written to an archive and read from it, as a node reads it.
func written(t *testing.T, imageName string, image v1.Image) v1.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := Write(file, imageName, image); err != nil {
		t.Fatal(err)
	}
	manifest := must(tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) }))(t)
	if len(manifest) != 1 || !reflect.DeepEqual(manifest[0].RepoTags, []string{imageName}) {
		t.Errorf("the archive is of %+v, want %s", manifest, imageName)
	}
	return must(Read(file, imageName))(t)
}

func wantConfig(t *testing.T, image v1.Image, entrypoint string) {
	t.Helper()
	config := must(image.ConfigFile())(t)
	if config.Config.User != "65532:65532" || !reflect.DeepEqual(config.Config.Entrypoint, []string{entrypoint}) || config.OS != "linux" || config.Architecture == "" {
		t.Errorf("config %+v", config)
	}
	if !config.Created.IsZero() {
		t.Errorf("created at %v: an image with a time in it differs at each build", config.Created)
	}
}

// wantStatic fails unless a program needs no loader and no library, and may be run by any user.
func wantStatic(t *testing.T, program []byte, header *tar.Header) {
	t.Helper()
	file := must(elf.NewFile(bytes.NewReader(program)))(t)
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is linked dynamically", header.Name)
		}
	}
	if header.Mode&0o111 != 0o111 || header.Uid != 0 {
		t.Errorf("%s has mode %o and belongs to %d", header.Name, header.Mode, header.Uid)
	}
}

// The operator's image is as the Dockerfile says. What the Dockerfile is to say is in its own comments; this fails if it says what ReadDockerfile
// does not understand.
func TestOperator(t *testing.T) {
	recipe := must(ReadDockerfile(filepath.Join(root, "Dockerfile")))(t)
	dir := t.TempDir()
	image := written(t, OperatorName, must(Operator(root, dir))(t))
	wantConfig(t, image, "/manager")
	layers := must(image.Layers())(t)
	if len(layers) != len(recipe.Copies) {
		t.Errorf("%d layers of %d files", len(layers), len(recipe.Copies))
	}
	content, headers := files(t, layers)
	if !bytes.Contains(content["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")) {
		t.Error("certificate authorities are missing")
	}
	if headers["etc/"] == nil || headers["etc/ssl/certs/"] == nil {
		t.Errorf("directories are missing: %v", headers)
	}
	for _, build := range recipe.Builds {
		path := strings.TrimPrefix(build.Output, "/")
		if content[path] == nil {
			t.Fatalf("%s was built and is not in the image", build.Output)
		}
		wantStatic(t, content[path], headers[path])
	}
	manager := must(os.ReadFile(filepath.Join(root, "config/manager/manager.yaml")))(t)
	if !bytes.Contains(manager, []byte("image: "+ShippedName+"\n")) {
		t.Errorf("config/manager runs another image than %s", ShippedName)
	}
}

func TestWorkload(t *testing.T) {
	image := written(t, WorkloadName, must(Workload(root, t.TempDir()))(t))
	wantConfig(t, image, "/workload")
	content, headers := files(t, must(image.Layers())(t))
	if len(content) != 1 {
		t.Errorf("files %v, want the program alone", headers)
	}
	wantStatic(t, content["workload"], headers["workload"])
	if again := must(Workload(root, t.TempDir()))(t); must(again.Digest())(t) != must(written(t, WorkloadName, again).Digest())(t) {
		t.Error("the archive is of another image than was written to it")
	} else if must(again.Digest())(t) != must(image.Digest())(t) {
		t.Error("the same sources made another image")
	}
}

func TestDockerfile(t *testing.T) {
	const build = "FROM golang AS build\nRUN CGO_ENABLED=0 GOOS=linux go build -ldflags '-s -w' -o /a ./cmd/a\n"
	read := func(text string) (Recipe, error) {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadDockerfile(file)
	}
	got := must(read(build + "# why\nFROM scratch\nCOPY --from=build /a /b/\nUSER 1:2\nENTRYPOINT [\"/b/a\", \"-x\"]\n"))(t)
	want := Recipe{
		Builds:     []Build{{[]string{"CGO_ENABLED=0", "GOOS=linux"}, []string{"build", "-ldflags", "-s -w", "./cmd/a"}, "/a"}},
		Copies:     []Copy{{"/a", "/b/"}},
		User:       "1:2",
		Entrypoint: []string{"/b/a", "-x"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for text, part := range map[string]string{
		build + "FROM debian\n":                                  "the last stage begins FROM debian",
		build + "FROM scratch\nENV A=b\n":                        "Dockerfile:4: package image does not know ENV A=b",
		build + "FROM scratch\nCOPY a b\n":                       "COPY a b",
		build + "FROM scratch\nENTRYPOINT /a\n":                  "ENTRYPOINT /a",
		"FROM golang AS build\nRUN make\n":                       "RUN make",
		"FROM golang AS build\nRUN go build -o /a . && strip a":  "&&",
		"FROM golang AS build\nRUN go build -o \"/a b\" .\n":     "RUN go build",
		"FROM golang AS build\nRUN go build -o '/a .\n":          "RUN go build",
		"FROM golang AS build\nRUN go build \\\n-o /a .\n":       "RUN go build",
		"FROM golang AS build\nENTRYPOINT [\"/a\"]\nRUN true\n":  "ENTRYPOINT",
		"FROM golang AS build\nRUN CGO_ENABLED=0 go build -o\n":  "RUN CGO_ENABLED=0",
		"FROM golang AS build\nRUN go install example.com/a@b\n": "RUN go install",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want %q", text, err, part)
		}
	}
}

// padded is a small image with so many random bytes.
func padded(t *testing.T, size int64, seed uint64) v1.Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := must(Recipe{Copies: []Copy{{program, "/program"}}, Entrypoint: []string{"/program"}}.image(".", t.TempDir()))(t)
	return must(Pad(base, size, seed))(t)
}

func TestPad(t *testing.T) {
	const size = 3_000_000
	image := padded(t, size, 1)
	layers := must(image.Layers())(t)
	if compressed := must(layers[1].Size())(t); compressed < size || compressed > size+size/50 {
		t.Errorf("the layer has %d bytes compressed, want %d or a little more", compressed, size)
	}
	content, _ := files(t, layers)
	if len(content["padding"]) != size || string(content["program"]) != "program" {
		t.Errorf("padding of %d bytes, program %q", len(content["padding"]), content["program"])
	}
	if must(image.Digest())(t) != must(padded(t, size, 1).Digest())(t) {
		t.Error("the same seed made another image")
	}
	if must(image.Digest())(t) == must(padded(t, size, 2).Digest())(t) {
		t.Error("another seed made the same image")
	}
}

func TestRegistry(t *testing.T) {
	const size, perSecond = 1 << 20, 512 << 10
	registry := StartRegistry(t, "127.0.0.2", perSecond)
	image := padded(t, size, 1)
	began := time.Now()
	pushed := must(registry.Push("padded", image))(t)
	if took := time.Since(began); took > time.Second {
		t.Errorf("pushed in %v, as if that were limited too", took)
	}
	if !strings.HasPrefix(pushed, "127.0.0.2:") {
		t.Errorf("pulled as %s", pushed)
	}

	began = time.Now()
	pulled := must(remote.Image(must(name.NewTag(pushed, name.Insecure))(t)))(t)
	content, _ := files(t, must(pulled.Layers())(t))
	took := time.Since(began)
	t.Logf("pulled %d bytes in %v", len(content["padding"]), took)
	if len(content["padding"]) != size || must(pulled.Digest())(t) != must(image.Digest())(t) {
		t.Error("pulled another image than was pushed")
	}
	if want := time.Second * size / perSecond; took < want*9/10 || took > 2*want {
		t.Errorf("pulled in %v, want about %v", took, want)
	}

	response, err := http.Get("http://" + registry.Address() + "/v2/none/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusNotFound {
		t.Errorf("an image that is not there: %s", response.Status)
	}
}
