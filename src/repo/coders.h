/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoders for reading blocks, lent to one thread at a time, and the few raw blocks that were decoded last. */
#ifndef REPO_CODERS_H
#define REPO_CODERS_H

#include "base/buf.h"
#include "repo/index.h"
#include "seal/seal.h"

struct coder_pool;

/* What a thread needs to read blocks. */
struct block_reader {
	struct block_reader *next;
	struct seal_coder *coder;
	struct seal_cipher *cipher; /* of the pack below; NULL at first */
	struct id pack;
	enum seal_kind kind;
	struct buf sealed;
};

/* A decoded block, shared: read-only while held. */
struct cached_block {
	struct buf raw;
	unsigned holders;
	bool listed;
	bool has_verified;  /* see cache_is_verified */
	struct id verified;
	uint32_t pack_row, block;
	struct cached_block *newer, *older;
};

int coder_pool_new(struct coder_pool **ret, struct error *err);
void coder_pool_free(struct coder_pool *p);

struct block_reader *coder_take(struct coder_pool *p, struct error *err);
void coder_give(struct coder_pool *p, struct block_reader *r);
/* Makes r's cipher that of the pack. */
int coder_for_pack(struct block_reader *r, const struct seal_keys *keys, const struct seal_by *by, const struct id *pack, enum seal_kind kind, struct error *err);
/* Makes it that of none. */
void coder_forget(struct block_reader *r);
/* Whether it is that already. */
bool coder_is_for(const struct block_reader *r, const struct id *pack, enum seal_kind kind);

/* NULL when it is not there. Every non-NULL is given back with cache_release. */
struct cached_block *cache_hold(struct coder_pool *p, uint32_t pack_row, uint32_t block);
/* Takes raw's bytes over and holds the block; NULL when memory is out (raw is then untouched). */
struct cached_block *cache_keep(struct coder_pool *p, uint32_t pack_row, uint32_t block, struct buf *raw);
void cache_release(struct coder_pool *p, struct cached_block *b);
/* Whether this chunk was the last that was hashed in the held block: who reads a large chunk in small pieces hashes it once. */
bool cache_is_verified(struct coder_pool *p, const struct cached_block *b, const struct id *chunk);
void cache_set_verified(struct coder_pool *p, struct cached_block *b, const struct id *chunk);

#endif
