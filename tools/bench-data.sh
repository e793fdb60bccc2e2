# shellcheck shell=bash
# Sourced by tools/bench: the data that is measured. Kernel source and a copy of /usr/lib, about 4 GB and 100 000 files, and an ext4 image of them.
: "${bench:?}" "${scale:?}" "${image:?}" "${small:?}" "${runs:?}" "${image_rows:?}" "${small_rows:?}"

# Limits at scale 100. A folder of /usr/lib over HUGE would be most of the data by itself.
KERNEL_BYTES=1500000000
ALL_BYTES=4100000000
ALL_ENTRIES=110000
HUGE_BYTES=1200000000

scaled() { echo $(($1 * scale / 100)); }

# take FOLDER BYTES ENTRIES HUGE: which of the folder's entries, by name, fit the limits; prints them, and tells what is left out and why.
take() {
	local name bytes entries left_bytes=$2 left_entries=$3
	while IFS= read -r -d '' name; do
		bytes=$(du -s --apparent-size -B1 "$1/$name" 2>/dev/null | cut -f 1)
		entries=$(find "$1/$name" 2>/dev/null | wc -l)
		if [ "$bytes" -gt "$4" ]; then
			say "left out: $name ($((bytes / 1000000)) MB: too large beside the others)"
		elif [ "$bytes" -gt "$left_bytes" ] || [ "$entries" -gt "$left_entries" ]; then
			say "left out: $name ($((bytes / 1000000)) MB, $entries entries: over the limit)"
		else
			left_bytes=$((left_bytes - bytes))
			left_entries=$((left_entries - entries))
			say "taken: $name ($((bytes / 1000000)) MB, $entries entries)"
			printf '%s\0' "$name"
		fi
	done < <(find "$1" -mindepth 1 -maxdepth 1 -printf '%f\0' | LC_ALL=C sort -z)
}

size_of() { du -s --apparent-size -B1 "$1" | cut -f 1; }
entries_of() { find "$1" | wc -l; }

# The kernel's source, as the package brings it.
prepare_kernel() {
	local archive=/usr/src/linux-source-6.1.tar.xz
	[ -f "$archive" ] || die "$archive is missing: install the package linux-source-6.1"
	say "unpacking the kernel's source"
	tar -xJf "$archive" -C "$1"
	[ "$scale" != 100 ] || return 0
	mv "$1/linux-source-6.1" "$1/whole"
	mkdir "$1/linux-source-6.1"
	take "$1/whole" "$(scaled "$KERNEL_BYTES")" "$(scaled "$ALL_ENTRIES")" "$(scaled "$KERNEL_BYTES")" |
		(cd "$1/whole" && xargs -0 -r cp -a -t ../linux-source-6.1)
	rm -rf "$1/whole"
}

prepare_lib() {
	local bytes entries
	bytes=$(($(scaled "$ALL_BYTES") - $(size_of "$1")))
	entries=$(($(scaled "$ALL_ENTRIES") - $(entries_of "$1")))
	mkdir "$1/lib"
	say "copying /usr/lib"
	take /usr/lib "$bytes" "$entries" "$(scaled "$HUGE_BYTES")" |
		(cd /usr/lib && xargs -0 -r cp -a -t "$1/lib") || say "not all of /usr/lib could be copied"
}

# As a system in use would have it: written by the kernel. mkfs.ext4 -d, where nothing can be mounted, makes holes of all blocks of zeros, which files on a disk do not have.
fill_image() {
	local point=$bench/mount
	mkdir -p "$point"
	if [ "$(id -u)" = 0 ] && mkfs.ext4 -q -F "$1" >&2 && mount -o loop "$1" "$point" 2>/dev/null; then
		cp -a "$data" "$point/" && umount "$point"
	else
		mkfs.ext4 -q -F -d "$data" "$1" >&2
	fi
}

prepare_image() {
	local bytes
	# 8 GiB for the whole data; at the least 1 GiB, below which mkfs.ext4 takes other defaults.
	bytes=$((8 * 1024 * 1024 * 1024 * scale / 100))
	[ "$bytes" -ge $((1 << 30)) ] || bytes=$((1 << 30))
	say "making the image"
	rm -f "$image"
	truncate -s "$bytes" "$image.new"
	fill_image "$image.new" || die "the image could not be made"
	mv "$image.new" "$image"
	sync
}

# A quarter of the data, for rows that hold it in memory or store it twenty times: every fourth file, by name.
prepare_small() {
	say "copying a quarter of the data"
	rm -rf "$small" "$small.new"
	mkdir "$small.new"
	(cd "$data" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | sed -zn '0~4p' | tar -cf - --null --no-recursion -T -) | tar -xf - -C "$small.new"
	mv "$small.new" "$small"
}

# chosen_of ROWS ROW...: is any of them among those that are run?
chosen_of() {
	local rows=$1 row
	shift
	for row; do
		[[ " $rows " != *" $row "* ]] || return 0
	done
	return 1
}

check_room() {
	local free need
	free=$(df --output=avail -B1 "$bench" | tail -n 1)
	need=$((58 * 1000000000 * scale / 100))
	[ -f "$image" ] && need=$((need - 10 * 1000000000 * scale / 100))
	[ "$free" -ge "$need" ] || die "$bench has $((free / 1000000000)) GB free, $((need / 1000000000)) GB are needed (TWOFOLD_BENCH_DIR names another folder)"
}

# prepare ROW...: what these rows need. Made once, and kept: later calls measure the same data.
prepare() {
	check_room
	if [ -n "$data" ]; then
		[ -d "$data" ] || die "TWOFOLD_BENCH_DATA: $data is not a folder"
		data=$(realpath "$data")
		image=$bench/disk-own.img small=$bench/small-own
		rm -rf "$small" # may be of another folder
	else
		data=$bench/data-$scale/data
		if [ ! -d "$data" ]; then
			rm -rf "$bench/data-$scale" "$data.new" "$image"
			mkdir -p "$data.new"
			prepare_kernel "$data.new"
			prepare_lib "$data.new"
			mv "$data.new" "$data"
		fi
	fi
	if chosen_of "$image_rows" "$@" && { [ ! -f "$image" ] || [ "$data" -nt "$image" ]; }; then
		prepare_image
	fi
	if chosen_of "$small_rows" "$@" && { [ ! -d "$small" ] || [ "$data" -nt "$small" ]; }; then
		prepare_small
	fi
}
