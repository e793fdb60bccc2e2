/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Loops on a hostile disk end for two reasons: every step of an extent tree must go forward in the file (so
 * no node is walked twice with any effect), and no inode may map more blocks than the filesystem has.
 */
#include <inttypes.h>
#include <string.h>

#include "fs/ext/ext.h"

#define EXTENT_MAGIC 0xf30a
#define EXTENT_MAX_DEPTH 5
#define HEADER_SIZE 12 /* of a header, and of an entry */
#define WRITTEN_MAX 32768

struct walk {
	struct ext *e;
	const struct ext_visitor *v;
	const uint8_t *inode;
	uint32_t number;
	char *note;
	uint64_t next;    /* first logical block that may come */
	uint64_t budget;  /* blocks that the inode may still map */
};

/* Nonzero: the callback wants to stop. Damage is noted, and skipped. */
static int visit(struct walk *w, uint64_t logical, uint64_t physical, uint64_t count, bool unwritten)
{
	struct ext *e = w->e;
	if (physical <= e->first_block || physical >= e->blocks || count > e->blocks - physical) {
		ext_note(w->note, "block %" PRIu64 " of it lies outside of the filesystem", logical);
		return 0;
	}
	if (count > w->budget) {
		ext_note(w->note, "maps more blocks than the filesystem has");
		return 0;
	}
	w->budget -= count;
	return w->v->data(w->v->cookie, logical, physical, count, unwritten);
}

/* Reads a block of the map itself. 0: in ret; 1: damaged, noted; -1: the callback stops. */
static int read_node(struct walk *w, uint64_t block, uint8_t *ret)
{
	if (block <= w->e->first_block || block >= w->e->blocks || !w->budget) {
		ext_note(w->note, "its block map points to block %" PRIu64 ", where none can be", block);
		return 1;
	}
	w->budget--;
	int rc = w->v->tree ? w->v->tree(w->v->cookie, block) : 0;
	if (rc)
		return -1;
	struct error err = { 0 };
	if (ext_read_block(w->e, block, ret, &err) < 0) {
		ext_note(w->note, "block %" PRIu64 " of its block map cannot be read: %.30s", block, err.text);
		return 1;
	}
	return 0;
}

static bool node_csum_ok(struct walk *w, const uint8_t *node)
{
	if (!ext2fs_has_feature_metadata_csum(w->e->lib->super))
		return true;
	size_t tail = HEADER_SIZE + (size_t)get_le16(node + 4) * HEADER_SIZE;
	if (tail + 4 > w->e->block_size)
		return false;
	uint8_t number[4];
	put_le32(number, w->number);
	uint32_t crc = ext2fs_crc32c_le(w->e->lib->csum_seed, number, sizeof number);
	crc = ext2fs_crc32c_le(crc, w->inode + I_GENERATION, 4);
	return ext2fs_crc32c_le(crc, node, tail) == get_le32(node + tail);
}

static bool header_ok(const uint8_t *node, size_t size, unsigned depth)
{
	uint16_t entries = get_le16(node + 2);
	uint16_t max = get_le16(node + 4);
	return get_le16(node) == EXTENT_MAGIC && entries <= max && max <= size / HEADER_SIZE - 1 &&
	       get_le16(node + 6) == depth;
}

static int leaf(struct walk *w, const uint8_t *entry, uint64_t end)
{
	uint64_t logical = get_le32(entry);
	uint32_t length = get_le16(entry + 4);
	bool unwritten = length > WRITTEN_MAX;
	if (unwritten)
		length -= WRITTEN_MAX;
	uint64_t physical = (uint64_t)get_le16(entry + 6) << 32 | get_le32(entry + 8);
	if (!length || logical < w->next || logical + length > end) {
		ext_note(w->note, "its extents are out of order at block %" PRIu64, logical);
		return 0;
	}
	w->next = logical + length;
	return visit(w, logical, physical, length, unwritten);
}

/* The entries of one node, which map logical blocks below end. */
static int node_entries(struct walk *w, const uint8_t *node, unsigned depth, uint64_t end)
{
	CLEAN_FREE uint8_t *child = depth ? malloc(w->e->block_size) : NULL;
	if (depth && !child) {
		ext_note(w->note, "out of memory for its block map");
		return -1;
	}
	unsigned entries = get_le16(node + 2);
	for (unsigned i = 0; i < entries; i++) {
		const uint8_t *entry = node + HEADER_SIZE + (size_t)i * HEADER_SIZE;
		int rc = 0;
		if (!depth) {
			rc = leaf(w, entry, end);
		} else {
			uint64_t from = get_le32(entry);
			uint64_t until = i + 1 < entries ? get_le32(entry + HEADER_SIZE) : end;
			if (from < w->next || until <= from || until > end) {
				ext_note(w->note, "its extent tree is out of order at block %" PRIu64, from);
				return 0;
			}
			w->next = from;
			uint64_t block = (uint64_t)get_le16(entry + 8) << 32 | get_le32(entry + 4);
			rc = read_node(w, block, child);
			if (rc < 0)
				return rc;
			bool damaged = rc > 0;
			if (!damaged && (!header_ok(child, w->e->block_size, depth - 1) || !get_le16(child + 2))) {
				ext_note(w->note, "block %" PRIu64 " of its extent tree is damaged", block);
				damaged = true;
			}
			if (!damaged && !node_csum_ok(w, child))
				ext_note(w->note, "block %" PRIu64 " of its extent tree has a wrong checksum", block);
			rc = damaged ? 0 : node_entries(w, child, depth - 1, until);
			w->next = until; /* what was out of order below does not spoil its neighbours */
		}
		if (rc)
			return rc;
	}
	return 0;
}

static int walk_extents(struct walk *w)
{
	const uint8_t *root = w->inode + I_BLOCK;
	unsigned depth = get_le16(root + 6);
	if (depth > EXTENT_MAX_DEPTH || !header_ok(root, I_BLOCK_SIZE, depth) || (depth && !get_le16(root + 2))) {
		ext_note(w->note, "the root of its extent tree is damaged");
		return 0;
	}
	return node_entries(w, root, depth, (uint64_t)UINT32_MAX + 1);
}

/* Block pointers, of which each maps span blocks through depth more levels. */
static int pointers(struct walk *w, const uint8_t *list, size_t count, unsigned depth, uint64_t logical)
{
	uint64_t span = 1;
	for (unsigned i = 0; i < depth; i++)
		span *= w->e->block_size / 4;
	CLEAN_FREE uint8_t *child = depth ? malloc(w->e->block_size) : NULL;
	if (depth && !child) {
		ext_note(w->note, "out of memory for its block map");
		return -1;
	}
	for (size_t i = 0; i < count; i++, logical += span) {
		uint32_t block = get_le32(list + i * 4);
		if (!block)
			continue;
		int rc = 0;
		if (!depth) {
			rc = visit(w, logical, block, 1, false);
		} else {
			rc = read_node(w, block, child);
			if (!rc)
				rc = pointers(w, child, w->e->block_size / 4, depth - 1, logical);
		}
		if (rc < 0)
			return rc;
		if (!w->budget)
			return 0;
	}
	return 0;
}

static int walk_pointers(struct walk *w)
{
	const uint8_t *list = w->inode + I_BLOCK;
	uint64_t logical = EXT2_NDIR_BLOCKS;
	if (pointers(w, list, EXT2_NDIR_BLOCKS, 0, 0) < 0)
		return -1;
	uint64_t span = 1;
	for (unsigned depth = 1; depth <= 3; depth++) {
		span *= w->e->block_size / 4;
		if (pointers(w, list + (size_t)4 * (EXT2_NDIR_BLOCKS + depth - 1), 1, depth, logical) < 0)
			return -1;
		logical += span;
	}
	return 0;
}

int ext_map(struct ext *e, uint32_t number, const uint8_t *inode, const struct ext_visitor *v, char *note)
{
	struct walk w = { .e = e, .v = v, .inode = inode, .number = number, .note = note, .budget = e->blocks };
	return get_le32(inode + I_FLAGS) & EXT4_EXTENTS_FL ? walk_extents(&w) : walk_pointers(&w);
}
