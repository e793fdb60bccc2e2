/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From packs' tables to an index segment: used when a session indexes its packs, and wherever an index is rebuilt from packs alone. */
#ifndef REPO_ROWS_H
#define REPO_ROWS_H

#include "repo/format/pack.h"
#include "repo/format/segment.h"

/* From so many chunks on, rows go into a segment of their own, which stays far below INDEX_SEGMENT_MAX. */
#define SEGMENT_ROWS_CHUNKS 400000u

struct segment_rows {
	struct buf packs, blocks, chunks; /* arrays of struct segment_pack, segment_block, segment_chunk */
};

#define SEGMENT_ROWS_INIT { BUF_INIT, BUF_INIT, BUF_INIT }

void segment_rows_done(struct segment_rows *r);
/* Memory that runs out is noticed by segment_rows_encode. */
void segment_rows_add(struct segment_rows *r, const struct id *pack, enum seal_kind kind, uint64_t size, const struct pack_table *table);
size_t segment_rows_chunks(const struct segment_rows *r);
int segment_rows_encode(struct segment_rows *r, const struct id *session, struct buf *ret, struct error *err);

/* Names each pack and each block once, and leaves out those that no chunk lies in where only_used is true. What was added as rows may name them several times. */
int segment_rows_compact(struct segment_rows *r, bool only_used, struct error *err);

#endif
