/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The local cache of what was read of metadata packs, and of snapshots: for repositories behind a network, where every look into a folder would take round trips.
 *
 * Bytes lie in it as they lie in the store, sealed: whoever takes some out authenticates them, drops what does not open, and goes to the store. Names are those of immutable things, so nothing in
 * it is ever out of date. It is a convenience: whatever fails here is silently done without, and after the first write that fails (a full disk) nothing more is written.
 *
 * One limit holds for all repositories below one root. What was not used for the longest time goes first. Processes may share it: a file appears whole, by a rename; each process counts what it writes,
 * and looks at the whole again after a sixteenth of the limit, so that several together go beyond it by no more than that each.
 *
 * Threads: any, any function but block_cache_free. docs/decisions/metadata-cache.md says why so.
 */
#ifndef REPO_BLOCK_CACHE_H
#define REPO_BLOCK_CACHE_H

#include "base/buf.h"
#include "base/id.h"

struct block_cache;

/* What is kept of the pack or object of an id: a block by its number, or one of these. */
enum { BLOCK_CACHE_HEAD = 0xfffffffe, BLOCK_CACHE_OBJECT = 0xffffffff };

/* folder: of one repository, below the root that others share; made when something is put in. limit: bytes. NULL when memory is out. */
struct block_cache *block_cache_new(const char *folder, uint64_t limit);
void block_cache_free(struct block_cache *c);

/* Replaces *ret by what was put in. A file that cannot be read, or is empty or longer than max, is not there. c may be NULL in all of these: nothing is there. */
bool block_cache_get(struct block_cache *c, const struct id *id, uint32_t part, size_t max, struct buf *ret);
void block_cache_put(struct block_cache *c, const struct id *id, uint32_t part, const void *data, size_t len);
/* It did not authenticate. */
void block_cache_drop(struct block_cache *c, const struct id *id, uint32_t part);

/* Drops all of packs that are not known any more (ids ascending: ids.h). state is what they were computed from: nothing is done while it is what it was the last time, in whatever process. */
bool block_cache_is_tidy(struct block_cache *c, const struct id *state);
void block_cache_tidy(struct block_cache *c, const struct id *state, const struct buf *packs);

#endif
