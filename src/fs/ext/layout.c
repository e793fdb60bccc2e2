/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "fs/ext/ext.h"

/* Marks blocks that hold fixed structures. Without bigalloc no two of them share a block. */
static int mark(struct ext *e, uint64_t block, uint64_t count, const char *what, uint32_t group, struct error *err)
{
	if (block < e->first_block || block >= e->blocks || count > e->blocks - block) {
		ext_distrust(e, "the %s of group %" PRIu32 " lies outside of the filesystem", what, group);
		return 0;
	}
	if (!count)
		return 0;
	bool again = false;
	uint64_t first = ext_cluster(e, block);
	uint64_t last = ext_cluster(e, block + count - 1);
	if (bits_set(&e->meta, first, last - first + 1, &again) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (again && !e->ratio_bits)
		ext_distrust(e, "the %s of group %" PRIu32 " overlaps with other metadata", what, group);
	return 0;
}

static int mark_superblock_copy(struct ext *e, uint32_t group, struct error *err)
{
	struct ext2_super_block *super = e->lib->super;
	blk64_t super_block = 0, old_desc = 0, new_desc = 0;
	ext2fs_super_and_bgd_loc2(e->lib, group, &super_block, &old_desc, &new_desc, NULL);
	if ((super_block || group == 0) && mark(e, super_block, 1, "superblock", group, err) < 0)
		return -1;
	if (group == 0 && super_block == 1 && e->first_block == 0 && mark(e, 0, 1, "boot block", group, err) < 0)
		return -1;
	uint64_t count = ext2fs_has_feature_meta_bg(super)
	                         ? super->s_first_meta_bg
	                         : (uint64_t)e->lib->desc_blocks + super->s_reserved_gdt_blocks;
	if (old_desc && mark(e, old_desc, count, "descriptor table", group, err) < 0)
		return -1;
	return new_desc ? mark(e, new_desc, 1, "descriptor block", group, err) : 0;
}

int ext_layout_init(struct ext *e, struct error *err)
{
	if (bits_init(&e->meta, e->clusters) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	for (uint32_t g = 0; g < e->groups; g++) {
		if (mark_superblock_copy(e, g, err) < 0 ||
		    mark(e, ext2fs_block_bitmap_loc(e->lib, g), 1, "block bitmap", g, err) < 0 ||
		    mark(e, ext2fs_inode_bitmap_loc(e->lib, g), 1, "inode bitmap", g, err) < 0 ||
		    mark(e, ext2fs_inode_table_loc(e->lib, g), e->lib->inode_blocks_per_group, "inode table", g,
		         err) < 0)
			return -1;
		if (e->base.info.untrusted) /* the map will not be used */
			return 0;
	}
	if (ext2fs_has_feature_mmp(e->lib->super))
		return mark(e, e->lib->super->s_mmp_block, 1, "multiple-mount block", 0, err);
	return 0;
}

bool ext_group_flag(struct ext *e, uint32_t group, uint16_t flag)
{
	return e->group_csum && ext2fs_bg_flags_test(e->lib, group, flag);
}

uint32_t ext_group_inodes(struct ext *e, uint32_t group)
{
	if (!e->group_csum)
		return e->inodes_per_group;
	if (ext_group_flag(e, group, EXT2_BG_INODE_UNINIT))
		return 0;
	uint32_t unused = ext2fs_bg_itable_unused(e->lib, group);
	return unused < e->inodes_per_group ? e->inodes_per_group - unused : 0;
}

uint32_t ext_group_clusters(const struct ext *e, uint32_t group)
{
	uint64_t left = e->clusters - (uint64_t)group * e->clusters_per_group;
	return left < e->clusters_per_group ? (uint32_t)left : e->clusters_per_group;
}

static int read_bitmap(struct ext *e, uint64_t block, uint8_t *ret, size_t len, struct error *err)
{
	if (block >= e->blocks)
		return error_set(err, ERR_CORRUPT, "block %" PRIu64 " lies outside of the filesystem", block);
	return cache_read(e->cache, block * e->block_size, ret, len, err);
}

int ext_block_bitmap(struct ext *e, uint32_t group, uint8_t *ret, bool *ret_ok, struct error *err)
{
	if (ext_group_flag(e, group, EXT2_BG_BLOCK_UNINIT)) {
		/* As the kernel makes it at first use: what the fixed structures take, and nothing else. */
		bits_copy(&e->meta, (uint64_t)group * e->clusters_per_group, e->clusters_per_group, ret);
		*ret_ok = true;
		return 0;
	}
	size_t len = e->clusters_per_group / 8;
	if (read_bitmap(e, ext2fs_block_bitmap_loc(e->lib, group), ret, len, err) < 0)
		return error_add(err, "block bitmap of group %" PRIu32, group);
	*ret_ok = ext2fs_block_bitmap_csum_verify(e->lib, group, (char *)ret, (int)len);
	return 0;
}

int ext_inode_bitmap(struct ext *e, uint32_t group, uint8_t *ret, bool *ret_ok, struct error *err)
{
	size_t len = e->inodes_per_group / 8;
	if (ext_group_flag(e, group, EXT2_BG_INODE_UNINIT)) {
		memset(ret, 0, len);
		*ret_ok = true;
		return 0;
	}
	if (read_bitmap(e, ext2fs_inode_bitmap_loc(e->lib, group), ret, len, err) < 0)
		return error_add(err, "inode bitmap of group %" PRIu32, group);
	*ret_ok = ext2fs_inode_bitmap_csum_verify(e->lib, group, (char *)ret, (int)len);
	return 0;
}

/* Joins adjoining ranges on their way to the callback. */
struct joiner {
	fs_range_fn fn;
	void *cookie;
	uint64_t limit;
	uint64_t start, end; /* bytes; equal: nothing is pending */
};

static int join_flush(struct joiner *j)
{
	uint64_t end = j->end < j->limit ? j->end : j->limit;
	int rc = j->start < end ? j->fn(j->cookie, j->start, end - j->start) : 0;
	j->start = j->end = 0;
	return rc;
}

static int join_add(struct joiner *j, uint64_t start, uint64_t end)
{
	if (start == j->end && j->end > j->start) {
		j->end = end;
		return 0;
	}
	int rc = join_flush(j);
	j->start = start;
	j->end = end;
	return rc;
}

static int add_group(struct joiner *j, const uint8_t *map, uint32_t bits, uint64_t base, uint64_t size)
{
	uint32_t at = 0;
	while (at < bits) {
		if (at % 8 == 0 && map[at / 8] == 0) {
			at += 8;
			continue;
		}
		if (!(map[at / 8] >> (at % 8) & 1)) {
			at++;
			continue;
		}
		uint32_t end = at + 1;
		while (end < bits) {
			if (end % 8 == 0 && map[end / 8] == 0xff)
				end = bits - end < 8 ? bits : end + 8;
			else if (map[end / 8] >> (end % 8) & 1)
				end++;
			else
				break;
		}
		int rc = join_add(j, base + at * size, base + end * size);
		if (rc)
			return rc;
		at = end;
	}
	return 0;
}

int ext_used(struct fs *fs, fs_range_fn fn, void *cookie, struct error *err)
{
	struct ext *e = (struct ext *)fs;
	if (!e->lib || fs->info.untrusted)
		return fs->info.size ? fn(cookie, 0, fs->info.size) : 0;
	size_t bytes = e->clusters_per_group / 8;
	CLEAN_FREE uint8_t *map = malloc(bytes);
	CLEAN_FREE uint8_t *meta = malloc(bytes);
	if (!map || !meta)
		return error_set(err, ERR_NOMEM, "out of memory");
	uint64_t size = (uint64_t)e->block_size << e->ratio_bits;
	uint64_t base = e->first_block * e->block_size;
	struct joiner j = { .fn = fn, .cookie = cookie, .limit = fs->info.size, .end = base };
	for (uint32_t g = 0; g < e->groups; g++) {
		bool ok = false;
		if (ext_block_bitmap(e, g, map, &ok, err) < 0)
			return -1;
		if (!ok)
			return error_set(err, ERR_CORRUPT, "block bitmap of group %" PRIu32 ": wrong checksum", g);
		uint64_t first = (uint64_t)g * e->clusters_per_group;
		bits_copy(&e->meta, first, e->clusters_per_group, meta);
		for (size_t i = 0; i < bytes; i++)
			map[i] |= meta[i];
		int rc = add_group(&j, map, ext_group_clusters(e, g), base + first * size, size);
		if (rc)
			return rc;
	}
	return join_flush(&j);
}
