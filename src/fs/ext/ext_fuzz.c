/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A whole filesystem from hostile bytes: everything that a reader can be asked for, and nothing may hang or crash. */
#include "fs/fs.h"

#include <sys/stat.h>

#define MAX_IMAGE ((size_t)1 << 20)
#define MAX_INODES 500 /* each input is to be quick; every inode takes the same way */

struct fuzz {
	struct fs *fs;
	unsigned inodes, entries;
};

static int see_range(void *cookie, uint64_t offset, uint64_t length)
{
	uint64_t *end = cookie;
	if (offset < *end || length == 0)
		__builtin_trap();
	*end = offset + length;
	return 0;
}

static int see_entry(void *cookie, const struct fs_entry *entry)
{
	struct fuzz *f = cookie;
	struct fs_inode inode;
	if (++f->entries % 16 == 0 && f->fs->driver->inode(f->fs, entry->inode, &inode, NULL) == 0)
		fs_inode_done(&inode);
	return f->entries > 10 * MAX_INODES;
}

static int see_inode(void *cookie, const struct fs_inode *inode)
{
	struct fuzz *f = cookie;
	uint64_t end = 0;
	for (size_t i = 0; i < inode->extent_count; i++) {
		const struct fs_extent *x = &inode->extents[i];
		if (x->logical < end || x->length == 0)
			__builtin_trap();
		end = x->logical + x->length;
	}
	if (S_ISDIR(inode->attr.mode))
		f->fs->driver->entries(f->fs, inode->number, see_entry, f, NULL);
	return ++f->inodes > MAX_INODES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_BLOCK struct block *b = NULL;
	CLEAN_FS struct fs *fs = NULL;
	uint64_t end = 0;
	if (size > MAX_IMAGE || block_open_memory(&b, (void *)(uintptr_t)data, size, false, NULL) < 0)
		return 0;
	if (fs_open(&fs, b, NULL) < 0 || !fs)
		return 0;
	if (fs->info.size > size)
		__builtin_trap();
	fs->driver->used(fs, see_range, &end, NULL);
	if (end > size)
		__builtin_trap();
	struct fuzz f = { .fs = fs };
	fs->driver->inodes(fs, see_inode, &f, NULL);
	if (fs->info.walkable)
		fs->driver->entries(fs, fs->driver->root(fs), see_entry, &f, NULL);
	return 0;
}
