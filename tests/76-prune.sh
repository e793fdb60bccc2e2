# shellcheck shell=bash
# Pruning: space comes back, while others are at work, after interruptions, on full disks.
. "$(dirname "$0")/lib.sh"

ids() { twofold --json snapshots | sed -n 's/.*"type":"snapshot","id":"\([0-9a-f]*\)".*/\1/p'; }
stored() { du -sb repo/packs | cut -f 1; }
random() { head -c "$1" /dev/urandom; }

# clean: nothing is damaged, and nothing is left of any collection.
clean() {
	expect 0 twofold check --read-data
	no ls repo/tombstones/* 2>/dev/null
	no ls repo/sessions/* 2>/dev/null
}

# same TREE: what the latest snapshot gives back is this tree.
same() {
	rm -rf back
	twofold -q restore latest --target back
	diff -r "back$PWD/$1" "$1"
}

# paused_backup TREE: a backup that stands still in the middle of its work; its process is $writer.
paused_backup() {
	"$TWOFOLD" -q backup --level 9 "$1" >writer.out 2>writer.err &
	writer=$!
	until ls repo/sessions/* >/dev/null 2>&1; do kill -0 $writer && sleep 0.01; done
	sleep 0.2
	kill -STOP $writer
	kill -0 $writer
}

test_space_comes_back() {
	needs prune
	mkdir tree
	random 30000000 >tree/gone
	random 20000000 >tree/stays
	for i in $(seq 500); do random 3000 >"tree/$i"; done
	twofold -q init
	twofold -q backup tree
	rm tree/gone tree/2??
	twofold -q backup tree
	local before after
	before=$(stored)
	expect 0 twofold prune
	[ "$(stored)" = "$before" ]
	twofold forget "$(ids | head -n 1)"
	expect 0 twofold --json prune --dry-run
	[ "$(stored)" = "$before" ]
	expect 0 twofold --json prune --max-unused 0
	after=$(stored)
	[ "$after" -lt $((before - 30000000)) ]
	[ "$after" -lt 22500000 ]
	clean
	same tree
	# All goes once nothing is left.
	twofold forget latest
	expect 0 twofold prune
	[ "$(find repo/packs repo/index -type f | wc -l)" = 0 ]
	twofold -q backup tree
	same tree
}

test_images_and_files_share() {
	needs prune image
	needs_tool mke2fs
	mkdir tree
	for i in $(seq 50); do random 300000 >"tree/$i"; done
	mke2fs -q -t ext4 -d tree disk 64M
	twofold -q init
	twofold -q backup tree
	twofold -q image disk
	rm tree/1?
	twofold -q backup tree
	twofold forget "$(ids | head -n 1)"
	expect 0 twofold prune --max-unused 0
	clean
	twofold -q restore-image "$(ids | head -n 1)" --target again --yes
	"$TOOLS/imgcmp" disk again
	same tree
}

# What a backup relies on stays until it has ended, and it may rely on what is about to go.
test_a_backup_at_work() {
	needs prune
	mkdir tree
	random 60000000 >tree/known
	twofold -q init
	twofold -q backup tree
	random 250000000 >tree/new
	twofold forget latest
	paused_backup tree
	expect 3 twofold --json prune
	[ "$(field awaited)" = 1 ]
	[ "$(field pending_packs)" -ge 1 ]
	[ "$(field deleted_packs)" = 0 ]
	expect 3 twofold prune
	kill -CONT $writer
	wait $writer
	same tree
	expect 0 twofold --json prune
	[ "$(field awaited)" = 0 ]
	clean
	same tree
}

# A session that is given up: its backup finds that out before it reports success.
test_a_backup_that_was_given_up() {
	needs prune
	mkdir tree
	random 60000000 >tree/known
	twofold -q init
	twofold -q backup tree
	random 250000000 >tree/new
	twofold forget latest
	paused_backup tree
	sleep 1.1
	expect 0 twofold --json prune --fence-after 1s
	[ "$(field fenced)" = 1 ]
	kill -CONT $writer
	if wait $writer; then
		same tree
	else
		grep -q 'run the backup again' writer.err
		[ -z "$(ids)" ]
	fi
	twofold -q backup tree
	same tree
	expect 0 twofold prune
	clean
	same tree
}

test_killed_prunes() {
	needs prune
	mkdir tree
	twofold -q init
	for round in 1 2 3 4 5 6; do
		for i in $(seq 40); do random 500000 >"tree/$i.$((i % round))"; done
		twofold -q backup tree
	done
	for id in $(ids | head -n 5); do twofold forget "$id"; done
	for wait in 0.02 0.05 0.08 0.1 0.15 0.2 0.25 0.3; do
		"$TWOFOLD" -q prune --max-unused 0 >/dev/null 2>&1 &
		sleep $wait
		kill -KILL $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		expect 0 twofold check
		same tree
	done
	twofold -q backup tree
	expect 0 twofold prune --max-unused 0
	clean
	same tree
}

packs_there() { compgen -G 'repo/packs/*/*' | wc -l || true; }

# The first backup over a slow line never comes to its end in a night, and every night a prune follows.
test_what_was_interrupted_is_left_to_the_next_backup() {
	needs backup prune
	local how stored before
	mkdir tree
	head -c 200000000 /dev/urandom >tree/large
	twofold init
	for how in TERM KILL; do
		# Stopped as soon as a pack is whole.
		before=$(packs_there)
		"$TWOFOLD" backup tree >/dev/null 2>&1 &
		until [ "$(packs_there)" -gt "$before" ]; do kill -0 $! || break; done
		kill -$how $! 2>/dev/null || true
		wait $! || true
		[ -z "$(find repo/snapshots -type f 2>/dev/null)" ] || skip 'the backup was too quick to be interrupted'
		expect 0 twofold --json prune
		[ "$(field deleted_packs)" = 0 ]
		[ "$(field kept_packs)" -gt "$before" ]
		[ -n "$(find repo/unfinished -type f)" ]
		expect 0 twofold prune
		grep -q 'interrupted backups are kept' out
	done
	expect 0 twofold check --read-data
	cp -a repo again
	# The next one goes on with it.
	expect 0 twofold --json backup tree
	stored=$(field added_stored)
	[ "$stored" -lt 180000000 ]
	expect 0 twofold prune
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
	# Until told otherwise, or it is too old.
	rm -rf repo && cp -a again repo
	expect 2 twofold prune --keep-interrupted x
	expect 0 twofold prune --keep-interrupted 30d
	sleep 1
	expect 0 twofold prune --keep-interrupted 0
	[ -z "$(find repo/packs repo/unfinished -type f)" ]
	# Nothing is kept of what was forgotten.
	expect 0 twofold backup tree
	expect 0 twofold forget latest
	expect 0 twofold prune
	[ -z "$(find repo/packs -type f)" ]
}

test_two_prunes_and_backups_at_once() {
	needs prune
	mkdir a b
	twofold -q init
	for i in $(seq 30); do random 400000 >"a/$i"; done
	twofold -q backup a
	cp -r a/. b
	for round in 1 2 3; do
		rm -f a/$round* && random 2000000 >a/new.$round
		twofold -q backup a &
		local one=$!
		random 2000000 >b/new.$round
		twofold -q backup b &
		local two=$!
		twofold -q prune >/dev/null 2>&1 &
		local p=$!
		twofold -q prune >/dev/null 2>&1 || true
		wait $one
		wait $two
		wait $p || true
		twofold -q forget "$(ids | head -n 1)"
	done
	expect 0 twofold prune
	clean
	for tree in a b; do
		rm -rf back
		twofold -q restore "$(twofold --json snapshots --path "$PWD/$tree" --latest 1 | sed -n 's/.*"type":"snapshot","id":"\([0-9a-f]*\)".*/\1/p')" --target back
		diff -r "back$PWD/$tree" $tree
	done
}

# A repository that fills its disk can be pruned.
test_full_disk() {
	needs prune
	needs_root
	mkdir small
	mount -t tmpfs -o size=64m none small
	export TWOFOLD_REPOSITORY=$PWD/small/repo
	mkdir tree
	random 30000000 >tree/a
	random 10000000 >tree/b
	twofold -q init
	twofold -q backup tree
	rm tree/a
	twofold -q backup tree
	head -c 100000000 /dev/zero >small/fill 2>/dev/null || true
	twofold forget "$(ids | head -n 1)"
	# What has to be rewritten needs room; what is dead as a whole does not.
	expect 0 twofold prune
	expect 0 twofold check --read-data
	rm small/fill
	expect 0 twofold prune --max-unused 0
	expect 0 twofold check --read-data
	same tree
}

test_damage_deletes_nothing() {
	needs prune
	mkdir tree
	random 3000000 >tree/a
	twofold -q init
	twofold -q backup tree
	random 3000000 >tree/b
	twofold -q backup tree
	twofold forget "$(ids | head -n 1)"
	rm "$(find repo/packs -type f -size +1M | head -n 1)"
	find repo/packs | sort >before
	expect 1 twofold prune
	grep -q 'nothing was deleted' err
	find repo/packs | sort | diff before -
}

run_cases
