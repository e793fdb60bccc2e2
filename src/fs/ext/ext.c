/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fs/ext/ext.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SUPER_AT 1024
#define SUPER_SIZE 1024
#define MMP_MAGIC 0x004d4d50u
#define MMP_CLEAN 0xff4d4d50u
#define JOURNAL_MAGIC 0xc03b3998u
enum { JOURNAL_BLOCKS = 0x10, JOURNAL_START = 0x1c }; /* in the journal's superblock, big-endian */

/* Fields of the superblock that are judged before libext2fs sees them. */
enum {
	S_BLOCKS_COUNT = 0x04, S_FIRST_DATA_BLOCK = 0x14, S_LOG_BLOCK_SIZE = 0x18, S_LOG_CLUSTER_SIZE = 0x1c,
	S_BLOCKS_PER_GROUP = 0x20, S_CLUSTERS_PER_GROUP = 0x24, S_INODES_PER_GROUP = 0x28, S_MAGIC = 0x38,
	S_REV_LEVEL = 0x4c, S_INODE_SIZE = 0x58, S_COMPAT = 0x5c, S_INCOMPAT = 0x60, S_RO_COMPAT = 0x64, S_UUID = 0x68,
	S_LABEL = 0x78, S_DESC_SIZE = 0xfe, S_BLOCKS_COUNT_HIGH = 0x150,
};

/* What this reader understands; not what libext2fs does. */
#define INCOMPAT_KNOWN                                                                                               \
	(EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | EXT3_FEATURE_INCOMPAT_JOURNAL_DEV |        \
	 EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT |               \
	 EXT4_FEATURE_INCOMPAT_MMP | EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_EA_INODE |                \
	 EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR | EXT4_FEATURE_INCOMPAT_INLINE_DATA |      \
	 EXT4_FEATURE_INCOMPAT_ENCRYPT | EXT4_FEATURE_INCOMPAT_CASEFOLD)
#define RO_COMPAT_BTREE_DIR 0x4u
#define RO_COMPAT_KNOWN                                                                                              \
	(EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | RO_COMPAT_BTREE_DIR |             \
	 EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |     \
	 EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_QUOTA | EXT4_FEATURE_RO_COMPAT_BIGALLOC |       \
	 EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | EXT4_FEATURE_RO_COMPAT_READONLY | EXT4_FEATURE_RO_COMPAT_PROJECT |   \
	 EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS | EXT4_FEATURE_RO_COMPAT_VERITY | EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)

void ext_distrust(struct ext *e, const char *fmt, ...)
{
	struct fs_info *info = &e->base.info;
	if (info->untrusted)
		return;
	info->untrusted = true;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(info->reason, sizeof info->reason, fmt, ap);
	va_end(ap);
}

void ext_note(char *note, const char *fmt, ...)
{
	if (*note)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(note, NOTE_SIZE, fmt, ap);
	va_end(ap);
}

int ext_read_block(struct ext *e, uint64_t block, void *ret, struct error *err)
{
	if (block >= e->blocks)
		return error_set(err, ERR_CORRUPT, "block %" PRIu64 " lies outside of the filesystem", block);
	return cache_read(e->cache, block * e->block_size, ret, e->block_size, err);
}

static int ext_probe(struct block *b, bool *ret_found, struct error *err)
{
	uint8_t magic[2] = { 0 };
	if (b->size >= SUPER_AT + SUPER_SIZE && block_read(b, SUPER_AT + S_MAGIC, magic, sizeof magic, err) < 0)
		return -1;
	*ret_found = get_le16(magic) == EXT2_SUPER_MAGIC;
	return 0;
}

/* blkid's rule: by the oldest kernel driver that could mount it. */
static const char *type_of(const uint8_t *super)
{
	uint32_t incompat = get_le32(super + S_INCOMPAT);
	uint32_t ro_compat = get_le32(super + S_RO_COMPAT);
	if (incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV)
		return "jbd";
	if (incompat & ~(uint32_t)(EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER |
	                           EXT2_FEATURE_INCOMPAT_META_BG) ||
	    ro_compat & ~(uint32_t)(EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
	                            RO_COMPAT_BTREE_DIR))
		return "ext4";
	return get_le32(super + S_COMPAT) & EXT3_FEATURE_COMPAT_HAS_JOURNAL ? "ext3" : "ext2";
}

static void describe(struct ext *e, const uint8_t *super)
{
	struct fs_info *info = &e->base.info;
	const uint8_t *u = super + S_UUID;
	snprintf(info->type, sizeof info->type, "%s", type_of(super));
	snprintf(info->uuid, sizeof info->uuid, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
	         u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	snprintf(info->label, sizeof info->label, "%.16s", (const char *)super + S_LABEL);
	info->size = info->used = e->base.block->size;
	uint32_t log = get_le32(super + S_LOG_BLOCK_SIZE);
	info->block_size = log <= 6 ? 1024u << log : 1024;
}

static int bad_super(struct error *err, const char *what)
{
	return error_set(err, ERR_CORRUPT, "the superblock is damaged: %s makes no sense", what);
}

/* Sizes that later arithmetic and allocations rely on; all that libext2fs allocates follows from these. */
static int judge_geometry(struct ext *e, const uint8_t *super, struct error *err)
{
	bool bigalloc = get_le32(super + S_RO_COMPAT) & EXT4_FEATURE_RO_COMPAT_BIGALLOC;
	bool wide = get_le32(super + S_INCOMPAT) & EXT4_FEATURE_INCOMPAT_64BIT;
	uint32_t log = get_le32(super + S_LOG_BLOCK_SIZE);
	uint32_t cluster_log = bigalloc ? get_le32(super + S_LOG_CLUSTER_SIZE) : log;
	if (log > 6 || cluster_log < log || cluster_log > EXT2_MAX_CLUSTER_LOG_SIZE - EXT2_MIN_CLUSTER_LOG_SIZE)
		return bad_super(err, "its block size");
	e->block_size = 1024u << log;
	e->ratio_bits = cluster_log - log;
	e->first_block = get_le32(super + S_FIRST_DATA_BLOCK);
	if (e->first_block != (e->block_size == 1024 && !bigalloc))
		return bad_super(err, "its first block");
	e->blocks = get_le32(super + S_BLOCKS_COUNT) | (wide ? (uint64_t)get_le32(super + S_BLOCKS_COUNT_HIGH) << 32 : 0);
	if (e->blocks <= e->first_block || e->blocks >> 48)
		return bad_super(err, "its number of blocks");
	uint32_t per_group = get_le32(super + S_BLOCKS_PER_GROUP);
	e->clusters_per_group = bigalloc ? get_le32(super + S_CLUSTERS_PER_GROUP) : per_group;
	if (e->clusters_per_group < 8 || e->clusters_per_group % 8 || e->clusters_per_group > 8 * e->block_size ||
	    per_group != (uint64_t)e->clusters_per_group << e->ratio_bits)
		return bad_super(err, "its number of blocks in a group");
	e->inodes_per_group = get_le32(super + S_INODES_PER_GROUP);
	if (!e->inodes_per_group || e->inodes_per_group % 8 || e->inodes_per_group > 8 * e->block_size)
		return bad_super(err, "its number of inodes in a group");
	e->inode_size = get_le32(super + S_REV_LEVEL) ? get_le16(super + S_INODE_SIZE) : EXT2_GOOD_OLD_INODE_SIZE;
	if (e->inode_size < EXT2_GOOD_OLD_INODE_SIZE || e->inode_size > e->block_size ||
	    e->inode_size & (e->inode_size - 1))
		return bad_super(err, "its size of an inode");
	uint64_t groups = (e->blocks - e->first_block + per_group - 1) / per_group;
	uint32_t descriptor = wide ? get_le16(super + S_DESC_SIZE) : EXT2_MIN_DESC_SIZE;
	if (descriptor < EXT2_MIN_DESC_SIZE || descriptor > EXT2_MAX_DESC_SIZE || descriptor & (descriptor - 1))
		return bad_super(err, "its size of a group descriptor");
	if (groups > UINT32_MAX || groups * descriptor > e->base.block->size)
		return error_set(err, ERR_CORRUPT, "the superblock is damaged, or the device was cut off: %" PRIu64
		                 " block groups have no room in %" PRIu64 " bytes", groups, e->base.block->size);
	e->groups = (uint32_t)groups;
	e->clusters = (e->blocks - e->first_block + ((uint64_t)1 << e->ratio_bits) - 1) >> e->ratio_bits;
	return 0;
}

static int open_lib(struct ext *e, struct error *err)
{
	char name[EXT_IO_NAME_SIZE];
	e->io.cache = e->cache;
	ext_io_name(&e->io, name);
	errcode_t rc = ext2fs_open2(name, NULL,
	                            EXT2_FLAG_64BITS | EXT2_FLAG_FORCE | EXT2_FLAG_SKIP_MMP | EXT2_FLAG_IGNORE_CSUM_ERRORS, 0,
	                            0, &ext_io_manager, &e->lib);
	if (!rc)
		return 0;
	e->lib = NULL;
	if (e->io.err.kind != ERR_NONE) {
		if (err)
			*err = e->io.err;
		return error_add(err, "read the group descriptors");
	}
	if (rc == EXT2_ET_NO_MEMORY)
		return error_set(err, ERR_NOMEM, "out of memory");
	return error_set(err, ERR_CORRUPT, "the superblock is damaged (libext2fs error %ld)", (long)rc);
}

/* Somebody has it mounted, or had when the machine stopped. */
static void judge_mmp(struct ext *e)
{
	if (!ext2fs_has_feature_mmp(e->lib->super) || !e->lib->super->s_mmp_block)
		return;
	CLEAN_FREE uint8_t *block = malloc(e->block_size);
	if (!block || ext_read_block(e, e->lib->super->s_mmp_block, block, NULL) < 0)
		ext_distrust(e, "its multiple-mount block cannot be read");
	else if (get_le32(block) != MMP_MAGIC)
		ext_distrust(e, "its multiple-mount block is damaged");
	else if (!ext2fs_mmp_csum_verify(e->lib, (struct mmp_struct *)(void *)block))
		ext_distrust(e, "the checksum of its multiple-mount block is wrong");
	else if (get_le32(block + 4) != MMP_CLEAN)
		ext_distrust(e, "it may be mounted elsewhere (multiple-mount protection)");
}

/* The flag in the superblock and the journal itself must agree that nothing waits to be replayed. */
static void judge_journal(struct ext *e)
{
	uint32_t number = e->lib->super->s_journal_inum;
	if (!ext2fs_has_feature_journal(e->lib->super) || !number || e->base.info.untrusted)
		return;
	CLEAN_FREE uint8_t *inode = malloc(e->inode_size);
	CLEAN_FREE uint8_t *block = malloc(e->block_size);
	CLEAN_FREE struct fs_extent *extents = NULL;
	size_t count = 0;
	char note[NOTE_SIZE] = "";
	if (!inode || !block || ext_read_inode(e, number, inode, NULL) < 0 || !ext_is_live(inode) ||
	    !ext_has_blocks(e, inode) || ext_extents(e, number, inode, &extents, &count, note) < 0 || *note ||
	    ext_read_mapped(e, extents, count, block, e->block_size, NULL) < 0)
		ext_distrust(e, "its journal cannot be read%s%s", *note ? ": " : "", note);
	else if (get_be32(block) != JOURNAL_MAGIC)
		ext_distrust(e, "its journal is damaged");
	else if (get_be32(block + JOURNAL_START))
		ext_distrust(e, "its journal has changes that may not be in place yet");
	uint64_t mapped = 0;
	for (size_t i = 0; i < count; i++)
		if (extents[i].logical == mapped * e->block_size)
			mapped += extents[i].length / e->block_size;
	if (!e->base.info.untrusted && mapped < get_be32(block + JOURNAL_BLOCKS))
		ext_distrust(e, "its journal has a hole");
}

/* What the superblock and the descriptors say of themselves. */
static void judge_super(struct ext *e)
{
	struct ext2_super_block *super = e->lib->super;
	uint32_t unknown = super->s_feature_ro_compat & ~RO_COMPAT_KNOWN;
	if (!ext2fs_verify_csum_type(e->lib, e->lib->orig_super) ||
	    !ext2fs_superblock_csum_verify(e->lib, e->lib->orig_super))
		ext_distrust(e, "the superblock's checksum is wrong");
	if (unknown)
		ext_distrust(e, "it uses features that are not known here (ro_compat 0x%x)", unknown);
	if (ext2fs_has_feature_journal_needs_recovery(super))
		ext_distrust(e, "its journal has changes that are not yet in place: it was not unmounted, or is mounted");
	if (super->s_state & EXT2_ERROR_FS)
		ext_distrust(e, "it is marked as having errors: run e2fsck");
	if (!(super->s_state & EXT2_VALID_FS) || super->s_state & EXT3_ORPHAN_FS)
		ext_distrust(e, "it was not unmounted cleanly, or is mounted");
	if (super->s_last_orphan || ext2fs_has_feature_orphan_present(super))
		ext_distrust(e, "deleted files wait to be released: it was not unmounted cleanly");
	if (ext2fs_has_feature_shared_blocks(super))
		ext_distrust(e, "its files share blocks");
	if (e->blocks > e->base.block->size / e->block_size)
		ext_distrust(e, "it is larger (%" PRIu64 " blocks of %u) than its device (%" PRIu64 " bytes)", e->blocks,
		             e->block_size, e->base.block->size);
	if (super->s_rev_level && super->s_first_ino != EXT2_GOOD_OLD_FIRST_INO)
		ext_distrust(e, "its first inode is %u, which is unusual", super->s_first_ino);
	judge_mmp(e);
	for (uint32_t g = 0; g < e->groups && !e->base.info.untrusted; g++)
		if (!ext2fs_group_desc_csum_verify(e->lib, g))
			ext_distrust(e, "the checksum of the descriptor of group %" PRIu32 " is wrong", g);
}

static void judge_root(struct ext *e)
{
	CLEAN_FREE uint8_t *inode = malloc(e->inode_size);
	struct error err = { 0 };
	if (inode && ext_read_inode(e, EXT2_ROOT_INO, inode, &err) == 0 && ext_is_live(inode) &&
	    S_ISDIR(get_le16(inode + I_MODE))) {
		e->base.info.walkable = true;
		return;
	}
	if (err.kind != ERR_NONE)
		ext_distrust(e, "the root directory cannot be read: %s", err.text);
	else
		ext_distrust(e, "it has no root directory");
}

static int load(struct ext *e, struct error *err)
{
	uint8_t super[SUPER_SIZE];
	if (block_read(e->base.block, SUPER_AT, super, sizeof super, err) < 0)
		return error_add(err, "superblock");
	describe(e, super);
	uint32_t incompat = get_le32(super + S_INCOMPAT);
	if (get_le32(super + S_REV_LEVEL) > EXT2_DYNAMIC_REV || incompat & ~(uint32_t)INCOMPAT_KNOWN) {
		ext_distrust(e, "it uses features that are not known here (revision %u, incompat 0x%x)",
		             get_le32(super + S_REV_LEVEL), incompat & ~(uint32_t)INCOMPAT_KNOWN);
		return 0;
	}
	if (incompat & EXT3_FEATURE_INCOMPAT_JOURNAL_DEV) {
		snprintf(e->base.info.reason, sizeof e->base.info.reason, "a journal device: it has no files");
		return 0;
	}
	if (judge_geometry(e, super, err) < 0 || open_lib(e, err) < 0)
		return -1;
	struct fs_info *info = &e->base.info;
	e->group_csum = ext2fs_has_group_desc_csum(e->lib);
	info->block_size = e->block_size << e->ratio_bits;
	if (e->blocks <= info->size / e->block_size)
		info->size = e->blocks * e->block_size;
	uint64_t free_blocks = ext2fs_free_blocks_count(e->lib->super);
	info->used = free_blocks < e->blocks ? (e->blocks - free_blocks) * e->block_size : 0;
	judge_super(e);
	if (ext_layout_init(e, err) < 0)
		return -1;
	judge_journal(e);
	judge_root(e);
	return info->untrusted ? 0 : ext_check(e, err);
}

static void ext_close(struct fs *fs)
{
	struct ext *e = (struct ext *)fs;
	if (!e)
		return;
	if (e->lib)
		ext2fs_free(e->lib);
	bits_done(&e->meta);
	cache_free(e->cache);
	free(e);
}

static void clean_ext(struct ext **e)
{
	ext_close((struct fs *)*e);
}

static int ext_open(struct fs **ret, struct block *b, struct error *err)
{
	CLEAN(clean_ext) struct ext *e = calloc(1, sizeof *e);
	if (!e)
		return error_set(err, ERR_NOMEM, "out of memory");
	e->base = (struct fs){ .driver = &ext_driver, .block = b };
	e->cache = cache_new(b);
	if (!e->cache)
		return error_set(err, ERR_NOMEM, "out of memory");
	if (load(e, err) < 0)
		return -1;
	*ret = &TAKE(e)->base;
	return 0;
}

static uint64_t ext_root(struct fs *fs)
{
	return fs->info.walkable ? EXT2_ROOT_INO : 0;
}

const struct fs_driver ext_driver = {
	.name = "ext",
	.probe = ext_probe,
	.open = ext_open,
	.used = ext_used,
	.inodes = ext_inodes,
	.root = ext_root,
	.entries = ext_entries,
	.inode = ext_inode,
	.close = ext_close,
};
