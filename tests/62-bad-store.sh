# shellcheck shell=bash
# Stores that do not do as they should: that refuse single operations, hold somebody else's objects, were copied or half deleted. Each time one clear
# line, the right exit code, and nothing lost.
. "$(dirname "$0")/lib.sh"

stored() {
	needs init backup restore check
	mkdir tree
	for i in $(seq 8); do seq "$i" 2000 >"tree/$i"; done
	head -c 600000 /dev/urandom >tree/noise
	twofold init
	twofold backup tree
}

# whole REPO SOURCE: nothing is damaged, and the newest snapshot of SOURCE comes back.
whole() {
	expect 0 twofold --repo "$1" check --read-data
	rm -rf back
	expect 0 twofold --repo "$1" restore "latest:$PWD/$2" --target back
	same_tree "$2" back
}

# A folder in which nothing may be made: in whichever of them, the backup fails with a line that says why, and goes through afterwards.
test_denied_writing() {
	stored
	[ "$(id -u)" = 0 ] && needs_tool setpriv
	chmod 755 . home
	[ "$(id -u)" != 0 ] || chown -R 65534:65534 repo home
	local folder
	for folder in sessions packs index snapshots tmp; do
		seq "$RANDOM" 3000 >tree/new
		chmod 555 "repo/$folder"
		# Of packs, those below it count.
		[ "$folder" != packs ] || chmod 555 repo/packs/*
		expect 1 as_nobody "$TWOFOLD" backup tree
		# Everything is written in tmp first: the object that was meant is named.
		[ "$folder" = tmp ] || says "repo/$folder"
		grep -q 'lack the permission' err
		chmod 700 "repo/$folder"
		[ "$folder" != packs ] || chmod 700 repo/packs/*
		expect 0 as_nobody "$TWOFOLD" backup tree
		whole repo tree
	done
}

# Objects that can be made but never removed: backups do not need to, and what does says so.
test_denied_removing() {
	stored
	needs_root
	local folder
	for folder in sessions snapshots; do chattr +a "repo/$folder" 2>/dev/null || skip 'no append-only folders here'; done
	seq 5 4000 >tree/new
	# Moving a file away from tmp/ is removing there, so that stays as it is.
	expect 0 twofold backup tree
	if twofold help | grep -q '^  forget  '; then
		expect 1 twofold forget latest
		says 'repo/snapshots/'
	fi
	chattr -a repo/sessions repo/snapshots
	whole repo tree
}

test_denied_reading() {
	stored
	[ "$(id -u)" != 0 ] || chown -R 65534:65534 repo home
	chmod 755 . home
	local folder
	for folder in keys index snapshots packs; do
		chmod 000 "repo/$folder"
		expect 1 as_nobody "$TWOFOLD" --no-cache check
		[ "$(grep -c '^twofold: ' err)" = 1 ]
		cat out err >all
		grep -q "$folder" all
		chmod 700 "repo/$folder"
	done
	whole repo tree
}

# Reading fails in the middle: an error for that call only, said, and the next run is fine.
test_reading_fails() {
	stored
	needs_tool strace
	strace -o /dev/null true 2>/dev/null || skip 'strace does not work here'
	export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
	local n code
	for n in 1 2 4 7 10; do
		rm -rf back
		code=0
		strace -f -o trace -P "$PWD/repo" -e trace=pread64 -e inject=pread64:error=EIO:when="$n" "$TWOFOLD" --no-cache restore "latest:$PWD/tree" --target back >out 2>err || code=$?
		case $code in
		0) ;; # there are not so many reads
		1 | 3) grep -q 'Input/output error' err ;;
		*)
			echo "read $n: exit code $code"
			cat err
			return 1
			;;
		esac
	done
	whole repo tree
}

# Whatever lies there, bytes of chance are never taken for something.
test_garbage() {
	stored
	local path kind
	for kind in keys index snapshots sessions tombstones fences packs/00; do
		mkdir -p "repo/$kind"
		path=repo/$kind/00$(head -c 31 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
		head -c 3000 /dev/urandom >"$path"
		expect 1 twofold check --read-data
		cat out err >all
		grep -q "${path#repo/}" all
		case $kind in
		index | snapshots | fences) # which chunks there are, which snapshot is the latest, and which count, cannot be known then
			expect 1 twofold restore "latest:$PWD/tree/noise" --target back-none
			says "${path#repo/}"
			;;
		*) expect 0 twofold restore "latest:$PWD/tree/noise" --target "back-${kind%/*}" ;;
		esac
		rm "$path"
	done
	whole repo tree
}

# Objects of another repository with the same secret, put among the own ones: none is believed.
test_foreign_objects() {
	stored
	mkdir other-tree
	seq 3 9000 >other-tree/file
	twofold --repo other init
	twofold --repo other backup other-tree
	cp -a repo own
	local kind
	for kind in index snapshots packs; do
		rm -rf repo
		cp -a own repo
		cp -a "other/$kind/." "repo/$kind/"
		expect 1 twofold check --read-data
		grep -q '^damaged: ' out
		no grep -q "$PWD/other-tree" out
		if [ "$kind" = packs ]; then
			expect 0 twofold backup tree
		fi
	done
	# Its keys open nothing here, and do not keep the own ones from opening.
	rm -rf repo
	cp -a own repo
	cp -a other/keys/. repo/keys/
	expect 0 twofold restore "latest:$PWD/tree" --target back-keys
	diff -r tree back-keys
}

test_foreign_header() {
	stored
	twofold --repo other init
	cp -a repo own
	chmod u+w repo/twofold
	cp other/twofold repo/twofold
	expect 1 twofold backup tree
	[ "$(wc -l <err)" = 1 ]
	expect 1 twofold check
	expect 1 twofold init
	rm -rf repo
	mv own repo
	whole repo tree
}

# accept REPO: for this machine a copy is the same repository at another time; it says so, and is told that this is right.
accept() {
	expect 3 twofold --repo "$1" snapshots
	grep -q 'went back in time' out err
	twofold --repo "$1" snapshots --accept
}

# A copied folder is a repository of the same id: what the local cache knows of one is nothing to rely on in the other.
test_copied_repository() {
	stored
	cp -a repo copy
	local i
	for i in 1 2 3; do
		mkdir "only-$i"
		head -c 500000 /dev/urandom >"only-$i/file"
		twofold backup "only-$i"
		whole repo "only-$i"
		# The same content: the index of the other one must not vouch for it.
		expect 0 twofold --repo copy backup "only-$i"
		accept copy
		whole copy "only-$i"
		accept repo
	done
	if twofold help | grep -q '^  prune  '; then
		twofold --repo copy forget latest
		twofold --repo copy prune
		expect 0 twofold --repo copy backup only-3
		accept copy
		whole copy only-3
		accept repo
		whole repo only-3
	fi
}

test_half_deleted() {
	stored
	cp -a repo own
	local part
	for part in twofold keys index packs snapshots; do
		rm -rf repo home/.cache
		cp -a own repo
		rm -rf "repo/$part"
		case $part in
		twofold)
			expect 1 twofold backup tree
			says 'is not a twofold repository'
			expect 1 twofold init # never over what is left
			here repo/packs repo/keys
			;;
		keys)
			expect 1 twofold backup tree
			says 'keys'
			;;
		index | packs)
			expect 1 twofold check
			expect 1 twofold restore "latest:$PWD/tree" --target "back-$part" || expect 3 twofold restore "latest:$PWD/tree" --target "back-$part"
			[ -s err ]
			;;
		snapshots)
			expect 1 twofold restore "latest:$PWD/tree" --target "back-$part"
			says 'has none'
			# Nothing is read into what is left, and nothing stored twice.
			expect 0 twofold backup --json tree
			[ "$(field added_raw)" -lt 100000 ] || { echo "stored again: $(field added_raw)"; return 1; }
			expect 1 twofold check
			grep -q 'the log does not say that it was forgotten' out
			twofold snapshots --accept
			whole repo tree
			;;
		esac
	done
	rm -rf repo
	mv own repo
	accept repo
	whole repo tree
}

run_cases
