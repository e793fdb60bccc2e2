#!/usr/bin/env bash
# The whole program over SFTP, against a real sshd.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib-sshd.sh
. "$(dirname "$0")/lib-sshd.sh"

# serve [CONFIG LINE...]: an sshd in ./ssh that ends with the test, and a repository's location on it.
serve() {
	needs_tool ssh ssh-keygen
	[ -x /usr/sbin/sshd ] || command -v sshd >/dev/null || skip 'sshd is not installed'
	sshd_start "$PWD/ssh" "$@"
	trap sshd_stop EXIT
	export TWOFOLD_SFTP_TIMEOUT=20
	TWOFOLD_REPOSITORY=sftp://127.0.0.1:$SSHD_PORT$PWD/srv/repo
}

# Some files that do not shrink: enough for several packs.
files() {
	mkdir -p tree
	local i
	for i in $(seq "${1:-6}"); do head -c 9M /dev/urandom >"tree/noise$i"; done
	cp -r "$folder" tree/tests
}

test_round_trip() {
	serve
	mktree tree 4
	rm -rf tree/sparse
	expect 0 twofold init
	expect 0 twofold backup tree
	expect 0 twofold backup --json tree
	[ "$(field files_new)" = 0 ]
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	lstree tree >a
	lstree "back$PWD/tree" >b
	[ "$(cut -c 1-40 a | wc -l)" = "$(cut -c 1-40 b | wc -l)" ]
	expect 0 twofold cat "latest:$PWD/tree/$(cd tree && find . -maxdepth 2 -type f -size +1k -printf '%P\n' | sort | head -n 1)"
	# The same objects are a local repository.
	TWOFOLD_REPOSITORY=$PWD/srv/repo expect 0 twofold check --read-data
	[ -z "$(find srv/repo/tmp -name 'tmp-*')" ]
}

test_image() {
	needs image restore-image
	serve
	truncate -s 48M disk
	mkfs.ext4 -q -F -d "$folder" disk
	expect 0 twofold init
	expect 0 twofold image disk
	expect 0 twofold restore-image latest --target back --yes
	expect 0 "$TOOLS/imgcmp" disk back
}

# The server's processes are killed again and again while a backup runs: it gets over it.
test_killed_connections() {
	serve
	files 8
	expect 0 twofold init
	twofold backup tree >out 2>err &
	local job=$! kills=0 code=0
	# Its own first connection is there once something is written.
	while kill -0 $job 2>/dev/null && [ -z "$(find srv/repo/tmp -name 'tmp-*')" ]; do sleep 0.02; done
	while kill -0 $job 2>/dev/null && [ $kills -lt 4 ]; do
		sshd_kill KILL
		sleep 0.4
		kills=$((kills + 1))
	done
	wait $job || code=$?
	[ $code = 0 ] || { cat out err; return 1; }
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	diff -r tree "back$PWD/tree"
}

# The server goes away for good: the backup fails, and the next one uses what was stored.
test_server_gone() {
	serve
	files 10
	expect 0 twofold init
	export TWOFOLD_RETRY_SECONDS=2
	twofold backup tree >out 2>err &
	local job=$! code=0
	for _ in $(seq 400); do
		[ "$(find srv/repo/packs -type f 2>/dev/null | wc -l)" -lt 1 ] || break
		kill -0 $job 2>/dev/null || break
		sleep 0.05
	done
	sshd_stop
	wait $job || code=$?
	if [ $code != 0 ]; then
		[ $code = 1 ]
		grep -q "^twofold: .*127.0.0.1" err
	fi
	SSHD_WANT_PORT=$SSHD_PORT sshd_start "$PWD/ssh"
	unset TWOFOLD_RETRY_SECONDS
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
}

# One that falls silent in the middle is in the unit tests (store-sftp); here nobody takes the connection.
test_server_stops_answering() {
	serve
	expect 0 twofold init
	export TWOFOLD_SFTP_TIMEOUT=2 TWOFOLD_RETRY_SECONDS=0
	kill -STOP "$SSHD_PID"
	expect 1 timeout 60 "$TWOFOLD" snapshots
	kill -CONT "$SSHD_PID"
	says 'timed out'
	expect 0 twofold snapshots
}

test_host_key() {
	serve
	expect 0 twofold init
	mv ssh/known ssh/known.good
	expect 1 twofold snapshots
	says 'host key is not known'
	no test -s ssh/known
	ssh-keygen -q -t ed25519 -N '' -f other
	echo "[127.0.0.1]:$SSHD_PORT $(cut -d ' ' -f 1,2 other.pub)" >ssh/known
	expect 1 twofold snapshots
	says 'is not the one that is known'
	mv ssh/known.good ssh/known
	expect 0 twofold snapshots
}

test_wrong_key() {
	serve
	expect 0 twofold init
	ssh-keygen -q -t ed25519 -N '' -f other
	cp other.pub ssh/authorized
	expect 1 twofold snapshots
	says 'does not let you in'
}

# An account that only takes: backups work, removing says why not.
test_append_only() {
	serve 'ForceCommand internal-sftp -P remove,posix-rename,setstat,fsetstat'
	files 1
	expect 0 twofold init
	expect 0 twofold backup tree
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	expect 1 twofold forget latest
	says 'the server does not allow it'
	expect 0 twofold store-test --size 1M
	grep -q 'remove  *no' out
}

test_no_writing() {
	serve
	files 1
	expect 0 twofold init
	sshd_stop
	SSHD_WANT_PORT=$SSHD_PORT sshd_start "$PWD/ssh" 'ForceCommand internal-sftp -R'
	expect 1 twofold backup tree
	says 'the server denies it'
	expect 0 twofold snapshots
	TWOFOLD_REPOSITORY=$TWOFOLD_REPOSITORY/none expect 1 twofold init
}

test_full_server() {
	needs_root
	serve
	mkdir srv
	mount -t tmpfs -o size=24m none srv 2>/dev/null || skip 'cannot mount tmpfs'
	files 6
	expect 0 twofold init
	expect 1 twofold backup tree
	says 'disk is full'
	mount -o remount,size=200m srv
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
}

test_store_test() {
	serve
	expect 0 twofold store-test --json --size 2M "$TWOFOLD_REPOSITORY"
	grep -q '"usable":true.*"one_winner":true.*"durable":true' out
	# It made the folder, and leaves none; what was there before stays.
	[ ! -e srv/repo ] || { find srv; return 1; }
	expect 0 twofold init
	find srv | sort >before
	expect 0 twofold store-test --size 1M
	find srv | sort | diff before -
	expect 0 twofold store-test --size 1M "$PWD/new/place"
	grep -q 'never replaced  *yes' out
	[ ! -e new ] || { find new; return 1; }
	mkdir empty
	expect 0 twofold store-test --size 1M "$PWD/empty"
	rmdir empty
	expect 1 twofold store-test "sftp://127.0.0.1:1$PWD"
	says 'Connection refused'
	expect 1 twofold store-test 'sftp://-oProxyCommand=touch%20x/y'
	says 'write it as sftp://'
}

run_cases
