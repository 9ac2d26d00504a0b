#!/bin/sh
# Builds bin/localcluster. The flags are always the same, so that Go's build cache serves: a first build compiles all of
# Kubernetes, later ones link at most.
set -eu
cd "$(dirname "$0")"
out=../../bin/localcluster
[ -x "$out" ] || echo "Building bin/localcluster. The first time this compiles Kubernetes, about 8 minutes on 2 cores."

started=$(date +%s)
(
	while sleep 30 >/dev/null 2>&1; do # not holding our output open once killed
		echo "  still building, $(($(date +%s) - started)) s so far"
	done
) &
heartbeat=$!
trap 'kill $heartbeat 2>/dev/null' EXIT

version=k8s.io/component-base/version
CGO_ENABLED=0 go build -trimpath \
	-ldflags "-s -w -X $version.gitVersion=v1.37.2 -X $version.gitMajor=1 -X $version.gitMinor=37" \
	-o "$out" .
