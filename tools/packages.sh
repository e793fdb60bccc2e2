# shellcheck shell=bash
# Sourced by ./dev: makes sure that the Debian packages of tools/packages are there.
: "${scratch:?the folder for logs, made by ./dev}"

# packages_of GROUP...: their names, one a line.
packages_of() {
	local group
	for group; do
		awk -F '\t' -v g="$group" '$1 == g { print $2 }' tools/packages
	done | sort -u
}

packages_missing() {
	command -v dpkg-query >/dev/null || return 0 # not Debian: the build itself says what it misses
	local name
	for name in $(packages_of "$@"); do
		dpkg-query -W -f '${Status}\n' "$name" 2>/dev/null | grep -q '^install ok installed' || echo "$name"
	done
}

# as_root COMMAND...: directly, or through sudo (which asks only where somebody can answer).
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		sudo "$@"
	else
		return 127
	fi
}

# need GROUP...: installs what is missing, once a call. One line and failure where that cannot be done.
need() {
	local missing
	missing=$(packages_missing "$@" | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	echo "dev: installing $missing" >&2
	if ! install_packages "$missing" >"$scratch/apt.log" 2>&1; then
		tail -n 3 "$scratch/apt.log" >&2
		echo "dev: these Debian packages are missing and could not be installed (root or sudo is needed): $missing" >&2
		exit 1
	fi
}

# want GROUP...: like need, but goes on without.
want() {
	(need "$@") || true
}

install_packages() {
	local names
	read -r -a names <<<"$1"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${names[@]}" && return 0
	# The lists may be missing or old.
	as_root apt-get update &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${names[@]}"
}
