// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

// nodePrograms are none: a real node needs Linux.
var nodePrograms = map[string]func() int{}
