// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// The demo plays the main job of QueueScaler on a local cluster: a backlog, slots lent, the Deployment scaled behind them,
// and a backlog in the middle of a rollout. It prints what happens, checks it, and writes out/demo.json and out/demo.html.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What a run leaves behind.
const (
	numbersFile = "demo.json"
	pageFile    = "demo.html"
)

// options are the command line and the environment.
type options struct {
	root          string // the checkout
	keep          bool
	forceGateOpen bool
}

func main() {
	var o options
	flag.BoolVar(&o.forceGateOpen, "force-gate-open", false,
		"Let the slots' consumers ignore their gate, as an app does that declares the gate and does not obey it. The checks must then fail.")
	flag.BoolVar(&o.keep, "keep", os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0",
		"Leave everything running at the end, until Ctrl-C. The default is taken from KEEP.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

// run plays the story and tears everything down, whatever happens.
func run(interrupt context.Context, o options) (err error) {
	concluded := false
	defer func() {
		if interrupt.Err() != nil && !concluded {
			err = errors.New("interrupted") // and not what that makes fail everywhere
		}
	}()
	root, err := findCheckout()
	if err != nil {
		return err
	}
	o.root = root
	if err := os.MkdirAll(o.out(""), 0o755); err != nil {
		return err
	}
	for _, name := range []string{numbersFile, pageFile} { // those of an earlier run tell nothing about this one
		if err := os.Remove(o.out(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	ctx, broken := context.WithCancelCause(interrupt)
	tell := newNarrator(os.Stdout)
	tell.intro(o)
	s, err := setUp(ctx, o, tell, broken)
	defer func() { err = errors.Join(err, s.tearDown()) }()
	if err != nil {
		return err
	}
	story := newStory(s)
	if err := story.play(ctx); err != nil {
		return s.explain(err)
	}
	failed, err := story.conclude(ctx)
	if err != nil {
		return err
	}
	concluded = true
	if o.keep {
		if err := s.stay(ctx); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("these checks did not hold:\n  - %s", strings.Join(failed, "\n  - "))
	}
	return nil
}

// out is the path of a file that the demo leaves behind.
func (o options) out(name string) string { return filepath.Join(o.root, "out", name) }

// bin is the path of a program that make has built.
func (o options) bin(name string) string { return filepath.Join(o.root, "bin", name) }

// findCheckout looks for the checkout around the working directory.
func findCheckout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module github.com/queuescaler/queuescaler\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run `make demo` in a checkout of QueueScaler")
		}
		dir = parent
	}
}

// pause waits, or returns early with an error when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
