/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of copying share: copy.c (snapshots), copy_data.c (chunks of data), copy_tree.c (lists). */
#ifndef REPO_COPY_INTERNAL_H
#define REPO_COPY_INTERNAL_H

#include "repo/copy.h"
#include "repo/format/map.h"
#include "repo/format/seq.h"
#include "repo/id_table.h"
#include "repo/reach.h"
#include "repo/writer.h"

/* A chunk of data that is to be copied. */
struct wanted {
	struct id id;
	struct place place;
};

struct copy {
	struct repo *from, *to;
	struct copy_options options;
	const struct copy_sink *sink;
	struct id_table *chunks;   /* of data; kept. A zero id: lost */
	struct id_table *lists;    /* roots of lists that were copied whole in this run */
	struct snapshot_list there; /* in the target, before */
	bool *matched;             /* by item of there: a snapshot of the source that still exists */
	struct buf known;          /* of struct known_copy: what became of the source's snapshots in this run */
	/* of the snapshot at hand: */
	struct writer *writer;     /* NULL: nothing is stored, see copy_translate */
	seq_put_fn put;            /* where pages go instead; NULL: to the writer */
	void *put_cookie;
	const struct id *snapshot;
	struct row_set planned;    /* rows of the source's index that were looked at */
	struct buf plan;           /* of struct wanted */
	uint64_t lost;
};

struct known_copy {
	struct id source, target;
};

/* --- copy_data.c ------------------------------------------------------------- */
/* The chunk is referred to: plans it, unless the target has it; a plan that is full is carried out. */
int copy_want(struct copy *c, const struct id *id, struct error *err);
/* Copies what is planned. */
int copy_planned(struct copy *c, struct error *err);
/* What the chunk became; *ret_found false: it is lost. */
int copy_find(struct copy *c, const struct id *id, bool *ret_found, struct id *ret, struct error *err);

/* --- copy_tree.c --------------------------------------------------------------- */
/* First all data that the snapshot refers to, then its lists; sets the ids in *s to the new ones. */
int copy_collect(struct copy *c, const struct snapshot *s, struct error *err);
int copy_rewrite(struct copy *c, struct snapshot *s, struct error *err);
int copy_one_list(struct copy *c, enum seq_kind kind, const struct id *root, bool write, struct error *err);

#endif
