/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Does every block that a file refers to lie where the bitmaps say "in use", and belong to nothing else?
 * One pass over the inode tables, one over the directories, one over the bitmaps. It stops at the first
 * finding: then everything is stored, and more findings change nothing.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/ext/ext.h"

#define INLINE_RUN UINT64_MAX /* a directory without blocks: sorted behind all others */
#define PREFETCH_RUNS 32

/* Blocks of one directory that lie together. All of them are read in the order of the disk, not of the inodes. */
struct dir_run {
	uint64_t block;
	uint32_t count;
	uint32_t number, generation;
};

struct check {
	struct ext *e;
	struct bits claimed;   /* clusters of files */
	struct bits xattrs;    /* those that hold xattrs, which several inodes may share */
	struct bits live;      /* inodes in use; bit 0 is inode 1, as in the bitmaps */
	struct dir_run *runs;  /* of all directories */
	size_t run_count, run_room;
	uint32_t number;       /* the inode at hand */
	const uint8_t *dir;    /* the same where it is a directory, else NULL */
	uint64_t dir_end;      /* blocks of it seen so far; a directory has no holes */
	bool lenient;          /* bad blocks lie anywhere */
	bool has_last;
	uint64_t last_logical, last_physical; /* clusters: with bigalloc several extents of a file may share one */
	bool nomem;
};

static void check_done(struct check *c)
{
	bits_done(&c->claimed);
	bits_done(&c->xattrs);
	bits_done(&c->live);
	free(c->runs);
}

static int set(struct check *c, struct bits *b, uint64_t at, uint64_t len, bool *again)
{
	if (bits_set(b, at, len, again) == 0)
		return 0;
	c->nomem = true;
	return -1;
}

/* Nonzero: distrusted, stop. */
static int claim(struct check *c, uint64_t first, uint64_t last)
{
	struct ext *e = c->e;
	bool again = false;
	bool fixed = bits_any(&e->meta, first, last - first + 1);
	if (set(c, &c->claimed, first, last - first + 1, &again) < 0)
		return -1;
	if (c->lenient || (!fixed && !again))
		return 0;
	uint64_t block = e->first_block + (first << e->ratio_bits);
	if (fixed)
		ext_distrust(e, "inode %" PRIu32 " claims blocks of the filesystem's own structures (from block %" PRIu64 ")",
		             c->number, block);
	else
		ext_distrust(e, "two inodes claim the same blocks (inode %" PRIu32 ", from block %" PRIu64 ")", c->number,
		             block);
	return -1;
}

static int add_run(struct check *c, uint64_t block, uint64_t count)
{
	struct dir_run *last = c->run_count ? &c->runs[c->run_count - 1] : NULL;
	if (last && last->number == c->number && last->block + last->count == block && last->count < UINT16_MAX) {
		last->count += (uint32_t)count;
		return 0;
	}
	if (!c->runs || c->run_count == c->run_room) {
		size_t room = c->run_room ? c->run_room * 2 : 64;
		struct dir_run *grown = realloc(c->runs, room * sizeof *grown);
		if (!grown) {
			c->nomem = true;
			return -1;
		}
		c->runs = grown;
		c->run_room = room;
	}
	c->runs[c->run_count++] = (struct dir_run){ block, (uint32_t)count, c->number, get_le32(c->dir + I_GENERATION) };
	return 0;
}

static int claim_data(void *cookie, uint64_t logical, uint64_t physical, uint64_t count, bool unwritten)
{
	struct check *c = cookie;
	if (c->dir) {
		if (add_run(c, physical, count) < 0)
			return -1;
		if (logical == c->dir_end && !unwritten)
			c->dir_end += count;
	}
	unsigned ratio = c->e->ratio_bits;
	uint64_t first = ext_cluster(c->e, physical);
	uint64_t last = ext_cluster(c->e, physical + count - 1);
	uint64_t logical_first = logical >> ratio;
	if (ratio && c->has_last && c->last_physical == first && c->last_logical == logical_first)
		first++;
	c->has_last = true;
	c->last_physical = last;
	c->last_logical = (logical + count - 1) >> ratio;
	return first > last ? 0 : claim(c, first, last);
}

static int claim_tree(void *cookie, uint64_t block)
{
	struct check *c = cookie;
	uint64_t cluster = ext_cluster(c->e, block);
	return claim(c, cluster, cluster);
}

static int check_map(struct check *c, const uint8_t *inode)
{
	char note[NOTE_SIZE] = "";
	struct ext_visitor v = { .data = claim_data, .tree = claim_tree, .cookie = c };
	c->has_last = false;
	c->dir_end = 0;
	c->dir = S_ISDIR(get_le16(inode + I_MODE)) ? inode : NULL;
	if (ext_map(c->e, c->number, inode, &v, note) < 0)
		return -1;
	if (!*note && c->dir && c->dir_end * c->e->block_size != ext_size(c->e, inode))
		ext_note(note, EXT_DIR_HOLE);
	if (!*note)
		return 0;
	ext_distrust(c->e, "inode %" PRIu32 ": %s", c->number, note);
	return -1;
}

static int check_single_block(struct check *c, uint64_t block, bool shared)
{
	if (!block)
		return 0;
	if (block <= c->e->first_block || block >= c->e->blocks) {
		ext_distrust(c->e, "inode %" PRIu32 " has its extended attributes outside of the filesystem", c->number);
		return -1;
	}
	uint64_t cluster = ext_cluster(c->e, block);
	bool again = false;
	if (shared && set(c, &c->xattrs, cluster, 1, &again) < 0)
		return -1;
	return again ? 0 : claim(c, cluster, cluster);
}

static int check_live(struct check *c, const uint8_t *inode)
{
	struct ext *e = c->e;
	struct ext2_super_block *super = e->lib->super;
	uint16_t mode = get_le16(inode + I_MODE);
	uint32_t flags = get_le32(inode + I_FLAGS);
	bool again = false;
	if (!ext_inode_csum_ok(e, c->number, inode)) {
		ext_distrust(e, "the checksum of inode %" PRIu32 " is wrong", c->number);
		return -1;
	}
	if (flags & EXT4_INLINE_DATA_FL && !ext2fs_has_feature_inline_data(super)) {
		ext_distrust(e, "inode %" PRIu32 " has inline data, which this filesystem cannot have", c->number);
		return -1;
	}
	bool special = S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
	if (!S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode) && !special) {
		ext_distrust(e, "inode %" PRIu32 " is of no type of file (mode %06o)", c->number, mode);
		return -1;
	}
	if (special && (ext_size(e, inode) || flags & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL))) {
		ext_distrust(e, "inode %" PRIu32 " is a device, fifo or socket, but has content", c->number);
		return -1;
	}
	if (set(c, &c->live, c->number - 1, 1, &again) < 0)
		return -1;
	c->dir = inode;
	if (S_ISDIR(mode) && flags & EXT4_INLINE_DATA_FL && add_run(c, INLINE_RUN, 0) < 0)
		return -1;
	if (super->s_creator_os == EXT2_OS_HURD && check_single_block(c, get_le32(inode + I_TRANSLATOR), false) < 0)
		return -1;
	if (check_single_block(c, ext_file_acl(e, inode), true) < 0)
		return -1;
	return ext_has_blocks(e, inode) ? check_map(c, inode) : 0;
}

static int check_inode(void *cookie, uint32_t number, const uint8_t *inode)
{
	struct check *c = cookie;
	c->number = number;
	if (!inode) {
		ext_distrust(c->e, "inode %" PRIu32 " cannot be read", number);
		return -1;
	}
	if (number == EXT2_BAD_INO) {
		c->lenient = true;
		int rc = check_map(c, inode);
		c->lenient = false;
		return rc;
	}
	/* Its data are the reserved descriptor blocks, which are known without it; one block is its own. */
	if (number == EXT2_RESIZE_INO && ext2fs_has_feature_resize_inode(c->e->lib->super))
		return check_single_block(c, get_le32(inode + I_BLOCK + 4 * EXT2_DIND_BLOCK), false);
	return ext_is_live(inode) ? check_live(c, inode) : 0;
}

static int check_entry(void *cookie, const struct fs_entry *entry)
{
	struct check *c = cookie;
	if (bits_test(&c->live, entry->inode - 1))
		return 0;
	ext_distrust(c->e, "directory %" PRIu32 " refers to inode %" PRIu64 ", which is not in use", c->number,
	             entry->inode);
	return 1;
}

static int by_place(const void *a, const void *b)
{
	const struct dir_run *x = a, *y = b;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int check_run(struct check *c, const struct dir_run *run, uint8_t *buffer, struct error *bad)
{
	c->number = run->number;
	if (run->block == INLINE_RUN)
		return ext_entries(&c->e->base, run->number, check_entry, c, bad) < 0 ? -1 : 0;
	struct ext_dir dir = { run->number, run->generation, buffer };
	for (uint32_t i = 0; i < run->count; i++)
		if (ext_dir_block(c->e, &dir, run->block + i, check_entry, c, bad))
			return 0;
	if (bad->kind == ERR_NONE)
		return 0;
	return error_add(bad, "directory, inode %" PRIu32, run->number);
}

/* A file may hide in a part of the inode table that claims never to have been used: its name tells. */
static int check_dirs(struct check *c, struct error *err)
{
	struct ext *e = c->e;
	CLEAN_FREE uint8_t *buffer = malloc(e->block_size);
	if (!buffer)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (c->run_count)
		qsort(c->runs, c->run_count, sizeof *c->runs, by_place);
	for (size_t i = 0; i < c->run_count && !e->base.info.untrusted; i++) {
		size_t end = i % PREFETCH_RUNS ? i : i + PREFETCH_RUNS;
		for (size_t k = i; k < end && k < c->run_count && c->runs[k].block != INLINE_RUN; k++)
			block_prefetch(e->base.block, c->runs[k].block * e->block_size, (uint64_t)c->runs[k].count * e->block_size);
		struct error bad = { 0 };
		if (check_run(c, &c->runs[i], buffer, &bad) < 0) {
			if (bad.kind == ERR_NOMEM)
				return error_set(err, ERR_NOMEM, "out of memory");
			ext_distrust(e, "%s", bad.text);
		}
	}
	return 0;
}

struct bitmaps {
	uint8_t *map, *meta, *claimed;
};

static void bitmaps_done(struct bitmaps *b)
{
	free(b->map);
	free(b->meta);
	free(b->claimed);
}

static uint32_t count_set(const uint8_t *map, uint32_t bits)
{
	uint32_t n = 0, i = 0;
	for (; i + 8 <= bits / 8; i += 8)
		n += (uint32_t)__builtin_popcountll(get_le64(map + i));
	for (; i < bits / 8; i++)
		n += (uint32_t)__builtin_popcount(map[i]);
	if (bits % 8)
		n += (uint32_t)__builtin_popcount(map[bits / 8] & ((1u << (bits % 8)) - 1));
	return n;
}

static void check_group_blocks(struct check *c, uint32_t g, struct bitmaps *b, uint64_t *free_clusters)
{
	struct ext *e = c->e;
	struct error bad = { 0 };
	bool ok = false;
	uint32_t clusters = ext_group_clusters(e, g);
	uint64_t first = (uint64_t)g * e->clusters_per_group;
	if (ext_block_bitmap(e, g, b->map, &ok, &bad) < 0) {
		ext_distrust(e, "%s", bad.text);
		return;
	}
	if (!ok)
		ext_distrust(e, "the checksum of the block bitmap of group %" PRIu32 " is wrong", g);
	bits_copy(&e->meta, first, clusters, b->meta);
	bits_copy(&c->claimed, first, clusters, b->claimed);
	for (uint32_t i = 0; i < (clusters + 7) / 8; i++) {
		uint8_t missing = (uint8_t)((b->meta[i] | b->claimed[i]) & ~b->map[i]);
		if (!missing)
			continue;
		uint64_t cluster = first + i * 8 + (unsigned)__builtin_ctz(missing);
		ext_distrust(e, "block %" PRIu64 " is in use, but its bitmap says that it is free",
		             e->first_block + (cluster << e->ratio_bits));
		return;
	}
	uint32_t free_here = clusters - count_set(b->map, clusters);
	if (free_here != ext2fs_bg_free_blocks_count(e->lib, g))
		ext_distrust(e, "group %" PRIu32 " says that %u blocks are free, its bitmap says %u", g,
		             ext2fs_bg_free_blocks_count(e->lib, g), free_here);
	*free_clusters += free_here;
}

static void check_group_inodes(struct check *c, uint32_t g, struct bitmaps *b, uint64_t *free_inodes)
{
	struct ext *e = c->e;
	struct error bad = { 0 };
	bool ok = false;
	if (ext_inode_bitmap(e, g, b->map, &ok, &bad) < 0) {
		ext_distrust(e, "%s", bad.text);
		return;
	}
	if (!ok)
		ext_distrust(e, "the checksum of the inode bitmap of group %" PRIu32 " is wrong", g);
	bits_copy(&c->live, (uint64_t)g * e->inodes_per_group, e->inodes_per_group, b->claimed);
	for (uint32_t i = 0; i < e->inodes_per_group / 8; i++) {
		unsigned differs = b->map[i] ^ b->claimed[i];
		if (g == 0 && i <= (EXT2_GOOD_OLD_FIRST_INO - 1) / 8) /* reserved ones count as used, live or not */
			differs &= i ? 0xffu << (EXT2_GOOD_OLD_FIRST_INO - 1) % 8 : 0;
		if (!(differs & 0xff))
			continue;
		unsigned bit = (unsigned)__builtin_ctz(differs);
		ext_distrust(e, "inode %" PRIu32 " is %s, but its bitmap says the opposite",
		             g * e->inodes_per_group + i * 8 + bit + 1, b->map[i] >> bit & 1 ? "deleted" : "in use");
		return;
	}
	uint32_t free_here = e->inodes_per_group - count_set(b->map, e->inodes_per_group);
	if (free_here != ext2fs_bg_free_inodes_count(e->lib, g))
		ext_distrust(e, "group %" PRIu32 " says that %u inodes are free, its bitmap says %u", g,
		             ext2fs_bg_free_inodes_count(e->lib, g), free_here);
	*free_inodes += free_here;
}

static int check_bitmaps(struct check *c, struct error *err)
{
	struct ext *e = c->e;
	struct ext2_super_block *super = e->lib->super;
	CLEAN(bitmaps_done) struct bitmaps b = { malloc(e->block_size), malloc(e->block_size), malloc(e->block_size) };
	if (!b.map || !b.meta || !b.claimed)
		return error_set(err, ERR_NOMEM, "out of memory");
	uint64_t free_clusters = 0, free_inodes = 0;
	for (uint32_t g = 0; g < e->groups && !e->base.info.untrusted; g++) {
		check_group_blocks(c, g, &b, &free_clusters);
		check_group_inodes(c, g, &b, &free_inodes);
	}
	if (free_clusters << e->ratio_bits != ext2fs_free_blocks_count(super))
		ext_distrust(e, "the superblock says that %" PRIu64 " blocks are free, the bitmaps say %" PRIu64,
		             (uint64_t)ext2fs_free_blocks_count(super), free_clusters << e->ratio_bits);
	if (free_inodes != super->s_free_inodes_count)
		ext_distrust(e, "the superblock says that %u inodes are free, the bitmaps say %" PRIu64,
		             super->s_free_inodes_count, free_inodes);
	return 0;
}

int ext_check(struct ext *e, struct error *err)
{
	CLEAN(check_done) struct check c = { .e = e };
	uint64_t inodes = e->lib->super->s_inodes_count;
	if (bits_init(&c.claimed, e->clusters) < 0 || bits_init(&c.xattrs, e->clusters) < 0 ||
	    bits_init(&c.live, inodes) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	struct error bad = { 0 };
	int rc = ext_scan(e, check_inode, &c, &bad);
	if (c.nomem || bad.kind == ERR_NOMEM)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (rc)
		ext_distrust(e, "%s", bad.text); /* keeps the reason that check_inode gave */
	if (!e->base.info.untrusted && check_dirs(&c, err) < 0)
		return -1;
	return e->base.info.untrusted ? 0 : check_bitmaps(&c, err);
}
