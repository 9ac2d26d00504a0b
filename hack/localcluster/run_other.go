// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"fmt"
	"runtime"
)

func runOnNode(nodeRun) (int, error) {
	return 0, fmt.Errorf("a real node needs Linux, and this is %s: 'localcluster up' has simulated nodes", runtime.GOOS)
}
