/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the steps of a collection share: collect.c (their order), collect_live.c, collect_move.c, collect_index.c. */
#ifndef REPO_COLLECT_INTERNAL_H
#define REPO_COLLECT_INTERNAL_H

#include "repo/collect.h"
#include "repo/marks.h"
#include "repo/reach.h"
#include "repo/sessions.h"
#include "repo/unfinished.h"
#include "repo/writer.h"

enum pack_flag {
	PACK_INDEXED = 1, /* a segment names it */
	PACK_DOOMED = 2,  /* an earlier collection's tombstone names it: goes, whatever lies in it */
	PACK_RIPE = 4,    /* and all that it had to wait for have ended */
	PACK_SPARED = 8,  /* of a session that lives, or nobody knows whose */
	PACK_MOVE = 16,   /* its living chunks are to be copied */
	PACK_GOES = 32,   /* will be deleted */
};

/* A pack that the store listed. */
struct pack_info {
	struct id id;
	uint32_t size;
	uint32_t flags;
	uint64_t live, total; /* raw bytes of its blocks */
	enum seal_kind kind;  /* where PACK_INDEXED */
	enum seal_how how;    /* likewise, and the epoch: which key sealed it */
	uint16_t epoch;
};

struct collect {
	struct repo *repo;
	const struct collect_options *options;
	struct collect_report report;
	struct own_session *session;
	struct session_list sessions; /* of others, when packs had been listed */
	struct unfinished_list unfinished; /* what was interrupted; not kept where a snapshot of the session was seen */
	struct marks marks;           /* before packs were listed */
	struct buf ripe;              /* ids of packs, ascending: see PACK_RIPE */
	struct buf packs;             /* of struct pack_info, ascending by id */
	uint32_t *pack_of_row;        /* by the index's row of packs: place in packs, or UINT32_MAX */
	uint32_t pack_rows;
	struct row_set live;
	struct buf waiting;           /* ids of chunks that are reached, and not looked up yet */
	struct buf whole;             /* ids of snapshots of fenced sessions that are whole: to be confirmed */
	struct buf snapshots;         /* ids of those that were walked, ascending once collect_live_done */
	struct writer *writer;
	struct id tombstone;          /* the own one */
	bool published;
	bool indexed;                 /* what sessions that are gone have stored */
};

/* --- collect_live.c: what is reached --------------------------------------------------- */
int collect_list_packs(struct collect *c, struct error *err);
/* Loads the index, walks all snapshots that count, and those of fenced sessions that are whole. */
int collect_walk(struct collect *c, struct error *err);
/* Fills pack_info.live, .total. */
int collect_account(struct collect *c, struct error *err);
/* Snapshots that came since: what they reach in packs that go only is appended to missed, an array of struct unsettled. */
int collect_walk_new(struct collect *c, struct buf *missed, struct error *err);
/* NULL: not listed. */
struct pack_info *collect_pack(const struct collect *c, const struct id *id);
/* The packs that go, as a set of ids. */
int collect_going(const struct collect *c, uint32_t with_flags, struct buf *ret, struct error *err);

/* Confirms the latter: after collect_move, so that nothing of them lies in packs only that an earlier collection has marked. */
int collect_confirm(struct collect *c, struct error *err);

/* --- collect_move.c: choosing and copying ------------------------------------------------ */
int collect_choose(struct collect *c, struct error *err);
/* Copies the living chunks of all packs with PACK_MOVE, which then go. */
int collect_move(struct collect *c, struct error *err);
/* Copies chunks (struct unsettled). */
int collect_rescue(struct collect *c, const struct buf *unsettled, struct error *err);

/* --- collect_index.c: the end of packs ----------------------------------------------------- */
/* Replaces all segments that name packs in going (ids, ascending), and merges small ones. */
int collect_rewrite_index(struct collect *c, const struct buf *going, struct error *err);

int collect_stopped(const struct collect *c, struct error *err);
/* Waits until listings show what is in the store now, and others have seen what was just published. */
int collect_let_it_be_seen(const struct collect *c, struct error *err);
void collect_tell(const struct collect *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
