/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "repo/rows.h"

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
