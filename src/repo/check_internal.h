/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of the check share: check.c (objects, order of the work), check_packs.c, check_walk.c. */
#ifndef REPO_CHECK_INTERNAL_H
#define REPO_CHECK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "repo/check.h"
#include "repo/check_log.h"

/* Bits by chunk row of the index as it was loaded; set and read from any thread. A page that a prune moves meanwhile makes a reader refresh the index: the rows that come then
 * are none of these, so their bits stay unset. */
struct bitmap {
	_Atomic uint64_t *words;
	uint64_t bits;
};

static inline bool bitmap_get(const struct bitmap *b, uint64_t i)
{
	return i < b->bits && (atomic_load_explicit(&b->words[i / 64], memory_order_relaxed) >> (i % 64) & 1);
}
static inline void bitmap_clear(struct bitmap *b, uint64_t i)
{
	if (i < b->bits)
		atomic_fetch_and_explicit(&b->words[i / 64], ~(1ull << (i % 64)), memory_order_relaxed);
}
static inline void bitmap_set(struct bitmap *b, uint64_t i)
{
	if (i < b->bits)
		atomic_fetch_or_explicit(&b->words[i / 64], 1ull << (i % 64), memory_order_relaxed);
}

/* A pack that the store listed. */
struct found_pack {
	struct id id;
	uint64_t size;
};

/* A row of a segment's packs: shall its content be read, and when was it last? */
struct pack_choice {
	struct id pack;
	uint32_t row;     /* across all segments */
	uint32_t size;
	uint32_t shuffle; /* so that packs that were never read come in no order that somebody could foresee */
	bool read;        /* chosen */
	bool lost;        /* found damaged now */
	bool was_read;    /* some of it, now */
	int64_t time;     /* when it was read last and found whole; 0: never */
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
	bool segments_damaged;
	bool *missing;              /* by pack row: not in the store */
	uint32_t pack_count;
	struct buf found;           /* of struct found_pack, ascending by id */
	struct pack_choice *choices; /* one a pack row, in the order in which they are read; once reading, a thread writes only to its pack's */
	struct check_log log;
	struct time_ns started;
	uint64_t deadline;          /* on the monotonic clock, in nanoseconds; 0: none */
	struct buf aged;            /* of struct id, ascending: sessions that ended before options->since */
	struct index *spare;        /* chunks of packs that no segment names; NULL: none */
};

void check_damaged(struct check *c, const char *object, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void check_hit(struct check *c, const struct id *snapshot, const struct buf *path, const char *area, const char *what);
/* -1 with ERR_CANCELLED once the user wants to stop. */
int check_stopped(const struct check *c, struct error *err);

/* check.c: from the store, and all that is counted by its rows. Can be called again before the packs are looked at. */
int check_load_index(struct check *c, struct error *err);

/* check_packs.c: every pack, and with read_data what is in it. Fills missing, bad, spare. */
int check_packs(struct check *c, struct error *err);
/* check_choose.c: which packs are read, and in which order. packs: choices with pack, row and size set. */
int check_choose(struct check *c, struct error *err);
/* A snapshot that was read: notes its session if it had ended before options->since. */
void check_note_session(struct check *c, const struct snapshot *s);
/* Whether a chosen pack of this session, from whose table it is known, is to be read: not too old, and there is still time. */
bool check_wants(struct check *c, const struct id *session);
/* Remembers what was read; complete: the check came to its end. */
void check_remember(struct check *c, bool complete);

/* check_trust.c: an entry of the snapshot log; what the log says of the snapshots. */
int check_log_entry(struct check *c, const struct buf *bytes, struct error *err);
int check_trust(struct check *c, struct error *err);
/* check_walk.c: all that hangs on a snapshot. */
int check_snapshot(struct check *c, const struct id *id, const struct snapshot *s, struct error *err);

#endif
