#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Redis, RabbitMQ, PostgreSQL, Prometheus, Node.js and Celery from the system's packages,
# and the packages of the consumers that are written in JavaScript.
set -euo pipefail
cd "$(dirname "$0")/.."

# install WHAT PACKAGE...
install() {
	local what=$1
	shift
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		echo "The tests need $what. Install the system's packages for it (on Debian and Ubuntu: $*), or run this as root there." >&2
		exit 1
	fi
	echo "Installing $*, because the tests need $what."
	[ -n "${updated:-}" ] || apt-get update -qq
	updated=1
	# In runlevel 1 a package does not start a server of its own.
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

python_with_celery() {
	python3 -c "import celery, redis" 2>/dev/null || /usr/bin/python3 -c "import celery, redis" 2>/dev/null
}

command -v redis-server >/dev/null || install redis-server redis-server
command -v initdb >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || install PostgreSQL postgresql
command -v rabbitmq-server >/dev/null || install rabbitmq-server rabbitmq-server
command -v prometheus >/dev/null || install Prometheus prometheus
python_with_celery || install "Celery for Python" python3 python3-celery python3-redis
command -v npm >/dev/null || install npm nodejs npm

for lock in test/consumers/*/package-lock.json; do
	dir=$(dirname "$lock")
	if ! cmp -s "$lock" "$dir/node_modules/.installed-lock"; then
		echo "Installing the npm packages of $dir."
		# Not npm ci, which fails when the registry lacks an optional package of another platform.
		npm install --prefix "$dir" --no-save --no-audit --no-fund --loglevel=error
		cp "$lock" "$dir/node_modules/.installed-lock"
	fi
done
