# shellcheck shell=bash
# Sourced by the case files about disk images, after lib.sh.
: "${base:?set by lib.sh}"
export PATH=$PATH:/usr/sbin:/sbin

# free_map FILE OFFSET...: what imgcmp wants to know: the blocks that e2fsprogs calls free in the ext filesystems at these offsets.
free_map() {
	local file=$1 offset
	shift
	for offset; do
		dumpe2fs "$file?offset=$offset" 2>/dev/null | awk -v offset="$offset" '
			/^Block size:/ { print "fs", offset, $3 }
			/^  Free blocks: / { sub(/^  Free blocks: /, ""); n = split($0, ranges, ", "); for (i = 1; i <= n; i++) print ranges[i] }'
	done
}

# same_image ORIGINAL RESTORED [OFFSET...]: equal but for the free blocks of the ext filesystems at these offsets.
same_image() {
	local a=$1 b=$2
	shift 2
	free_map "$a" "$@" >"$base/free"
	"$TOOLS/imgcmp" "$a" "$b" <"$base/free"
}

# with_mounted FILE OFFSET SIZE COMMAND...: runs COMMAND while the filesystem is mounted on ./mnt.
with_mounted() {
	local file=$1 offset=$2 size=$3 code=0
	shift 3
	mkdir -p mnt
	mount -o "loop,offset=$offset,sizelimit=$size${mount_options:-}" "$file" mnt 2>/dev/null || skip 'this machine cannot mount an ext4 through loop'
	"$@" || code=$?
	umount mnt
	return $code
}

fill_mounted() {
	mktree mnt/tree "$1"
	sync -f mnt
}

# Numbers of the made disks, in bytes.
M=1048576

# gpt_disk FILE SEED: a boot loader's bytes in the gap, an ext4 full of a random tree, a partition that nobody knows.
gpt_disk() {
	truncate -s 400M "$1"
	sfdisk -q "$1" <<-END
	label: gpt
	first-lba: 34
	start=2048, size=614400, type=linux, name="system"
	start=620544, size=65536, type=linux, name="unknown"
	END
	# The gap before the first partition, and behind the last one.
	printf 'boot code' | dd of="$1" bs=1 seek=20000 conv=notrunc status=none
	head -c 100000 /dev/urandom | dd of="$1" bs=1M seek=350 conv=notrunc status=none
	head -c 3000000 /dev/urandom | dd of="$1" bs=512 seek=621000 conv=notrunc status=none
	mkfs.ext4 -q -F -E offset=$M "$1" 300M
	with_mounted "$1" $M $((300 * M)) fill_mounted "$2"
}

# mbr_disk FILE: primaries and logical partitions, ext2 with 1 KiB blocks, ext3, ext4.
mbr_disk() {
	truncate -s 120M "$1"
	sfdisk -q "$1" <<-END
	label: dos
	label-id: 0x12345678
	start=2048, size=40960, type=83, bootable
	start=43008, size=200000, type=5
	start=45056, size=40960, type=83
	start=88064, size=81920, type=83
	END
	printf '\xeb\x63boot' | dd of="$1" bs=1 conv=notrunc status=none
	mkfs.ext2 -q -F -b 1024 -E offset=$M "$1" 20M
	mkfs.ext3 -q -F -b 1024 -E offset=$((45056 * 512)) "$1" 20M
	mkfs.ext4 -q -F -d "$2" -E offset=$((88064 * 512)) "$1" 40M
}
mbr_offsets="$M $((45056 * 512)) $((88064 * 512))"
export mbr_offsets

# each_image FOLDER: every packed image of the shared data, in turn unpacked to x.img, goes into the repository and comes back equal,
# and can be listed and restored as files. Names those that fail.
each_image() {
	local packed bad=0 seen=0
	[ -d "$DATA/$1" ] || skip "no test images: $DATA/$1"
	twofold init
	for packed in "$DATA/$1"/*; do
		case $packed in
		*.gz) gzip -dc "$packed" >x.img ;;
		*.xz) xz -dc "$packed" >x.img ;;
		*) continue ;;
		esac
		seen=$((seen + 1))
		one_image "$packed" || bad=$((bad + 1))
		rm -rf x.img back.img files
	done
	echo "$seen images, $bad bad"
	[ $seen -gt 0 ]
	[ $bad = 0 ]
}

# In a condition, so set -e does not work here.
one_image() {
	local name=${1##*/} code=0
	# Sparse again, as far as it goes.
	fallocate -d x.img 2>/dev/null
	timeout 120 "$TWOFOLD" image x.img >out 2>err || code=$?
	if [ $code != 0 ] && [ $code != 3 ]; then
		echo "$name: image ended with $code: $(tail -n 1 err)"
		return 1
	fi
	code=0
	timeout 120 "$TWOFOLD" restore-image latest --target back.img --yes >out 2>err || code=$?
	if [ $code != 0 ]; then
		echo "$name: restore-image ended with $code: $(tail -n 1 err)"
		return 1
	fi
	if ! cmp -s x.img back.img && ! same_image x.img back.img 0 >differences; then
		echo "$name: differs:"
		cat differences
		return 1
	fi
	code=0
	timeout 120 "$TWOFOLD" ls -R latest >out 2>err || code=$?
	if [ $code != 0 ] && [ $code != 3 ] && { [ $code != 1 ] || [ ! -s err ]; }; then
		echo "$name: ls ended with $code: $(tail -n 1 err)"
		return 1
	fi
	code=0
	timeout 120 "$TWOFOLD" restore latest --target files >out 2>err || code=$?
	if [ $code -gt 3 ] || { [ $code != 0 ] && [ ! -s err ]; }; then
		echo "$name: restore of files ended with $code: $(tail -n 1 err)"
		return 1
	fi
}
