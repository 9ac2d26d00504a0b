// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Rolloutcheck replays recordings of Deployments to rollout.Assess and scores its answers.
//
//	go run ./hack/rolloutcheck FILE...
//
// It prints one JSON line per file. It exits 0 if every answer is right, 1 if any is wrong, 2 if a
// file cannot be read.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/queuescaler/queuescaler/internal/rollout/recording"
)

// result is the line printed for one file.
type result struct {
	File     string `json:"file"`
	Events   int    `json:"events"`
	Wrong    int    `json:"wrong"`
	Unsafe   int    `json:"unsafe"`
	Overhold int    `json:"overhold"`
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("rolloutcheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: rolloutcheck [flags] FILE...")
		flags.PrintDefaults()
	}
	var o recording.Options
	flags.DurationVar(&o.DelayReplicaSets, "delay-rs", 0, "let ReplicaSet events arrive this much later")
	flags.DurationVar(&o.DelayDeployments, "delay-deploy", 0, "let Deployment events arrive this much later")
	flags.BoolVar(&o.Forget, "forget", false, "lose the memory before every event")
	verbose := flags.Bool("v", false, "explain every wrong answer on standard error")
	if flags.Parse(args) != nil || flags.NArg() == 0 {
		if flags.NArg() == 0 {
			flags.Usage()
		}
		return 2
	}

	code := 0
	for _, file := range flags.Args() {
		rec, err := recording.Read(file)
		if err != nil {
			fmt.Fprintln(stderr, "rolloutcheck:", err)
			return 2
		}
		r := result{File: file, Events: len(rec.Events)}
		for _, w := range rec.Score(rec.Replay(o)) {
			r.count(w)
			if *verbose {
				fmt.Fprintf(stderr, "%s: %.3f s after the start, for %s\n", file, w.From-rec.Header.Truth[0].From, w)
			}
		}
		if err := json.NewEncoder(stdout).Encode(r); err != nil {
			fmt.Fprintln(stderr, "rolloutcheck:", err)
			return 2
		}
		if r.Wrong > 0 {
			code = 1
		}
	}
	return code
}

func (r *result) count(w recording.Wrong) {
	r.Wrong++
	if w.Unsafe() {
		r.Unsafe++
	}
	if w.Overhold() {
		r.Overhold++
	}
}
