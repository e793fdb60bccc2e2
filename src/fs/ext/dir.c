/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/ext/ext.h"

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

int ext_dir_block(struct ext *e, const uint8_t *data, size_t size, fs_entry_fn fn, void *cookie, bool *ret_damaged)
{
	/* Blocks of a hash tree's index look like one unused entry; so does the checksum at the end. */
	for (size_t at = 0; at < size;) {
		if (size - at < ENTRY_MIN) {
			*ret_damaged = true;
			return 0;
		}
		uint32_t inode = get_le32(data + at);
		uint32_t length = record_length(e, get_le16(data + at + 4));
		size_t name_len = data[at + 6];
		if (length < ENTRY_MIN || length % 4 || length > size - at ||
		    (inode && (name_len == 0 || name_len > length - ENTRY_MIN))) {
			*ret_damaged = true;
			return 0;
		}
		const uint8_t *name = data + at + ENTRY_MIN;
		if (inode && !is_dot(name, name_len)) {
			struct fs_entry entry = { (const char *)name, name_len, inode };
			int rc = fn(cookie, &entry);
			if (rc)
				return rc;
		}
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
	bool damaged = false;
	/* The first 4 bytes are the parent's number. Entries do not cross from one part into the other. */
	int rc = ext_dir_block(e, data + 4, I_BLOCK_SIZE - 4, fn, cookie, &damaged);
	if (!rc && size > I_BLOCK_SIZE)
		rc = ext_dir_block(e, data + I_BLOCK_SIZE, (size_t)size - I_BLOCK_SIZE, fn, cookie, &damaged);
	if (!rc && damaged)
		rc = error_set(err, ERR_CORRUPT, "its entries are damaged");
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
	uint64_t size = ext_size(e, inode);
	struct error first = { 0 };
	for (size_t i = 0; i < count; i++) {
		for (uint64_t at = 0; at < extents[i].length && extents[i].logical + at < size; at += e->block_size) {
			struct error bad = { 0 };
			bool damaged = extents[i].unwritten;
			if (!damaged && ext_read_block(e, (extents[i].physical + at) / e->block_size, block, &bad) < 0) {
				error_keep_first(&first, &bad);
				continue;
			}
			int rc = damaged ? 0 : ext_dir_block(e, block, e->block_size, fn, cookie, &damaged);
			if (rc)
				return rc;
			if (damaged) {
				error_set(&bad, ERR_CORRUPT, "the block at %" PRIu64 " is damaged", extents[i].logical + at);
				error_keep_first(&first, &bad);
			}
		}
	}
	if (*note)
		error_keep_first(&first, &(struct error){ .kind = ERR_CORRUPT, .text = "its block map is damaged" });
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
