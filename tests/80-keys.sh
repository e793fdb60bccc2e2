# shellcheck shell=bash
# Passwords and key files: where they come from, and how they are changed.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup snapshots 'key add' 'key list' 'key change' 'key remove'
	mkdir tree
	echo x >tree/x
	unset TWOFOLD_PASSWORD_FILE
	TWOFOLD_PASSWORD=first twofold init
}

opens() { TWOFOLD_PASSWORD=$1 twofold backup tree; }

test_every_source_of_a_password() {
	stored
	printf 'first\nrest' >file
	expect 0 twofold backup tree --password-file file
	TWOFOLD_PASSWORD_FILE=$PWD/file expect 0 twofold backup tree
	TWOFOLD_PASSWORD_COMMAND='printf "first\n"' expect 0 twofold backup tree
	TWOFOLD_PASSWORD=first expect 0 twofold backup tree
}

test_add_and_remove() {
	stored
	export TWOFOLD_PASSWORD=first
	TWOFOLD_NEW_PASSWORD=second expect 0 twofold key add --label spare
	expect 0 twofold key list
	grep -q spare out
	opens second
	opens first
	expect 0 twofold --json key list
	local id
	id=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*spare.*/\1/p; s/.*spare.*"id":"\([0-9a-f]*\)".*/\1/p' out | head -n 1)
	expect 0 twofold key remove "$id"
	opens first
	no opens second
	# The last one stays.
	expect 0 twofold --json key list
	id=$(sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' out)
	expect 1 twofold key remove "$id"
	opens first
}

test_change() {
	stored
	TWOFOLD_PASSWORD=first TWOFOLD_NEW_PASSWORD=second expect 0 twofold key change
	opens second
	no opens first
	TWOFOLD_PASSWORD=second expect 1 twofold key change
}

test_key_files() {
	stored
	export TWOFOLD_PASSWORD=first
	expect 0 twofold key add --new-key-file "$PWD/new.key"
	[ "$(stat -c %a new.key)" = 600 ]
	expect 0 twofold backup tree --password-file new.key
	expect 1 twofold key add --new-key-file "$PWD/new.key" # never written over
	expect 0 twofold backup tree --password-file new.key
}

run_cases
