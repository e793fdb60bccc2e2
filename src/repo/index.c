/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/index.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "repo/index_internal.h"
#include "repo/object.h"

/* --- segments ---------------------------------------------------------------- */

static int append_loaded(struct index *x, struct loaded *segment, struct error *err)
{
	struct loaded *grown = realloc(x->segments, (x->count + 1) * sizeof *grown);
	if (!grown)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	if (segment->view.pack_count > UINT32_MAX - x->rows)
		return error_set(err, ERR_CORRUPT, "load index: the segments name more than 2^32 packs");
	x->segments = grown;
	segment->first_row = x->rows;
	x->rows += segment->view.pack_count;
	segment->first_chunk = x->chunks;
	x->chunks += segment->view.chunk_count;
	if (segment->mapped)
		x->mapped_bytes += segment->len;
	x->segments[x->count++] = *segment;
	return 0;
}

static uint32_t count_by_session(const struct segment *s)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < s->pack_count; i++) {
		struct segment_pack pack;
		segment_pack_at(s, i, &pack);
		count += pack.how == SEAL_BY_SESSION;
	}
	return count;
}

int index_read_segment(struct store *store, const struct seal_keys *keys, const struct id *id, struct buf *ret, struct error *err)
{
	char key[OBJECT_KEY_MAX];
	struct segment view;
	struct seal_by by;
	if (object_read_by(store, keys, SEAL_INDEX, id, INDEX_SEGMENT_MAX, NULL, &by, ret, err) < 0)
		return -1;
	object_key(SEAL_INDEX, id, key);
	if (by.how == SEAL_BY_SESSION && (segment_view(&view, ret->data, ret->len, err) < 0 || count_by_session(&view) != view.pack_count))
		return error_set(err, ERR_CORRUPT, "%s was written with a write-only key and names packs that were not", key);
	return 0;
}

int index_add_loaded(struct index *x, struct loaded *segment, struct error *err)
{
	if (segment_view(&segment->view, segment->bytes, segment->len, err) < 0)
		return -1;
	segment->by_session = count_by_session(&segment->view) > 0;
	pthread_rwlock_wrlock(&x->loading);
	int done = append_loaded(x, segment, err);
	if (done == 0 && segment->mapped && x->mapped_bytes > x->resident)
		madvise(segment->bytes, segment->len, MADV_DONTNEED); /* of many segments, what looking at each has touched adds up */
	pthread_rwlock_unlock(&x->loading);
	return done;
}

void index_unload(struct loaded *segment)
{
	free(segment->stands);
	if (segment->mapped) {
		munmap(segment->bytes, segment->len);
		close(segment->fd);
	} else {
		free(segment->bytes);
	}
}

/* --- opening ----------------------------------------------------------------- */

static struct index *new_index(struct error *err)
{
	struct index *x = calloc(1, sizeof *x);
	if (!x) {
		error_set(err, ERR_NOMEM, "load index: out of memory");
		return NULL;
	}
	pthread_mutex_init(&x->lock, NULL);
	pthread_mutex_init(&x->refreshing, NULL);
	pthread_rwlock_init(&x->loading, NULL);
	x->resident = INDEX_RESIDENT;
	return x;
}

/* Who hears of damage; fn NULL: the cache is used, and damage ends the work. */
struct doubt {
	index_damaged_fn fn;
	void *cookie;
};

/* *ret_vanished: a listed segment is not there (any more). */
static int load_all(struct index *x, const struct buf *listed, const struct doubt *doubt, bool *ret_vanished, struct error *err)
{
	CLEAN_FREE bool *covered = calloc(listed->len / ID_SIZE + 1, sizeof *covered);
	if (!covered)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	if (x->cache && !doubt->fn)
		index_cache_load_merged(x, listed, covered);
	for (size_t at = 0; at < listed->len; at += ID_SIZE) {
		struct error why = { 0 };
		struct id id;
		memcpy(id.b, listed->data + at, ID_SIZE);
		if (covered[at / ID_SIZE] || index_load_segment(x, &id, doubt->fn != NULL, &why) == 0)
			continue;
		if (why.kind == ERR_NOT_FOUND) {
			*ret_vanished = true;
			continue;
		}
		if (doubt->fn && why.kind != ERR_NOMEM && doubt->fn(doubt->cookie, &id, &why) == 0)
			continue;
		if (err)
			*err = why;
		return -1;
	}
	return 0;
}

static void unload_all(struct index *x)
{
	for (size_t i = 0; i < x->count; i++)
		index_unload(&x->segments[i]);
	x->count = x->rows = 0;
	x->chunks = x->mapped_bytes = 0;
}

int index_list_segments(struct index *x, struct buf *ret, struct error *err)
{
	if (ids_list(x->store, object_prefix(SEAL_INDEX), ret, err) < 0)
		return error_add(err, "load index");
	if (!buf_ok(ret))
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	if (ret->len)
		qsort(ret->data, ret->len / ID_SIZE, ID_SIZE, index_by_id);
	return 0;
}

static int open_index(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, const struct doubt *doubt, struct error *err)
{
	CLEAN(index_cleanup) struct index *x = new_index(err);
	CLEAN_BUF struct buf ids = BUF_INIT;
	bool vanished = false;
	if (!x)
		return -1;
	x->store = store;
	x->keys = keys;
	index_cache_begin(x, cache);
	if (index_list_segments(x, &ids, err) < 0 || load_all(x, &ids, doubt, &vanished, err) < 0)
		return -1;
	if (x->cache && !doubt->fn && !vanished && index_cache_merge(x, &ids)) {
		unload_all(x);
		if (load_all(x, &ids, doubt, &vanished, err) < 0)
			return -1;
	}
	if (vanished && index_refresh(x, NULL, err) < 0)
		return -1;
	if (x->cache)
		index_cache_tidy(x, &ids);
	*ret = TAKE(x);
	return 0;
}

int index_open(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, struct error *err)
{
	return open_index(ret, store, keys, cache, &(struct doubt){ 0 }, err);
}

int index_open_anew(struct index **ret, struct store *store, const struct seal_keys *keys, const char *cache, index_damaged_fn fn, void *cookie, struct error *err)
{
	return open_index(ret, store, keys, cache, &(struct doubt){ fn, cookie }, err);
}

int index_open_files(struct index **ret, char *const *paths, size_t count, struct error *err)
{
	CLEAN(index_cleanup) struct index *x = new_index(err);
	if (!x)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct loaded segment = { 0 };
		bool found = false;
		if (index_map_file(paths[i], &segment, &found, err) < 0)
			return -1;
		if (!found)
			return error_set(err, ERR_NOT_FOUND, "no index segment at %s", paths[i]);
		if (index_add_loaded(x, &segment, err) < 0)
			return -1;
	}
	*ret = TAKE(x);
	return 0;
}

void index_set_resident(struct index *x, uint64_t bytes)
{
	x->resident = bytes;
}

void index_free(struct index *x)
{
	if (!x)
		return;
	unload_all(x);
	free(x->segments);
	index_claims_done(&x->claims);
	buf_done(&x->marked);
	buf_done(&x->trusted);
	buf_done(&x->absent);
	pthread_mutex_destroy(&x->refreshing);
	pthread_mutex_destroy(&x->lock);
	pthread_rwlock_destroy(&x->loading);
	free(x->cache);
	free(x);
}

/* --- adding ------------------------------------------------------------------ */

static int adopt(struct index *x, const struct id *id, const void *bytes, size_t len, struct error *err)
{
	struct loaded segment = { .id = *id, .own = true, .len = len, .bytes = malloc(len) };
	if (!segment.bytes)
		return error_set(err, ERR_NOMEM, "load index: out of memory");
	memcpy(segment.bytes, bytes, len);
	if (index_add_loaded(x, &segment, err) < 0) {
		index_unload(&segment);
		return -1;
	}
	return 0;
}

int index_adopt(struct index *x, const void *bytes, size_t len, struct error *err)
{
	return adopt(x, &(struct id){ 0 }, bytes, len, err);
}

int index_add(struct index *x, const struct id *id, const void *bytes, size_t len, struct error *err)
{
	struct loaded segment = { .id = *id, .own = true };
	if (!index_cache_add(x, &segment, bytes, len) && adopt(x, id, bytes, len, err) < 0)
		return -1;
	return index_claims_drop(x, bytes, len, err);
}

/* --- going through it --------------------------------------------------------- */

uint64_t index_row_limit(const struct index *x)
{
	return x->chunks;
}

int index_packs(const struct index *x, struct buf *ret, struct error *err)
{
	buf_clear(ret);
	for (size_t i = 0; i < x->count; i++) {
		const struct segment *s = &x->segments[i].view;
		if (x->segments[i].gone)
			continue;
		for (uint32_t row = 0; row < s->pack_count; row++)
			buf_add(ret, s->packs + (size_t)row * SEGMENT_PACK_SIZE, ID_SIZE);
	}
	if (!buf_ok(ret))
		return error_set(err, ERR_NOMEM, "list packs: out of memory");
	if (ret->len)
		qsort(ret->data, ret->len / ID_SIZE, ID_SIZE, index_by_id);
	return 0;
}

/* Ids are random: their sum modulo 2 will do. */
void index_fingerprint(const struct index *x, struct id *ret)
{
	*ret = (struct id){ 0 };
	for (size_t i = 0; i < x->count; i++) {
		const struct loaded *s = &x->segments[i];
		const uint8_t *ids = s->merged ? s->stands : s->id.b;
		size_t len = s->gone ? 0 : s->merged ? s->stand_count * ID_SIZE : ID_SIZE;
		for (size_t at = 0; at < len; at++)
			ret->b[at % ID_SIZE] ^= ids[at];
	}
}

bool index_segment_is_gone(const struct index *x, size_t i)
{
	return x->segments[i].gone;
}

size_t index_segments(const struct index *x)
{
	return x->count;
}

const struct segment *index_segment(const struct index *x, size_t i)
{
	return &x->segments[i].view;
}

const struct id *index_segment_id(const struct index *x, size_t i)
{
	return &x->segments[i].id;
}

uint64_t index_chunks(const struct index *x)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < x->count; i++)
		sum += x->segments[i].gone ? 0 : x->segments[i].view.chunk_count;
	return sum;
}
