/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which chunk lies where: all index segments of the repository, plus what this process has claimed and not yet indexed.
 *
 * Segments are fetched once, kept decrypted in a local cache folder (mode 0600; chunk ids are keyed hashes and tell nothing), memory-mapped and searched in place.
 * The resident part is bounded: where the mappings are larger than INDEX_RESIDENT, the chunk tables are read by pieces in place of being touched, and pages that are
 * touched all the same are given back before they add up. A damaged cache file cannot do harm: a chunk id matches by 32 bytes or not at all, and a wrong place fails to
 * authenticate; twofold check fetches every segment anew. Many segments are merged into one file in the cache (index_merge.h).
 * Threads: index_find, index_claim and index_add from any; the others while no other runs.
 */
#ifndef REPO_INDEX_H
#define REPO_INDEX_H

#include <stdatomic.h>

#include "base/id.h"
#include "repo/format/segment.h"
#include "seal/seal.h"
#include "store/store.h"

#define INDEX_RESIDENT (96u << 20)
#define INDEX_SEGMENT_MAX (512u << 20) /* sealed bytes of one segment that is accepted */

/* Where a chunk lies. pack_row numbers packs across all segments: equal rows are equal packs, and places sort by (pack_row, block_offset). */
struct place {
	struct id pack;
	enum seal_kind kind;
	uint32_t pack_row, pack_size;
	uint32_t block, block_offset, sealed_length, raw_length;
	uint32_t offset, length; /* in the raw block */
	uint64_t row;            /* numbers chunks across all segments, in their order */
};

struct index;

/* Loads every segment in the store. cache: a folder, made where missing, or NULL for none. */
int index_open(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, struct error *err);
/* The same for who doubts the store: every segment is fetched from it (and the cache renewed), and one that is damaged is told to fn and left out. Nonzero from fn stops. */
typedef int (*index_damaged_fn)(void *cookie, const struct id *segment, const struct error *why);
int index_open_anew(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, index_damaged_fn fn, void *cookie, struct error *err);
void index_free(struct index *x);
DEFINE_CLEAN(index, index_free)

/* ret_found false: no segment holds it (claimed chunks are not found before their segment is added). */
int index_find(struct index *x, const struct id *id, bool *ret_found, struct place *ret, struct error *err);
/* True: the chunk is neither stored nor claimed, and is now claimed by the caller, who must store it. False: somebody has it. -1: out of memory. */
int index_claim(struct index *x, const struct id *id);
/* Adds a segment that this process has written; its chunks are no longer claims. bytes are copied. */
int index_add(struct index *x, const struct id *segment, const void *bytes, size_t len, struct error *err);
/* Adds a segment that exists only in memory: what packs without an index were found to hold. */
int index_adopt(struct index *x, const void *bytes, size_t len, struct error *err);
void index_forget_claims(struct index *x);
/* Replaces *ret by the ids of all packs that segments name, sorted, for index_packs_have. */
int index_packs(const struct index *x, struct buf *ret, struct error *err);
bool index_packs_have(const struct buf *packs, const struct id *pack);

size_t index_segments(const struct index *x);
const struct segment *index_segment(const struct index *x, size_t i);
const struct id *index_segment_id(const struct index *x, size_t i);
uint64_t index_chunks(const struct index *x);

/* Opens segments from files as they stand in the cache (for measuring). */
int index_open_files(struct index **ret, char *const *paths, size_t count, struct error *err);

#endif
