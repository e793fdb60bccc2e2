# shellcheck shell=bash
# The snapshot log: what vanishes, comes back or goes back in time is named.
. "$(dirname "$0")/lib.sh"

two_backups() {
	needs init backup snapshots forget check
	mkdir tree
	echo one >tree/x
	twofold init
	twofold backup tree
	echo two >tree/y
	twofold backup tree
	expect 0 twofold snapshots
}

objects() { ls "$TWOFOLD_REPOSITORY/$1"; }

# The full id of the oldest.
first_snapshot() { twofold --json snapshots | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' | head -n 1; }

test_nothing_to_say() {
	two_backups
	[ "$(objects log | wc -l)" = 2 ]
	expect 0 twofold forget "$(first_snapshot)"
	expect 0 twofold snapshots
	expect 0 twofold check
	[ "$(objects log | wc -l)" = 3 ]
}

test_a_snapshot_that_vanishes_is_named() {
	two_backups
	local id
	id=$(first_snapshot)
	rm "$TWOFOLD_REPOSITORY/snapshots/$id"
	expect 3 twofold snapshots
	grep -q "snapshot ${id:0:16}: it is gone" err
	expect 1 twofold check
	grep -q "snapshots/$id: it is gone" out
	# Other machines see it as well.
	XDG_CACHE_HOME=$PWD/elsewhere expect 3 twofold snapshots
	expect 0 twofold snapshots --accept
	expect 0 twofold snapshots
	XDG_CACHE_HOME=$PWD/elsewhere expect 0 twofold snapshots
	expect 0 twofold check
}

test_a_snapshot_that_comes_back_is_named() {
	two_backups
	local id
	id=$(first_snapshot)
	cp "$TWOFOLD_REPOSITORY/snapshots/$id" kept
	expect 0 twofold forget "$id"
	cp kept "$TWOFOLD_REPOSITORY/snapshots/$id"
	expect 3 twofold snapshots
	grep -q "snapshot ${id:0:16}: it was forgotten" err
	expect 0 twofold forget "$id"
	expect 0 twofold snapshots
}

# The whole store as it was before: consistent in itself, but this machine has seen more.
test_a_store_that_goes_back_in_time() {
	two_backups
	cp -a "$TWOFOLD_REPOSITORY" before
	echo three >tree/z
	twofold backup tree
	rm -rf "$TWOFOLD_REPOSITORY"
	cp -a before "$TWOFOLD_REPOSITORY"
	expect 3 twofold snapshots
	grep -q 'went back in time' err
	expect 1 twofold check
	expect 0 twofold backup tree # goes on, and does not make it forgotten
	expect 3 twofold snapshots
	expect 0 twofold snapshots --accept
	expect 0 twofold snapshots
	# Without its log altogether.
	rm -r "$TWOFOLD_REPOSITORY/log"
	expect 3 twofold snapshots
}

test_an_entry_that_is_lost_is_named() {
	two_backups
	echo three >tree/z
	local first
	twofold backup tree
	# One that others name: the one that is not the last.
	for first in $(objects log); do
		mv "$TWOFOLD_REPOSITORY/log/$first" aside
		XDG_CACHE_HOME=$PWD/elsewhere twofold snapshots >out 2>err || true
		mv aside "$TWOFOLD_REPOSITORY/log/$first"
		grep -q "log ${first:0:16}: this entry of the log is gone" err && return 0
	done
	return 1
}

test_keys_that_go_back_in_time() {
	two_backups
	needs 'key rotate'
	cp -a "$TWOFOLD_REPOSITORY/keys" before
	expect 0 twofold key rotate
	expect 0 twofold snapshots
	rm -r "$TWOFOLD_REPOSITORY/keys"
	cp -a before "$TWOFOLD_REPOSITORY/keys"
	expect 3 twofold snapshots
	grep -q 'newer master key' err
}

# A repository from before there was a log: it begins with what is there.
test_begins_with_what_is_there() {
	two_backups
	rm -r "$TWOFOLD_REPOSITORY/log" "$HOME/.local/state" # nor did anybody sign
	expect 0 twofold snapshots --no-cache
	expect 0 twofold backup tree --no-cache
	export XDG_CACHE_HOME=$PWD/elsewhere # this machine's memory knows of the log that is gone
	expect 0 twofold snapshots
	rm "$TWOFOLD_REPOSITORY/snapshots/$(first_snapshot)"
	expect 3 twofold snapshots
}

# Deleting and overwriting refused: backups go on; what was to be forgotten is named until it is.
test_a_store_that_only_grows() {
	needs_tool python3
	two_backups
	local folder
	needs_root
	for folder in snapshots log packs index keys; do
		chattr +a "$TWOFOLD_REPOSITORY/$folder" 2>/dev/null || skip 'no append-only attribute here'
	done
	trap 'chattr -R -a "$TWOFOLD_REPOSITORY" 2>/dev/null || true' EXIT
	local status=0
	echo three >tree/z
	twofold backup tree >out 2>err || status=$?
	local forgot=0
	twofold forget "$(first_snapshot)" >out2 2>err2 || forgot=$?
	chattr -R -a "$TWOFOLD_REPOSITORY" 2>/dev/null || true
	[ "$status" = 0 ] || [ "$status" = 3 ]
	[ "$forgot" != 0 ]
	expect 3 twofold snapshots
	grep -q 'it was forgotten, and is there' err
	expect 0 twofold check
	expect 0 twofold forget "$(twofold --json snapshots 2>/dev/null | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' | head -n 1 || true)"
	expect 0 twofold snapshots
}

run_cases
