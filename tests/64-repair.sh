# shellcheck shell=bash
# Parity, and what comes back after damage.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup restore 'parity add'
	mkdir tree
	for i in $(seq 20); do seq "$i" 3000 >"tree/$i"; done
	head -c 3000000 /dev/urandom >tree/noise
	twofold init
	twofold backup tree
	head -c 2000000 /dev/urandom >tree/more
	twofold backup tree
}

test_parity_is_added_and_removed() {
	stored
	expect 0 twofold parity status
	grep -q 'no parity' out
	expect 0 twofold parity add
	expect 0 twofold --json parity status
	[ "$(field bare_objects)" = 0 ]
	[ "$(field weak_objects)" = 0 ]
	[ "$(field automatic)" = false ]
	expect 0 twofold parity add
	grep -q 'protected already' out
	# Not by itself, until told so.
	echo x >tree/x
	twofold backup tree
	expect 0 twofold --json parity status
	[ "$(field bare_objects)" != 0 ]
	expect 0 twofold parity add --automatic --percent 10
	echo y >tree/y
	twofold backup tree
	expect 0 twofold --json parity status
	[ "$(field bare_objects)" = 0 ]
	[ "$(field percent)" = 10 ]
	expect 0 twofold check --read-data
	expect 0 twofold parity remove
	[ -z "$(find repo/parity -type f)" ]
	expect 2 twofold parity add --percent 0
	expect 2 twofold parity add --percent 101
}

test_init_with_parity() {
	needs init backup 'parity add'
	mkdir tree
	head -c 1000000 /dev/urandom >tree/noise
	expect 0 twofold init --parity 5
	expect 0 twofold backup tree
	expect 0 twofold --json parity status
	[ "$(field bare_objects)" = 0 ]
	[ "$(field percent)" = 5 ]
}

run_cases
