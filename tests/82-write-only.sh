# shellcheck shell=bash
# Keys that can store, and not read.
. "$(dirname "$0")/lib.sh"

# A repository, and the key of a machine that may only write.
machine() {
	needs init backup snapshots restore check prune forget 'key add' 'key list' 'key rotate'
	mkdir tree
	seq 1 20000 >tree/a
	head -c 3000000 /dev/urandom >tree/b
	twofold init
	expect 0 twofold key add --write-only "$PWD/web.key" --label web
}

web() { "$TWOFOLD" "$@" --password-file web.key; }

id_of_latest() {
	expect 0 twofold --json snapshots --latest 1
	field id
}

second() { python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "key:$TWOFOLD_PASSWORD_FILE" "$@"; }

test_stores_and_others_read() {
	machine
	[ "$(stat -c %a web.key)" = 600 ]
	expect 0 twofold key list
	grep -q 'write-only.*web' out
	expect 0 web backup tree
	# It finds what it stored itself.
	echo more >tree/c
	expect 0 web --json backup tree
	[ "$(field added_stored)" -lt 20000 ]
	expect 0 twofold snapshots
	[ "$(grep -c 'by write-only key' out)" = 2 ]
	expect 0 twofold check --read-data
	grep -q 'no damage found' out
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	if command -v python3 >/dev/null; then
		second check
		second cat latest "$PWD/tree/b" | cmp - tree/b
	fi
	# Nothing is left at work, and no log entry is missed.
	[ -z "$(ls "$TWOFOLD_REPOSITORY/sessions")" ]
	expect 0 twofold snapshots
	[ ! -s err ]
}

test_reads_nothing() {
	machine
	expect 0 twofold backup tree
	expect 0 web backup tree
	local command
	for command in snapshots 'ls latest' 'restore latest --target out-of-it' check stats prune 'key list' 'forget latest' 'find a' 'key add --write-only other.key'; do
		# shellcheck disable=SC2086
		expect 1 web $command
		grep -q 'can store backups and cannot read them' err
		[ "$(wc -l <err)" = 1 ]
	done
	gone out-of-it
	gone other.key
	# Its bytes open no key object, in whatever piece: each of the six as a key file.
	local hex piece
	hex=$(sed -n 's/^twofold-write-1 //p' web.key)
	[ "${#hex}" = 384 ]
	for piece in 0 1 2 3 4 5; do
		echo "twofold-key-1 ${hex:piece*64:64}" >piece.key
		expect 1 twofold snapshots --password-file piece.key
	done
	# The file is taken for nothing else, and never written over.
	TWOFOLD_NEW_PASSWORD='' expect 1 twofold key add --new-password-file web.key
	expect 1 twofold key add --write-only web.key
	sed 's/^twofold-write-1 ..../twofold-write-1 /' web.key >cut.key
	expect 1 twofold backup tree --password-file cut.key
	grep -q 'write-only key is damaged' err
	mkdir other
	TWOFOLD_REPOSITORY=$PWD/other expect 0 twofold init
	TWOFOLD_REPOSITORY=$PWD/other expect 1 web backup tree
	grep -q 'belongs to another repository' err
}

# A backup with a full key takes nothing over: neither chunks, nor unchanged files of the last snapshot.
test_nothing_is_relied_on() {
	machine
	expect 0 web backup tree
	expect 0 twofold --json backup tree
	[ "$(field added_stored)" -gt 3000000 ]
	expect 0 twofold --json snapshots --latest 1
	no grep -q '"parent"' out
	expect 0 twofold --json backup tree
	# The folders above the tree may change while other tests run.
	[ "$(field added_stored)" -lt 100000 ]
	expect 0 twofold --json snapshots --latest 1
	grep -q '"parent"' out
	# So what the machine wrote can vanish. (Its packs: those that its snapshot's session names.)
	local web
	expect 0 twofold --json snapshots
	web=$(grep write_only_key out | grep -o '"id":"[0-9a-f]*"' | cut -d'"' -f4)
	expect 0 twofold forget "$web"
	expect 0 twofold prune --max-unused 0
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
}

# Its snapshots are of no group with others, whatever host they name.
test_forget_keeps_groups_apart() {
	machine
	expect 0 twofold backup tree --host alice
	expect 0 web backup tree --host alice
	expect 0 web backup tree --host alice
	expect 0 twofold forget --keep-last 1
	expect 0 twofold --json snapshots
	[ "$(grep -c '"type":"snapshot"' out)" = 2 ]
	[ "$(grep -c write_only_key out)" = 1 ]
}

test_prune_and_rotation() {
	machine
	expect 0 web backup tree
	expect 0 web backup tree/b
	local all
	all=$(id_of_latest)
	expect 0 twofold forget "$all"
	expect 0 twofold prune --max-unused 0
	expect 0 twofold check --read-data
	# Where a collector's mark lies that cannot be read, nothing is relied on.
	head -c 600 /dev/urandom >"$TWOFOLD_REPOSITORY/keep"
	mkdir -p "$TWOFOLD_REPOSITORY/tombstones"
	mv "$TWOFOLD_REPOSITORY/keep" "$TWOFOLD_REPOSITORY/tombstones/$(printf 'ab%.0s' $(seq 32))"
	expect 0 web --json backup tree
	[ "$(field added_stored)" -gt 3000000 ]
	rm "$TWOFOLD_REPOSITORY"/tombstones/*
	expect 0 twofold key rotate
	echo later >tree/c
	expect 0 web backup tree
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	grep -q 'no damage found' out
	expect 0 twofold prune --max-unused 0
	expect 0 twofold check --read-data
	expect 0 web backup tree
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	# Without the key of a session what it wrote is damage, and named.
	rm "$TWOFOLD_REPOSITORY"/sealed/*
	expect 1 twofold check
	grep -q 'find the key of a session' err out
}

test_images() {
	needs image restore-image
	machine
	needs_tool mkfs.ext4
	mkfs.ext4 -q -d tree disk.img 16M
	expect 0 web image disk.img
	expect 0 twofold restore-image latest --target back.img --yes --verify
	cmp disk.img back.img
}

run_cases
