/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libblkid wants a file descriptor. A struct block has none (it may be a snapshot), so the regions where
 * superblocks lie are copied into a sparse memory file of the same size, which takes what is not zero.
 */
#include "fs/fs.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"

#define HEAD ((uint64_t)4 << 20) /* ZFS, UDF, f2fs, btrfs, RAID: all have one within */
#define TAIL ((uint64_t)1 << 20) /* RAID superblocks and backup labels at the end */
#define PIECE ((size_t)64 << 10)

static void probe_cleanup(blkid_probe *pr)
{
	if (*pr)
		blkid_free_probe(*pr);
}

static int copy_range(int fd, struct block *b, uint64_t from, uint64_t to, struct error *err)
{
	CLEAN_FREE uint8_t *piece = malloc(PIECE);
	if (!piece)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (uint64_t at = from; at < to; at += PIECE) {
		size_t n = to - at < PIECE ? (size_t)(to - at) : PIECE;
		if (block_read(b, at, piece, n, err) < 0)
			return -1;
		if (!block_is_zero(piece, n) && pwrite(fd, piece, n, (off_t)at) != (ssize_t)n)
			return error_sys(err, errno, "copy %zu bytes for libblkid", n);
	}
	return 0;
}

/* Without what stands at a place that these name, libblkid does not know them. */
static uint64_t ntfs_table(const uint8_t *boot)
{
	/* Over 128 sectors in a cluster are given as a negative power of two. */
	uint64_t sectors = boot[0x0d] <= 128 ? boot[0x0d] : (uint64_t)1 << ((256 - boot[0x0d]) & 31);
	uint64_t cluster = get_le16(boot + 0x0b) * sectors;
	return get_le64(boot + 0x30) * cluster;
}

static uint64_t bitlocker_metadata(const uint8_t *boot)
{
	return get_le64(boot + 0xb0);
}

static const struct {
	const char *magic; /* at byte 3 */
	uint64_t (*place)(const uint8_t *boot);
} elsewhere[] = {
	{ "NTFS    ", ntfs_table },
	{ "-FVE-FS-", bitlocker_metadata },
};

static int copy_elsewhere(int fd, struct block *b, struct error *err)
{
	uint8_t boot[512];
	if (b->size < sizeof boot)
		return 0;
	if (block_read(b, 0, boot, sizeof boot, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
		if (memcmp(boot + 3, elsewhere[i].magic, 8) != 0)
			continue;
		uint64_t at = elsewhere[i].place(boot);
		at -= at % PIECE;
		if (at >= HEAD && at < b->size)
			return copy_range(fd, b, at, b->size - at < 2 * PIECE ? b->size : at + 2 * PIECE, err);
	}
	return 0;
}

static int copy_for_probe(int fd, struct block *b, struct error *err)
{
	if (ftruncate(fd, (off_t)b->size) < 0)
		return error_sys(err, errno, "make a memory file");
	uint64_t head = b->size < HEAD ? b->size : HEAD;
	if (copy_range(fd, b, 0, head, err) < 0 || copy_elsewhere(fd, b, err) < 0)
		return -1;
	uint64_t tail = b->size > TAIL ? b->size - TAIL : 0;
	/* RAID superblocks lie on multiples of 64 KiB from the end. */
	tail -= tail % PIECE;
	return copy_range(fd, b, tail > head ? tail : head, b->size, err);
}

static void take_value(blkid_probe pr, const char *name, char *ret, size_t size)
{
	const char *value = NULL;
	size_t len = 0;
	if (blkid_probe_lookup_value(pr, name, &value, &len) < 0 || !value)
		return;
	len = strnlen(value, len);
	if (len >= size)
		len = size - 1;
	memcpy(ret, value, len);
	ret[len] = 0;
}

int fs_identify(struct block *b, struct fs_info *ret, struct error *err)
{
	struct fs_info info = { .size = b->size };
	if (b->size == 0) {
		*ret = info;
		return 0;
	}
	CLEAN_FD int fd = memfd_create("twofold-probe", MFD_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "make a memory file");
	if (copy_for_probe(fd, b, err) < 0)
		return error_add(err, "identify %s", b->label);
	CLEAN(probe_cleanup) blkid_probe pr = blkid_new_probe();
	if (!pr || blkid_probe_set_device(pr, fd, 0, (blkid_loff_t)b->size) < 0)
		return error_set(err, ERR_NOMEM, "identify %s: libblkid cannot be set up", b->label);
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL);
	blkid_probe_set_sectorsize(pr, b->sector);
	/* Several signatures at once are not an error: nothing certain is known then. */
	if (blkid_do_safeprobe(pr) == 0) {
		take_value(pr, "TYPE", info.type, sizeof info.type);
		take_value(pr, "UUID", info.uuid, sizeof info.uuid);
		take_value(pr, "LABEL", info.label, sizeof info.label);
	}
	*ret = info;
	return 0;
}
