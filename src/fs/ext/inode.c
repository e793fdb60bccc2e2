/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/ext/ext.h"

#define SCAN_BUFFER ((size_t)256 << 10)
#define LINK_MAX_LEN 4096

bool ext_is_live(const uint8_t *inode)
{
	return get_le16(inode + I_LINKS) != 0;
}

uint64_t ext_file_acl(struct ext *e, const uint8_t *inode)
{
	uint64_t high = ext2fs_has_feature_64bit(e->lib->super) ? get_le16(inode + I_FILE_ACL_HIGH) : 0;
	return high << 32 | get_le32(inode + I_FILE_ACL);
}

uint64_t ext_size(struct ext *e, const uint8_t *inode)
{
	bool wide = S_ISREG(get_le16(inode + I_MODE)) || ext2fs_has_feature_largedir(e->lib->super);
	return (wide ? (uint64_t)get_le32(inode + I_SIZE_HIGH) << 32 : 0) | get_le32(inode + I_SIZE);
}

bool ext_is_fast_symlink(struct ext *e, const uint8_t *inode)
{
	uint64_t size = ext_size(e, inode);
	if (!S_ISLNK(get_le16(inode + I_MODE)) || size >= I_BLOCK_SIZE ||
	    get_le32(inode + I_FLAGS) & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL))
		return false;
	/* Short targets in a block of their own exist only from kernels before 2.4, and have blocks beside the xattrs'. */
	uint32_t xattrs = ext_file_acl(e, inode) ? (e->block_size >> 9) << e->ratio_bits : 0;
	uint32_t blocks = get_le32(inode + I_BLOCKS);
	return blocks == 0 || blocks == xattrs || strnlen((const char *)inode + I_BLOCK, I_BLOCK_SIZE) == size;
}

bool ext_has_blocks(struct ext *e, const uint8_t *inode)
{
	uint16_t mode = get_le16(inode + I_MODE);
	if (get_le32(inode + I_FLAGS) & EXT4_INLINE_DATA_FL)
		return false;
	return S_ISREG(mode) || S_ISDIR(mode) || (S_ISLNK(mode) && !ext_is_fast_symlink(e, inode));
}

bool ext_inode_csum_ok(struct ext *e, uint32_t number, const uint8_t *inode)
{
	/* libext2fs takes the inode as it is on disk here, and does not change it. */
	return ext2fs_inode_csum_verify(e->lib, number, (struct ext2_inode_large *)(uintptr_t)inode);
}

/* Where an inode table lies in bytes; false when it does not fit into the filesystem. */
static bool table_start(struct ext *e, uint32_t group, uint64_t *ret)
{
	uint64_t block = ext2fs_inode_table_loc(e->lib, group);
	if (block <= e->first_block || block >= e->blocks || e->lib->inode_blocks_per_group > e->blocks - block)
		return false;
	*ret = block * e->block_size;
	return true;
}

int ext_read_inode(struct ext *e, uint64_t number, uint8_t *ret, struct error *err)
{
	if (number == 0 || number > e->lib->super->s_inodes_count)
		return error_set(err, ERR_NOT_FOUND, "inode %" PRIu64 " does not exist in this filesystem", number);
	uint32_t group = (uint32_t)((number - 1) / e->inodes_per_group);
	uint64_t start = 0;
	if (!table_start(e, group, &start))
		return error_set(err, ERR_CORRUPT, "the inode table of group %" PRIu32 " lies outside of the filesystem", group);
	uint64_t at = start + (number - 1) % e->inodes_per_group * e->inode_size;
	if (cache_read(e->cache, at, ret, e->inode_size, err) < 0)
		return error_add(err, "read inode %" PRIu64, number);
	return 0;
}

/* One inode-sized buffer after the other; where the large read failed, block by block. */
static int scan_piece(struct ext *e, uint32_t number, uint64_t at, uint8_t *buffer, size_t inodes, ext_scan_fn fn,
                      void *cookie)
{
	size_t per_block = e->block_size / e->inode_size;
	bool whole = block_read(e->base.block, at, buffer, inodes * e->inode_size, NULL) == 0;
	for (size_t i = 0; i < inodes; i += per_block) {
		size_t n = inodes - i < per_block ? inodes - i : per_block;
		uint8_t *part = buffer + i * e->inode_size;
		bool ok = whole || block_read(e->base.block, at + i * e->inode_size, part, n * e->inode_size, NULL) == 0;
		for (size_t k = 0; k < n; k++) {
			int rc = fn(cookie, number + (uint32_t)(i + k), ok ? part + k * e->inode_size : NULL);
			if (rc)
				return rc;
		}
	}
	return 0;
}

static void prefetch_table(struct ext *e, uint64_t at, uint64_t bytes)
{
	uint64_t left = e->base.block->size - at;
	if (bytes)
		block_prefetch(e->base.block, at, bytes < left ? bytes : left);
}

int ext_scan(struct ext *e, ext_scan_fn fn, void *cookie, struct error *err)
{
	CLEAN_FREE uint8_t *buffer = malloc(SCAN_BUFFER);
	if (!buffer)
		return error_set(err, ERR_NOMEM, "out of memory");
	uint64_t budget = e->base.block->size; /* tables that overlap must not be read for ever */
	for (uint32_t g = 0; g < e->groups; g++) {
		uint32_t inodes = ext_group_inodes(e, g);
		uint64_t bytes = (uint64_t)inodes * e->inode_size;
		uint64_t at = 0;
		if (!inodes || !table_start(e, g, &at) || at >= e->base.block->size)
			continue; /* lies outside: the filesystem is not trusted then */
		if (bytes > budget)
			return error_set(err, ERR_CORRUPT, "the inode tables of several groups overlap");
		budget -= bytes;
		uint64_t next = 0;
		if (g + 1 < e->groups && table_start(e, g + 1, &next) && next < e->base.block->size)
			prefetch_table(e, next, (uint64_t)ext_group_inodes(e, g + 1) * e->inode_size);
		uint32_t number = g * e->inodes_per_group + 1;
		while (inodes) {
			size_t n = SCAN_BUFFER / e->inode_size;
			n = n < inodes ? n : inodes;
			int rc = scan_piece(e, number, at, buffer, n, fn, cookie);
			if (rc)
				return rc;
			number += (uint32_t)n;
			inodes -= (uint32_t)n;
			at += n * e->inode_size;
		}
	}
	return 0;
}

struct extent_list {
	struct ext *e;
	struct fs_extent *list;
	size_t count, room;
};

static int add_extent(void *cookie, uint64_t logical, uint64_t physical, uint64_t count, bool unwritten)
{
	struct extent_list *l = cookie;
	uint64_t size = l->e->block_size;
	struct fs_extent x = { logical * size, physical * size, count * size, unwritten };
	struct fs_extent *last = l->count ? &l->list[l->count - 1] : NULL;
	if (last && last->logical + last->length == x.logical && last->physical + last->length == x.physical &&
	    last->unwritten == unwritten) {
		last->length += x.length;
		return 0;
	}
	if (!l->list || l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 4;
		struct fs_extent *grown = realloc(l->list, room * sizeof *grown);
		if (!grown)
			return -1;
		l->list = grown;
		l->room = room;
	}
	l->list[l->count++] = x;
	return 0;
}

int ext_extents(struct ext *e, uint32_t number, const uint8_t *inode, struct fs_extent **ret, size_t *ret_count,
                char *note)
{
	struct extent_list l = { .e = e };
	struct ext_visitor v = { .data = add_extent, .cookie = &l };
	if (ext_map(e, number, inode, &v, note) < 0) {
		free(l.list);
		return -1;
	}
	*ret = l.list;
	*ret_count = l.count;
	return 0;
}

int ext_read_mapped(struct ext *e, const struct fs_extent *extents, size_t count, uint8_t *ret, uint64_t len,
                    struct error *err)
{
	memset(ret, 0, (size_t)len);
	for (size_t i = 0; i < count && extents[i].logical < len; i++) {
		if (extents[i].unwritten)
			continue;
		uint64_t left = len - extents[i].logical;
		uint64_t n = extents[i].length < left ? extents[i].length : left;
		if (cache_read(e->cache, extents[i].physical, ret + extents[i].logical, (size_t)n, err) < 0)
			return -1;
	}
	return 0;
}

static struct time_ns get_time(const uint8_t *inode, unsigned at, unsigned extra_at, unsigned limit)
{
	struct time_ns t = { .sec = (int32_t)get_le32(inode + at) };
	if (extra_at + 4 <= limit) {
		uint32_t extra = get_le32(inode + extra_at);
		t.sec += (int64_t)(extra & 3) << 32;
		t.ns = extra >> 2;
		if (t.ns > 999999999)
			t.ns = 0;
	}
	return t;
}

/* Bytes of the inode that hold fields; xattrs follow. */
static unsigned fields_end(struct ext *e, const uint8_t *inode)
{
	if (e->inode_size <= EXT2_GOOD_OLD_INODE_SIZE)
		return EXT2_GOOD_OLD_INODE_SIZE;
	unsigned end = EXT2_GOOD_OLD_INODE_SIZE + get_le16(inode + I_EXTRA_ISIZE);
	return end <= e->inode_size ? end : EXT2_GOOD_OLD_INODE_SIZE;
}

static void decode_attr(struct ext *e, uint32_t number, const uint8_t *inode, struct attr *a)
{
	unsigned end = fields_end(e, inode);
	a->mode = get_le16(inode + I_MODE);
	a->uid = get_le16(inode + I_UID) | (uint32_t)get_le16(inode + I_UID_HIGH) << 16;
	a->gid = get_le16(inode + I_GID) | (uint32_t)get_le16(inode + I_GID_HIGH) << 16;
	a->nlink = get_le16(inode + I_LINKS);
	a->ino = number;
	a->mtime = get_time(inode, I_MTIME, I_MTIME_EXTRA, end);
	a->ctime = get_time(inode, I_CTIME, I_CTIME_EXTRA, end);
	a->has_btime = I_CRTIME + 4 <= end;
	if (a->has_btime)
		a->btime = get_time(inode, I_CRTIME, I_CRTIME_EXTRA, end);
	a->flags = get_le32(inode + I_FLAGS) & ATTR_FLAGS_KEPT;
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode)) {
		uint32_t old = get_le32(inode + I_BLOCK);
		uint32_t new = get_le32(inode + I_BLOCK + 4);
		a->rdev = old ? makedev(old >> 8 & 0xff, old & 0xff)
		              : makedev(new >> 8 & 0xfff, (new & 0xff) | (new >> 12 & 0xfff00));
	}
}

/* The target of a link whose size has been checked, into bytes of its own. -1: out of memory. */
static int link_bytes(struct ext *e, uint32_t number, const uint8_t *inode, size_t size, uint8_t **ret, char *note)
{
	if (get_le32(inode + I_FLAGS) & EXT4_INLINE_DATA_FL)
		return ext_inline_data(e, inode, size, ret, note);
	CLEAN_FREE uint8_t *target = malloc(size);
	if (!target)
		return -1;
	if (ext_is_fast_symlink(e, inode)) {
		memcpy(target, inode + I_BLOCK, size);
	} else {
		CLEAN_FREE struct fs_extent *extents = NULL;
		size_t count = 0;
		struct error err = { 0 };
		if (ext_extents(e, number, inode, &extents, &count, note) < 0)
			return -1;
		if (ext_read_mapped(e, extents, count, target, size, &err) < 0)
			ext_note(note, "the link's target cannot be read: %.40s", err.text);
		if (*note)
			return 0;
	}
	*ret = TAKE(target);
	return 0;
}

static int decode_link(struct ext *e, const uint8_t *inode, struct fs_inode *ret)
{
	uint64_t size = ext_size(e, inode);
	if (get_le32(inode + I_FLAGS) & EXT4_ENCRYPT_FL) {
		ret->content = FS_OPAQUE;
		ext_note(ret->note, "encrypted link");
		return 0;
	}
	if (size == 0 || size > LINK_MAX_LEN || size > e->block_size) {
		ext_note(ret->note, "a link of %" PRIu64 " bytes", size);
		return 0;
	}
	if (link_bytes(e, (uint32_t)ret->number, inode, (size_t)size, &ret->attr.link, ret->note) < 0)
		return -1;
	if (ret->attr.link)
		ret->attr.size = ret->attr.link_len = (size_t)size;
	return 0;
}

static int decode_file(struct ext *e, const uint8_t *inode, struct fs_inode *ret)
{
	uint64_t size = ext_size(e, inode);
	uint32_t flags = get_le32(inode + I_FLAGS);
	ret->content = FS_OPAQUE;
	if (size > INT64_MAX) {
		ext_note(ret->note, "its size is out of range");
		return 0;
	}
	ret->attr.size = size;
	if (flags & EXT4_INLINE_DATA_FL) {
		if (flags & EXT4_ENCRYPT_FL)
			ext_note(ret->note, "encrypted");
		else if (ext_inline_data(e, inode, size, &ret->inline_data, ret->note) < 0)
			return -1;
		ret->content = ret->inline_data ? FS_INLINE : FS_OPAQUE;
		return 0;
	}
	if (flags & EXT4_ENCRYPT_FL) {
		ext_note(ret->note, "encrypted");
		return 0;
	}
	ret->content = FS_EXTENTS;
	return ext_extents(e, (uint32_t)ret->number, inode, &ret->extents, &ret->extent_count, ret->note);
}

static int decode(struct ext *e, uint32_t number, const uint8_t *inode, struct fs_inode *ret, struct error *err)
{
	*ret = (struct fs_inode){ .number = number, .generation = get_le32(inode + I_GENERATION) };
	decode_attr(e, number, inode, &ret->attr);
	uint32_t mode = ret->attr.mode;
	if (!ext_inode_csum_ok(e, number, inode))
		ext_note(ret->note, "the inode has a wrong checksum");
	int rc = 0;
	if (S_ISREG(mode))
		rc = decode_file(e, inode, ret);
	else if (S_ISLNK(mode))
		rc = decode_link(e, inode, ret);
	else if (S_ISDIR(mode) && get_le32(inode + I_FLAGS) & EXT4_ENCRYPT_FL)
		ext_note(ret->note, "encrypted directory: its names are not readable");
	else if (!S_ISDIR(mode) && !S_ISCHR(mode) && !S_ISBLK(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
		ext_note(ret->note, "mode %06o is of no type of file", mode);
	if (rc == 0)
		rc = ext_xattrs(e, number, inode, &ret->attr, ret->note);
	if (rc == 0)
		return 0;
	fs_inode_done(ret);
	return error_set(err, ERR_NOMEM, "out of memory");
}

/* Inodes that hold the filesystem's own data, not a file of anyone's. */
static bool is_internal(struct ext *e, uint32_t number, const uint8_t *inode)
{
	struct ext2_super_block *super = e->lib->super;
	return (number < EXT2_GOOD_OLD_FIRST_INO && number != EXT2_ROOT_INO) || number == super->s_journal_inum ||
	       number == super->s_usr_quota_inum || number == super->s_grp_quota_inum ||
	       number == super->s_prj_quota_inum ||
	       (ext2fs_has_feature_orphan_file(super) && number == super->s_orphan_file_inum) ||
	       (inode && S_ISREG(get_le16(inode + I_MODE)) && get_le32(inode + I_FLAGS) & EXT4_EA_INODE_FL);
}

struct inodes_scan {
	struct ext *e;
	fs_inode_fn fn;
	void *cookie;
	struct error *err;
};

/* The inode's block of the table cannot be read: in use if the bitmap says so, or cannot be read either. */
static int pass_unreadable(struct inodes_scan *s, uint32_t number)
{
	struct ext *e = s->e;
	CLEAN_FREE uint8_t *map = malloc(e->inodes_per_group / 8);
	if (!map)
		return error_set(s->err, ERR_NOMEM, "out of memory");
	bool ok = false;
	uint32_t bit = (number - 1) % e->inodes_per_group;
	if (ext_inode_bitmap(e, (number - 1) / e->inodes_per_group, map, &ok, NULL) == 0 &&
	    !(map[bit / 8] >> (bit % 8) & 1))
		return 0;
	struct fs_inode inode = { .number = number, .attr.ino = number };
	ext_note(inode.note, "its part of the inode table cannot be read");
	return s->fn(s->cookie, &inode);
}

static int pass_inode(void *cookie, uint32_t number, const uint8_t *raw)
{
	struct inodes_scan *s = cookie;
	if (raw && !ext_is_live(raw))
		return 0;
	if (is_internal(s->e, number, raw))
		return 0;
	if (!raw)
		return pass_unreadable(s, number);
	struct fs_inode inode;
	if (decode(s->e, number, raw, &inode, s->err) < 0)
		return -1;
	int rc = s->fn(s->cookie, &inode);
	fs_inode_done(&inode);
	return rc;
}

int ext_inodes(struct fs *fs, fs_inode_fn fn, void *cookie, struct error *err)
{
	struct inodes_scan s = { .e = (struct ext *)fs, .fn = fn, .cookie = cookie, .err = err };
	if (!s.e->lib || !fs->info.walkable)
		return error_set(err, ERR_UNSUPPORTED, "its files cannot be read: %s", fs->info.reason);
	return ext_scan(s.e, pass_inode, &s, err);
}

int ext_inode(struct fs *fs, uint64_t number, struct fs_inode *ret, struct error *err)
{
	struct ext *e = (struct ext *)fs;
	if (!e->lib || !fs->info.walkable)
		return error_set(err, ERR_UNSUPPORTED, "its files cannot be read: %s", fs->info.reason);
	CLEAN_FREE uint8_t *raw = malloc(e->inode_size);
	if (!raw)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (ext_read_inode(e, number, raw, err) < 0)
		return -1;
	if (!ext_is_live(raw))
		return error_set(err, ERR_NOT_FOUND, "inode %" PRIu64 " is not in use", number);
	return decode(e, (uint32_t)number, raw, ret, err);
}
