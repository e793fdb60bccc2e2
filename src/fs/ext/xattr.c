/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "fs/ext/ext.h"

#define XATTR_MAGIC 0xea020000u
#define BLOCK_HEADER 32
#define ENTRY_SIZE 16 /* then the name, padded to 4 */
#define VALUE_MAX ((uint32_t)1 << 20) /* the kernel takes 64 KiB */
#define TOTAL_MAX ((size_t)8 << 20)   /* of one inode, so that a hostile one cannot ask for gigabytes */

enum { INDEX_SYSTEM = 7, INDEX_ACL_ACCESS = 2, INDEX_ACL_DEFAULT = 3, INDEX_RICHACL = 8 };

/* By e_name_index. NULL: never shown by the kernel (9 encryption, 11 verity). Names that are whole take no suffix. */
static const char *const prefixes[] = {
	"", "user.", "system.posix_acl_access", "system.posix_acl_default", "trusted.", "lustre.", "security.",
	"system.", "system.richacl", NULL, "gnu.", NULL,
};
#define PREFIX_COUNT (sizeof prefixes / sizeof *prefixes)

/* One region of entries: the tail of an inode, or a block. Value offsets count from .base. */
struct region {
	const uint8_t *base;
	size_t size;
	size_t first;     /* offset of the first entry */
};

struct found {
	uint8_t index;
	size_t name_len;
	const uint8_t *name;
	uint32_t inode;   /* of the value, or 0 */
	size_t size;
	const uint8_t *value; /* NULL when in an inode of its own */
};

/* 1: an entry; 0: the end; -1: damaged. */
static int next_entry(const struct region *r, size_t *at, struct found *ret)
{
	if (*at > r->size || r->size - *at < 4)
		return *at > r->size ? -1 : 0;
	if (get_le32(r->base + *at) == 0)
		return 0;
	if (r->size - *at < ENTRY_SIZE)
		return -1;
	const uint8_t *entry = r->base + *at;
	size_t offset = get_le16(entry + 2);
	*ret = (struct found){ .index = entry[1], .name_len = entry[0], .name = entry + ENTRY_SIZE,
		               .inode = get_le32(entry + 4), .size = get_le32(entry + 8) };
	if (ret->name_len > r->size - *at - ENTRY_SIZE)
		return -1;
	if (!ret->inode) {
		if (ret->size && (offset > r->size || ret->size > r->size - offset))
			return -1;
		ret->value = r->base + (ret->size ? offset : 0);
	}
	*at += (ENTRY_SIZE + ret->name_len + 3) & ~(size_t)3;
	return 1;
}

/* The region inside of an inode; false when there is none. */
static bool inode_region(struct ext *e, const uint8_t *inode, struct region *ret)
{
	if (e->inode_size <= EXT2_GOOD_OLD_INODE_SIZE)
		return false;
	size_t start = EXT2_GOOD_OLD_INODE_SIZE + (size_t)get_le16(inode + I_EXTRA_ISIZE);
	if (start % 4 || start + 8 > e->inode_size || get_le32(inode + start) != XATTR_MAGIC)
		return false;
	*ret = (struct region){ .base = inode + start + 4, .size = e->inode_size - start - 4, .first = 0 };
	return true;
}

/* From the form on disk (version 1, ids only where they mean something) to the kernel's (version 2). */
static bool convert_acl(const uint8_t *value, size_t size, struct buf *ret)
{
	struct cursor c = cursor_of(value, size);
	if (cursor_le32(&c) != 1)
		return false;
	buf_add_le32(ret, 2);
	while (cursor_ok(&c) && cursor_left(&c)) {
		uint16_t tag = cursor_le16(&c);
		uint16_t perm = cursor_le16(&c);
		bool named = tag == 0x02 || tag == 0x08;
		buf_add_le16(ret, tag);
		buf_add_le16(ret, perm);
		buf_add_le32(ret, named ? cursor_le32(&c) : UINT32_MAX);
	}
	return cursor_ok(&c) && buf_ok(ret);
}

/* A value that has an inode of its own. -1: out of memory; *ret stays NULL where it cannot be read. */
static int value_of_inode(struct ext *e, const struct found *f, uint8_t **ret, char *note)
{
	CLEAN_FREE uint8_t *inode = malloc(e->inode_size);
	CLEAN_FREE uint8_t *value = malloc(f->size ? f->size : 1);
	if (!inode || !value)
		return -1;
	if (ext_read_inode(e, f->inode, inode, NULL) < 0 || !ext_is_live(inode) ||
	    !(get_le32(inode + I_FLAGS) & EXT4_EA_INODE_FL) || !ext_has_blocks(e, inode) ||
	    ext_size(e, inode) != f->size) {
		ext_note(note, "an extended attribute's value in inode %" PRIu32 " is missing", f->inode);
		return 0;
	}
	CLEAN_FREE struct fs_extent *extents = NULL;
	size_t count = 0;
	if (ext_extents(e, f->inode, inode, &extents, &count, note) < 0)
		return -1;
	if (ext_read_mapped(e, extents, count, value, f->size, NULL) < 0) {
		ext_note(note, "an extended attribute's value in inode %" PRIu32 " cannot be read", f->inode);
		return 0;
	}
	*ret = TAKE(value);
	return 0;
}

static int add_value(struct attr *attr, const struct found *f, const char *name, const uint8_t *value, char *note)
{
	if (f->index != INDEX_ACL_ACCESS && f->index != INDEX_ACL_DEFAULT)
		return attr_add_xattr(attr, name, value, f->size);
	CLEAN_BUF struct buf acl = BUF_INIT;
	if (convert_acl(value, f->size, &acl))
		return attr_add_xattr(attr, name, acl.data, acl.len);
	ext_note(note, "%s is damaged", name);
	return 0;
}

static int add_entry(struct ext *e, const struct found *f, struct attr *attr, size_t *total, char *note)
{
	char name[32 + 256];
	if (f->index >= PREFIX_COUNT) {
		ext_note(note, "an extended attribute of unknown kind %u", f->index);
		return 0;
	}
	bool inline_data = f->index == INDEX_SYSTEM && f->name_len == 4 && memcmp(f->name, "data", 4) == 0;
	if (!prefixes[f->index] || inline_data)
		return 0;
	if (memchr(f->name, 0, f->name_len) || f->size > VALUE_MAX || f->size > TOTAL_MAX - *total) {
		ext_note(note, "an extended attribute is damaged");
		return 0;
	}
	*total += f->size;
	snprintf(name, sizeof name, "%s%.*s", prefixes[f->index], (int)f->name_len, (const char *)f->name);
	if (!f->inode)
		return add_value(attr, f, name, f->value, note);
	CLEAN_FREE uint8_t *value = NULL;
	if (value_of_inode(e, f, &value, note) < 0)
		return -1;
	return value ? add_value(attr, f, name, value, note) : 0;
}

static int add_region(struct ext *e, const struct region *r, struct attr *attr, size_t *total, char *note)
{
	size_t at = r->first;
	struct found f = { 0 };
	int more = 0;
	while ((more = next_entry(r, &at, &f)) > 0)
		if (add_entry(e, &f, attr, total, note) < 0)
			return -1;
	if (more < 0)
		ext_note(note, "its extended attributes are damaged");
	return 0;
}

static int add_block(struct ext *e, uint32_t number, uint64_t block, struct attr *attr, size_t *total, char *note)
{
	CLEAN_FREE uint8_t *data = malloc(e->block_size);
	if (!data)
		return -1;
	struct error err = { 0 };
	if (ext_read_block(e, block, data, &err) < 0) {
		ext_note(note, "its extended attributes cannot be read: %.40s", err.text);
		return 0;
	}
	if (get_le32(data) != XATTR_MAGIC || get_le32(data + 8) != 1) {
		ext_note(note, "its block of extended attributes is damaged");
		return 0;
	}
	if (!ext2fs_ext_attr_block_csum_verify(e->lib, number, block, (struct ext2_ext_attr_header *)(void *)data))
		ext_note(note, "its block of extended attributes has a wrong checksum");
	struct region r = { .base = data, .size = e->block_size, .first = BLOCK_HEADER };
	return add_region(e, &r, attr, total, note);
}

int ext_xattrs(struct ext *e, uint32_t number, const uint8_t *inode, struct attr *attr, char *note)
{
	size_t total = 0;
	struct region r;
	if (inode_region(e, inode, &r) && add_region(e, &r, attr, &total, note) < 0)
		return -1;
	uint64_t block = ext_file_acl(e, inode);
	if (block && add_block(e, number, block, attr, &total, note) < 0)
		return -1;
	attr_sort_xattrs(attr);
	return 0;
}

int ext_inline_data(struct ext *e, const uint8_t *inode, uint64_t size, uint8_t **ret, char *note)
{
	struct region r;
	struct found f = { 0 };
	size_t at = 0;
	const uint8_t *more = NULL;
	size_t more_size = 0;
	if (inode_region(e, inode, &r))
		for (at = r.first; next_entry(&r, &at, &f) > 0;)
			if (f.index == INDEX_SYSTEM && f.name_len == 4 && memcmp(f.name, "data", 4) == 0 && f.value) {
				more = f.value;
				more_size = f.size;
			}
	if (size > I_BLOCK_SIZE + more_size) {
		ext_note(note, "its inline data is shorter than its size");
		return 0;
	}
	uint8_t *data = malloc(size ? (size_t)size : 1);
	if (!data)
		return -1;
	memcpy(data, inode + I_BLOCK, size < I_BLOCK_SIZE ? (size_t)size : I_BLOCK_SIZE);
	if (size > I_BLOCK_SIZE)
		memcpy(data + I_BLOCK_SIZE, more, (size_t)size - I_BLOCK_SIZE);
	*ret = data;
	return 0;
}
