/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading many chunks in the order of the packs: what a restore wants is noted first, with where it lies, then sorted by place, so that every
 * block is read, decrypted and decompressed once, and packs are read from front to back.
 *
 * A plan holds a bounded number of parts; larger work is done in several plans one after the other. Who wants a part, and where it goes, is the
 * caller's business (owner, position). Nothing here writes anywhere.
 * Threads: plan_work from several at once, between plan_ready and plan_clear; all else from one.
 */
#ifndef RESTORE_PLAN_H
#define RESTORE_PLAN_H

#include "base/progress.h"
#include "repo/repo.h"
#include "task/pool.h"

/* Bytes behind the end of a decoded block that a sink may overwrite. */
#define PLAN_SLACK 4096u

struct plan_part {
	struct id chunk;
	uint64_t position;               /* the caller's: where the bytes go */
	uint32_t owner;                  /* the caller's: to whom, or anything else */
	uint32_t skip, take;             /* which bytes of the chunk are wanted */
	uint32_t pack_row, block_offset; /* where the block lies ... */
	uint32_t offset, length;         /* ... and the chunk in it; plan_add fills these four */
};

struct plan;

/* All parts of one call lie in the same block, sorted by (offset, position). Both are called by plan_work, on its thread, one call a block or
 * less for each; -1 stops the work. */
struct plan_sink {
	/* data: the block's raw bytes, each part's chunk checked against its id: a part's bytes are at data + offset + skip. The sink may change data and the PLAN_SLACK bytes
	 * behind data + len as long as it leaves the chunks of later parts as they were. */
	int (*good)(void *cookie, unsigned slot, const struct plan_part *parts, size_t count, uint8_t *data, size_t len, struct error *err);
	/* Their block or chunk cannot be read: why. */
	int (*lost)(void *cookie, unsigned slot, const struct plan_part *parts, size_t count, const struct error *why, struct error *err);
	void *cookie;
};

/* repo (index loaded) is borrowed. max: parts that fit. */
int plan_new(struct plan **ret, struct repo *repo, size_t max, struct error *err);
void plan_free(struct plan *p);
DEFINE_CLEAN(plan, plan_free)
size_t plan_count(const struct plan *p);
bool plan_full(const struct plan *p);

/* Looks the chunk up and adds the part; chunk_length is what the snapshot says the whole chunk has. *ret_found false, and why is set, where no chunk
 * of this id and length is known: nothing was added. The plan must not be full. */
int plan_add(struct plan *p, const struct plan_part *want, uint32_t chunk_length, bool *ret_found, struct error *why, struct error *err);

/* How many threads are worth having at plan_work: as many as there are processors, but more where each block takes a round trip over a network. */
unsigned plan_threads(const struct repo *repo);

/* Sorts. */
int plan_ready(struct plan *p, struct error *err);
/* Takes blocks until none is left; every worker calls it with a raw buffer of its own. ERR_CANCELLED when progress (may be NULL) or the pool of ctx says stop. */
int plan_work(struct plan *p, const struct task_context *ctx, struct buf *raw, struct progress *progress, const struct plan_sink *sink, struct error *err);
/* The sorted parts, for a second look at them (after all work); they may be put in another order. */
struct plan_part *plan_parts(struct plan *p);
/* Starts over from the first block, parts as they are. */
void plan_rewind(struct plan *p);
void plan_clear(struct plan *p);

#endif
