/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "restore/plan.h"

#include <stdatomic.h>
#include <stdlib.h>

struct plan {
	struct repo *repo;
	struct plan_part *parts;
	size_t count, max;
	uint32_t *blocks;       /* first part of each block, after plan_ready; blocks[block_count] == count */
	size_t block_count;
	atomic_size_t next;     /* block to be taken */
};

int plan_new(struct plan **ret, struct repo *repo, size_t max, struct error *err)
{
	CLEAN(plan_cleanup) struct plan *p = calloc(1, sizeof *p);
	if (!p)
		return error_set(err, ERR_NOMEM, "plan the restore: out of memory");
	p->repo = repo;
	p->max = max;
	p->parts = malloc(max * sizeof *p->parts);
	p->blocks = malloc((max + 1) * sizeof *p->blocks);
	if (!p->parts || !p->blocks)
		return error_set(err, ERR_NOMEM, "plan the restore: out of memory");
	*ret = TAKE(p);
	return 0;
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	free(p->parts);
	free(p->blocks);
	free(p);
}

size_t plan_count(const struct plan *p)
{
	return p->count;
}

bool plan_full(const struct plan *p)
{
	return p->count == p->max;
}

struct plan_part *plan_parts(struct plan *p)
{
	return p->parts;
}

static int not_there(struct error *why, const struct id *id, const char *text, uint32_t length)
{
	char hex[ID_HEX_SIZE];
	id_to_hex(id, hex);
	return error_set(why, ERR_CORRUPT, "chunk %.16s of %u bytes %s; run twofold check", hex, length, text);
}

int plan_add(struct plan *p, const struct plan_part *want, uint32_t chunk_length, bool *ret_found, struct error *why, struct error *err)
{
	struct place place;
	bool found;
	if (plan_full(p))
		return error_set(err, ERR_INVALID, "plan the restore: the plan is full");
	*ret_found = false;
	if (index_find(p->repo->index, &want->chunk, &found, &place, why) < 0)
		return 0;
	if (!found) {
		not_there(why, &want->chunk, "is in no pack that the index knows", chunk_length);
		return 0;
	}
	if (place.length != chunk_length || want->skip > chunk_length || want->take > chunk_length - want->skip) {
		not_there(why, &want->chunk, "has another length in the index", chunk_length);
		return 0;
	}
	struct plan_part *part = &p->parts[p->count++];
	*part = *want;
	part->pack_row = place.pack_row;
	part->block_offset = place.block_offset;
	part->offset = place.offset;
	part->length = place.length;
	*ret_found = true;
	return 0;
}

#define COMPARE(a, b, member)                                                                                                                                \
	do {                                                                                                                                                 \
		if ((a)->member != (b)->member)                                                                                                              \
			return (a)->member < (b)->member ? -1 : 1;                                                                                           \
	} while (0)

static int by_place(const void *va, const void *vb)
{
	const struct plan_part *a = va, *b = vb;
	COMPARE(a, b, pack_row);
	COMPARE(a, b, block_offset);
	COMPARE(a, b, offset);
	COMPARE(a, b, owner);
	COMPARE(a, b, position);
	return 0;
}

/* On the way are then about 8 blocks of mostly half a MiB: at 20 ms a round trip some 200 MB/s. Each costs a block's memory, raw and sealed. */
#define THREADS_REMOTE 8u

unsigned plan_threads(const struct repo *repo)
{
	unsigned processors = task_processors();
	return repo->store->promises.remote && processors < THREADS_REMOTE ? THREADS_REMOTE : processors;
}

static bool same_block(const struct plan_part *a, const struct plan_part *b)
{
	return a->pack_row == b->pack_row && a->block_offset == b->block_offset;
}

int plan_ready(struct plan *p, struct error *err)
{
	if (p->count > UINT32_MAX)
		return error_set(err, ERR_INVALID, "plan the restore: too many parts");
	qsort(p->parts, p->count, sizeof *p->parts, by_place);
	p->block_count = 0;
	for (size_t i = 0; i < p->count; i++)
		if (i == 0 || !same_block(&p->parts[i - 1], &p->parts[i]))
			p->blocks[p->block_count++] = (uint32_t)i;
	p->blocks[p->block_count] = (uint32_t)p->count;
	atomic_store(&p->next, 0);
	return 0;
}

void plan_rewind(struct plan *p)
{
	atomic_store(&p->next, 0);
}

void plan_clear(struct plan *p)
{
	p->count = p->block_count = 0;
	atomic_store(&p->next, 0);
}

/* The chunk of parts[0], which count parts share. */
static int check_chunk(struct plan *p, struct place *place, const struct plan_part *part, const struct buf *raw, struct error *why)
{
	if ((uint64_t)part->offset + part->length > raw->len)
		return not_there(why, &part->chunk, "lies outside of its block", part->length);
	place->offset = part->offset;
	place->length = part->length;
	return repo_verify_chunk(p->repo, CHUNK_DATA, &part->chunk, place, raw->data + part->offset, why);
}

/* Checks every chunk; hands out runs of good and of bad ones. */
static int hand_out(struct plan *p, struct place *place, const struct plan_part *parts, size_t count, unsigned slot, struct buf *raw,
                    const struct plan_sink *sink, struct error *err)
{
	size_t first_good = 0;
	for (size_t i = 0; i < count;) {
		struct error why = { 0 };
		size_t end = i + 1;
		while (end < count && id_equal(&parts[end].chunk, &parts[i].chunk) && parts[end].offset == parts[i].offset)
			end++;
		if (check_chunk(p, place, &parts[i], raw, &why) < 0) {
			if (i > first_good && sink->good(sink->cookie, slot, parts + first_good, i - first_good, raw->data, raw->len, err) < 0)
				return -1;
			if (sink->lost(sink->cookie, slot, parts + i, end - i, &why, err) < 0)
				return -1;
			first_good = end;
		}
		i = end;
	}
	if (count > first_good)
		return sink->good(sink->cookie, slot, parts + first_good, count - first_good, raw->data, raw->len, err);
	return 0;
}

/* The pack was moved while we worked: each chunk is fetched from wherever it is now. */
static int work_chunks(struct plan *p, struct plan_part *parts, size_t count, unsigned slot, struct buf *raw, const struct error *first, const struct plan_sink *sink, struct error *err)
{
	for (size_t i = 0; i < count;) {
		struct error why = { 0 };
		uint32_t offset = parts[i].offset;
		size_t end = i + 1;
		while (end < count && id_equal(&parts[end].chunk, &parts[i].chunk) && parts[end].offset == offset)
			end++;
		bool found = repo_get(p->repo, CHUNK_DATA, &parts[i].chunk, raw, &why) == 0 && raw->len == parts[i].length;
		if (why.kind == ERR_NOMEM || (found && !buf_reserve(raw, PLAN_SLACK)))
			return error_set(err, ERR_NOMEM, "read a chunk: out of memory");
		if (why.kind == ERR_NOT_FOUND && first)
			why = *first;
		if (!found && why.kind == ERR_NONE)
			not_there(&why, &parts[i].chunk, "has another length now", parts[i].length);
		/* What is handed out begins at the chunk itself. */
		for (size_t k = i; k < end; k++)
			parts[k].offset = 0;
		int done = found ? sink->good(sink->cookie, slot, parts + i, end - i, raw->data, raw->len, err) : sink->lost(sink->cookie, slot, parts + i, end - i, &why, err);
		for (size_t k = i; k < end; k++)
			parts[k].offset = offset;
		if (done < 0)
			return -1;
		i = end;
	}
	return 0;
}

static int work_block(struct plan *p, size_t block, unsigned slot, struct buf *raw, const struct plan_sink *sink, struct error *err)
{
	struct plan_part *parts = &p->parts[p->blocks[block]];
	size_t count = p->blocks[block + 1] - p->blocks[block];
	struct place place;
	struct error why = { 0 };
	bool found = false;
	unsigned generation = index_generation(p->repo->index);
	/* The rest of the place is looked up again: one search a block is cheaper than keeping it for every part. */
	if (index_find(p->repo->index, &parts->chunk, &found, &place, &why) == 0 && !found)
		not_there(&why, &parts->chunk, "is in no pack that the index knows", parts->length);
	buf_clear(raw);
	if (!found || !buf_reserve(raw, place.raw_length + PLAN_SLACK)) {
		if (found)
			return error_set(err, ERR_NOMEM, "read a block: out of memory");
		return sink->lost(sink->cookie, slot, parts, count, &why, err);
	}
	if (place.pack_row != parts->pack_row || place.block_offset != parts->block_offset) /* moved since the plan was made */
		return work_chunks(p, parts, count, slot, raw, NULL, sink, err);
	if (repo_read_block(p->repo, &place, raw, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND) {
			if (!repo_refresh_index(p->repo, generation))
				index_forget_pack(p->repo->index, &place.pack, NULL);
			return work_chunks(p, parts, count, slot, raw, &why, sink, err);
		}
		if (why.kind == ERR_NOMEM)
			return error_set(err, ERR_NOMEM, "%s", why.text);
		return sink->lost(sink->cookie, slot, parts, count, &why, err);
	}
	if (!buf_reserve(raw, PLAN_SLACK))
		return error_set(err, ERR_NOMEM, "read a block: out of memory");
	return hand_out(p, &place, parts, count, slot, raw, sink, err);
}

int plan_work(struct plan *p, const struct task_context *ctx, struct buf *raw, struct progress *progress, const struct plan_sink *sink, struct error *err)
{
	for (;;) {
		if (progress_stopped(progress) || pool_cancelled(ctx->pool))
			return error_set(err, ERR_CANCELLED, "interrupted");
		size_t block = atomic_fetch_add(&p->next, 1);
		if (block >= p->block_count)
			return 0;
		if (work_block(p, block, ctx->slot, raw, sink, err) < 0)
			return -1;
	}
}
