# shellcheck shell=bash
# Who signed: what another holder of the repository's key writes in the name of a host is named.
. "$(dirname "$0")/lib.sh"

# This machine has signed one snapshot, and looked.
signed_backup() {
	needs init backup snapshots check forget 'key signing'
	mkdir tree
	echo one >tree/x
	twofold init
	expect 0 twofold backup tree
	expect 0 twofold snapshots
	host=$(hostname)
}

# Another home: another machine as far as keys and memory go, with the same key of the repository.
other() { HOME=$PWD/other "$@"; }

# The last snapshot's id.
newest() { ("$TWOFOLD" --json snapshots 2>/dev/null || true) | sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p' | tail -n 1; }

test_nothing_to_say() {
	signed_backup
	here "$HOME/.local/state/twofold"/*/signing-key
	[ "$(stat -c %a "$HOME/.local/state/twofold"/*/signing-key)" = 600 ]
	echo two >tree/y
	expect 0 twofold backup tree
	expect 0 twofold forget latest
	expect 0 twofold snapshots
	expect 0 twofold check
	expect 0 other twofold snapshots
	expect 0 other twofold check
	expect 0 twofold key signing
	grep -q "\*.*@$host" out
	[ "$(grep -c @ out)" = 1 ]
}

# A holder of the repository's key, without the signing key: in this user's name he writes nothing signed.
test_forged_without_a_signature() {
	signed_backup
	echo rubbish >tree/x
	expect 3 other twofold backup tree
	grep -q "until now .*@$host signed with key .*twofold key signing --new" err
	local id date
	id=$(newest)
	date=$(date +%Y-%m-%d)
	expect 3 twofold snapshots
	grep -q "snapshot ${id:0:16} of $date .* in the name of host $host: it is not signed" err
	grep -q "log .* of $date .* in the name of host $host: it is not signed" err
	expect 1 twofold check
	grep -q "snapshots/$id: of .* in the name of host $host: it is not signed" out
	# Whoever looks for the first time sees it too.
	HOME=$PWD/third expect 3 twofold snapshots
	grep -q "snapshot ${id:0:16} of" err
	# And it stays so until it is taken for right, here.
	expect 3 twofold snapshots
	expect 0 twofold snapshots --accept
	expect 0 twofold snapshots
	expect 0 twofold check
	HOME=$PWD/third expect 3 twofold snapshots
}

# The same by a key that was made for it.
test_forged_with_another_key() {
	signed_backup
	expect 0 other twofold key signing --new
	echo rubbish >tree/x
	expect 0 other twofold backup tree
	expect 0 other twofold backup tree
	expect 3 twofold snapshots
	grep -q "in the name of host $host (and 1 more): signed by key" err
	expect 1 twofold check
	expect 0 twofold snapshots --accept
	expect 0 twofold snapshots
	# From now on both may.
	expect 0 other twofold backup tree
	expect 0 twofold backup tree
	expect 0 twofold snapshots
	expect 0 twofold key signing
	[ "$(grep -c "@$host" out)" = 2 ]
}

# In the name of a host that never signed: that is what a repository from before looks like.
test_unsigned_ones_from_before() {
	needs init backup snapshots check 'key signing'
	mkdir tree
	echo one >tree/x
	twofold init
	expect 0 twofold backup tree --no-cache
	[ ! -e "$HOME/.local/state" ]
	expect 0 twofold backup tree --no-cache
	expect 0 twofold snapshots
	echo two >tree/x
	expect 0 twofold backup tree
	expect 0 twofold snapshots
	expect 0 twofold check
	expect 0 other twofold snapshots
	# Signing has begun.
	rm -r "$HOME/.local/state"
	expect 3 twofold backup tree
	expect 3 other twofold snapshots
}

# A home folder that nothing can be kept in: the backup is as good, and says it.
test_what_cannot_be_kept() {
	signed_backup
	needs_root
	chmod 755 .
	mkdir locked
	cp -r "$TWOFOLD_REPOSITORY" copy
	chmod -R a+rwX copy tree
	cp "$TWOFOLD_PASSWORD_FILE" key
	chmod a+r key
	HOME=$PWD/locked expect 0 as_nobody "$TWOFOLD" backup tree --repo copy --password-file key
	grep -q 'is not signed, since no key can be kept here' out err
}

# A name may be given to a backup; who signed it is seen.
test_another_host_by_name() {
	signed_backup
	expect 0 twofold backup tree --host web
	expect 0 twofold snapshots
	# A key of another user, made at the first backup: his own name is new, the name web is not.
	expect 3 other twofold backup tree --host web
	expect 3 twofold snapshots
	grep -q 'in the name of host web: it is not signed' err
}

test_two_at_once_make_one_key() {
	needs init backup snapshots 'key signing'
	mkdir tree
	twofold init
	local i pids=
	for i in 1 2 3 4; do
		"$TWOFOLD" backup tree >"out$i" 2>&1 &
		pids="$pids $!"
	done
	for i in $pids; do wait "$i"; done
	expect 0 twofold snapshots
	expect 0 twofold key signing
	[ "$(grep -c '@' out)" = 1 ]
}

# A copy is signed by who made it, and stays the original host's.
test_copies() {
	signed_backup
	needs copy
	expect 0 twofold init --repo "$PWD/second"
	expect 0 twofold copy --to "$PWD/second" --to-password-file "$TWOFOLD_PASSWORD_FILE"
	expect 0 twofold snapshots --repo "$PWD/second"
	expect 0 twofold backup tree --repo "$PWD/second"
	expect 0 twofold snapshots --repo "$PWD/second"
	expect 0 other twofold snapshots --repo "$PWD/second"
}

# By what is written down of the format the signatures are found as they are.
test_second_reader() {
	signed_backup
	needs_tool python3
	python3 -c 'import ctypes; ctypes.CDLL("libsodium.so.23")' || skip 'no libsodium for Python'
	export PYTHONDONTWRITEBYTECODE=1
	expect 0 twofold backup tree
	other twofold backup tree --no-cache
	python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "key:$TWOFOLD_PASSWORD_FILE" log >entries
	[ "$(grep -c "@$host$" entries)" = 2 ]
	[ "$(grep -c ' unsigned$' entries)" = 1 ]
	grep -q '^3 entries, 2 signed$' entries
}

run_cases
