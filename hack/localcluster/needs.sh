#!/usr/bin/env bash
# Installs what a real node needs and this machine lacks: runc and nft, from the system's packages.
set -euo pipefail

# install WHAT PACKAGE
install() {
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		echo "A real node needs $1. Install the system's package for it (on Debian and Ubuntu: $2), or run this as root there." >&2
		exit 1
	fi
	echo "Installing $2, because a real node needs $1."
	[ -n "${updated:-}" ] || apt-get update -qq
	updated=1
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$2" >/dev/null
}

PATH=$PATH:/usr/sbin
if [ "$(uname)" != Linux ]; then
	echo "A real node needs Linux, and this is $(uname)." >&2
	exit 1
fi
command -v runc >/dev/null || install runc runc
command -v nft >/dev/null || install nft nftables
