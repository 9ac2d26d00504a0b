// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench-reaction measures how long it takes from a backlog to added replicas: a real Redis, a real control plane,
// simulated nodes, and the operator as it ships. It prints what it does, and last one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/queuescaler/queuescaler/test/cluster"
	"github.com/queuescaler/queuescaler/test/operator"
	"github.com/queuescaler/queuescaler/test/servers"
)

const (
	// full is the number of replicas that a spike wants, perReplica the messages for each.
	full, perReplica = 10, 10
	// spikes are measured in all; every one from one replica to the full number.
	spikes = 60
	// spikeTimeout is when a spike is given up, and counted as a failure of the whole run.
	spikeTimeout = 2 * time.Minute
	// idleFor is how long all scalers are left idle, to count what they cost.
	idleFor = 60 * time.Second
	// settleTimeout is how long all slots may take until warm.
	settleTimeout = 15 * time.Minute
)

func main() {
	scalers := flag.Int("scalers", 100, "number of QueueScalers, each with a Deployment, a queue and a slot of its own")
	seed := flag.Uint64("seed", 1, "seed of the phases")
	manager := flag.String("manager", "bin/manager", "the operator's binary")
	verbose := flag.Bool("operator-log", false, "show what the operator prints")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *scalers, *seed, *manager, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "bench-reaction:", err)
		os.Exit(1)
	}
}

// result is the JSON object that is printed last.
type result struct {
	Scalers          int       `json:"scalers"`
	Spikes           int       `json:"spikes"`
	Patched          quantiles `json:"patched_ms"`
	Lent             quantiles `json:"lent_ms"`
	FromZero         quantiles `json:"from_zero_patched_ms"`
	FromZeroSpikes   int       `json:"from_zero_spikes"`
	CPUCores         float64   `json:"cpu_cores"`
	RSSMiB           float64   `json:"rss_mib"`
	RedisConnections int       `json:"redis_connections"`
	IdleWrites       float64   `json:"api_writes_per_idle_scaler_per_minute"`
}

func run(ctx context.Context, scalers int, seed uint64, manager string, verbose bool) error {
	say := func(format string, args ...any) {
		fmt.Printf("%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}
	dir, err := os.MkdirTemp("", "bench-reaction-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	say("starting the control plane, Redis and the operator")
	c, err := cluster.Start(cluster.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	root, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	if err := operator.Install(ctx, root, c.Kubectl); err != nil {
		return err
	}
	redis, err := servers.NewRedis(servers.RedisOptions{})
	if err != nil {
		return err
	}
	if err := redis.Start(); err != nil {
		return err
	}
	defer redis.Close()
	options := operator.Options{Binary: manager, Config: c.RESTConfig(), Dir: dir}
	if verbose {
		options.Log = os.Stderr
	}
	op, err := operator.Start(ctx, options)
	if err != nil {
		return err
	}
	defer op.Kill()

	b, err := newBench(ctx, c, op, redis.URL(), say, rand.New(rand.NewPCG(seed, seed)))
	if err != nil {
		return err
	}
	defer b.close()
	r, err := b.measure(ctx, scalers)
	if err != nil {
		return err
	}
	out, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}
