/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/ext/ext.h"

#define TAIL_SIZE 12
#define TAIL_TYPE 0xde
#define ENTRY_MIN 8 /* inode 4, length of the record 2, length of the name 1, type 1; then the name */

/* Blocks of 64 KiB have a record length that does not fit into 16 bits. */
static uint32_t record_length(struct ext *e, uint16_t raw)
{
	if (e->block_size < 65536)
		return raw;
	if (raw == 65535 || raw == 0)
		return e->block_size;
	return (raw & 65532u) | (raw & 3u) << 16;
}

static bool is_dot(const uint8_t *name, size_t len)
{
	return (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

struct block_result {
	bool damaged;  /* the block stops making sense somewhere */
	size_t last;   /* where its last record begins */
};

/* The entries of one block, or of an inline part. */
static int dir_block(struct ext *e, const uint8_t *data, size_t size, fs_entry_fn fn, void *cookie, struct block_result *ret)
{
	/* Blocks of a hash tree's index look like one unused entry; so does the checksum at the end. */
	for (size_t at = 0; at < size;) {
		if (size - at < ENTRY_MIN) {
			ret->damaged = true;
			return 0;
		}
		uint32_t inode = get_le32(data + at);
		uint32_t length = record_length(e, get_le16(data + at + 4));
		size_t name_len = data[at + 6];
		if (length < ENTRY_MIN || length % 4 || length > size - at ||
		    (inode && (name_len == 0 || name_len > length - ENTRY_MIN))) {
			ret->damaged = true;
			return 0;
		}
		const uint8_t *name = data + at + ENTRY_MIN;
		if (inode && !is_dot(name, name_len)) {
			struct fs_entry entry = { (const char *)name, name_len, inode };
			int rc = fn(cookie, &entry);
			if (rc)
				return rc;
		}
		ret->last = at;
		at += length;
	}
	return 0;
}

static int inline_entries(struct ext *e, const uint8_t *inode, fs_entry_fn fn, void *cookie, struct error *err)
{
	uint64_t size = ext_size(e, inode);
	char note[NOTE_SIZE] = "";
	CLEAN_FREE uint8_t *data = NULL;
	if (ext_inline_data(e, inode, size, &data, note) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (!data || size < I_BLOCK_SIZE)
		return error_set(err, ERR_CORRUPT, "%s", *note ? note : "an inline directory that is too short");
	struct block_result result = { 0 };
	/* The first 4 bytes are the parent's number. Entries do not cross from one part into the other. */
	int rc = dir_block(e, data + 4, I_BLOCK_SIZE - 4, fn, cookie, &result);
	if (!rc && size > I_BLOCK_SIZE)
		rc = dir_block(e, data + I_BLOCK_SIZE, (size_t)size - I_BLOCK_SIZE, fn, cookie, &result);
	if (!rc && result.damaged)
		rc = error_set(err, ERR_CORRUPT, "its entries are damaged");
	return rc;
}

/* The checksum stands in the last 12 bytes, disguised as an unused entry. */
static bool block_csum_ok(struct ext *e, uint32_t number, uint32_t generation, const uint8_t *block)
{
	const uint8_t *tail = block + e->block_size - TAIL_SIZE;
	bool is_tail = !get_le32(tail) && get_le16(tail + 4) == TAIL_SIZE && tail[6] == 0 && tail[7] == TAIL_TYPE;
	if (!is_tail || !ext2fs_has_feature_metadata_csum(e->lib->super))
		return true;
	uint8_t seed[8];
	put_le32(seed, number);
	put_le32(seed + 4, generation);
	uint32_t crc = ext2fs_crc32c_le(e->lib->csum_seed, seed, sizeof seed);
	return ext2fs_crc32c_le(crc, block, e->block_size - TAIL_SIZE) == get_le32(tail + 8);
}

int ext_dir_block(struct ext *e, const struct ext_dir *dir, uint64_t block, fs_entry_fn fn, void *cookie,
                  struct error *damage)
{
	struct error bad = { 0 };
	struct block_result result = { 0 };
	if (ext_read_block(e, block, dir->buffer, &bad) < 0) {
		error_keep_first(damage, &bad);
		return 0;
	}
	int rc = dir_block(e, dir->buffer, e->block_size, fn, cookie, &result);
	/* A hash tree's root may still have the tail of the plain block that it was, but its records do not lead there. */
	bool tail = result.last == e->block_size - TAIL_SIZE;
	if (!rc && (result.damaged || (tail && !block_csum_ok(e, dir->number, dir->generation, dir->buffer)))) {
		error_set(&bad, ERR_CORRUPT, "its block %" PRIu64 " is damaged", block);
		error_keep_first(damage, &bad);
	}
	return rc;
}

/* All that can be read is passed; then damage, if any, fails the call. */
static int mapped_entries(struct ext *e, uint32_t number, const uint8_t *inode, fs_entry_fn fn, void *cookie,
                          struct error *err)
{
	char note[NOTE_SIZE] = "";
	CLEAN_FREE struct fs_extent *extents = NULL;
	size_t count = 0;
	CLEAN_FREE uint8_t *block = malloc(e->block_size);
	if (!block || ext_extents(e, number, inode, &extents, &count, note) < 0)
		return error_set(err, ERR_NOMEM, "out of memory");
	struct ext_dir dir = { number, get_le32(inode + I_GENERATION), block };
	struct error first = { 0 };
	uint64_t end = 0; /* also of blocks behind the directory's size: names may be there */
	bool hole = false;
	for (size_t i = 0; i < count; i++) {
		hole = hole || extents[i].logical != end || extents[i].unwritten;
		end = extents[i].logical + extents[i].length;
		for (uint64_t at = 0; at < extents[i].length && !extents[i].unwritten; at += e->block_size) {
			int rc = ext_dir_block(e, &dir, (extents[i].physical + at) / e->block_size, fn, cookie, &first);
			if (rc)
				return rc;
		}
	}
	struct error bad = { 0 };
	if (*note)
		error_set(&bad, ERR_CORRUPT, "its block map is damaged: %s", note);
	else if (hole || end != ext_size(e, inode))
		error_set(&bad, ERR_CORRUPT, EXT_DIR_HOLE);
	error_keep_first(&first, &bad);
	if (first.kind == ERR_NONE)
		return 0;
	if (err)
		*err = first;
	return -1;
}

int ext_entries(struct fs *fs, uint64_t directory, fs_entry_fn fn, void *cookie, struct error *err)
{
	struct ext *e = (struct ext *)fs;
	if (!e->lib || !fs->info.walkable)
		return error_set(err, ERR_UNSUPPORTED, "its files cannot be read: %s", fs->info.reason);
	CLEAN_FREE uint8_t *inode = malloc(e->inode_size);
	if (!inode)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (ext_read_inode(e, directory, inode, err) < 0)
		return -1;
	if (!ext_is_live(inode) || !S_ISDIR(get_le16(inode + I_MODE)))
		return error_set(err, ERR_NOT_FOUND, "inode %" PRIu64 " is not a directory", directory);
	bool is_inline = get_le32(inode + I_FLAGS) & EXT4_INLINE_DATA_FL;
	int rc = is_inline ? inline_entries(e, inode, fn, cookie, err)
	                   : mapped_entries(e, (uint32_t)directory, inode, fn, cookie, err);
	return rc < 0 ? error_add(err, "directory, inode %" PRIu64, directory) : rc;
}
