/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "repo/copy_internal.h"
#include "task/pool.h"

#define PLAN_MAX 65536u

static const struct id nothing;

/* --- the plan ---------------------------------------------------------------------------- */

static int is_there(struct copy *c, const struct id *became, bool *ret, struct error *err)
{
	struct place place;
	bool found;
	*ret = false;
	if (id_equal(became, &nothing))
		return 0;
	if (index_find(c->to->index, became, &found, &place, err) < 0)
		return -1;
	*ret = found && !place.marked;
	return 0;
}

int copy_find(struct copy *c, const struct id *id, bool *ret_found, struct id *ret, struct error *err)
{
	struct id became;
	if (id_table_find(c->chunks, id, ret_found, &became, err) < 0)
		return -1;
	if (*ret_found && id_equal(&became, &nothing))
		*ret_found = false;
	if (*ret_found)
		*ret = became;
	return 0;
}

int copy_want(struct copy *c, const struct id *id, struct error *err)
{
	struct wanted w = { .id = *id };
	struct id became;
	bool found, known;
	if (index_find(c->from->index, id, &found, &w.place, err) < 0)
		return -1;
	if (found && row_set_has(&c->planned, w.place.row))
		return 0;
	if (found)
		row_set_add(&c->planned, w.place.row);
	if (copy_find(c, id, &known, &became, err) < 0 || (known && c->writer && is_there(c, &became, &known, err) < 0))
		return -1;
	if (known)
		return 0;
	if (!found) /* not in the source: lost, unless another run finds it */
		return id_table_set(c->chunks, id, &nothing, err);
	buf_add(&c->plan, &w, sizeof w);
	progress_add_total(c->options.progress, 0, w.place.length);
	if (!buf_ok(&c->plan))
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	return c->plan.len / sizeof w >= PLAN_MAX ? copy_planned(c, err) : 0;
}

/* --- a block -------------------------------------------------------------------------------- */

/* The wanted chunks of one pack, in the order of their places. */
struct pack_task {
	struct copy *copy;
	const struct wanted *wanted;
	size_t count;
};

struct block_work {
	struct buf raw, plain; /* plain: as it was compressed */
	struct read_ahead ahead;
	struct buf chunks; /* of struct pack_chunk, in the target */
};

static void block_work_done(struct block_work *w)
{
	buf_done(&w->raw);
	buf_done(&w->plain);
	buf_done(&w->chunks);
	read_ahead_done(&w->ahead);
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = &((const struct wanted *)a)->place, *y = &((const struct wanted *)b)->place;
	if (x->pack_row != y->pack_row)
		return x->pack_row < y->pack_row ? -1 : 1;
	if (x->block_offset != y->block_offset)
		return x->block_offset < y->block_offset ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Verifies the chunk, and tells what it becomes. *ret_good false: it is damaged. */
static int translate(struct copy *c, const struct wanted *w, const struct buf *raw, bool *ret_good, struct id *ret, struct error *err)
{
	struct error why = { 0 };
	*ret_good = raw->len >= w->place.offset && raw->len - w->place.offset >= w->place.length &&
	            repo_verify_chunk(c->from, CHUNK_DATA, &w->id, &w->place, raw->data + w->place.offset, &why) == 0;
	*ret = nothing;
	if (*ret_good)
		seal_chunk_id(c->to->keys, CHUNK_DATA, raw->data + w->place.offset, w->place.length, ret);
	return id_table_set(c->chunks, &w->id, ret, err);
}

/* Whether the wanted chunks are all of the block, and the target has none of them: then it is stored as it is. */
static int is_whole(struct copy *c, const struct wanted *w, size_t count, const struct pack_chunk *chunks, size_t good, bool *ret, struct error *err)
{
	uint32_t at = 0;
	*ret = good == count;
	for (size_t i = 0; i < count && *ret; i++) {
		bool there;
		*ret = w[i].place.offset == at;
		at += w[i].place.length;
		if (*ret && is_there(c, &chunks[i].id, &there, err) < 0)
			return -1;
		*ret = *ret && !there;
	}
	*ret = *ret && at == w[0].place.raw_length;
	return 0;
}

static int store_block(struct copy *c, unsigned slot, const struct wanted *w, size_t count, struct block_work *work, struct error *err)
{
	const struct pack_chunk *chunks = (const void *)work->chunks.data;
	size_t good = work->chunks.len / sizeof *chunks;
	bool whole;
	if (!c->writer)
		return 0;
	if (is_whole(c, w, count, chunks, good, &whole, err) < 0)
		return -1;
	if (whole) {
		struct seal_payload payload = { .bytes = work->plain.data + SEAL_BLOCK_HEAD, .len = work->plain.len - SEAL_BLOCK_HEAD };
		memcpy(payload.head, work->plain.data, SEAL_BLOCK_HEAD);
		return writer_put_block(c->writer, slot, CHUNK_DATA, &payload, w[0].place.raw_length, chunks, count, err);
	}
	for (size_t i = 0; i < count; i++) {
		struct id id;
		bool found;
		if (copy_find(c, &w[i].id, &found, &id, err) < 0)
			return -1;
		if (found && writer_put(c->writer, slot, CHUNK_DATA, work->raw.data + w[i].place.offset, w[i].place.length, &id, err) < 0)
			return -1;
	}
	return 0;
}

/* A block that cannot be read: its pack may have been moved by a prune meanwhile, which looking up each chunk anew finds out. */
static int copy_singly(struct copy *c, unsigned slot, const struct wanted *w, size_t count, struct block_work *work, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		struct error why = { 0 };
		struct id id = nothing;
		bool good = repo_get(c->from, CHUNK_DATA, &w[i].id, &work->raw, &why) == 0;
		if (!good && !copy_is_damage(&why)) {
			*err = why;
			return -1;
		}
		if (good && !c->writer)
			seal_chunk_id(c->to->keys, CHUNK_DATA, work->raw.data, work->raw.len, &id);
		else if (good && writer_put(c->writer, slot, CHUNK_DATA, work->raw.data, work->raw.len, &id, err) < 0)
			return -1;
		if (id_table_set(c->chunks, &w[i].id, &id, err) < 0)
			return -1;
		progress_add(c->options.progress, 0, w[i].place.length);
	}
	return 0;
}

static int copy_block(struct copy *c, unsigned slot, const struct wanted *w, size_t count, uint64_t end, struct block_work *work, struct error *err)
{
	struct error why = { 0 };
	buf_clear(&work->chunks);
	if (repo_read_block_both(c->from, &w[0].place, end, &work->ahead, &work->plain, &work->raw, &why) < 0) {
		if (copy_is_damage(&why))
			return copy_singly(c, slot, w, count, work, err);
		*err = why;
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		struct pack_chunk chunk = { .length = w[i].place.length };
		bool good;
		if (translate(c, &w[i], &work->raw, &good, &chunk.id, err) < 0)
			return -1;
		if (good)
			buf_add(&work->chunks, &chunk, sizeof chunk);
		progress_add(c->options.progress, 0, chunk.length);
	}
	if (!buf_ok(&work->chunks))
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	return store_block(c, slot, w, count, work, err);
}

/* --- a pack, and all of them -------------------------------------------------------------------- */

static int copy_pack(const struct task_context *ctx, void *arg, struct error *err)
{
	const struct pack_task *t = arg;
	CLEAN(block_work_done) struct block_work work = { .raw = BUF_INIT };
	const struct place *last = &t->wanted[t->count - 1].place;
	uint64_t stop = (uint64_t)last->block_offset + last->sealed_length;
	for (size_t at = 0, end; at < t->count; at = end) {
		if (ctx->cancelled)
			return 0;
		if (progress_stopped(t->copy->options.progress))
			return error_set(err, ERR_CANCELLED, "copy: interrupted");
		for (end = at; end < t->count && t->wanted[end].place.block_offset == t->wanted[at].place.block_offset;)
			end++;
		if (copy_block(t->copy, ctx->slot, t->wanted + at, end - at, stop, &work, err) < 0)
			return -1;
	}
	return 0;
}

static int run(struct copy *c, struct pack_task *tasks, size_t count, struct error *err)
{
	struct pool *pool = NULL;
	unsigned threads = c->options.threads, limits[POOL_LANES] = { 0 };
	limits[POOL_CONTENT] = threads * 2;
	if (pool_new(&pool, threads, 1, limits, err) < 0)
		return -1;
	for (size_t i = 0; i < count && !pool_cancelled(pool); i++)
		pool_submit(pool, POOL_CONTENT, threads, copy_pack, &tasks[i]);
	int done = pool_wait(pool, err);
	pool_free(pool);
	return done;
}

int copy_planned(struct copy *c, struct error *err)
{
	struct wanted *all = (void *)c->plan.data;
	size_t count = c->plan.len / sizeof *all, tasks = 0;
	if (!count)
		return 0;
	CLEAN_FREE struct pack_task *list = calloc(count, sizeof *list);
	if (!list)
		return error_set(err, ERR_NOMEM, "copy: out of memory");
	qsort(all, count, sizeof *all, by_place);
	for (size_t at = 0, end; at < count; at = end) {
		for (end = at; end < count && all[end].place.pack_row == all[at].place.pack_row;)
			end++;
		list[tasks++] = (struct pack_task){ c, all + at, end - at };
	}
	int done = run(c, list, tasks, err);
	buf_clear(&c->plan);
	return done;
}
