# shellcheck shell=bash
# Sourced by every case file. A case file defines functions test_WHAT and ends with run_cases.
#
# Each function runs in a folder of its own, with set -e, a home, and an empty place for a repository (TWOFOLD_REPOSITORY) that a key
# file opens (no Argon2, so it is fast). It prints what it likes; that is shown when it fails. It may call:
#   needs COMMAND...       skipped while twofold lacks one of them
#   needs_root, needs_tool NAME..., skip REASON
#   expect CODE COMMAND... the command must end with this exit code; its output is in the files out and err
#   field NAME             a number or text out of the last JSON line of out that has it
set -uo pipefail

: "${TWOFOLD:?the program to test}" "${TOOLS:?the folder with mktree and lstree}"
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export DATA=${TWOFOLD_TEST_DATA:-$folder/../../shared/data}
file=$(basename "$0")
base=$(mktemp -d "${TMPDIR:-/tmp}/twofold-${file%.sh}-XXXXXX")
chmod 755 "$base"
# What was mounted or made immutable must not outlive the test.
cleanup() {
	cd /
	awk -v b="$base/" 'index($2, b) == 1 { print $2 }' /proc/mounts | tac | while read -r at; do umount -l "$at"; done
	chattr -R -f -ia "$base" 2>/dev/null
	rm -rf "$base" 2>/dev/null || { chmod -R u+rwx "$base" && rm -rf "$base"; }
}
trap cleanup EXIT
while read -r name; do unset "$name"; done < <(compgen -e TWOFOLD_)
unset XDG_DATA_HOME XDG_CONFIG_HOME XDG_CACHE_HOME XDG_STATE_HOME
export LC_ALL=C.UTF-8 TZ=UTC
umask 022
{
	echo '# key of the tests'
	echo 'twofold-key-1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
} >"$base/key"

twofold() { "$TWOFOLD" "$@"; }
mktree() { "$TOOLS/mktree" "$@"; }
lstree() { "$TOOLS/lstree" "$@"; }

skip() {
	echo "$*" >"$base/reason"
	exit 77
}

needs() {
	local command
	for command; do
		twofold help | grep -q "^  $command  " || skip "twofold has no command $command yet"
	done
}

needs_root() { [ "$(id -u)" = 0 ] || skip 'needs root'; }

needs_tool() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

expect() {
	local want=$1 code=0
	shift
	"$@" >out 2>err || code=$?
	[ "$code" = "$want" ] && return 0
	echo "expected exit code $want, got $code: $*"
	head -n 20 out err
	return 1
}

# set -e does not see a failed "! command", nor the first half of "a && b": these are for test functions.
no() { ! "$@"; }
here() {
	local path
	for path; do [ -e "$path" ] || [ -L "$path" ] || { echo "missing: $path"; return 1; }; done
}
gone() {
	local path
	for path; do [ ! -e "$path" ] && [ ! -L "$path" ] || { echo "still there: $path"; return 1; }; done
}

# says PART: the last expected failure was one line on stderr that begins with "twofold: " and holds PART.
says() {
	if [ "$(wc -l <err)" != 1 ] || ! grep -q '^twofold: ' err || ! grep -qF -- "$1" err; then
		echo "expected one line with: $1"
		cat err
		return 1
	fi
}

field() {
	sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" out | tail -n 1
}

# As another user, when root runs the tests: COMMAND with what it needs to be found.
as_nobody() {
	if [ "$(id -u)" != 0 ]; then
		"$@"
	else
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	fi
}

# same_tree A B [plain]: our own list, and rsync's opinion in both directions.
same_tree() {
	local options=-aHAXn
	[ -z "${3:-}" ] || options=-aHn
	lstree "$1" ${3:+plain} >"$base/list-a"
	lstree "$2" ${3:+plain} >"$base/list-b"
	if ! cmp -s "$base/list-a" "$base/list-b"; then
		echo "$1 and $2 differ:"
		diff "$base/list-a" "$base/list-b" | cut -c 1-300 | head -n 20
		return 1
	fi
	command -v rsync >/dev/null || return 0
	# rsync reads through holes: a terabyte of them is for lstree alone.
	rsync $options --checksum --numeric-ids --itemize-changes --delete --exclude /sparse/huge "$1/" "$2/" >"$base/rsync"
	rsync $options --checksum --numeric-ids --itemize-changes --delete --exclude /sparse/huge "$2/" "$1/" >>"$base/rsync"
	if [ -s "$base/rsync" ]; then
		echo "rsync sees a difference between $1 and $2:"
		head -n 20 "$base/rsync"
		return 1
	fi
}

# takes_at_least MILLISECONDS COMMAND...: succeeds, and not sooner.
takes_at_least() {
	local least=$1 start=${EPOCHREALTIME/./}
	shift
	"$@" || return 1
	local took=$(((${EPOCHREALTIME/./} - start) / 1000))
	[ $took -ge "$least" ] || { echo "took $took ms, not $least: $*"; return 1; }
}

run_cases() {
	local name code
	for name in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do
		[[ $name =~ ${TEST_ONLY:-} ]] || continue
		rm -f "$base/reason"
		mkdir -p "$base/$name/home"
		(
			set -eE
			trap 'echo "line $LINENO: $BASH_COMMAND"' ERR
			cd "$base/$name"
			export HOME=$PWD/home TWOFOLD_REPOSITORY=$PWD/repo TWOFOLD_PASSWORD_FILE=$base/key
			"$name"
		) >"$base/log" 2>&1
		code=$?
		if [ $code = 0 ]; then
			echo "ok ${file%.sh}: ${name#test_}"
		elif [ $code = 77 ] && [ -s "$base/reason" ]; then
			echo "skipped ${file%.sh}: ${name#test_}: $(cat "$base/reason")"
		else
			sed 's/^/    /' "$base/log" | tail -n 60
			echo "not ok ${file%.sh}: ${name#test_}"
		fi
		# Disks and trees are large: gone before the next.
		awk -v b="$base/$name/" 'index($2, b) == 1 { print $2 }' /proc/mounts | tac | while read -r at; do umount -l "$at"; done
		chattr -R -f -ia "$base/$name" 2>/dev/null
		rm -rf "${base:?}/$name" 2>/dev/null || { chmod -R u+rwx "$base/$name" && rm -rf "${base:?}/$name"; }
	done
	exit 0 # what failed has been said; the runner counts
}
