#!/usr/bin/env bash
# ceph-faults.sh: ./dev test-ceph. Ceph with three object daemons, every object three times; one is killed in the middle of a backup, of a restore and of a
# prune. Everything must be complete afterwards, at once or when it is run again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-ceph.sh"

trap 'servers_stop; cleanup' EXIT
while read -r name; do unset "$name"; done < <(compgen -e AWS_)

# cluster: three daemons and a repository, in the test's own folder.
cluster() {
	trap servers_stop EXIT
	local state=0
	ceph_start "$PWD/ceph" 3 || state=$?
	[ $state != 77 ] || skip "$missing"
	[ $state = 0 ]
	export AWS_ENDPOINT_URL=$S3_ENDPOINT TWOFOLD_REPOSITORY=s3://bucket/repository
	s3_bucket bucket >/dev/null
	expect 0 twofold init
	mkdir tree
	for i in 1 2 3 4 5 6; do
		head -c 40M /dev/zero | openssl enc -aes-128-ctr -pass "pass:$i" -nosalt -md sha256 >"tree/$i" 2>/dev/null
	done
}

# A second or so into COMMAND one daemon dies. Once more without it, where the command failed.
with_one_killed() { # DAEMON CONDITION COMMAND...
	local daemon=$1 condition=$2 running
	shift 2
	"$@" >log 2>&1 &
	running=$!
	wait_until 30 "$condition"
	ceph_osd_stop "$daemon"
	if ! wait $running; then
		echo "failed, and is run again: $(tail -n 1 log)"
		grep -q '^twofold: ' log
		expect 0 "$@"
	fi
}

packs_there() { s3 GET '/bucket?list-type=2&prefix=repository%2Fpacks%2F' | grep -q '<Key>'; }
files_there() { [ -n "$(find back -name '[1-6]' -size +0 2>/dev/null)" ]; }
tombstone_there() { sleep 0.3; }

test_backup() {
	cluster
	with_one_killed 1 packs_there twofold backup tree
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
}

test_restore() {
	cluster
	expect 0 twofold backup tree
	with_one_killed 2 files_there twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	expect 0 twofold check --read-data
}

test_prune() {
	needs prune forget
	cluster
	expect 0 twofold backup tree
	rm tree/[1-4]
	expect 0 twofold backup tree
	expect 0 twofold forget --keep-last 1
	with_one_killed 0 tombstone_there twofold prune
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
}

run_cases
