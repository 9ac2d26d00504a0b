#!/usr/bin/env bash
# Lints the code of every module, and the API with kube-api-linter. The first time the linter itself is built, about a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
linter=$(go tool -modfile=hack/tools/go.mod -n golangci-lint-kube-api-linter)
status=0

# module DIRECTORY
module() {
	[ -e "$1/go.mod" ] || return 0
	echo "$1:"
	(cd "$1" && "$linter" run --config "$root/.golangci.yml" ./...) || status=1
}

module .
module hack/demo
module hack/e2e
module hack/tools
# With the flags of its build.sh: with others all of Kubernetes would be compiled again.
CGO_ENABLED=0 GOFLAGS=-trimpath module hack/localcluster
module hack/node
echo "api, with kube-api-linter:"
"$linter" run --config api/.golangci.yml ./api/... || status=1
exit "$status"
