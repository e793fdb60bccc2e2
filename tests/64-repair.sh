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

# flip PATH AT: one bit.
flip() {
	local byte
	chmod u+w "$1"
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

objects() { (cd "$1" && find twofold keys packs index snapshots -type f | sort); }

# The same objects, bit for bit, and nothing else that counts.
same_objects() { diff <(cd whole && objects . | xargs sha256sum) <(cd repo && objects . | xargs sha256sum); }

# Every object in turn: a bit at its start, middle and end; cut short; longer; another in its place. All come back, bit for bit.
test_every_object_heals_from_parity() {
	stored
	needs repair
	twofold parity add
	cp -a repo whole
	local path size how count=0
	while read -r path; do
		size=$(stat -c %s "whole/$path")
		for how in first middle last short long gone; do
			case $how in
			first) flip "repo/$path" 0 ;;
			middle) flip "repo/$path" $((size / 2)) ;;
			last) flip "repo/$path" $((size - 1)) ;;
			short) chmod u+w "repo/$path" && truncate -s $((size / 3)) "repo/$path" ;;
			long) chmod u+w "repo/$path" && echo x >>"repo/$path" ;;
			gone)
				case $path in
				packs/* | twofold | keys/*) rm "repo/$path" ;;
				*) continue ;; # as if it had been removed, or: rebuilt
				esac
				;;
			esac
			if [ $how = short ]; then
				twofold repair --dry-run >out 2>err || true
				grep -q "healed: $path" out || { echo "$how $path: not in the dry run"; cat out err; return 1; }
				no cmp -s "whole/$path" "repo/$path"
			fi
			expect 0 twofold repair || { echo "$how $path"; return 1; }
			grep -q "healed: $path: from parity" out || { echo "$how $path: not healed"; cat out err; return 1; }
			same_objects || { echo "$how $path"; return 1; }
			count=$((count + 1))
			rm -rf repo/aside
		done
	done < <(objects whole)
	echo "$count kinds of damage healed"
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

test_what_was_replaced_is_kept_aside() {
	stored
	needs repair
	twofold parity add
	local pack
	pack=$(cd repo && find packs -type f | head -n 1)
	flip "repo/$pack" 5000
	cp "repo/$pack" damaged
	expect 0 twofold repair
	cmp damaged "repo/aside/1/$pack"
	# A repair that died between taking the damaged one away and putting the healed one there.
	cp "repo/$pack" healthy
	rm "repo/$pack"
	expect 0 twofold repair
	cmp healthy "repo/$pack"
	expect 0 twofold check --read-data
	expect 0 twofold repair --discard-aside
	[ -z "$(find repo/aside -type f)" ]
	expect 0 twofold repair
	grep -q 'nothing is damaged' out
}

test_index_comes_back_from_the_packs() {
	stored
	needs repair
	local segment
	segment=$(find repo/index -type f | head -n 1)
	flip "$segment" 300
	expect 1 twofold check
	expect 0 twofold repair
	expect 0 twofold check --read-data
	rm repo/index/*
	expect 1 twofold check
	expect 0 twofold repair
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
	expect 0 twofold backup tree
}

# The largest pack: noise in blocks of a chunk each, and a block of small files.
largest_pack() { find repo/packs -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2; }

test_what_is_whole_in_a_damaged_pack_is_saved() {
	stored
	needs repair
	local pack
	pack=$(largest_pack)
	flip "$pack" 100
	# The table too: the index still knows what is in it.
	flip "$pack" $(($(stat -c %s "$pack") - 100))
	expect 1 twofold check --read-data
	code=0
	twofold repair >out 2>err || code=$?
	gone "$pack"
	here repo/aside/1/packs
	grep -q 'chunks saved' out
	# Only what the one block held is hit.
	expect 1 twofold check --read-data
	no grep -q '^damaged' out
	[ "$(grep -c '^hit' out)" -lt 10 ]
	# The next backup stores again what the files still have, and heals the older snapshots with it.
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

run_cases
