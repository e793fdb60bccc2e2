#!/usr/bin/env bash
# The local cache of folders and snapshots, over SFTP: the server's own log says what was fetched.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib-sshd.sh
. "$(dirname "$0")/lib-sshd.sh"

# An sshd whose file server logs what it opens, and a repository with two snapshots of a tree whose folders fill several blocks.
serve() {
	needs_tool ssh ssh-keygen python3
	[ -x /usr/sbin/sshd ] || command -v sshd >/dev/null || skip 'sshd is not installed'
	[ -x /usr/lib/openssh/sftp-server ] || skip 'no sftp-server that logs'
	mkdir -p ssh
	sshd_start "$PWD/ssh" "ForceCommand /usr/lib/openssh/sftp-server -e -l INFO 2>>$PWD/ssh/files"
	trap sshd_stop EXIT
	export TWOFOLD_SFTP_TIMEOUT=20 XDG_CACHE_HOME=$PWD/cache
	TWOFOLD_REPOSITORY=sftp://127.0.0.1:$SSHD_PORT$PWD/srv/repo
	# Names that do not shrink.
	python3 - <<-'PYTHON'
		import os, random
		random.seed(27)
		for d in range(12):
		    os.makedirs(f"tree/{d}")
		    for i in range(300):
		        open(f"tree/{d}/" + "".join(random.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=230)), "w").close()
	PYTHON
	echo content >tree/0/content
	expect 0 twofold init
}

# opened COMMAND...: the command works, and these objects of the repository were read meanwhile (out stays the command's).
opened() {
	: >ssh/files
	expect 0 "$@"
	# The server may write its last lines after the client has gone.
	for _ in $(seq 100); do
		[ "$(grep -c 'session opened' ssh/files)" -gt "$(grep -c 'session closed' ssh/files)" ] || break
		sleep 0.02
	done
	sed -n "s#^open \"$PWD/srv/repo/\([^\"]*\)\" flags READ mode.*#\1#p" ssh/files | sort -u >opened
}

blocks() { find cache -path '*/blocks/*-0*'; }
first_snapshot() { find srv/repo/snapshots -type f -printf '%T@ %f\n' | sort -n | sed -n '1s/.* //p'; }
cached_bytes() { find cache -path '*/blocks/*' -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }

test_second_look_fetches_nothing() {
	serve
	expect 0 twofold backup --no-cache tree
	gone cache
	opened twofold ls -R latest:
	grep '^packs/../' opened >meta
	grep -q '^snapshots/' opened
	cp out listing
	# What the first look fetched is there.
	opened twofold ls -R latest:
	cmp out listing
	no grep -E '^(packs/..|snapshots|index)/' opened
	opened twofold cat "latest:$PWD/tree/0/content"
	[ "$(cat out)" = content ]
	no grep -xFf meta opened
	opened twofold find content
	no grep -xFf meta opened
	# Without the cache all of it is fetched again.
	opened twofold ls -R --no-cache latest:
	cmp out listing
	grep -xFf meta opened
}

# What this machine wrote it need not fetch.
test_written_through() {
	serve
	expect 0 twofold backup tree
	opened twofold backup tree
	no grep '^packs/../' opened
	opened twofold ls -R latest:
	no grep '^packs/../' opened
	echo more >tree/3/new
	opened twofold backup tree
	no grep '^packs/../' opened
	opened twofold diff "$(first_snapshot)" latest
	no grep '^packs/../' opened
}

test_damaged() {
	serve
	expect 0 twofold backup tree
	expect 0 twofold ls -R latest:
	cp out listing
	mkdir whole
	cp cache/twofold/*/blocks/* whole
	local file
	for file in cache/twofold/*/blocks/*-*; do
		printf '\377\377\377' | dd of="$file" bs=1 seek=$((RANDOM % $(stat -c %s "$file"))) conv=notrunc status=none
	done
	opened twofold ls -R latest:
	cmp out listing
	grep -q '^packs/../' opened
	for file in whole/*-0*; do cmp "$file" cache/twofold/*/blocks/"${file##*/}"; done
	for file in cache/twofold/*/blocks/*-*; do : >"$file"; done
	expect 0 twofold backup tree
	expect 0 twofold ls -R latest:
	cmp out listing
}

# What is kept here is no excuse for what is gone there.
test_check_looks_at_the_store() {
	serve
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	opened twofold ls -R --no-cache latest:
	local pack
	pack=$(grep -m 1 '^packs/../' opened)
	printf XXXX | dd of="srv/repo/$pack" bs=1 seek=5000 conv=notrunc status=none
	expect 0 twofold ls -R latest:
	expect 1 twofold check
	expect 1 twofold check --read-data
	rm "srv/repo/$pack"
	expect 0 twofold ls -R latest:
	expect 1 twofold check
}

test_limit() {
	serve
	expect 0 twofold backup --cache-size 400K tree
	[ "$(cached_bytes)" -gt 100000 ]
	[ "$(cached_bytes)" -le 409600 ]
	export TWOFOLD_CACHE_SIZE=400K
	expect 0 twofold ls -R latest:
	cp out listing
	[ "$(cached_bytes)" -le 409600 ]
	expect 0 twofold ls -R --cache-size 10M latest:
	cmp out listing
	[ "$(cached_bytes)" -gt 409600 ]
	rm -rf cache
	expect 0 twofold ls -R --cache-size 0 latest:
	[ -z "$(blocks)" ]
	here cache/twofold/*/index
	TWOFOLD_CACHE_SIZE=much expect 1 twofold ls latest:
	says TWOFOLD_CACHE_SIZE
}

# Many processes over one small cache, all of which want to throw out what the others put in.
test_several_processes() {
	serve
	expect 0 twofold backup tree
	expect 0 twofold ls -R latest:
	cp out listing
	rm -rf cache
	local i pids=()
	for i in 1 2 3 4; do
		twofold ls -R --cache-size $((200 + i * 200))K latest: >"out$i" 2>"err$i" &
		pids+=($!)
	done
	twofold backup --quiet tree
	for i in 1 2 3 4; do
		wait "${pids[i - 1]}"
		cmp "out$i" listing
		[ ! -s "err$i" ]
	done
	expect 0 twofold ls -R latest:
	cmp out listing
	expect 0 twofold check --read-data
}

# A disk that is full, and one that cannot be written, cost time only.
test_full_cache_disk() {
	needs_root
	serve
	mkdir cache
	mount -t tmpfs -o size=64k none cache
	expect 0 twofold backup tree
	expect 0 twofold ls -R latest:
	cp out listing
	[ ! -s err ]
	mount -o remount,ro cache
	expect 0 twofold ls -R latest:
	cmp out listing
	[ ! -s err ]
	expect 0 twofold backup tree
	[ ! -s err ]
	expect 0 twofold ls -R --no-cache latest:
	cmp out listing
}

# Packs that a prune on another machine deleted are not kept for ever.
test_deleted_packs_leave() {
	needs forget prune
	serve
	expect 0 twofold backup tree
	local first
	first=$(blocks | sed 's#.*/##; s#-.*##' | sort -u)
	rm -rf tree
	mkdir tree
	echo other >tree/file
	expect 0 twofold backup tree
	XDG_CACHE_HOME=$PWD/cache2 expect 0 twofold forget "$(first_snapshot)"
	XDG_CACHE_HOME=$PWD/cache2 expect 0 twofold prune --max-unused 0
	blocks | grep -qF "$first"
	expect 0 twofold ls -R latest:
	no grep -F "$first" <<<"$(blocks)"
}

# A folder on this machine needs none.
test_local_folder() {
	mktree tree 1
	export XDG_CACHE_HOME=$PWD/cache
	expect 0 twofold init
	expect 0 twofold backup tree
	expect 0 twofold ls latest:
	here cache/twofold/*/index
	gone cache/twofold/*/blocks
}

run_cases
