// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
)

// runDataDirDefault is not that of up, because run begins with an empty cluster each time.
const runDataDirDefault = ".localcluster-run"

// nodeRun is what the supervisor of a real node is started with, as JSON.
type nodeRun struct {
	Dir     cluster.Dir
	Options cluster.Options
	Command []string // its name or path, and its arguments
}

func runCommand(dataDir *string) *cobra.Command {
	var opts cluster.Options
	cmd := &cobra.Command{
		Use:   "run --node [flags] -- COMMAND [ARGS]",
		Short: "Run a command in a new cluster with one real node (Linux, root)",
		Long: "Run a command in a new cluster with one real node: kubelet, containerd and kube-proxy, in namespaces of\n" +
			"their own without a way out. The cluster ends with the command, whose exit code is returned.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, command []string) error {
			if !opts.RealNode {
				return errors.New("run needs --node; for a cluster of simulated nodes there is 'up'")
			}
			if !cmd.Flags().Changed("data-dir") {
				*dataDir = runDataDirDefault
			}
			dir, err := cluster.At(*dataDir)
			if err != nil {
				return err
			}
			if err := opts.Validate(); err != nil {
				return err
			}
			code, err := runOnNode(nodeRun{dir, opts, command})
			if err != nil {
				return err
			}
			os.Exit(code)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.BoolVar(&opts.RealNode, "node", false, "with a real node; required")
	flags.IntVar(&opts.Nodes, "nodes", 0, "simulated nodes besides, tainted "+cluster.SimulatedLabel)
	flags.Float64Var(&opts.PodReadySeconds, "pod-ready-seconds", 1, "how long simulated pods take to be Ready")
	return cmd
}

func imageCommand() *cobra.Command {
	image := &cobra.Command{Use: "image", Short: "Give images to the real node"}
	image.AddCommand(&cobra.Command{
		Use: "load FILE...", Short: "Load image archives, in the format of docker save or OCI's; within 'run' only",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return cluster.LoadImages(ctx, files...)
		},
	})
	return image
}
