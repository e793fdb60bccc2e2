# shellcheck shell=bash
# Copying snapshots between repositories with keys of their own.
. "$(dirname "$0")/lib.sh"

# A second repository with its own key.
second() {
	needs copy
	printf 'twofold-key-1 %064d\n' 7 >second.key
	export TWOFOLD_TO_PASSWORD_FILE=$PWD/second.key TWOFOLD_FROM_PASSWORD_FILE=$PWD/second.key
	# It alone is meant by: at second COMMAND...
	second=$PWD/second
}
at_second() { TWOFOLD_REPOSITORY=$second TWOFOLD_PASSWORD_FILE=$PWD/second.key twofold "$@"; }
ids() { "$@" --json snapshots | sed -n 's/.*"type":"snapshot","id":"\([0-9a-f]*\)".*/\1/p'; }
copied() { expect 0 twofold --json copy "$@"; }

test_files_and_images() {
	needs_root
	needs_tool mkfs.ext4
	second
	mktree tree 5
	# Of several blocks, and of more parts than an entry holds.
	head -c 60000000 /dev/urandom >tree/large
	mkdir disk
	cp tree/large disk
	seq 300000 >disk/numbers
	truncate -s 200M fs.img
	mkfs.ext4 -q -F -d disk fs.img
	twofold -q init
	twofold -q backup tree --tag one --tag two || [ $? = 3 ]
	twofold -q image fs.img || [ $? = 3 ]
	copied --to second --init
	[ "$(field copied)" = 2 ]
	[ "$(field lost)" = 0 ]
	expect 0 at_second check --read-data
	# They are what they were.
	twofold snapshots | sed 's/^[0-9a-f]* *//; s/ [0-9.]* [KMG]*i*B  \// \//' | cut -c 1-60 >a
	at_second snapshots | sed 's/^[0-9a-f]* *//; s/ [0-9.]* [KMG]*i*B  \// \//' | cut -c 1-60 >b
	cmp a b
	at_second snapshots --tag two | grep -q 'one, two'
	at_second -q restore "$(ids at_second | head -n 1):$PWD/tree" --target back || [ $? = 3 ]
	same_tree tree back
	at_second -q restore-image latest --target back.img
	cmp fs.img back.img
	expect 0 at_second cat latest:/large
	cmp out tree/large
	# And again: nothing to do. Nor the other way.
	copied --to second
	[ "$(field copied)" = 0 ]
	[ "$(field known)" = 2 ]
	copied --from second
	[ "$(field copied)" = 0 ]
	[ "$(field known)" = 2 ]
	[ "$(ids twofold | wc -l)" = 2 ]
	# A third, out of the copy.
	TWOFOLD_REPOSITORY=$PWD/third twofold -q init
	expect 0 env "TWOFOLD_REPOSITORY=$PWD/third" "$TWOFOLD" copy --from second latest
	TWOFOLD_REPOSITORY=$PWD/third twofold -q restore-image latest --target third.img
	cmp fs.img third.img
}

test_what_is_new() {
	second
	mkdir tree
	head -c 5000000 /dev/urandom >tree/a
	twofold -q init
	twofold -q backup tree
	copied --to second --init
	echo two >tree/b
	twofold -q backup tree
	copied --to second
	[ "$(field copied)" = 1 ]
	[ "$(field known)" = 1 ]
	[ "$(field added_stored)" -lt 20000 ]
	# Without what was remembered it is found out again.
	rm -rf home/.cache
	copied --to second
	[ "$(field known)" = 2 ]
	echo three >tree/b
	twofold -q backup tree
	rm -rf home/.cache
	copied --to second
	[ "$(field added_stored)" -lt 20000 ]
	# A memory that is damaged tells nothing wrong.
	local table
	table=$(find home -name 'copy-*')
	here "$table"
	for at in 70 80 200 5000 90000; do printf 'x' | dd of="$table" bs=1 seek=$at conv=notrunc status=none; done
	echo four >tree/b
	twofold -q backup tree
	copied --to second
	expect 0 at_second check --read-data
	at_second -q restore "latest:$PWD/tree" --target back
	same_tree tree back
	copied --to second --no-cache
	[ "$(field copied)" = 0 ]
}

test_interrupted() {
	second
	mkdir tree
	head -c 120000000 /dev/urandom >tree/a
	twofold -q init
	twofold -q backup tree
	expect 0 at_second init
	"$TWOFOLD" --json copy --to second >out 2>err &
	local pid=$!
	while kill -0 "$pid" 2>/dev/null && [ -z "$(find second/packs -type f 2>/dev/null)" ]; do sleep 0.01; done
	kill -9 "$pid" 2>/dev/null || true
	wait "$pid" || true
	[ -z "$(ids at_second)" ] || skip 'the copy was faster than the signal'
	expect 0 at_second check
	copied --to second
	[ "$(field copied)" = 1 ]
	# What was stored before is not stored again.
	[ "$(field added_stored)" -lt 110000000 ]
	expect 0 at_second check --read-data
	at_second -q restore "latest:$PWD/tree" --target back
	cmp tree/a back/a
}

test_damaged_source() {
	second
	mkdir tree
	head -c 250000 /dev/urandom >tree/lost
	twofold -q init
	twofold -q backup tree
	local pack
	pack=$(find repo/packs -type f -size +200k)
	seq 100000 >tree/kept
	head -c 3000000 /dev/urandom >tree/large
	twofold -q backup tree
	printf 'xxxx' | dd of="$pack" bs=1 seek=100000 conv=notrunc status=none
	expect 3 twofold copy --to second --init
	grep -q "$PWD/tree/lost: 250000 bytes are lost" err
	[ "$(ids at_second | wc -l)" = 2 ]
	expect 0 at_second check --read-data
	# The others are whole, and the one says that it is not.
	expect 3 at_second restore "latest:$PWD/tree" --target back
	cmp tree/kept back/kept
	cmp tree/large back/large
	[ "$(stat -c %s back/lost)" = 250000 ]
	at_second --json ls "latest:$PWD/tree" | grep '"name":"lost"' | grep -q '"incomplete":true'
	# Nothing is forgotten on the word of a damaged source.
	twofold -q forget "$(ids twofold | head -n 1)"
	no twofold copy --to second --mirror
	[ "$(ids at_second | wc -l)" = 2 ]
}

test_mirror() {
	second
	mkdir tree
	echo one >tree/a
	twofold -q init
	twofold -q backup tree
	echo two >tree/a
	twofold -q backup tree
	copied --to second --init
	at_second -q backup tree --tag own
	local first
	first=$(ids twofold | head -n 1)
	twofold -q forget "$first"
	# Only when it is asked for, and only copies.
	copied --to second
	[ "$(ids at_second | wc -l)" = 3 ]
	copied --to second --mirror
	[ "$(field forgotten)" = 1 ]
	[ "$(ids at_second | wc -l)" = 2 ]
	at_second snapshots | grep -q own
	# A source that looks empty.
	twofold -q forget "$(ids twofold)"
	expect 1 twofold copy --to second --mirror
	says 'nothing was forgotten'
	[ "$(ids at_second | wc -l)" = 2 ]
	expect 2 twofold copy --to second --mirror --tag own
}

test_refusals() {
	second
	mkdir tree
	echo one >tree/a
	twofold -q init
	twofold -q backup tree
	expect 2 twofold copy
	expect 2 twofold copy --to a --from b
	expect 1 twofold copy --to second
	says 'is not a twofold repository'
	gone second
	expect 0 at_second init
	unset TWOFOLD_TO_PASSWORD_FILE
	expect 1 setsid -w "$TWOFOLD" copy --to second
	says TWOFOLD_TO_PASSWORD
	TWOFOLD_TO_PASSWORD=wrong expect 1 twofold copy --to second
	says TWOFOLD_TO_PASSWORD
	TWOFOLD_TO_PASSWORD=abc expect 0 twofold copy --to with-password --init
	expect 0 twofold copy --to with-password --to-password-command 'echo abc'
	cp -a repo twin
	expect 1 twofold copy --to twin --to-password-file ../key
	says 'the same repository'
	expect 0 twofold copy latest --to second --to-password-file second.key
}

run_cases
