#!/usr/bin/env bash
# Fails if a generated file is out of date, a go.mod is untidy, or code is unformatted, fails go vet or has lint.
# Looks at everything, says everything that is wrong, and changes nothing.
# shellcheck disable=SC2317 # the functions are called through check
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

# check NAME COMMAND...
check() {
	local name=$1 started=$SECONDS
	shift
	echo "--- $name"
	if "$@"; then
		echo "ok: $name ($((SECONDS - started)) s)"
	else
		echo "FAILED: $name" >&2
		failed=1
	fi
}

# Files of the project: tracked ones, and new ones that are not ignored.
files() {
	git ls-files -z -co --exclude-standard -- "$@" | while IFS= read -rd '' f; do
		[ ! -e "$f" ] || printf '%s\0' "$f"
	done
}

generated() {
	local copy status=0
	copy=$(mktemp -d)
	files | tar --null -T - -cf - | tar -xf - -C "$copy"
	cp -r "$copy" "$copy.generated"
	make -C "$copy.generated" generate manifests docs-api || status=1
	diff -ru "$copy" "$copy.generated" || {
		echo "Run: make generate manifests docs-api" >&2
		status=1
	}
	rm -rf "$copy" "$copy.generated"
	return "$status"
}

each_module() {
	local mod status=0
	while IFS= read -rd '' mod; do
		(cd "$(dirname "$mod")" && "$@") || { echo "in $mod" >&2 && status=1; }
	done < <(files 'go.mod' '**/go.mod')
	return "$status"
}

formatted() {
	local unformatted
	unformatted=$(files '*.go' | xargs -0 gofmt -l)
	[ -z "$unformatted" ] || { echo "$unformatted" && echo "Run: make fmt" >&2 && return 1; }
}

shell_scripts() {
	files '*.sh' .ci/run | xargs -0 -n 1 bash -n
}

check "generated files are up to date" generated
check "go.mod files are tidy" each_module go mod tidy -diff
check "code is formatted" formatted
check "shell scripts parse" shell_scripts
check "go vet" go vet -tags integration ./...
check "lint" hack/lint.sh
exit "$failed"
