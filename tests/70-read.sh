# shellcheck shell=bash
# Looking inside: the same commands for files and for images.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup image snapshots ls find cat stats
	needs_tool mkfs.ext4
	mkdir -p tree/sub
	seq 100000 >tree/sub/numbers
	printf 'x' >$'tree/caf\xe9'
	ln -s sub/numbers tree/link
	truncate -s 30M fs.img
	mkfs.ext4 -q -F -d tree fs.img
	twofold init
	twofold backup tree --tag monday
	twofold image fs.img
}

test_snapshots() {
	stored
	expect 0 twofold snapshots
	grep -q "$PWD/tree" out
	grep -q monday out
	grep -q image out
	expect 0 twofold --json snapshots
	[ "$(grep -c '"type":"snapshot"' out)" = 2 ]
	# By id, by unique prefix, by name.
	local id
	id=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*"kind":"files".*/\1/p' out)
	expect 0 twofold ls "$id:$PWD/tree"
	expect 0 twofold ls "${id:0:10}:$PWD/tree"
	expect 1 twofold ls "ffff${id:0:10}:$PWD/tree"
}

test_ls() {
	stored
	expect 0 twofold ls latest
	grep -q sub out
	expect 0 twofold ls latest:/sub
	grep -q numbers out
	expect 0 twofold ls -R latest
	grep -q 'caf\\xe9' out
	expect 0 twofold --json ls latest
	grep -q '"name_bytes":"Y2Fm6Q=="' out
	expect 1 twofold ls latest:/nothing
	says nothing
}

test_find() {
	stored
	expect 0 twofold find 'numb*'
	[ "$(grep -c numbers out)" = 2 ]
	twofold --quiet find 'nothing-of-this-name' >out 2>err || [ $? = 1 ]
	[ ! -s out ]
}

test_cat() {
	stored
	expect 0 twofold cat latest:/sub/numbers
	cmp out tree/sub/numbers
	expect 0 twofold --json cat latest:/sub/numbers
	cmp out tree/sub/numbers
	expect 1 twofold cat latest:/sub
	expect 1 twofold cat latest:/nothing
	says nothing
	[ ! -s out ]
	# A reader that has seen enough.
	{ twofold cat latest:/sub/numbers 2>err || echo $? >code; } | head -c 10 >/dev/null
	[ ! -s code ] || [ "$(cat code)" = 1 ]
	[ ! -s err ]
}

test_stats_and_check() {
	stored
	expect 0 twofold stats
	expect 0 twofold --json stats
	grep -q '^{.*}$' out
	needs check
	expect 0 twofold check
	expect 0 twofold check --read-data
	expect 0 twofold check --read-data=50
	expect 2 twofold check --read-data=x
	expect 0 twofold --json check
	no grep -v '^{.*}$' out
}

test_diff() {
	stored
	needs diff
	echo changed >>tree/sub/numbers
	twofold backup tree
	local ids
	expect 0 twofold --json snapshots
	mapfile -t ids < <(sed -n 's/.*"id":"\([0-9a-f]*\)".*"kind":"files".*/\1/p' out)
	twofold diff "${ids[0]}" "${ids[1]}" >out
	grep -q numbers out
	no grep -q link out
}

run_cases
