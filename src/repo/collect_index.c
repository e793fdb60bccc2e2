/* SPDX-License-Identifier: GPL-3.0-or-later */
/* New index segments without the rows of packs that go; small segments are merged on the way. One segment is in memory at a time, and what is to be written. */
#include <stdlib.h>

#include "repo/collect_internal.h"
#include "repo/object.h"
#include "repo/rows.h"

#define SMALL_SEGMENT (SEGMENT_ROWS_CHUNKS / 4) /* chunks */

struct rewrite {
	struct collect *c;
	const struct buf *going;
	struct buf present;        /* packs, listed after the segments: rows of others are nobody's */
	struct segment_rows rows;  /* not written yet */
	struct buf replaced;       /* ids of segments that are to be deleted */
	struct buf small;          /* ids of segments that could be merged */
	uint64_t kept, written;
};

static void rewrite_done(struct rewrite *w)
{
	buf_done(&w->present);
	segment_rows_done(&w->rows);
	buf_done(&w->replaced);
	buf_done(&w->small);
}

/* A listing may be behind: a pack that is not listed is gone only where the store says so of its name. */
static bool stays(const struct rewrite *w, const struct id *pack)
{
	struct store *store = w->c->repo->store;
	char key[OBJECT_KEY_MAX];
	bool found;
	uint64_t size;
	if (ids_have(w->going, pack))
		return false;
	if (ids_have(&w->present, pack))
		return true;
	object_key(SEAL_PACK_DATA, pack, key);
	return store->ops->stat(store, key, &found, &size, NULL) < 0 || found;
}

static int by_chunk(const void *a, const void *b)
{
	return id_compare(&((const struct segment_chunk *)a)->id, &((const struct segment_chunk *)b)->id);
}

/* Two segments of which one was to replace the other name the same places. */
static bool same_place(const struct segment_chunk *a, const struct segment_chunk *b)
{
	return a->block == b->block && a->offset == b->offset;
}

static bool is_kept(const struct segment_chunk *list, size_t count, const struct segment_chunk *chunk)
{
	for (size_t i = list ? count : 0; i-- > 0 && id_equal(&list[i].id, &chunk->id);)
		if (same_place(&list[i], chunk))
			return true;
	return false;
}

/* A segment holds a chunk once. Its other places are not dropped: a collection that was given up, and wakes up, may have counted on one of them. They go into a segment of their own. */
static int split_doubles(struct segment_rows *rows, struct segment_rows *ret, struct error *err)
{
	size_t count = segment_rows_chunks(rows), kept = 0;
	if (segment_rows_compact(rows, false, err) < 0)
		return -1;
	struct segment_chunk *chunks = (void *)rows->chunks.data;
	if (count)
		qsort(chunks, count, sizeof *chunks, by_chunk);
	for (size_t i = 0; i < count; i++) {
		if (!kept || !id_equal(&chunks[kept - 1].id, &chunks[i].id))
			chunks[kept++] = chunks[i];
		else if (!is_kept(chunks, kept, &chunks[i]) && !is_kept((const void *)ret->chunks.data, segment_rows_chunks(ret), &chunks[i]))
			buf_add(&ret->chunks, &chunks[i], sizeof *chunks);
	}
	rows->chunks.len = kept * sizeof *chunks;
	if (ret->chunks.len) {
		buf_add(&ret->packs, rows->packs.data, rows->packs.len);
		buf_add(&ret->blocks, rows->blocks.data, rows->blocks.len);
	}
	if (!buf_ok(&ret->chunks) || !buf_ok(&ret->packs) || !buf_ok(&ret->blocks))
		return error_set(err, ERR_NOMEM, "write index: out of memory");
	return segment_rows_compact(ret, true, err);
}

static int write_some(struct rewrite *w, struct segment_rows *rows, struct error *err)
{
	struct collect *c = w->c;
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct id id;
	seal_random(id.b, ID_SIZE);
	if (segment_rows_encode(rows, own_session_id(c->session), &bytes, err) < 0 ||
	    object_write(c->repo->store, c->repo->keys, SEAL_INDEX, &id, own_session_id(c->session), bytes.data, bytes.len, err) < 0)
		return error_add(err, "write index");
	w->written++;
	return 0;
}

static int write_rows(struct rewrite *w, struct error *err)
{
	while (w->rows.packs.len) {
		CLEAN(segment_rows_done) struct segment_rows doubles = SEGMENT_ROWS_INIT;
		if (split_doubles(&w->rows, &doubles, err) < 0 || write_some(w, &w->rows, err) < 0)
			return -1;
		segment_rows_done(&w->rows);
		w->rows = doubles;
		doubles = (struct segment_rows)SEGMENT_ROWS_INIT;
	}
	return 0;
}
/* Rows of the segment that stay are appended to w->rows. */
static int take_rows(struct rewrite *w, const struct segment *s, struct error *err)
{
	const uint32_t gone = UINT32_MAX;
	struct segment_rows *r = &w->rows;
	CLEAN_FREE uint32_t *pack_row = malloc(((size_t)s->pack_count + 1) * sizeof *pack_row);
	CLEAN_FREE uint32_t *block_row = malloc(((size_t)s->block_count + 1) * sizeof *block_row);
	if (!pack_row || !block_row)
		return error_set(err, ERR_NOMEM, "write index: out of memory");
	for (uint32_t i = 0; i < s->pack_count; i++) {
		struct segment_pack pack;
		segment_pack_at(s, i, &pack);
		pack_row[i] = stays(w, &pack.id) ? (uint32_t)(r->packs.len / sizeof pack) : gone;
		if (pack_row[i] != gone)
			buf_add(&r->packs, &pack, sizeof pack);
	}
	for (uint32_t i = 0; i < s->block_count; i++) {
		struct segment_block block;
		if (segment_block_at(s, i, &block, err) < 0)
			return -1;
		block_row[i] = pack_row[block.pack] == gone ? gone : (uint32_t)(r->blocks.len / sizeof block);
		block.pack = pack_row[block.pack];
		if (block_row[i] != gone)
			buf_add(&r->blocks, &block, sizeof block);
	}
	for (uint64_t i = 0; i < s->chunk_count; i++) {
		struct segment_chunk chunk;
		segment_chunk_at(s, i, &chunk);
		if (chunk.block >= s->block_count)
			return error_set(err, ERR_CORRUPT, "a segment refers to a block that it does not have; run twofold check");
		chunk.block = block_row[chunk.block];
		if (chunk.block != gone)
			buf_add(&r->chunks, &chunk, sizeof chunk);
	}
	return buf_ok(&r->packs) && buf_ok(&r->blocks) && buf_ok(&r->chunks) ? 0 : error_set(err, ERR_NOMEM, "write index: out of memory");
}

static int read_segment(struct collect *c, const struct id *id, struct buf *bytes, struct segment *ret, bool *ret_there, struct error *err)
{
	struct error why = { 0 };
	*ret_there = true;
	if (index_read_segment(c->repo->store, c->repo->keys, id, bytes, &why) == 0)
		return segment_view(ret, bytes->data, bytes->len, err);
	*ret_there = false;
	return why.kind == ERR_NOT_FOUND ? 0 : error_set(err, why.kind, "%s", why.text);
}

static bool names_gone(const struct rewrite *w, const struct segment *s)
{
	for (uint32_t i = 0; i < s->pack_count; i++) {
		struct segment_pack pack;
		segment_pack_at(s, i, &pack);
		if (!stays(w, &pack.id))
			return true;
	}
	return false;
}

/* The caller knows that the segment is to be replaced. */
static int replace(struct rewrite *w, const struct id *id, const struct segment *s, struct error *err)
{
	buf_add(&w->replaced, id->b, ID_SIZE);
	if (take_rows(w, s, err) < 0)
		return -1;
	return segment_rows_chunks(&w->rows) >= SEGMENT_ROWS_CHUNKS ? write_rows(w, err) : 0;
}

static bool is_of_living(const struct collect *c, const struct segment *s)
{
	for (size_t i = 0; i < c->sessions.count; i++)
		if (id_equal(&c->sessions.items[i].session, &s->session))
			return true;
	return false;
}

/* A machine that may only write finds what it stored by its own segments, as long as they stay as they are. */
static bool is_by_session(const struct segment *s)
{
	struct segment_pack pack = { .how = SEAL_BY_MASTER };
	if (s->pack_count)
		segment_pack_at(s, 0, &pack);
	return pack.how == SEAL_BY_SESSION;
}

/* By a master key that is to be used no more. The head is in clear; a false one costs writing a segment anew. */
static bool is_sealed_before(const struct collect *c, const struct id *id)
{
	struct seal_by by;
	return c->options->reseal && object_sealed_by(c->repo->store, SEAL_INDEX, id, &by, NULL) == 0 && by.how == SEAL_BY_MASTER && by.epoch < c->options->reseal;
}

static int look_at(struct rewrite *w, const struct id *id, struct error *err)
{
	CLEAN_BUF struct buf bytes = BUF_INIT;
	struct segment s;
	bool there;
	if (read_segment(w->c, id, &bytes, &s, &there, err) < 0)
		return -1;
	if (!there)
		return 0;
	w->c->report.segments_before++;
	if (names_gone(w, &s) || (is_sealed_before(w->c, id) && !is_of_living(w->c, &s)))
		return replace(w, id, &s, err);
	w->kept++;
	if (s.chunk_count < SMALL_SEGMENT && !is_of_living(w->c, &s) && !is_by_session(&s))
		buf_add(&w->small, id->b, ID_SIZE);
	return 0;
}

/* Small segments are merged where that makes fewer of them. */
static int merge_small(struct rewrite *w, struct error *err)
{
	size_t count = w->small.len / ID_SIZE;
	if (count < 2 && !(count && w->rows.packs.len))
		return 0;
	for (size_t at = 0; at < w->small.len; at += ID_SIZE) {
		CLEAN_BUF struct buf bytes = BUF_INIT;
		struct segment s;
		struct id id;
		bool there;
		memcpy(id.b, w->small.data + at, ID_SIZE);
		if (read_segment(w->c, &id, &bytes, &s, &there, err) < 0 || (there && replace(w, &id, &s, err) < 0))
			return -1;
		w->kept -= there;
	}
	return 0;
}

static int delete_replaced(struct rewrite *w, struct error *err)
{
	struct store *store = w->c->repo->store;
	for (size_t at = 0; at < w->replaced.len; at += ID_SIZE) {
		char key[OBJECT_KEY_MAX];
		struct id id;
		memcpy(id.b, w->replaced.data + at, ID_SIZE);
		object_key(SEAL_INDEX, &id, key);
		if (store->ops->remove(store, key, err) < 0)
			return error_add(err, "write index");
	}
	/* Or a power cut gives back a segment whose packs are gone. */
	return w->replaced.len ? store_make_removals_last(store, object_prefix(SEAL_INDEX), err) : 0;
}

int collect_rewrite_index(struct collect *c, const struct buf *going, struct error *err)
{
	CLEAN(rewrite_done) struct rewrite w = { .c = c, .going = going, .rows = SEGMENT_ROWS_INIT };
	CLEAN_BUF struct buf ids = BUF_INIT;
	if (ids_list(c->repo->store, object_prefix(SEAL_INDEX), &ids, err) < 0 || ids_list(c->repo->store, "packs/", &w.present, err) < 0)
		return -1;
	ids_order(&w.present);
	for (size_t at = 0; at < ids.len; at += ID_SIZE) {
		struct id id;
		memcpy(id.b, ids.data + at, ID_SIZE);
		if (collect_stopped(c, err) < 0 || look_at(&w, &id, err) < 0)
			return -1;
	}
	if (!buf_ok(&w.small) || !buf_ok(&w.replaced))
		return error_set(err, ERR_NOMEM, "write index: out of memory");
	if (merge_small(&w, err) < 0 || write_rows(&w, err) < 0 || delete_replaced(&w, err) < 0)
		return -1;
	c->report.segments_after = w.kept + w.written;
	return 0;
}
