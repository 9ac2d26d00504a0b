#!/usr/bin/env bash
# Runs the end-to-end tests in a cluster with a real node, which exists for them alone. Arguments are those of the test binary, such as
# -test.run=TestPrepared. What they measured is in out/.
set -euo pipefail
cd "$(dirname "$0")"
QUEUESCALER_ROOT=$(cd ../.. && pwd)
export QUEUESCALER_ROOT
E2E_CODE=$(git describe --always --dirty 2>/dev/null || true)
export E2E_CODE
bin=$QUEUESCALER_ROOT/bin

# All is built here: inside there is no network.
go run ./images
go test -c -tags e2e -o "$bin/e2e.test" .
exec "$bin/localcluster" run --node --nodes=1 --data-dir="$QUEUESCALER_ROOT/.localcluster-e2e" -- \
	"$bin/e2e.test" -test.v -test.timeout=60m -test.parallel=4 "$@"
