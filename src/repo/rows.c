/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/rows.h"

#include <stdlib.h>

void segment_rows_done(struct segment_rows *r)
{
	buf_done(&r->packs);
	buf_done(&r->blocks);
	buf_done(&r->chunks);
}

void segment_rows_add(struct segment_rows *r, const struct id *pack, enum seal_kind kind, uint64_t size, const struct pack_table *table)
{
	struct segment_pack row = { *pack, kind, (uint32_t)size, table->by.how, table->by.epoch };
	uint32_t pack_row = (uint32_t)(r->packs.len / sizeof row), offset = PACK_HEADER_SIZE;
	buf_add(&r->packs, &row, sizeof row);
	for (size_t i = 0; i < table->block_count; i++) {
		const struct pack_block *b = &table->blocks[i];
		struct segment_block block = { pack_row, (uint32_t)i, offset, b->sealed_length, b->raw_length };
		uint32_t block_row = (uint32_t)(r->blocks.len / sizeof block), at = 0;
		buf_add(&r->blocks, &block, sizeof block);
		for (size_t c = 0; c < b->chunk_count; c++) {
			const struct pack_chunk *chunk = &table->chunks[b->first_chunk + c];
			struct segment_chunk entry = { chunk->id, block_row, at, chunk->length };
			buf_add(&r->chunks, &entry, sizeof entry);
			at += chunk->length;
		}
		offset += b->sealed_length;
	}
}

size_t segment_rows_chunks(const struct segment_rows *r)
{
	return r->chunks.len / sizeof(struct segment_chunk);
}

int segment_rows_encode(struct segment_rows *r, const struct id *session, struct buf *ret, struct error *err)
{
	if (!buf_ok(&r->packs) || !buf_ok(&r->blocks) || !buf_ok(&r->chunks))
		return error_set(err, ERR_NOMEM, "make an index segment: out of memory");
	return segment_encode(ret, session, (const void *)r->packs.data, r->packs.len / sizeof(struct segment_pack), (const void *)r->blocks.data,
	                      r->blocks.len / sizeof(struct segment_block), (void *)r->chunks.data, r->chunks.len / sizeof(struct segment_chunk), err);
}

/* --- each once -------------------------------------------------------------------------- */

#define NO_ROW UINT32_MAX

static int by_pack_id(const void *a, const void *b, void *packs)
{
	const struct segment_pack *p = packs;
	return id_compare(&p[*(const uint32_t *)a].id, &p[*(const uint32_t *)b].id);
}

static int by_block(const void *a, const void *b, void *blocks)
{
	const struct segment_block *x = (struct segment_block *)blocks + *(const uint32_t *)a, *y = (struct segment_block *)blocks + *(const uint32_t *)b;
	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

/* Replaces *rows (of size bytes each) by one of each kind; *ret_map says where each old row is now. used: NULL, or which are wanted. */
static int unite(struct buf *rows, size_t size, int (*compare)(const void *, const void *, void *), const bool *used, uint32_t **ret_map, struct error *err)
{
	uint32_t count = (uint32_t)(rows->len / size), kept = 0, last = NO_ROW;
	CLEAN_FREE uint32_t *order = malloc(((size_t)count + 1) * sizeof *order);
	uint32_t *map = *ret_map = malloc(((size_t)count + 1) * sizeof *map);
	CLEAN_BUF struct buf united = BUF_INIT;
	if (!order || !map)
		return error_set(err, ERR_NOMEM, "write index: out of memory");
	for (uint32_t i = 0; i < count; i++)
		order[i] = i;
	qsort_r(order, count, sizeof *order, compare, rows->data);
	for (uint32_t i = 0; i < count; i++) {
		map[order[i]] = NO_ROW;
		if (used && !used[order[i]])
			continue;
		if (last == NO_ROW || compare(&last, &order[i], rows->data) != 0) {
			buf_add(&united, rows->data + (size_t)order[i] * size, size);
			last = order[i];
			kept++;
		}
		map[order[i]] = kept - 1;
	}
	if (!buf_ok(&united))
		return error_set(err, ERR_NOMEM, "write index: out of memory");
	buf_done(rows);
	*rows = united;
	united = (struct buf)BUF_INIT;
	return 0;
}

/* Which blocks, and packs of these, hold a chunk. */
static void mark_used(const struct segment_rows *r, bool *blocks, bool *packs)
{
	const struct segment_chunk *chunks = (const void *)r->chunks.data;
	const struct segment_block *rows = (const void *)r->blocks.data;
	for (size_t i = 0; i < segment_rows_chunks(r); i++) {
		blocks[chunks[i].block] = true;
		packs[rows[chunks[i].block].pack] = true;
	}
}

int segment_rows_compact(struct segment_rows *r, bool only_used, struct error *err)
{
	CLEAN_FREE bool *used_blocks = calloc(r->blocks.len / sizeof(struct segment_block) + 1, 1);
	CLEAN_FREE bool *used_packs = calloc(r->packs.len / sizeof(struct segment_pack) + 1, 1);
	CLEAN_FREE uint32_t *pack_map = NULL;
	CLEAN_FREE uint32_t *block_map = NULL;
	if (!used_blocks || !used_packs)
		return error_set(err, ERR_NOMEM, "write index: out of memory");
	mark_used(r, used_blocks, used_packs);
	if (unite(&r->packs, sizeof(struct segment_pack), by_pack_id, only_used ? used_packs : NULL, &pack_map, err) < 0)
		return -1;
	struct segment_block *blocks = (void *)r->blocks.data;
	for (size_t i = 0; i < r->blocks.len / sizeof *blocks; i++)
		blocks[i].pack = pack_map[blocks[i].pack];
	if (unite(&r->blocks, sizeof(struct segment_block), by_block, only_used ? used_blocks : NULL, &block_map, err) < 0)
		return -1;
	struct segment_chunk *chunks = (void *)r->chunks.data;
	for (size_t i = 0; i < segment_rows_chunks(r); i++)
		chunks[i].block = block_map[chunks[i].block];
	return 0;
}
