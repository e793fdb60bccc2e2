# shellcheck shell=bash disable=SC2034,SC2016
# Sourced by tools/bench: how each program does the work of each row. A function ROW_PROGRAM sets what measure takes:
#   command   what is timed        inputs  what it reads: brought into the page cache first
#   stored    where the result lies, to be sized    out  what it gives back: compared (twofold's) and deleted afterwards
#   folder    where it is run
# and does what belongs before it, untimed.
: "${bench:?}" "${work:?}" "${program:?}" "${image:?}" "${results:?}" "${data?}"

# --- twofold ------------------------------------------------------------------

# The default repository with the key file that it makes for itself, all below one folder.
twofold() { # REPOSITORY ARGS...: sets command
	local base=$work/twofold-$1
	shift
	command=(env "XDG_DATA_HOME=$base/data" "XDG_CONFIG_HOME=$base/config" "XDG_CACHE_HOME=$base/cache" "$program" "$@")
}

fresh_twofold() { # REPOSITORY
	rm -rf "$work/twofold-$1"
	twofold "$1" init
	# Without a terminal it makes the key file.
	setsid -w "${command[@]}" </dev/null >"$work/log-init" 2>&1 || die "twofold init: $(tail -n 1 "$work/log-init")"
}

twofold_repository() { echo "$work/twofold-$1/data/twofold/repository"; }

files_twofold() {
	fresh_twofold files
	twofold files backup "$data"
	inputs=("$data")
	stored=$(twofold_repository files)
}

unchanged_twofold() {
	ensure twofold files
	twofold files backup "$data"
	inputs=("$(twofold_repository files)")
	find "$data" -size +1 >/dev/null # the inodes; no program opens the files
	stored=$(twofold_repository files)
}

restore_twofold() {
	ensure twofold files
	out=$work/out
	mkdir "$out"
	twofold files restore latest --target "$out"
	inputs=("$(twofold_repository files)")
}

image_twofold() {
	fresh_twofold image
	twofold image image "$image"
	inputs=("$image")
	stored=$(twofold_repository image)
}

# Everything is read, also where a later version could skip what has not changed.
again_twofold() {
	local all=()
	ensure twofold image
	"$program" help image 2>/dev/null | grep -q -e '--read-all' && all=(--read-all)
	twofold image image "${all[@]}" "$image"
	inputs=("$image" "$(twofold_repository image)")
	stored=$(twofold_repository image)
}

image_restore_twofold() {
	ensure twofold image
	out=$work/out.img
	twofold image restore-image latest --target "$out"
	inputs=("$(twofold_repository image)")
}

both_twofold() {
	ensure twofold files
	note_before twofold "$(twofold_repository files)"
	twofold files image "$image"
	inputs=("$image")
	stored=$(twofold_repository files)
}

# With a password: what Argon2id costs.
with_password() { command=(env TWOFOLD_PASSWORD=benchmark "XDG_CACHE_HOME=$work/password/cache" "$program" --repo "$work/password/repository" "$@"); }

password_twofold() {
	with_password init "$work/password/repository"
	mkdir -p "$work/password"
	"${command[@]}" >"$work/log-init" 2>&1 || die "twofold init: $(tail -n 1 "$work/log-init")"
	with_password backup "$data"
	inputs=("$data")
	stored=$work/password/repository
}

password_unchanged_twofold() {
	with_password backup "$data"
	inputs=("$work/password/repository")
	find "$data" -size +1 >/dev/null
}

# --- restic -------------------------------------------------------------------

restic_command() { # REPOSITORY ARGS...: sets command
	local base=$work/restic-$1
	shift
	command=(restic --repo "$base" --cache-dir "$work/restic-cache" "$@")
}

fresh_restic() {
	rm -rf "$work/restic-$1"
	restic_command "$1" init --repository-version 2
	"${command[@]}" >"$work/log-init" 2>&1 || die "restic init: $(tail -n 1 "$work/log-init")"
}

files_restic() {
	fresh_restic files
	restic_command files backup "$data"
	inputs=("$data")
	stored=$work/restic-files
}

unchanged_restic() {
	ensure restic files
	restic_command files backup "$data"
	inputs=("$work/restic-files" "$work/restic-cache")
	find "$data" -size +1 >/dev/null
	stored=$work/restic-files
}

restore_restic() {
	ensure restic files
	out=$work/out
	restic_command files restore latest --target "$out"
	inputs=("$work/restic-files")
}

image_restic() {
	fresh_restic image
	restic_command image backup "$image"
	inputs=("$image")
	stored=$work/restic-image
}

again_restic() {
	ensure restic image
	restic_command image backup --force "$image"
	inputs=("$image" "$work/restic-image")
	stored=$work/restic-image
}

image_restore_restic() {
	ensure restic image
	out=$work/out
	restic_command image restore latest --target "$out"
	inputs=("$work/restic-image")
}

both_restic() {
	ensure restic files
	note_before restic "$work/restic-files"
	restic_command files backup "$image"
	inputs=("$image")
	stored=$work/restic-files
}

# --- borg ---------------------------------------------------------------------

# As its manual advises: BLAKE2 where the processor has no instructions for SHA-256.
borg_encryption() { grep -qm 1 -w sha_ni /proc/cpuinfo && echo repokey || echo repokey-blake2; }

borg_command() { command=(env "BORG_BASE_DIR=$work/borg-base" BORG_RELOCATED_REPO_ACCESS_IS_OK=yes borg "$@"); }

fresh_borg() {
	rm -rf "$work/borg-$1"
	borg_command init -e "$(borg_encryption)" "$work/borg-$1"
	"${command[@]}" >"$work/log-init" 2>&1 || die "borg init: $(tail -n 1 "$work/log-init")"
}

borg_create() { borg_command create -C zstd,3 "$work/borg-$1::{now:%Y%m%dT%H%M%S.%f}" "$2"; }

files_borg() {
	fresh_borg files
	borg_create files "$data"
	inputs=("$data")
	stored=$work/borg-files
}

unchanged_borg() {
	ensure borg files
	borg_create files "$data"
	inputs=("$work/borg-files" "$work/borg-base")
	find "$data" -size +1 >/dev/null
	stored=$work/borg-files
}

restore_borg() {
	local archive
	ensure borg files
	borg_command list --last 1 --short "$work/borg-files"
	archive=$("${command[@]}" 2>/dev/null)
	out=$work/out folder=$work/out
	mkdir "$out"
	borg_command extract "$work/borg-files::$archive"
	inputs=("$work/borg-files")
}

both_borg() {
	ensure borg files
	note_before borg "$work/borg-files"
	borg_create files "$image"
	inputs=("$image")
	stored=$work/borg-files
}

# --- tar, partclone, qemu-img ---------------------------------------------------

pipe() { command=(bash -c "set -o pipefail; $1" bash "${@:2}"); }

files_tar() {
	rm -f "$work/tar-files"
	pipe 'tar -C "$1" -cf - . | zstd -q -3 -T2 >"$2"' "$data" "$work/tar-files"
	inputs=("$data")
	stored=$work/tar-files
}

restore_tar() {
	ensure tar files
	out=$work/out
	mkdir "$out"
	pipe 'zstd -q -dc "$1" | tar -C "$2" -xf -' "$work/tar-files" "$out"
	inputs=("$work/tar-files")
}

image_partclone() {
	rm -f "$work/partclone-image"
	pipe 'partclone.ext4 -q -L "$3" -c -s "$1" -o - | zstd -q -3 -T2 >"$2"' "$image" "$work/partclone-image" "$work/partclone.log"
	inputs=("$image")
	stored=$work/partclone-image
}

image_restore_partclone() {
	ensure partclone image
	out=$work/out.img
	truncate -s "$(stat -c %s "$image")" "$out"
	pipe 'zstd -q -dc "$1" | partclone.ext4 -q -L "$3" -r -s - -O "$2"' "$work/partclone-image" "$out" "$work/partclone.log"
	inputs=("$work/partclone-image")
}

image_qemu() {
	rm -f "$work/qemu-image"
	command=(qemu-img convert -f raw -c -O qcow2 -o compression_type=zstd -m 8 -W "$image" "$work/qemu-image")
	inputs=("$image")
	stored=$work/qemu-image
}

image_restore_qemu() {
	ensure qemu image
	out=$work/out.img
	command=(qemu-img convert -f qcow2 -O raw -m 8 -W "$work/qemu-image" "$out")
	inputs=("$work/qemu-image")
}

# --- between rows ---------------------------------------------------------------

# ensure PROGRAM files|image|s3-backup: what rows after the first backup need, where that row was not chosen.
ensure() {
	[ ! -e "$work/$1-$2" ] || return 0
	say "$1: a first backup, untimed"
	local folder=$bench stored='' out='' inputs=() command=() after=()
	"${2//-/_}_$1"
	timed "$2" "$1" || true
}

# The size before a second kind of backup goes into the same repository.
note_before() {
	printf 'before\t%s\t0\t%s\t0\n' "$1" "$(stored_bytes "$2")" >>"$results"
}
