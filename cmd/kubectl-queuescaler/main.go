// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-queuescaler is QueueScaler's plugin for kubectl: put it in the PATH, and it is `kubectl queuescaler`.
package main

import (
	"os"

	"github.com/spf13/cobra"
)

func main() {
	if err := newRoot().Execute(); err != nil {
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:          "kubectl-queuescaler",
		Short:        "Tools for people who run QueueScaler",
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl queuescaler"},
		SilenceUsage: true,
	}
	root.AddCommand(newSimulate(), newMigrate())
	return root
}
