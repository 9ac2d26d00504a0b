// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"k8s.io/component-base/cli"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/queuescaler/queuescaler/hack/localcluster/internal/cluster"
	"github.com/queuescaler/queuescaler/hack/localcluster/internal/node"
)

// nodePrograms are what a real node needs besides.
var nodePrograms = map[string]func() int{
	cluster.NodeKubelet: func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	cluster.KubeProxy:   func() int { return cli.Run(kubeproxy.NewProxyCommand()) },
	node.InitProgram:    node.Init,
	superviseProgram:    supervise,
}
