/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether all that a new snapshot refers to will stay, whatever collectors do: docs/FORMAT.md, "Writing, and crashes". Used by writer.c only. Threads: one. */
#ifndef REPO_SETTLE_H
#define REPO_SETTLE_H

#include "repo/marks.h"

/* A chunk or page that is in packs only which are about to go, or gone. */
struct unsettled {
	struct id id;
	enum chunk_class class;
};

/* Reads what collectors have published, and then the index anew; rows of packs that are gone do not count from then on. Replaces *marks. */
int settle_look(struct repo *repo, struct marks *marks, struct error *err);
/* Walks the snapshot and replaces *ret by an array of struct unsettled, each once. */
int settle_find(struct repo *repo, const struct snapshot *s, struct buf *ret, struct error *err);

#endif
