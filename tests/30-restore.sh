# shellcheck shell=bash
# What restore does to a target that is not empty, or hostile.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup restore
	mkdir -p tree/sub
	echo original >tree/sub/file
	echo other >tree/other
	ln -s file tree/sub/link
	touch -d '2020-01-01 00:00:00.5' tree/sub/file
	twofold init
	twofold backup tree
}

test_overwrite_modes() {
	stored
	local mode
	for mode in always if-changed if-newer never; do
		mkdir -p "$mode/sub"
		echo modified >"$mode/sub/file" # newer than the stored one
		expect 0 twofold restore "latest:$PWD/tree" --target "$mode" --overwrite "$mode"
	done
	grep -q original always/sub/file
	grep -q original if-changed/sub/file
	grep -q modified if-newer/sub/file
	grep -q modified never/sub/file
	[ -e never/other ]
	expect 2 twofold restore "latest:$PWD/tree" --target x --overwrite sometimes
}

# Equal size and mtime: if-changed leaves it alone, as it says.
test_if_changed_trusts_size_and_time() {
	stored
	mkdir -p back/sub
	echo replaced >back/sub/file
	touch -r tree/sub/file back/sub/file
	expect 0 twofold restore "latest:$PWD/tree" --target back
	grep -q replaced back/sub/file
	expect 0 twofold restore "latest:$PWD/tree" --target back --overwrite always
	grep -q original back/sub/file
}

test_dry_run_writes_nothing() {
	stored
	expect 0 twofold restore "latest:$PWD/tree" --target back --dry-run
	[ ! -e back ]
}

test_symlinks_in_the_way_are_not_followed() {
	stored
	mkdir -p outside back
	echo precious >outside/file
	ln -s "$PWD/outside" back/sub
	ln -s "$PWD/outside/file" back/other
	expect 0 twofold restore "latest:$PWD/tree" --target back
	grep -q precious outside/file
	[ "$(ls outside)" = file ]
	cmp tree/sub/file back/sub/file
	cmp tree/other back/other
}

test_other_types_in_the_way() {
	stored
	mkdir -p back
	echo 'a file where a folder goes' >back/sub
	mkdir back/other
	local code=0
	twofold restore "latest:$PWD/tree" --target back >out 2>err || code=$?
	# Replaced, or refused and named; never silently left.
	if [ $code = 0 ]; then
		cmp tree/sub/file back/sub/file
		cmp tree/other back/other
	else
		grep -qE 'sub|other' err
	fi
}

test_single_entries() {
	stored
	expect 0 twofold restore "latest:$PWD/tree/sub/file" --target one
	cmp tree/sub/file one/file
	expect 0 twofold restore "latest:$PWD/tree/sub" --target two
	cmp tree/sub/file two/file
	[ "$(readlink two/link)" = file ]
	expect 1 twofold restore "latest:$PWD/tree/nothing" --target three
	says nothing
	[ ! -e three ] || [ -z "$(ls three)" ]
}

test_snapshots_that_are_not_there() {
	stored
	expect 1 twofold restore abcdef --target x
	says abcdef
	expect 1 twofold restore zzzz --target x
	expect 2 twofold restore latest
	rm -r repo/snapshots
	mkdir repo/snapshots
	expect 1 twofold restore latest --target x
}

test_full_disk() {
	stored
	needs_root
	mkdir small
	mount -t tmpfs -o size=1m none small 2>/dev/null || skip 'cannot mount tmpfs'
	head -c 5000000 /dev/urandom >tree/large
	twofold backup tree
	local code=0
	twofold restore "latest:$PWD/tree" --target small/back >out 2>err || code=$?
	[ $code = 1 ] || [ $code = 3 ]
	grep -q 'No space left' err
	grep -q large err
}

run_cases
