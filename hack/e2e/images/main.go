// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command images builds what the end-to-end tests run, into a directory: operator.tar, operator-setclock.tar and workload.tar, which are archives of
// images, and nats-server. It is run before the tests, because where they run there is no network; it needs the Go modules only.
package main

import (
	"flag"
	"log"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/image"
)

func main() {
	root := flag.String("root", "../..", "directory of the project")
	out := flag.String("out", "../../bin/e2e", "directory for what is built")
	flag.Parse()
	if err := build(*root, *out); err != nil {
		log.Fatal(err)
	}
}

func build(root, out string) error {
	for _, made := range []struct {
		file, name string
		dir        string // for what the image is made of
		image      func(root, dir string) (v1.Image, error)
	}{
		{"operator.tar", image.OperatorName, out, image.Operator},
		{"operator-setclock.tar", image.SetClockName, filepath.Join(out, "setclock"), image.OperatorWithSetClock},
		{"workload.tar", image.WorkloadName, out, image.Workload},
	} {
		if err := os.MkdirAll(made.dir, 0o755); err != nil {
			return err
		}
		img, err := made.image(root, made.dir)
		if err != nil {
			return err
		}
		if err := image.Write(filepath.Join(out, made.file), made.name, img); err != nil {
			return err
		}
	}
	_, err := brokers.BuildNATS(out)
	return err
}
