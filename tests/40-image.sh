# shellcheck shell=bash
# Disks into the repository and back, whole, by partition and by file.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-image.sh"

test_gpt_disk() {
	needs init image restore-image restore
	needs_root
	needs_tool sfdisk mkfs.ext4 dumpe2fs
	gpt_disk disk.img 11
	twofold init
	expect 0 twofold image disk.img
	expect 0 twofold restore-image latest --target back.img --yes --verify
	same_image disk.img back.img $M
	cmp <(sfdisk -d disk.img | grep -v '^device') <(sfdisk -d back.img | sed 's/back\.img/disk.img/' | grep -v '^device')
	sfdisk --verify back.img
	# A copy of the partition, so that e2fsck finds it at its start.
	dd if=back.img of=p1.img bs=1M skip=1 count=300 status=none
	e2fsck -fn p1.img
	# Free space is not stored, and holes stay holes.
	[ "$(stat -c '%b' back.img)" -lt $((150 * 2048)) ]
}

# The files out of the image are those on the disk, to the last attribute.
test_files_out_of_an_image() {
	needs init image restore
	needs_root
	needs_tool sfdisk mkfs.ext4
	gpt_disk disk.img 12
	twofold init
	twofold image disk.img
	expect 0 twofold restore latest:/p1/tree --target back --numeric-ids
	compare_tree() {
		touch -r mnt/tree back
		same_tree mnt/tree back
	}
	mount_options=,ro with_mounted disk.img $M $((300 * M)) compare_tree
}

test_mbr_disk_with_logical_partitions() {
	needs init image restore-image restore
	needs_tool sfdisk mkfs.ext4 dumpe2fs
	mkdir tree
	seq 100000 >tree/numbers
	ln -s numbers tree/link
	mbr_disk disk.img tree
	twofold init
	expect 0 twofold image disk.img
	expect 0 twofold restore-image latest --target back.img --yes
	# shellcheck disable=SC2086
	same_image disk.img back.img $mbr_offsets
	expect 0 twofold restore latest:/p6 --target files
	cmp tree/numbers files/numbers
	[ "$(readlink files/link)" = numbers ]
	expect 0 twofold restore-image latest --partition 6 --target p6.img --yes
	e2fsck -fn p6.img
	dd if=disk.img of=want.img bs=512 skip=88064 count=81920 status=none
	same_image want.img p6.img 0
	expect 1 twofold restore-image latest --partition 7 --target p7.img --yes
	says 7
}

test_bare_filesystem_and_raw() {
	needs init image restore-image restore
	needs_tool mkfs.ext4 dumpe2fs
	mkdir tree
	seq 50000 >tree/numbers
	truncate -s 40M fs.img
	mkfs.ext4 -q -F -d tree fs.img
	head -c 3000000 /dev/urandom | dd of=fs.img bs=1M seek=30 conv=notrunc status=none # into free space
	twofold init
	expect 0 twofold image fs.img
	expect 0 twofold restore-image latest --target back.img --yes
	same_image fs.img back.img 0
	expect 0 twofold restore latest:/numbers --target files
	cmp tree/numbers files/numbers
	expect 0 twofold image fs.img --raw
	expect 0 twofold restore-image latest --target raw.img --yes
	cmp fs.img raw.img
}

test_files_and_image_cost_once() {
	needs init backup image
	needs_tool mkfs.ext4
	mkdir tree
	for i in $(seq 30); do head -c 1000000 /dev/urandom >"tree/$i"; done
	truncate -s 60M fs.img
	mkfs.ext4 -q -F -d tree fs.img
	twofold init
	twofold backup tree
	expect 0 twofold --json image fs.img
	[ "$(field added_stored)" -lt 1500000 ]
	# And again: nothing.
	expect 0 twofold --json image fs.img
	[ "$(field added_stored)" -lt 300000 ]
}

test_larger_and_smaller_targets() {
	needs init image restore-image
	needs_tool sfdisk mkfs.ext4
	truncate -s 60M disk.img
	printf 'label: gpt\nstart=2048, size=40960\n' | sfdisk -q disk.img
	mkfs.ext4 -q -F -E offset=$M disk.img 20M
	twofold init
	expect 0 twofold image disk.img
	truncate -s 100M larger.img
	expect 0 twofold restore-image latest --target larger.img --yes
	[ "$(stat -c %s larger.img)" = $((100 * M)) ]
	# The backup header is at the new end: sfdisk complains otherwise.
	sfdisk --verify larger.img 2>&1 | tee verify
	no grep -qiE 'corrupt|not on the end|backup GPT' verify
	[ "$(tail -c 512 larger.img | head -c 8)" = 'EFI PART' ]
	command -v losetup >/dev/null || return 0
	needs_root
	truncate -s 30M small.img
	local device
	device=$(losetup -f --show small.img 2>/dev/null) || skip 'no loop device'
	expect 1 twofold restore-image latest --target "$device" --yes || { losetup -d "$device"; return 1; }
	losetup -d "$device"
	[ "$(wc -l <err)" = 1 ]
}

test_target_that_carries_something() {
	needs init image restore-image
	needs_tool mkfs.ext4
	truncate -s 20M fs.img
	mkfs.ext4 -q -F -L precious fs.img
	twofold init
	twofold image fs.img
	cp fs.img target.img
	# Nobody to ask, and no --yes: nothing is written.
	expect 1 twofold restore-image latest --target target.img
	cmp fs.img target.img
	expect 0 twofold restore-image latest --target target.img --yes
}

test_mounted_sources_and_targets() {
	needs init image restore-image
	needs_root
	needs_tool mkfs.ext4 losetup
	truncate -s 30M fs.img
	mkfs.ext4 -q -F fs.img
	twofold init
	twofold image fs.img
	local device
	device=$(losetup -f --show fs.img 2>/dev/null) || skip 'no loop device'
	mkdir mnt
	mounted() {
		mount "$device" mnt 2>/dev/null || { losetup -d "$device"; skip 'cannot mount'; }
		expect 1 twofold image "$device"
		says mounted
		expect 1 twofold restore-image latest --target "$device" --yes
		says mounted
		twofold image "$device" --allow-mounted || [ $? = 3 ]
		mount -o remount,ro mnt
		expect 0 twofold image "$device"
	}
	local code=0
	(set -e; mounted) || code=$?
	umount -q mnt || true
	losetup -d "$device" 2>/dev/null || true
	return $code
}

# partclone 0.3.23 calls these three a success and loses the data.
test_filesystems_that_fool_others() {
	needs init image restore-image
	needs_tool mkfs.ext4 debugfs dumpe2fs
	mkdir tree
	seq 200000 >tree/numbers
	twofold init
	local options
	for options in '-O bigalloc -C 65536' '-O ^metadata_csum' '-b 1024 -O meta_bg,^resize_inode'; do
		rm -f fs.img back.img
		truncate -s 60M fs.img
		# shellcheck disable=SC2086
		mkfs.ext4 -q -F $options -d tree fs.img
		expect 0 twofold image fs.img
		expect 0 twofold restore-image latest --target back.img --yes
		same_image fs.img back.img 0
		e2fsck -fn back.img
		# A journal that was not replayed: nothing may be left out, and it must be said.
		debugfs -w -R 'feature needs_recovery' fs.img 2>/dev/null
		local code=0
		twofold image fs.img >out 2>err || code=$?
		[ $code = 3 ] || { echo "$options, needs_recovery: exit code $code"; return 1; }
		grep -q '^twofold: warning: ' err
		expect 0 twofold restore-image latest --target back2.img --yes
		cmp fs.img back2.img
		rm back2.img
	done
}

test_bad_sources() {
	needs init image
	twofold init
	expect 1 twofold image /no/such/disk
	says /no/such/disk
	mkdir folder
	expect 1 twofold image folder
	says folder
	: >empty
	local code=0
	twofold image empty >out 2>err || code=$?
	[ $code -le 1 ]
	[ -c /dev/zero ] && expect 1 twofold image /dev/zero
}

run_cases
