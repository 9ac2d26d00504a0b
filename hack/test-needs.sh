#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: redis-server and npm from the system's packages, and the packages
# of the consumers that are written in JavaScript.
set -euo pipefail
cd "$(dirname "$0")/.."

# need PROGRAM PACKAGE
need() {
	command -v "$1" >/dev/null && return
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		echo "The tests need $1, and it is not installed. Install the package $2 of your system, or run this as root on Debian or Ubuntu." >&2
		exit 1
	fi
	echo "Installing $2, because the tests need $1."
	apt-get update -qq
	# In runlevel 1 the package does not start a server of its own.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$2" >/dev/null
}

need redis-server redis-server

for lock in test/consumers/*/package-lock.json; do
	[ -e "$lock" ] || continue
	need npm npm
	dir=$(dirname "$lock")
	# npm ci starts from nothing each time; not when it was done for this very lock file.
	if ! cmp -s "$lock" "$dir/node_modules/.installed-lock"; then
		echo "Installing the npm packages of $dir."
		npm ci --prefix "$dir" --no-audit --no-fund --loglevel=error
		cp "$lock" "$dir/node_modules/.installed-lock"
	fi
done
