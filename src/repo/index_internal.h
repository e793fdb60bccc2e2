/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of the index share: index.c (opening, adding, going through it), index_cache.c, index_claims.c, index_find.c, index_refresh.c. */
#ifndef REPO_INDEX_INTERNAL_H
#define REPO_INDEX_INTERNAL_H

#include <pthread.h>

#include "base/clean.h"
#include "repo/ids.h"
#include "repo/index.h"

struct loaded {
	struct id id;
	struct segment view;
	uint8_t *bytes;
	size_t len;
	bool mapped;        /* else malloc'ed */
	int fd;             /* of the mapped file */
	bool merged;        /* stands for several segments; id is not set */
	uint8_t *stands;    /* merged: their ids, stand_count of them */
	size_t stand_count;
	bool own;           /* added by this process since the trusted packs were listed */
	bool by_session;    /* some of its packs are sealed by keys of sessions: never merged with others */
	bool gone;          /* deleted from the store: nothing is found in it any more */
	uint32_t first_row; /* of its packs, across all segments */
	uint64_t first_chunk; /* of its chunks, likewise */
};

/* The chunks that this process has taken on itself to store: an open-addressing set. */
struct claims {
	struct id *slots;
	bool *used;
	size_t cap, count;
};

struct index {
	struct store *store;         /* NULL for index_open_files */
	const struct seal_keys *keys;
	char *cache;
	pthread_rwlock_t loading;    /* guards segments, count, rows, mapped_bytes, marked, trusted, absent */
	struct loaded *segments;
	size_t count;
	uint32_t rows;
	uint64_t chunks, mapped_bytes;
	uint64_t resident;           /* INDEX_RESIDENT, but for tests */
	struct buf marked;           /* ids of packs, ascending */
	bool has_trusted;
	struct buf trusted;          /* likewise */
	struct buf absent;           /* packs that were found missing, a few, in no order */
	atomic_uint touches, generation;
	pthread_mutex_t refreshing;  /* one at a time */
	pthread_mutex_t lock;        /* guards claims */
	struct claims claims;
};

/* Ids in byte order, for qsort and bsearch. */
static inline int index_by_id(const void *a, const void *b)
{
	return memcmp(a, b, ID_SIZE);
}

/* --- index.c: segments -------------------------------------------------------------------- */
/* Takes segment's bytes over on success. */
int index_add_loaded(struct index *x, struct loaded *segment, struct error *err);
void index_unload(struct loaded *segment);
/* Appends the ids of all segments in the store to ret, and sorts it. */
int index_list_segments(struct index *x, struct buf *ret, struct error *err);

/* --- index_cache.c: the local cache --------------------------------------------------------- */
/* Makes the folder; where that cannot be done there is no cache. */
void index_cache_begin(struct index *x, const char *folder);
/* ret_found false: there is no such file, or it is empty. */
int index_map_file(const char *path, struct loaded *ret, bool *ret_found, struct error *err);
/* From the cache, or (anew: in any case) from the store. ERR_NOT_FOUND: it is not there any more. */
int index_load_segment(struct index *x, const struct id *id, bool anew, struct error *err);
/* Saves a segment that this process has written, and maps it; false: the caller keeps it in memory. */
bool index_cache_add(struct index *x, struct loaded *segment, const void *bytes, size_t len);
/* Loads merged files; covered has one flag for each listed segment: it stands in one of them. */
void index_cache_load_merged(struct index *x, const struct buf *listed, bool *covered);
/* Merges what is not merged yet, once there is enough of it; and the merged files with it when they are not far larger. A failure costs nothing but time.
 * True: there is a new merged file, which is to be loaded in place of what is. */
bool index_cache_merge(struct index *x, const struct buf *listed);
/* Removes what the cache holds of segments that the store does not list any more. One that another process wrote just now is fetched again some day. */
void index_cache_tidy(const struct index *x, const struct buf *listed);

/* --- index_claims.c ---------------------------------------------------------------------------- */
void index_claims_done(struct claims *c);
/* The chunks of this segment are no longer claims. */
int index_claims_drop(struct index *x, const void *bytes, size_t len, struct error *err);

/* --- index_find.c --------------------------------------------------------------------------------- */
/* In a pack that is not marked. */
bool index_is_settled(struct index *x, const struct id *id);

#endif
