#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (30s), one on each core. Fails if one fails, or if none is found.
# What makes one fail is kept in testdata/fuzz of its package: commit it with the fix, and go test tries it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-30s}
began='now fuzzing with' # what a target says when it has tried the inputs that are known

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
	local log=$1-$3.log code=0
	# Making interesting inputs small is left out: it would take most of the time (one target: 7 inputs tried in 12 s, 60,000 without).
	local flags=(-test.run='^$' -test.parallel=1 -test.fuzzminimizetime=0x -test.fuzz="^$3\$" -test.fuzzcachedir="$cache/$2")
	: >"$log"
	(cd "$2" && exec "$1" "${flags[@]}") >"$log" 2>&1 &
	end $! "$log"
	wait $! || code=$?
	if [ $code = 0 ] && grep -q "$began" "$log"; then
		echo "ok: $3 of $2: $(grep '^fuzz: elapsed' "$log" | tail -n 1)"
	else
		cat "$log"
		echo "FAILED: $3 of $2" >&2
		return 1
	fi
}

# end PID LOG ends the target's process as Ctrl-C would, FUZZTIME after it has tried all inputs that are known. With -test.fuzztime, that
# time would count too, and before Go 1.27 it now and then fails at its end with "context deadline exceeded" (https://go.dev/issue/75804).
end() {
	local _
	for _ in {1..600}; do
		if grep -q "$began" "$2"; then
			timeout "$fuzztime" tail --pid="$1" -f /dev/null || true
			break
		fi
		kill -0 "$1" 2>/dev/null || break
		sleep 1
	done
	kill -INT "$1" 2>/dev/null || true
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
