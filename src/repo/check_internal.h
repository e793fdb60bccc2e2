/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of the check share: check.c (objects, order of the work), check_packs.c, check_walk.c. */
#ifndef REPO_CHECK_INTERNAL_H
#define REPO_CHECK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "repo/check.h"

/* Bits by chunk row of the index; set and read from any thread. */
struct bitmap {
	_Atomic uint64_t *words;
	uint64_t bits;
};

static inline bool bitmap_get(const struct bitmap *b, uint64_t i)
{
	return atomic_load_explicit(&b->words[i / 64], memory_order_relaxed) >> (i % 64) & 1;
}
static inline void bitmap_set(struct bitmap *b, uint64_t i)
{
	atomic_fetch_or_explicit(&b->words[i / 64], 1ull << (i % 64), memory_order_relaxed);
}

/* A pack that the store listed. */
struct found_pack {
	struct id id;
	uint64_t size;
};

struct check {
	struct repo *repo;
	const struct check_options *options;
	const struct check_sink *sink;
	struct check_report report; /* guarded by lock while threads run */
	pthread_mutex_t lock;       /* guards sink and report */
	struct bitmap seen;         /* chunks that a snapshot refers to; pages that were walked */
	struct bitmap dirty;        /* pages with damage in or below them: walked again for each snapshot, so that its paths are named */
	struct bitmap bad;          /* chunks that cannot be read */
	bool *missing;              /* by pack row: not in the store */
	uint32_t pack_count;
	struct buf found;           /* of struct found_pack, ascending by id */
	struct index *spare;        /* chunks of packs that no segment names; NULL: none */
};

void check_damaged(struct check *c, const char *object, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void check_hit(struct check *c, const struct id *snapshot, const struct buf *path, const char *area, const char *what);
/* -1 with ERR_CANCELLED once the user wants to stop. */
int check_stopped(const struct check *c, struct error *err);

/* check_packs.c: every pack, and with read_data what is in it. Fills missing, bad, spare. */
int check_packs(struct check *c, struct error *err);
/* check_walk.c: all that hangs on a snapshot. */
int check_snapshot(struct check *c, const struct id *id, const struct snapshot *s, struct error *err);

#endif
