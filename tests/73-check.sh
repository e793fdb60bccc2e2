# shellcheck shell=bash
# Checks that read a part of the packs, and come to everything in time.
. "$(dirname "$0")/lib.sh"

# Six backups: a pack of data and one of metadata each.
stored() {
	needs check backup
	mkdir tree
	twofold -q init
	local i
	for i in 1 2 3 4 5 6; do
		head -c 200000 /dev/urandom >"tree/$i"
		twofold -q backup tree
	done
}

# checked OPTION...: a check that finds nothing; leaves its summary in out.
checked() { expect 0 twofold --json check "$@"; }

test_parts_cover_everything() {
	stored
	checked
	[ "$(field packs_read)" = 0 ]
	[ "$(field packs_never_read)" = 12 ]
	local left=12 before
	while [ "$left" -gt 0 ]; do
		before=$left
		checked --read-data=20%
		left=$(field packs_never_read)
		# Nothing is read twice as long as there is something that was never read.
		[ "$left" -lt "$before" ]
		[ "$left" = 0 ] || [ "$(field packs_read)" = $((before - left)) ]
	done
	checked --budget 5m
	[ "$(field packs_read)" = 12 ]
	[ "$(field packs_left)" = 0 ]
	# Whatever becomes of the log, the check goes on.
	local log
	log=$(find home -name check-log)
	here "$log"
	printf 'xxxx' | dd of="$log" bs=1 seek=30 conv=notrunc status=none
	checked
	[ "$(field packs_never_read)" = 12 ]
	checked --no-cache --read-data=50%
	expect 2 twofold check --read-data=0
	expect 2 twofold check --budget soon
	expect 2 twofold check --read-since yesterday
}

test_damage_is_read_first() {
	stored
	checked --read-data
	local pack
	pack=$(find repo/packs -type f -size +100k | sort | head -n 1)
	printf 'xxxx' | dd of="$pack" bs=1 seek=5000 conv=notrunc status=none
	expect 1 twofold check --read-data
	grep -q "damaged: packs/.*$(basename "$pack")" out
	grep -q '^hit: ' out
	expect 1 twofold check --read-data=1
	grep -q "damaged: packs/.*$(basename "$pack")" out
}

test_since() {
	needs_tool faketime
	needs check backup
	mkdir tree
	twofold -q init
	seq 100000 >tree/a
	faketime '2024-05-01 12:00:00' "$TWOFOLD" -q backup tree
	seq 200000 >tree/b
	twofold -q backup tree
	checked --read-since 2d
	[ "$(field packs)" = 4 ]
	[ "$(field packs_read)" = 2 ]
	checked --read-since 2024-04-30
	[ "$(field packs_read)" = 4 ]
	# Nobody knows how old the packs of a forgotten snapshot are.
	needs forget
	twofold -q forget --keep-last 1
	checked --read-since 2d
	[ "$(field packs_read)" = 4 ]
}

test_interrupted() {
	needs_tool strace
	stored
	local code=0
	timeout -s INT 2 strace -f -o /dev/null -e inject=pread64:delay_enter=100000 "$TWOFOLD" --json check --read-data >out 2>err || code=$?
	[ "$code" != 0 ] || skip 'the check was faster than the signal'
	checked
	local left
	left=$(field packs_never_read)
	[ "$left" != 0 ] || skip 'the signal came after the last pack'
	checked --resume
	[ "$(field packs_never_read)" = 0 ]
	[ "$(field packs_read)" = "$left" ]
	# It has come to its end: from the start again.
	checked --resume
	[ "$(field packs_read)" = 12 ]
}

run_cases
