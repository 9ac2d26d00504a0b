#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (30s), one after the other. Fails if one fails, or if none is found.
# What makes one fail is kept in testdata/fuzz of its package: commit it with the fix, and go test tries it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-30s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0 failed=0
# Making interesting inputs small is left out: it would take most of the time (one target: 7 inputs tried in 12 s, 60,000 without).
flags=(-test.run='^$' -test.fuzztime="$fuzztime" -test.fuzzminimizetime=0x)

# packages prints the directories with fuzz targets. Finding them like this compiles nothing.
packages() {
	git grep -lE --untracked '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go' | xargs -r -n 1 dirname | sort -u
}

# fuzz PACKAGE TARGET
fuzz() {
	local log=$work/log cache
	cache=$(go env GOCACHE)/fuzz/$(go list "./$1")
	count=$((count + 1))
	if (cd "$1" && "$work/test" "${flags[@]}" -test.fuzz="^$2\$" -test.fuzzcachedir="$cache") >"$log" 2>&1; then
		echo "ok: $2 of $1: $(grep '^fuzz: elapsed' "$log" | tail -n 1)"
	else
		cat "$log"
		echo "FAILED: $2 of $1" >&2
		failed=1
	fi
}

for package in $(packages); do
	# Each package is compiled once, for all of its targets.
	go test -c -fuzz=. -o "$work/test" "./$package"
	targets=$("$work/test" -test.list='^Fuzz')
	for target in $targets; do
		fuzz "$package" "$target"
	done
done
[ "$count" -gt 0 ] || { echo "No fuzz target was found." >&2 && exit 1; }
echo "$count fuzz targets, $fuzztime each"
exit "$failed"
