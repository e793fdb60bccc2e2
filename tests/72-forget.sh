# shellcheck shell=bash
# Forgetting snapshots, by name and by rules.
. "$(dirname "$0")/lib.sh"

# backup_at TIME [OPTION...]: a snapshot of that time.
backup_at() {
	local when=$1
	shift
	faketime "$when" "$TWOFOLD" -q backup tree "$@"
}

history() {
	needs forget
	needs_tool faketime
	mkdir tree
	echo one >tree/file
	twofold -q init
	backup_at '2024-01-30 12:00:00'
	backup_at '2024-02-28 12:00:00' --tag release
	backup_at '2024-02-29 08:00:00'
	backup_at '2024-02-29 20:00:00'
	backup_at '2024-03-01 12:00:00'
}

ids() { twofold --json snapshots "$@" | sed -n 's/.*"type":"snapshot","id":"\([0-9a-f]*\)".*/\1/p'; }
times() { twofold snapshots | grep -o '2024-[0-9-]* [0-9]*' | tr '\n' ' '; }

test_rules() {
	history
	cp -a repo before
	expect 0 twofold forget --keep-daily 2 --keep-tag release --dry-run
	[ "$(grep -c '^keep ' out)" = 3 ]
	[ "$(grep -c '^forget ' out)" = 2 ]
	grep -q '^keep .*2024-02-29 20:0.:.. .* daily' out
	grep -q '^keep .*release .* tag' out
	grep -q "$PWD/tree" out
	# Nothing happened; nothing but snapshots goes when it does, and the log says so.
	diff -r before repo
	expect 0 twofold forget --keep-daily 2 --keep-tag release
	[ "$(times)" = '2024-02-28 12 2024-02-29 20 2024-03-01 12 ' ]
	diff -r -x snapshots -x log before repo
	expect 0 twofold check --read-data
	twofold -q restore latest --target back
	cmp "back$PWD/tree/file" tree/file
	expect 0 twofold forget --keep-within 1d
	[ "$(times)" = '2024-02-29 20 2024-03-01 12 ' ]
	expect 0 twofold --json forget --keep-last 1
	[ "$(field forgotten)" = 1 ]
	[ "$(field kept)" = 1 ]
	no grep -v '^{.*}$' out
	[ "$(times)" = '2024-03-01 12 ' ]
}

test_groups_and_filters() {
	history
	mkdir other
	echo two >other/file
	faketime '2023-01-01 12:00:00' "$TWOFOLD" -q backup other
	# One of each group stays, however old it is.
	expect 0 twofold forget --keep-last 1 --dry-run
	[ "$(grep -c '^keep ' out)" = 2 ]
	expect 0 twofold forget --keep-last 1 --group-by none --dry-run
	[ "$(grep -c '^keep ' out)" = 1 ]
	expect 0 twofold forget --keep-last 1 --path "$PWD/tree"
	[ "$(ids | wc -l)" = 2 ]
	[ "$(ids --path "$PWD/other" | wc -l)" = 1 ]
	expect 0 twofold forget --keep-last 1 --host nobody-of-this-name
	[ "$(ids | wc -l)" = 2 ]
}

test_refusals() {
	history
	expect 2 twofold forget
	says 'say what to keep'
	expect 2 twofold forget --keep-last 0
	expect 2 twofold forget --keep-within 5
	expect 2 twofold forget --keep-last 1 latest
	expect 2 twofold forget --keep-last 1 --group-by house
	# Rules that keep nothing.
	expect 1 twofold forget --keep-tag of-no-snapshot
	says 'nothing was forgotten'
	[ "$(ids | wc -l)" = 5 ]
}

test_by_name() {
	history
	local all
	mapfile -t all < <(ids)
	expect 0 twofold forget --dry-run "${all[0]}"
	[ "$(ids | wc -l)" = 5 ]
	expect 0 twofold forget "${all[0]}" "${all[1]:0:12}"
	[ "$(ids | wc -l)" = 3 ]
	# Gone already: said, and fine. What was never shown so: a slip.
	expect 0 twofold forget "${all[0]}" "${all[2]}"
	grep -q 'gone already' out
	[ "$(ids | wc -l)" = 2 ]
	expect 1 twofold forget "${all[3]}" "${all[0]:0:6}"
	says 'there is none'
	[ "$(ids | wc -l)" = 2 ]
	# A damaged one can be forgotten by name; rules leave it alone and say so.
	printf 'xxxx' | dd of="repo/snapshots/${all[3]}" bs=1 seek=200 conv=notrunc status=none
	expect 3 twofold forget --keep-last 1
	here "repo/snapshots/${all[3]}"
	expect 0 twofold forget "${all[3]}"
	gone "repo/snapshots/${all[3]}"
	expect 0 twofold check
}

test_prune() {
	needs prune
	history
	head -c 300000 /dev/urandom >tree/gone
	backup_at '2024-03-02 12:00:00'
	rm tree/gone
	backup_at '2024-03-03 12:00:00'
	expect 0 twofold forget --keep-last 1 --prune --dry-run
	[ "$(ids | wc -l)" = 7 ]
	expect 0 twofold forget --keep-last 1 --prune
	[ "$(ids | wc -l)" = 1 ]
	[ -z "$(find repo/packs -size +200k)" ]
	expect 0 twofold check --read-data
	twofold -q restore latest --target back
	cmp "back$PWD/tree/file" tree/file
}

test_append_only() {
	needs_root
	history
	chattr +a repo/snapshots || skip 'the filesystem here knows no append-only folders'
	expect 1 twofold forget --keep-last 1
	says 'forget from where deleting is allowed'
	[ "$(find repo/snapshots -type f | wc -l)" = 5 ]
	chattr -a repo/snapshots
	expect 0 twofold forget --keep-last 1
}

run_cases
