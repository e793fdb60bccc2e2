#!/usr/bin/env bash
# Repositories on S3: Ceph's gateway, and a sloppy server that ignores conditions and checksums. One of each serves all tests of the file.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-ceph.sh"

trap 'servers_stop; cleanup' EXIT
while read -r name; do unset "$name"; done < <(compgen -e AWS_)
ceph_start "$base/ceph" >"$base/ceph-log" 2>&1
ceph_state=$? ceph_missing=$missing ceph_endpoint=${S3_ENDPOINT:-}
sloppy_start "$base/sloppy" >"$base/sloppy-log" 2>&1
sloppy_state=$? sloppy_missing=$missing sloppy_endpoint=${S3_ENDPOINT:-}

# use_ceph, use_sloppy: keys and an empty bucket of this test's own, whose name is in $bucket; the repository is in it.
use_ceph() {
	[ $ceph_state != 77 ] || skip "$ceph_missing"
	[ $ceph_state = 0 ] || { cat "$base/ceph-log"; return 1; }
	S3_ENDPOINT=$ceph_endpoint AWS_ACCESS_KEY_ID=AKTESTER AWS_SECRET_ACCESS_KEY=secret/of+tester
	use_bucket
}

use_sloppy() {
	[ $sloppy_state != 77 ] || skip "$sloppy_missing"
	[ $sloppy_state = 0 ] || { cat "$base/sloppy-log"; return 1; }
	S3_ENDPOINT=$sloppy_endpoint AWS_ACCESS_KEY_ID=S3RVER AWS_SECRET_ACCESS_KEY=S3RVER
	use_bucket
}

use_bucket() {
	export AWS_ENDPOINT_URL=$S3_ENDPOINT
	bucket=bucket-$RANDOM$RANDOM
	s3_bucket "$bucket" >/dev/null
	export TWOFOLD_REPOSITORY=s3://$bucket/some/folder
}

# Names of the objects below a prefix of the bucket.
objects() {
	s3 GET "/$bucket?list-type=2&prefix=${1//\//%2F}" | grep -o '<Key>[^<]*</Key>' | sed 's/<[^>]*>//g'
}

# Bytes that do not shrink, so that packs are large: the same for the same name.
noise() { # FILE MIB
	head -c "$(($2 << 20))" /dev/zero | openssl enc -aes-128-ctr -pass "pass:$1" -nosalt -md sha256 >"$1" 2>/dev/null
}

round_trip() {
	mktree tree 26
	noise tree/large 70
	expect 0 twofold init
	expect 0 twofold backup tree
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	echo more >tree/more
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
}

image_round_trip() {
	needs_tool mkfs.ext4
	mkdir tree
	noise tree/large 20
	truncate -s 64M disk
	mkfs.ext4 -q -d tree disk
	expect 0 twofold init
	expect 0 twofold image disk
	expect 0 twofold restore-image latest --target back
	[ "$(stat -c %s disk)" = "$(stat -c %s back)" ]
	debugfs -R 'dump large copy' back 2>/dev/null
	cmp tree/large copy
}

test_contract() {
	use_ceph
	[ -x "$BUILD/test-store-s3" ] || skip 'the unit tests are not built'
	"$BUILD/test-store-s3" live "s3://$bucket/p q+ä"
}

test_contract_sloppy() {
	use_sloppy
	[ -x "$BUILD/test-store-s3" ] || skip 'the unit tests are not built'
	TWOFOLD_TEST_SLOPPY=1 "$BUILD/test-store-s3" live "s3://$bucket/p q"
}

test_files() {
	use_ceph
	round_trip
	# Packs came in several parts.
	s3 GET "/$bucket?list-type=2&prefix=some%2Ffolder%2Fpacks%2F" | grep -q -e '-[2-9]&quot;</ETag>'
}

test_files_sloppy() { use_sloppy && round_trip; }
test_image() { use_ceph && image_round_trip; }
test_image_sloppy() { use_sloppy && image_round_trip; }

test_bucket() {
	use_ceph
	expect 1 twofold --repo s3://no-such-bucket/x snapshots
	says 'there is no such bucket'
	expect 0 twofold init s3://made-by-init/x
	expect 0 twofold --repo 's3://made-by-init/x?region=us-east-1&style=path' snapshots
	expect 1 twofold init s3://made-by-init/x
	says 'there is one already'
}

test_wrong_keys() {
	use_ceph
	expect 0 twofold init
	AWS_ACCESS_KEY_ID=nobody expect 1 twofold snapshots
	says 'the server does not know this access key'
	AWS_SECRET_ACCESS_KEY=wrong expect 1 twofold snapshots
	says 'the secret key does not belong to the access key'
	AWS_ACCESS_KEY_ID='' expect 1 twofold snapshots
	says 'no access key for S3'
	ceph_admin user create --uid other --display-name other --access-key AKOTHER --secret-key other >/dev/null
	AWS_ACCESS_KEY_ID=AKOTHER AWS_SECRET_ACCESS_KEY=other expect 1 twofold snapshots
	says 'AccessDenied'
	AWS_ENDPOINT_URL=http://127.0.0.1:9 expect 1 twofold snapshots
	says 'cannot be reached'
	AWS_ENDPOINT_URL=https://${S3_ENDPOINT#http://} expect 1 twofold snapshots
	says 'no secure connection'
}

test_wrong_clock() {
	needs_tool faketime
	use_ceph
	expect 0 twofold init
	expect 1 faketime '2001-02-03 04:05:06' "$TWOFOLD" snapshots
	says "this machine's clock says 2001-02-03 04:05:0"
}

# Objects of others, and many of them, below the same prefix.
test_foreign_objects() {
	use_ceph
	expect 0 twofold init
	for key in README packs/.DS_Store index/../x snapshots/UPPER 'packs/00/%20x'; do
		s3 PUT "/$bucket/some/folder/$key" --path-as-is -d foreign >/dev/null
	done
	s3 PUT "/$bucket/some/folder-2/keys/x" -d foreign >/dev/null
	mkdir tree && echo hello >tree/file
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	[ "$(objects some/folder/README)" = some/folder/README ]
}

# The keys are withdrawn while a backup runs: it fails and says why; what was stored serves the next run.
test_keys_withdrawn() {
	use_ceph
	ceph_admin user create --uid brief --display-name brief --access-key AKBRIEF --secret-key brief >/dev/null
	export AWS_ACCESS_KEY_ID=AKBRIEF AWS_SECRET_ACCESS_KEY=brief
	bucket=brief-$RANDOM
	s3_bucket $bucket >/dev/null
	export TWOFOLD_REPOSITORY=s3://$bucket/x
	expect 0 twofold init
	mkdir tree
	for i in 1 2 3 4 5; do noise "tree/$i" 40; done
	mkfifo gate
	twofold backup tree >log 2>&1 &
	local backup=$!
	wait_until 30 packs_there
	ceph_admin key rm --uid brief --key-type s3 --access-key AKBRIEF >/dev/null
	! wait $backup || { echo 'the backup ended well without keys'; return 1; }
	# A key goes in two steps, of the user and of the list of keys: in between RGW finds the user, but not this key of his, and calls that AccessDenied.
	grep -q -e 'the server does not know this access key' -e 'these keys may not do that (AccessDenied)' log || { cat log; return 1; }
	ceph_admin key create --uid brief --key-type s3 --access-key AKAGAIN --secret-key again >/dev/null
	export AWS_ACCESS_KEY_ID=AKAGAIN AWS_SECRET_ACCESS_KEY=again
	expect 0 twofold --json backup tree
	# Of 200 MiB of noise some was there.
	[ "$(field added_stored)" -lt 200000000 ] || { cat out; return 1; }
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	expect 0 twofold check --read-data
}

packs_there() { [ -n "$(objects x/packs/)" ]; }

# The same, but somebody renews the keys in the file meanwhile: nobody notices.
test_keys_renewed() {
	use_ceph
	ceph_admin user create --uid renewed --display-name renewed --access-key AKONE --secret-key one >/dev/null
	export AWS_ACCESS_KEY_ID=AKONE AWS_SECRET_ACCESS_KEY=one
	bucket=renewed-$RANDOM
	s3_bucket $bucket >/dev/null
	unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
	mkdir -p "$HOME/.aws" tree
	printf '[default]\naws_access_key_id = AKONE\naws_secret_access_key = one\n' >"$HOME/.aws/credentials"
	export TWOFOLD_REPOSITORY=s3://$bucket/x
	expect 0 twofold init
	for i in 1 2 3; do noise "tree/$i" 40; done
	twofold backup tree >log 2>&1 &
	local backup=$!
	export AWS_ACCESS_KEY_ID=AKONE AWS_SECRET_ACCESS_KEY=one
	wait_until 30 packs_there
	ceph_admin key create --uid renewed --key-type s3 --access-key AKTWO --secret-key two >/dev/null
	printf '[default]\naws_access_key_id = AKTWO\naws_secret_access_key = two\n' >"$HOME/.aws/credentials"
	ceph_admin key rm --uid renewed --key-type s3 --access-key AKONE >/dev/null
	wait $backup || { cat log; return 1; }
	unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
	expect 0 twofold check --read-data
}

# Paced on its way to the network, also where parts are sent by several threads.
test_rate_limits() {
	use_ceph
	mkdir tree
	noise tree/large 20
	echo small >tree/small
	expect 0 twofold init
	takes_at_least 1800 expect 0 twofold --limit-upload 10M backup tree
	takes_at_least 1800 expect 0 twofold --limit-download 10M restore latest --target back
	same_tree tree "back$PWD/tree"
}

test_store_test_leaves_nothing() {
	use_ceph
	expect 0 twofold store-test --size 1M s3://made-by-a-test/x
	bucket=made-by-a-test
	! s3 GET "/$bucket?list-type=2" >list || { cat list; return 1; }
	grep -q NoSuchBucket list
}

# --- buckets that keep versions, Object Lock ---------------------------------------------

# A bucket with Object Lock, which keeps versions.
use_locking() {
	use_ceph
	bucket=locking-$RANDOM$RANDOM
	s3_bucket "$bucket" -H 'x-amz-bucket-object-lock-enabled: true' >/dev/null
	export TWOFOLD_REPOSITORY=s3://$bucket/some/folder
}

# All that lies below a prefix, hidden or not: versions and delete markers.
versions() {
	s3 GET "/$bucket?prefix=some%2Ffolder%2F${1//\//%2F}&versions=" | awk -v RS='<' '/^(Version|DeleteMarker)>/ { n++ } END { print n + 0 }'
}

# protect SECONDS OBJECT...: by the bucket's lock, which only these keys with the permission to may shorten.
protect() {
	local seconds until object body
	seconds=$1
	shift
	for object; do
		# Each from now: the server refuses a time that has passed.
		until=$(date -u -d "+$seconds seconds" +%Y-%m-%dT%H:%M:%SZ)
		body="<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>$until</RetainUntilDate></Retention>"
		s3 PUT "/$bucket/$object?retention=" -H 'x-amz-bypass-governance-retention: true' -H "content-md5: $(printf %s "$body" | openssl md5 -binary | base64)" -d "$body" >/dev/null
	done
}

forgotten_backup() {
	mkdir tree
	noise tree/large 30
	expect 0 twofold init
	expect 0 twofold backup tree
	rm tree/large
	echo small >tree/small
	expect 0 twofold backup tree
	expect 0 twofold forget --keep-last 1
}

# What is removed gives its space back: nothing stays hidden as an older version.
test_versions_are_removed() {
	use_locking
	forgotten_backup
	[ "$(versions packs/)" -ge 3 ]
	expect 0 twofold prune
	[ "$(versions packs/)" = "$(objects some/folder/packs/ | wc -l)" ]
	[ "$(versions sessions/)" = 0 ]
	expect 0 twofold check --read-data
}

# What the bucket protects stays, marked, and prune says so; once the lock has ended the next one deletes it.
test_locked_packs() {
	use_locking
	forgotten_backup
	local packs
	mapfile -t packs < <(objects some/folder/packs/)
	protect 3600 "${packs[@]}"
	expect 3 twofold --json prune --max-unused 0
	[ "$(field protected_packs)" -ge 1 ]
	[ "$(field deleted_packs)" = 0 ]
	[ "$(versions tombstones/)" -ge 1 ]
	[ "$(field protected_bytes)" -gt 30000000 ]
	[ "$(objects some/folder/packs/ | wc -l)" -ge ${#packs[@]} ]
	expect 0 twofold check --read-data
	expect 0 twofold backup tree
	expect 3 twofold prune --max-unused 0
	grep -q 'are protected; a later prune deletes them.*Object Lock protects it until 20' err || { cat err; return 1; }
	protect 6 "${packs[@]}"
	sleep 7
	expect 0 twofold --json prune --max-unused 0
	[ "$(field deleted_packs)" -ge 1 ]
	[ "$(versions packs/)" = "$(objects some/folder/packs/ | wc -l)" ]
	[ "$(versions tombstones/)" = 0 ]
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
}

# --- init --lock-for ---------------------------------------------------------------------

# locked_until OBJECT: seconds since 1970, 0 where it is not locked.
locked_until() {
	local date
	date=$(s3 HEAD "/$bucket/$1" -I | tr -d '\r' | sed -n 's/^x-amz-object-lock-retain-until-date: //Ip')
	if [ -n "$date" ]; then date -u -d "$date" +%s; else echo 0; fi
}

# all_locked SECONDS: everything that stays is locked for so long from now, and nothing else is.
all_locked() {
	local name until least
	least=$(($(date +%s) + $1))
	while read -r name; do
		until=$(locked_until "$name")
		case $name in
			*/sessions/* | */tombstones/* | */aside/* | */probe/*) [ "$until" = 0 ] || { echo "$name is locked"; return 1; } ;;
			*) [ "$until" -ge "$least" ] || { echo "$name is locked until $until, not $least"; return 1; } ;;
		esac
	done < <(objects some/folder/)
}

# What an append-only store does beside backups: check, restore, and copies into it.
reading_and_copying_works() {
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	expect 0 twofold init "$PWD/other"
	expect 0 twofold --repo "$PWD/other" backup tree
	expect 0 twofold --repo "$PWD/other" copy --to "$TWOFOLD_REPOSITORY" --to-password-file "$TWOFOLD_PASSWORD_FILE"
}

test_lock_for() {
	use_locking
	expect 0 twofold init --lock-for 1h --parity 10
	grep -q 'locked for 1 h 00 min from then on: nobody can delete it before' out
	mkdir tree
	noise tree/large 40
	expect 0 twofold backup tree
	[ "$(objects some/folder/parity/ | wc -l)" -ge 1 ]
	all_locked 3500
	[ "$(s3 HEAD "/$bucket/some/folder/twofold" -I | grep -ci 'object-lock-mode: COMPLIANCE')" = 1 ]
	expect 0 twofold --json stats
	[ "$(field lock_seconds)" = 3600 ]
	# All but what deletes works.
	expect 0 twofold backup tree
	reading_and_copying_works
	expect 1 twofold forget latest
	says 'UTC; forget it then'
	expect 3 twofold forget --keep-last 1
	grep -q 'snapshots stay, as they are locked: .*Object Lock protects it until 20' err || { cat err; return 1; }
	expect 0 twofold --json snapshots
	all_locked 3400
}

# What newer backups share with older ones stays locked: they renew it, when the time for that has come. What nothing needs loses its lock. Time passes by shortening locks, which GOVERNANCE permits.
test_locks_are_renewed() {
	use_locking
	expect 0 twofold init --lock-for 1h --lock-mode governance
	mkdir tree
	noise tree/kept 9
	noise tree/gone 36
	expect 0 twofold backup tree
	local first name start marked until
	first=$(objects some/folder/snapshots/)
	mapfile -t old < <(objects some/folder/packs/)
	all_locked 3500
	until=$(locked_until "$first")
	rm tree/gone
	# Renewed a moment ago, as far as this machine knows: not again.
	protect 600 "${old[0]}"
	expect 0 twofold backup tree
	[ "$(locked_until "${old[0]}")" -lt "$(($(date +%s) + 700))" ]
	# The spare quarter of an hour is over.
	start=$(date +%s)
	sed -i "1s/[0-9]*$/$((start - 1000))/" "$(find "$HOME" -name locked)"
	expect 0 twofold backup tree
	for name in "${old[@]}"; do
		[ "$(locked_until "$name")" -ge $((start + 4480)) ] || { echo "$name was not renewed"; return 1; }
	done
	[ "$(locked_until "$first")" = "$until" ] || { echo 'the lock of a snapshot was renewed'; return 1; }
	# A machine that remembers nothing renews, too.
	protect 600 "${old[@]}"
	expect 0 twofold --no-cache backup tree
	for name in "${old[@]}"; do [ "$(locked_until "$name")" -ge $((start + 4400)) ]; done
	# The lock of the snapshot ends, and it can be forgotten; its packs are marked, and lose their locks from then on.
	expect 1 twofold forget "$(basename "$first")"
	protect 2 "$first"
	sleep 3
	expect 0 twofold forget "$(basename "$first")"
	expect 3 twofold --json prune --max-unused 0
	[ "$(field protected_packs)" -ge 1 ]
	[ "$(field deleted_packs)" = 0 ]
	protect 20 "${old[@]}"
	expect 0 twofold --no-cache backup tree
	marked=()
	for name in "${old[@]}"; do [ "$(locked_until "$name")" -ge $((start + 4400)) ] || marked+=("$name"); done
	[ ${#marked[@]} -ge 1 ] || { echo 'what is marked was renewed'; return 1; }
	expect 0 twofold check --read-data
	protect 2 "${marked[@]}"
	sleep 3
	expect 0 twofold --json prune --max-unused 0
	[ "$(field deleted_packs)" = ${#marked[@]} ]
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
}

# An adopted pack whose writer died before it could lock it.
test_interrupted_is_locked() {
	use_locking
	expect 0 twofold init --lock-for 1h
	mkdir tree
	for i in 1 2 3 4 5; do noise "tree/$i" 40; done
	twofold backup tree >log 2>&1 &
	local backup=$!
	wait_until 60 packs_are_there
	kill -KILL $backup
	wait $backup 2>/dev/null || true
	expect 0 twofold backup tree
	all_locked 3400
	expect 0 twofold check --read-data
}

packs_are_there() { [ "$(objects some/folder/packs/ | wc -l)" -ge 2 ]; }

# Where nothing can be locked there is no repository that says it is.
test_lock_refused() {
	use_ceph
	expect 1 twofold init --lock-for 1h
	says 'the bucket does not lock objects'
	[ -z "$(objects some/)" ] || { objects some/; return 1; }
	expect 1 twofold init --lock-for 1h "$PWD/folder"
	says 'objects there cannot be locked'
	[ ! -e folder ]
	expect 1 twofold init --lock-for 1h sftp://nobody@localhost/x
	says 'objects there cannot be locked'
	expect 2 twofold init --lock-for forever
	expect 2 twofold init --lock-mode governance
	# A bucket that is missing is made with Object Lock.
	bucket=made-locking-$RANDOM
	expect 0 twofold init --lock-for 1h "s3://$bucket/some/folder"
	all_locked 3500
}

test_lock_refused_sloppy() {
	use_sloppy
	expect 1 twofold init --lock-for 1h
	says 'did not lock it'
	[ -z "$(objects some/)" ] || { objects some/; return 1; }
}

# Who can write to the bucket writes a header without the lock: machines that know better refuse.
test_lock_taken_away() {
	use_locking
	expect 0 twofold init --lock-for 1h
	mkdir tree && echo hello >tree/file
	expect 0 twofold backup tree
	s3 GET "/$bucket/some/folder/twofold" >header
	printf '\1\0' | dd of=header bs=1 seek=8 conv=notrunc 2>/dev/null
	printf '\0' | dd of=header bs=1 seek=14 conv=notrunc 2>/dev/null
	printf '\0\0\0\0' | dd of=header bs=1 seek=48 conv=notrunc 2>/dev/null
	python3 - <<-'END'
		h = bytearray(open("header", "rb").read()); c = 0xffffffff
		for b in h[:60]:
		    c ^= b
		    for _ in range(8): c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
		h[60:64] = (c ^ 0xffffffff).to_bytes(4, "little"); open("header", "wb").write(h)
	END
	s3 PUT "/$bucket/some/folder/twofold" --data-binary @header >/dev/null
	expect 1 twofold backup tree
	says 'somebody changed it in the storage'
}

# --- append-only ------------------------------------------------------------------------------

# Keys that may add and read but not delete (but the sessions, which come and go): everything but prune and forget works.
test_append_only_keys() {
	use_ceph
	local resource=arn:aws:s3:::$bucket
	ceph_admin user create --uid adder --display-name adder --access-key AKADDER --secret-key adder >/dev/null
	cat >policy <<-END
		{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/adder"]}, "Resource": ["$resource", "$resource/*"],
		 "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]},
		{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/adder"]}, "Resource": ["$resource/some/folder/sessions/*", "$resource/some/folder/probe/*"], "Action": ["s3:DeleteObject"]}]}
	END
	s3 PUT "/$bucket?policy=" --data-binary @policy >/dev/null
	export AWS_ACCESS_KEY_ID=AKADDER AWS_SECRET_ACCESS_KEY=adder
	append_only_round
	expect 1 twofold forget latest
	says 'these keys may not do that'
	expect 1 twofold prune --max-unused 0
	says 'these keys may not do that'
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target again
	same_tree tree "again$PWD/tree"
}

append_only_round() {
	mkdir tree
	noise tree/large 30
	expect 0 twofold init
	expect 0 twofold backup tree
	rm tree/large
	echo small >tree/small
	expect 0 twofold backup tree
	reading_and_copying_works
	expect 0 twofold find small
}

# A bucket that locks everything by its own default, the sessions too.
test_append_only_bucket() {
	use_locking
	local body='<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>'
	s3 PUT "/$bucket?object-lock=" -H "content-md5: $(printf %s "$body" | openssl md5 -binary | base64)" -d "$body" >/dev/null
	append_only_round
	expect 1 twofold forget latest
	says 'Object Lock protects it until 20'
	expect 3 twofold forget --keep-last 1
	# Nothing is garbage as long as no snapshot can be forgotten; what a repair or an interrupted run left would stay, and prune says so.
	expect 0 twofold prune --max-unused 0
	expect 0 twofold check --read-data
	expect 0 twofold restore latest --target again
	same_tree tree "again$PWD/tree"
}

run_cases
