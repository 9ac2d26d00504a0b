// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench-readers measures what it costs to read many queues every second: real servers, one after the other, read through the operator's
// own pool by as many QueueScalers as there are queues. It prints a table, and last one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// config is what is measured.
type config struct {
	queues  int
	seconds time.Duration
	kinds   []string
}

func main() {
	queues := flag.Int("queues", 1000, "number of queues on each server, each with a QueueScaler of its own")
	seconds := flag.Duration("duration", 20*time.Second, "how long each server is measured")
	kinds := flag.String("servers", strings.Join(names(), ","), "what to measure, separated by commas")
	child := flag.Bool("serve-nats", false, "serve NATS until the end of the input: what this program runs in a process of its own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *child {
		err = serveNATS(os.Stdin, os.Stdout)
	} else {
		err = run(ctx, config{*queues, *seconds, strings.Split(*kinds, ",")}, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-readers:", err)
		os.Exit(1)
	}
}

// result is the JSON object that is printed last.
type result struct {
	Servers []figures `json:"servers"`
}

// figures are those of one server.
type figures struct {
	Kind        string  `json:"kind"`
	Queues      int     `json:"queues"`
	Readings    float64 `json:"readings_per_s"`
	Connections int     `json:"connections"`
	Requests    float64 `json:"requests_per_s"`
	CPU         float64 `json:"cpu_cores"`
	AgeP99      float64 `json:"age_p99_ms"`
}

func run(ctx context.Context, c config, out io.Writer) error {
	fmt.Fprintf(out, "%d queues on each server, polled every second, for %v each\n\n", c.queues, c.seconds)
	fmt.Fprintf(out, "%-11s %10s %11s %10s %9s %8s  %s\n", "server", "readings/s", "connections", "requests/s", "CPU cores", "p99 age", "a request is")
	var r result
	for _, kind := range c.kinds {
		t, ok := targets[kind]
		if !ok {
			return fmt.Errorf("no server %q; there are %s", kind, strings.Join(names(), ", "))
		}
		f, err := measure(ctx, t, c)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		f.Kind = kind
		r.Servers = append(r.Servers, f)
		fmt.Fprintf(out, "%-11s %10.0f %11d %10.0f %9.3f %5.0f ms  %s\n", kind, f.Readings, f.Connections, f.Requests, f.CPU, f.AgeP99, t.request)
	}
	fmt.Fprintln(out, "\nCPU is that of this process, which has the pool and the readers and no server; age is since the server's own sample.")
	return json.NewEncoder(out).Encode(r)
}
