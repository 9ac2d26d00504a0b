#!/bin/sh
# Builds what a real node consists of besides kubelet and kube-proxy, into bin/node: containerd with its shim and ctr, CNI plugins
# and the pause program. The flags are always the same, so that Go's build cache serves.
set -eu
cd "$(dirname "$0")"
out=../../bin/node/
[ -x "$out/containerd" ] || echo "Building bin/node. The first time this compiles containerd, about 2 minutes on 2 cores."
mkdir -p "$out"
CGO_ENABLED=0 go build -trimpath -tags no_btrfs,no_devmapper,no_zfs,no_tracing -ldflags "-s -w" -o "$out" tool ./pause
