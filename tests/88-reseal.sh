# shellcheck shell=bash
# After a change of the master key: what the old one seals is sealed anew, and the old one is dropped.
. "$(dirname "$0")/lib.sh"

# Three snapshots, of which each adds a pack; one by a write-only key; then the change.
rotated() {
	needs init backup snapshots restore check 'key add' 'key rotate' 'key reseal'
	mkdir tree
	twofold init
	local i
	for i in 1 2 3; do
		head -c 2000000 /dev/urandom >"tree/$i"
		expect 0 twofold backup tree
	done
	expect 0 twofold key add --write-only wo.key
	seq 1000 >tree/4
	expect 0 twofold backup tree --password-file wo.key
	cp -a "$TWOFOLD_REPOSITORY" before
	expect 0 twofold key rotate
	expect 0 twofold snapshots
}

# Objects whose head names a master key before number $1 (from 0).
old_objects() {
	local f head
	find "$TWOFOLD_REPOSITORY" -type f -regex '.*/\(packs\|index\|snapshots\|log\|writers\|fences\|tombstones\|sessions\)/.*' | while read -r f; do
		head=$(od -An -tu1 -j11 -N3 "$f")
		# shellcheck disable=SC2086
		set -- "$1" $head
		[ "$2" = 1 ] || [ "$(($3 + 256 * $4))" -ge "$1" ] || echo "$f"
	done
}

same_as_tree() {
	local target
	target=$(mktemp -d "$PWD/back-XXXX")
	twofold restore "$1" --target "$target" >/dev/null
	diff -r tree "$target$PWD/tree"
}

test_all_of_it() {
	rotated
	[ "$(old_objects 1 | wc -l)" -gt 8 ]
	twofold --json snapshots | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/' >ids
	expect 0 twofold key list
	grep -q '1 to 2' out
	grep -q 'old master keys are still needed' out
	expect 0 twofold key reseal --dry-run
	grep -q 'still sealed by old master keys: [1-9]' out
	[ "$(old_objects 1 | wc -l)" -gt 8 ]
	# In pieces.
	expect 0 twofold key reseal --max-repack 1
	grep -q 'still sealed by old master keys: [1-9]' out
	expect 0 twofold key list
	grep -q '1 to 2' out
	expect 0 twofold key reseal
	grep -q 'nothing is sealed by an old master key any more' out
	grep -q 'holds no old master key any more' out
	old_objects 1 | tee left
	[ ! -s left ]
	expect 0 twofold --json key list
	grep -q '"dropped":1' out
	# What opens the repository now cannot open what was: all of it is read without the old key. Ids and signatures are as they were.
	expect 0 twofold check --read-data --no-cache
	expect 0 twofold snapshots
	twofold --json snapshots | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/' | cmp - ids
	same_as_tree latest
	if python3 -c 'import ctypes; ctypes.CDLL("libsodium.so.23")'; then
		export PYTHONDONTWRITEBYTECODE=1
		python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "key:$TWOFOLD_PASSWORD_FILE" check
		python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "key:$TWOFOLD_PASSWORD_FILE" log
	fi
	# An object of before, brought back by the storage, is not read any more.
	local object
	object=snapshots/$(head -n 1 ids)
	cp "before/$object" "$TWOFOLD_REPOSITORY/$object"
	expect 3 twofold snapshots
	grep -q 'sealed by master key 1, which was dropped' err
	rm "$TWOFOLD_REPOSITORY/$object"
	# The thief, with the key as it was and the storage as it is.
	cp -a "$TWOFOLD_REPOSITORY" theft
	rm theft/keys/*
	cp before/keys/* theft/keys/
	expect 1 twofold cat --repo theft --no-cache "latest:$PWD/tree/1"
	# And once more from there; deduplication goes on.
	expect 0 twofold snapshots --accept
	twofold --json backup tree >out
	[ "$(field added_stored)" -lt 100000 ]
	expect 0 twofold key rotate
	expect 0 twofold key add --new-key-file "$PWD/new.key"
	expect 0 twofold key reseal --also new.key
	expect 0 twofold key list
	no grep -q ' to ' out
	expect 0 twofold check --read-data --password-file new.key --no-cache
	expect 0 twofold backup tree --password-file wo.key
	same_as_tree latest
}

# One key at a time: what is not at hand is told, and done when it is.
test_other_keys() {
	rotated
	expect 0 twofold key add --new-key-file "$PWD/new.key"
	expect 0 twofold key reseal
	grep -q 'still holds old master keys' out
	expect 0 twofold snapshots --password-file new.key
	expect 0 twofold key reseal --password-file new.key
	expect 0 twofold key list
	no grep -q ' to ' out
	expect 0 twofold check
}

test_interrupted() {
	rotated
	local i wait
	for wait in 0.01 0.02 0.03 0.05 0.08 0.1 0.15 0.2; do
		"$TWOFOLD" key reseal --max-repack 1 >killed 2>&1 &
		i=$!
		sleep "$wait"
		kill -9 "$i" 2>/dev/null || true
		wait "$i" 2>/dev/null || true
		expect 0 twofold check
		expect 0 twofold snapshots
	done
	expect 0 twofold key reseal
	grep -q 'nothing is sealed by an old' out
	old_objects 1 | tee left
	[ ! -s left ]
	expect 0 twofold check --read-data --no-cache
	same_as_tree latest
}

# Backups and forgetting go on beside it.
test_beside_backups() {
	rotated
	local i
	(
		for i in 1 2 3 4 5 6; do
			"$TWOFOLD" key reseal --max-repack 1 >resealed 2>&1 || { cat resealed; exit 1; }
		done
	) >beside 2>&1 &
	local loop=$!
	for i in 1 2 3 4; do
		head -c 1000000 /dev/urandom >"tree/more$i"
		expect 0 twofold backup tree
		expect 0 twofold forget "$(twofold --json snapshots 2>/dev/null | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' | head -n 1)"
	done
	wait "$loop" || { cat beside; return 1; }
	expect 0 twofold prune
	expect 0 twofold key reseal
	grep -q 'nothing is sealed by an old' out
	expect 0 twofold check --read-data --no-cache
	expect 0 twofold snapshots
	same_as_tree latest
}

# Who began before the change ends with the old key: until then nothing is done.
test_a_backup_from_before() {
	needs init backup check 'key rotate' 'key reseal'
	mkdir tree
	head -c 3000000 /dev/urandom >tree/x
	twofold init
	expect 0 twofold backup tree
	mkfifo tree-pipe
	mkdir large
	head -c 400000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 >large/x 2>/dev/null
	"$TWOFOLD" backup large >late 2>&1 &
	local backup=$! i
	for i in $(seq 500); do
		# Not only the session's object: a pack grows, so the session has begun for good.
		[ -z "$(find "$TWOFOLD_REPOSITORY/tmp" -name 'tmp-*' -size +100k 2>/dev/null)" ] || break
		sleep 0.01
	done
	kill -STOP "$backup"
	if [ -z "$(ls "$TWOFOLD_REPOSITORY/sessions")" ]; then
		kill -CONT "$backup"
		skip 'the backup was too fast'
	fi
	expect 0 twofold key rotate
	expect 1 twofold key reseal
	grep -q 'somebody is at work .* who began before the master key was changed' err
	expect 0 twofold key list
	grep -q '1 to 2' out
	kill -CONT "$backup"
	wait "$backup" || { cat late; return 1; }
	expect 0 twofold key reseal
	grep -q 'holds no old master key any more' out
	expect 0 twofold check --read-data --no-cache
}

# What parity has of the objects as they were does not come back.
test_parity() {
	needs 'parity add' 'parity status' repair
	rotated
	expect 0 twofold parity add --automatic
	expect 0 twofold key reseal
	old_objects 1 | tee left
	[ ! -s left ]
	expect 0 twofold check
	grep -q 'parity protects' out
	expect 0 twofold repair
	old_objects 1 | tee left
	[ ! -s left ]
	local object
	object=$(find "$TWOFOLD_REPOSITORY/snapshots" -type f | head -n 1)
	printf xxxx | dd of="$object" bs=1 seek=200 conv=notrunc status=none
	expect 1 twofold check
	expect 0 twofold repair
	expect 0 twofold check --read-data
}

run_cases
