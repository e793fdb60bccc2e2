# shellcheck shell=bash
# The first repository of format version 1, kept for ever: every later program reads it, restores it, writes to it.
. "$(dirname "$0")/lib.sh"
. "$folder/fixtures/manifest.sh"

fixture=$folder/fixtures/repository-v1
export PYTHONDONTWRITEBYTECODE=1

opened() {
	needs ls restore
	cp -r "$fixture/repository" repo
	chmod -R u+w repo
	export TWOFOLD_PASSWORD_FILE=$fixture/key
}

# snapshot TAG: the id of the snapshot with this tag
snapshot() {
	twofold snapshots --json | grep "\"tags\":\[[^]]*\"$1\"" | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/'
}

test_lists() {
	opened
	expect 0 twofold snapshots --json
	[ "$(grep -c '"type":"snapshot"' out)" = 3 ]
	expect 0 twofold ls -R latest:/p1/many
	[ "$(grep -c . out)" = 600 ]
	expect 0 twofold cat "$(snapshot first):/twofold-fixture/tree/folder/in a folder/second name of large"
	[ "$(sha256sum <out)" = "$(seq -f 'line %07.0f of a large file, which is cut into several chunks' 40000 | sha256sum)" ]
}

test_password() {
	opened
	TWOFOLD_PASSWORD_FILE=$fixture/password expect 0 twofold snapshots
	echo wrong >wrong
	TWOFOLD_PASSWORD_FILE=$PWD/wrong expect 1 twofold snapshots
}

test_is_whole() {
	opened
	needs check
	expect 0 twofold check --read-data
}

# As far as a user without rights can have it: what regular files hold.
test_content() {
	opened
	twofold restore "$(snapshot first):/twofold-fixture/tree" --target back || [ $? = 3 ]
	manifest back | grep '^[0-9a-f]\{64\} ' | sort >sums
	grep '^[0-9a-f]\{64\} ' "$fixture/tree" | sort | cmp - sums
}

test_everything() {
	opened
	needs_root
	needs_tool getfattr
	expect 0 twofold restore "$(snapshot first):/twofold-fixture/tree" --target back --numeric-ids
	manifest back >listed
	diff "$fixture/tree" listed
	[ back/large -ef 'back/folder/in a folder/second name of large' ]
	[ "$(stat -c %b back/holes)" -lt 1000 ]
	expect 0 twofold restore "$(snapshot image):/p1" --target back-p1 --numeric-ids
	manifest back-p1 >listed
	diff "$fixture/image-tree" listed
}

test_image() {
	opened
	needs restore-image
	expect 0 twofold restore-image "$(snapshot image)" --target disk
	[ "$(sha256sum <disk | cut -d ' ' -f 1)" = "$(cat "$fixture/image-sum")" ]
	expect 0 twofold restore-image "$(snapshot image)" --target part --partition 1
	[ "$(stat -c %s part)" = 10485760 ]
	cmp -i 0:1048576 -n 10485760 part disk
}

# Old snapshots and new ones live together, and what is stored is found.
test_can_be_written() {
	opened
	needs backup
	twofold restore "$(snapshot first):/twofold-fixture/tree" --target tree || [ $? = 3 ]
	chmod -R u+r tree
	expect 0 twofold backup --json tree/large tree/small
	[ "$(field added_raw)" -lt 100000 ]
	expect 0 twofold check --read-data
}

test_second_reader() {
	needs_tool python3
	python3 -c 'import ctypes; ctypes.CDLL("libcrypto.so.3"); ctypes.CDLL("libzstd.so.1")' || skip 'a library for the second reader is missing'
	local id second=("$folder/second-reader/second_reader.py" "$fixture/repository" "key:$fixture/key")
	python3 "${second[@]}" snapshots >found
	[ "$(wc -l <found)" = 3 ]
	# The same numbers as on the day when it was made: inodes, all times, flags.
	sed 's/.*"id": "\([0-9a-f]*\)".*/\1/' found | while read -r id; do
		python3 "${second[@]}" tree "$id"
	done | grep -v 'entry number [1-9]' | diff "$fixture/stored" -
}

run_cases
