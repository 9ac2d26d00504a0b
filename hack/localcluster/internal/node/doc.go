// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node runs a program as the supervisor of a real node, in network, mount, PID, IPC and UTS namespaces of its own: what they
// hold ends with them, and the machine's own network and mounts are never touched. Cgroups and files are what they do not hold; those
// are removed afterwards. Linux only.
package node
