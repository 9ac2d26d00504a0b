#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (30s), one on each core. Fails if one fails, or if none is found.
# What makes one fail is kept in testdata/fuzz of its package: commit it with the fix, and go test tries it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-30s}

# packages prints the directories with fuzz targets. Finding them like this compiles nothing.
packages() {
	git grep -lE --untracked '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go' | xargs -r -n 1 dirname | sort -u
}

# targets compiles each package once, and prints lines of binary, package and target.
targets() {
	local package binary
	for package in $(packages); do
		binary=$work/${package//\//-}.test
		go test -c -fuzz=. -o "$binary" "./$package"
		"$binary" -test.list='^Fuzz' | sed "s|^|$binary $package |"
	done
}

# fuzz BINARY PACKAGE TARGET
fuzz() {
	local log=$1-$3.log
	# Making interesting inputs small is left out: it would take most of the time (one target: 7 inputs tried in 12 s, 60,000 without).
	local flags=(-test.run='^$' -test.parallel=1 -test.fuzzminimizetime=0x -test.fuzz="^$3\$" -test.fuzzcachedir="$cache/$2")
	# Ended as Ctrl-C would: -test.fuzztime, at its end, now and then fails with "context deadline exceeded" before Go 1.27
	# (https://go.dev/issue/75804).
	local limit=(timeout --preserve-status --signal=INT --kill-after=1m "$fuzztime")
	if (cd "$2" && "${limit[@]}" "$1" "${flags[@]}") >"$log" 2>&1 && grep -q 'now fuzzing' "$log"; then
		echo "ok: $3 of $2: $(grep '^fuzz: elapsed' "$log" | tail -n 1)"
	else
		cat "$log"
		echo "FAILED: $3 of $2$(grep -q 'now fuzzing' "$log" || echo ", which tried no new input: raise FUZZTIME")" >&2
		return 1
	fi
}

if [ "${1-}" = one ]; then
	fuzz "${@:2}"
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
export cache
targets >"$work/targets"
count=$(wc -l <"$work/targets")
[ "$count" -gt 0 ] || { echo "No fuzz target was found." >&2 && exit 1; }
xargs -P "$(nproc)" -n 3 "$0" one <"$work/targets"
echo "$count fuzz targets, $fuzztime each"
