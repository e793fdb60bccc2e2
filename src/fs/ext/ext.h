/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ext2, ext3 and ext4: the driver, and what its files share.
 *
 * libext2fs decodes the superblock and the group descriptors and knows where their copies lie and how each
 * checksum is made. Everything that a hostile disk could turn into an endless loop or a huge allocation
 * (inodes, extent trees, indirect blocks, directories, extended attributes) is decoded here, from raw bytes.
 * Sources: the kernel's Documentation/filesystems/ext4, and libext2fs's headers.
 *
 *   ext.c     probe, open: the superblock, what may be trusted
 *   io.c      libext2fs's way to a struct block
 *   layout.c  where the filesystem's own blocks lie; bitmaps; the used map
 *   map.c     the blocks of one inode: extent trees and indirect blocks
 *   inode.c   one inode as a struct fs_inode; the scan over all
 *   xattr.c   extended attributes, ACLs, inline data
 *   dir.c     directories
 *   check.c   the pass at open that decides whether the used map may be trusted
 */
#ifndef FS_EXT_EXT_H
#define FS_EXT_EXT_H

#include <ext2fs/ext2fs.h>

#include "base/bytes.h"
#include "fs/cache.h"
#include "fs/ext/bits.h"
#include "fs/fs.h"

extern const struct fs_driver ext_driver;

/* io.c. libext2fs passes only a name to an io_manager: it carries the address of this, which must stay where it is. */
struct ext_io {
	struct cache *cache;
	struct error err;         /* of the latest read that failed */
};
extern struct struct_io_manager ext_io_manager;
#define EXT_IO_NAME_SIZE 32
void ext_io_name(struct ext_io *io, char ret[EXT_IO_NAME_SIZE]);

struct ext {
	struct fs base;
	struct cache *cache;
	struct ext_io io;
	ext2_filsys lib;          /* NULL: nothing but base.info is known; the whole device is in use */
	uint32_t block_size;
	uint32_t inode_size;
	uint64_t blocks;          /* s_blocks_count */
	uint64_t first_block;     /* s_first_data_block: bit 0 of the first bitmap */
	uint32_t groups;
	uint32_t inodes_per_group;
	unsigned ratio_bits;      /* log2 of blocks in a cluster */
	uint64_t clusters;        /* that the bitmaps speak of, all groups together */
	uint32_t clusters_per_group;
	bool group_csum;          /* descriptors have checksums, and so their UNINIT flags and unused counts count */
	struct bits meta;         /* clusters that hold the filesystem's own fixed structures */
};

/* Byte offsets in an inode on disk. */
enum {
	I_MODE = 0x00, I_UID = 0x02, I_SIZE = 0x04, I_CTIME = 0x0c, I_MTIME = 0x10, I_DTIME = 0x14, I_GID = 0x18,
	I_LINKS = 0x1a, I_BLOCKS = 0x1c, I_FLAGS = 0x20, I_TRANSLATOR = 0x24, I_BLOCK = 0x28, I_GENERATION = 0x64,
	I_FILE_ACL = 0x68, I_SIZE_HIGH = 0x6c, I_BLOCKS_HIGH = 0x74, I_FILE_ACL_HIGH = 0x76, I_UID_HIGH = 0x78,
	I_GID_HIGH = 0x7a, I_EXTRA_ISIZE = 0x80, I_CTIME_EXTRA = 0x84, I_MTIME_EXTRA = 0x88, I_CRTIME = 0x90,
	I_CRTIME_EXTRA = 0x94,
	I_BLOCK_SIZE = 60,        /* bytes of I_BLOCK */
};

#define NOTE_SIZE sizeof(((struct fs_inode *)NULL)->note)
/* Into a note of NOTE_SIZE bytes; the first thing that is wrong is what gets told. */
void ext_note(char *note, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Sets .untrusted; the first reason is kept. */
void ext_distrust(struct ext *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A whole block, which must be one of the filesystem's. */
int ext_read_block(struct ext *e, uint64_t block, void *ret, struct error *err);

/* layout.c */
/* Fills e->meta and distrusts where fixed structures overlap or lie outside. */
int ext_layout_init(struct ext *e, struct error *err);
static inline uint64_t ext_cluster(const struct ext *e, uint64_t block)
{
	return (block - e->first_block) >> e->ratio_bits;
}
bool ext_group_flag(struct ext *e, uint32_t group, uint16_t flag);
/* Inodes of the group's table that may have been used ever; what follows was never initialised. */
uint32_t ext_group_inodes(struct ext *e, uint32_t group);
uint32_t ext_group_clusters(const struct ext *e, uint32_t group);
/* The group's block bitmap (ret: clusters_per_group / 8 bytes), computed where it is uninitialised; *ret_ok false when its checksum is wrong. */
int ext_block_bitmap(struct ext *e, uint32_t group, uint8_t *ret, bool *ret_ok, struct error *err);
/* The same of its inodes (ret: inodes_per_group / 8 bytes). */
int ext_inode_bitmap(struct ext *e, uint32_t group, uint8_t *ret, bool *ret_ok, struct error *err);
int ext_used(struct fs *fs, fs_range_fn fn, void *cookie, struct error *err);

/* map.c */
struct ext_visitor {
	/* A run of data blocks. Nonzero stops; ext_map then returns -1. */
	int (*data)(void *cookie, uint64_t logical, uint64_t physical, uint64_t count, bool unwritten);
	/* NULL, or told of each extent-tree or indirect block before it is read. */
	int (*tree)(void *cookie, uint64_t block);
	void *cookie;
};
/* The inode must have blocks (ext_has_blocks). Damage goes into note, and what can be read is still visited. */
int ext_map(struct ext *e, uint32_t number, const uint8_t *inode, const struct ext_visitor *v, char *note);

/* inode.c */
bool ext_is_live(const uint8_t *inode);
bool ext_is_fast_symlink(struct ext *e, const uint8_t *inode);
/* Whether I_BLOCK maps blocks (rather than holding a device number, a link's target or inline data). */
bool ext_has_blocks(struct ext *e, const uint8_t *inode);
uint64_t ext_file_acl(struct ext *e, const uint8_t *inode);
uint64_t ext_size(struct ext *e, const uint8_t *inode);
bool ext_inode_csum_ok(struct ext *e, uint32_t number, const uint8_t *inode);
/* ret holds e->inode_size bytes. */
int ext_read_inode(struct ext *e, uint64_t number, uint8_t *ret, struct error *err);
/* Every inode of the tables, used or not, ascending. inode is NULL where it cannot be read. Nonzero stops and is returned. */
typedef int (*ext_scan_fn)(void *cookie, uint32_t number, const uint8_t *inode);
int ext_scan(struct ext *e, ext_scan_fn fn, void *cookie, struct error *err);
/* Data extents of an inode in bytes, merged; the array is the caller's. -1 only when memory is out. */
int ext_extents(struct ext *e, uint32_t number, const uint8_t *inode, struct fs_extent **ret, size_t *ret_count,
                char *note);
/* The first len bytes of what the extents map, holes as zeros. */
int ext_read_mapped(struct ext *e, const struct fs_extent *extents, size_t count, uint8_t *ret, uint64_t len,
                    struct error *err);
int ext_inodes(struct fs *fs, fs_inode_fn fn, void *cookie, struct error *err);
int ext_inode(struct fs *fs, uint64_t number, struct fs_inode *ret, struct error *err);

/* xattr.c. -1 only when memory is out; damage goes into note. */
int ext_xattrs(struct ext *e, uint32_t number, const uint8_t *inode, struct attr *attr, char *note);
/* Inline content: I_BLOCK, then system.data. Exactly size bytes; *ret NULL where the inode does not hold as many. */
int ext_inline_data(struct ext *e, const uint8_t *inode, uint64_t size, uint8_t **ret, char *note);

/* dir.c */
int ext_entries(struct fs *fs, uint64_t directory, fs_entry_fn fn, void *cookie, struct error *err);

/* One block of a directory. Nonzero is the callback's; damage is set (and kept) where the block is unreadable or damaged. */
struct ext_dir {
	uint32_t number, generation;
	uint8_t *buffer;          /* of a block */
};
int ext_dir_block(struct ext *e, const struct ext_dir *dir, uint64_t block, fs_entry_fn fn, void *cookie,
                  struct error *damage);
#define EXT_DIR_HOLE "it has a hole, or not the size that it claims"

/* check.c. Distrusts; -1 only when memory is out. */
int ext_check(struct ext *e, struct error *err);

#endif
