# shellcheck shell=bash
# Wrong, missing, damaged, full: one clear line, the right exit code, no crash.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup restore
	mkdir tree
	for i in $(seq 20); do seq "$i" 3000 >"tree/$i"; done
	head -c 3000000 /dev/urandom >tree/noise
	twofold init
	twofold backup tree
}

no_crash() { [ "$1" -lt 126 ]; }

test_wrong_password() {
	stored
	unset TWOFOLD_PASSWORD_FILE
	TWOFOLD_PASSWORD=wrong expect 1 twofold backup tree
	[ "$(wc -l <err)" = 1 ]
	expect 1 twofold backup tree
	says 'TWOFOLD_PASSWORD'
	TWOFOLD_PASSWORD='' expect 1 twofold backup tree
	TWOFOLD_PASSWORD_COMMAND='exit 5' expect 1 twofold backup tree
	says 'exit code 5'
}

test_not_a_repository() {
	needs init backup
	mkdir tree repo
	expect 1 twofold backup tree
	says "$PWD/repo"
	echo x >repo/file
	expect 1 twofold backup tree
	expect 1 twofold init # never into a folder that holds something else
	[ "$(ls repo)" = file ]
	TWOFOLD_REPOSITORY=$PWD/missing expect 1 twofold backup tree
	says missing
	echo x >plain-file
	TWOFOLD_REPOSITORY=$PWD/plain-file expect 1 twofold backup tree
	TWOFOLD_REPOSITORY='' expect 2 twofold backup tree
}

test_newer_format_version() {
	stored
	chmod u+w repo/twofold
	printf '\x63' | dd of=repo/twofold bs=1 seek=8 conv=notrunc status=none
	expect 1 twofold backup tree
	[ "$(wc -l <err)" = 1 ]
}

# Every object, one after the other: cut off, one bit changed, replaced by another of its kind, gone.
damage() {
	local how=$1 path=$2 size
	size=$(stat -c %s "$path")
	chmod u+w "$path"
	case $how in
	truncated) truncate -s $((size / 2)) "$path" ;;
	empty) : >"$path" ;;
	flipped)
		local at=$((RANDOM * 32768 + RANDOM)) byte
		at=$((at % size))
		byte=$(od -An -tu1 -j $at -N 1 "$path")
		# shellcheck disable=SC2059
		printf "\\x$(printf %02x $((byte ^ 1 << RANDOM % 8)))" | dd of="$path" bs=1 seek=$at conv=notrunc status=none
		;;
	gone) rm "$path" ;;
	esac
}

damaged() {
	stored
	twofold backup tree/1 tree/noise
	cp -a repo whole
	local path code
	while read -r path; do
		rm -rf repo home/.cache back
		cp -a whole repo
		damage "$1" "$path"
		for command in "backup tree" "restore latest:$PWD/tree --target back" "check --read-data"; do
			[ "${command%% *}" != check ] || twofold help | grep -q '^  check  ' || continue
			code=0
			# shellcheck disable=SC2086
			timeout 60 "$TWOFOLD" $command >out 2>err || code=$?
			if ! no_crash $code; then
				echo "$1 $path: $command ended with $code"
				cat err
				return 1
			fi
			# Said when it failed; and what is restored without a word is right.
			[ $code = 0 ] || [ -s err ]
			if [ "${command%% *}" = check ] && [ $code = 0 ]; then
				case $path in
				repo/sessions/* | repo/tombstones/* | repo/fences/*) ;; # nothing depends on them
				repo/log/*) [ "$1" = gone ] ;; # its last entry: only a machine that saw it could miss it
				*)
					echo "check did not see: $1 $path"
					return 1
					;;
				esac
			fi
			if [ "${command%% *}" = restore ] && [ $code = 0 ] && [ -d back ]; then
				diff -r tree back >differences || { cat differences; echo "$1 $path: restored wrongly without a word"; return 1; }
			fi
		done
	done < <(find repo -type f ! -path "repo/tmp/*" | sort)
}

test_truncated_objects() { damaged truncated; }
test_empty_objects() { damaged empty; }
test_flipped_objects() { damaged flipped; }
test_missing_objects() { damaged gone; }

test_swapped_objects() {
	stored
	twofold backup tree/noise
	local kind a b code
	for kind in packs index snapshots; do
		rm -rf work home/.cache
		cp -a repo work
		mapfile -t pair < <(find "work/$kind" -type f | sort | head -n 2)
		[ ${#pair[@]} = 2 ] || continue
		a=${pair[0]} b=${pair[1]}
		mv "$a" x && mv "$b" "$a" && mv x "$b"
		code=0
		twofold --repo work restore "latest:$PWD/tree/noise" --target "back-$kind" >out 2>err || code=$?
		no_crash $code
		[ $code = 0 ] || [ -s err ]
		[ ! -e "back-$kind/noise" ] || [ $code != 0 ] || cmp tree/noise "back-$kind/noise"
	done
}

test_full_disk_while_writing() {
	needs init backup
	needs_root
	mkdir small tree
	mount -t tmpfs -o size=4m none small 2>/dev/null || skip 'cannot mount tmpfs'
	head -c 20000000 /dev/urandom >tree/large
	export TWOFOLD_REPOSITORY=$PWD/small/repo
	twofold init
	expect 1 twofold backup tree
	grep -q 'No space left' err
	# Nothing is lost: with room again, the same command goes through.
	mount -o remount,size=100m small
	expect 0 twofold backup tree
}

test_io_errors_while_writing() {
	needs init backup
	needs_tool strace
	strace -o /dev/null true 2>/dev/null || skip 'strace does not work here'
	# LeakSanitizer cannot work in a traced process.
	export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
	mkdir tree
	head -c 3000000 /dev/urandom >tree/noise
	twofold init
	local call code
	for call in write pwrite64 fsync fdatasync renameat2 rename; do
		rm -rf work
		cp -a repo work
		code=0
		# Only in the repository: what it prints must come through.
		strace -f -o trace -P "$PWD/work" -e trace="$call" -e inject="$call":error=EIO "$TWOFOLD" --repo work backup tree >out 2>err || code=$?
		no_crash $code
		[ $code = 0 ] || [ -s err ]
		twofold --repo work backup tree >/dev/null
	done
}

test_read_only_repository() {
	stored
	needs_root
	mkdir mounted
	mount --bind repo mounted 2>/dev/null && mount -o remount,ro,bind mounted 2>/dev/null || skip 'cannot mount'
	expect 1 twofold --repo mounted backup tree
	grep -qi 'read-only' err
	expect 0 twofold --repo mounted restore "latest:$PWD/tree" --target back
	diff -r tree back
}

test_killed_in_the_middle() {
	needs init backup restore
	mkdir tree
	for i in $(seq 20); do head -c 5000000 /dev/urandom >"tree/$i"; done
	twofold init
	for delay in 0.02 0.05 0.1 0.2 0.3; do
		timeout -s KILL $delay "$TWOFOLD" backup tree >/dev/null 2>&1 || true
	done
	expect 0 twofold backup tree
	expect 0 twofold restore "latest:$PWD/tree" --target back
	diff -r tree back
}

run_cases
