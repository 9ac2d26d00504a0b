// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
	"github.com/queuescaler/queuescaler/hack/localcluster/internal/kubelet"
)

// programs are what this binary is besides localcluster itself. Each reads its flags from os.Args, as in a binary of its own.
func programs() map[string]func() int {
	all := maps.Clone(controlPlanePrograms)
	maps.Copy(all, nodePrograms)
	return all
}

var controlPlanePrograms = map[string]func() int{
	cluster.Etcd: func() int {
		etcdmain.Main(os.Args)
		return 0
	},
	cluster.APIServer:         func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	cluster.ControllerManager: func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	cluster.Scheduler:         func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	cluster.Kubelet:           func() int { return cli.Run(kubeletCommand()) },
	"kubectl":                 runKubectl,
}

func kubeletCommand() *cobra.Command {
	opts := kubelet.Options{HeartbeatLabel: cluster.HeartbeatLabel}
	cmd := &cobra.Command{
		Use:   "kubelet",
		Short: "Simulate the kubelets of all nodes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return kubelet.Run(ctx, opts)
		},
	}
	cmd.SetContext(context.Background())
	cmd.Flags().StringVar(&opts.Kubeconfig, "kubeconfig", "", "how to reach the cluster")
	cmd.Flags().Float64Var(&opts.PodReadySeconds, "pod-ready-seconds", 1, "from the start of a pod's containers until it is Ready")
	cmd.Flags().UintVar(&opts.LeaseSeconds, "lease-seconds", 40, "how long a node's lease lasts")
	return cmd
}

// runKubectl talks to the local cluster whatever KUBECONFIG says: a command meant for it must not reach another.
func runKubectl() int {
	dir, err := cluster.At(dataDirDefault())
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	if _, err := os.Stat(dir.Kubeconfig()); err != nil {
		fmt.Fprintf(os.Stderr, "There is no cluster in %s: start one with 'localcluster up', or set %s.\n", dir, dataDirVariable)
	}
	os.Setenv("KUBECONFIG", dir.Kubeconfig())
	return cli.Run(kubectl.NewDefaultKubectlCommand())
}
