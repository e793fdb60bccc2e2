/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A small read cache for filesystem readers, which ask a block device for many small neighbouring pieces
 * (bitmaps, extent trees, directories). Lines are 64 KiB, so that a spinning disk reads a run rather than a
 * sector; 64 lines, 4 MiB at most. What is read through it must not change underneath.
 * One thread at a time, as a struct fs is.
 */
#ifndef FS_CACHE_H
#define FS_CACHE_H

#include "block/block.h"

struct cache;

/* The block device stays the caller's and must outlive it. NULL when memory is out. */
struct cache *cache_new(struct block *b);
void cache_free(struct cache *c);
DEFINE_CLEAN(cache, cache_free)
#define CLEAN_CACHE CLEAN(cache_cleanup)

/* As block_read. A bad sector fails only the reads that touch it, not its neighbours in the line. */
int cache_read(struct cache *c, uint64_t offset, void *data, size_t len, struct error *err);

#endif
