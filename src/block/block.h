/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random-access bytes: a disk, a partition of one, a file that holds a disk, memory, or a snapshot.
 *
 * What reads disks (part/, fs/) sees only this type, so the same code reads real disks and backups.
 * All functions may be called from several threads at once, for any one block device.
 * Offsets and lengths are in bytes; read and write need no alignment.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clean.h"
#include "base/error.h"

enum block_extent { BLOCK_DATA, BLOCK_ZERO /* reads as zeros, takes no space */ };

/* Called with ascending, adjoining ranges. Nonzero stops the walk, which then returns that value. */
typedef int (*block_extent_fn)(void *cookie, uint64_t offset, uint64_t length, enum block_extent kind);

struct block;

/* One kind of block device. Members that may be NULL say so. */
struct block_ops {
	const char *name;
	/* Exactly len bytes at offset, which lie within size (the wrapper has checked). May block. */
	int (*read)(struct block *b, uint64_t offset, void *data, size_t len, struct error *err);
	/* NULL: read-only. Same contract. */
	int (*write)(struct block *b, uint64_t offset, const void *data, size_t len, struct error *err);
	/* Where data is known to be. NULL: all is BLOCK_DATA. */
	int (*extents)(struct block *b, uint64_t offset, uint64_t len, block_extent_fn fn, void *cookie,
	               struct error *err);
	/* The range will be read soon. Never blocks for long. NULL: ignored. */
	void (*prefetch)(struct block *b, uint64_t offset, uint64_t len);
	/* Makes the range read as zeros, freeing space where possible. NULL: zeros are written. */
	int (*zero)(struct block *b, uint64_t offset, uint64_t len, struct error *err);
	/* The content of the range does not matter any more. NULL: nothing is done. Failure is ignored. */
	void (*discard)(struct block *b, uint64_t offset, uint64_t len);
	/* All that was written survives a power cut once this returns 0. NULL with write NULL. */
	int (*sync)(struct block *b, struct error *err);
	/* Frees b itself too. */
	void (*free)(struct block *b);
};

/* Implementations embed this as their first member. */
struct block {
	const struct block_ops *ops;
	uint64_t size;       /* bytes; fixed while open */
	uint32_t sector;     /* logical sector size, 512 or more, a power of two */
	char label[128];     /* what messages call it: "/dev/sda", "disk.img", "p1 of disk.img" */
};

/* A range outside of the device is ERR_INVALID with the numbers named, never a short read. */
int block_read(struct block *b, uint64_t offset, void *data, size_t len, struct error *err);
int block_write(struct block *b, uint64_t offset, const void *data, size_t len, struct error *err);
int block_extents(struct block *b, uint64_t offset, uint64_t len, block_extent_fn fn, void *cookie,
                  struct error *err);
void block_prefetch(struct block *b, uint64_t offset, uint64_t len);
int block_zero(struct block *b, uint64_t offset, uint64_t len, struct error *err);
void block_discard(struct block *b, uint64_t offset, uint64_t len);
int block_sync(struct block *b, struct error *err);
void block_free(struct block *b);
DEFINE_CLEAN(block, block_free)
#define CLEAN_BLOCK CLEAN(block_cleanup)

/* A regular file or a block device, told apart by itself. O_RDONLY, or O_RDWR with writable. Size and
 * sector of a device come from BLKGETSIZE64 and BLKSSZGET; a file's sector is 512, its size may be odd.
 * Writable, a device is opened exclusively: ERR_BUSY when it or a partition of it is mounted or claimed. */
int block_open_file(struct block **ret, const char *path, bool writable, struct error *err);
/* The same for what is already open (a file just created); fd becomes the block device's on success only. */
int block_open_fd(struct block **ret, int fd, const char *label, bool writable, struct error *err);
/* Copies nothing: data stays the caller's and must outlive it. Read-only unless writable. */
int block_open_memory(struct block **ret, void *data, size_t size, bool writable, struct error *err);
/* A window of parent, which stays the caller's and must outlive it. */
int block_open_slice(struct block **ret, struct block *parent, uint64_t offset, uint64_t size,
                     const char *label, struct error *err);

/* Zeros by plain writes, which allocate space where block_zero would free it. */
int block_write_zeros(struct block *b, uint64_t offset, uint64_t len, struct error *err);

/* True when every byte is zero. */
bool block_is_zero(const void *data, size_t len);

#endif
