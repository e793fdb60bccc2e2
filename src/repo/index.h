/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which chunk lies where: all index segments of the repository, plus what this process has claimed and not yet indexed.
 *
 * Segments are fetched once, kept decrypted in a local cache folder (mode 0600; chunk ids are keyed hashes and tell nothing), memory-mapped and searched in place.
 * The resident part is bounded: where the mappings are larger than INDEX_RESIDENT, the chunk tables are read by pieces in place of being touched, and pages that are
 * touched all the same are given back before they add up. A damaged cache file cannot do harm: a chunk id matches by 32 bytes or not at all, and a wrong place fails to
 * authenticate; twofold check fetches every segment anew. Many segments are merged into one file in the cache (index_merge.h).
 * What a collector deletes while the index is open: index_refresh forgets segments that are gone and loads new ones; index_mark names packs that are about to go.
 * Threads: index_find, index_claim, index_add and index_refresh from any; the others while no other runs.
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
	enum seal_how how; /* which key sealed the pack, as in struct segment_pack */
	uint16_t epoch;
	uint32_t pack_row, pack_size;
	uint32_t block, block_offset, sealed_length, raw_length;
	uint32_t offset, length; /* in the raw block */
	uint64_t row;            /* numbers chunks across all segments, in their order */
	bool marked;             /* the pack is about to go (index_mark), or was written with a write-only key, so that the row may be a lie: still to be read, not to be relied on */
};

struct index;

/* A segment from the store. One that a session's own key sealed may name only packs that are sealed so too: by that its rows are known wherever they are kept. */
int index_read_segment(struct store *store, const struct seal_keys *keys, const struct id *id, struct buf *ret, struct error *err);

/* Loads every segment in the store; with write-only keys only those that the cache has: what this machine wrote. cache: a folder, made where missing, or NULL for none. */
int index_open(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, struct error *err);
/* The same for who doubts the store: every segment is fetched from it (and the cache renewed), and one that is damaged is told to fn and left out. Nonzero from fn stops. */
typedef int (*index_damaged_fn)(void *cookie, const struct id *segment, const struct error *why);
int index_open_anew(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, index_damaged_fn fn, void *cookie, struct error *err);
void index_free(struct index *x);
DEFINE_CLEAN(index, index_free)

/* Lists the store's segments again: those that are gone are forgotten, new ones are loaded. Rows of packs, chunks and segments keep their numbers. ret_changed (may be NULL): whether there were any. */
int index_refresh(struct index *x, bool *ret_changed, struct error *err);
/* Counts index_refresh calls that changed something. */
unsigned index_generation(const struct index *x);
/* From now on packs in this set (ids one after the other, ascending) are marked, and all others are not; also in segments that come later. */
int index_mark(struct index *x, const struct buf *packs, struct error *err);
/* From now on rows count only where their pack is in this set too, or was added later by this process (index_add); what it added before must be in the set as well. A fenced session that wakes up may write a segment that names packs which are gone. */
int index_trust_only(struct index *x, const struct buf *packs, struct error *err);
/* Rows in this pack do not count any more: it is not in the store. */
int index_forget_pack(struct index *x, const struct id *pack, struct error *err);
/* Numbers of rows are below this. */
uint64_t index_row_limit(const struct index *x);

/* ret_found false: no segment holds it (claimed chunks are not found before their segment is added). A place in a pack that is not marked goes before one in a marked pack; a pack that was written with a write-only key comes last. */
int index_find(struct index *x, const struct id *id, bool *ret_found, struct place *ret, struct error *err);
/* Looks up many: fn gets the row (struct place.row) of each. With ids in ascending order and not much fewer than the index has chunks, this is many times as fast as one by one. Any thread, but
 * index_find is slow meanwhile. */
typedef void (*index_found_fn)(void *cookie, const struct id *id, bool found, uint64_t row);
void index_find_many(struct index *x, const struct id *ids, size_t count, index_found_fn fn, void *cookie);
/* True: the chunk is neither stored (in a pack that is not marked) nor claimed, and is now claimed by the caller, who must store it. False: somebody has it. -1: out of memory. */
int index_claim(struct index *x, const struct id *id);
/* The same for who stores a copy of a chunk that the index knows: true unless it is claimed. */
int index_claim_copy(struct index *x, const struct id *id);
/* Adds a segment that this process has written; its chunks are no longer claims. bytes are copied. */
int index_add(struct index *x, const struct id *segment, const void *bytes, size_t len, struct error *err);
/* Adds a segment that exists only in memory: what packs without an index were found to hold. */
int index_adopt(struct index *x, const void *bytes, size_t len, struct error *err);
void index_forget_claims(struct index *x);
/* Replaces *ret by the ids of all packs that segments name, ordered: see ids.h. */
int index_packs(const struct index *x, struct buf *ret, struct error *err);

/* Another one for other segments, the same for the same, whatever is merged or in the cache. */
void index_fingerprint(const struct index *x, struct id *ret);

/* Segments that were forgotten still have their number: index_segment_is_gone. */
size_t index_segments(const struct index *x);
bool index_segment_is_gone(const struct index *x, size_t i);
const struct segment *index_segment(const struct index *x, size_t i);
const struct id *index_segment_id(const struct index *x, size_t i);
uint64_t index_chunks(const struct index *x);
/* For who goes through a large index from front to back: pages that were touched are not kept. */
void index_give_back(struct index *x);
/* The system reads ahead of who goes through it, until it is called with false. */
void index_read_through(struct index *x, bool in_order);

/* Opens segments from files as they stand in the cache (for measuring). */
int index_open_files(struct index **ret, char *const *paths, size_t count, struct error *err);
/* In place of INDEX_RESIDENT, so that a test's small index is searched as a large one is. While no other function runs. */
void index_set_resident(struct index *x, uint64_t bytes);

#endif
