# shellcheck shell=bash disable=SC2034
# Sourced by tools/bench: the rows prune, check, s3-backup and s3-restore, on a quarter of the data (see prepare_small). ROW_PROGRAM sets what bench-programs.sh says, and
#   after    a command that must succeed afterwards, untimed         source   what is given back has to be like this folder, in place of the data
: "${bench:?}" "${work:?}" "${program:?}" "${small?}"

# --- prune, check: a repository of 20 snapshots with each program ------------------

HISTORY=20

# begin_PROGRAM makes the repository, next_PROGRAM sets the command of one backup.
begin_twofold() { fresh_twofold history; }
next_twofold() { twofold history backup "$work/changing"; }
begin_restic() { fresh_restic history; }
next_restic() { restic_command history backup "$work/changing"; }
begin_borg() { fresh_borg history; }
next_borg() { borg_create history "$work/changing"; }

# make_history PROGRAM: between two snapshots 1 % of the content changes, the same for every program.
make_history() {
	local round command=()
	[ ! -e "$work/$1-history" ] || return 0
	say "$1: $HISTORY snapshots, untimed"
	rm -rf "$work/changing"
	cp -a "$small" "$work/changing"
	"begin_$1"
	"next_$1"
	for ((round = 1; round <= HISTORY; round++)); do
		"next_$1"
		untimed "$1" || die "$1: no backup for the history: $(tail -n 1 "$work/log-untimed")"
		tools/bench-change "$work/changing" "$round" >"$work/log-change"
	done
	rm -rf "$work/changing"
}

untimed() { # PROGRAM
	local code=0
	"${command[@]}" >"$work/log-untimed" 2>&1 </dev/null || code=$?
	complete "$1" "$code"
}

# Each run prunes a copy.
copy_history() { # PROGRAM
	make_history "$1"
	rm -rf "$work/$1-prune"
	cp -a "$work/$1-history" "$work/$1-prune"
}

prune_twofold() {
	copy_history twofold
	twofold prune check --quiet
	after=("${command[@]}")
	twofold prune forget --keep-last $((HISTORY / 2)) --prune
	stored=$(twofold_repository prune)
	inputs=("$stored")
}

prune_restic() {
	copy_history restic
	restic_command prune check
	after=("${command[@]}")
	restic_command prune forget --keep-last $((HISTORY / 2)) --prune
	stored=$work/restic-prune
	inputs=("$stored")
}

# Borg refuses a repository that is older than what its own folder remembers, so that is a copy, too.
prune_borg() {
	copy_history borg
	rm -rf "$work/borg-base-prune"
	cp -a "$work/borg-base" "$work/borg-base-prune"
	command=(env "BORG_BASE_DIR=$work/borg-base-prune" BORG_RELOCATED_REPO_ACCESS_IS_OK=yes bash -c
		"borg list --short --first $((HISTORY / 2)) \"\$0\" | xargs borg delete \"\$0\" && borg compact \"\$0\"" "$work/borg-prune")
	stored=$work/borg-prune
	inputs=("$stored" "$work/borg-base-prune")
}

check_twofold() {
	make_history twofold
	twofold history check --read-data
	inputs=("$(twofold_repository history)")
}

check_restic() {
	make_history restic
	restic_command history check --read-data
	inputs=("$work/restic-history")
}

check_borg() {
	make_history borg
	borg_command check --verify-data "$work/borg-history"
	inputs=("$work/borg-history")
}

# --- s3-backup, s3-restore: Ceph's gateway on this machine beside a local folder -----

# The gateway, and a line to it that takes 10 ms each way.
start_s3() {
	[ -z "${S3_ENDPOINT:-}" ] || return 0
	say "starting Ceph's gateway"
	export CEPH_OSD_BYTES=8589934592
	ceph_start "$work/ceph" >"$work/log-ceph" 2>&1 || die "Ceph did not start: ${missing:-$(tail -n 1 "$work/log-ceph")}"
	s3_bucket bench >/dev/null || die "no bucket for the benchmark"
	far_port=$(free_port)
	daemon "$work/log-proxy" python3 tests/delay-proxy.py "$far_port" "${S3_ENDPOINT##*:}" 10
	wait_until 10 curl -s -o /dev/null "http://127.0.0.1:$far_port" || die "the line with the delay did not start"
}

stop_s3() {
	servers_stop
	unset S3_ENDPOINT
}

# keyed NAME LOCATION ARGS...: sets command. With a key file, so that no time goes into a password.
keyed() {
	local base=$work/$1 location=$2
	shift 2
	mkdir -p "$base"
	echo 'twofold-key-1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff' >"$base/key"
	chmod 600 "$base/key"
	command=(env "XDG_CACHE_HOME=$base/cache" "$program" --repo "$location" --password-file "$base/key" "$@")
}

# back_up NAME LOCATION: a fresh repository at a place that nothing has used.
back_up() {
	rm -rf "${work:?}/$1"
	keyed "$1" "$2" init
	"${command[@]}" >"$work/log-init" 2>&1 || die "twofold init: $(tail -n 1 "$work/log-init")"
	keyed "$1" "$2" backup "$small"
	inputs=("$small")
}

s3_backup_twofold() {
	start_s3
	s3_place=s3://bench/$((++s3_places))
	back_up twofold-s3-backup "$s3_place?endpoint=$S3_ENDPOINT"
}
s3_places=0

s3_backup_local() {
	back_up local-s3-backup "$work/local-s3-backup/repository"
	stored=$work/local-s3-backup/repository
}

# give_back NAME LOCATION
give_back() {
	out=$work/out source=$small
	mkdir "$out"
	keyed "$1" "$2" restore latest --target "$out"
}

s3_restore_twofold() {
	ensure twofold s3-backup
	give_back twofold-s3-backup "$s3_place?endpoint=http://127.0.0.1:$far_port"
}

s3_restore_local() {
	ensure local s3-backup
	give_back local-s3-backup "$work/local-s3-backup/repository"
	inputs=("$work/local-s3-backup/repository")
}
