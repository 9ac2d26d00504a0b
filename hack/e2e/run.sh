#!/usr/bin/env bash
# Runs the end-to-end tests in a cluster with a real node, which exists for them alone. Arguments are those of the test binary, such as
# -test.run=TestPrepared. What they measured is in out/.
set -euo pipefail
cd "$(dirname "$0")"
QUEUESCALER_ROOT=$(cd ../.. && pwd)
export QUEUESCALER_ROOT
bin=$QUEUESCALER_ROOT/bin

# The images are built inside, where there is no network: what that takes is fetched here.
(cd "$QUEUESCALER_ROOT" && go mod download)
go mod download
go test -c -tags e2e -o "$bin/e2e.test" .
export GOPROXY=off
exec "$bin/localcluster" run --node --nodes=1 --data-dir="$QUEUESCALER_ROOT/.localcluster-e2e" -- \
	"$bin/e2e.test" -test.v -test.timeout=40m "$@"
