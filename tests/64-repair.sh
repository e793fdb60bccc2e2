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
largest_pack() { find "$TWOFOLD_REPOSITORY/packs" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2; }

test_what_is_whole_in_a_damaged_pack_is_saved() {
	stored
	needs repair
	local pack
	pack=$(largest_pack)
	flip "$pack" 100
	# The table too: the index still knows what is in it.
	flip "$pack" $(($(stat -c %s "$pack") - 100))
	expect 1 twofold check --read-data
	expect 1 twofold repair
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

# Two packs of data and one of trees are damaged where no parity is.
damage_much() {
	local pack
	pack=$(largest_pack)
	flip "$pack" 100
	# One that holds trees: the smallest.
	pack=$(find repo/packs -type f -printf '%s %p\n' | sort -n | head -n 1 | cut -d ' ' -f 2)
	rm "$pack"
}

test_what_is_lost_comes_from_another_repository() {
	stored
	needs repair
	cp -a repo other
	damage_much
	expect 1 twofold check --read-data
	expect 0 twofold repair --from other
	expect 0 twofold check --read-data
	local snapshot
	for snapshot in $(cd repo/snapshots && ls); do
		expect 0 twofold restore "$snapshot:$PWD/tree" --target "back-$snapshot"
		expect 0 twofold --repo other restore "$snapshot:$PWD/tree" --target "back-other-$snapshot"
		diff -r "back-$snapshot" "back-other-$snapshot"
	done
	# One with other keys has other chunks.
	mkdir strange
	twofold --repo strange init
	expect 1 twofold repair --from strange
	says 'other keys'
}

# A second repository with its own key; the first is the environment's.
copied_to_other() {
	needs copy
	printf 'twofold-key-1 %064d\n' 7 >other.key
	TWOFOLD_TO_PASSWORD_FILE=$PWD/other.key twofold -q copy --to other --init "$@"
}
heal_from_other() { twofold repair --from other --from-password-file other.key "$@"; }
lose_all() { find repo/packs -type f -delete; }
# Every snapshot gives back what it did.
remember_all() {
	local snapshot
	for snapshot in $(cd repo/snapshots && ls); do twofold -q restore "$snapshot:$PWD/tree" --target "was-$snapshot"; done
}
same_all() {
	local snapshot
	expect 0 twofold check --read-data
	for snapshot in $(cd repo/snapshots && ls); do
		twofold -q restore "$snapshot:$PWD/tree" --target "is-$snapshot"
		diff -r "was-$snapshot" "is-$snapshot"
		rm -r "is-$snapshot"
	done
}

# There nothing has the same id.
test_what_is_lost_comes_from_a_copy_with_other_keys() {
	stored
	needs repair
	# Of more parts than an entry holds, and of several chunks.
	head -c 60000000 /dev/urandom >tree/large
	mkdir -p tree/deep/er
	seq 1000 >tree/deep/er/numbers
	twofold backup tree
	remember_all
	copied_to_other
	cp -a repo whole
	# Data alone; lists alone; all of it.
	flip "$(largest_pack)" 100
	expect 1 twofold repair --dry-run
	expect 0 heal_from_other
	grep -q 'chunks taken from the other' out
	same_all
	rm -rf repo && cp -a whole repo
	damage_much
	expect 0 heal_from_other
	same_all
	rm -rf repo && cp -a whole repo
	lose_all
	expect 1 heal_from_other --dry-run
	[ -z "$(find repo/packs -type f)" ]
	expect 0 heal_from_other
	same_all
	expect 0 twofold repair
	grep -q 'nothing is damaged' out
	# The other way: the copy heals from what it was copied from.
	rm -rf repo && cp -a whole repo
	find other/packs -type f -delete
	expect 0 env TWOFOLD_REPOSITORY=other TWOFOLD_PASSWORD_FILE=other.key "$TWOFOLD" repair --from repo --from-password-file "$TWOFOLD_PASSWORD_FILE"
	expect 0 twofold --repo other --password-file other.key check --read-data
}

test_a_copy_that_has_only_some() {
	stored
	needs repair
	remember_all
	# Only the first snapshot; the second has a file more, and all else the same.
	copied_to_other "$(twofold --json snapshots | sed -n 's/.*"type":"snapshot","id":"\([0-9a-f]*\)".*/\1/p' | head -n 1)"
	lose_all
	expect 1 heal_from_other
	grep -q '^hit' out
	grep -q 'chunks taken from the other' out
	first=$(for s in was-*; do [ -e "$s/more" ] || echo "${s#was-}"; done)
	expect 0 twofold restore "$first:$PWD/tree" --target back
	diff -r "was-$first" back
	# The data that both had serves the second as soon as its lists are found: out of the files themselves.
	expect 0 twofold backup tree
	expect 0 twofold restore "latest:$PWD/tree" --target again
	diff -r tree again
	# A copy that lacks data itself gives what it has.
	rm -rf other repo && twofold init && twofold backup tree
	copied_to_other
	flip "$(largest_pack)" 100
	flip "$(TWOFOLD_REPOSITORY=other largest_pack)" $(($(stat -c %s "$(TWOFOLD_REPOSITORY=other largest_pack)") - 100000))
	flip "$(largest_pack)" $(($(stat -c %s "$(largest_pack)") - 100000))
	expect 1 heal_from_other
	grep -q 'chunks taken from the other' out
	grep -q '^hit' out
}

# The same machine, backed up into both: no copies, but the same files.
test_what_is_lost_comes_from_an_independent_repository() {
	stored
	needs repair
	printf 'twofold-key-1 %064d\n' 7 >other.key
	twofold --repo other --password-file other.key init
	twofold --repo other --password-file other.key backup tree
	flip "$(largest_pack)" 100
	expect 0 heal_from_other
	grep -q 'chunks taken from the other' out
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

test_lost_chunks_come_from_another_repository() {
	stored
	needs repair
	# Three chunks at least, so that both places do not lie in the same one.
	head -c 9000000 /dev/urandom >tree/large
	twofold backup tree
	cp -a repo other
	# The same chunks in packs of other names: repair itself cannot take whole objects from there.
	flip "$(largest_pack)" 100
	flip "$(TWOFOLD_REPOSITORY=other largest_pack)" $(($(stat -c %s "$(largest_pack)") / 2))
	expect 1 twofold repair
	expect 0 twofold repair --from other
	grep -q 'chunks taken from the other' out
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

test_what_is_lost_comes_from_the_original_files() {
	stored
	needs repair
	flip "$(largest_pack)" 100
	expect 1 twofold repair
	grep -q '^hit: .*noise' out
	# A file that was changed since does not serve.
	mv tree/noise saved
	head -c 3000000 /dev/urandom >tree/noise
	expect 1 twofold repair --originals
	mv saved tree/noise
	expect 0 twofold repair --originals --dry-run
	expect 0 twofold repair --originals
	grep -q 'original files' out
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

test_what_stays_lost_is_cut_out() {
	stored
	needs repair
	mkdir -p tree/deep/er
	seq 100 >tree/deep/er/numbers
	twofold backup tree
	flip "$(largest_pack)" 100
	local before
	before=$(cd repo/snapshots && ls)
	expect 1 twofold repair
	[ "$(cd repo/snapshots && ls)" = "$before" ]
	expect 0 twofold repair --cut
	grep -q '^cut: .*noise' out
	[ "$(find repo/snapshots -type f | wc -l)" = 3 ]
	[ "$(find repo/aside -path '*snapshots*' -type f | wc -l)" = 3 ]
	expect 0 twofold check --read-data
	code=0
	twofold restore "latest:$PWD/tree" --target back >out 2>err || code=$?
	[ $code = 3 ]
	grep -q noise err
	diff -r --exclude noise tree back
	# What is left of the file stands where it was.
	[ "$(stat -c %s back/noise)" = 3000000 ]
	cmp -l tree/noise back/noise >differing || true
	[ "$(wc -l <differing)" -lt 2900000 ]
	# The next backup reads it again.
	expect 0 twofold backup tree
	expect 0 twofold restore "latest:$PWD/tree" --target again
	diff -r tree again
	expect 0 twofold repair
}

test_lost_trees_are_cut_out() {
	stored
	needs repair
	mkdir -p tree/deep
	seq 100 >tree/deep/numbers
	twofold backup tree
	rm "$(find repo/packs -type f -printf '%s %p\n' | sort -n | head -n 1 | cut -d ' ' -f 2)"
	expect 1 twofold repair
	expect 0 twofold repair --cut
	expect 0 twofold check --read-data
	for snapshot in $(cd repo/snapshots && ls); do
		twofold restore "$snapshot:/" --target "back-$snapshot" >out 2>err || [ $? = 3 ]
	done
	expect 0 twofold backup tree
	expect 0 twofold restore "latest:$PWD/tree" --target again
	diff -r tree again
}

test_lost_parts_of_an_image_are_unreadable() {
	needs init image restore-image repair
	needs_tool mkfs.ext4
	mkdir tree
	head -c 3000000 /dev/urandom >tree/noise
	seq 1000 >tree/numbers
	truncate -s 20M disk
	mkfs.ext4 -q -F -d tree disk
	twofold init
	twofold image disk
	flip "$(largest_pack)" 100
	expect 1 twofold repair
	grep -q 'the disk' out
	expect 0 twofold repair --cut
	expect 0 twofold check --read-data
	expect 3 twofold restore-image latest --target disk2
	[ "$(stat -c %s disk2)" = "$(stat -c %s disk)" ]
	expect 0 twofold image disk
	expect 0 twofold restore-image latest --target disk3
	"$TOOLS/imgcmp" disk disk3
}

# An ext4 filesystem with files of many pieces, and a repository with its image.
imaged() {
	needs init image restore-image repair
	needs_tool mkfs.ext4 debugfs
	mkdir tree
	head -c 3000000 /dev/urandom >tree/noise
	head -c 2000000 /dev/urandom >tree/other
	seq 100000 >tree/numbers
	truncate -s 40M disk
	mkfs.ext4 -q -F -b 1024 -d tree disk
	# A file in the holes that removed ones left.
	for i in $(seq 100); do
		head -c 20000 /dev/urandom >small
		printf 'write small s%s\n' "$i"
	done >commands
	debugfs -w -f commands disk >/dev/null 2>&1
	for i in $(seq 1 2 99); do echo "rm s$i"; done >commands
	head -c 1500000 /dev/urandom >pieces
	echo 'write pieces pieces' >>commands
	debugfs -w -f commands disk >/dev/null 2>&1
	twofold init
	twofold image disk
}

test_an_image_heals_from_a_copy() {
	imaged
	copied_to_other
	cp -a repo whole
	flip "$(largest_pack)" 100
	flip "$(largest_pack)" 4000000
	expect 1 twofold repair
	expect 0 heal_from_other
	expect 0 twofold check --read-data
	expect 0 twofold restore-image latest --target disk2
	"$TOOLS/imgcmp" disk disk2
	rm -rf repo && cp -a whole repo
	lose_all
	expect 0 heal_from_other
	expect 0 twofold check --read-data
	expect 0 twofold restore-image latest --target disk3
	"$TOOLS/imgcmp" disk disk3
	expect 0 twofold cat latest:/pieces
	cmp out pieces
}

test_an_image_heals_from_its_disk() {
	imaged
	cp -a repo whole
	cp disk before
	# All data is lost; since then a file was written over in its place, and another removed.
	rm "$(largest_pack)"
	head -c 2000000 /dev/urandom >tree/other
	printf 'rm other\nwrite tree/other other\nrm s2\n' >commands
	debugfs -w -f commands disk >/dev/null 2>&1
	expect 1 twofold repair --originals
	grep -q 'original files' out
	grep -q '^hit: .*/other:' out
	no grep -q '^hit: .*/noise' out
	no grep -q '^hit: .*/pieces' out
	expect 0 twofold cat latest:/pieces
	cmp out pieces
	expect 0 twofold cat latest:/noise
	cmp out tree/noise
	expect 2 twofold repair --disk before
	# As it was then, from another place.
	expect 0 twofold repair --originals --disk before
	expect 0 twofold check --read-data
	expect 0 twofold restore-image latest --target disk2
	"$TOOLS/imgcmp" before disk2
}

# What nobody can read, and would stop every backup.
test_damaged_tombstones_and_sessions() {
	stored
	needs repair
	mkdir -p repo/tombstones repo/sessions
	cp repo/index/"$(find repo/index -type f -printf '%f\n' | head -n 1)" "repo/tombstones/$(printf '%064d' 7)"
	expect 1 twofold backup tree
	expect 0 twofold repair
	grep -q 'healed: tombstones/' out
	expect 0 twofold backup tree
	cp repo/index/"$(find repo/index -type f -printf '%f\n' | head -n 1)" "repo/sessions/$(printf '%064d' 7)"
	expect 1 twofold repair
	grep -q 'lost: sessions/.*delete' out
	rm "repo/sessions/$(printf '%064d' 7)"
	expect 0 twofold repair
	expect 0 twofold check
}

# The collector need not know of parity.
test_prune_leaves_parity_to_be_made_anew() {
	stored
	needs prune forget
	twofold parity add
	rm tree/noise
	twofold backup tree
	twofold parity add
	expect 0 twofold forget --keep-last 1
	expect 0 twofold prune
	expect 0 twofold --json parity status
	[ "$(field gone)" != 0 ]
	# What prune removed is not lost, and nothing is damaged.
	expect 0 twofold repair
	grep -q 'nothing is damaged' out
	expect 0 twofold parity add
	expect 0 twofold --json parity status
	[ "$(field bare_objects)" = 0 ]
	[ "$(field gone)" = 0 ]
	rm "$(largest_pack)"
	expect 0 twofold repair
	expect 0 twofold check --read-data
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

run_cases
