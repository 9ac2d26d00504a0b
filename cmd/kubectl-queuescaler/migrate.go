// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/queuescaler/queuescaler/internal/migrate"
)

const migrateLong = `Make QueueScalers of KEDA's ScaledObjects.

Reads manifests, and prints a QueueScaler for each ScaledObject in them, in mode DryRun. Comments say what has to be done
by hand, and what differs. Put the TriggerAuthentications in too: they tell which Secrets have the credentials, whose
contents are not needed and not read.

A ScaledObject is refused, with the reasons, where leaving something out would change what the workload gets: a cron or
CPU trigger, a formula, a source that cannot be read. Then the exit code is 1, and the others are printed all the same.

Nothing is read from a cluster, and nothing is written to one.`

const migrateExample = `  # what runs in a namespace
  kubectl get scaledobjects,triggerauthentications -n shop -o yaml | kubectl queuescaler migrate > queuescalers.yaml

  # manifests in files
  kubectl queuescaler migrate orders.yaml auth.yaml`

func newMigrate() *cobra.Command {
	return &cobra.Command{
		Use:     "migrate [FILE...]",
		Short:   "Make QueueScalers of KEDA's ScaledObjects",
		Long:    migrateLong,
		Example: migrateExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := inputs(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			results, refused := migrate.Manifests(in)
			if err := migrate.Write(cmd.OutOrStdout(), results); err != nil {
				return err
			}
			return refused
		},
	}
}

// inputs is all files one after the other, as documents of their own; without any, or for -, it is stdin.
func inputs(stdin io.Reader, names []string) (io.Reader, error) {
	if len(names) == 0 {
		return stdin, nil
	}
	var all []io.Reader
	for _, name := range names {
		if name == "-" {
			all = append(all, stdin)
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the manifests: %w", err)
		}
		all = append(all, strings.NewReader("\n---\n"), bytes.NewReader(text))
	}
	return io.MultiReader(all...), nil
}
