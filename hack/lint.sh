#!/usr/bin/env bash
# Lints the code, and the API with kube-api-linter. The first time the linter itself is built, about a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
linter=$(go tool -modfile=hack/tools/go.mod -n golangci-lint-kube-api-linter)
status=0

"$linter" run ./... || status=1
echo "The API types, with kube-api-linter:"
"$linter" run --config api/.golangci.yml ./api/... || status=1
echo "The local cluster:"
# The flags of its build.sh: with others all of Kubernetes would be compiled again.
(cd hack/localcluster && CGO_ENABLED=0 GOFLAGS=-trimpath "$linter" run --config ../../.golangci.yml ./...) || status=1
exit $status
