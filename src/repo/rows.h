/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From packs' tables to an index segment: used when a session indexes its packs, and wherever an index is rebuilt from packs alone. */
#ifndef REPO_ROWS_H
#define REPO_ROWS_H

#include "repo/format/pack.h"
#include "repo/format/segment.h"

struct segment_rows {
	struct buf packs, blocks, chunks; /* arrays of struct segment_pack, segment_block, segment_chunk */
};

#define SEGMENT_ROWS_INIT { BUF_INIT, BUF_INIT, BUF_INIT }

void segment_rows_done(struct segment_rows *r);
/* Memory that runs out is noticed by segment_rows_encode. */
void segment_rows_add(struct segment_rows *r, const struct id *pack, enum seal_kind kind, uint64_t size, const struct pack_table *table);
int segment_rows_encode(struct segment_rows *r, const struct id *session, struct buf *ret, struct error *err);

#endif
