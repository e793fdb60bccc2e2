/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading filesystems on a struct block: which bytes are in use, which files there are, where their content lies.
 *
 * A filesystem is a folder here (fs/ext) and one row in fs.c's table. A reader never writes, never
 * trusts what it reads, and when it is not sure that it sees everything it says so: .untrusted is set
 * with the reason, and the caller then stores every byte that is not zero.
 * One struct fs is used by one thread at a time; several may be open on one block device.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include "base/attr.h"
#include "block/block.h"

struct fs_info {
	char type[32];        /* "ext2", "ext3", "ext4", "jbd"; libblkid's names are up to 29 long */
	char uuid[37];        /* text form, "" where there is none */
	char label[64];       /* UTF-8 or raw bytes, zero-terminated, "" where there is none */
	uint32_t block_size;  /* allocation granularity of the used map, bytes (a cluster for bigalloc) */
	uint64_t size;        /* bytes that the filesystem covers, from offset 0 of its block device; at most its size */
	uint64_t used;        /* bytes in use by its own count */
	bool untrusted;       /* the used map must not be relied on: store all that is not zero */
	bool walkable;        /* the file tree can be read (possibly with the damage that .reason names) */
	char reason[200];     /* why untrusted, or not walkable, or "" */
};

/* A run of a file's content. Ascending by .logical, never overlapping; what lies between is a hole. */
struct fs_extent {
	uint64_t logical;     /* byte offset in the file */
	uint64_t physical;    /* byte offset on the block device */
	uint64_t length;      /* bytes, a multiple of the filesystem's block size; may reach past the end of the file */
	bool unwritten;       /* allocated, reads as zeros */
};

enum fs_content {
	FS_NO_CONTENT,        /* not a regular file */
	FS_EXTENTS,           /* .extents say where it is */
	FS_INLINE,            /* in .inline_data */
	FS_OPAQUE,            /* encrypted, compressed, verity metadata...: cannot be read as the file's bytes; .note says why */
};

struct fs_inode {
	uint64_t number;
	uint32_t generation;
	struct attr attr;             /* full metadata with xattrs; .ino = number; .user, .group NULL; times exact */
	enum fs_content content;
	struct fs_extent *extents;
	size_t extent_count;
	uint8_t *inline_data;         /* attr.size bytes */
	char note[80];                /* "" or why it is opaque, or which part of it is damaged */
};

struct fs_entry {
	const char *name;             /* bytes, not terminated, never "." or ".."; may hold any byte, also '/' or NUL on a hostile disk */
	size_t name_len;
	uint64_t inode;
};

struct fs;

/* Nonzero from a callback stops the walk and is returned by it. */
typedef int (*fs_range_fn)(void *cookie, uint64_t offset, uint64_t length);
typedef int (*fs_inode_fn)(void *cookie, const struct fs_inode *inode);
typedef int (*fs_entry_fn)(void *cookie, const struct fs_entry *entry);

struct fs_driver {
	const char *name;             /* the folder's name */
	/* Cheap: looks at the superblock only. ret_found false when it is another filesystem. */
	int (*probe)(struct block *b, bool *ret_found, struct error *err);
	/* The block device stays the caller's. Fails with ERR_CORRUPT or ERR_UNSUPPORTED when nothing can be said about it. */
	int (*open)(struct fs **ret, struct block *b, struct error *err);
	/* Every range in use, ascending, adjoining ranges merged; includes the filesystem's own metadata, journal, and reserved blocks.
	 * Blocks that it hides (before the first superblock) count as used. */
	int (*used)(struct fs *fs, fs_range_fn fn, void *cookie, struct error *err);
	/* Every inode in use that holds or may hold content or metadata of a file, ascending by number; the inode is
	 * the reader's and valid during the call. Damaged inodes are passed with a .note, not skipped.
	 * Where .untrusted is set, a directory may name inodes that were not passed: ask for them with inode(). */
	int (*inodes)(struct fs *fs, fs_inode_fn fn, void *cookie, struct error *err);
	uint64_t (*root)(struct fs *fs);
	/* The entries of one directory, in on-disk order. ERR_UNSUPPORTED when its names cannot be read. */
	int (*entries)(struct fs *fs, uint64_t directory, fs_entry_fn fn, void *cookie, struct error *err);
	/* One inode; ret is the caller's, freed with fs_inode_done. */
	int (*inode)(struct fs *fs, uint64_t number, struct fs_inode *ret, struct error *err);
	void (*close)(struct fs *fs);
};

/* Implementations embed this as their first member. */
struct fs {
	const struct fs_driver *driver;
	struct block *block;
	struct fs_info info;
};

/* The first driver whose probe says yes opens it. *ret is NULL (and 0 returned) when no driver knows it. */
int fs_open(struct fs **ret, struct block *b, struct error *err);
void fs_close(struct fs *fs);
DEFINE_CLEAN(fs, fs_close)
#define CLEAN_FS CLEAN(fs_cleanup)
void fs_inode_done(struct fs_inode *inode);

/* What lies on b, for messages and for filesystems that no driver reads: libblkid's type, uuid and label. ret_type is "" when nothing is known. */
int fs_identify(struct block *b, struct fs_info *ret, struct error *err);

#endif
